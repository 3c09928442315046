//! Where events come from: the shells around broker connections.
//!
//! A source turns the pipeline's outputs into calls on a connection and what the connection brings
//! into inputs. It never retries and never blocks the event loop.

pub mod amqp;
pub mod bell;
pub mod redis;
