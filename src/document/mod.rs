//! Leek documents: what an event becomes before it is posted.
//!
//! `event → transform → Document → Merger → Body`. A document keeps each field as the JSON text
//! that will be posted, so that merging and posting only copy bytes. The format is Leek's; the
//! tolerant mode differs where Leek would drop or choke on an event ([`Repair`] lists how). What
//! must not leave the site is taken out on the way into a document ([`Policy`]).

mod admit;
mod args;
mod body;
mod datetime;
mod field;
mod input;
mod kwargs;
mod merge;
mod policy;
mod repair;
mod stamp;
#[cfg(test)]
mod tests;
mod traceback;
mod transform;

use std::fmt;

use self::field::{Field, FieldSet, KEYS, State};
use self::stamp::Stamp;

pub use self::body::Body;
pub use self::merge::Merger;
pub use self::policy::{BadGlob, EVENT_TYPES, EventTypes, Glob, Part, Policy, Redact, Screen};
pub use self::repair::{Repair, Repairs};
pub use self::transform::{Context, transform, transform_through};

/// Whether an event that Leek itself would drop is mended where its meaning is clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Validation {
    /// Mend what can be mended, and count each repair.
    #[default]
    Tolerant,
    /// Exactly as Leek's own agent, less its crashes.
    Strict,
}

/// Why an event becomes no document. Either way the rest of its batch is unharmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rejected {
    /// The reason, for a human: field, what was found, what was expected.
    Invalid(String),
    /// An event type to which Leek has no state, such as `task-cancelled` or a custom one.
    Filtered(String),
    /// The subscription's [`Policy`] keeps it on the site.
    Withheld(Withheld),
}

/// Which part of a policy keeps an event on the site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Withheld {
    /// `include` or `exclude`.
    Task,
    /// `keep_events`.
    EventType,
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rejected::Invalid(reason) => f.write_str(reason),
            Rejected::Filtered(kind) => write!(f, "type: {kind:?}: no state in Leek, filtered"),
            Rejected::Withheld(Withheld::Task) => {
                f.write_str("task: not to leave the site, filtered")
            }
            Rejected::Withheld(Withheld::EventType) => {
                f.write_str("type: not in keep_events, filtered")
            }
        }
    }
}

/// Which of Leek's two classes a document is of; a merge does not change it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Task,
    Worker,
}

/// States that a merged task lists at most, newest first.
const MAX_STATES: usize = 21;

/// One Leek document: the encoded fields of a task or a worker.
#[derive(Debug, Clone)]
pub struct Document {
    kind: Kind,
    state: State,
    stamp: Stamp,
    /// Encoded values, in any order, with gaps where a merge replaced one.
    text: Vec<u8>,
    spans: [Span; Field::COUNT],
    present: FieldSet,
    /// Bytes of keys, values and separators of the fields in `present`.
    fields_len: usize,
    /// The states of its events, newest first; a worker has none of its own.
    states: [State; MAX_STATES],
    states_len: u8,
    /// Bytes of their texts.
    states_text_len: usize,
    events: u32,
}

/// Where a value lies in a document's text. Texts are far below 4 GB (`transform` sees to it).
#[derive(Debug, Clone, Copy, Default)]
struct Span {
    start: u32,
    length: u32,
}

impl Span {
    fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.start as usize + self.length as usize
    }
}

impl Document {
    fn new(kind: Kind, state: State, stamp: Stamp) -> Self {
        Document {
            kind,
            state,
            stamp,
            text: Vec::new(),
            spans: [Span::default(); Field::COUNT],
            present: FieldSet::EMPTY,
            fields_len: 0,
            states: [state; MAX_STATES],
            states_len: u8::from(kind == Kind::Task),
            states_text_len: match kind {
                Kind::Task => state.json().len(),
                Kind::Worker => 0,
            },
            events: 1,
        }
    }

    /// The document's id as JSON text in quotes: a task's uuid, a worker's hostname. Equal ids
    /// have equal texts.
    pub fn id(&self) -> &[u8] {
        self.get(Field::Id).unwrap_or(b"\"\"")
    }

    /// Bytes of its JSON in a POST body, without the separator to its neighbour.
    pub fn encoded_len(&self) -> usize {
        let states = match self.states_len {
            0 => 0,
            count => {
                let separators = (usize::from(count) - 1) * ", ".len();
                EVENTS_KEY.len() + "[]".len() + self.states_text_len + separators
            }
        };
        let count = EVENTS_COUNT_KEY.len() + decimal_len(self.events);
        // The first field has no separator before it.
        "{}".len() + self.fields_len - ", ".len() + states + count
    }

    fn states(&self) -> &[State] {
        &self.states[..usize::from(self.states_len)]
    }

    /// The encoded value of a field.
    #[inline]
    fn get(&self, field: Field) -> Option<&[u8]> {
        let value = || self.text.get(self.spans[field as usize].range());
        if self.present.has(field) {
            value()
        } else {
            None
        }
    }

    /// Notes that the text from `start` on is the value of a field.
    fn end(&mut self, field: Field, start: usize) {
        self.put_span(
            field,
            Span {
                start: start as u32,
                length: (self.text.len() - start) as u32,
            },
        );
    }

    #[inline]
    fn put_span(&mut self, field: Field, span: Span) {
        self.remove(field);
        self.spans[field as usize] = span;
        self.present.add(field);
        self.fields_len += entry_len(field, span);
    }

    fn put(&mut self, field: Field, value: &[u8]) {
        let start = self.text.len();
        self.text.extend_from_slice(value);
        self.end(field, start);
    }

    #[inline]
    fn remove(&mut self, field: Field) {
        if self.present.has(field) {
            self.fields_len -= entry_len(field, self.spans[field as usize]);
            self.present.remove(field);
        }
    }

    /// Appends its JSON to a body.
    fn write(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.push(b'{');
        let common = self.present.and(FieldSet::COMMON);
        let mut rest = common;
        if let Some(first) = common.iter().next() {
            out.extend_from_slice(&KEYS[first as usize].as_bytes()[", ".len()..]);
            out.extend_from_slice(&self.text[self.spans[first as usize].range()]);
            rest.remove(first);
        }
        self.write_fields(rest, out);
        match self.kind {
            Kind::Task => {
                self.write_fields(FieldSet::TASK, out);
                self.write_states(out);
                self.write_count(out);
                self.write_fields(FieldSet::WORKER, out);
            }
            Kind::Worker => {
                self.write_fields(FieldSet::WORKER, out);
                self.write_count(out);
                self.write_fields(FieldSet::TASK, out);
                self.write_states(out);
            }
        }
        out.push(b'}');
        debug_assert_eq!(out.len() - start, self.encoded_len());
    }

    fn write_fields(&self, group: FieldSet, out: &mut Vec<u8>) {
        for field in self.present.and(group).iter() {
            out.extend_from_slice(KEYS[field as usize].as_bytes());
            out.extend_from_slice(&self.text[self.spans[field as usize].range()]);
        }
    }

    fn write_states(&self, out: &mut Vec<u8>) {
        if self.states_len == 0 {
            return;
        }
        out.extend_from_slice(EVENTS_KEY.as_bytes());
        out.push(b'[');
        for (index, state) in self.states().iter().enumerate() {
            if index > 0 {
                out.extend_from_slice(b", ");
            }
            out.extend_from_slice(state.json().as_bytes());
        }
        out.push(b']');
    }

    fn write_count(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(EVENTS_COUNT_KEY.as_bytes());
        out.extend_from_slice(itoa::Buffer::new().format(self.events).as_bytes());
    }
}

const EVENTS_KEY: &str = ", \"events\": ";
const EVENTS_COUNT_KEY: &str = ", \"events_count\": ";

/// A field's share of a document: separator, key and value.
fn entry_len(field: Field, span: Span) -> usize {
    KEYS[field as usize].len() + span.length as usize
}

fn decimal_len(number: u32) -> usize {
    number.checked_ilog10().unwrap_or(0) as usize + 1
}
