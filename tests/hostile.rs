//! The broker connections against brokers that break every rule, hundreds of them in a row: each ends
//! with a reason, none leaves a thread, a descriptor or memory behind.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use leek_agent::clock;
use leek_agent::config::Subscription;
use leek_agent::delivery::Epoch;
use leek_agent::source::bell::Bell;
use leek_agent::source::{Event, News, Purpose, Source, Ties};
use mio::{Events, Poll, Token, Waker};
use serde_json::json;
use support::agent::{SOON, configured, subscription, with};
use support::heap::live_heap;
use support::hostile::{Hostile, Protocol};
use support::keeper::lock;
use support::wait::poll;

const WAKE: Token = Token(0);
const SOCKET: Token = Token(1);

/// Within this a connection has ended by itself: the broker's patience, and the slowest answer.
const LIFE: Duration = Duration::from_secs(20);

/// Sources side by side.
const LANES: usize = 4;

/// Bytes that one more round may leave behind: tables of a length that chance decides.
const GROWTH_MAX: usize = 64 * 1024;

/// A source in a loop of the test's own.
struct Loop {
    poll: Poll,
    bell: Bell,
    news: Receiver<News>,
    subscription: Subscription,
    source: Source,
    messages: usize,
}

impl Loop {
    fn new(broker: &str) -> Loop {
        let changes = json!({"buffer_max_size_in_mb": 1});
        let subscription = configured(&with(subscription(broker, "http://127.0.0.1:1"), &changes));
        let poll = Poll::new().expect("a poll");
        let waker = Arc::new(Waker::new(poll.registry(), WAKE).expect("a waker"));
        let bell = Bell::new(waker);
        let (tell, news) = channel();
        let rung = bell.clone();
        let ties = Ties {
            bell: bell.clone(),
            notify: Arc::new(move |news| {
                let _ = tell.send(news);
                rung.ring();
            }),
            registry: poll.registry().try_clone().expect("a registry"),
            token: SOCKET,
        };
        let source = Source::new(&subscription, Purpose::Consume, ties);
        Loop {
            poll,
            bell,
            news,
            subscription,
            source,
            messages: 0,
        }
    }

    /// One connection from its beginning to its end; answers why it ended.
    #[track_caller]
    fn live(&mut self, epoch: Epoch) -> String {
        self.live_until(epoch, || false).expect("it has ended")
    }

    /// The same, unless it is `over` before.
    #[track_caller]
    fn live_until(&mut self, epoch: Epoch, over: impl Fn() -> bool) -> Option<String> {
        let end = clock::monotonic() + LIFE;
        let broker = &self.subscription.brokers[0];
        self.source.connect(epoch, broker, clock::monotonic());
        let mut events = Events::with_capacity(8);
        while clock::monotonic() < end {
            let reason = self.turn(epoch);
            if reason.is_some() || over() {
                return reason;
            }
            self.bell.arm();
            let wait = match self.source.has_next(clock::monotonic()) {
                true => Duration::ZERO,
                false => Duration::from_millis(20),
            };
            self.poll.poll(&mut events, Some(wait)).expect("a poll");
            if events.iter().any(|event| event.token() == SOCKET) {
                self.source.wake();
            }
        }
        panic!("connection {} has not ended within {LIFE:?}", epoch.0);
    }

    fn turn(&mut self, epoch: Epoch) -> Option<String> {
        let now = clock::monotonic();
        self.source.handle_timeout(now);
        while let Some((of, message)) = self.source.next(now) {
            self.source.settle(of, message.tag);
            self.messages += 1;
        }
        let told: Vec<_> = self.news.try_iter().collect();
        let told = told
            .into_iter()
            .filter_map(|news| self.source.handle(news, now));
        let mut happened: Vec<_> = told.collect();
        happened.extend(std::iter::from_fn(|| self.source.next_event()));
        for (of, event) in happened {
            match event {
                Event::Ready { .. } => self.source.consume(),
                Event::Down { reason, .. } if of == epoch => return Some(reason),
                Event::Down { .. } | Event::QueueLength(_) => {}
            }
        }
        None
    }
}

/// What this process has of everything that could be left behind.
#[derive(Debug, Clone, Copy)]
struct Footprint {
    threads: usize,
    descriptors: usize,
    heap: usize,
}

impl Footprint {
    /// Once there is no more of anything than in `bound`.
    #[track_caller]
    fn settled(bound: Footprint) -> Footprint {
        let look = || {
            let now = Footprint::now();
            let settled = now.threads <= bound.threads
                && now.descriptors <= bound.descriptors
                && now.heap <= bound.heap;
            settled.then_some(now)
        };
        poll(SOON, look).unwrap_or_else(|| panic!("{:?}, not {bound:?}", Footprint::now()))
    }

    fn now() -> Footprint {
        let status = fs::read_to_string("/proc/self/status").expect("the kernel tells");
        let value = |key: &str| {
            let line = status.lines().find(|line| line.starts_with(key));
            let value = line.and_then(|line| line.split_whitespace().nth(1));
            value
                .and_then(|value| value.parse().ok())
                .expect("a number")
        };
        Footprint {
            threads: value("Threads:"),
            descriptors: fs::read_dir("/proc/self/fd")
                .expect("the kernel tells")
                .count(),
            heap: live_heap(),
        }
    }
}

/// Counts panics in the threads of a connection, which are contained, and keeps them off stderr.
fn count_panics() -> Arc<Mutex<BTreeMap<String, usize>>> {
    let places = Arc::new(Mutex::new(BTreeMap::new()));
    let noted = Arc::clone(&places);
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let name = std::thread::current().name().unwrap_or("").to_owned();
        if name == "leek-amqp" || name.starts_with("amiquip") {
            *lock(&noted).entry(format!("{name}: {panic}")).or_default() += 1;
        } else {
            usual(panic);
        }
    }));
    places
}

/// Every misdeed at every step once, in several lanes side by side; answers why connections ended.
fn round(protocol: Protocol, first: usize, url: fn(u16) -> String) -> BTreeMap<String, usize> {
    let ends = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for lane in 0..LANES {
            let ends = &ends;
            scope.spawn(move || {
                let hostile = Hostile::start(protocol, first + lane, LANES);
                let mut agent = Loop::new(&url(hostile.port));
                let numbers = (lane..protocol.round()).step_by(LANES);
                let mut epoch = Epoch::default();
                for _ in numbers {
                    epoch = epoch.next();
                    let reason = agent.live(epoch);
                    *lock(ends).entry(reason).or_default() += 1;
                    assert_eq!(hostile.connections(), epoch.0 as usize, "one try each");
                }
                assert!(agent.messages > 0, "some sessions come to their deliveries");
            });
        }
    });
    ends.into_inner().expect("no lane panicked")
}

/// After a first round, which warms up whatever keeps its memory, a second one leaves nothing behind.
fn withstands(protocol: Protocol, url: fn(u16) -> String) {
    let before = Footprint::now();
    round(protocol, 0, url);
    let first = Footprint::settled(Footprint {
        heap: usize::MAX,
        ..before
    });
    let ends = round(protocol, protocol.round(), url);
    let last = Footprint::settled(Footprint {
        heap: first.heap + GROWTH_MAX,
        ..before
    });
    for (reason, count) in &ends {
        println!("{count:5} {reason}");
    }
    let count = 2 * protocol.round();
    println!("{protocol:?}: {count} connections; {before:?}, {first:?}, {last:?}");
}

/// A broker that falls silent for ever, at any step, is given up as the pipeline gives it up: what
/// waited for it is free at once.
fn lets_go(protocol: Protocol, url: fn(u16) -> String) {
    let before = Footprint::now();
    {
        let hostile = Hostile::start_silent(protocol);
        let mut agent = Loop::new(&url(hostile.port));
        let mut epoch = Epoch::default();
        for step in 0..protocol.steps() {
            epoch = epoch.next();
            let ended = agent.live_until(epoch, || hostile.silent() > step);
            assert_eq!(ended, None, "{protocol:?}, step {step}");
            agent.source.abandon();
        }
    }
    Footprint::settled(Footprint {
        heap: usize::MAX,
        ..before
    });
}

// One test: what is counted is the whole process's.
#[test]
fn a_hostile_broker_ends_its_connection_and_nothing_else() {
    let panics = count_panics();
    let amqp = |port| format!("amqp://guest:guest@127.0.0.1:{port}//");
    withstands(Protocol::Amqp, amqp);
    lets_go(Protocol::Amqp, amqp);
    println!("panics that were contained: {:#?}", lock(&panics));
    let redis = |port| format!("redis://:secret@127.0.0.1:{port}/1");
    withstands(Protocol::Redis, redis);
    lets_go(Protocol::Redis, redis);
}
