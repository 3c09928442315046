//! One run of one row: load, fault, load, and the judgement.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use leek_agent::clock;

use crate::chaos::fault::{Fault, TICK};
use crate::chaos::matrix::{Faults, Row, Setting};
use crate::chaos::options::Length;
use crate::chaos::outcome::{
    Outcome, assert_notices_a_loss, is_drained, judge, refused, tell_missing,
};
use crate::chaos::site::{Broker, Corner, End, Kind, Site};
use crate::support::agent::is_debug_build;
use crate::support::keeper::lock;
use crate::support::rabbitmq::{Rabbit, shared};
use crate::support::redis::Redis;

/// Rows that run at once: most of them wait most of the time.
pub const SLOTS: usize = 8;

/// From the end of the faults until everything is stored: a request that hangs for 30 s, a
/// connection that is found dead after a minute and a half, and the backoff behind both.
const DRAIN_LIMIT: Duration = Duration::from_secs(180);

/// Events a tick that fill a buffer of 1 MB, and a spool of twice that, in some seconds.
const FLOOD: usize = 400;

/// For how long the event loop may be away from its poll, without the time that the machine gave to
/// others: 50 ms for the agent as it is shipped. A debug build takes longer for the same work.
const LONGEST_PAUSE_MS: f64 = 50.0;
const LONGEST_PAUSE_IN_DEBUG_MS: f64 = 150.0;

/// "Some 8 MB for itself", says the README of the agent as it is shipped.
const ITSELF_KIB: u64 = 8 * 1024;
const ITSELF_IN_DEBUG_KIB: u64 = 12 * 1024;

/// A row, and everything that is drawn about it.
#[derive(Debug, Clone)]
pub struct Trial {
    pub row: Row,
    pub seed: u64,
    pub length: Length,
}

/// How a trial went.
pub struct Report {
    pub trial: Trial,
    /// `None` where it did not come to a judgement.
    pub outcome: Option<Outcome>,
    /// Why it failed.
    pub failure: Option<String>,
}

/// How much is published, and how long the faults last.
#[derive(Debug)]
struct Plan {
    faults: Vec<Fault>,
    before: usize,
    per_tick: usize,
    ticks: u64,
    after: usize,
}

impl Trial {
    /// Runs it in a thread of its own, in that corner of the shared parts. A panic is a failure.
    pub fn run(self, slot: usize) -> Report {
        let result = Arc::new(Mutex::new(None));
        let (trial, place) = (self.clone(), Arc::clone(&result));
        let thread = std::thread::Builder::new()
            .name(self.row.test())
            .spawn(move || trial.try_run(slot, &place))
            .expect("a thread");
        let failure = thread.join().err().map(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string))
                .unwrap_or_default()
        });
        let outcome = lock(&result).take();
        Report {
            trial: self,
            outcome,
            failure,
        }
    }

    fn try_run(&self, slot: usize, result: &Mutex<Option<Outcome>>) {
        let mut random = fastrand::Rng::with_seed(self.seed);
        let plan = self.plan(&mut random);
        // Held until the row is over: others would miss the node that is down.
        let victim = self.needs_victim(&plan).then(victim);
        let broker = match self.row.kind {
            Kind::Redis => Broker::Redis(Redis::start()),
            Kind::RabbitMq => Broker::RabbitMq(Corner {
                node: victim.as_deref().unwrap_or_else(|| node()),
                vhost: vhost(slot),
            }),
        };
        let begun = clock::monotonic();
        let mut site = Site::new(broker, self.row.setting, random.u64(..));
        live_through(&mut site, &plan);
        let stuck = self.wait_drained(&mut site, &plan.faults);
        let end = site.stop_agent();
        let (outcome, mut wrong) = judge(&site, &plan.faults, clock::monotonic() - begun);
        wrong.extend(stuck);
        wrong.extend(over_bounds(&outcome, self.row.setting));
        wrong.extend(not_settled(&site, end));
        wrong.extend(self.missed_its_point(&site));
        wrong.extend(replay(&site, &plan.faults));
        *lock(result) = Some(outcome);
        assert!(wrong.is_empty(), "{}: {}", plan.told(), wrong.join("; "));
        if plan.faults.is_empty() {
            assert_notices_a_loss(&mut site);
        }
    }

    fn needs_victim(&self, plan: &Plan) -> bool {
        let breaks_it = |fault: &Fault| matches!(fault, Fault::Broker(_));
        self.row.kind == Kind::RabbitMq && plan.faults.iter().any(breaks_it)
    }

    fn plan(&self, random: &mut fastrand::Rng) -> Plan {
        let faults = self.row.faults(random);
        let seconds = match self.length {
            Length::Short => self.row.seconds,
            Length::Long { .. } | Length::Once => random.u64(2..=12),
        };
        let seconds = match self.row.setting.overflows() {
            // Or nothing would.
            true => seconds.max(self.row.seconds),
            false => seconds,
        };
        Plan {
            before: random.usize(500..1_500),
            per_tick: match self.row.setting.overflows() {
                true => FLOOD,
                false => random.usize(20..100),
            },
            ticks: seconds * 1000 / TICK.as_millis() as u64,
            after: random.usize(200..600),
            faults,
        }
    }

    /// A row that never met what it is there for shows nothing.
    fn missed_its_point(&self, site: &Site) -> Option<String> {
        let ledgers = || site.gone.iter().filter_map(|gone| Some(gone.end?.ledger));
        let dropped: u64 = ledgers().map(|ledger| ledger.dropped).sum();
        if self.row.setting.overflows() && dropped == 0 {
            return Some("nothing was given up: more load is needed".to_owned());
        }
        let written: u64 = ledgers().map(|ledger| ledger.spool_bytes_written).sum();
        // A killed agent took its books along.
        let is_known = site.gone.iter().all(|gone| gone.end.is_some());
        let is_drawn = matches!(self.row.faults, Faults::Drawn(_));
        (self.row.setting.spools() && is_known && !is_drawn && written == 0)
            .then(|| "nothing was written to the spool".to_owned())
    }

    /// Waits until nothing is owed; says what is still missing where that takes too long.
    fn wait_drained(&self, site: &mut Site, faults: &[Fault]) -> Option<String> {
        let end = clock::monotonic() + DRAIN_LIMIT;
        let newest = site.load.newest_good().expect("some were published");
        while clock::monotonic() < end {
            let drained = match self.row.setting.overflows() {
                // What is dropped is known only at the end, but the newest is the last to be stored.
                true => site.has_stored(newest),
                false => is_drained(site, faults),
            };
            if drained {
                return None;
            }
            site.pass(TICK);
        }
        Some(tell_missing(site, faults))
    }
}

/// Everything up to the last event published.
fn live_through(site: &mut Site, plan: &Plan) {
    site.start_agent();
    site.agent().wait_started();
    site.wait_until_heard();
    site.publish(plan.before);
    for fault in &plan.faults {
        fault.begin(site);
    }
    for tick in 0..plan.ticks {
        site.publish(plan.per_tick);
        site.pass(TICK);
        for fault in &plan.faults {
            fault.tick(site, tick);
        }
    }
    for fault in &plan.faults {
        fault.end(site);
    }
    site.wait_until_heard();
    site.publish(plan.after);
    site.wait_quiet();
}

/// Memory and pauses.
fn over_bounds(outcome: &Outcome, setting: Setting) -> Vec<String> {
    let mut wrong = Vec::new();
    let (longest, itself) = match is_debug_build() {
        true => (LONGEST_PAUSE_IN_DEBUG_MS, ITSELF_IN_DEBUG_KIB),
        false => (LONGEST_PAUSE_MS, ITSELF_KIB),
    };
    if let Some(pause) = outcome.pause_ms.filter(|pause| *pause >= longest) {
        wrong.push(format!(
            "a pause of {pause} ms: expected less than {longest}"
        ));
    }
    let (rss, most) = (outcome.peak_rss_kib, itself + setting.memory_kib());
    if rss > most {
        wrong.push(format!("{rss} KiB peak RSS: expected at most {most}"));
    }
    wrong
}

/// After a stop with everything well, neither agent nor broker has anything left.
fn not_settled(site: &Site, end: End) -> Vec<String> {
    let mut wrong = Vec::new();
    if end.code != 0 || end.ledger.pending > 0 {
        wrong.push(format!("exit code {}, {:?}", end.code, end.ledger));
    }
    if site.left_in_queue() > 0 {
        let left = site.left_in_queue();
        wrong.push(format!("{left} messages left in the queue"));
    }
    wrong
}

/// What the API refused, it stores later on, if it is sent again.
fn replay(site: &Site, faults: &[Fault]) -> Option<String> {
    if refused(site, faults) == 0 {
        return None;
    }
    let code = site.replay();
    let left = refused(site, faults);
    (code != 0 || left > 0)
        .then(|| format!("replay left {left} refused documents, exit code {code}"))
}

impl Plan {
    fn told(&self) -> String {
        let faults: Vec<String> = self.faults.iter().map(ToString::to_string).collect();
        format!(
            "{} for {:?}",
            faults.join(" + "),
            TICK * u32::try_from(self.ticks).unwrap_or(u32::MAX)
        )
    }
}

fn vhost(slot: usize) -> String {
    format!("chaos-{slot}")
}

fn make_vhosts(rabbit: &Rabbit) {
    let names: Vec<String> = (0..SLOTS).map(vhost).collect();
    rabbit.vhosts(&names);
}

/// The node whose rows leave it alone.
fn node() -> &'static Rabbit {
    static READY: OnceLock<()> = OnceLock::new();
    READY.get_or_init(|| make_vhosts(shared()));
    shared()
}

/// A node that its rows, one at a time, may kill and stop.
fn victim() -> MutexGuard<'static, Rabbit> {
    static VICTIM: OnceLock<Mutex<Rabbit>> = OnceLock::new();
    let victim = VICTIM.get_or_init(|| {
        let rabbit = Rabbit::start();
        make_vhosts(&rabbit);
        Mutex::new(rabbit)
    });
    let rabbit = lock(victim);
    rabbit.heal();
    rabbit
}
