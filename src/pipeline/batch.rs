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

use super::spool::RecordId;
use super::suspicion::{PostNumber, Suspicion};
use super::verdict::RefusedDocument;
use crate::delivery::DeliveryTag;
use crate::document::Body;

/// Names a batch for as long as the pipeline lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchId(pub u64);

/// Documents of the body that are posted together.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    documents: Range<usize>,
    /// Set once they have met a 500.
    suspicion: Option<Suspicion>,
}

impl Part {
    fn halves(&self) -> [Part; 2] {
        let Range { start, end } = self.documents;
        let middle = start + (end - start) / 2;
        [start..middle, middle..end].map(|documents| Part {
            suspicion: self.suspicion.map(|whole| whole.of_half(documents.len())),
            documents,
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
    pub body: Arc<Body>,
    parts: VecDeque<Part>,
    in_flight: Option<Part>,
    /// The post in which this batch was last tried: suspects take turns.
    pub tried: PostNumber,
    /// Refused documents that the quarantine file does not have yet.
    pub unwritten: usize,
    /// Where the spool has it.
    pub record: Option<RecordId>,
}

impl Batch {
    /// A batch of all documents of `body`; done at once if there are none.
    pub fn new(id: BatchId, through: Option<DeliveryTag>, body: Body) -> Self {
        let parts = match body.documents() {
            0 => VecDeque::new(),
            documents => VecDeque::from([Part {
                documents: 0..documents,
                suspicion: None,
            }]),
        };
        Batch {
            id,
            through,
            body: Arc::new(body),
            parts,
            in_flight: None,
            tried: PostNumber::default(),
            unwritten: 0,
            record: None,
        }
    }

    /// Nothing of it is left to post, or to write.
    pub fn is_done(&self) -> bool {
        self.parts.is_empty() && self.in_flight.is_none() && self.unwritten == 0
    }

    /// Lets the documents of a batch that is done go; its place in the line stays.
    pub fn free(&mut self) {
        if self.body.documents() > 0 {
            self.body = Arc::default();
        }
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

    /// What is held against its next part, where that has met a 500.
    pub fn suspicion(&self) -> Option<Suspicion> {
        self.parts.front().and_then(|part| part.suspicion)
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

    /// The first document in flight.
    pub fn first_in_flight(&self) -> Option<usize> {
        self.in_flight.as_ref().map(|part| part.documents.start)
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

    /// Takes the next documents to post.
    pub fn start(&mut self, post: PostNumber) -> Option<Range<usize>> {
        debug_assert!(self.in_flight.is_none(), "one request a batch");
        let part = self.parts.pop_front()?;
        self.tried = post;
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

    /// The documents in flight were refused together: their halves are the next to post.
    pub fn refused(&mut self) -> Option<Refusal> {
        self.in_flight
            .take()
            .map(|part| self.divide(part, End::Front))
    }

    /// The documents in flight met a 500; `newest_stored` is the newest post, of any batch, that
    /// was stored so far. They go behind the batch's other parts, so that suspects hold none of
    /// them up.
    pub fn server_error(&mut self, newest_stored: PostNumber) -> ServerError {
        let Some(mut part) = self.in_flight.take() else {
            return ServerError::Retry;
        };
        let suspicion = Suspicion::after(part.suspicion, self.tried, newest_stored);
        part.suspicion = Some(suspicion);
        if suspicion.is_proven(part.documents.len()) {
            return ServerError::Poison(self.divide(part, End::Back));
        }
        self.parts.push_back(part);
        ServerError::Retry
    }

    /// Two halves in the stead of a part that cannot be stored; it is left out where it is one document.
    fn divide(&mut self, part: Part, end: End) -> Refusal {
        if part.documents.len() == 1 {
            return Refusal::Quarantined(part.documents.start);
        }
        let [first, second] = part.halves();
        match end {
            End::Front => {
                self.parts.push_front(second);
                self.parts.push_front(first);
            }
            End::Back => self.parts.extend([first, second]),
        }
        Refusal::Halved(part.documents.len())
    }
}

/// An end of the line of parts.
#[derive(Debug, Clone, Copy)]
enum End {
    Front,
    Back,
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
        Batch::new(BatchId(1), Some(DeliveryTag(9)), merger.seal())
    }

    #[test]
    fn what_is_stored_is_done() {
        let mut batch = batch(3);
        assert_eq!(batch.pending_events(), 6);
        assert_eq!(batch.start(PostNumber(0)), Some(0..3));
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
        while let Some(documents) = batch.start(PostNumber(0)) {
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
        batch.start(PostNumber(0));
        batch.refused();
        assert_eq!(batch.start(PostNumber(0)), Some(0..2));
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
        batch.start(PostNumber(0));
        batch.refused();
        assert_eq!(batch.start(PostNumber(0)), Some(0..2));
        batch.retry();
        assert_eq!(batch.start(PostNumber(0)), Some(0..2));
        assert_eq!(batch.server_error(PostNumber(0)), ServerError::Retry);
        assert_eq!(batch.start(PostNumber(0)), Some(2..4));
    }

    #[test]
    fn the_fifth_500_halves_a_batch_even_where_nothing_else_passes() {
        let mut batch = batch(2);
        for post in 1..5 {
            batch.start(PostNumber(post));
            assert_eq!(batch.server_error(PostNumber(0)), ServerError::Retry);
            assert!(batch.suspicion().is_some());
        }
        batch.start(PostNumber(5));
        assert_eq!(
            batch.server_error(PostNumber(0)),
            ServerError::Poison(Refusal::Halved(2))
        );
    }

    /// Posts what is next, over and over, each time after another post was stored; the API fails on
    /// bodies that hold `bad`. Answers what was posted.
    fn search(batch: &mut Batch, bad: usize) -> Vec<Range<usize>> {
        let mut posted = Vec::new();
        for step in 1.. {
            let Some(documents) = batch.start(PostNumber(2 * step)) else {
                break;
            };
            posted.push(documents.clone());
            if documents.contains(&bad) {
                batch.server_error(PostNumber(2 * step - 1));
            } else {
                batch.stored();
            }
        }
        posted
    }

    #[test]
    fn where_others_pass_the_bad_document_is_found_by_single_500s_and_given_up_after_five() {
        let mut batch = batch(4);
        let whole_and_halves = [vec![0..4; 5], vec![0..2, 2..4], vec![0..1, 1..2]];
        let mut expected = whole_and_halves.concat();
        expected.extend(vec![1..2; 4]);
        assert_eq!(search(&mut batch, 1), expected);
        assert!(batch.is_done());
    }

    #[test]
    fn parts_that_fail_wait_behind_those_that_were_not_tried() {
        let mut batch = batch(8);
        let posted = search(&mut batch, 0);
        assert_eq!(posted[5..8], [0..4, 4..8, 0..2]);
    }

    #[test]
    fn a_lost_connection_takes_back_what_is_not_in_flight() {
        let mut batch = batch(4);
        batch.start(PostNumber(0));
        batch.refused();
        batch.start(PostNumber(0));
        assert_eq!(batch.hand_back_waiting(), 4);
        assert!(batch.is_in_flight());
        assert_eq!(batch.stored(), 4);
        assert!(batch.is_done());
    }
}
