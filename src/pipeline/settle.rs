//! What the API's answers do to batches, and in which order messages are acked.
//!
//! Batches are done in any order; messages are settled from the front only, so that one ack
//! ("multiple", AMQP 0-9-1 §1.8.3.13) covers a whole batch and never a message before its time.

use std::sync::Arc;
use std::time::Instant;

use super::batch::{Batch, BatchId, Refusal, ServerError};
use super::quarantine::{Cause, Refused};
use super::report::Report;
use super::suspicion::PostNumber;
use super::verdict::{RefusedDocument, Verdict};
use super::witness::Witness;
use super::{Output, Pipeline, pace};
use crate::delivery::Guarantee;

/// An internal server error: the one status that may be a document's own fault (contract C6).
pub(super) const INTERNAL_SERVER_ERROR: u16 = 500;

impl Pipeline {
    pub(super) fn uploaded(&mut self, id: BatchId, verdict: Verdict, now: Instant) {
        if let Some(index) = self.batches.iter().position(|batch| batch.id == id) {
            self.answered(index, verdict, now);
            self.settle();
        } else if let Some(index) = self.orphans.iter().position(|batch| batch.id == id) {
            let batch = self.orphans.swap_remove(index);
            self.orphan_answered(batch, verdict, now);
        } else if let Some(post) = self.witness.answered(id) {
            self.witness_answered(post, verdict, now);
        }
    }

    fn answered(&mut self, index: usize, verdict: Verdict, now: Instant) {
        match verdict {
            Verdict::Stored => self.batch_stored(index),
            Verdict::Partial { refused } => self.partly_stored(index, &refused),
            Verdict::Refused { reason, .. } => {
                self.api_answered();
                let refusal = self.batches[index].refused();
                self.refused(index, refusal, Cause::Alone, reason);
            }
            Verdict::Unwell {
                status: Some(INTERNAL_SERVER_ERROR),
                ref reason,
                ..
            } => {
                let reason = reason.clone();
                self.server_error(index, reason);
                self.hold(verdict, now);
            }
            Verdict::Misconfigured { .. } | Verdict::Unwell { .. } | Verdict::NotLeek { .. } => {
                self.batches[index].retry();
                self.hold(verdict, now);
            }
        }
    }

    fn batch_stored(&mut self, index: usize) {
        self.api_answered();
        let batch = &mut self.batches[index];
        self.newest_stored = self.newest_stored.max(batch.tried);
        let documents = batch.documents_in_flight();
        if let Some(first) = batch.first_in_flight() {
            self.witness.remember(&batch.body, first);
        }
        let events = batch.stored();
        self.ledger.delivered += events;
        self.reports.push(Report::Stored { documents, events });
    }

    fn partly_stored(&mut self, index: usize, refused: &[RefusedDocument]) {
        self.api_answered();
        let batch = &mut self.batches[index];
        let named = batch.find_in_flight(refused);
        if named.is_empty() {
            // It names documents that are not in this body: find the refused ones by halving.
            let answer = refused
                .first()
                .map_or_else(String::new, |document| document.reason.clone());
            let refusal = batch.refused();
            return self.refused(index, refusal, Cause::Alone, answer);
        }
        self.newest_stored = self.newest_stored.max(batch.tried);
        let documents = batch.documents_in_flight() - named.len();
        let events = batch.stored();
        let lost: u64 = named
            .into_iter()
            .map(|(document, answer)| self.give_up_on(index, document, Cause::Named, answer))
            .sum();
        self.ledger.delivered += events - lost;
        self.reports.push(Report::Stored {
            documents,
            events: events - lost,
        });
    }

    fn server_error(&mut self, index: usize, reason: String) {
        match self.batches[index].server_error(self.newest_stored) {
            ServerError::Retry => {}
            ServerError::Poison(refusal) => {
                self.refused(index, Some(refusal), Cause::Failing, reason);
            }
        }
    }

    fn refused(&mut self, index: usize, refusal: Option<Refusal>, cause: Cause, answer: String) {
        match refusal {
            Some(Refusal::Quarantined(document)) => {
                self.give_up_on(index, document, cause, answer);
            }
            Some(Refusal::Halved(documents)) => {
                let reason = answer;
                self.reports.push(Report::Halved { documents, reason })
            }
            None => {}
        }
    }

    /// Counts a document as refused for good, and keeps it; answers how many events it carries.
    fn give_up_on(&mut self, index: usize, document: usize, cause: Cause, answer: String) -> u64 {
        let body = Arc::clone(&self.batches[index].body);
        let events = body.events(document..document + 1) as u64;
        self.ledger.quarantined += events;
        self.reports.push(Report::Quarantined {
            id: body.id(document),
            events,
            cause,
            answer: answer.clone(),
        });
        let refused = Refused {
            body,
            document,
            cause,
            answer,
        };
        self.keep(index, refused);
        events
    }

    /// Nothing hangs on this document: it was stored before.
    fn witness_answered(&mut self, post: PostNumber, verdict: Verdict, now: Instant) {
        match verdict {
            Verdict::Stored => {
                self.newest_stored = self.newest_stored.max(post);
                self.api_answered();
            }
            Verdict::Partial { .. } | Verdict::Refused { .. } => {
                // It was good before, and is not now: the next one stored will do.
                self.witness = Witness::default();
                self.api_answered();
            }
            Verdict::Misconfigured { .. } | Verdict::Unwell { .. } | Verdict::NotLeek { .. } => {
                self.hold(verdict, now);
            }
        }
    }

    fn hold(&mut self, verdict: Verdict, now: Instant) {
        if let Some(retry_in) = self.gate.post_failed(pace(&verdict), now) {
            self.reports.push(Report::ApiHeld { verdict, retry_in });
        }
    }

    /// The connection that delivered these is gone. What was stored counts; all else is the
    /// broker's again.
    fn orphan_answered(&mut self, mut batch: Batch, verdict: Verdict, now: Instant) {
        let events = batch.stored();
        match verdict {
            Verdict::Stored => {
                self.api_answered();
                self.ledger.delivered += events;
            }
            Verdict::Partial { .. } | Verdict::Refused { .. } => {
                self.api_answered();
                self.ledger.hand_back(events);
            }
            Verdict::Misconfigured { .. } | Verdict::Unwell { .. } | Verdict::NotLeek { .. } => {
                self.hold(verdict, now);
                self.ledger.hand_back(events);
            }
        }
    }

    /// Acks what is done, up to the first batch that is not.
    pub(super) fn settle(&mut self) {
        let mut through = None;
        let mut record = None;
        while self.batches.front().is_some_and(Batch::is_done) {
            let Some(batch) = self.batches.pop_front() else {
                break;
            };
            through = batch.through.or(through);
            record = record.max(batch.record);
        }
        // What is done behind one that is not keeps its place in the line, but needs no memory.
        let done = self.batches.iter_mut().filter(|batch| batch.is_done());
        done.for_each(Batch::free);
        self.forget_record(record);
        if self.guarantee == Guarantee::BrokerKeeps
            && let Some(through) = through
        {
            self.outbox.push_back(Output::Settle {
                epoch: self.link.epoch(),
                through,
            });
        }
    }

    /// A batch without documents is done as soon as it is sealed.
    pub(super) fn settle_if_done(&mut self) {
        if self.batches.front().is_some_and(Batch::is_done) {
            self.settle();
        }
    }
}
