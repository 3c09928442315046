//! Whether the API takes batches: closed until a probe has found it well, held after a failure.
//!
//! ```text
//!  unproven ── probe ──► probing ── 200 ──► open ◄── answered ── trial
//!     ▲                     │                │                    ▲ │
//!     └──── backoff ────────┘              failed             due │ │ failed
//!                                            └──────► held ───────┘ │
//!                                                      ▲────────────┘
//! ```
//!
//! One failure holds all uploads of a subscription: they go to the same API, and a thin link is
//! not for asking the same question four times.

use std::time::{Duration, Instant};

use super::backoff::Backoff;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Never found well, or not since it was last in doubt: a probe is due then.
    Unproven {
        probe_at: Instant,
    },
    Probing,
    Open,
    /// Nothing is sent before then.
    Held {
        until: Instant,
    },
    /// One post is under way to see whether the API is well again.
    Trial,
}

/// How the next try is timed after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// It may heal by itself.
    Backoff,
    /// The API named a time itself.
    After(Duration),
    /// A person must mend it.
    Slow,
}

/// See the module's text.
#[derive(Debug)]
pub struct Gate {
    state: State,
    backoff: Backoff,
    /// Since when the API was not known to be well.
    shut_since: Option<Instant>,
}

impl Gate {
    pub fn new(now: Instant, seed: u64) -> Self {
        Gate {
            state: State::Unproven { probe_at: now },
            backoff: Backoff::new(seed),
            shut_since: Some(now),
        }
    }

    pub fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// Since when the API is not known to be well.
    pub fn shut_since(&self) -> Option<Instant> {
        self.shut_since
    }

    /// Answers true, once, where a probe is due; `idle` says that no batch waits that could test
    /// the API in the probe's stead.
    pub fn take_probe(&mut self, now: Instant, waiting: Waiting) -> bool {
        let due = match self.state {
            State::Unproven { probe_at } => now >= probe_at,
            State::Held { until } => now >= until && waiting == Waiting::Nothing,
            _ => false,
        };
        if due {
            self.state = State::Probing;
        }
        due
    }

    /// Answers true where a post may start now; after a hold, for one post only.
    pub fn take_post(&mut self, now: Instant) -> bool {
        match self.state {
            State::Open => true,
            State::Held { until } if now >= until => {
                self.state = State::Trial;
                true
            }
            _ => false,
        }
    }

    /// True where a post could start now.
    pub fn would_take_post(&self, now: Instant) -> bool {
        matches!(self.state, State::Open)
            || matches!(self.state, State::Held { until } if now >= until)
    }

    /// The API answered as the Leek API does. Answers true if it was not known to be well before.
    pub fn answered(&mut self) -> bool {
        let recovered = self.state != State::Open;
        self.state = State::Open;
        self.shut_since = None;
        self.backoff.reset();
        recovered
    }

    /// The probe failed: answers how long until the next.
    pub fn probe_failed(&mut self, pace: Pace, now: Instant) -> Duration {
        let delay = self.delay(pace);
        self.shut_since.get_or_insert(now);
        self.state = State::Unproven {
            probe_at: now + delay,
        };
        delay
    }

    /// A post failed: answers how long all of them wait, `None` where a hold was on already.
    pub fn post_failed(&mut self, pace: Pace, now: Instant) -> Option<Duration> {
        if !matches!(self.state, State::Open | State::Trial) {
            return None;
        }
        let delay = self.delay(pace);
        self.shut_since.get_or_insert(now);
        self.state = State::Held { until: now + delay };
        Some(delay)
    }

    /// The API is another one: it is asked at once.
    pub fn renew(&mut self, now: Instant) {
        self.state = State::Unproven { probe_at: now };
        self.shut_since.get_or_insert(now);
        self.backoff.reset();
    }

    /// Ends a hold early: the last try before a stop.
    pub fn hurry(&mut self, now: Instant) {
        if let State::Held { until } = &mut self.state {
            *until = now;
        }
    }

    /// When time alone changes something here.
    pub fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Unproven { probe_at } => Some(probe_at),
            State::Held { until } => Some(until),
            _ => None,
        }
    }

    fn delay(&mut self, pace: Pace) -> Duration {
        match pace {
            Pace::Backoff => self.backoff.next_delay(),
            Pace::After(asked) => self.backoff.next_delay().max(asked),
            Pace::Slow => self.backoff.slow_delay(),
        }
    }
}

/// Whether a batch waits to be posted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    Batch,
    Nothing,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    fn open_gate() -> (Gate, Instant) {
        let now = clock::monotonic();
        let mut gate = Gate::new(now, 5);
        assert!(gate.take_probe(now, Waiting::Nothing));
        assert!(gate.answered(), "it was not known to be well");
        (gate, now)
    }

    #[test]
    fn nothing_is_posted_before_a_probe_was_answered() {
        let now = clock::monotonic();
        let mut gate = Gate::new(now, 5);
        assert!(!gate.take_post(now));
        assert!(gate.take_probe(now, Waiting::Batch));
        assert!(!gate.take_probe(now, Waiting::Batch), "one probe at a time");
        let delay = gate.probe_failed(Pace::Backoff, now);
        assert!(!gate.take_probe(now, Waiting::Batch));
        assert!(gate.take_probe(now + delay, Waiting::Batch));
        gate.answered();
        assert!(gate.take_post(now));
    }

    #[test]
    fn after_a_hold_one_post_tries() {
        let (mut gate, now) = open_gate();
        let delay = gate.post_failed(Pace::Backoff, now).unwrap();
        assert!(!gate.take_post(now));
        assert_eq!(gate.deadline(), Some(now + delay));
        assert!(gate.take_post(now + delay));
        assert!(!gate.take_post(now + delay), "only one");
        assert!(gate.answered());
        assert!(gate.take_post(now + delay) && gate.take_post(now + delay));
    }

    #[test]
    fn failures_of_posts_that_were_under_way_together_are_one_step() {
        let (mut gate, now) = open_gate();
        assert!(gate.post_failed(Pace::Backoff, now).is_some());
        assert_eq!(gate.post_failed(Pace::Backoff, now), None);
    }

    #[test]
    fn an_idle_hold_ends_with_a_probe() {
        let (mut gate, now) = open_gate();
        let delay = gate.post_failed(Pace::Backoff, now).unwrap();
        assert!(
            !gate.take_probe(now + delay, Waiting::Batch),
            "the batch is the test"
        );
        assert!(gate.take_probe(now + delay, Waiting::Nothing));
    }

    #[test]
    fn the_api_may_ask_for_more_time_and_a_person_takes_some() {
        let (mut gate, now) = open_gate();
        let asked = Duration::from_secs(600);
        assert!(gate.post_failed(Pace::After(asked), now).unwrap() >= asked);
        let (mut gate, now) = open_gate();
        assert!(gate.post_failed(Pace::Slow, now).unwrap() >= Duration::from_secs(30));
    }

    #[test]
    fn an_outage_lasts_from_its_first_failure_to_the_first_answer() {
        let (mut gate, now) = open_gate();
        assert_eq!(gate.shut_since(), None);
        let delay = gate.post_failed(Pace::Backoff, now).unwrap();
        gate.take_post(now + delay);
        gate.post_failed(Pace::Backoff, now + delay);
        assert_eq!(gate.shut_since(), Some(now));
        gate.answered();
        assert_eq!(gate.shut_since(), None);
        assert_eq!(Gate::new(now, 5).shut_since(), Some(now));
    }

    #[test]
    fn another_api_is_asked_at_once() {
        let (mut gate, now) = open_gate();
        gate.renew(now);
        assert!(!gate.take_post(now));
        assert_eq!(gate.shut_since(), Some(now));
        assert!(gate.take_probe(now, Waiting::Batch));
        let (mut gate, now) = open_gate();
        gate.post_failed(Pace::Slow, now);
        gate.renew(now);
        assert!(gate.take_probe(now, Waiting::Batch));
        assert_eq!(
            gate.post_failed(Pace::Slow, now),
            None,
            "an answer of the API before says nothing of this one"
        );
    }

    #[test]
    fn a_stop_does_not_wait_for_a_hold() {
        let (mut gate, now) = open_gate();
        gate.post_failed(Pace::Slow, now);
        gate.hurry(now);
        assert!(gate.take_post(now));
    }
}
