//! A model of the disk that holds the quarantine file: it takes its time, fails, hangs for a while.

use std::collections::BTreeSet;
use std::time::Duration;

use leek_agent::pipeline::quarantine::{Refused, Written};

#[derive(Debug, Default)]
pub struct Disk {
    /// Ids of the documents that a power cut would leave.
    pub kept: BTreeSet<String>,
    /// Says that it kept what it did not.
    pub lies: bool,
}

/// Whether the disk may be in trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    Shaky,
    Well,
}

/// What will become of a write, and after how long.
#[derive(Debug)]
pub struct Outcome {
    pub takes: Duration,
    /// Documents that will be on the disk, from the first on.
    kept: Vec<String>,
    lost: u64,
}

impl Disk {
    pub fn write(
        &self,
        documents: &[Refused],
        health: Health,
        random: &mut fastrand::Rng,
    ) -> Outcome {
        let most_ms = match (health, random.u32(0..10)) {
            // Longer than the pipeline's patience.
            (Health::Shaky, 0) => 300_000,
            (Health::Shaky, 1..=3) => 15_000,
            _ => 300,
        };
        let kept = match (health, random.u32(0..4)) {
            (Health::Shaky, 0) => random.usize(0..=documents.len()),
            _ => documents.len(),
        };
        let ids = documents.iter().map(|one| one.body.id(one.document));
        Outcome {
            takes: Duration::from_millis(random.u64(1..most_ms)),
            kept: ids.take(kept).collect(),
            lost: (documents.len() - kept) as u64,
        }
    }

    /// The time is over.
    pub fn written(&mut self, outcome: Outcome) -> Written {
        let kept = outcome.kept.len() as u64;
        if !self.lies {
            self.kept.extend(outcome.kept);
        }
        Written {
            kept,
            lost: outcome.lost,
            ..Written::default()
        }
    }
}
