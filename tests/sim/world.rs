//! The world around one pipeline: virtual time, what happens in it, and what must always hold.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::{Duration, Instant};

use leek_agent::clock::{self, Now};
use leek_agent::config::quarantine::Quarantine;
use leek_agent::config::redis::RedisOptions;
use leek_agent::config::spool::Spool;
use leek_agent::config::{
    AmqpBroker, BatchLimits, Broker as Address, FailoverStrategy, HostPort, Login, RedisBroker,
    RedisPlace, Subscription,
};
use leek_agent::delivery::{Delivery, DeliveryTag, Epoch, Payload};
use leek_agent::document::{Policy, Validation};
use leek_agent::pipeline::batch::BatchId;
use leek_agent::pipeline::quarantine::{Refused, WriteId};
use leek_agent::pipeline::report::Report;
use leek_agent::pipeline::verdict::Verdict;
use leek_agent::pipeline::{Input, Output, Pipeline};
use leek_agent::secret::Secret;

use self::power::Past;
use super::api::{Api, MOODS, Mood, is_opaque, is_poison, is_refused};
use super::broker::{Broker, HEARTBEAT_PREFIX, Kind, Message};
use super::disk::{Disk, Health, Outcome};
use super::spool::{Fate, SpoolDisk};

mod power;

/// Whether a world prints what happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Telling {
    Quietly,
    Aloud,
}

/// What a world is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scene {
    /// RabbitMQ, and an agent whose power fails.
    Rabbit,
    /// Redis.
    Redis,
    /// Redis, and an agent with a spool, whose power fails.
    Spool,
}

impl Scene {
    fn kind(self) -> Kind {
        match self {
            Scene::Rabbit => Kind::Rabbit,
            Scene::Redis | Scene::Spool => Kind::Redis,
        }
    }
}

/// Something that happens at its time.
#[derive(Debug)]
enum Happening {
    SetUp(Epoch),
    NotSetUp(Epoch),
    Probed(Result<(), Verdict>),
    Posted(BatchId, Verdict),
    Written(WriteId, Outcome),
    Spooled(Fate),
    QueueLength(Epoch, u64),
    /// The broker may deliver some more.
    Deliver,
    Publish,
    Trouble,
    Heal,
    Heartbeat(u32),
    GiveUp,
}

/// How a healed world ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Drain,
    /// With a deadline, as the runtime sets one.
    Stop,
}

/// A ring so small that messages must wait for it.
const SMALL_RING: usize = 4096;
const MESSAGES: usize = 300;
const TROUBLES: usize = 40;
const HEARTBEATS: u32 = 200;
const HEARTBEAT: Duration = Duration::from_secs(45);
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(30);
/// What the runtime gives a spool after that.
const SAVE_GRACE: Duration = Duration::from_secs(5);
/// Bytes that the ring adds to a message.
const RECORD_HEADER: usize = 16;

/// After everything has healed a drain must end within this much virtual time: the longest hold,
/// some backoffs, and the many tries that a poisoned batch takes.
const DRAIN_LIMIT: Duration = Duration::from_secs(24 * 3600);

pub struct World {
    scene: Scene,
    seed: u64,
    telling: Telling,
    random: fastrand::Rng,
    start: Instant,
    now: Instant,
    agenda: BinaryHeap<Reverse<(Instant, u64)>>,
    /// Each with the run of the agent that it is for.
    happenings: BTreeMap<u64, (u32, Happening)>,
    next_happening: u64,
    pub broker: Broker,
    pub api: Api,
    pub disk: Disk,
    pub spool: SpoolDisk,
    /// The spool has an order under way.
    ordered: bool,
    past: Past,
    writing: Option<WriteId>,
    /// Given up, and their messages acked.
    settled_bad: BTreeSet<String>,
    pipeline: Pipeline,
    subscription: Subscription,
    in_flight: BTreeSet<BatchId>,
    quarantined: BTreeSet<String>,
    /// Offered to the pipeline, turned away for want of room.
    held: Option<(Epoch, u64, Message)>,
    delivering: bool,
    published: usize,
    ending: Ending,
    healed: bool,
    stopped: bool,
}

fn address(kind: Kind) -> Address {
    let host: String = "broker".into();
    match kind {
        Kind::Rabbit => Address::Amqp(AmqpBroker {
            host,
            port: 5672,
            user: "u".into(),
            password: Secret::new("p"),
            vhost: "/".into(),
            tls: false,
            login: Login::Password,
        }),
        Kind::Redis => Address::Redis(RedisBroker {
            place: RedisPlace::Tcp(HostPort { host, port: 6379 }),
            user: None,
            password: None,
            db: 0,
            tls: false,
        }),
    }
}

fn subscription(scene: Scene, random: &mut fastrand::Rng) -> Subscription {
    let prefetch_count = random.u16(40..200);
    Subscription {
        name: "sim-qa".into(),
        brokers: vec![address(scene.kind()); random.usize(1..4)],
        failover: if random.bool() {
            FailoverStrategy::Shuffle
        } else {
            FailoverStrategy::RoundRobin
        },
        tls: None,
        exchange: "celeryev".into(),
        queue: "leek.fanout".into(),
        routing_key: "#".into(),
        org_name: "mono".into(),
        app_name: "sim".into(),
        app_env: "qa".into(),
        app_key: Secret::new("k"),
        api_url: "http://api".into(),
        api_tls: None,
        proxy: None,
        prefetch_count,
        concurrency_pool_size: random.usize(1..5),
        batch: BatchLimits {
            max_bytes: random.usize(600..40_000),
            // Where one document fills the whole prefetch, nothing else can show that the API is well.
            max_messages: random.usize(1..=usize::from(prefetch_count / 4)),
            window: Duration::from_millis(random.u64(50..20_000)),
        },
        buffer_bytes: if random.bool() {
            SMALL_RING
        } else {
            1024 * 1024
        },
        validation: Validation::Tolerant,
        policy: Policy::default(),
        redis: RedisOptions::default(),
        quarantine: Quarantine::new("q".into(), 1),
        spool: (scene == Scene::Spool).then(|| Spool {
            dir: "s".into(),
            max_bytes: 1,
        }),
    }
}

fn event(id: &str, kind: &str, second: usize) -> String {
    format!(
        r#"{{"type": "{kind}", "uuid": "{id}", "hostname": "w@h", "utcoffset": 0, "pid": 1, "clock": {second}, "timestamp": {second}.5, "name": "proj.tasks.add"}}"#
    )
}

impl World {
    pub fn new(scene: Scene, seed: u64, telling: Telling) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let start = clock::monotonic();
        let subscription = subscription(scene, &mut random);
        let kind = scene.kind();
        let mut world = World {
            scene,
            seed,
            telling,
            start,
            now: start,
            agenda: BinaryHeap::new(),
            happenings: BTreeMap::new(),
            next_happening: 0,
            broker: Broker {
                kind,
                prefetch: usize::from(subscription.prefetch_count),
                ..Broker::default()
            },
            api: Api {
                mood: Mood::Well,
                most_documents: random.usize(1..50),
                stored: BTreeMap::new(),
            },
            pipeline: Pipeline::new(&subscription, start, seed),
            subscription,
            in_flight: BTreeSet::new(),
            quarantined: BTreeSet::new(),
            disk: Disk::default(),
            spool: SpoolDisk::default(),
            ordered: false,
            past: Past::default(),
            writing: None,
            settled_bad: BTreeSet::new(),
            held: None,
            delivering: false,
            published: 0,
            ending: match kind {
                Kind::Redis if random.bool() => Ending::Stop,
                _ => Ending::Drain,
            },
            healed: false,
            stopped: false,
            random,
        };
        for _ in 0..MESSAGES / 3 {
            world.publish();
        }
        for _ in world.published..MESSAGES {
            let at = world.after(200_000);
            world.plan(at, Happening::Publish);
        }
        for _ in 0..TROUBLES {
            let at = world.after(300_000);
            world.plan(at, Happening::Trouble);
        }
        world.plan(start + Duration::from_secs(301), Happening::Heal);
        world
    }

    fn after(&mut self, most_ms: u64) -> Instant {
        self.now + Duration::from_millis(self.random.u64(0..most_ms))
    }

    fn plan(&mut self, at: Instant, happening: Happening) {
        self.agenda.push(Reverse((at, self.next_happening)));
        let happening = (self.past.runs, happening);
        self.happenings.insert(self.next_happening, happening);
        self.next_happening += 1;
    }

    fn tell(&self, what: impl FnOnce() -> String) {
        if self.telling == Telling::Aloud {
            println!("{:10.3} {}", (self.now - self.start).as_secs_f64(), what());
        }
    }

    /// Runs to the drain's end and checks that nothing is lost.
    pub fn run(mut self) {
        self.run_to_stop();
        if !self.spool.is_empty() {
            self.run_again();
            self.run_to_stop();
        }
        self.check_end();
    }

    fn run_to_stop(&mut self) {
        let limit = self.start + DRAIN_LIMIT;
        while !self.stopped {
            let wait = self.pump();
            self.check();
            if self.stopped {
                // An answer that comes now reaches nobody.
                break;
            }
            let next = self.agenda.peek().map(|Reverse((at, _))| *at);
            let Some(until) = [next, wait].into_iter().flatten().min() else {
                panic!(
                    "seed {}: nothing will ever happen again: {:?}",
                    self.seed,
                    self.pipeline.ledger()
                );
            };
            assert!(
                until <= limit,
                "seed {}: the drain does not end: {:?}",
                self.seed,
                self.pipeline.ledger()
            );
            self.now = self.now.max(until);
            if next == Some(until) {
                self.happen();
            }
        }
    }

    fn pump(&mut self) -> Option<Instant> {
        loop {
            let now = Now {
                instant: self.now,
                wall_ms: 1_700_000_000_000,
            };
            match self.pipeline.poll_output(now) {
                Output::Wait(until) if until == Some(self.now) => {}
                Output::Wait(until) => return until,
                output => self.carry_out(output),
            }
            self.offer_held();
        }
    }

    fn carry_out(&mut self, output: Output) {
        self.tell(|| format!("out {output:?}").chars().take(200).collect());
        match output {
            Output::Connect { epoch, broker } => {
                assert!(broker < self.subscription.brokers.len());
                self.connect(epoch);
            }
            Output::Abandon { .. } => {}
            Output::Consume { epoch } => {
                if let Some(connection) = self
                    .broker
                    .connection
                    .as_mut()
                    .filter(|one| one.epoch == epoch)
                {
                    connection.consuming = true;
                }
                self.deliver_soon();
            }
            Output::CountQueue { epoch } => {
                let at = self.after(20);
                let messages = match self.broker.kind {
                    Kind::Rabbit => self.broker.queue.len() as u64,
                    Kind::Redis => 0,
                };
                self.plan(at, Happening::QueueLength(epoch, messages));
            }
            Output::Probe => {
                assert!(
                    self.in_flight.len() < self.subscription.concurrency_pool_size,
                    "no uploader is free for a probe"
                );
                let (answer, at) = (self.api.probe(), self.answer_at());
                self.plan(at, Happening::Probed(answer));
            }
            Output::Upload {
                batch,
                body,
                documents,
            } => self.upload(batch, &body, documents),
            Output::Quarantine { write, documents } => self.keep(write, &documents),
            Output::Settle { epoch, through } => self.settle(epoch, through),
            Output::Close { epoch } => {
                if self.broker.kind == Kind::Redis {
                    // The shell reads on until the server confirms the end.
                    while self.deliver_one() {}
                }
                self.broker.end();
                let at = self.after(100);
                self.plan(at, Happening::NotSetUp(epoch));
            }
            Output::Report(Report::Quarantined { id, .. }) => {
                assert!(
                    is_refused(&id) || is_opaque(&id) || is_poison(&id),
                    "seed {}: good document given up: {id}",
                    self.seed
                );
                self.quarantined.insert(id);
            }
            Output::Spool(order) => {
                let ordered = std::mem::replace(&mut self.ordered, true);
                assert!(!ordered, "one order to the spool at a time");
                let (takes, fate) = self.spool.order(order, self.health(), &mut self.random);
                self.plan(self.now + takes, Happening::Spooled(fate));
            }
            Output::Report(_) | Output::Wait(_) => {}
            Output::Stopped => self.stopped = true,
        }
    }

    fn connect(&mut self, epoch: Epoch) {
        self.broker.end();
        let fate = if self.healed {
            0
        } else {
            self.random.u32(0..10)
        };
        let at = self.after(3_000);
        match fate {
            0..=5 => self.plan(at, Happening::SetUp(epoch)),
            6..=8 => self.plan(at, Happening::NotSetUp(epoch)),
            // It hangs; the pipeline must give it up by itself.
            _ => {}
        }
    }

    fn upload(
        &mut self,
        batch: BatchId,
        body: &leek_agent::document::Body,
        documents: std::ops::Range<usize>,
    ) {
        assert!(self.in_flight.insert(batch), "one request a batch");
        assert!(
            self.in_flight.len() <= self.subscription.concurrency_pool_size,
            "too many uploads"
        );
        assert!(!documents.is_empty(), "an empty body was posted");
        let length = body.slice(documents.clone()).len();
        assert!(
            documents.len() == 1 || length <= self.subscription.batch.max_bytes,
            "a body of {length} bytes"
        );
        let verdict = self.api.post(body, documents);
        // Now and then the API stores a batch and its answer is lost.
        let lost = !self.healed && self.random.u32(0..30) == 0;
        let verdict = match lost {
            true => Verdict::Unwell {
                status: None,
                reason: "answer lost".into(),
                retry_after: None,
            },
            false => verdict,
        };
        let at = self.answer_at();
        self.plan(at, Happening::Posted(batch, verdict));
    }

    fn keep(&mut self, write: WriteId, documents: &[Refused]) {
        assert_eq!(self.writing.replace(write), None, "one write at a time");
        let outcome = self.disk.write(documents, self.health(), &mut self.random);
        let at = self.now + outcome.takes;
        self.plan(at, Happening::Written(write, outcome));
    }

    fn health(&self) -> Health {
        match self.healed {
            true => Health::Well,
            false => Health::Shaky,
        }
    }

    fn answer_at(&mut self) -> Instant {
        self.now + self.api.latency(&mut self.random)
    }

    fn settle(&mut self, epoch: Epoch, through: DeliveryTag) {
        if self
            .broker
            .connection
            .as_ref()
            .is_none_or(|connection| connection.epoch != epoch)
        {
            // The connection died while the ack was on its way: the shell drops it.
            return;
        }
        for message in self.broker.ack(epoch, through.0) {
            for uuid in &message.uuids {
                let settled = self.api.stored.contains_key(uuid) || self.quarantined.contains(uuid);
                let told = settled || is_refused(uuid) || is_opaque(uuid) || is_poison(uuid);
                assert!(
                    told,
                    "seed {}: {uuid} was acked before it was stored",
                    self.seed
                );
                if !self.api.stored.contains_key(uuid) {
                    self.settled_bad.insert(uuid.clone());
                }
            }
        }
        self.deliver_soon();
    }

    fn happen(&mut self) {
        let Some(Reverse((_, number))) = self.agenda.pop() else {
            return;
        };
        let Some((run, happening)) = self.happenings.remove(&number) else {
            return;
        };
        if run != self.past.runs && happening.is_for_agent() {
            return;
        }
        self.tell(|| format!("    {happening:?}").chars().take(200).collect());
        match happening {
            Happening::SetUp(epoch) => {
                self.broker.open(epoch);
                self.input(Input::SourceUp(epoch));
            }
            Happening::NotSetUp(epoch) => self.input(Input::SourceDown {
                epoch,
                reason: "gone".into(),
                heard: None,
            }),
            Happening::Probed(answer) => self.input(Input::Probed(answer)),
            Happening::Posted(batch, verdict) => {
                self.in_flight.remove(&batch);
                self.input(Input::Uploaded { batch, verdict });
            }
            Happening::Written(write, outcome) => {
                self.writing = None;
                let written = self.disk.written(outcome);
                self.input(Input::Quarantined { write, written });
            }
            Happening::Spooled(fate) => {
                let answer = self.spool.finish(fate);
                self.ordered = false;
                self.input(Input::Spool(answer));
            }
            Happening::QueueLength(epoch, messages) => {
                self.input(Input::QueueLength { epoch, messages })
            }
            Happening::Deliver => self.deliver(),
            Happening::Publish => self.publish(),
            Happening::Trouble => self.trouble(),
            Happening::Heal => self.heal(),
            Happening::Heartbeat(beat) => self.heartbeat(beat),
            Happening::GiveUp => {
                assert!(
                    self.stopped || self.pipeline.owes() || self.ordered,
                    "seed {}: a stop that owes nothing ends by itself",
                    self.seed
                );
                self.input(Input::GiveUp);
                if self.pipeline.is_saving() {
                    self.plan(self.now + SAVE_GRACE, Happening::GiveUp);
                }
            }
        }
    }

    fn input(&mut self, input: Input) {
        self.pipeline.handle_input(input, self.now);
    }

    fn deliver_soon(&mut self) {
        let consuming = self
            .broker
            .connection
            .as_ref()
            .is_some_and(|connection| connection.consuming);
        if consuming && !self.delivering {
            self.delivering = true;
            let at = self.after(50);
            self.plan(at, Happening::Deliver);
        }
    }

    fn deliver(&mut self) {
        self.delivering = false;
        for _ in 0..self.random.usize(1..40) {
            if self.held.is_some() {
                break;
            }
            self.deliver_one();
        }
        if !self.broker.queue.is_empty() && self.broker.unacked() < self.broker.prefetch {
            self.deliver_soon();
        }
    }

    fn deliver_one(&mut self) -> bool {
        self.held = self.broker.deliver();
        let any = self.held.is_some();
        self.offer_held();
        any
    }

    fn offer_held(&mut self) {
        let Some((epoch, tag, message)) = self.held.take() else {
            return;
        };
        let delivery = Delivery {
            epoch,
            tag: DeliveryTag(tag),
            payload: Payload::Json(&message.body),
        };
        let (used, dropped) = (self.pipeline.ring_used(), self.pipeline.ledger().dropped);
        if self.pipeline.deliver(&delivery, self.now).is_err() {
            assert_eq!(self.broker.kind, Kind::Rabbit, "Redis delivers only once");
            self.held = Some((epoch, tag, message));
        } else {
            let need = used + message.body.len() + RECORD_HEADER;
            assert!(
                self.pipeline.ledger().dropped == dropped
                    || need > self.subscription.buffer_bytes / 2,
                "seed {}: dropped, though there was room: {used} bytes in use",
                self.seed
            );
            self.deliver_soon();
        }
    }

    fn publish(&mut self) {
        let number = self.published;
        self.published += 1;
        let id = |random: &mut fastrand::Rng, part: usize| match random.u32(0..100) {
            0 => format!("refused-{number}-{part}"),
            1 => format!("opaque-{number}-{part}"),
            2 => format!("poison-{number}-{part}"),
            // Some tasks have several events.
            3..=40 => format!("task-{}-{part}", number / 4),
            _ => format!("task-{number}-{part}"),
        };
        let (body, uuids) = match self.random.u32(0..20) {
            0 => ("{\"type\": ".to_owned(), Vec::new()),
            1 => ("[]".to_owned(), Vec::new()),
            2 => ("[{\"type\": \"task-custom\"}, 7]".to_owned(), Vec::new()),
            3..=9 => {
                let uuids: Vec<_> = (0..self.random.usize(1..12))
                    .map(|part| id(&mut self.random, part))
                    .collect();
                let events: Vec<_> = uuids
                    .iter()
                    .map(|uuid| event(uuid, "task-started", number))
                    .collect();
                (format!("[{}]", events.join(", ")), uuids)
            }
            _ => {
                let uuid = id(&mut self.random, 0);
                (event(&uuid, "task-received", number), vec![uuid])
            }
        };
        let events = match body.as_str() {
            "[]" => 0,
            body if body.contains("custom") => 2,
            _ => uuids.len().max(1) as u64,
        };
        self.broker.publish(Message {
            body: body.into_bytes(),
            uuids,
            events,
        });
        self.deliver_soon();
    }

    fn trouble(&mut self) {
        if self.healed {
            return;
        }
        if self.scene != Scene::Redis && self.random.u32(0..8) == 0 {
            self.cut_power();
        } else if self.random.u32(0..4) == 0 {
            self.operate();
        } else if self.random.bool() {
            self.api.mood = MOODS[self.random.usize(0..MOODS.len())];
        } else if let Some(epoch) = self.broker.end() {
            // What was in the receiver is gone with the connection.
            self.held = None;
            self.input(Input::SourceDown {
                epoch,
                reason: "trouble".into(),
                heard: None,
            });
        }
    }

    /// Somebody works on the running agent.
    fn operate(&mut self) {
        let paused = self.pipeline.is_paused();
        let input = match self.random.u32(0..4) {
            0 => Input::ApiChanged,
            _ if paused => Input::Resume,
            _ => Input::Pause,
        };
        self.input(input);
    }

    /// From here on all is well. A worker's heartbeats go on: without any other event to compare
    /// with, an API that fails on one document looks like an API that is down.
    fn heal(&mut self) {
        self.healed = true;
        self.api.mood = Mood::Well;
        for beat in 1..=HEARTBEATS {
            self.plan(self.now + HEARTBEAT * beat, Happening::Heartbeat(beat));
        }
        if self.pipeline.is_paused() && self.ending == Ending::Drain {
            self.input(Input::Resume);
        }
        match self.ending {
            Ending::Drain => self.input(Input::Drain),
            Ending::Stop => {
                self.plan(self.now + SHUTDOWN_TIMEOUT, Happening::GiveUp);
                self.input(Input::Stop);
            }
        }
    }

    fn heartbeat(&mut self, beat: u32) {
        let uuid = format!("{HEARTBEAT_PREFIX}{beat}");
        let body = event(&uuid, "task-received", beat as usize).into_bytes();
        self.broker.publish(Message {
            body,
            uuids: vec![uuid],
            events: 1,
        });
        self.deliver_soon();
    }

    /// What holds after every step.
    fn check(&self) {
        let ledger = self.pipeline.ledger();
        assert_eq!(
            ledger.owed(),
            self.pipeline.pending_events(),
            "seed {}: the books: {ledger:?}",
            self.seed
        );
        assert!(
            self.pipeline.ring_used() <= self.subscription.buffer_bytes,
            "seed {}: the ring's bound",
            self.seed
        );
        self.check_kept(&self.settled_bad);
    }

    /// Refused documents whose messages are settled are on the disk, or counted as lost.
    fn check_kept(&self, settled: &BTreeSet<String>) {
        let lost = self.pipeline.ledger().quarantine_lost;
        let missing: Vec<_> = settled.difference(&self.disk.kept).collect();
        assert!(
            missing.len() as u64 <= lost,
            "seed {}: {missing:?} are in no file, {lost} counted as lost",
            self.seed
        );
    }

    /// What holds when a drain has ended.
    fn check_end(&self) {
        match self.broker.kind {
            Kind::Rabbit => self.check_drained(),
            Kind::Redis => self.check_accounted(),
        }
    }

    /// What was heard is stored, quarantined, or was dropped and counted.
    fn check_accounted(&self) {
        let (seed, ledger) = (self.seed, self.pipeline.ledger());
        let heard = self.broker.heard.iter();
        let events: u64 = heard.clone().map(|message| message.events).sum();
        if self.scene == Scene::Redis {
            assert_eq!(ledger.received, events, "seed {seed}: {ledger:?}");
        }
        assert_eq!(
            ledger.returned, 0,
            "seed {seed}: nobody takes anything back"
        );
        let pending = self.pipeline.pending_events();
        assert!(pending == 0 || self.ending == Ending::Stop, "seed {seed}");
        let settled = |uuid: &&String| {
            self.api.stored.contains_key(*uuid) || self.quarantined.contains(*uuid)
        };
        let uuids = heard.flat_map(|message| &message.uuids);
        let missing = uuids.filter(|uuid| !settled(uuid) && !self.past.lost.contains(*uuid));
        let missing: Vec<_> = missing.collect();
        assert!(
            missing.len() as u64 <= self.past.dropped + ledger.dropped + pending,
            "seed {seed}: {missing:?} was never stored: {ledger:?}"
        );
        self.check_spooled();
        self.check_kept(&self.quarantined);
        self.tell(|| format!("{ledger:?}"));
    }

    fn check_drained(&self) {
        let (seed, ledger) = (self.seed, self.pipeline.ledger());
        assert_eq!(self.pipeline.pending_events(), 0, "seed {seed}: {ledger:?}");
        // A heartbeat may come in the very moment in which the queue was found empty.
        let left = self
            .broker
            .queue
            .iter()
            .filter(|message| !message.is_heartbeat())
            .count();
        assert_eq!(
            left + self.broker.unacked(),
            0,
            "seed {seed}: messages are left: {ledger:?}"
        );
        for message in &self.broker.acked {
            for uuid in &message.uuids {
                let bad = is_refused(uuid) || is_opaque(uuid) || is_poison(uuid);
                assert!(
                    bad || self.api.stored.contains_key(uuid),
                    "seed {seed}: {uuid} was never stored"
                );
                assert!(
                    !bad || self.quarantined.contains(uuid),
                    "seed {seed}: {uuid} was never quarantined"
                );
            }
        }
        self.tell(|| format!("{ledger:?}"));
    }
}
