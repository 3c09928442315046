//! The fault matrix: which faults are tried, alone and together.

use serde_json::{Value, json};

use crate::chaos::fault::{AgentFault, ApiFault, BrokerFault, Fault, Side, WireFault};
use crate::chaos::site::Kind;

/// One line of the table.
#[derive(Debug, Clone)]
pub struct Row {
    pub name: &'static str,
    pub kind: Kind,
    pub faults: Faults,
    /// Seconds that a short run lets the faults last.
    pub seconds: u64,
    /// Rows that take longest begin first.
    pub slow: bool,
}

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

    /// Keys of the subscription.
    pub fn changes(&self) -> Value {
        match self.name {
            FULL_BUFFER => json!({"buffer_max_size_in_mb": 1}),
            // Several uploads at once are under way when something breaks.
            _ => json!({"concurrency_pool_size": 2, "batch_max_number_of_messages": 200}),
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

/// A buffer that is too small for what comes while the API is down.
pub const FULL_BUFFER: &str = "full_buffer";

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
        if kind == Kind::Redis {
            let failing = these(vec![Api::Failing.into()]);
            rows.push(row(FULL_BUFFER, failing, false));
        }
    }
    rows.sort_by_key(|row| !row.slow);
    rows
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
    const API: [ApiFault; 9] = [
        ApiFault::Failing,
        ApiFault::HeadOnly,
        ApiFault::Closing,
        ApiFault::Unsaid,
        ApiFault::Refusing,
        ApiFault::RefusingBatches,
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
