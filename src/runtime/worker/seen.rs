//! What is seen of a worker from outside: by people, by Prometheus, by Consul.

use std::time::Instant;

use super::{Life, Worker};
use crate::consul::health::Vitals;
use crate::control::status::{
    BatchStatus, Buffer, Events, QuarantineStatus, RateStatus, SideStatus, SpoolStatus,
    SubscriptionStatus, Uploads,
};
use crate::control::traffic::Traffic;
use crate::pipeline::verdict::Verdict;

/// What a status shows that the pipeline need not know.
#[derive(Default)]
pub(super) struct Seen {
    /// The broker of the list that was tried last.
    pub broker: usize,
    pub broker_error: Option<String>,
    pub api_error: Option<String>,
    pub traffic: Traffic,
    /// Posts that are not answered: their batch, their bytes, and when they began.
    pub posts: Vec<(u64, usize, Instant)>,
}

impl Seen {
    /// The post of that batch was answered.
    pub fn answered(&mut self, id: u64, verdict: &Verdict, now: Instant) {
        if let Some(place) = self.posts.iter().position(|(post, ..)| *post == id) {
            let (_, bytes, began) = self.posts.swap_remove(place);
            let took = now.saturating_duration_since(began);
            self.traffic.posted(verdict, bytes, took);
        }
    }
}

impl Worker {
    /// How it is, in a few figures.
    pub fn vitals(&self) -> Vitals {
        let (used, size) = (self.pipeline.ring_used(), self.subscription.buffer_bytes);
        let percent = used.saturating_mul(100) / size.max(1);
        Vitals {
            is_consuming: self.pipeline.is_consuming(),
            is_api_well: self.pipeline.is_api_well(),
            is_paused: self.is_paused(),
            buffer_percent: u8::try_from(percent).unwrap_or(u8::MAX),
        }
    }

    /// A line for each side that is not well.
    pub fn complaints(&self) -> impl Iterator<Item = String> + use<> {
        let status = self.status();
        let sides = [("broker", status.broker), ("api", status.api)];
        sides.into_iter().filter_map(|(name, side)| {
            let reason = side.reason?;
            Some(format!("{name} {}: {reason}", side.address))
        })
    }

    /// Everything that is shown of it.
    pub fn status(&self) -> SubscriptionStatus {
        let (ledger, seen) = (self.pipeline.ledger(), &self.seen);
        let (documents, bytes) = self.pipeline.open_batch();
        let traffic = &seen.traffic;
        let broker = self.subscription.brokers[seen.broker].to_string();
        SubscriptionStatus {
            name: self.name().to_owned(),
            state: self.state(),
            broker: SideStatus::new(broker, self.broker_reason()),
            api: SideStatus::new(self.subscription.api_url.clone(), self.api_reason()),
            events: Events::of(ledger, self.pipeline.pending_events()),
            buffer: Buffer {
                used_bytes: self.pipeline.ring_used(),
                size_bytes: self.subscription.buffer_bytes,
            },
            batch: BatchStatus {
                documents,
                bytes,
                max_bytes: self.subscription.batch.max_bytes,
            },
            uploads: Uploads {
                in_flight: seen.posts.len(),
                at_most: self.subscription.concurrency_pool_size,
                posts: traffic.posts.iter().sum(),
                stored: traffic.posts[0],
                bytes: traffic.bytes,
                connects: traffic.connects,
                traffic: traffic.clone(),
            },
            quarantine: QuarantineStatus {
                lost: ledger.quarantine_lost,
                evicted: ledger.quarantine_evicted,
            },
            spool: self.subscription.spool.as_ref().map(|_| SpoolStatus {
                events: self.pipeline.spooled_events(),
                bytes_written: ledger.spool_bytes_written,
                torn_bytes: ledger.spool_torn_bytes,
            }),
            rate: RateStatus::of(traffic),
        }
    }

    fn state(&self) -> &'static str {
        match self.life {
            Life::Working if self.is_paused() => "paused",
            Life::Working => "running",
            _ => "stopping",
        }
    }

    /// Why the broker does not deliver, where it does not.
    fn broker_reason(&self) -> Option<String> {
        if self.is_paused() {
            return Some("paused: nothing is consumed until it is resumed".to_owned());
        }
        if self.pipeline.is_consuming() {
            return None;
        }
        if self.pipeline.is_connected() {
            return Some("connected: waits until the API is well".to_owned());
        }
        let error = self.seen.broker_error.clone();
        Some(error.unwrap_or_else(|| "not connected yet".to_owned()))
    }

    /// Why the API takes nothing, where it does not.
    fn api_reason(&self) -> Option<String> {
        if self.pipeline.is_api_well() {
            return None;
        }
        let error = self.seen.api_error.clone();
        Some(error.unwrap_or_else(|| "no answer yet".to_owned()))
    }
}
