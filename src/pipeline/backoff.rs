//! Exponential backoff with full jitter: how long to wait after the n-th failure in a row.
//!
//! Full jitter spreads the agents of a whole fleet over the waiting time, so that a broker or an
//! API that comes back is not met by all of them in the same second.

use std::time::Duration;

/// The ceiling after the first failure; it doubles with each further one.
pub const FIRST: Duration = Duration::from_secs(1);

/// The ceiling never grows past this.
pub const LONGEST: Duration = Duration::from_secs(60);

/// Full jitter may draw nearly zero: this keeps a failure that costs nothing from becoming a loop.
const SHORTEST: Duration = Duration::from_millis(100);

/// The state of one thing that is tried again and again.
#[derive(Debug, Clone)]
pub struct Backoff {
    failures: u32,
    random: fastrand::Rng,
}

impl Backoff {
    /// A backoff that has seen no failure. `seed` makes its draws repeatable.
    pub fn new(seed: u64) -> Self {
        Backoff {
            failures: 0,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// Counts a failure and draws how long to wait before the next try.
    pub fn next_delay(&mut self) -> Duration {
        let ceiling = FIRST.saturating_mul(1 << self.failures.min(6)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        ceiling.mul_f64(self.random.f64()).max(SHORTEST)
    }

    /// Draws from the slow end: for a fault that only a person can mend.
    pub fn slow_delay(&mut self) -> Duration {
        self.failures = self.failures.max(6);
        LONGEST.mul_f64(0.5 + self.random.f64() / 2.0)
    }

    /// The last try was a failure.
    pub fn has_failed(&self) -> bool {
        self.failures > 0
    }

    /// Forgets all failures.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ceilings_double_to_a_minute_and_draws_fill_them() {
        let mut longest = [Duration::ZERO; 9];
        for seed in 0..500 {
            let mut backoff = Backoff::new(seed);
            for slot in &mut longest {
                *slot = backoff.next_delay().max(*slot);
            }
        }
        for (step, seen) in longest.iter().enumerate() {
            let ceiling = Duration::from_secs((1 << step.min(6)).min(60));
            assert!(
                *seen <= ceiling && *seen > ceiling.mul_f64(0.9),
                "step {step}: {seen:?} of {ceiling:?}"
            );
        }
    }

    #[test]
    fn a_reset_starts_over_and_no_draw_is_zero() {
        let mut backoff = Backoff::new(3);
        for _ in 0..10 {
            assert!(backoff.next_delay() >= SHORTEST);
        }
        backoff.reset();
        assert!(backoff.next_delay() <= FIRST);
    }

    #[test]
    fn the_slow_end_is_never_hasty() {
        let mut backoff = Backoff::new(9);
        for _ in 0..100 {
            let delay = backoff.slow_delay();
            assert!(delay >= LONGEST / 2 && delay <= LONGEST);
        }
    }
}
