//! What can go wrong, each fault with its beginning, its ticks and its end.

use std::fmt;
use std::time::Duration;

use fastrand::Rng;
use serde_json::json;

use crate::chaos::load::number_of;
use crate::chaos::site::Site;
use crate::support::api::{Answer, Request};
use crate::support::fault_proxy::{FaultProxy, Passage, Trouble, Wire};

/// Between two ticks.
pub const TICK: Duration = Duration::from_millis(200);

/// Resets come once a second.
const TICKS_TO_RESET: u64 = 5;

/// Agents live that long at most where they are killed or restarted again and again.
const TICKS_TO_NEXT_AGENT: u64 = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Wire(Side, WireFault),
    Api(ApiFault),
    Broker(BrokerFault),
    Agent(AgentFault),
}

/// Which wire of the agent's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Broker,
    Api,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WireFault {
    /// 200 ms each way, and some more at random.
    Latency,
    /// Some percent of the segments are sent again.
    Loss,
    /// A modem's line.
    Thin,
    /// A few bytes a second.
    Trickle,
    /// Every second.
    Resets,
    /// Each connection after some kilobytes.
    Cuts,
    /// The peer vanishes without a word.
    HalfOpen,
    Frozen,
    Refused,
    /// Some bits are turned over on their way to the agent.
    Corrupt,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApiFault {
    /// 500, 503 and 429 in turns.
    Failing,
    /// Takes a request and never answers.
    Hanging,
    /// Closes after the head of an answer.
    HeadOnly,
    /// Closes without a word.
    Closing,
    /// Stores, and the answer is lost.
    Unsaid,
    /// Refuses some documents by name.
    Refusing,
    /// Refuses every batch with one of them, and does not say which.
    RefusingBatches,
    /// Fails with 500 on every batch with one of a few documents.
    FailingOnSome,
    /// Knows the agent no more.
    WrongKey,
    /// A hotel's page in place of the API.
    Portal,
    /// Bytes that are no HTTP.
    Garbage,
    /// Stored, or any of the above, at random.
    Moody,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BrokerFault {
    /// kill -9; at the end it starts again.
    Killed,
    /// SIGSTOP; SIGCONT at the end.
    Stopped,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgentFault {
    /// kill -9 and a new one, again and again.
    Killed,
    /// The same, but only once everything is in its spool.
    KilledOnceSaved,
    /// SIGTERM and a new one, again and again.
    Restarted,
}

/// Two faults in one place would undo each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    BrokerWire,
    ApiWire,
    Api,
    Broker,
    Agent,
}

impl Fault {
    pub fn place(self) -> Place {
        match self {
            Fault::Wire(Side::Broker, _) => Place::BrokerWire,
            Fault::Wire(Side::Api, _) => Place::ApiWire,
            Fault::Api(_) => Place::Api,
            Fault::Broker(_) => Place::Broker,
            Fault::Agent(_) => Place::Agent,
        }
    }

    /// Of documents, by the number of their event: those that this API never takes.
    pub fn refuses(self, number: usize) -> bool {
        match self {
            Fault::Api(ApiFault::Refusing | ApiFault::RefusingBatches) => is_refused(number),
            Fault::Api(ApiFault::FailingOnSome) => is_poison(number),
            _ => false,
        }
    }

    pub fn begin(self, site: &mut Site) {
        match self {
            Fault::Wire(side, fault) => fault.begin(side, site),
            Fault::Api(fault) => fault.begin(site),
            Fault::Broker(BrokerFault::Killed) => site.kill_broker(),
            Fault::Broker(BrokerFault::Stopped) => site.stop_broker(),
            Fault::Agent(_) => {}
        }
    }

    pub fn tick(self, site: &mut Site, ticks: u64) {
        match self {
            Fault::Wire(side, WireFault::Resets) if ticks.is_multiple_of(TICKS_TO_RESET) => {
                site.wire(side).reset()
            }
            Fault::Agent(fault) if ticks % TICKS_TO_NEXT_AGENT == TICKS_TO_NEXT_AGENT / 2 => {
                fault.strike(site)
            }
            _ => {}
        }
    }

    pub fn end(self, site: &mut Site) {
        match self {
            Fault::Wire(side, _) => site.wire(side).heal(),
            Fault::Api(_) => {
                site.api.always(Answer::Stored);
                site.api.health(Answer::Status(200, json!({})));
            }
            Fault::Broker(_) => site.heal_broker(),
            Fault::Agent(_) => {}
        }
    }
}

impl WireFault {
    fn begin(self, side: Side, site: &mut Site) {
        let mut random = site.fork();
        let wire: &FaultProxy = site.wire(side);
        let both = |trouble| wire.set(Wire::both(trouble));
        match self {
            WireFault::Latency => both(Trouble {
                latency: Duration::from_millis(200),
                jitter: Duration::from_millis(random.u64(0..100)),
                ..Trouble::default()
            }),
            WireFault::Loss => both(Trouble {
                latency: Duration::from_millis(20),
                loss: 0.02 + 0.04 * random.f64(),
                ..Trouble::default()
            }),
            WireFault::Thin => both(Trouble {
                latency: Duration::from_millis(50),
                rate: Some(random.u32(20_000..60_000)),
                ..Trouble::default()
            }),
            WireFault::Trickle => wire.set(Wire::down(Trouble {
                rate: Some(random.u32(1..20)),
                ..Trouble::default()
            })),
            WireFault::Cuts => wire.set(Wire::both(Trouble {
                cut_after: Some(random.u64(5_000..100_000)),
                ..Trouble::default()
            })),
            WireFault::Corrupt => wire.set(Wire::down(Trouble {
                // Answers of the API are short, and each of them is to be hit now and then.
                flip_every: Some(match side {
                    Side::Broker => random.u32(20_000..60_000),
                    Side::Api => random.u32(100..300),
                }),
                ..Trouble::default()
            })),
            WireFault::Frozen => wire.set(Wire::closed(Passage::Frozen)),
            WireFault::Refused => {
                wire.set(Wire::closed(Passage::Refused));
                wire.reset();
            }
            WireFault::HalfOpen => wire.half_open(),
            WireFault::Resets => {}
        }
    }
}

impl ApiFault {
    fn begin(self, site: &mut Site) {
        let random = std::sync::Mutex::new(site.fork());
        let draw = move || crate::support::keeper::lock(&random).fork();
        if let Some(answer) = self.to_a_probe() {
            site.api.health(answer);
        }
        site.api
            .answer(move |request| self.answer(request, &mut draw()));
    }

    /// What the health check is told, where it is not well.
    fn to_a_probe(self) -> Option<Answer> {
        match self {
            ApiFault::Failing => Some(Answer::unavailable()),
            ApiFault::Portal => Some(Answer::captive_portal()),
            ApiFault::WrongKey => Some(Answer::wrong_key()),
            ApiFault::Closing => Some(Answer::Close),
            ApiFault::Garbage => Some(Answer::Bytes(b"\x16\x03\x01 is no HTTP\r\n\r\n".to_vec())),
            _ => None,
        }
    }

    fn answer(self, request: &Request, random: &mut Rng) -> Answer {
        match self {
            ApiFault::Failing => match request.number % 3 {
                0 => Answer::Status(500, json!({"error": {"code": "500001"}})),
                1 => Answer::unavailable(),
                _ => Answer::slow_down(1),
            },
            ApiFault::Hanging => Answer::Hang,
            ApiFault::HeadOnly => head_only(random),
            ApiFault::Closing => Answer::Close,
            ApiFault::Unsaid => Answer::Unsaid(Vec::new()),
            ApiFault::Refusing => match named(request, is_refused) {
                names if names.is_empty() => Answer::Stored,
                names => Answer::Partial(names),
            },
            ApiFault::RefusingBatches => match named(request, is_refused).is_empty() {
                true => Answer::Stored,
                false => Answer::Status(422, json!({"error": {"message": "no"}})),
            },
            ApiFault::FailingOnSome => match named(request, is_poison).is_empty() {
                true => Answer::Stored,
                false => Answer::Status(500, json!({"error": {"message": "boom"}})),
            },
            ApiFault::WrongKey => Answer::wrong_key(),
            ApiFault::Portal => Answer::captive_portal(),
            ApiFault::Garbage => garbage(random),
            ApiFault::Moody => moody(random),
        }
    }
}

/// The ids of those documents whose events have such numbers.
fn named(request: &Request, is_meant: fn(usize) -> bool) -> Vec<String> {
    let ids = request
        .documents
        .iter()
        .filter_map(|one| one["id"].as_str());
    let ids = ids.filter(|id| number_of(id).is_some_and(is_meant));
    ids.map(str::to_owned).collect()
}

/// Two in a hundred.
fn is_refused(number: usize) -> bool {
    number % 50 == 7
}

/// One in a thousand, for each takes some ten posts to be found; the first comes at once.
fn is_poison(number: usize) -> bool {
    number % 1000 == 7
}

/// A 201 is said only by an API that has stored.
fn head_only(random: &mut Rng) -> Answer {
    let head =
        |status| format!("HTTP/1.1 {status}\r\ncontent-length: 20\r\n\r\n{{\"succ").into_bytes();
    match random.bool() {
        true => Answer::Unsaid(head("201 CREATED")),
        false => Answer::Bytes(head("503 UNAVAILABLE")),
    }
}

fn garbage(random: &mut Rng) -> Answer {
    let mut bytes = match random.bool() {
        true => b"HTTP/1.1 ".to_vec(),
        false => Vec::new(),
    };
    bytes.extend((0..random.usize(1..2_000)).map(|_| random.u8(..)));
    Answer::Bytes(bytes)
}

/// No 500 among them: five of those, while others pass, make a batch suspect (contract C6).
fn moody(random: &mut Rng) -> Answer {
    match random.u8(0..8) {
        0 => Answer::unavailable(),
        1 => Answer::slow_down(1),
        2 => Answer::Close,
        3 => Answer::Unsaid(Vec::new()),
        4 => head_only(random),
        5 => garbage(random),
        _ => Answer::Stored,
    }
}

impl AgentFault {
    fn strike(self, site: &mut Site) {
        match self {
            AgentFault::Killed => site.kill_agent(),
            AgentFault::KilledOnceSaved => site.kill_saved_agent(),
            AgentFault::Restarted => {
                site.hurry_agent();
            }
        }
        site.start_agent();
    }
}

impl From<ApiFault> for Fault {
    fn from(fault: ApiFault) -> Fault {
        Fault::Api(fault)
    }
}

impl From<BrokerFault> for Fault {
    fn from(fault: BrokerFault) -> Fault {
        Fault::Broker(fault)
    }
}

impl From<AgentFault> for Fault {
    fn from(fault: AgentFault) -> Fault {
        Fault::Agent(fault)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Wire(side, fault) => write!(f, "{fault:?} wire to {side:?}"),
            Fault::Api(fault) => write!(f, "{fault:?} API"),
            Fault::Broker(fault) => write!(f, "{fault:?} broker"),
            Fault::Agent(fault) => write!(f, "{fault:?} agent"),
        }
    }
}
