//! Merges the documents of one batch by id, as Leek does, in order of first appearance.

use std::collections::HashMap;

use super::field::{Field, FieldSet, State};
use super::{Body, Document, Kind, MAX_STATES, Rejected, Span};

const QUEUED: FieldSet = FieldSet::of(&[
    Field::QueuedAt,
    Field::Exchange,
    Field::RoutingKey,
    Field::Queue,
    Field::Client,
]);
/// What both task-sent and task-received tell of a task.
const QUEUED_OR_RECEIVED: FieldSet = FieldSet::range(Field::Name, Field::KwargsFlattened)
    .or(FieldSet::range(Field::RootId, Field::ParentId))
    .or(FieldSet::range(Field::Eta, Field::Retries));
/// What both task-failed and task-retried tell of an error.
const FAILED_OR_RETRIED: FieldSet = FieldSet::range(Field::Exception, Field::Trace);
const HEARTBEAT: FieldSet = FieldSet::of(&[
    Field::LastHeartbeatAt,
    Field::Processed,
    Field::Active,
    Field::Freq,
    Field::Loadavg,
]);

/// Gaps below this are not worth closing.
const MIN_GAPS: usize = 1024;

/// Merged, a document's fields replace or join; only its state may grow, by less than this.
const STATE_GROWTH: usize = 16;

/// Documents that `seal` keeps room for; a larger batch gives its memory back.
const KEPT_CAPACITY: usize = 2048;

impl Document {
    /// Merges a later event's document, which has the same id. `Err` says why Leek would raise;
    /// nothing is changed then.
    fn merge(&mut self, new: &Document) -> Result<(), String> {
        match self.kind {
            Kind::Task => self.merge_into_task(new)?,
            Kind::Worker => self.merge_into_worker(new)?,
        }
        self.events = self.events.saturating_add(new.events);
        self.close_gaps();
        Ok(())
    }

    fn merge_into_task(&mut self, new: &Document) -> Result<(), String> {
        if new.state.is_terminal() {
            self.copy_all(new);
        } else if self.state.is_terminal() {
            let error_is_final = matches!(self.state, State::Failed | State::Critical);
            let more = match new.state {
                State::Queued | State::Received => QUEUED_OR_RECEIVED,
                State::Retry if !error_is_final => FAILED_OR_RETRIED,
                _ => FieldSet::EMPTY,
            };
            self.copy(new, task_group(new.state)?.or(more));
        } else if self.stamp.is_before(&new.stamp) {
            self.copy_all(new);
        } else if self.state != new.state {
            let known = matches!(self.state, State::Queued | State::Received);
            let more = match new.state {
                State::Retry => FAILED_OR_RETRIED,
                State::Queued | State::Received if !known => QUEUED_OR_RECEIVED,
                _ => FieldSet::EMPTY,
            };
            self.copy(new, task_group(new.state)?.or(more));
        }
        self.mark_retried();
        self.drop_self_references();
        self.push_state(new.state);
        Ok(())
    }

    fn merge_into_worker(&mut self, new: &Document) -> Result<(), String> {
        if self.stamp.is_before(&new.stamp) {
            self.copy_all(new);
            if new.states_len > 0 {
                self.states = new.states;
                self.states_len = new.states_len;
                self.states_text_len = new.states_text_len;
            }
        } else if self.state != new.state {
            let group = match new.state {
                State::Online | State::Offline => FieldSet::of(&[new.state.since()]),
                State::Heartbeat => HEARTBEAT,
                _ => return Err(mixed(new.state)),
            };
            self.copy(new, group);
        }
        Ok(())
    }

    /// Every field of `new` wins.
    fn copy_all(&mut self, new: &Document) {
        let offset = self.text.len() as u32;
        self.text.extend_from_slice(&new.text);
        for field in new.present.iter() {
            let mut span = new.spans[field as usize];
            span.start += offset;
            self.put_span(field, span);
        }
        self.state = new.state;
        self.stamp = new.stamp.clone();
    }

    fn copy(&mut self, new: &Document, group: FieldSet) {
        for field in new.present.and(group).iter() {
            if let Some(value) = new.get(field) {
                self.put(field, value);
            }
        }
    }

    /// A task that was retried ends in states of its own.
    fn mark_retried(&mut self) {
        let retried = !matches!(
            self.get(Field::Retries),
            None | Some(b"0" | b"0.0" | b"-0.0")
        );
        let state = match self.state {
            State::Failed if retried => State::Critical,
            State::Succeeded if retried => State::Recovered,
            _ => return,
        };
        self.state = state;
        self.put(Field::State, state.json().as_bytes());
    }

    /// Leek drops a root or parent that is the task itself, but only when it merges.
    fn drop_self_references(&mut self) {
        for field in [Field::RootId, Field::ParentId] {
            if self.get(field) == Some(self.id()) && self.id() != b"\"\"" {
                self.remove(field);
            }
        }
    }

    fn push_state(&mut self, state: State) {
        let kept = usize::from(self.states_len).min(MAX_STATES - 1);
        let dropped = self
            .states()
            .get(kept)
            .map_or(0, |state| state.json().len());
        self.states_text_len = self.states_text_len + state.json().len() - dropped;
        self.states.copy_within(..kept, 1);
        self.states[0] = state;
        self.states_len = kept as u8 + 1;
    }

    /// Rewrites the text once half of it is gaps, so that merging stays linear.
    fn close_gaps(&mut self) {
        // What it writes is a little more than what it keeps: the keys.
        if self.text.len() < 2 * self.fields_len + MIN_GAPS {
            return;
        }
        let mut text = Vec::with_capacity(self.fields_len);
        for field in self.present.iter() {
            let span = &mut self.spans[field as usize];
            let start = text.len();
            text.extend_from_slice(&self.text[span.range()]);
            *span = Span {
                start: start as u32,
                length: span.length,
            };
        }
        self.text = text;
    }
}

/// What a task takes from an event that is not the latest.
fn task_group(state: State) -> Result<FieldSet, String> {
    match state {
        State::Queued => Ok(QUEUED),
        State::Received | State::Started | State::Retry => Ok(FieldSet::of(&[state.since()])),
        _ => Err(mixed(state)),
    }
}

fn mixed(state: State) -> String {
    format!(
        "uuid: equal to a worker's hostname: a {} event cannot be merged",
        state.json()
    )
}

/// The documents of one open batch, merged by id, in order of first appearance.
#[derive(Debug, Default)]
pub struct Merger {
    pub(super) documents: Vec<Document>,
    /// From id to place in `documents`. Tasks and workers share it, as in Leek.
    places: HashMap<Box<[u8]>, usize>,
    events: usize,
    /// Bytes of the documents without what stands between them.
    documents_len: usize,
}

impl Merger {
    /// No documents yet.
    pub fn new() -> Self {
        Merger::default()
    }

    /// Adds a document, or merges it into the one with its id. `Err` only where merging makes Leek
    /// raise (a uuid equal to a worker's hostname); all others are unharmed then.
    pub fn add(&mut self, document: Document) -> Result<(), Rejected> {
        if let Some(&place) = self.places.get(document.id()) {
            let current = &mut self.documents[place];
            let before = current.encoded_len();
            current.merge(&document).map_err(Rejected::Invalid)?;
            self.documents_len = self.documents_len - before + current.encoded_len();
        } else {
            self.places
                .insert(document.id().into(), self.documents.len());
            self.documents_len += document.encoded_len();
            self.documents.push(document);
        }
        self.events += 1;
        Ok(())
    }

    /// True where nothing was added since the last `seal`.
    pub fn is_empty(&self) -> bool {
        self.documents.is_empty()
    }

    /// How many documents there are.
    pub fn documents(&self) -> usize {
        self.documents.len()
    }

    /// How many events were merged into them.
    pub fn events(&self) -> usize {
        self.events
    }

    /// Exact length in bytes of the body that [`seal`](Self::seal) would give.
    pub fn encoded_len(&self) -> usize {
        body_len(self.documents_len, self.documents.len())
    }

    /// Whether the body would have that many bytes at most after adding `next`.
    pub fn fits(&self, next: &Document, max_bytes: usize) -> bool {
        // As if its id were new and its state grew: mostly that fits, and nothing is looked up.
        let most = self.documents_len + next.encoded_len() + STATE_GROWTH;
        body_len(most, self.documents.len() + 1) <= max_bytes || self.len_with(next) <= max_bytes
    }

    /// An upper bound of [`encoded_len`](Self::encoded_len) after adding `next`; exact where its id
    /// is new.
    pub fn len_with(&self, next: &Document) -> usize {
        let known = self.places.contains_key(next.id());
        let (more, growth) = if known { (0, STATE_GROWTH) } else { (1, 0) };
        body_len(
            self.documents_len + next.encoded_len() + growth,
            self.documents.len() + more,
        )
    }

    /// Ends the batch: its body. The merger is empty then.
    pub fn seal(&mut self) -> Body {
        let mut body = Body::with_capacity(self.encoded_len(), self.documents.len());
        for document in self.documents.drain(..) {
            body.push(document.events, |out| document.write(out));
        }
        self.places.clear();
        self.documents.shrink_to(KEPT_CAPACITY);
        self.places.shrink_to(KEPT_CAPACITY);
        self.events = 0;
        self.documents_len = 0;
        body.finish()
    }
}

fn body_len(documents_len: usize, documents: usize) -> usize {
    "[]".len() + documents_len + documents.saturating_sub(1) * ", ".len()
}
