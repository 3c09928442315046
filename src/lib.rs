//! leek-agent: consumes Celery events beside an isolated broker and posts Leek documents.
//!
//! The modules stand in reading order; imports go one way, `runtime → shells → core`
//! (ARCHITECTURE.md). Nothing here chooses an exit code: `main` alone does.

pub mod cli;
pub mod config;
pub mod exit;
pub mod logging;

pub mod document;

pub mod clock;
pub mod nearest;
pub mod process_title;
pub mod secret;
