//! What the disk is asked, and what it answers.

use std::sync::Arc;

use crate::document::Body;

/// Names a record of the spool: grows with every write, over restarts, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId(pub u64);

/// What the disk is to do; exactly one [`Answer`] for each.
#[derive(Debug)]
pub enum Order {
    /// Open the spool and say what the last run left there.
    Open,
    /// Append these documents of the body.
    Write {
        body: Arc<Body>,
        documents: Vec<usize>,
        kept: Kept,
    },
    /// Give the oldest record that was not read yet.
    Read,
    /// Forget all records up to and including this one: they were delivered.
    Forget { through: RecordId },
}

/// Where a batch is once it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// It leaves the memory and is read again later.
    OnDiskOnly,
    /// It stays in memory, as do all older ones; the disk has it for the next run only.
    InMemoryToo,
}

/// What became of an order.
#[derive(Debug)]
pub struct Answer {
    /// `Err` says for a human what is wrong and what to do about it.
    pub outcome: Result<Outcome, String>,
    /// `None` where it is not open.
    pub figures: Option<Figures>,
}

/// An order that was carried out.
#[derive(Debug)]
pub enum Outcome {
    /// So many events wait to be read.
    Opened {
        events: u64,
    },
    Written(RecordId),
    /// `None`: there is none left.
    Read(Option<(RecordId, Body)>),
    Forgotten,
}

/// What happened to bytes and events since the spool was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// Bytes written to the disk.
    pub written: u64,
    /// Bytes that could not be read and were cut off.
    pub torn: u64,
    /// Events given up before they were read: their segment had to make room, or was damaged.
    pub lost: u64,
}
