//! The commands besides `run`: each does one thing and ends.

pub mod check;
pub mod replay;
pub mod sink;
pub mod status;
pub mod transform;
