//! Waiting for a condition: the one place in the tests that sleeps.
//!
//! A test never waits for a time to pass, it waits for something to be so, and says what that was
//! if it never came.

use std::time::Duration;

use leek_agent::clock;

/// Short enough that no test is slowed down, long enough that 2 cores are left to what is tested.
const POLL_EVERY: Duration = Duration::from_millis(20);

/// Waits until `condition` holds; panics, naming `what`, when it does not within `limit`.
#[track_caller]
pub fn wait_until(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    wait_for(limit, what, || condition().then_some(()));
}

/// Waits until `look` finds something and gives it back; panics, naming `what`, after `limit`.
#[track_caller]
pub fn wait_for<T>(limit: Duration, what: &str, look: impl FnMut() -> Option<T>) -> T {
    match poll(limit, look) {
        Some(found) => found,
        None => panic!("not within {limit:?}: {what}"),
    }
}

/// True if `condition` held all the way through `span`: for what must *not* happen.
pub fn holds_for(span: Duration, mut condition: impl FnMut() -> bool) -> bool {
    poll(span, || (!condition()).then_some(())).is_none()
}

/// As [`wait_for`], for the callers that have more to say when time runs out.
pub fn poll<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let end = clock::monotonic() + limit;
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if clock::monotonic() >= end {
            return None;
        }
        pause();
    }
}

// Processes and sockets of other programs cannot be waited for in any other way.
#[allow(clippy::disallowed_methods)]
fn pause() {
    std::thread::sleep(POLL_EVERY);
}
