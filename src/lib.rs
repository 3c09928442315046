//! leek-agent: consumes Celery events beside an isolated broker and posts Leek documents.
//!
//! The modules stand in reading order; imports go one way, `runtime → shells → core`
//! (ARCHITECTURE.md). Nothing here chooses an exit code: `main` alone does.

pub mod cli;
mod nearest;

pub mod clock;
pub mod command;
pub mod config;
pub mod exit;
pub mod logging;
pub mod process_title;
pub mod secret;

pub mod document;
pub mod event;
pub mod http;
pub mod json;
pub mod pipeline;
pub mod python;

pub mod upload;
