//! The one place that reads a clock. Everything else is handed `now`.
#![allow(clippy::disallowed_methods)]

use std::time::{Instant, SystemTime, UNIX_EPOCH};

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
