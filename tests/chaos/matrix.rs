//! The fault matrix: which faults are tried, alone and together.

use std::path::Path;

use serde_json::{Value, json};

use crate::chaos::fault::{AgentFault, ApiFault, BrokerFault, Fault, Side, WireFault};
use crate::chaos::site::Kind;
use crate::support::agent::with;
use crate::support::disk::can_mount;

/// One line of the table.
#[derive(Debug, Clone)]
pub struct Row {
    pub name: &'static str,
    pub kind: Kind,
    pub setting: Setting,
    pub faults: Faults,
    /// Seconds that a short run lets the faults last.
    pub seconds: u64,
    /// Rows that take longest begin first.
    pub slow: bool,
}

/// How the subscription is configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    Ordinary,
    /// A buffer that is too small for what comes while the API is down.
    SmallBuffer,
    /// Redis: what cannot be delivered waits on disk.
    Spool,
    /// A spool, too, that is too small.
    SmallSpool,
    /// A spool on a disk that is soon full.
    FullDisk,
}

impl Setting {
    /// Keys of the subscription; `folder` is there for as long as the row is.
    pub fn changes(self, folder: &Path) -> Value {
        let ordinary =
            json!({"concurrency_pool_size": UPLOADS, "batch_max_number_of_messages": 200});
        let changes = match self {
            Setting::Ordinary => json!({}),
            Setting::SmallBuffer => json!({"buffer_max_size_in_mb": 1}),
            Setting::Spool => json!({"spool": {"dir": folder}}),
            Setting::SmallSpool => {
                json!({"buffer_max_size_in_mb": 1, "spool": {"dir": folder, "max_mb": 2}})
            }
            Setting::FullDisk => json!({"spool": {"dir": FULL_DISK}}),
        };
        with(ordinary, &changes)
    }

    /// What the agent sees in place of its own folder.
    pub fn mounts(self) -> Option<String> {
        let mount = format!("mkdir {FULL_DISK}; mount -t tmpfs -o size=1m tmpfs {FULL_DISK}");
        (self == Setting::FullDisk).then_some(mount)
    }

    /// What the subscription may take, as the README has it: buffer, batches, and 1,000 messages of
    /// some 600 bytes that RabbitMQ hands out.
    pub fn memory_kib(self) -> u64 {
        let buffer = match self.overflows() {
            true => 1024,
            false => 16 * 1024,
        };
        buffer + (UPLOADS + 3) * 1024 + 1_000 * (600 + 500) / 1024
    }

    pub fn spools(self) -> bool {
        !matches!(self, Setting::Ordinary | Setting::SmallBuffer)
    }

    /// Something must be given up while the API is down.
    pub fn overflows(self) -> bool {
        matches!(self, Setting::SmallBuffer | Setting::SmallSpool)
    }
}

/// Several at once are under way when something breaks.
const UPLOADS: u64 = 2;

/// A disk of its own in the agent's folder.
const FULL_DISK: &str = "spool";

#[derive(Debug, Clone)]
pub enum Faults {
    These(Vec<Fault>),
    /// So many in different places, drawn.
    Drawn(usize),
}

impl Row {
    /// As a test's name.
    pub fn test(&self) -> String {
        format!("chaos::{}::{}", self.broker(), self.name)
    }

    pub fn broker(&self) -> &'static str {
        match self.kind {
            Kind::RabbitMq => "rabbitmq",
            Kind::Redis => "redis",
        }
    }

    /// The faults of a run: those of the row, or drawn ones.
    pub fn faults(&self, random: &mut fastrand::Rng) -> Vec<Fault> {
        match &self.faults {
            Faults::These(faults) => faults.clone(),
            Faults::Drawn(count) => draw(*count, random),
        }
    }
}

/// Every row, once for each broker where it makes sense.
pub fn rows() -> Vec<Row> {
    use AgentFault as Agent;
    use ApiFault as Api;
    use WireFault as Wire;
    let broker = |fault| vec![Fault::Wire(Side::Broker, fault)];
    let api = |fault| vec![Fault::Wire(Side::Api, fault)];
    let both = |fault| [broker(fault), api(fault)].concat();
    let fixed = [
        ("no_fault", vec![]),
        ("latency", both(Wire::Latency)),
        ("loss", both(Wire::Loss)),
        ("thin_line", both(Wire::Thin)),
        ("broker_trickling", broker(Wire::Trickle)),
        ("resets_to_broker", broker(Wire::Resets)),
        ("resets_to_api", api(Wire::Resets)),
        ("cuts_to_broker", broker(Wire::Cuts)),
        ("cuts_to_api", api(Wire::Cuts)),
        ("partition_frozen", both(Wire::Frozen)),
        ("partition_refused", both(Wire::Refused)),
        ("corrupt_from_broker", broker(Wire::Corrupt)),
        ("corrupt_from_api", api(Wire::Corrupt)),
        ("broker_killed", vec![BrokerFault::Killed.into()]),
        ("broker_stopped", vec![BrokerFault::Stopped.into()]),
        ("api_failing", vec![Api::Failing.into()]),
        ("api_trickling", api(Wire::Trickle)),
        ("api_closes_after_head", vec![Api::HeadOnly.into()]),
        ("api_closes", vec![Api::Closing.into()]),
        ("api_answers_lost", vec![Api::Unsaid.into()]),
        ("api_refuses_some", vec![Api::Refusing.into()]),
        ("api_refuses_batches", vec![Api::RefusingBatches.into()]),
        ("api_fails_on_some", vec![Api::FailingOnSome.into()]),
        ("captive_portal", vec![Api::Portal.into()]),
        ("garbage_from_api", vec![Api::Garbage.into()]),
        ("api_moody", vec![Api::Moody.into()]),
        // Behind a slow line uploads are always under way, behind a failing API nothing is stored.
        (
            "agent_killed",
            vec![Agent::Killed.into(), Fault::Wire(Side::Api, Wire::Latency)],
        ),
        (
            "agent_killed_api_failing",
            vec![Agent::Killed.into(), Api::Failing.into()],
        ),
        (
            "agent_restarted",
            vec![
                Agent::Restarted.into(),
                Fault::Wire(Side::Api, Wire::Latency),
            ],
        ),
        (
            "agent_restarted_api_failing",
            vec![Agent::Restarted.into(), Api::Failing.into()],
        ),
    ];
    // Found or healed by time alone: a heartbeat that is missed, a request that gets no answer, a
    // fault that only a person can mend.
    let slow = [
        ("half_open_broker", broker(Wire::HalfOpen)),
        ("half_open_api", api(Wire::HalfOpen)),
        ("api_hanging", vec![Api::Hanging.into()]),
        ("wrong_key", vec![Api::WrongKey.into()]),
    ];
    let mut rows = Vec::new();
    for kind in [Kind::RabbitMq, Kind::Redis] {
        let row = |name, faults, slow| Row {
            name,
            kind,
            setting: Setting::Ordinary,
            faults,
            seconds: 4,
            slow,
        };
        let these = Faults::These;
        rows.extend(
            slow.clone()
                .map(|(name, faults)| row(name, these(faults), true)),
        );
        rows.extend(
            fixed
                .clone()
                .map(|(name, faults)| row(name, these(faults), false)),
        );
        rows.push(row("two_at_once", Faults::Drawn(2), false));
        rows.push(row("three_at_once", Faults::Drawn(3), false));
    }
    rows.extend(redis_rows());
    rows.sort_by_key(|row| !row.slow);
    rows
}

/// What only an agent does that must keep what its broker does not.
fn redis_rows() -> Vec<Row> {
    use AgentFault as Agent;
    let failing = Fault::Api(ApiFault::Failing);
    let mut rows = vec![
        ("buffer_full", Setting::SmallBuffer, vec![failing]),
        ("spool", Setting::Spool, vec![failing]),
        ("spool_full", Setting::SmallSpool, vec![failing]),
        (
            "spool_agent_killed",
            Setting::Spool,
            vec![failing, Agent::Killed.into()],
        ),
        (
            "spool_agent_killed_once_saved",
            Setting::Spool,
            vec![failing, Agent::KilledOnceSaved.into()],
        ),
        (
            "spool_agent_restarted",
            Setting::Spool,
            vec![failing, Agent::Restarted.into()],
        ),
    ];
    if can_mount() {
        rows.push(("spool_disk_full", Setting::FullDisk, vec![failing]));
    }
    let row = |(name, setting, faults)| Row {
        name,
        kind: Kind::Redis,
        setting,
        faults,
        seconds: 4,
        slow: false,
    };
    let these = rows
        .into_iter()
        .map(|(name, setting, faults)| (name, setting, Faults::These(faults)));
    let drawn = ("spool_three_at_once", Setting::Spool, Faults::Drawn(3));
    these.chain([drawn]).map(row).collect()
}

/// Faults in different places. A wire with nothing at its end shows nothing, so a broken broker
/// counts as one of its wire's.
fn draw(count: usize, random: &mut fastrand::Rng) -> Vec<Fault> {
    let mut drawn: Vec<Fault> = Vec::new();
    while drawn.len() < count {
        let fault = any(random);
        if drawn.iter().all(|other| other.place() != fault.place()) {
            drawn.push(fault);
        }
    }
    drawn
}

fn any(random: &mut fastrand::Rng) -> Fault {
    use WireFault as Wire;
    const WIRE: [WireFault; 8] = [
        Wire::Latency,
        Wire::Loss,
        Wire::Thin,
        Wire::Resets,
        Wire::Cuts,
        Wire::Frozen,
        Wire::Refused,
        Wire::Trickle,
    ];
    const API: [ApiFault; 10] = [
        ApiFault::Failing,
        ApiFault::HeadOnly,
        ApiFault::Closing,
        ApiFault::Unsaid,
        ApiFault::Refusing,
        ApiFault::RefusingBatches,
        ApiFault::FailingOnSome,
        ApiFault::Portal,
        ApiFault::Garbage,
        ApiFault::Moody,
    ];
    let wire = WIRE[random.usize(..WIRE.len())];
    match random.u8(0..10) {
        0..=2 => Fault::Wire(Side::Broker, wire),
        3..=5 => Fault::Wire(Side::Api, wire),
        6..=7 => Fault::Api(API[random.usize(..API.len())]),
        8 => Fault::Broker(
            *random
                .choice([&BrokerFault::Killed, &BrokerFault::Stopped])
                .expect("two"),
        ),
        _ => Fault::Agent(
            *random
                .choice([&AgentFault::Killed, &AgentFault::Restarted])
                .expect("two"),
        ),
    }
}
