//! A model of the disk that a spool is on: bounded, slow, failing, full or hanging at times, and what
//! a power cut leaves of it.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use leek_agent::document::Body;
use leek_agent::pipeline::spool::{Answer, Figures, Kept, Order, Outcome, RecordId};

use super::disk::Health;

/// Records that fit: few enough that some worlds fill it.
const MOST_RECORDS: usize = 60;

#[derive(Debug)]
struct Record {
    id: RecordId,
    body: Body,
    is_read: bool,
}

impl Record {
    fn events(&self) -> u64 {
        self.body.events(0..self.body.documents()) as u64
    }

    fn uuids(&self) -> impl Iterator<Item = String> {
        (0..self.body.documents()).map(|document| self.body.id(document))
    }
}

#[derive(Debug, Default)]
pub struct SpoolDisk {
    records: VecDeque<Record>,
    next_id: u64,
    is_open: bool,
    figures: Figures,
    /// Told to be delivered; the mark of that may not outlive a power cut.
    forgotten: Vec<Record>,
    /// Gave up for want of room.
    pub dropped: BTreeSet<String>,
    /// Loses a record with every power cut, for the test of the test.
    pub forgets: bool,
}

/// What becomes of an order.
#[derive(Debug)]
pub enum Fate {
    /// The disk has done it, and its answer is on the way.
    Done(Answer),
    /// It will do it at that time.
    Waits(Order),
}

impl SpoolDisk {
    /// How long the disk takes, and whether it begins or ends with the deed: a power cut in between
    /// finds it done, or not.
    pub fn order(
        &mut self,
        order: Order,
        health: Health,
        random: &mut fastrand::Rng,
    ) -> (Duration, Fate) {
        let most_ms = match (health, random.u32(0..12)) {
            // Longer than the pipeline's patience.
            (Health::Shaky, 0) => 200_000,
            (Health::Shaky, 1..=3) => 15_000,
            _ => 200,
        };
        let takes = Duration::from_millis(random.u64(1..most_ms));
        let fails = health == Health::Shaky && random.u32(0..6) == 0;
        let fate = match (fails, random.bool()) {
            (true, _) => Fate::Done(self.answer(Err("no space left".into()))),
            (false, true) => Fate::Done(self.carry_out(order)),
            (false, false) => Fate::Waits(order),
        };
        (takes, fate)
    }

    pub fn finish(&mut self, fate: Fate) -> Answer {
        match fate {
            Fate::Done(answer) => answer,
            Fate::Waits(order) => self.carry_out(order),
        }
    }

    /// The agent starts anew: what was not delivered is read again, and some of what was, since not
    /// every mark reached the disk.
    pub fn restart(&mut self, random: &mut fastrand::Rng) {
        self.is_open = false;
        self.figures = Figures::default();
        let forgotten = std::mem::take(&mut self.forgotten);
        if random.bool() {
            for record in forgotten.into_iter().rev() {
                self.records.push_front(record);
            }
        }
        for record in &mut self.records {
            record.is_read = false;
        }
        if self.forgets {
            self.records.pop_back();
        }
    }

    /// Ids of all documents that the next run would find.
    pub fn uuids(&self) -> BTreeSet<String> {
        self.records.iter().flat_map(Record::uuids).collect()
    }

    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Events that wait to be read.
    pub fn unread(&self) -> u64 {
        let unread = self.records.iter().filter(|record| !record.is_read);
        unread.map(Record::events).sum()
    }

    fn answer(&self, outcome: Result<Outcome, String>) -> Answer {
        let figures = self.is_open.then_some(self.figures);
        Answer { outcome, figures }
    }

    fn carry_out(&mut self, order: Order) -> Answer {
        let outcome = match order {
            Order::Open => {
                self.is_open = true;
                Outcome::Opened {
                    events: self.unread(),
                }
            }
            Order::Write {
                body,
                documents,
                kept,
            } => {
                assert!(!documents.is_empty(), "an empty record was written");
                self.write(&body, &documents, kept)
            }
            Order::Read => {
                let unread = self.records.iter_mut().find(|record| !record.is_read);
                Outcome::Read(unread.map(|record| {
                    record.is_read = true;
                    (record.id, record.body.clone())
                }))
            }
            Order::Forget { through } => {
                self.forgotten.clear();
                while self
                    .records
                    .front()
                    .is_some_and(|one| one.id <= through && one.is_read)
                {
                    self.forgotten.extend(self.records.pop_front());
                }
                Outcome::Forgotten
            }
        };
        self.answer(Ok(outcome))
    }

    fn write(&mut self, body: &Body, documents: &[usize], kept: Kept) -> Outcome {
        if self.records.len() >= MOST_RECORDS {
            self.drop_oldest();
        }
        let events = |one: &usize| body.events(*one..one + 1) as u32;
        let texts = documents
            .iter()
            .map(|one| (events(one), body.document(*one)));
        let is_read = kept == Kept::InMemoryToo;
        assert!(
            !is_read || self.records.iter().all(|record| record.is_read),
            "what stays in memory is older than what is on disk only"
        );
        self.next_id += 1;
        let id = RecordId(self.next_id);
        self.figures.written += body.bytes().len() as u64;
        self.records.push_back(Record {
            id,
            body: Body::rebuild(&texts.collect::<Vec<_>>()),
            is_read,
        });
        Outcome::Written(id)
    }

    fn drop_oldest(&mut self) {
        let Some(oldest) = self.records.pop_front() else {
            return;
        };
        // What was read is in memory, and counts as lost only if the power fails now.
        if !oldest.is_read {
            self.figures.lost += oldest.events();
        }
        self.dropped.extend(oldest.uuids());
    }
}
