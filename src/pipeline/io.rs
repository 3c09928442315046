//! What the pipeline is told, and what it asks for.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use super::batch::BatchId;
use super::link::LinkAction;
use super::quarantine::{Refused, WriteId, Written};
use super::report::Report;
use super::spool::{Answer, Order};
use super::verdict::Verdict;
use crate::delivery::{DeliveryTag, Epoch};
use crate::document::Body;

/// What happened outside.
#[derive(Debug)]
pub enum Input {
    /// The broker connection is set up and may be told to consume.
    SourceUp(Epoch),
    /// The broker connection is gone, or never came up. `heard` is when it last gave a sign of
    /// life, where the source knows that.
    SourceDown {
        epoch: Epoch,
        reason: String,
        heard: Option<Instant>,
    },
    /// The queue's length, as asked for by `Output::CountQueue`.
    QueueLength { epoch: Epoch, messages: u64 },
    /// The probe's answer.
    Probed(Result<(), Verdict>),
    /// A post's answer.
    Uploaded { batch: BatchId, verdict: Verdict },
    /// What became of refused documents.
    Quarantined { write: WriteId, written: Written },
    /// What the disk answers to `Output::Spool`.
    Spool(Answer),
    /// The API is another one, or reached in another way: what was known of it counts no more.
    ApiChanged,
    /// Stop once the queue is empty and everything is delivered.
    Drain,
    /// Consume nothing until `Resume`; what is here is delivered. A drain goes on.
    Pause,
    /// Consume again.
    Resume,
    /// Stop consuming, deliver what is here, then close.
    Stop,
    /// The time for a stop is over: close at once, or save first where there is a spool. The second
    /// time: close.
    GiveUp,
}

/// What is to be done outside, in this order.
#[derive(Debug)]
pub enum Output {
    /// Connect to that broker of the subscription's list, and set up.
    Connect { epoch: Epoch, broker: usize },
    /// Give up a connection that did not come up in time.
    Abandon { epoch: Epoch },
    /// Start consuming on the connection that is up.
    Consume { epoch: Epoch },
    /// Ask how many messages wait in the queue.
    CountQueue { epoch: Epoch },
    /// Ask whether the API is well.
    Probe,
    /// Post those documents of the body.
    Upload {
        batch: BatchId,
        body: Arc<Body>,
        documents: Range<usize>,
    },
    /// Append these documents to the quarantine file. Exactly one `Quarantined` answers, and until
    /// then there is no other write.
    Quarantine {
        write: WriteId,
        documents: Vec<Refused>,
    },
    /// To the disk; exactly one answer for each, and until then there is no other.
    Spool(Order),
    /// Acknowledge every message up to and including this one.
    Settle { epoch: Epoch, through: DeliveryTag },
    /// Close the connection; `SourceDown` follows.
    Close { epoch: Epoch },
    /// Tell people.
    Report(Report),
    /// Nothing more will come: everything is closed.
    Stopped,
    /// Nothing to do before then, unless something happens outside.
    Wait(Option<Instant>),
}

impl From<LinkAction> for Output {
    fn from(action: LinkAction) -> Self {
        match action {
            LinkAction::Connect { epoch, broker } => Output::Connect { epoch, broker },
            LinkAction::Abandon { epoch } => Output::Abandon { epoch },
            LinkAction::Close { epoch } => Output::Close { epoch },
        }
    }
}
