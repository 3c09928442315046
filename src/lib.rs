//! leek-agent: consumes Celery events beside an isolated broker and posts Leek documents.
//!
//! The groups of modules stand in reading order; imports go one way, `runtime → shells → core`
//! (ARCHITECTURE.md). Nothing here chooses an exit code: `main` alone does.

// What the agent was told.
pub mod cli;
pub mod config;
mod nearest;

// The ground everything stands on.
pub mod clock;
pub mod duration;
pub mod exit;
pub mod lock;
pub mod logging;
pub mod notify;
pub mod process_title;
pub mod release;
pub mod secret;
pub mod signal;
pub mod small_file;
pub mod tls;

// The core: pure, `now` comes in as an argument. ARCHITECTURE.md has it in the order data flows.
pub mod agent_check;
pub mod bytes;
pub mod control;
pub mod delivery;
pub mod document;
pub mod event;
pub mod herald;
pub mod http;
pub mod json;
pub mod pipeline;
pub mod python;

// The shells, and the loop that drives them.
pub mod command;
pub mod consul;
mod outbound;
pub mod poller;
pub mod reconfigure;
pub mod responder;
pub mod runtime;
pub mod server;
pub mod source;
pub mod store;
pub mod upload;
