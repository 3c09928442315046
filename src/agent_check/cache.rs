//! When a source is to be asked, and what counts until it is asked again.
//!
//! ```text
//!            due (or a request, with interval 0)
//!   Idle ────────────────────────────────────────> Asked
//!     ^                                              │
//!     └──── an answer: fresh; none: the old one ─────┘
//! ```

use std::time::{Duration, Instant};

use super::answer::Answer;

/// How often, and for how long an answer counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timing {
    /// From one answer of the source to the next question; zero to ask at each request.
    pub interval: Duration,
    /// What is older than that is stale; `None` for never.
    pub staleness: Option<Duration>,
    /// What is said meanwhile.
    pub stale: Answer,
}

/// The last answer of one source.
#[derive(Debug)]
pub struct Cache {
    timing: Timing,
    answer: Answer,
    /// When the source last gave an answer; the start counts.
    fresh: Instant,
    /// The source was asked and has not answered.
    asked: bool,
    /// When it is to be asked again.
    due: Option<Instant>,
}

impl Cache {
    pub fn new(timing: Timing, now: Instant) -> Self {
        let polls = timing.interval > Duration::ZERO;
        Cache {
            timing,
            answer: Answer::NOTHING,
            fresh: now,
            asked: false,
            due: polls.then_some(now),
        }
    }

    /// True if each request asks the source.
    pub fn is_inline(&self) -> bool {
        self.timing.interval.is_zero()
    }

    /// A request has come: true if the source is to be asked for it now. Requests that come while it
    /// is being asked share its answer.
    pub fn requested(&mut self) -> bool {
        let asks = self.is_inline() && !self.asked;
        self.asked |= asks;
        asks
    }

    /// True if the source is to be asked now.
    pub fn poll(&mut self, now: Instant) -> bool {
        let asks = !self.asked && self.due.is_some_and(|due| due <= now);
        if asks {
            self.asked = true;
            self.due = None;
        }
        asks
    }

    /// The source has answered, or failed to: then the old answer counts on.
    pub fn polled(&mut self, answer: Option<Answer>, now: Instant) {
        self.asked = false;
        if !self.is_inline() {
            self.due = Some(now + self.timing.interval);
        }
        if let Some(answer) = answer {
            self.answer = answer;
            self.fresh = now;
        }
    }

    /// True while an answer is waited for.
    pub fn is_asked(&self) -> bool {
        self.asked
    }

    pub fn is_stale(&self, now: Instant) -> bool {
        let age = now.saturating_duration_since(self.fresh);
        self.timing.staleness.is_some_and(|longest| age > longest)
    }

    /// What counts now.
    pub fn answer(&self, now: Instant) -> &Answer {
        match self.is_stale(now) {
            true => &self.timing.stale,
            false => &self.answer,
        }
    }

    /// When [`Cache::poll`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        self.due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn cache(interval: u32, staleness: u32) -> (Cache, Instant) {
        let now = crate::clock::monotonic();
        let timing = Timing {
            interval: SECOND * interval,
            staleness: Some(SECOND * staleness).filter(|it| !it.is_zero()),
            stale: Answer::parse("down # stale").unwrap(),
        };
        (Cache::new(timing, now), now)
    }

    fn up() -> Option<Answer> {
        Some(Answer::parse("up").unwrap())
    }

    #[test]
    fn it_is_asked_an_interval_after_each_answer() {
        let (mut cache, start) = cache(5, 0);
        assert_eq!(cache.answer(start), &Answer::NOTHING);
        assert!(cache.poll(start) && !cache.poll(start + SECOND * 99));
        assert_eq!(cache.deadline(), None);
        cache.polled(up(), start + SECOND * 3);
        assert_eq!(cache.deadline(), Some(start + SECOND * 8));
        assert!(!cache.poll(start + SECOND * 7) && !cache.requested());
        assert_eq!(Some(cache.answer(start + SECOND * 1000)), up().as_ref());
        assert!(cache.poll(start + SECOND * 8));
    }

    #[test]
    fn a_failure_leaves_the_answer_until_it_is_stale() {
        let (mut cache, start) = cache(5, 10);
        assert!(!cache.is_stale(start + SECOND * 10));
        assert!(cache.is_stale(start + SECOND * 11));
        assert!(cache.poll(start));
        cache.polled(up(), start + SECOND);
        assert!(cache.poll(start + SECOND * 6));
        cache.polled(None, start + SECOND * 7);
        assert_eq!(cache.deadline(), Some(start + SECOND * 12));
        assert_eq!(Some(cache.answer(start + SECOND * 11)), up().as_ref());
        assert_eq!(
            cache.answer(start + SECOND * 12).to_string(),
            "down # stale"
        );
        cache.polled(up(), start + SECOND * 13);
        assert_eq!(Some(cache.answer(start + SECOND * 13)), up().as_ref());
    }

    #[test]
    fn without_an_interval_each_request_asks() {
        let (mut cache, start) = cache(0, 0);
        assert!(!cache.poll(start) && cache.deadline().is_none());
        assert!(cache.requested() && !cache.requested() && cache.is_asked());
        cache.polled(up(), start);
        assert!(!cache.is_asked() && cache.requested());
    }
}
