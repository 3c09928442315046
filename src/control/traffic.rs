//! What one subscription's uploads came to, for those who look.

use std::time::{Duration, Instant};

use crate::pipeline::verdict::Verdict;

/// Upper bounds of the histogram's buckets, in seconds: from a LAN to a request's deadline.
pub const BUCKETS: [f64; 9] = [0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];

/// How posts ended, as metrics name it; the order of [`Traffic::posts`].
pub const RESULTS: [&str; 6] = [
    "stored",
    "partial",
    "refused",
    "misconfigured",
    "unwell",
    "not_leek",
];

/// Counters since the agent's start.
#[derive(Debug, Clone, Default)]
pub struct Traffic {
    /// By [`RESULTS`].
    pub posts: [u64; RESULTS.len()],
    /// Bytes of the bodies of these posts.
    pub bytes: u64,
    /// Posts whose answer took at most the bucket's time and longer than that of the bucket before;
    /// the last counts those that took longer than any.
    pub durations: [u64; BUCKETS.len() + 1],
    /// Of all answers together.
    pub duration: Duration,
    /// Connections to brokers that were tried.
    pub connects: u64,
    pub rate: Rate,
}

impl Traffic {
    /// A post of `bytes` bytes was answered after `took`.
    pub fn posted(&mut self, verdict: &Verdict, bytes: usize, took: Duration) {
        let result = match verdict {
            Verdict::Stored => 0,
            Verdict::Partial { .. } => 1,
            Verdict::Refused { .. } => 2,
            Verdict::Misconfigured { .. } => 3,
            Verdict::Unwell { .. } => 4,
            Verdict::NotLeek { .. } => 5,
        };
        self.posts[result] += 1;
        self.bytes += bytes as u64;
        self.duration += took;
        let seconds = took.as_secs_f64();
        let bucket = BUCKETS.iter().position(|bound| seconds <= *bound);
        self.durations[bucket.unwrap_or(BUCKETS.len())] += 1;
    }
}

/// The length of one slot of a [`Rate`], and how many there are: the last 15 minutes.
pub const SLOT: Duration = Duration::from_secs(10);
const SLOTS: usize = 90;

/// Events delivered in each slot of the last 15 minutes. It is looked at when something happens
/// anyway: an idle agent is not woken for it.
#[derive(Debug, Clone)]
pub struct Rate {
    slots: [u32; SLOTS],
    /// The slot that is being filled began then.
    since: Option<Instant>,
    newest: usize,
    /// Delivered when the slot began.
    before: u64,
}

impl Default for Rate {
    fn default() -> Self {
        Rate {
            slots: [0; SLOTS],
            since: None,
            newest: 0,
            before: 0,
        }
    }
}

impl Rate {
    /// So many events were delivered since the agent's start.
    pub fn note(&mut self, delivered: u64, now: Instant) {
        let since = *self.since.get_or_insert(now);
        self.slots[self.newest] = u32::try_from(delivered - self.before).unwrap_or(u32::MAX);
        let passed = now.saturating_duration_since(since).as_secs() / SLOT.as_secs();
        if passed == 0 {
            return;
        }
        for _ in 0..passed.min(SLOTS as u64) {
            self.newest = (self.newest + 1) % SLOTS;
            self.slots[self.newest] = 0;
        }
        self.since = Some(since + SLOT * u32::try_from(passed).unwrap_or(u32::MAX));
        self.before = delivered;
    }

    /// Events by slot, the newest last.
    pub fn slots(&self) -> impl Iterator<Item = u32> + '_ {
        let (newer, older) = self.slots.split_at(self.newest + 1);
        older.iter().chain(newer).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn answers_fall_into_the_bucket_of_their_time() {
        let mut traffic = Traffic::default();
        for ms in [10, 25, 26, 31_000] {
            traffic.posted(&Verdict::Stored, 100, Duration::from_millis(ms));
        }
        let refused = Verdict::Refused {
            status: 413,
            reason: String::new(),
        };
        traffic.posted(&refused, 1, Duration::from_millis(1));
        assert_eq!(traffic.posts, [4, 0, 1, 0, 0, 0]);
        assert_eq!(traffic.bytes, 401);
        assert_eq!(traffic.durations[..2], [3, 1]);
        assert_eq!(traffic.durations[BUCKETS.len()], 1);
        assert_eq!(traffic.duration, Duration::from_millis(31_062));
    }

    #[test]
    fn what_was_delivered_stands_in_its_slot() {
        let (mut rate, start) = (Rate::default(), clock::monotonic());
        let at = |seconds| start + Duration::from_secs(seconds);
        rate.note(5, at(0));
        rate.note(7, at(9));
        rate.note(17, at(12));
        rate.note(20, at(15));
        // Nothing for half a minute, then some.
        rate.note(20, at(45));
        rate.note(21, at(46));
        let slots: Vec<_> = rate.slots().collect();
        assert_eq!(slots.len(), SLOTS);
        // What came in the slot's first look after its end counts to the slot before.
        assert_eq!(slots[SLOTS - 5..], [17, 3, 0, 0, 1]);
        assert_eq!(slots.iter().sum::<u32>(), 21);
        rate.note(21, at(46 + 3600));
        assert_eq!(rate.slots().sum::<u32>(), 0);
    }
}
