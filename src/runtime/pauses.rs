//! How long the event loop was away from its poll: the time from the end of one sleep to the
//! beginning of the next. Whatever is due in between waits that long. Pure: `now` comes in.

use std::time::{Duration, Instant};

/// A pause that people should hear of: nothing that the loop does may take that long (contract
/// C11), so either the machine has too little time for the agent, or the agent has a fault.
const LONG: Duration = Duration::from_millis(50);

/// See the module's text.
#[derive(Debug, Default)]
pub struct Pauses {
    awake_since: Option<Instant>,
    longest: Duration,
}

impl Pauses {
    /// A sleep has ended, or the loop begins.
    pub fn wake(&mut self, now: Instant) {
        self.awake_since = Some(now);
    }

    /// The next sleep begins, or the loop ends. Answers a pause that people should hear of.
    pub fn sleep(&mut self, now: Instant) -> Option<Duration> {
        let pause = now.saturating_duration_since(self.awake_since.take()?);
        self.longest = self.longest.max(pause);
        (pause > LONG).then_some(pause)
    }

    /// The longest one so far.
    pub fn longest(&self) -> Duration {
        self.longest
    }
}

/// In milliseconds with one decimal, as it is shown.
pub fn milliseconds(pause: Duration) -> f64 {
    (pause.as_secs_f64() * 10_000.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn the_longest_time_awake_is_kept_and_sleep_does_not_count() {
        let start = clock::monotonic();
        let after = |ms| start + Duration::from_millis(ms);
        let mut pauses = Pauses::default();
        assert_eq!(pauses.sleep(after(0)), None);
        for (woke, slept) in [(0, 3), (1_000, 1_030), (90_000, 90_001)] {
            pauses.wake(after(woke));
            assert_eq!(pauses.sleep(after(slept)), None);
        }
        assert_eq!(pauses.longest(), Duration::from_millis(30));
    }

    #[test]
    fn only_a_long_pause_is_told() {
        let start = clock::monotonic();
        let mut pauses = Pauses::default();
        pauses.wake(start);
        assert_eq!(pauses.sleep(start + LONG), None);
        let longer = LONG + Duration::from_micros(60);
        pauses.wake(start);
        assert_eq!(pauses.sleep(start + longer), Some(longer));
        assert_eq!(milliseconds(longer), 50.1);
    }
}
