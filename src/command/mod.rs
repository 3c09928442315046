//! The commands besides `run`: each does one thing and ends.

pub mod check;
pub mod consul;
pub mod import_herald;
pub mod replay;
pub mod sink;
pub mod status;
mod table;
pub mod transform;
