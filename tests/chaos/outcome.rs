//! What became of a row's events: delivered, counted, lost as contract C7 allows it, or lost.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::chaos::fault::{Fault, Side, WireFault};
use crate::chaos::hearing::{self, Hearing};
use crate::chaos::load::{Meant, number_of};
use crate::chaos::site::{Gone, Kind, Site};
use crate::support::publisher::uuid;

/// A row in figures.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    pub sent: usize,
    pub delivered: usize,
    pub duplicates: usize,
    pub counted: u64,
    pub allowed: Allowed,
    pub lost: usize,
    /// `None` where every agent was killed.
    pub pause_ms: Option<f64>,
    pub peak_rss_kib: u64,
    pub took: Duration,
    pub runs: usize,
}

/// Losses that C7 allows.
#[derive(Debug, Clone, Copy, Default)]
pub struct Allowed {
    /// Published on Redis while the agent was not connected, or lost on the way with a connection:
    /// they never reached the agent's socket.
    pub unheard: usize,
    /// In the memory of an agent that was killed; Redis keeps nothing.
    pub killed: usize,
    /// Damaged on the wire.
    pub damaged: usize,
}

/// What agents said when they were stopped, all in all.
#[derive(Debug, Clone, Copy, Default)]
struct Books {
    received: u64,
    invalid: u64,
    filtered: u64,
    quarantined: u64,
    /// Given up for want of room, or at a stop because nobody else keeps it.
    dropped: u64,
    /// Left on disk for the next agent, which received them again.
    spooled: u64,
    /// A killed agent took its books along.
    complete: bool,
}

/// Good events that the API has not stored, by what they are.
#[derive(Debug, Default)]
struct Missing {
    unheard: usize,
    /// The numbers of those that the API refused.
    refused: Vec<usize>,
    killed: usize,
    /// Behind damage on the same connection.
    unsure: usize,
    /// The numbers of all others.
    owed: Vec<usize>,
}

/// Knows what the API stored, what the agents said, and what they heard.
struct Judge<'a> {
    site: &'a Site<'a>,
    faults: &'a [Fault],
    stored: BTreeMap<usize, u64>,
    /// `None`: RabbitMQ keeps everything for the agent.
    heard: Option<BTreeMap<usize, Hearing>>,
    books: Books,
}

/// True once nothing is owed but what only the books can explain. Where damage may explain a missing
/// event, the broker must say that nothing more will come.
pub fn is_drained(site: &Site, faults: &[Fault]) -> bool {
    let judge = Judge::new(site, faults);
    let missing = judge.missing();
    judge.excused(&missing).unexplained.is_empty()
        && (!judge.is_damaging() || (site.left_in_queue() == 0 && site.is_settled()))
}

/// For a row that never drained.
pub fn tell_missing(site: &Site, faults: &[Fault]) -> String {
    let judge = Judge::new(site, faults);
    let missing = judge.missing();
    let owed = &missing.owed;
    format!(
        "not drained in time: {} of {} events are not stored, among them {:?}; {} messages wait",
        owed.len(),
        site.load.sent.len(),
        &owed[..owed.len().min(10)],
        site.left_in_queue()
    )
}

/// The row's figures, and what is wrong with them.
pub fn judge(site: &Site, faults: &[Fault], took: Duration) -> (Outcome, Vec<String>) {
    let judge = Judge::new(site, faults);
    let missing = judge.missing();
    let excuses = judge.excused(&missing);
    let mut faults_found = Vec::new();
    let mut lost = excuses.unexplained.len();
    if lost > 0 {
        let some: Vec<_> = excuses.unexplained.iter().take(10).collect();
        faults_found.push(format!("{lost} events lost, among them {some:?}"));
    }
    for (uncounted, what) in judge.uncounted(&missing) {
        lost += uncounted;
        faults_found.push(format!("{uncounted} {what} events were not counted"));
    }
    faults_found.extend(judge.miscounted());
    faults_found.extend(judge.not_kept(&missing));
    let outcome = Outcome {
        sent: site.load.sent.len(),
        delivered: judge.stored.len(),
        duplicates: judge.stored.values().map(|times| *times as usize - 1).sum(),
        counted: judge.books.counted(),
        allowed: Allowed {
            unheard: judge.unheard(),
            killed: missing.killed,
            damaged: excuses.damaged,
        },
        lost,
        pause_ms: longest_pause(&site.gone),
        peak_rss_kib: site
            .gone
            .iter()
            .map(|gone| gone.peak_rss_kib)
            .max()
            .unwrap_or(0),
        took,
        runs: 1,
    };
    (outcome, faults_found)
}

/// Good events that the API has not stored because it refused them.
pub fn refused(site: &Site, faults: &[Fault]) -> usize {
    Judge::new(site, faults).missing().refused.len()
}

/// The judgement itself must be able to fail: an event that nobody published is missed.
pub fn assert_notices_a_loss(site: &mut Site) {
    site.load.take_good();
    let (outcome, _) = judge(site, &[], Duration::ZERO);
    let noticed = match site.kind() {
        Kind::RabbitMq => outcome.lost,
        Kind::Redis => outcome.allowed.unheard,
    };
    assert_eq!(noticed, 1, "{outcome:?}");
}

/// What of the missing events is explained.
struct Excuses {
    damaged: usize,
    unexplained: Vec<usize>,
}

impl<'a> Judge<'a> {
    fn new(site: &'a Site<'a>, faults: &'a [Fault]) -> Judge<'a> {
        let by_id = site.api.events_by_id();
        let numbers = by_id
            .iter()
            .filter_map(|(id, times)| Some((number_of(id)?, *times)));
        let published = site.load.sent.len();
        let is_redis = site.kind() == Kind::Redis;
        Judge {
            site,
            faults,
            // Damage can make a number that never was.
            stored: numbers.filter(|(number, _)| *number < published).collect(),
            heard: is_redis.then(|| hearing::events(&site.broker_wire.heard())),
            books: Books::of(site.kind(), &site.gone),
        }
    }

    fn missing(&self) -> Missing {
        let mut missing = Missing::default();
        for number in self.numbers(Meant::Delivered) {
            if self.stored.contains_key(&number) {
                continue;
            }
            match self.hearing(number) {
                None => missing.unheard += 1,
                Some(_) if self.is_refused(number) => missing.refused.push(number),
                Some(hearing) if hearing.connection < self.site.killed_connections => {
                    missing.killed += 1
                }
                Some(hearing) if !hearing.sure => missing.unsure += 1,
                Some(_) => missing.owed.push(number),
            }
        }
        missing
    }

    /// Given up and counted, or damaged: the rest has no excuse.
    fn excused(&self, missing: &Missing) -> Excuses {
        let mut rest = missing.owed.clone();
        if self.site.kind() == Kind::Redis {
            let dropped = usize::try_from(self.books.dropped).unwrap_or(usize::MAX);
            rest.truncate(rest.len().saturating_sub(dropped));
        }
        let message = |number: &usize| self.site.load.sent[*number].message;
        let messages: BTreeSet<usize> = rest.iter().map(message).collect();
        if self.is_damaging() && messages.len() <= self.site.broker_wire.flips() {
            let damaged = rest.len() + missing.unsure;
            return Excuses {
                damaged,
                unexplained: Vec::new(),
            };
        }
        Excuses {
            damaged: missing.unsure,
            unexplained: rest,
        }
    }

    /// Events that had to be counted and were not, with their kind.
    fn uncounted(&self, missing: &Missing) -> Vec<(usize, &'static str)> {
        if !self.books.complete || self.is_damaging() {
            return Vec::new();
        }
        let heard = |meant| {
            self.numbers(meant)
                .filter(|one| self.hearing(*one).is_some())
        };
        let wanted = [
            (heard(Meant::Invalid).count(), self.books.invalid, "invalid"),
            (
                heard(Meant::Filtered).count(),
                self.books.filtered,
                "filtered",
            ),
            (missing.refused.len(), self.books.quarantined, "refused"),
        ];
        // An event that is dropped is counted as dropped, whatever it would have been.
        let mut dropped = usize::try_from(self.books.dropped).unwrap_or(usize::MAX);
        let short = wanted.map(|(wanted, counted, what)| {
            let short = wanted.saturating_sub(usize::try_from(counted).unwrap_or(usize::MAX));
            let excused = short.min(dropped);
            dropped -= excused;
            (short - excused, what)
        });
        short.into_iter().filter(|(short, _)| *short > 0).collect()
    }

    /// Of Redis every event comes once: what the agents received is what they heard.
    fn miscounted(&self) -> Option<String> {
        let heard = self.heard.as_ref()?.len() as u64;
        let received = self.books.received - self.books.spooled;
        let is_exact = self.books.complete && !self.is_damaging();
        (is_exact && heard != received)
            .then(|| format!("{heard} events were heard, but {received} received"))
    }

    /// What the API refused is in a file; of Redis, unless it was in the memory of a killed agent.
    fn not_kept(&self, missing: &Missing) -> Option<String> {
        if !self.books.complete && self.heard.is_some() {
            return None;
        }
        let kept: BTreeSet<String> = self.site.quarantined().into_iter().collect();
        let is_gone = |number: &&usize| !kept.contains(&uuid(**number));
        let gone = missing.refused.iter().filter(is_gone).count();
        (gone > 0).then(|| format!("{gone} refused documents are in no quarantine file"))
    }

    fn numbers(&self, meant: Meant) -> impl Iterator<Item = usize> {
        let sent = self.site.load.sent.iter().enumerate();
        sent.filter(move |(_, one)| one.meant == meant)
            .map(|(number, _)| number)
    }

    /// Who heard that event, if anybody; of RabbitMQ everything is heard, for sure, some time.
    fn hearing(&self, number: usize) -> Option<Hearing> {
        match &self.heard {
            Some(heard) => heard.get(&number).copied(),
            None => Some(Hearing {
                connection: usize::MAX,
                sure: true,
            }),
        }
    }

    fn unheard(&self) -> usize {
        let all = 0..self.site.load.sent.len();
        all.filter(|number| self.hearing(*number).is_none() && !self.stored.contains_key(number))
            .count()
    }

    fn is_refused(&self, number: usize) -> bool {
        self.faults.iter().any(|fault| fault.refuses(number))
    }

    fn is_damaging(&self) -> bool {
        self.faults
            .contains(&Fault::Wire(Side::Broker, WireFault::Corrupt))
    }
}

impl Books {
    fn of(kind: Kind, gone: &[Gone]) -> Books {
        let mut books = Books {
            complete: gone.iter().all(|one| one.end.is_some()),
            ..Books::default()
        };
        for ledger in gone.iter().filter_map(|one| Some(one.end?.ledger)) {
            books.received += ledger.received;
            books.invalid += ledger.invalid;
            books.filtered += ledger.filtered;
            books.quarantined += ledger.quarantined;
            books.spooled += ledger.spooled;
            // What is pending at a stop RabbitMQ still has, or the spool, and Redis never had.
            books.dropped += match kind {
                Kind::RabbitMq => ledger.dropped,
                Kind::Redis => ledger.dropped + ledger.pending - ledger.spooled,
            };
        }
        books
    }

    fn counted(&self) -> u64 {
        self.invalid + self.filtered + self.quarantined + self.dropped
    }
}

fn longest_pause(gone: &[Gone]) -> Option<f64> {
    let pauses = gone.iter().filter_map(|one| Some(one.end?.pause_ms));
    pauses.reduce(f64::max)
}
