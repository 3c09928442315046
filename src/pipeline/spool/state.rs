//! What the pipeline knows of its spool: whether the disk answers, and what it has.
//!
//! ```text
//!            ┌──────────── answered ───────────┐
//!            ▼                                 │
//!   ┌──── idle ── ordered ──► busy ── overdue ─┴─► hung
//!   │       ▲                  │                    │
//!   │       └── backoff ── failing ◄─── failed ─────┘
//!   └── hurried ◄──────────────┘
//! ```

use std::time::{Duration, Instant};

use super::super::backoff::Backoff;
use super::super::batch::BatchId;
use super::order::{Figures, Kept, RecordId};
use crate::config::Subscription;

/// A disk that has not answered for this long is given up for the time being: the worst flush of a
/// flash card takes a second or two.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Of the ring, in fourths: from here on batches go to disk. A flush takes its time, and nothing
/// should be dropped meanwhile.
const HIGH_WATER: usize = 3;

/// See the module's text.
#[derive(Debug)]
pub struct Spooling {
    condition: Condition,
    pub(super) is_open: bool,
    /// Events on disk that were not read.
    pub(super) unread: u64,
    pub(super) writing: Option<Writing>,
    /// Delivered, and not yet told to the disk.
    pub(super) delivered: Option<RecordId>,
    pub(super) figures: Figures,
    backoff: Backoff,
    /// An outage of the API that is longer sends batches to disk.
    pub(super) window: Duration,
    /// So does a ring that holds this many bytes.
    pub(super) high_water: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Condition {
    Idle,
    Busy {
        until: Instant,
    },
    /// An order was not answered in time; nothing is asked until it is.
    Hung,
    /// An order failed.
    Failing {
        retry_at: Instant,
    },
}

/// A batch on its way to the disk.
#[derive(Debug)]
pub struct Writing {
    pub batch: BatchId,
    pub events: u64,
    pub kept: Kept,
}

/// Whether the disk may be asked for something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    Ready,
    NotNow,
    /// Its last order is overdue since this moment.
    HasHung,
}

impl Spooling {
    /// The spool of a subscription that has one.
    pub fn new(subscription: &Subscription, seed: u64) -> Option<Self> {
        subscription.spool.as_ref()?;
        Some(Spooling {
            condition: Condition::Idle,
            is_open: false,
            unread: 0,
            writing: None,
            delivered: None,
            figures: Figures::default(),
            backoff: Backoff::new(seed),
            window: subscription.batch.window,
            high_water: subscription.buffer_bytes / 4 * HIGH_WATER,
        })
    }

    // --- orders and their answers

    pub(super) fn readiness(&mut self, now: Instant) -> Readiness {
        match self.condition {
            Condition::Idle => Readiness::Ready,
            Condition::Failing { retry_at } if now >= retry_at => {
                self.condition = Condition::Idle;
                Readiness::Ready
            }
            Condition::Busy { until } if now >= until => {
                self.condition = Condition::Hung;
                Readiness::HasHung
            }
            _ => Readiness::NotNow,
        }
    }

    /// An order goes out.
    pub(super) fn ordered(&mut self, now: Instant) {
        self.condition = Condition::Busy {
            until: now + PATIENCE,
        };
    }

    /// The order was carried out. Answers true where the disk was in trouble before.
    pub(super) fn succeeded(&mut self) -> bool {
        let recovered = self.condition == Condition::Hung || self.backoff.has_failed();
        self.condition = Condition::Idle;
        self.backoff.reset();
        recovered
    }

    /// The order was not carried out: answers how long until the next.
    pub(super) fn failed(&mut self, now: Instant) -> Duration {
        let retry_in = self.backoff.next_delay();
        self.condition = Condition::Failing {
            retry_at: now + retry_in,
        };
        retry_in
    }

    /// A stop leaves no time for a backoff.
    pub(super) fn hurry(&mut self) {
        if matches!(self.condition, Condition::Failing { .. }) {
            self.condition = Condition::Idle;
        }
    }

    /// When time alone changes something here; `out` is since when the API is out.
    pub(super) fn deadline(&self, out: Option<Instant>) -> Option<Instant> {
        match self.condition {
            Condition::Busy { until } => Some(until),
            Condition::Failing { retry_at } => Some(retry_at),
            Condition::Idle => out.map(|since| since + self.window),
            Condition::Hung => None,
        }
    }

    // --- what can be relied on

    /// It does what it is asked, as far as is known.
    fn is_answering(&self) -> bool {
        matches!(self.condition, Condition::Idle | Condition::Busy { .. })
    }

    pub(super) fn is_usable(&self) -> bool {
        self.is_open && self.is_answering()
    }

    pub(super) fn has_hung(&self) -> bool {
        self.condition == Condition::Hung
    }

    /// Batches in memory must wait: what is older is on disk, or may be.
    pub(super) fn comes_first(&self) -> bool {
        self.is_answering() && (!self.is_open || self.unread > 0)
    }

    /// The batch is about to leave the memory.
    pub(super) fn takes(&self, batch: BatchId) -> bool {
        let is_taken = |one: &Writing| one.batch == batch && one.kept == Kept::OnDiskOnly;
        self.is_answering() && self.writing.as_ref().is_some_and(is_taken)
    }

    /// Nothing is under way, and the disk knows what was delivered; or there is no use in waiting.
    pub(super) fn is_quiet(&self) -> bool {
        match self.condition {
            Condition::Idle => self.is_open && self.delivered.is_none(),
            Condition::Busy { .. } => false,
            Condition::Hung | Condition::Failing { .. } => true,
        }
    }

    /// This record, and with it all older ones, was delivered.
    pub(super) fn note_delivered(&mut self, record: Option<RecordId>) {
        self.delivered = self.delivered.max(record);
    }
}
