//! What the agent says of itself: `r` for plugins with `"source": "self"`.

use std::time::{Duration, Instant};

use crate::control::status::{Status, SubscriptionStatus};
use crate::python::value::Value;

/// The share of failed posts is that of the last one to two such times.
const WINDOW: Duration = Duration::from_secs(30);

/// How a status names a subscription that takes no events.
const PAUSED: &str = "paused";

/// The agent's state as expressions see it. Figures of several subscriptions are sums, but for
/// `buffer_percent`, which is the fullest one's.
pub fn record(status: &Status, error_percent: f64) -> Value<'static> {
    let all = &status.subscriptions;
    let sum = |figure: fn(&SubscriptionStatus) -> u64| int(all.iter().map(figure).sum());
    let fullest = all.iter().map(buffer_percent).fold(0.0, f64::max);
    let each = all
        .iter()
        .map(|one| (Value::Str(one.name.clone().into_bytes().into()), of(one)));
    object([
        ("ready", Value::Bool(status.unwell().next().is_none())),
        ("running", Value::Bool(status.state == "running")),
        ("paused", Value::Bool(is_paused(status))),
        ("lag", sum(|one| one.events.pending)),
        ("buffer_percent", Value::Float(fullest)),
        ("error_percent", Value::Float(error_percent)),
        ("in_flight", sum(|one| one.uploads.in_flight as u64)),
        ("received", sum(|one| one.events.received)),
        ("delivered", sum(|one| one.events.delivered)),
        ("dropped", sum(|one| one.events.dropped)),
        ("quarantined", sum(|one| one.events.quarantined)),
        ("uptime_seconds", Value::Float(status.uptime_seconds)),
        ("subscriptions", Value::Dict(each.collect())),
    ])
}

fn of(one: &SubscriptionStatus) -> Value<'static> {
    object([
        ("ready", Value::Bool(one.broker.is_well && one.api.is_well)),
        ("paused", Value::Bool(one.state == PAUSED)),
        ("lag", int(one.events.pending)),
        ("buffer_percent", Value::Float(buffer_percent(one))),
        ("in_flight", int(one.uploads.in_flight as u64)),
        ("received", int(one.events.received)),
        ("delivered", int(one.events.delivered)),
        ("dropped", int(one.events.dropped)),
        ("quarantined", int(one.events.quarantined)),
    ])
}

/// True where every subscription was told to take no further events.
pub fn is_paused(status: &Status) -> bool {
    let states = status.subscriptions.iter().map(|one| one.state);
    let mut states = states.filter(|state| *state != "stopping").peekable();
    states.peek().is_some() && states.all(|state| state == PAUSED)
}

fn buffer_percent(one: &SubscriptionStatus) -> f64 {
    100.0 * one.buffer.used_bytes as f64 / one.buffer.size_bytes.max(1) as f64
}

fn object<const N: usize>(members: [(&'static str, Value<'static>); N]) -> Value<'static> {
    let members = members.into_iter();
    Value::Dict(
        members
            .map(|(name, value)| (Value::Str(name.as_bytes().into()), value))
            .collect(),
    )
}

fn int(number: u64) -> Value<'static> {
    Value::Int(number.to_string().into())
}

/// Answered posts, and those of them that were stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Posts {
    answered: u64,
    stored: u64,
}

impl Posts {
    pub fn of(status: &Status) -> Self {
        let each = status.subscriptions.iter();
        each.fold(Posts::default(), |sum, one| Posts {
            answered: sum.answered + one.uploads.posts,
            stored: sum.stored + one.uploads.stored,
        })
    }
}

/// Which share of the latest posts failed. It is looked at when somebody asks anyway.
#[derive(Debug, Default)]
pub struct ErrorRate {
    /// What it was when the current window began, and when that was.
    newer: Option<(Instant, Posts)>,
    /// When the window before began.
    older: Posts,
}

impl ErrorRate {
    /// Percent of the posts since a window or two ago; 0 where there were none.
    pub fn percent(&mut self, posts: Posts, now: Instant) -> f64 {
        match self.newer {
            None => self.newer = Some((now, posts)),
            Some((since, before)) if now.saturating_duration_since(since) >= WINDOW => {
                (self.older, self.newer) = (before, Some((now, posts)));
            }
            Some(_) => {}
        }
        // A subscription that was removed takes its figures with it.
        let answered = posts.answered.saturating_sub(self.older.answered);
        let stored = posts.stored.saturating_sub(self.older.stored).min(answered);
        match answered {
            0 => 0.0,
            answered => 100.0 * (answered - stored) as f64 / answered as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_those_of_the_last_minute() {
        let mut rate = ErrorRate::default();
        let start = crate::clock::monotonic();
        let mut at = |seconds, answered, stored| {
            let now = start + Duration::from_secs(seconds);
            rate.percent(Posts { answered, stored }, now)
        };
        assert_eq!(at(0, 0, 0), 0.0);
        assert_eq!(at(10, 4, 3), 25.0);
        assert_eq!(at(31, 10, 5), 50.0);
        assert_eq!(at(40, 20, 5), 75.0);
        // The first half minute is forgotten now.
        assert_eq!(at(62, 20, 5), 100.0);
        assert_eq!(at(95, 30, 15), 0.0);
        assert_eq!(at(130, 30, 15), 0.0);
        assert_eq!(at(131, 5, 5), 0.0);
    }
}
