//! How a subscription is, as Consul has it: passing, warning or critical, and a few words about it.

use std::time::{Duration, Instant};

use super::definition::State;
use crate::pipeline::verdict::plain;

/// A fuller buffer is a warning.
const BUFFER_PERCENT: u8 = 80;

/// What is seen of a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vitals {
    pub is_consuming: bool,
    pub is_api_well: bool,
    /// Told to do nothing for now.
    pub is_paused: bool,
    /// Of the buffer, how much is used.
    pub buffer_percent: u8,
}

/// Keeps an eye on one subscription.
#[derive(Debug, Clone, Default)]
pub struct Watch {
    last: Option<Vitals>,
    /// Since when its broker or its API is not well.
    down_since: Option<Instant>,
}

impl Watch {
    pub fn look(&mut self, vitals: Vitals, now: Instant) {
        self.last = Some(vitals);
        match vitals.is_paused || (vitals.is_consuming && vitals.is_api_well) {
            true => self.down_since = None,
            false => _ = self.down_since.get_or_insert(now),
        }
    }

    /// How it is, where it may be down for `critical_after`.
    pub fn state(&self, critical_after: Duration, now: Instant) -> State {
        let is_full = |vitals: Vitals| vitals.buffer_percent > BUFFER_PERCENT;
        match (self.down_since, self.last) {
            (Some(since), _) if now >= since + critical_after => State::Critical,
            (None, Some(vitals)) if !vitals.is_paused && !is_full(vitals) => State::Passing,
            _ => State::Warning,
        }
    }

    /// When it turns critical if nothing changes.
    pub fn deadline(&self, critical_after: Duration, now: Instant) -> Option<Instant> {
        let turns = self.down_since? + critical_after;
        (turns > now).then_some(turns)
    }

    /// A line about it; `reasons` say what is not well.
    pub fn text(&self, reasons: impl Iterator<Item = String>) -> String {
        let mut parts: Vec<String> = reasons.collect();
        match self.last {
            None => parts.push("not looked at yet".to_owned()),
            Some(vitals) => {
                if vitals.is_paused {
                    parts.insert(0, "paused".to_owned());
                }
                if vitals.buffer_percent > BUFFER_PERCENT {
                    parts.push(format!("buffer {} % full", vitals.buffer_percent));
                }
            }
        }
        match parts.is_empty() {
            true => "consuming, api well".to_owned(),
            false => plain(&parts.join("; ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    const WELL: Vitals = Vitals {
        is_consuming: true,
        is_api_well: true,
        is_paused: false,
        buffer_percent: 80,
    };
    const GRACE: Duration = Duration::from_secs(60);

    #[test]
    fn it_turns_critical_after_the_grace_time_and_passes_at_once() {
        let start = clock::monotonic();
        let at = |second| start + Duration::from_secs(second);
        let mut watch = Watch::default();
        assert_eq!(watch.state(GRACE, at(0)), State::Warning);
        for (second, vitals, expected) in [
            (0, WELL, State::Passing),
            (
                10,
                Vitals {
                    is_api_well: false,
                    ..WELL
                },
                State::Warning,
            ),
            // The other side is down, too: nothing begins anew.
            (
                40,
                Vitals {
                    is_consuming: false,
                    is_api_well: false,
                    ..WELL
                },
                State::Warning,
            ),
            (
                69,
                Vitals {
                    is_consuming: false,
                    ..WELL
                },
                State::Warning,
            ),
            (
                70,
                Vitals {
                    is_consuming: false,
                    ..WELL
                },
                State::Critical,
            ),
            (71, WELL, State::Passing),
            (
                72,
                Vitals {
                    is_consuming: false,
                    ..WELL
                },
                State::Warning,
            ),
            (
                140,
                Vitals {
                    is_consuming: false,
                    is_paused: true,
                    ..WELL
                },
                State::Warning,
            ),
            (
                141,
                Vitals {
                    buffer_percent: 81,
                    ..WELL
                },
                State::Warning,
            ),
        ] {
            watch.look(vitals, at(second));
            assert_eq!(watch.state(GRACE, at(second)), expected, "at {second}");
        }
        watch.look(
            Vitals {
                is_api_well: false,
                ..WELL
            },
            at(200),
        );
        assert_eq!(watch.deadline(GRACE, at(230)), Some(at(260)));
        assert_eq!(watch.deadline(GRACE, at(260)), None);
        assert_eq!(watch.state(GRACE, at(260)), State::Critical);
    }

    #[test]
    fn the_text_says_what_is_wrong() {
        let now = clock::monotonic();
        let mut watch = Watch::default();
        watch.look(WELL, now);
        assert_eq!(watch.text(std::iter::empty()), "consuming, api well");
        watch.look(
            Vitals {
                buffer_percent: 91,
                ..WELL
            },
            now,
        );
        let reasons = ["api http://h: 503: down\nfor a while".to_owned()];
        let text = watch.text(reasons.into_iter());
        assert_eq!(
            text,
            "api http://h: 503: down for a while; buffer 91 % full"
        );
        watch.look(
            Vitals {
                is_paused: true,
                ..WELL
            },
            now,
        );
        assert_eq!(watch.text(std::iter::empty()), "paused");
    }
}
