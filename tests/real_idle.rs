//! What the agent costs while nothing happens: gateways run on batteries and share one small processor.

mod support;

use std::time::Duration;

use serde_json::Value;
use support::agent::{SOON, is_debug_build, start, subscription};
use support::api::FakeApi;
use support::publisher::Publisher;
use support::rabbitmq::shared;
use support::redis::Redis;
use support::wait::{holds_for, wait_until};

/// What is left of a small gateway's 64 MB is little.
const RSS_KIB: u64 = 8 * 1024;

/// What of that is not the program's own file. A debug build's file is large: there, this alone counts.
const DATA_KIB: u64 = 2 * 1024;

/// Long enough to tell a tick from a heartbeat.
const WATCHED: Duration = Duration::from_secs(20);

/// In that time: two heartbeats each way, and what the threads of a connection tell each other of them.
const WAKE_UPS: u64 = 8;

/// Delivers one event, so that everything that is made at the first one is there, and then watches.
fn assert_rests(subscription: &Value, api: &FakeApi, send: impl FnOnce()) {
    let mut agent = start(subscription);
    send();
    api.wait_ids(SOON, 1);
    // What the delivery itself still has to do.
    wait_until(SOON, "it sleeps", || {
        let before = agent.sleeps();
        holds_for(Duration::from_secs(1), || agent.sleeps() == before)
    });
    let before = agent.sleeps();
    let rests = holds_for(WATCHED, || agent.sleeps() - before <= WAKE_UPS);
    let woken = agent.sleeps() - before;
    let (data, rss) = (agent.data_kib(), agent.rss_kib());
    println!("{woken} wake-ups in {WATCHED:?}, {data} KiB of data, {rss} KiB RSS");
    assert!(rests, "{woken} wake-ups");
    assert!(data <= DATA_KIB, "{data} KiB");
    assert!(rss <= RSS_KIB || is_debug_build(), "{rss} KiB");
    agent.stop().assert_all_delivered(1);
}

#[test]
fn an_agent_on_an_idle_rabbitmq_sleeps_and_is_small() {
    let (vhost, api) = (shared().vhost("idle"), FakeApi::start());
    let mut publisher = Publisher::open(&vhost.url());
    assert_rests(&subscription(&vhost.url(), &api.url()), &api, || {
        publisher.send(0, 1);
    });
}

#[test]
fn an_agent_on_an_idle_redis_sleeps_and_is_small() {
    let (redis, api) = (Redis::start(), FakeApi::start());
    let subscription = subscription(&format!("{}/0", redis.url()), &api.url());
    assert_rests(&subscription, &api, || {
        redis.wait_listener();
        redis.publisher("/0.celeryev").send(0, 1);
    });
}
