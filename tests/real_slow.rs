//! Slow is worse than dead: the agent beside peers that hang, trickle or never end. In each case its
//! loop goes on turning, its other subscriptions go on delivering, and a stop ends in time.

mod support;

use std::time::Duration;

use leek_agent::clock;
use serde_json::{Value, json};
use support::agent::{Agent, PAUSE_MS, SOON, Setup, subscription, with};
use support::api::{Answer, FakeApi};
use support::dead_dns::DeadDns;
use support::fault_proxy::{FaultProxy, Passage, Trouble, Wire};
use support::publisher::{Publisher, QUEUE};
use support::rabbitmq::{PASSWORD, Rabbit, USER, shared};
use support::redis::Redis;
use support::slow_api::{Slow, SlowApi};
use support::wait::wait_until;

#[test]
fn the_longest_pause_is_told_at_the_end() {
    // Nothing listens there: the loop has only time to pass.
    let dead = subscription("amqp://127.0.0.1:1/", "http://127.0.0.1:1");
    let (code, agent) = Setup::new(&[dead]).args(&["--for", "1s"]).run();
    assert_eq!(code, 0);
    let pause = agent.longest_pause_ms();
    assert!(pause > 0.0, "{pause} ms");
}

#[test]
fn a_log_that_nobody_reads_stops_nothing() {
    let redis = Redis::start();
    let api = FakeApi::start();
    let subscription = subscription(&format!("{}/0", redis.url()), &api.url());
    let talkative = ["--log-level", "trace"];
    let mut agent = Setup::new(&[subscription])
        .args(&talkative)
        .unread()
        .start();
    redis.wait_listener();
    // Some hundred bytes of log each: far more than a pipe holds, and the agent itself.
    redis.publisher("/0.celeryev").send(0, 5_000);
    api.wait_ids(SOON, 5_000);
    agent.read_on();
    let gap = agent.wait_for_log(SOON, "that entries are missing", |entry| {
        entry["message"] == "log entries dropped: stdout was not read"
    });
    assert!(
        gap["count"].as_u64().is_some_and(|count| count > 0),
        "{gap}"
    );
    agent.stop().assert_all_delivered(5_000);
    api.assert_exactly_once(0..5_000);
    assert!(agent.longest_pause_ms() < PAUSE_MS);
}

#[test]
fn a_log_that_nobody_reads_does_not_hold_up_the_end() {
    let dead = subscription("amqp://127.0.0.1:1/", "http://127.0.0.1:1");
    let lines = ["--log-level", "trace", "--for", "1s"];
    let mut agent = Setup::new(&[dead]).args(&lines).unread().start();
    assert_eq!(agent.wait_exit(Duration::from_secs(10)), 0);
}

#[test]
fn a_connection_that_ends_while_the_ring_is_full_is_made_anew() {
    let vhost = shared().vhost("full-ring");
    let api = FakeApi::start();
    api.always(Answer::unavailable());
    let changes = json!({"buffer_max_size_in_mb": 1});
    let mut agent = support::agent::start(&with(subscription(&vhost.url(), &api.url()), &changes));
    let mut publisher = Publisher::open(&vhost.url());
    for number in 0..1_000 {
        let mut event = support::publisher::event(number);
        event["result"] = "x".repeat(3_000).into();
        publisher.event(&event);
    }
    publisher.confirm();
    // All of the prefetch is on the agent's side, three times what its ring holds.
    vhost.wait_depth(QUEUE, 0, 1_000);
    vhost.close_agents();
    agent.wait_complaint(SOON, &["broker not connected"]);
    vhost.wait_depth(QUEUE, 0, 1_000);
    api.always(Answer::Stored);
    api.wait_ids(SOON, 1_000);
    vhost.wait_depth(QUEUE, 0, 0);
    agent.stop();
    api.assert_nothing_missing(0..1_000);
    assert!(agent.longest_pause_ms() < PAUSE_MS);
}

// ── Slow peers ─────────────────────────────────────────────────────────────────────────────────

/// How long a slow peer is watched, in which its neighbour must not notice it.
const WATCHED: Duration = Duration::from_secs(6);

/// What agents get for a stop here; and what they may take beyond it: a second to close, one for the
/// log, and what a busy machine needs.
const SHUTDOWN: &str = "2s";
const STOPPED_BY: Duration = Duration::from_secs(8);

/// A subscription on a Redis of its own, whose events must arrive whatever happens to the others.
struct Neighbour {
    redis: Redis,
    api: FakeApi,
    sent: usize,
}

impl Neighbour {
    fn new() -> Neighbour {
        Neighbour {
            redis: Redis::start(),
            api: FakeApi::start(),
            sent: 0,
        }
    }

    fn subscription(&self) -> Value {
        subscription(&format!("{}/0", self.redis.url()), &self.api.url())
    }

    /// Its events arrive one after the other, each within the window of its batch and what a busy
    /// machine needs.
    #[track_caller]
    fn goes_on_for(&mut self, span: Duration) {
        let end = clock::monotonic() + span;
        let mut publisher = self.redis.publisher("/0.celeryev");
        while clock::monotonic() < end {
            publisher.send(self.sent, 20);
            self.sent += 20;
            self.api.wait_ids(Duration::from_secs(3), self.sent);
        }
    }

    /// A stop ends in time, with a balanced ledger for each of `names`, and nothing was held up.
    #[track_caller]
    fn outlives(&self, agent: &mut Agent, names: &[String]) {
        agent.sigterm();
        let begun = clock::monotonic();
        let code = agent.wait_exit(STOPPED_BY);
        assert!([0, 75].contains(&code), "exit code {code}");
        let took = clock::monotonic() - begun;
        agent.ledger("shop-qa").assert_all_delivered(self.sent);
        self.api.assert_exactly_once(0..self.sent);
        for name in names {
            agent.ledger(name);
        }
        let pause = agent.longest_pause_ms();
        println!("stopped in {took:?}, longest pause {pause} ms");
        assert!(pause < PAUSE_MS, "{pause} ms");
    }
}

fn named(name: &str, broker: &str, api_url: &str) -> Value {
    with(
        subscription(broker, api_url),
        &json!({"app_name": name, "queue": name}),
    )
}

#[test]
fn slow_apis_hold_up_only_their_own_subscription() {
    let mut neighbour = Neighbour::new();
    let redis = Redis::start();
    let kinds = [
        Slow::Silent,
        Slow::Deaf,
        Slow::Trickle,
        Slow::Cut,
        Slow::Endless,
    ];
    let apis = kinds.map(SlowApi::start);
    let silent = FakeApi::start();
    silent.health(Answer::Hang);
    let names: Vec<_> = ["silent", "deaf", "trickle", "cut", "endless", "unwell"]
        .map(str::to_owned)
        .into();
    let urls = apis.iter().map(SlowApi::url).chain([silent.url()]);
    let mut subscriptions = vec![neighbour.subscription()];
    for (db, (name, url)) in names.iter().zip(urls).enumerate() {
        subscriptions.push(named(name, &format!("{}/{db}", redis.url()), &url));
    }
    let mut agent = Setup::new(&subscriptions)
        .args(&["--shutdown-timeout", SHUTDOWN])
        .start();
    neighbour.redis.wait_listener();
    redis.wait_listeners(names.len());
    for db in 0..names.len() {
        // Posts of a megabyte, so that one that is not read cannot leave at once.
        redis.publisher(&format!("/{db}.celeryev")).send(0, 3_000);
    }
    wait_until(SOON, "each has a post", || {
        apis.iter().all(|api| api.posts() > 0)
    });
    neighbour.goes_on_for(WATCHED);
    let names: Vec<_> = names.iter().map(|name| format!("{name}-qa")).collect();
    let footprint = agent.footprint();
    println!("{footprint:?}");
    // An uploader each, the loop and the log.
    assert_eq!(footprint.threads, subscriptions.len() + 2, "{footprint:?}");
    neighbour.outlives(&mut agent, &names);
}

#[test]
fn slow_brokers_hold_up_only_their_own_subscription() {
    let mut neighbour = Neighbour::new();
    let (rabbit, redis, stopped) = (Rabbit::start(), Redis::start(), Redis::start());
    let vhost = rabbit.vhost("slow");
    let api = FakeApi::start();
    let trickle = |rate| Trouble {
        rate: Some(rate),
        ..Trouble::default()
    };
    // Two that never come up, and two that fail once they consume, of each kind.
    let proxy = |port: u16| [(); 4].map(|()| FaultProxy::to(port));
    let proxies = [proxy(rabbit.amqp_port()), proxy(redis.port)];
    for [frozen, slow, ..] in &proxies {
        frozen.set(Wire::closed(Passage::Frozen));
        slow.set(Wire::down(trickle(20)));
    }
    let address = |kind: usize, port: u16, db: usize| match kind {
        0 => format!("amqp://{USER}:{PASSWORD}@127.0.0.1:{port}/slow"),
        _ => format!("redis://127.0.0.1:{port}/{db}"),
    };
    let mut brokers = vec![
        ("stoppedamqp".to_owned(), vhost.url()),
        ("stoppedredis".to_owned(), format!("{}/0", stopped.url())),
    ];
    for (kind, proxies) in proxies.iter().enumerate() {
        let whats = ["frozen", "slow", "deaf", "faint"].iter().zip(proxies);
        for (db, (what, proxy)) in whats.enumerate() {
            let name = format!("{what}{}", ["amqp", "redis"][kind]);
            brokers.push((name, address(kind, proxy.port(), db)));
        }
    }
    let mut subscriptions = vec![neighbour.subscription()];
    subscriptions.extend(
        brokers
            .iter()
            .map(|(name, url)| named(name, url, &api.url())),
    );
    let mut agent = Setup::new(&subscriptions)
        .args(&["--shutdown-timeout", SHUTDOWN])
        .start();
    neighbour.redis.wait_listener();
    // Those that are well, and the slow one, which does not get to know that it listens.
    redis.wait_listeners(3);
    stopped.wait_listener();
    let consumed = ["stoppedamqp", "deafamqp", "faintamqp"];
    wait_until(SOON, "three consume", || {
        consumed.iter().all(|queue| vhost.consumers(queue) == 1)
    });
    for [_, _, deaf, faint] in &proxies {
        deaf.set(Wire {
            up: trickle(1),
            ..Wire::default()
        });
        faint.set(Wire::down(trickle(200)));
    }
    Publisher::connect(&vhost.url()).send(0, 500);
    for db in [2, 3] {
        redis.publisher(&format!("/{db}.celeryev")).send(0, 500);
    }
    rabbit.sigstop();
    stopped.sigstop();
    neighbour.goes_on_for(WATCHED);
    println!("{:?}", agent.footprint());
    let names: Vec<_> = brokers
        .iter()
        .map(|(name, _)| format!("{name}-qa"))
        .collect();
    neighbour.outlives(&mut agent, &names);
}

#[test]
fn a_name_server_that_hangs_holds_up_only_those_who_ask_it() {
    let Some(dns) = DeadDns::start() else { return };
    let mut neighbour = Neighbour::new();
    let redis = Redis::start();
    let api = FakeApi::start();
    let heard = format!("{}/1", redis.url());
    let brokers = [
        ("amqpname", "amqp://broker.plant.example:5672//", api.url()),
        ("redisname", "redis://broker.plant.example/0", api.url()),
        ("apiname", &heard, "http://leek.plant.example".to_owned()),
    ];
    let mut subscriptions = vec![neighbour.subscription()];
    let slow = brokers
        .iter()
        .map(|(name, broker, api)| named(name, broker, api));
    subscriptions.extend(slow);
    let mut agent = Setup::new(&subscriptions)
        .args(&["--shutdown-timeout", SHUTDOWN])
        .mounting(&dns.script())
        .start();
    neighbour.redis.wait_listener();
    redis.wait_listener();
    redis.publisher("/1.celeryev").send(0, 100);
    neighbour.goes_on_for(WATCHED);
    let footprint = agent.footprint();
    println!("{footprint:?}");
    // An uploader each, the loop, the log, and one look-up for each that asks.
    assert_eq!(
        footprint.threads,
        subscriptions.len() + 2 + brokers.len(),
        "{footprint:?}"
    );
    let names: Vec<_> = brokers
        .iter()
        .map(|(name, ..)| format!("{name}-qa"))
        .collect();
    neighbour.outlives(&mut agent, &names);
    let undelivered = agent.ledger("apiname-qa");
    assert_eq!(undelivered.received, 100, "{undelivered:?}");
}
