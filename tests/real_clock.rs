//! The wall clock jumps, as it does on a gateway without a battery: nothing changes but time stamps.

mod support;

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use support::agent::{Agent, PAUSE_MS, SOON, Setup, is_debug_build, subscription, with};
use support::api::{Answer, FakeApi};
use support::faketime::{clock_of, jump, with_clock};
use support::publisher::{Publisher, QUEUE};
use support::rabbitmq::shared;
use support::redis::Redis;
use support::wait::wait_until;

/// What the clock does, as libfaketime words it, and the year that it then shows; `None`: this one.
const JUMPS: [(&str, Option<&str>); 6] = [
    ("+1h", None),
    ("-1h", None),
    ("@1970-01-01 00:00:10", Some("1970")),
    ("@2039-02-03 04:05:06", Some("2039")),
    ("@1970-01-01 00:00:10", Some("1970")),
    ("+0", None),
];

/// False, with the reason printed, for another build of the agent, which may be static.
fn takes_a_library() -> bool {
    let ours = is_debug_build();
    if !ours {
        println!("skipped: a static agent cannot be given another clock");
    }
    ours
}

/// An agent whose wall clock can be set.
fn start_with_clock(subscriptions: &[Value]) -> (Agent, PathBuf) {
    let agent = with_clock(Setup::new(subscriptions), "+0").start();
    let clock = clock_of(&agent);
    agent.wait_started();
    (agent, clock)
}

/// The newest time stamp in the log.
fn last_time(agent: &Agent) -> String {
    let log = agent.log();
    let time = log.last().and_then(|entry| entry["time"].as_str());
    time.expect("an entry").to_owned()
}

#[test]
fn a_clock_that_jumps_changes_nothing_but_time_stamps() {
    if !takes_a_library() {
        return;
    }
    let (vhost, redis) = (shared().vhost("clock"), Redis::start());
    let (api, owed_api) = (FakeApi::start(), FakeApi::start());
    let kept = subscription(&vhost.url(), &api.url());
    let owed = subscription(&format!("{}/0", redis.url()), &owed_api.url());
    let owed = with(owed, &serde_json::json!({"app_name": "owed"}));
    let (mut agent, clock) = start_with_clock(&[kept, owed]);
    redis.wait_listener();
    let mut kept = Publisher::open(&vhost.url());
    let mut owed = redis.publisher("/0.celeryev");
    let this_year = last_time(&agent)[..4].to_owned();
    let mut sent = 0;
    for (to, year) in JUMPS {
        jump(&clock, to);
        kept.send(sent, 200);
        owed.send(sent, 200);
        sent += 200;
        // The window of a batch is half a second, whatever the clock says.
        api.wait_ids(Duration::from_secs(5), sent);
        owed_api.wait_ids(Duration::from_secs(5), sent);
        let stamped = api
            .stored()
            .last()
            .and_then(|last| last["updated_at"].as_i64());
        let stamped = leek_agent::logging::rfc3339(stamped.expect("a time stamp"));
        assert_eq!(&stamped[..4], year.unwrap_or(&this_year), "after {to}");
    }
    vhost.wait_depth(QUEUE, 0, 0);
    agent.sigterm();
    assert_eq!(agent.wait_exit(SOON), 0);
    for (name, api) in [("shop-qa", &api), ("owed-qa", &owed_api)] {
        agent.ledger(name).assert_all_delivered(sent);
        api.assert_exactly_once(0..sent);
    }
    // Nothing was lost, found again or held; only a busy machine may have held up the loop.
    let mut complaints = agent.log();
    complaints.retain(|entry| entry["level"] != "info" && entry["message"] != "event loop held up");
    assert_eq!(complaints, Vec::<Value>::new());
    let pause = agent.longest_pause_ms();
    println!("longest pause {pause} ms");
    assert!(pause < PAUSE_MS, "{pause} ms");
}

#[test]
fn a_wait_that_the_api_asks_for_is_the_same_by_every_clock() {
    if !takes_a_library() {
        return;
    }
    let (redis, api) = (Redis::start(), FakeApi::start());
    let subscription = subscription(&format!("{}/0", redis.url()), &api.url());
    let (mut agent, clock) = start_with_clock(&[subscription]);
    redis.wait_listener();
    // Three seconds, by the API's clock, in a header of two lines.
    api.answer(|request| match request.number % 2 {
        0 => Answer::Raw {
            status: 503,
            header: (
                "date",
                "Sun, 06 Nov 1994 08:49:37 GMT\r\nretry-after: Sun, 06 Nov 1994 08:49:40 GMT"
                    .into(),
            ),
            body: String::new(),
        },
        _ => Answer::Stored,
    });
    for (number, (to, _)) in JUMPS[2..4].iter().enumerate() {
        jump(&clock, to);
        redis.publisher("/0.celeryev").send(number, 1);
        wait_until(Duration::from_secs(20), "it is stored", || {
            api.ids() > number
        });
        let posts = api.posts();
        let waited = posts[2 * number + 1].at - posts[2 * number].at;
        let asked = Duration::from_secs(3);
        assert!(waited >= asked && waited < asked * 3, "{to}: {waited:?}");
    }
    agent.stop().assert_all_delivered(2);
}
