//! The agent's own binary among brokers that break every rule, or that are just dead: it goes on trying
//! at its own pace, and its other subscriptions notice nothing.

mod support;

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use support::agent::{Agent, PAUSE_MS, SOON, Setup, subscription, time_ms, with};
use support::api::FakeApi;
use support::hostile::{Hostile, Protocol};
use support::redis::Redis;
use support::wait::wait_until;

/// Several steps of backoff.
const LONG: Duration = Duration::from_secs(60);

/// A wait may begin before its line is in the log.
const LATE_MS: f64 = 50.0;

/// Subscriptions that suffer.
const VICTIMS: usize = 16;

/// `victim-a`, `victim-b` … on that broker.
fn victim(number: usize, broker: &str, api: &FakeApi) -> Value {
    let name = format!("victim{}", char::from(b'a' + number as u8));
    with(subscription(broker, &api.url()), &json!({"app_name": name}))
}

#[test]
fn hostile_brokers_harm_no_neighbour() {
    let (redis, api, victims_api) = (Redis::start(), FakeApi::start(), FakeApi::start());
    let brokers: Vec<_> = (0..VICTIMS)
        .map(|number| {
            let (protocol, scheme) = match number % 2 {
                0 => (Protocol::Amqp, "amqp"),
                _ => (Protocol::Redis, "redis"),
            };
            // Far apart, so that each meets misdeeds of its own.
            let broker = Hostile::start(protocol, number * 37, 11);
            let url = format!("{scheme}://guest:guest@127.0.0.1:{}/1", broker.port);
            (broker, url)
        })
        .collect();
    let mut subscriptions = vec![subscription(&format!("{}/0", redis.url()), &api.url())];
    subscriptions.extend(
        brokers
            .iter()
            .enumerate()
            .map(|(number, (_, url))| victim(number, url, &victims_api)),
    );
    let mut agent = Setup::new(&subscriptions).start();
    redis.wait_listener();
    let mut publisher = redis.publisher("/0.celeryev");
    let mut sent = 0;
    wait_until(LONG, "three tries each on average", || {
        publisher.send(sent, 50);
        sent += 50;
        let tries: usize = brokers.iter().map(|(broker, _)| broker.connections()).sum();
        tries >= 3 * VICTIMS
    });
    api.wait_ids(SOON, sent);
    // An uploader and, for AMQP, three threads a connection; the loop and the log.
    let most = (VICTIMS + 1) + VICTIMS / 2 * 3 + 2;
    let footprint = agent.footprint();
    assert!(footprint.threads <= most, "{footprint:?}");
    assert!(
        footprint.descriptors <= 8 + 6 * (VICTIMS + 1),
        "{footprint:?}"
    );
    agent.sigterm();
    // Some victims were sent events that they could deliver, and some that they could not settle.
    assert!([0, 75].contains(&agent.wait_exit(SOON)));
    agent.ledger("shop-qa").assert_all_delivered(sent);
    api.assert_exactly_once(0..sent);
    assert!(agent.longest_pause_ms() < PAUSE_MS);
    println!(
        "{footprint:?}, longest pause {} ms",
        agent.longest_pause_ms()
    );
}

/// What a dead broker's port does with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dead {
    Closes,
    Hangs,
}

/// Answers its port and how often it was called.
fn dead_broker(how: Dead) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    std::thread::spawn(move || {
        let mut held = Vec::new();
        for client in listener.incoming().flatten() {
            counted.fetch_add(1, Ordering::SeqCst);
            if how == Dead::Hangs {
                held.push(client);
            }
        }
    });
    (port, calls)
}

fn start_victims(port: u16, api: &FakeApi) -> Agent {
    let subscriptions: Vec<_> = (0..VICTIMS)
        .map(|number| {
            let scheme = if number % 2 == 0 { "amqp" } else { "redis" };
            victim(number, &format!("{scheme}://127.0.0.1:{port}/0"), api)
        })
        .collect();
    Setup::new(&subscriptions).start()
}

/// Failed tries by subscription: when they were told, and how long the next was to wait.
fn tries(agent: &Agent) -> BTreeMap<String, Vec<(f64, f64)>> {
    let mut tries: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for entry in agent.log() {
        if entry["message"] == "broker not connected" {
            let name = entry["subscription"].as_str().expect("a name").to_owned();
            let wait = entry["retry_in_ms"].as_f64().expect("a time");
            tries.entry(name).or_default().push((time_ms(&entry), wait));
        }
    }
    tries
}

#[test]
fn a_dead_broker_is_tried_once_a_backoff_step() {
    let api = FakeApi::start();
    let (closing, closed) = dead_broker(Dead::Closes);
    let (hanging, hung) = dead_broker(Dead::Hangs);
    let mut agents = [closing, hanging].map(|port| start_victims(port, &api));
    wait_until(LONG, "some steps of backoff each", || {
        closed.load(Ordering::SeqCst) >= 4 * VICTIMS && hung.load(Ordering::SeqCst) >= 2 * VICTIMS
    });
    let footprints = agents.each_ref().map(Agent::footprint);
    for (agent, calls) in agents.iter_mut().zip([closed, hung]) {
        agent.sigterm();
        assert_eq!(agent.wait_exit(SOON), 0);
        let tries = tries(agent);
        let held_back = agent
            .log()
            .into_iter()
            .filter_map(|entry| entry["held_back"].as_u64());
        let told = tries.values().map(Vec::len).sum::<usize>() + held_back.sum::<u64>() as usize;
        let calls = calls.load(Ordering::SeqCst);
        assert!(
            calls <= told + VICTIMS,
            "{calls} calls for {told} failed tries"
        );
        for (name, tries) in &tries {
            for pair in tries.windows(2) {
                let [(at, wait), (next, _)] = pair else {
                    unreachable!()
                };
                assert!(next - at >= wait - LATE_MS, "{name}: {tries:?}");
            }
        }
        assert!(agent.longest_pause_ms() < PAUSE_MS);
        println!(
            "{calls} calls, {told} told, longest pause {} ms",
            agent.longest_pause_ms()
        );
    }
    println!("{footprints:?}");
    for footprint in footprints {
        assert!(
            footprint.threads <= VICTIMS + VICTIMS / 2 * 3 + 2,
            "{footprint:?}"
        );
    }
}
