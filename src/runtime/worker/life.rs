//! How a worker ends: what it may still do, and until when.
//!
//! ```text
//!  working ── stop ──► stopping ── time is over ──► saving ── saved, or time is over ──► closing
//! ```
//!
//! It may be over earlier, once everything is delivered and closed.

use std::time::{Duration, Instant};

use super::Worker;
use crate::pipeline::Input;

/// What connections get for an orderly close after the time for a stop is over.
const CLOSE_GRACE: Duration = Duration::from_secs(1);

/// What a spool gets for what could not be delivered in time: at the worst a ring of 256 MB, which a
/// slow card takes in that time only in part; what is more is dropped and counted.
const SAVE_GRACE: Duration = Duration::from_secs(5);

/// How far a worker is from its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    Working,
    /// Until then uploads may finish.
    Stopping {
        until: Instant,
    },
    /// Until then the spool may write what was not delivered.
    Saving {
        until: Instant,
    },
    /// Until then the connection may close.
    Closing {
        until: Instant,
    },
}

impl Worker {
    /// Stops consuming and delivers what is here, for at most `timeout`.
    pub fn stop(&mut self, timeout: Duration, now: Instant) {
        if self.life == Life::Working {
            self.input(Input::Stop, now);
            self.life = Life::Stopping {
                until: now + timeout,
            };
        }
    }

    /// No further wait for anything.
    pub fn end_at_once(&mut self, now: Instant) {
        self.life = Life::Closing { until: now };
    }

    /// Told to stop.
    pub fn is_ending(&self) -> bool {
        self.life != Life::Working
    }

    /// Everything is closed, or should have been by now.
    pub fn is_over(&self, now: Instant) -> bool {
        self.stopped || matches!(self.life, Life::Closing { until } if now >= until)
    }

    /// Gives the connection up, whatever it is doing.
    pub fn abandon(&mut self) {
        self.source.abandon();
    }

    /// Passes on to the next part of its end, if its time has come.
    pub(super) fn pass_deadlines(&mut self, now: Instant) {
        match self.life {
            Life::Stopping { until } if now >= until => {
                self.input(Input::GiveUp, now);
                self.life = Life::Saving {
                    until: now + SAVE_GRACE,
                };
                self.pass_deadlines(now);
            }
            Life::Saving { until } if now >= until || !self.pipeline.is_saving() => {
                self.input(Input::GiveUp, now);
                self.life = Life::Closing {
                    until: now + CLOSE_GRACE,
                };
            }
            _ => {}
        }
    }

    /// When the next part of its end is due.
    pub(super) fn life_deadline(&self, now: Instant) -> Option<Instant> {
        match self.life {
            Life::Working => None,
            Life::Stopping { until } | Life::Saving { until } | Life::Closing { until } => {
                Some(until).filter(|until| *until > now)
            }
        }
    }
}
