//! Everything that one row needs: a broker, an API, the wires to both, the agent in between, and
//! the hands that break and mend them.

use std::fs;
use std::time::Duration;

use amiquip::QueueDeleteOptions;
use serde_json::Value;
use tempfile::TempDir;

use crate::chaos::fault::Side;
use crate::chaos::load::{Load, Message};
use crate::chaos::matrix::Setting;
use crate::support::agent::{Agent, Ledger, Setup, subscription, with};
use crate::support::api::FakeApi;
use crate::support::fault_proxy::{FaultProxy, Record};
use crate::support::keeper::keep_folder;
use crate::support::publisher::{Publisher, QUEUE, uuid};
use crate::support::rabbitmq::{PASSWORD, Rabbit, USER};
use crate::support::redis::{self, Redis, wrapped};
use crate::support::wait::{holds_for, poll, wait_until};

/// Longer than a request that hangs (30 s): at the end of a row nothing may be left undelivered.
const SHUTDOWN_TIMEOUT: &str = "40s";

/// That, and a moment for busy cores.
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// After that long a supervisor loses its patience and asks again: now the agent stops at once.
const PATIENCE: Duration = Duration::from_secs(2);

/// After a fault, until the agent hears again: two minutes of a broker that vanished without a word
/// and the backoff behind it.
const RECOVERY: Duration = Duration::from_secs(180);

/// A spool to which nothing was written for that long has everything: a batch is sealed and written
/// within its window of half a second.
const STILL: Duration = Duration::from_secs(3);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    RabbitMq,
    Redis,
}

/// A node, and the vhost in it that is this row's.
pub struct Corner<'a> {
    pub node: &'a Rabbit,
    pub vhost: String,
}

pub enum Broker<'a> {
    RabbitMq(Corner<'a>),
    Redis(Redis),
}

enum Line {
    RabbitMq(Box<Publisher>),
    Redis(redis::Publisher),
}

/// What is known of an agent that is gone.
#[derive(Debug, Clone, Copy)]
pub struct Gone {
    /// `None` where it was killed.
    pub end: Option<End>,
    pub peak_rss_kib: u64,
}

/// What an agent said at its end.
#[derive(Debug, Clone, Copy)]
pub struct End {
    pub code: i32,
    pub ledger: Ledger,
    pub pause_ms: f64,
}

pub struct Site<'a> {
    broker: Broker<'a>,
    pub broker_wire: FaultProxy,
    api_wire: FaultProxy,
    pub api: FakeApi,
    pub load: Load,
    pub gone: Vec<Gone>,
    /// Connections to the broker up to this number belonged to agents that were killed.
    pub killed_connections: usize,
    setting: Setting,
    subscription: Value,
    spool: TempDir,
    /// The last one runs; the others are kept for their logs.
    agents: Vec<Agent>,
    line: Option<Line>,
    random: fastrand::Rng,
}

impl<'a> Site<'a> {
    /// Starts everything but the agent.
    pub fn new(broker: Broker<'a>, setting: Setting, seed: u64) -> Site<'a> {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut wire = |port| FaultProxy::seeded(port, random.u64(..), broker.record());
        let api = FakeApi::start_outlining();
        let (broker_wire, api_wire) = (wire(broker.port()), wire(api.port()));
        let api_url = format!("http://127.0.0.1:{}", api_wire.port());
        let spool = tempfile::tempdir().expect("a temporary folder");
        keep_folder(spool.path());
        let subscription = subscription(&broker.url(broker_wire.port()), &api_url);
        let mut site = Site {
            broker_wire,
            api_wire,
            api,
            load: Load::new(random.u64(..)),
            gone: Vec::new(),
            killed_connections: 0,
            setting,
            subscription: with(subscription, &setting.changes(spool.path())),
            spool,
            agents: Vec::new(),
            line: None,
            random,
            broker,
        };
        site.broker.clear();
        site.open_line();
        site
    }

    pub fn kind(&self) -> Kind {
        match self.broker {
            Broker::RabbitMq(_) => Kind::RabbitMq,
            Broker::Redis(_) => Kind::Redis,
        }
    }

    /// A generator of its own for whoever draws.
    pub fn fork(&mut self) -> fastrand::Rng {
        self.random.fork()
    }

    pub fn wire(&self, side: Side) -> &FaultProxy {
        match side {
            Side::Broker => &self.broker_wire,
            Side::Api => &self.api_wire,
        }
    }

    // ── The agent ──────────────────────────────────────────────────────────────────────────────

    pub fn start_agent(&mut self) {
        let setup = Setup::new(std::slice::from_ref(&self.subscription));
        let patient = ["--shutdown-timeout", SHUTDOWN_TIMEOUT];
        let setup = setup.args(&patient);
        let setup = match self.setting.mounts() {
            Some(script) => setup.mounting(&script),
            None => setup,
        };
        self.agents.push(setup.start());
    }

    pub fn agent(&mut self) -> &mut Agent {
        self.agents.last_mut().expect("an agent was started")
    }

    pub fn kill_agent(&mut self) {
        self.kill_agent_at_once();
        self.killed_connections = self.broker_wire.connections();
    }

    /// Kills it once its spool has been still for long enough to have everything: nothing that it
    /// heard may be lost then.
    pub fn kill_saved_agent(&mut self) {
        wait_until(
            RECOVERY,
            "something is in the spool, and it is still",
            || {
                let before = self.spooled_bytes();
                before > 0 && holds_for(STILL, || self.spooled_bytes() == before)
            },
        );
        self.kill_agent_at_once();
    }

    fn spooled_bytes(&self) -> u64 {
        let entries = fs::read_dir(self.spool.path()).expect("the folder is there");
        let sizes = entries.filter_map(|entry| Some(entry.ok()?.metadata().ok()?.len()));
        sizes.sum()
    }

    fn kill_agent_at_once(&mut self) {
        let peak_rss_kib = self.agent().peak_rss_kib();
        self.agent().kill9();
        self.gone.push(Gone {
            end: None,
            peak_rss_kib,
        });
        // Once so that all its connections are known, and once more so that the last is reset, too.
        self.broker_wire.reset();
        self.broker_wire.reset();
    }

    /// Asks it to stop, and waits until it has delivered everything.
    pub fn stop_agent(&mut self) -> End {
        self.end_agent(STOP_LIMIT)
    }

    /// Asks it to stop, and soon asks again.
    pub fn hurry_agent(&mut self) -> End {
        self.end_agent(PATIENCE)
    }

    /// Takes down what it says at its end. Its ledger must balance.
    fn end_agent(&mut self, patience: Duration) -> End {
        let agent = self.agent();
        let peak_rss_kib = agent.peak_rss_kib();
        agent.sigterm();
        if holds_for(patience, || agent.runs()) {
            agent.sigterm();
        }
        let end = End {
            code: agent.wait_exit(STOP_LIMIT),
            ledger: agent.ledger("shop-qa"),
            pause_ms: agent.longest_pause_ms(),
        };
        self.gone.push(Gone {
            end: Some(end),
            peak_rss_kib,
        });
        end
    }

    /// The ids of all documents that any agent has in its quarantine files.
    pub fn quarantined(&self) -> Vec<String> {
        let lines = self.agents.iter().flat_map(Agent::quarantined);
        let id = |line: Value| Some(line["document"]["id"].as_str()?.to_owned());
        lines.filter_map(id).collect()
    }

    /// Sends all that again, as people do once they have mended the cause; answers the exit code.
    pub fn replay(&self) -> i32 {
        let files = self.agents.iter().flat_map(Agent::quarantine_files);
        let files: Vec<String> = files.map(|path| path.display().to_string()).collect();
        let words: Vec<&str> = ["replay"]
            .into_iter()
            .chain(files.iter().map(String::as_str))
            .collect();
        let setup = Setup::new(std::slice::from_ref(&self.subscription));
        setup.args(&words).run().0
    }

    /// Lets time pass, in which the agent must not end.
    #[track_caller]
    pub fn pass(&mut self, span: Duration) {
        let agent = self.agent();
        assert!(holds_for(span, || agent.runs()), "the agent has ended");
    }

    // ── The broker ─────────────────────────────────────────────────────────────────────────────

    pub fn kill_broker(&mut self) {
        self.line = None;
        match &self.broker {
            Broker::RabbitMq(corner) => corner.node.kill9(),
            Broker::Redis(redis) => redis.kill9(),
        }
    }

    pub fn stop_broker(&mut self) {
        self.line = None;
        match &self.broker {
            Broker::RabbitMq(corner) => corner.node.sigstop(),
            Broker::Redis(redis) => redis.sigstop(),
        }
    }

    pub fn heal_broker(&mut self) {
        match &self.broker {
            Broker::RabbitMq(corner) => corner.node.heal(),
            Broker::Redis(redis) => redis.heal(),
        }
        self.open_line();
    }

    fn open_line(&mut self) {
        self.line = Some(match &self.broker {
            Broker::RabbitMq(_) => {
                Line::RabbitMq(Box::new(Publisher::open(&self.broker.own_url())))
            }
            Broker::Redis(redis) => Line::Redis(redis.publisher("/0.celeryev")),
        });
    }

    /// Messages that RabbitMQ has for somebody.
    pub fn left_in_queue(&self) -> u32 {
        match &self.line {
            Some(Line::RabbitMq(publisher)) => publisher.waiting(),
            _ => 0,
        }
    }

    /// True if RabbitMQ has nothing more for anybody, nor waits for any ack. It costs a second.
    pub fn is_settled(&self) -> bool {
        match &self.broker {
            Broker::RabbitMq(corner) => {
                corner.node.existing(&corner.vhost).depth(QUEUE).total() == 0
            }
            Broker::Redis(_) => true,
        }
    }

    // ── The events ─────────────────────────────────────────────────────────────────────────────

    /// Publishes `count` events, unless the broker is down.
    pub fn publish(&mut self, count: usize) {
        if self.line.is_some() {
            let messages = self.load.take(count);
            self.send(&messages);
        }
    }

    fn send(&mut self, messages: &[Message]) {
        match self.line.as_mut().expect("the broker runs") {
            Line::RabbitMq(publisher) => {
                for message in messages {
                    publisher.json(message.routing_key, &message.body);
                }
                publisher.confirm();
            }
            Line::Redis(publisher) => {
                for message in messages {
                    let body = message.body.to_string();
                    let tag = format!("tag-{}", message.number);
                    publisher.payload(wrapped(body.as_bytes(), &tag).as_bytes());
                }
            }
        }
    }

    pub fn has_stored(&self, number: usize) -> bool {
        self.api.events_by_id().contains_key(&uuid(number))
    }

    /// Waits until a Redis subscriber listens again. RabbitMQ keeps what it has until then.
    #[track_caller]
    pub fn wait_until_heard(&mut self) {
        if self.kind() == Kind::RabbitMq {
            return;
        }
        let heard = poll(RECOVERY, || {
            let before = self.broker_wire.heard_bytes();
            let message = self.load.take_good();
            self.send(&[message]);
            poll(Duration::from_millis(300), || {
                // An envelope has more than that, an answer to a ping less.
                (self.broker_wire.heard_bytes() > before + 500).then_some(())
            })
        });
        assert!(heard.is_some(), "nothing is heard after {RECOVERY:?}");
    }

    /// Waits until all that is on its way to a subscriber has arrived.
    #[track_caller]
    pub fn wait_quiet(&self) {
        wait_until(RECOVERY, "the wire to the broker is quiet", || {
            let before = self.broker_wire.heard_bytes();
            holds_for(Duration::from_millis(300), || {
                self.broker_wire.heard_bytes() == before
            })
        });
    }
}

impl Broker<'_> {
    fn port(&self) -> u16 {
        match self {
            Broker::RabbitMq(corner) => corner.node.amqp_port(),
            Broker::Redis(redis) => redis.port,
        }
    }

    /// Its address behind a wire.
    fn url(&self, port: u16) -> String {
        match self {
            Broker::RabbitMq(corner) => {
                format!("amqp://{USER}:{PASSWORD}@127.0.0.1:{port}/{}", corner.vhost)
            }
            Broker::Redis(_) => format!("redis://127.0.0.1:{port}"),
        }
    }

    fn own_url(&self) -> String {
        self.url(self.port())
    }

    /// What RabbitMQ confirmed is owed; of Redis it must be seen what was heard.
    fn record(&self) -> Record {
        match self {
            Broker::RabbitMq(_) => Record::Nothing,
            Broker::Redis(_) => Record::Heard,
        }
    }

    /// Removes what an earlier row left, and whoever still listens to it.
    fn clear(&self) {
        if let Broker::RabbitMq(_) = self {
            Publisher::connect(&self.own_url())
                .channel()
                .queue_delete(QUEUE, QueueDeleteOptions::default())
                .expect("a queue can be deleted");
        }
    }
}
