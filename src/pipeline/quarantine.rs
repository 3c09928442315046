//! Refused documents on their way to the quarantine file: a batch waits for its own before it is
//! done, but never for longer than [`PATIENCE`].
//!
//! ```text
//!            ┌─ a write is under way: it waits for the next ─┐
//!  refused ──┤                                               ├──► Quarantine ──► Quarantined
//!            ├─ none is ─────────────────────────────────────┘        │ overdue
//!            └─ the disk does not answer ──► counted as lost ◄────────┘
//! ```
//!
//! One write is under way at a time. Whatever is refused meanwhile goes into the next one, so that a
//! slow disk is asked seldom and holds one batch of bodies more, not any number.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::batch::{Batch, BatchId};
use super::report::Report;
use super::{Mode, Output, Pipeline};
use crate::document::Body;

/// How long delivery waits for a disk: many times what a worn SD card takes to flush, and short
/// beside an outage.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Names a write for as long as the pipeline lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct WriteId(pub u64);

/// Why the agent gave a document up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The API named it among others that it stored.
    Named,
    /// The API refused it when it was sent by itself.
    Alone,
    /// The API failed on it again and again while it stored others.
    Failing,
}

impl Cause {
    pub fn as_str(self) -> &'static str {
        match self {
            Cause::Named => "named by the api",
            Cause::Alone => "refused alone",
            Cause::Failing => "500 again and again while others were stored",
        }
    }
}

/// One document that is given up.
#[derive(Debug, Clone)]
pub struct Refused {
    /// The batch that it was posted in.
    pub body: Arc<Body>,
    pub document: usize,
    pub cause: Cause,
    /// The API's words.
    pub answer: String,
}

/// What became of a write.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    /// Documents that are on the disk.
    pub kept: u64,
    /// Documents that are not.
    pub lost: u64,
    /// Why, and what to do; set where some are lost.
    pub reason: Option<String>,
    /// Documents that were removed, oldest first, to stay within the bound.
    pub evicted: u64,
    /// The last file that was written to.
    pub file: Option<String>,
}

#[derive(Debug, PartialEq, Eq)]
enum Patience {
    Until(Instant),
    /// Its batches went on without it.
    Over,
}

#[derive(Debug)]
struct Write {
    id: WriteId,
    /// The batch of each document.
    batches: Vec<BatchId>,
    patience: Patience,
}

/// What becomes of a document that is to be kept.
enum Place {
    /// In a write; its batch waits for it.
    Waiting,
    /// Nothing is to be kept.
    Nowhere,
    /// The disk does not answer.
    Lost,
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Quarantine {
    keeps: bool,
    waiting: Vec<(BatchId, Refused)>,
    writing: Option<Write>,
    next_write: u64,
}

impl Quarantine {
    pub fn new(keeps: bool) -> Self {
        Quarantine {
            keeps,
            waiting: Vec::new(),
            writing: None,
            next_write: 0,
        }
    }

    fn place(&self) -> Place {
        let patience = self.writing.as_ref().map(|write| &write.patience);
        match (self.keeps, patience) {
            (false, _) => Place::Nowhere,
            (true, Some(Patience::Over)) => Place::Lost,
            (true, _) => Place::Waiting,
        }
    }

    /// The next write, once the one before has been reported.
    fn next_write(&mut self, now: Instant) -> Option<Output> {
        if self.writing.is_some() || self.waiting.is_empty() {
            return None;
        }
        let (batches, documents) = std::mem::take(&mut self.waiting).into_iter().unzip();
        let write = WriteId(self.next_write);
        self.next_write += 1;
        self.writing = Some(Write {
            id: write,
            batches,
            patience: Patience::Until(now + PATIENCE),
        });
        Some(Output::Quarantine { write, documents })
    }

    /// When patience with the write under way ends.
    pub fn deadline(&self) -> Option<Instant> {
        match self.writing.as_ref()?.patience {
            Patience::Until(until) => Some(until),
            Patience::Over => None,
        }
    }

    /// A batch waits for the disk.
    pub fn is_awaited(&self) -> bool {
        self.deadline().is_some() || !self.waiting.is_empty()
    }

    /// The messages of these documents went back to the broker.
    pub fn forget_waiting(&mut self) {
        self.waiting.clear();
    }

    /// Ends all waiting; answers the batch of each document that was waited for.
    fn lose_patience(&mut self) -> Vec<BatchId> {
        let waiting = std::mem::take(&mut self.waiting);
        let mut batches: Vec<_> = waiting.into_iter().map(|(batch, _)| batch).collect();
        if let Some(write) = &mut self.writing
            && write.patience != Patience::Over
        {
            write.patience = Patience::Over;
            batches.append(&mut write.batches);
        }
        batches
    }
}

impl Pipeline {
    /// Takes a document on its way to the file, as far as there is one.
    pub(super) fn keep(&mut self, index: usize, refused: Refused) {
        match self.quarantine.place() {
            Place::Waiting => {
                let batch = &mut self.batches[index];
                batch.unwritten += 1;
                self.quarantine.waiting.push((batch.id, refused));
            }
            Place::Nowhere => {}
            Place::Lost => self.not_kept(1, "the disk still does not answer"),
        }
    }

    /// Asks for the next write; goes on without one that is overdue.
    pub(super) fn write_refused(&mut self, now: Instant) {
        if matches!(self.mode, Mode::Closing | Mode::Stopped) {
            return;
        }
        if self.quarantine.deadline().is_some_and(|end| now >= end) {
            let seconds = PATIENCE.as_secs();
            self.go_on_unwritten(&format!("the disk has not answered for {seconds} s"));
        }
        self.outbox.extend(self.quarantine.next_write(now));
    }

    /// Whatever waits for the disk waits no longer, and counts as lost.
    pub(super) fn go_on_unwritten(&mut self, reason: &str) {
        let batches = self.quarantine.lose_patience();
        if batches.is_empty() {
            return;
        }
        self.not_kept(batches.len() as u64, reason);
        self.written_of(&batches);
    }

    pub(super) fn quarantined(&mut self, id: WriteId, written: Written) {
        let Some(write) = self.quarantine.writing.take_if(|write| write.id == id) else {
            return;
        };
        let Written {
            kept,
            lost,
            reason,
            evicted,
            file,
        } = written;
        self.ledger.quarantine_evicted += evicted;
        if write.patience == Patience::Over {
            // All of it was counted as lost, and told.
            self.ledger.quarantine_lost -= kept;
        } else if lost > 0 {
            self.not_kept(lost, &reason.unwrap_or_default());
        }
        if let Some(file) = file {
            let (documents, removed) = (kept, evicted);
            self.reports.push(Report::Kept {
                documents,
                removed,
                file,
            });
        }
        self.written_of(&write.batches);
    }

    fn not_kept(&mut self, documents: u64, reason: &str) {
        self.ledger.quarantine_lost += documents;
        let reason = reason.to_owned();
        self.reports.push(Report::NotKept { documents, reason });
    }

    /// One document of each of these batches needs the disk no longer.
    fn written_of(&mut self, batches: &[BatchId]) {
        for id in batches {
            let waits = |batch: &&mut Batch| batch.id == *id;
            // A batch whose connection was lost is the broker's again.
            if let Some(batch) = self.batches.iter_mut().find(waits) {
                batch.unwritten -= 1;
            }
        }
        self.settle();
    }
}
