//! Power cuts and further runs: the agent begins anew with what brokers and disks have.

use std::collections::BTreeSet;

use leek_agent::pipeline::Pipeline;

use super::super::broker::Kind;
use super::{Ending, Happening, Input, World};

/// What the runs of the agent that are over left behind.
#[derive(Debug, Default)]
pub struct Past {
    pub runs: u32,
    /// Events that they dropped.
    pub dropped: u64,
    /// Documents that were in memory only when a run ended.
    pub lost: BTreeSet<String>,
    /// Refused documents that were in no file when a run ended.
    unkept: BTreeSet<String>,
    /// Documents that were on disk then.
    spooled: BTreeSet<String>,
}

impl Happening {
    /// It means nothing to a later run.
    pub fn is_for_agent(&self) -> bool {
        !matches!(
            self,
            Happening::Deliver
                | Happening::Publish
                | Happening::Trouble
                | Happening::Heal
                | Happening::Heartbeat(_)
        )
    }
}

impl World {
    /// Power fails, and comes back at once.
    pub fn cut_power(&mut self) {
        self.tell(|| "power cut".into());
        self.broker.end();
        self.begin_anew();
    }

    /// The agent was stopped with something on disk: the next run delivers it.
    pub fn run_again(&mut self) {
        self.tell(|| "next run".into());
        self.broker.end();
        self.begin_anew();
        self.stopped = false;
        self.ending = Ending::Drain;
        self.input(Input::Drain);
    }

    fn begin_anew(&mut self) {
        self.past.dropped += self.pipeline.ledger().dropped;
        if self.broker.kind == Kind::Redis {
            self.lose_memory();
        }
        self.settled_bad.retain(|id| self.disk.kept.contains(id));
        self.past.runs += 1;
        self.spool.restart(&mut self.random);
        self.held = None;
        self.writing = None;
        self.ordered = false;
        self.in_flight.clear();
        let seed = self.seed.wrapping_add(u64::from(self.past.runs));
        self.pipeline = Pipeline::new(&self.subscription, self.now, seed);
    }

    /// Nobody else has what is neither stored, nor kept, nor on disk.
    fn lose_memory(&mut self) {
        let spooled = self.spool.uuids();
        let quarantined = std::mem::take(&mut self.quarantined).into_iter();
        let (kept, unkept): (BTreeSet<_>, BTreeSet<_>) =
            quarantined.partition(|id| self.disk.kept.contains(id));
        self.quarantined = kept;
        self.past.unkept.extend(unkept);
        let heard = self.broker.heard.iter().flat_map(|message| &message.uuids);
        let is_lost = |uuid: &&String| {
            !self.api.stored.contains_key(*uuid)
                && !self.quarantined.contains(*uuid)
                && !spooled.contains(*uuid)
        };
        self.past.lost.extend(heard.filter(is_lost).cloned());
        self.past.spooled.extend(spooled);
    }

    /// What was on disk when a run ended was delivered later, or is accounted for.
    pub fn check_spooled(&self) {
        let seed = self.seed;
        for uuid in &self.past.spooled {
            let settled = self.api.stored.contains_key(uuid) || self.quarantined.contains(uuid);
            assert!(
                settled || self.spool.dropped.contains(uuid) || self.past.unkept.contains(uuid),
                "seed {seed}: {uuid} was on disk, and is gone"
            );
        }
    }
}
