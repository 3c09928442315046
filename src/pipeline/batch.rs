//! A sealed batch: one POST body, the parts of it that are not yet settled, and what to ack when
//! all are.
//!
//! ```text
//!                     ┌── stored ──────────────► part done
//!  part waiting ── post ── refused ── 1 document ──► quarantined: done once written
//!        ▲            │        └───── more ────────► two parts waiting
//!        └─ not well ─┘
//! ```

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use super::ring::Position;
use super::spool::RecordId;
use super::verdict::RefusedDocument;
use crate::delivery::DeliveryTag;
use crate::document::Body;

/// Names a batch for as long as the pipeline lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchId(pub u64);

/// A 500 this many times for the same documents, while others are stored, is those documents'
/// fault: the API fails on them, and would for ever.
const POISON_FAILURES: u32 = 5;

/// Documents of the body that are posted together.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    documents: Range<usize>,
    suspicion: Suspicion,
    /// How many posts, of any batch, had been stored when these documents were first tried.
    stored_before: u64,
}

/// What is held against documents that met a 500. Halves inherit it: when one half is stored, that
/// speaks against the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Suspicion {
    #[default]
    None,
    /// The API may be failing on everything.
    Unproven { failures: u32 },
    /// Others were stored since the first try; so many failures since that was seen.
    OthersPass { failures: u32 },
}

impl Part {
    /// One more 500, when `stored` posts have been stored so far.
    fn suspect(&mut self, stored: u64) {
        self.suspicion = match self.suspicion {
            Suspicion::OthersPass { failures } => Suspicion::OthersPass {
                failures: failures.saturating_add(1),
            },
            _ if stored > self.stored_before => Suspicion::OthersPass { failures: 1 },
            Suspicion::Unproven { failures } => Suspicion::Unproven {
                failures: failures.saturating_add(1),
            },
            Suspicion::None => Suspicion::Unproven { failures: 1 },
        };
    }

    /// Two halves, with the evidence against the whole but not the count.
    fn halves(&self) -> [Part; 2] {
        let Range { start, end } = self.documents;
        let middle = start + (end - start) / 2;
        let suspicion = match self.suspicion {
            Suspicion::None => Suspicion::None,
            Suspicion::Unproven { .. } => Suspicion::Unproven { failures: 0 },
            Suspicion::OthersPass { .. } => Suspicion::OthersPass { failures: 0 },
        };
        [start..middle, middle..end].map(|documents| Part {
            documents,
            suspicion,
            ..*self
        })
    }
}

/// What a 500 means for the documents that met it.
#[derive(Debug, PartialEq, Eq)]
pub enum ServerError {
    /// The API may just not be well: try again later.
    Retry,
    /// Treat as refused: the documents `Refusal` speaks of.
    Poison(Refusal),
}

/// What becomes of documents that the API refused together.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    /// This many are sent again in two halves.
    Halved(usize),
    /// It was this one document alone.
    Quarantined(usize),
}

/// See the module's text.
#[derive(Debug)]
pub struct Batch {
    pub id: BatchId,
    /// The last message that is wholly in this or an earlier batch; `None` if this batch holds
    /// only the middle of one large message.
    pub through: Option<DeliveryTag>,
    /// Up to here the ring may be released when this batch and all before it are done.
    pub end: Position,
    pub body: Arc<Body>,
    parts: VecDeque<Part>,
    in_flight: Option<Part>,
    /// The pipeline's count of posts when this batch was last tried: suspects take turns.
    pub tried: u64,
    /// Refused documents that the quarantine file does not have yet.
    pub unwritten: usize,
    /// Where the spool has it.
    pub record: Option<RecordId>,
}

impl Batch {
    /// A batch of all documents of `body`; done at once if there are none.
    pub fn new(id: BatchId, through: Option<DeliveryTag>, end: Position, body: Body) -> Self {
        let parts = match body.documents() {
            0 => VecDeque::new(),
            documents => VecDeque::from([Part {
                documents: 0..documents,
                suspicion: Suspicion::None,
                stored_before: 0,
            }]),
        };
        Batch {
            id,
            through,
            end,
            body: Arc::new(body),
            parts,
            in_flight: None,
            tried: 0,
            unwritten: 0,
            record: None,
        }
    }

    /// Nothing of it is left to post, or to write.
    pub fn is_done(&self) -> bool {
        self.parts.is_empty() && self.in_flight.is_none() && self.unwritten == 0
    }

    pub fn is_in_flight(&self) -> bool {
        self.in_flight.is_some()
    }

    /// Some of its documents are neither stored nor given up.
    pub fn is_owed(&self) -> bool {
        self.in_flight.is_some() || !self.parts.is_empty()
    }

    /// Those documents, in their order.
    pub fn owed(&self) -> Vec<usize> {
        let parts = self.parts.iter().chain(&self.in_flight);
        let mut owed: Vec<usize> = parts.flat_map(|part| part.documents.clone()).collect();
        owed.sort_unstable();
        owed
    }

    /// It waits for a free uploader.
    pub fn is_waiting(&self) -> bool {
        self.in_flight.is_none() && !self.parts.is_empty()
    }

    /// Its next part has met a 500.
    pub fn is_suspect(&self) -> bool {
        self.parts
            .front()
            .is_some_and(|part| part.suspicion != Suspicion::None)
    }

    /// Events in documents that are not settled.
    pub fn pending_events(&self) -> u64 {
        self.parts
            .iter()
            .chain(&self.in_flight)
            .map(|part| self.events(&part.documents))
            .sum()
    }

    /// Documents in flight.
    pub fn documents_in_flight(&self) -> usize {
        self.in_flight
            .as_ref()
            .map_or(0, |part| part.documents.len())
    }

    /// Which documents in flight the API named, with its reason for each.
    pub fn find_in_flight(&self, named: &[RefusedDocument]) -> Vec<(usize, String)> {
        let documents = self
            .in_flight
            .as_ref()
            .map_or(0..0, |part| part.documents.clone());
        let reasons: HashMap<&str, &str> = named
            .iter()
            .map(|one| (one.id.as_str(), one.reason.as_str()))
            .collect();
        let found = documents.filter_map(|document| {
            let reason = reasons.get(&*self.body.id(document))?;
            Some((document, (*reason).to_owned()))
        });
        found.collect()
    }

    /// Gives up what is not in flight; answers how many events that was.
    pub fn hand_back_waiting(&mut self) -> u64 {
        let parts = std::mem::take(&mut self.parts);
        parts.iter().map(|part| self.events(&part.documents)).sum()
    }

    fn events(&self, documents: &Range<usize>) -> u64 {
        self.body.events(documents.clone()) as u64
    }

    /// Takes the next documents to post. `stored` counts the posts of any batch that were stored
    /// so far.
    pub fn start(&mut self, stored: u64) -> Option<Range<usize>> {
        debug_assert!(self.in_flight.is_none(), "one request a batch");
        let mut part = self.parts.pop_front()?;
        if part.suspicion == Suspicion::None {
            part.stored_before = stored;
        }
        let documents = part.documents.clone();
        self.in_flight = Some(part);
        Some(documents)
    }

    /// The documents in flight are stored; answers how many events that were.
    pub fn stored(&mut self) -> u64 {
        let part = self.in_flight.take();
        part.map_or(0, |part| self.events(&part.documents))
    }

    /// The documents in flight go back to the front of the line.
    pub fn retry(&mut self) {
        if let Some(part) = self.in_flight.take() {
            self.parts.push_front(part);
        }
    }

    /// The documents in flight were refused together.
    pub fn refused(&mut self) -> Option<Refusal> {
        let part = self.in_flight.take()?;
        if part.documents.len() == 1 {
            return Some(Refusal::Quarantined(part.documents.start));
        }
        for half in part.halves().into_iter().rev() {
            self.parts.push_front(half);
        }
        Some(Refusal::Halved(part.documents.len()))
    }

    /// The documents in flight met a 500; `stored` counts the posts of any batch that were stored
    /// so far. Several documents are halved even without a sign that others pass, since the halves
    /// are each other's test; a single one is tried for ever until there is one.
    pub fn server_error(&mut self, stored: u64) -> ServerError {
        let Some(part) = &mut self.in_flight else {
            return ServerError::Retry;
        };
        part.suspect(stored);
        let poison = match part.suspicion {
            Suspicion::None => false,
            Suspicion::Unproven { failures } => {
                failures >= POISON_FAILURES && part.documents.len() > 1
            }
            Suspicion::OthersPass { failures } => failures >= POISON_FAILURES,
        };
        let refusal = if poison { self.refused() } else { None };
        refusal.map_or_else(|| self.retry_last(), ServerError::Poison)
    }

    /// As `retry`, but behind the batch's other parts, so that a suspect holds none of them up.
    fn retry_last(&mut self) -> ServerError {
        self.parts.extend(self.in_flight.take());
        ServerError::Retry
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{Context, Merger, Repairs, Validation, transform};
    use crate::event;

    /// A batch of that many documents, `task-0`, `task-1` …; each carries two events.
    fn batch(documents: usize) -> Batch {
        let context = Context {
            app_env: "qa",
            now_ms: 0,
            validation: Validation::Tolerant,
        };
        let mut merger = Merger::new();
        for number in (0..documents).chain(0..documents) {
            let text = format!(
                r#"{{"type": "task-started", "uuid": "task-{number}", "hostname": "h", "utcoffset": 0, "pid": 1, "clock": 1, "timestamp": 1.5}}"#
            );
            for event in event::events(text.as_bytes()).unwrap() {
                let document = transform(event, &context, &mut Repairs::default()).unwrap();
                merger.add(document).unwrap();
            }
        }
        Batch::new(
            BatchId(1),
            Some(DeliveryTag(9)),
            Position::default(),
            merger.seal(),
        )
    }

    #[test]
    fn what_is_stored_is_done() {
        let mut batch = batch(3);
        assert_eq!(batch.pending_events(), 6);
        assert_eq!(batch.start(0), Some(0..3));
        assert!(batch.is_in_flight() && !batch.is_waiting());
        assert_eq!(batch.stored(), 6);
        assert!(batch.is_done());
        assert_eq!(batch.pending_events(), 0);
    }

    #[test]
    fn without_documents_there_is_nothing_to_do() {
        assert!(batch(0).is_done());
    }

    #[test]
    fn a_refusal_is_followed_down_to_one_document() {
        let mut batch = batch(4);
        let mut asked = Vec::new();
        let mut given_up = Vec::new();
        while let Some(documents) = batch.start(0) {
            asked.push(documents.clone());
            if documents.contains(&2) {
                if let Some(Refusal::Quarantined(document)) = batch.refused() {
                    given_up.push(document);
                }
            } else {
                batch.stored();
            }
        }
        assert_eq!(asked, [0..4, 0..2, 2..4, 2..3, 3..4]);
        assert_eq!(given_up, [2]);
        assert!(batch.is_done());
    }

    #[test]
    fn named_documents_are_found_among_those_in_flight() {
        let mut batch = batch(4);
        batch.start(0);
        batch.refused();
        assert_eq!(batch.start(0), Some(0..2));
        let named = |id: &str| RefusedDocument {
            id: id.into(),
            reason: format!("{id} is bad"),
        };
        let found = batch.find_in_flight(&[named("task-1"), named("task-3"), named("other")]);
        assert_eq!(found, [(1, "task-1 is bad".to_owned())]);
    }

    #[test]
    fn a_retry_comes_before_the_other_parts_and_a_suspect_after_them() {
        let mut batch = batch(4);
        batch.start(0);
        batch.refused();
        assert_eq!(batch.start(0), Some(0..2));
        batch.retry();
        assert_eq!(batch.start(0), Some(0..2));
        assert_eq!(batch.server_error(0), ServerError::Retry);
        assert_eq!(batch.start(0), Some(2..4));
    }

    #[test]
    fn the_fifth_500_halves_a_batch_even_where_nothing_else_passes() {
        let mut batch = batch(2);
        for _ in 1..POISON_FAILURES {
            batch.start(0);
            assert_eq!(batch.server_error(0), ServerError::Retry);
            assert!(batch.is_suspect());
        }
        batch.start(0);
        assert_eq!(
            batch.server_error(0),
            ServerError::Poison(Refusal::Halved(2))
        );
    }

    #[test]
    fn one_document_is_given_up_only_where_others_pass() {
        let mut alone = batch(1);
        for _ in 0..50 {
            alone.start(7);
            assert_eq!(alone.server_error(7), ServerError::Retry);
        }
        // From the moment another post is stored it has five more tries.
        for _ in 1..POISON_FAILURES {
            alone.start(8);
            assert_eq!(alone.server_error(8), ServerError::Retry);
        }
        alone.start(8);
        assert_eq!(
            alone.server_error(8),
            ServerError::Poison(Refusal::Quarantined(0))
        );
    }

    #[test]
    fn a_half_that_is_stored_speaks_against_the_other() {
        let mut batch = batch(2);
        for _ in 0..POISON_FAILURES {
            batch.start(0);
            batch.server_error(0);
        }
        assert_eq!(batch.start(0), Some(0..1));
        batch.stored();
        for _ in 1..POISON_FAILURES {
            assert_eq!(batch.start(1), Some(1..2));
            assert_eq!(batch.server_error(1), ServerError::Retry);
        }
        batch.start(1);
        assert_eq!(
            batch.server_error(1),
            ServerError::Poison(Refusal::Quarantined(1))
        );
    }

    #[test]
    fn a_lost_connection_takes_back_what_is_not_in_flight() {
        let mut batch = batch(4);
        batch.start(0);
        batch.refused();
        batch.start(0);
        assert_eq!(batch.hand_back_waiting(), 4);
        assert!(batch.is_in_flight());
        assert_eq!(batch.stored(), 4);
        assert!(batch.is_done());
    }
}
