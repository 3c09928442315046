//! The commands besides `run`: each does one thing and ends.

pub mod ask;
pub mod check;
pub mod consul;
pub mod import_herald;
pub mod order;
pub mod replay;
pub mod sink;
pub mod status;
pub mod subscriptions;
mod table;
pub mod top;
pub mod transform;
