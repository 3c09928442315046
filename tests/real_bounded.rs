//! An API that is down while producers do not stop: memory, threads and descriptors stay where they
//! were, and afterwards every event is delivered or counted.

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use leek_agent::clock;
use serde_json::json;
use support::agent::{Agent, Footprint, PAUSE_MS, SOON, Setup, subscription, with};
use support::api::{Answer, FakeApi};
use support::publisher::{Publisher, QUEUE, events};
use support::rabbitmq::shared;
use support::redis::{Redis, envelope};
use support::wait::{holds_for, wait_until};

/// How long the API is down. Everything is full after a second or two; a longer outage shows the same,
/// for whoever has the time: `LEEK_AGENT_TEST_OUTAGE_S=3600`.
fn outage() -> Duration {
    let asked = std::env::var("LEEK_AGENT_TEST_OUTAGE_S");
    let seconds = asked.ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(8))
}

/// What the README says of memory, for one subscription on RabbitMQ and one on Redis with a buffer of
/// 1 MB and all else as it is by default: buffer, four batches, and for RabbitMQ the prefetch.
const ADDED_KIB: u64 = 2 * (1 + 4) * 1024 + 1_000 * (600 + 500) / 1024;

/// What may wait in the Redis server: below it nobody is cut, above it no more would show.
const UNREAD_MAX: u64 = 4 << 20;

const KEPT: usize = 10_000;

/// The most of everything that was seen until `over`.
fn watch(agent: &Agent, over: &AtomicBool) -> Footprint {
    let mut most = agent.footprint();
    holds_for(Duration::from_secs(36_000), || {
        let now = agent.footprint();
        most.threads = most.threads.max(now.threads);
        most.descriptors = most.descriptors.max(now.descriptors);
        most.rss_kib = most.rss_kib.max(now.rss_kib);
        !over.load(Ordering::SeqCst)
    });
    most
}

#[test]
fn an_api_that_is_down_costs_no_more_than_the_documented_memory() {
    let (vhost, redis) = (shared().vhost("bounded"), Redis::start());
    let api = FakeApi::start_counting();
    let small = json!({"buffer_max_size_in_mb": 1});
    let kept = with(subscription(&vhost.url(), &api.url()), &small);
    let owed = subscription(&format!("{}/0", redis.url()), &api.url());
    let owed = with(with(owed, &small), &json!({"app_name": "owed"}));
    let mut agent = Setup::new(&[kept, owed]).start();
    agent.wait_started();
    let mut publisher = Publisher::open(&vhost.url());
    // Whatever is made at the first event, or at the first failure, is there before.
    publisher.send(0, 100);
    redis.publisher("/0.celeryev").send(0, 100);
    wait_until(SOON, "it works", || api.counted() >= 200);
    api.always(Answer::unavailable());
    let before = agent.footprint();
    let (over, flooded) = (AtomicBool::new(false), AtomicBool::new(false));
    let (most, sent) = std::thread::scope(|scope| {
        let most = scope.spawn(|| watch(&agent, &over));
        let sent = scope.spawn(|| flood(&redis, &flooded));
        publisher.send(100, KEPT);
        let end = clock::monotonic() + outage();
        wait_until(outage() + SOON, "the outage is over", || {
            clock::monotonic() >= end
        });
        flooded.store(true, Ordering::SeqCst);
        let sent = sent.join().expect("the publisher publishes");
        over.store(true, Ordering::SeqCst);
        (most.join().expect("the agent runs"), sent)
    });
    let tries = api.post_count() + api.gets().len();
    println!(
        "{sent} events in {:?}: {before:?}, then at most {most:?}; {tries} requests",
        outage()
    );
    assert_eq!(most.threads, before.threads);
    assert!(
        most.descriptors <= before.descriptors + 2,
        "{before:?}, {most:?}"
    );
    assert!(
        most.rss_kib <= before.rss_kib + ADDED_KIB,
        "{before:?}, {most:?}"
    );

    api.always(Answer::Stored);
    let all = || vhost.depth(QUEUE).total() == 0;
    wait_until(Duration::from_secs(120), "the broker's queue is empty", all);
    agent.sigterm();
    assert_eq!(agent.wait_exit(SOON), 0);
    agent.ledger("shop-qa").assert_all_delivered(KEPT + 100);
    let ledger = agent.ledger("owed-qa");
    assert_eq!(
        ledger.received,
        ledger.delivered + ledger.dropped,
        "{ledger:?}"
    );
    assert_eq!(ledger.received, sent as u64 + 100, "{ledger:?}");
    assert!(agent.longest_pause_ms() < PAUSE_MS);
}

/// Publishes as fast as the agent can read, until told; answers how many events that were.
fn flood(redis: &Redis, over: &AtomicBool) -> usize {
    let payloads: Vec<_> = events(0, 2_000).iter().map(envelope).collect();
    let mut publisher = redis.publisher("/0.celeryev");
    let mut sent = 0;
    while !over.load(Ordering::SeqCst) {
        publisher.flood(&payloads);
        sent += payloads.len();
        wait_until(SOON, "the agent reads", || redis.unread() < UNREAD_MAX);
    }
    sent
}
