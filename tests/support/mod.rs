//! Real parts for the tests: private RabbitMQ and Redis, a Celery worker, the agent's own binary, and a
//! Leek API that can be told how to misbehave. Nothing here knows how the agent works inside.
//!
//! Every process that is started here is watched by [`keeper`]: a panic, a kill or Ctrl-C leaves
//! nothing behind.

// Each test binary uses its own part of this.
#![allow(dead_code)]

pub mod agent;
pub mod api;
pub mod booted;
pub mod celery;
pub mod certs;
pub mod consul;
pub mod control;
pub mod cron;
pub mod dead_dns;
pub mod disk;
pub mod faketime;
pub mod fault_proxy;
pub mod gateway;
pub mod golden;
pub mod haproxy;
pub mod heap;
pub mod hostile;
pub mod keeper;
pub mod namespace;
pub mod page;
pub mod proxy;
pub mod publisher;
pub mod rabbitmq;
pub mod redis;
pub mod slow_api;
pub mod supervisor;
pub mod systemd;
pub mod wait;
pub mod webdriver;
