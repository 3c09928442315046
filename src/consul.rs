//! Consul: the agent as a service in it, with checks that say how it is, and its whole agent API for
//! the command line.
//!
//! Pure but for [`client`], which makes one request at a time and decides nothing.

pub mod client;
pub mod definition;
pub mod health;
pub mod registration;
pub mod request;
