//! What may leave the site: which tasks, which types of events, and which of their values.
//!
//! Of a task's events only task-sent and task-received carry its name. What a filter decides by
//! name therefore holds for the task's later events by its uuid ([`known`]). Where the name was
//! never seen, the answer is the careful one: with `include`, an allow-list, the event stays; with
//! `exclude` alone it goes, but every value that [`Redact`] knows stays.

mod glob;
mod keys;
mod known;
mod redact;

use super::field::State;
use super::input::{Input, Inputs};
use super::transform::string;
use super::{Kind, Rejected, Withheld};

use self::known::{Decision, Known};

pub use self::glob::{BadGlob, Glob};
pub use self::redact::{MARK, Part, Redact};

/// What a subscription says of it. The default lets everything go.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    /// Tasks that may leave, by name; empty where all may.
    pub include: Vec<Glob>,
    /// Tasks that must not, whatever `include` says.
    pub exclude: Vec<Glob>,
    pub keep_events: EventTypes,
    pub redact: Redact,
}

impl Policy {
    fn filters_tasks(&self) -> bool {
        !self.include.is_empty() || !self.exclude.is_empty()
    }

    fn allows(&self, name: &[u8]) -> bool {
        let any = |globs: &[Glob]| globs.iter().any(|glob| glob.matches(name));
        (self.include.is_empty() || any(&self.include)) && !any(&self.exclude)
    }
}

/// The event types that Leek has a state for, as Celery names them.
pub const EVENT_TYPES: [&str; 11] = [
    "task-sent",
    "task-received",
    "task-started",
    "task-succeeded",
    "task-failed",
    "task-rejected",
    "task-revoked",
    "task-retried",
    "worker-online",
    "worker-heartbeat",
    "worker-offline",
];

/// A set of event types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventTypes(u16);

impl Default for EventTypes {
    /// All of them.
    fn default() -> Self {
        EventTypes(u16::MAX)
    }
}

impl EventTypes {
    pub const NONE: EventTypes = EventTypes(0);

    /// One type alone; `None` where Leek has no state for it.
    pub fn only(name: &str) -> Option<EventTypes> {
        let (_, state) = State::of_event(name.as_bytes())?;
        Some(EventTypes(1 << state as u16))
    }

    /// The types of both sets.
    #[must_use]
    pub fn or(self, other: EventTypes) -> EventTypes {
        EventTypes(self.0 | other.0)
    }

    fn has(self, state: State) -> bool {
        self.0 >> state as u16 & 1 == 1
    }
}

/// A policy at work, with what it remembers of tasks.
#[derive(Debug)]
pub struct Screen {
    policy: Policy,
    /// None where no filter asks for names.
    known: Option<Known>,
}

impl Screen {
    pub fn new(policy: Policy) -> Self {
        let known = policy.filters_tasks().then(Known::default);
        Screen { policy, known }
    }

    /// Lets everything go.
    pub fn open() -> Self {
        Screen::new(Policy::default())
    }

    /// Whether reasons, which go to the log, must not quote what was found.
    pub(super) fn hides_values(&self) -> bool {
        self.known.is_some() || !self.policy.redact.is_empty()
    }

    /// Whether an event may leave, and what of it must not. Names are learned even from events
    /// whose type is not kept.
    pub(super) fn judge(
        &mut self,
        kind: Kind,
        state: State,
        inputs: &Inputs<'_>,
    ) -> Result<&Redact, Rejected> {
        let leave = match kind {
            Kind::Task => self.judge_task(inputs),
            Kind::Worker => Leave::Allowed,
        };
        if !self.policy.keep_events.has(state) {
            return Err(Rejected::Withheld(Withheld::EventType));
        }
        match leave {
            Leave::Allowed => Ok(&self.policy.redact),
            Leave::Bare => Ok(Redact::everything()),
            Leave::Never => Err(Rejected::Withheld(Withheld::Task)),
        }
    }

    fn judge_task(&mut self, inputs: &Inputs<'_>) -> Leave {
        let Some(known) = &mut self.known else {
            return Leave::Allowed;
        };
        let Some(uuid) = string(inputs, Input::Uuid) else {
            // Validation rejects it for that, and quotes nothing.
            return Leave::Allowed;
        };
        let decision = match string(inputs, Input::Name) {
            Some(name) => {
                let decision = match self.policy.allows(&name) {
                    true => Decision::Leaves,
                    false => Decision::Stays,
                };
                known.learn(&uuid, decision);
                Some(decision)
            }
            None => known.recall(&uuid),
        };
        match decision {
            Some(Decision::Leaves) => Leave::Allowed,
            Some(Decision::Stays) => Leave::Never,
            None if self.policy.include.is_empty() => Leave::Bare,
            None => Leave::Never,
        }
    }
}

/// How much of a task's event may leave.
enum Leave {
    Allowed,
    /// It may be of a task that must not: nothing that its arguments or outcome would show.
    Bare,
    Never,
}

#[cfg(test)]
mod tests;
