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
    longest_own: Duration,
}

/// A pause that people should hear of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LongPause {
    pub length: Duration,
    /// Of which the thread was ready to run and had no processor.
    pub cpu_wait: Duration,
}

impl Pauses {
    /// A sleep has ended, or the loop begins.
    pub fn wake(&mut self, now: Instant) {
        self.awake_since = Some(now);
    }

    /// The next sleep begins, or the loop ends. `cpu_wait` is asked only where it can matter.
    pub fn sleep(
        &mut self,
        now: Instant,
        cpu_wait: impl FnOnce() -> Duration,
    ) -> Option<LongPause> {
        let length = now.saturating_duration_since(self.awake_since.take()?);
        self.longest = self.longest.max(length);
        if length <= self.longest_own.min(LONG) {
            return None;
        }
        let cpu_wait = cpu_wait().min(length);
        self.longest_own = self.longest_own.max(length - cpu_wait);
        (length > LONG).then_some(LongPause { length, cpu_wait })
    }

    /// The longest one so far.
    pub fn longest(&self) -> Duration {
        self.longest
    }

    /// The same, less what was waited for a processor.
    pub fn longest_own(&self) -> Duration {
        self.longest_own
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

    const NONE: Duration = Duration::ZERO;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn the_longest_time_awake_is_kept_and_sleep_does_not_count() {
        let start = clock::monotonic();
        let mut pauses = Pauses::default();
        assert_eq!(pauses.sleep(start, || NONE), None);
        for (woke, slept) in [(0, 3), (1_000, 1_030), (90_000, 90_001)] {
            pauses.wake(start + ms(woke));
            assert_eq!(pauses.sleep(start + ms(slept), || NONE), None);
        }
        assert_eq!((pauses.longest(), pauses.longest_own()), (ms(30), ms(30)));
    }

    #[test]
    fn only_a_long_pause_is_told() {
        let start = clock::monotonic();
        let mut pauses = Pauses::default();
        pauses.wake(start);
        assert_eq!(pauses.sleep(start + LONG, || NONE), None);
        let longer = LONG + Duration::from_micros(60);
        pauses.wake(start);
        let told = LongPause {
            length: longer,
            cpu_wait: NONE,
        };
        assert_eq!(pauses.sleep(start + longer, || NONE), Some(told));
        assert_eq!(milliseconds(longer), 50.1);
    }

    #[test]
    fn what_the_machine_took_is_not_the_agents_own() {
        let start = clock::monotonic();
        let mut pauses = Pauses::default();
        pauses.wake(start);
        pauses.sleep(start + ms(300), || ms(280));
        pauses.wake(start);
        pauses.sleep(start + ms(40), || ms(15));
        pauses.wake(start);
        // The figure may be a little older than the turn.
        pauses.sleep(start + ms(60), || ms(61));
        assert_eq!((pauses.longest(), pauses.longest_own()), (ms(300), ms(25)));
        pauses.wake(start);
        pauses.sleep(start + ms(25), || unreachable!("it cannot matter"));
    }
}
