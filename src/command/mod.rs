//! The commands besides `run`: each does one thing and ends.

pub mod sink;
pub mod transform;
