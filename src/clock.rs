//! The one place that reads a clock. Everything else is handed `now`.
#![allow(clippy::disallowed_methods)]

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Both clocks, read together and handed down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// For every deadline.
    pub instant: Instant,
    /// For time stamps only: milliseconds since 1970-01-01 UTC.
    pub wall_ms: i64,
}

/// What time it is.
pub fn now() -> Now {
    Now {
        instant: monotonic(),
        wall_ms: wall_ms(),
    }
}

/// Monotonic time: deadlines, backoff, windows. Never jumps.
pub fn monotonic() -> Instant {
    Instant::now()
}

/// Wall-clock milliseconds since 1970-01-01 UTC: time stamps only, never a deadline, since a
/// gateway's wall clock jumps. A clock before 1970 reads 0.
pub fn wall_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
        })
}
