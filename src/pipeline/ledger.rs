//! Where every event went. The ledger always balances:
//! `received = delivered + invalid + filtered + quarantined + dropped + pending`.
//!
//! `pending` is not kept here: the pipeline counts what it holds, and the two counts check each
//! other.

/// Counters of one subscription since the agent's start, in events where nothing else is said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Taken from the broker, less what went back to it. An event that comes again after a
    /// redelivery counts again.
    pub received: u64,
    /// Stored by the API.
    pub delivered: u64,
    /// Not an event, or one without a meaning.
    pub invalid: u64,
    /// Of a type that Leek has no state for, or not to leave the site.
    pub filtered: u64,
    /// Refused by the API, one by one.
    pub quarantined: u64,
    /// Given up for want of room.
    pub dropped: u64,
    /// Handed back to the broker with a lost connection or at a stop, which will deliver them
    /// again. Not part of the balance: `received` is less by as much.
    pub returned: u64,
    /// Events that were mended before they could become documents.
    pub repaired: u64,
    /// Quarantined documents (not events) that no quarantine file got, since the disk failed.
    pub quarantine_lost: u64,
    /// Quarantined documents that were removed again, oldest first, to stay within the bound.
    pub quarantine_evicted: u64,
    /// Bytes that the spool wrote to the disk, and bytes that it found there and could not read.
    pub spool_bytes_written: u64,
    pub spool_torn_bytes: u64,
}

impl Ledger {
    /// What must still be pending for the books to balance.
    pub fn owed(&self) -> u64 {
        self.received
            - self.delivered
            - self.invalid
            - self.filtered
            - self.quarantined
            - self.dropped
    }

    /// Takes back events that the broker will deliver again.
    pub fn hand_back(&mut self, events: u64) {
        self.received -= events;
        self.returned += events;
    }
}
