//! Redis, its pure parts: what the bytes mean. [`resp`] knows frames, [`session`] the talk with a
//! server, [`sentinel`] how the master is found, [`envelope`] a message's body, [`channels`] which
//! ones carry the events.

pub mod channels;
pub mod envelope;
mod failure;
pub mod resp;
pub mod sentinel;
pub mod session;
