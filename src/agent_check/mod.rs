//! What HAProxy is told about the load and the health of a machine, over its agent-check protocol:
//! one line for each connection.
//!
//! Pure: bytes and `now` in, answers out. [`rules`] turn what a source says into an [`answer`], by
//! [`expression`]s over it; a [`cache`] says when a source is to be asked, and what counts until it
//! was; [`own`] is what the agent says of itself. Sockets are `responder`'s, sources `poller`'s.

pub mod answer;
pub mod cache;
pub mod expression;
pub mod own;
pub mod rules;

pub use self::answer::Answer;
pub use self::expression::Expression;
pub use self::rules::Rules;

/// Port where Herald listens by default, and we with it.
pub const PORT: u16 = 5555;
