//! Repeats of one message: the first few in a window pass, the others are counted, and the count
//! surfaces with the next one that passes or when the window ends. Pure: `now` comes in.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Repeats that pass in a window: enough to see a pattern.
const PASS: u32 = 5;
const WINDOW: Duration = Duration::from_secs(60);
/// Messages remembered at once: about ten a subscription on a large gateway, some 30 KB.
const KEYS_MAX: usize = 256;

/// What makes two entries repeats of one another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    pub level: log::Level,
    pub target: String,
    /// File and line, for a message that is put together from parts.
    pub place: Option<(String, u32)>,
    /// The message; empty where it is put together from parts.
    pub message: String,
    pub subscription: Option<String>,
}

/// What becomes of an entry.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// To be written, with the number of repeats that were not.
    Pass {
        held_back: u64,
    },
    HoldBack,
}

#[derive(Debug)]
struct Window {
    began: Instant,
    passed: u32,
    held_back: u64,
}

/// The memory of what was logged lately, of bounded size.
#[derive(Debug, Default)]
pub struct RateLimit {
    windows: BTreeMap<Key, Window>,
    /// Counts that had to make room, due at the next [`RateLimit::expired`].
    displaced: Vec<(Key, u64)>,
    /// When the first window that holds something back ends.
    deadline: Option<Instant>,
}

impl RateLimit {
    /// Whether an entry is written at `now`.
    pub fn check(&mut self, key: Key, now: Instant) -> Verdict {
        if let Some(window) = self.windows.get_mut(&key) {
            return window.repeat(now, &mut self.deadline);
        }
        if self.windows.len() >= KEYS_MAX {
            self.make_room(now);
        }
        let window = Window {
            began: now,
            passed: 1,
            held_back: 0,
        };
        self.windows.insert(key, window);
        Verdict::Pass { held_back: 0 }
    }

    /// When [`RateLimit::expired`] has something to tell next.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Takes out the messages whose window ended with repeats held back, and their number.
    pub fn expired(&mut self, now: Instant) -> Vec<(Key, u64)> {
        if self.deadline.is_none_or(|deadline| now < deadline) {
            return std::mem::take(&mut self.displaced);
        }
        self.take_where(|window| window.ended(now))
    }

    /// Takes out everything that was held back.
    pub fn drain(&mut self) -> Vec<(Key, u64)> {
        self.take_where(|_| true)
    }

    fn take_where(&mut self, due: impl Fn(&Window) -> bool) -> Vec<(Key, u64)> {
        let mut taken = std::mem::take(&mut self.displaced);
        self.windows.retain(|key, window| {
            let due = due(window);
            if due && window.held_back > 0 {
                taken.push((key.clone(), window.held_back));
            }
            !due
        });
        let waiting = self.windows.values().filter(|window| window.held_back > 0);
        self.deadline = waiting.map(|window| window.began + WINDOW).min();
        taken
    }

    /// Forgets the messages whose window ended, or else the oldest one; no count is lost.
    fn make_room(&mut self, now: Instant) {
        let ended = self.take_where(|window| window.ended(now));
        self.displaced.extend(ended);
        if self.windows.len() < KEYS_MAX {
            return;
        }
        let oldest = self
            .windows
            .iter()
            .min_by_key(|(_, window)| (window.held_back > 0, window.began));
        let Some(key) = oldest.map(|(key, _)| key.clone()) else {
            return;
        };
        if let Some(window) = self
            .windows
            .remove(&key)
            .filter(|window| window.held_back > 0)
        {
            self.displaced.push((key, window.held_back));
        }
    }
}

impl Window {
    fn ended(&self, now: Instant) -> bool {
        now.duration_since(self.began) >= WINDOW
    }

    fn repeat(&mut self, now: Instant, deadline: &mut Option<Instant>) -> Verdict {
        if self.ended(now) {
            let held_back = self.held_back;
            *self = Window {
                began: now,
                passed: 1,
                held_back: 0,
            };
            return Verdict::Pass { held_back };
        }
        if self.passed < PASS {
            self.passed += 1;
            return Verdict::Pass { held_back: 0 };
        }
        self.held_back += 1;
        let end = self.began + WINDOW;
        *deadline = Some(deadline.map_or(end, |other| other.min(end)));
        Verdict::HoldBack
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(message: &str) -> Key {
        Key {
            level: log::Level::Warn,
            target: "leek_agent".into(),
            place: None,
            message: message.into(),
            subscription: None,
        }
    }

    fn seconds(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    #[test]
    fn five_pass_and_the_next_window_tells_the_rest() {
        let start = crate::clock::monotonic();
        let mut limit = RateLimit::default();
        for second in 0..5 {
            let verdict = limit.check(key("a"), start + seconds(second));
            assert_eq!(verdict, Verdict::Pass { held_back: 0 });
        }
        for _ in 0..7 {
            assert_eq!(
                limit.check(key("a"), start + seconds(59)),
                Verdict::HoldBack
            );
        }
        assert_eq!(
            limit.check(key("b"), start + seconds(59)),
            Verdict::Pass { held_back: 0 }
        );
        assert_eq!(
            limit.check(key("a"), start + seconds(60)),
            Verdict::Pass { held_back: 7 }
        );
        assert_eq!(
            limit.check(key("a"), start + seconds(61)),
            Verdict::Pass { held_back: 0 }
        );
    }

    #[test]
    fn a_count_surfaces_without_a_further_message() {
        let start = crate::clock::monotonic();
        let mut limit = RateLimit::default();
        for _ in 0..8 {
            limit.check(key("a"), start);
        }
        assert_eq!(limit.deadline(), Some(start + WINDOW));
        assert_eq!(limit.expired(start + seconds(59)), []);
        assert_eq!(limit.expired(start + WINDOW), [(key("a"), 3)]);
        assert_eq!(limit.deadline(), None);
        assert_eq!(limit.expired(start + WINDOW * 2), []);
        limit.check(key("a"), start + WINDOW);
        assert_eq!(limit.drain(), []);
    }

    #[test]
    fn memory_is_bounded_and_no_count_is_lost() {
        let start = crate::clock::monotonic();
        let mut limit = RateLimit::default();
        let mut told = 0;
        for number in 0..2 * KEYS_MAX {
            for _ in 0..6 {
                limit.check(key(&format!("m{number}")), start);
            }
            assert!(limit.windows.len() <= KEYS_MAX);
            told += limit.expired(start).len();
        }
        told += limit.drain().len();
        assert_eq!(told, 2 * KEYS_MAX);
    }
}
