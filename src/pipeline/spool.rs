//! Store and forward, for what no broker keeps: when batches go to disk, and when they come back.
//!
//! ```text
//!   intake ──► batches in memory (newer) ── Write ──► records on disk (older)
//!                     │                                      │
//!                     ▼        batches with a record ◄─ Read ┘
//!                   posts ◄──────────┘   └──► stored: Done
//! ```
//!
//! Memory comes first: the disk is used only while the ring is nearly full, the API has been out for
//! longer than a batch window, or the agent stops. While anything is on disk the next batch to post
//! comes from there, so that the order is kept. There is one order to the disk at a time; a disk that
//! fails or does not answer costs its use, and nothing else.

mod order;
mod state;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Instant;

pub use self::order::{Answer, Figures, Kept, Order, Outcome, RecordId};
pub use self::state::{PATIENCE, Spooling};
use self::state::{Readiness, Writing};
use super::batch::Batch;
use super::ending::Mode;
use super::report::Report;
use super::{Output, Pipeline};
use crate::document::Body;

/// Sealed batches that no disk has yet: one that is being written, and one to go next.
const UNWRITTEN: usize = 2;

impl Pipeline {
    /// Events that the spool has on disk, whether they are in memory, too, or not.
    pub fn spooled_events(&self) -> u64 {
        let copies = self.batches.iter().filter(|batch| batch.record.is_some());
        let copied: u64 = copies.map(Batch::pending_events).sum();
        copied + self.unread_events()
    }

    pub(super) fn unread_events(&self) -> u64 {
        self.spool.as_ref().map_or(0, |spool| spool.unread)
    }

    /// The next post must be of what is on disk.
    pub(super) fn disk_comes_first(&self) -> bool {
        self.spool.as_ref().is_some_and(Spooling::comes_first)
    }

    /// It may be posted now, as far as the spool is concerned.
    pub(super) fn is_in_turn(&self, batch: &Batch) -> bool {
        let Some(spool) = &self.spool else {
            return true;
        };
        !spool.takes(batch.id) && (batch.record.is_some() || !spool.comes_first())
    }

    /// Batches go to disk now.
    pub(super) fn is_spilling(&self, now: Instant) -> bool {
        let Some(spool) = self.spool.as_ref().filter(|spool| spool.is_usable()) else {
            return false;
        };
        let out = self.gate.shut_since();
        match self.mode {
            Mode::Closing | Mode::Stopped => false,
            Mode::Saving => true,
            Mode::Stopping if out.is_some() => true,
            _ => {
                self.intake.ring_used() >= spool.high_water
                    || out.is_some_and(|since| now >= since + spool.window)
            }
        }
    }

    /// One more batch may be sealed for the disk.
    pub(super) fn has_room_to_write(&self) -> bool {
        let unwritten = self.batches.iter();
        let unwritten = unwritten.filter(|batch| batch.record.is_none() && batch.is_owed());
        unwritten.count() < UNWRITTEN
    }

    /// Gives the disk its next order, if there is one.
    pub(super) fn spool(&mut self, now: Instant) {
        if self.is_spilling(now) {
            self.seal_if_due(now);
        }
        let readiness = self.spool.as_mut().map(|spool| spool.readiness(now));
        match readiness {
            None | Some(Readiness::NotNow) => {}
            Some(Readiness::HasHung) => self.reports.push(Report::SpoolFailed {
                reason: format!("no answer within {} s: check the disk", PATIENCE.as_secs()),
                retry_in: None,
            }),
            Some(Readiness::Ready) => {
                if let Some(order) = self.next_order(now) {
                    if let Some(spool) = &mut self.spool {
                        spool.ordered(now);
                    }
                    self.outbox.push_back(Output::Spool(order));
                }
            }
        }
    }

    fn next_order(&mut self, now: Instant) -> Option<Order> {
        if matches!(self.mode, Mode::Closing | Mode::Stopped) {
            return None;
        }
        let wants_record = self.wants_record(now);
        let spool = self.spool.as_mut()?;
        if !spool.is_open {
            return Some(Order::Open);
        }
        if let Some(through) = spool.delivered.take() {
            return Some(Order::Forget { through });
        }
        if wants_record {
            return Some(Order::Read);
        }
        let (index, kept) = self.next_write(now)?;
        let batch = &self.batches[index];
        let writing = Writing {
            batch: batch.id,
            events: batch.pending_events(),
            kept,
        };
        let order = Order::Write {
            body: Arc::clone(&batch.body),
            documents: batch.owed(),
            kept,
        };
        self.spool.as_mut()?.writing = Some(writing);
        Some(order)
    }

    /// A post could go out, and the next one is on disk. One is read ahead of the uploaders.
    pub(super) fn wants_record(&self, now: Instant) -> bool {
        let spool = self.spool.as_ref();
        let waits = spool.is_some_and(|spool| spool.is_usable() && spool.unread > 0);
        let posts = !matches!(self.mode, Mode::Saving | Mode::Closing | Mode::Stopped);
        let copies = self.batches.iter();
        let copies = copies.filter(|batch| batch.record.is_some());
        let has_room = self.crowd(copies) <= self.uploads;
        waits && posts && self.gate.would_take_post(now) && has_room
    }

    /// The oldest batch that the disk does not have, if it is to have it now. What is in flight, and
    /// what is older, stays in memory, too.
    fn next_write(&self, now: Instant) -> Option<(usize, Kept)> {
        if !self.is_spilling(now) {
            return None;
        }
        let mut batches = self.batches.iter();
        let index = batches.position(|batch| batch.record.is_none() && batch.is_owed())?;
        if !self.batches.range(index..).any(Batch::is_in_flight) {
            return Some((index, Kept::OnDiskOnly));
        }
        match self.unread_events() {
            0 => Some((index, Kept::InMemoryToo)),
            _ if self.mode == Mode::Saving => Some((index, Kept::OnDiskOnly)),
            // Its answer is awaited: the disk must not have it behind what is newer.
            _ => None,
        }
    }

    // --- what the disk answers

    pub(super) fn spool_answered(&mut self, answer: Answer, now: Instant) {
        let Some(spool) = &mut self.spool else {
            return;
        };
        let writing = spool.writing.take();
        match &answer.outcome {
            Ok(_) if spool.succeeded() => self.reports.push(Report::SpoolWell),
            Ok(_) => {}
            Err(reason) => self.reports.push(Report::SpoolFailed {
                reason: reason.clone(),
                retry_in: Some(spool.failed(now)),
            }),
        }
        if let Some(figures) = answer.figures {
            self.take_figures(figures);
        }
        match answer.outcome {
            Ok(Outcome::Opened { events }) => self.spool_opened(events),
            Ok(Outcome::Written(record)) => self.written(record, writing),
            Ok(Outcome::Read(batch)) => self.was_read(batch),
            Ok(Outcome::Forgotten) | Err(_) => {}
        }
        self.settle_if_done();
    }

    /// What the disk gave up is dropped, if it was nowhere else.
    fn take_figures(&mut self, new: Figures) {
        let Some(spool) = &mut self.spool else {
            return;
        };
        let old = std::mem::replace(&mut spool.figures, new);
        let lost = new.lost.saturating_sub(old.lost).min(spool.unread);
        spool.unread -= lost;
        self.ledger.dropped += lost;
        self.ledger.spool_bytes_written = new.written;
        self.ledger.spool_torn_bytes = new.torn;
        if lost > 0 {
            self.reports.push(Report::SpoolDropped { events: lost });
        }
        if new.torn > old.torn {
            let bytes = new.torn - old.torn;
            self.reports.push(Report::SpoolTorn { bytes });
        }
    }

    /// What the last run left counts as received again.
    fn spool_opened(&mut self, events: u64) {
        if let Some(spool) = &mut self.spool {
            spool.is_open = true;
            spool.unread = events;
            self.ledger.received += events;
            self.reports.push(Report::SpoolOpened { events });
        }
    }

    fn written(&mut self, record: RecordId, writing: Option<Writing>) {
        let (Some(spool), Some(writing)) = (&mut self.spool, writing) else {
            return;
        };
        let events = writing.events;
        if spool.unread == 0 && self.batches.iter().all(|batch| batch.record.is_none()) {
            self.reports.push(Report::SpoolInUse);
        }
        self.reports.push(Report::Spooled { events });
        let index = self
            .batches
            .iter()
            .position(|batch| batch.id == writing.batch);
        match (writing.kept, index) {
            (Kept::InMemoryToo, Some(index)) => self.batches[index].record = Some(record),
            // It was delivered meanwhile.
            (Kept::InMemoryToo, None) => spool.note_delivered(Some(record)),
            (Kept::OnDiskOnly, index) => {
                spool.unread += events;
                let is_saving = self.mode == Mode::Saving;
                let leaves = |index: &usize| is_saving || !self.batches[*index].is_in_flight();
                let left = index
                    .filter(leaves)
                    .and_then(|index| self.batches.remove(index));
                // What the disk has and was delivered all the same, while it did not answer, comes
                // again and counts again.
                let pending = left.map_or(0, |batch| batch.pending_events());
                self.ledger.received += events.saturating_sub(pending);
            }
        }
    }

    fn was_read(&mut self, batch: Option<(RecordId, Body)>) {
        let Some(spool) = &mut self.spool else {
            return;
        };
        let Some((record, body)) = batch else {
            // It knows of fewer than were counted: what is missing is gone.
            self.ledger.dropped += std::mem::take(&mut spool.unread);
            return;
        };
        let id = self.new_batch_id();
        let mut batch = Batch::new(id, None, body);
        batch.record = Some(record);
        if let Some(spool) = &mut self.spool {
            spool.unread = spool.unread.saturating_sub(batch.pending_events());
        }
        let mut batches = self.batches.iter();
        let newer = batches.position(|batch| batch.record.is_none());
        self.batches
            .insert(newer.unwrap_or(self.batches.len()), batch);
    }

    /// A batch is done and settled: the disk may forget it.
    pub(super) fn forget_record(&mut self, record: Option<RecordId>) {
        if let Some(spool) = &mut self.spool {
            spool.note_delivered(record);
        }
    }

    // --- the end

    /// Nothing is left on disk that should be delivered first.
    pub(super) fn is_spool_settled(&self) -> bool {
        let spool = self.spool.as_ref();
        spool.is_none_or(|spool| spool.unread == 0 && spool.is_quiet())
    }

    /// The disk takes, or may take, what is left at the end.
    pub(super) fn can_save(&self) -> bool {
        let answers = |spool: &Spooling| spool.is_open && !spool.has_hung();
        self.spool.as_ref().is_some_and(answers)
    }

    /// The disk has everything that is pending.
    pub(super) fn is_saved(&self) -> bool {
        let is_safe = |batch: &Batch| batch.record.is_some() || !batch.is_owed();
        self.spool.as_ref().is_some_and(Spooling::is_quiet)
            && !self.quarantine.is_awaited()
            && !self.intake.has_open_batch()
            && !self.intake.has_backlog()
            && self.batches.iter().all(is_safe)
    }

    pub(super) fn spool_deadline(&self) -> Option<Instant> {
        let spool = self.spool.as_ref();
        spool.and_then(|spool| spool.deadline(self.gate.shut_since()))
    }

    pub(super) fn hurry_spool(&mut self) {
        if let Some(spool) = &mut self.spool {
            spool.hurry();
        }
    }

    /// Nothing more can be saved.
    pub(super) fn is_spool_down(&self) -> bool {
        !self.spool.as_ref().is_some_and(Spooling::is_usable)
    }
}
