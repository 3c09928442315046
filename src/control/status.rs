//! The agent's state as `/v1/status` shows it. Field names are the interface's: README has the table.

use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use super::traffic::{SLOT, Traffic};
use crate::pipeline::ledger::Ledger;

/// Everything that is shown.
#[derive(Debug, Serialize)]
pub struct Status {
    pub version: &'static str,
    /// `local` or `standalone`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// `starting`, `running` or `stopping`.
    pub state: &'static str,
    pub pid: u32,
    /// RFC 3339.
    pub started: String,
    pub started_ms: i64,
    pub uptime_seconds: f64,
    /// `None` where the system does not say.
    pub rss_bytes: Option<u64>,
    /// Of the event loop: in all, and without what the machine gave to others meanwhile.
    pub longest_pause_seconds: f64,
    pub longest_own_pause_seconds: f64,
    /// What who asks may do: `reader` or `operator`.
    pub role: &'static str,
    /// The file or the variable that the subscriptions were read from.
    pub subscriptions_from: String,
    /// False where that is a variable.
    pub is_changeable: bool,
    pub subscriptions: Vec<SubscriptionStatus>,
    /// The subscriptions as they are written, without secrets.
    #[serde(skip)]
    pub listed: Arc<[Value]>,
}

/// One subscription.
#[derive(Debug, Serialize)]
pub struct SubscriptionStatus {
    pub name: String,
    /// `running`, `paused` or `stopping`.
    pub state: &'static str,
    pub broker: SideStatus,
    pub api: SideStatus,
    pub events: Events,
    pub buffer: Buffer,
    pub batch: BatchStatus,
    pub uploads: Uploads,
    pub quarantine: QuarantineStatus,
    pub spool: Option<SpoolStatus>,
    pub rate: RateStatus,
}

/// A broker or an API.
#[derive(Debug, Serialize)]
pub struct SideStatus {
    /// Without secrets.
    pub address: String,
    pub is_well: bool,
    /// Set where it is not: what is wrong and what to do, or what it waits for.
    pub reason: Option<String>,
}

impl SideStatus {
    /// A side that is well, or is not for that reason.
    pub fn new(address: String, reason: Option<String>) -> Self {
        SideStatus {
            address,
            is_well: reason.is_none(),
            reason,
        }
    }
}

/// Where every event went: `received = delivered + invalid + filtered + quarantined + dropped +
/// pending`.
#[derive(Debug, Serialize)]
pub struct Events {
    pub received: u64,
    pub delivered: u64,
    pub invalid: u64,
    pub filtered: u64,
    pub quarantined: u64,
    pub dropped: u64,
    pub pending: u64,
    /// Handed back to the broker, which delivers them again; not in the balance.
    pub returned: u64,
}

impl Events {
    pub fn of(ledger: &Ledger, pending: u64) -> Self {
        Events {
            received: ledger.received,
            delivered: ledger.delivered,
            invalid: ledger.invalid,
            filtered: ledger.filtered,
            quarantined: ledger.quarantined,
            dropped: ledger.dropped,
            pending,
            returned: ledger.returned,
        }
    }
}

/// Messages that are not decoded yet.
#[derive(Debug, Serialize)]
pub struct Buffer {
    pub used_bytes: usize,
    pub size_bytes: usize,
}

/// The batch that is being filled.
#[derive(Debug, Serialize)]
pub struct BatchStatus {
    pub documents: usize,
    pub bytes: usize,
    /// One with more bytes goes out.
    pub max_bytes: usize,
}

/// Posts to the API.
#[derive(Debug, Serialize)]
pub struct Uploads {
    pub in_flight: usize,
    pub at_most: usize,
    #[serde(skip)]
    pub traffic: Traffic,
    /// How many were answered.
    pub posts: u64,
    pub stored: u64,
    pub bytes: u64,
    pub connects: u64,
}

/// Refused documents.
#[derive(Debug, Serialize)]
pub struct QuarantineStatus {
    /// In no file, since the disk failed.
    pub lost: u64,
    /// Removed again, oldest first, to stay within the bound.
    pub evicted: u64,
}

/// What waits on disk.
#[derive(Debug, Serialize)]
pub struct SpoolStatus {
    pub events: u64,
    pub bytes_written: u64,
    pub torn_bytes: u64,
}

/// Events delivered in the last 15 minutes.
#[derive(Debug, Serialize)]
pub struct RateStatus {
    pub slot_seconds: u64,
    /// The newest last; it is not over yet.
    pub delivered: Vec<u32>,
}

impl RateStatus {
    pub fn of(traffic: &Traffic) -> Self {
        RateStatus {
            slot_seconds: SLOT.as_secs(),
            delivered: traffic.rate.slots().collect(),
        }
    }
}

impl Status {
    /// What `/v1/status` answers.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain data")
    }

    /// A line for each side that is not well.
    pub fn unwell(&self) -> impl Iterator<Item = String> + '_ {
        self.subscriptions.iter().flat_map(|subscription| {
            let sides = [("broker", &subscription.broker), ("api", &subscription.api)];
            let unwell = sides.into_iter().filter(|(_, side)| !side.is_well);
            unwell.map(move |(name, side)| {
                let reason = side.reason.as_deref().unwrap_or_default();
                unwell_line(&subscription.name, name, &side.address, reason)
            })
        })
    }
}

/// How a side that is not well is told to people.
pub fn unwell_line(subscription: &str, side: &str, address: &str, reason: &str) -> String {
    format!("{subscription}: {side} {address}: {reason}")
}
