//! Slow is worse than dead: the agent beside peers that hang, trickle or never end. In each case its
//! loop goes on turning, its other subscriptions go on delivering, and a stop ends in time.

mod support;

use std::time::Duration;

use serde_json::json;
use support::agent::{PAUSE_MS, SOON, Setup, subscription, with};
use support::api::{Answer, FakeApi};
use support::publisher::{Publisher, QUEUE};
use support::rabbitmq::shared;
use support::redis::Redis;

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
