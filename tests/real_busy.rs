//! Much to do is no reason to pause: many subscriptions at once, long messages, full batches.

mod support;

use std::time::Duration;

use serde_json::{Value, json};
use support::agent::{PAUSE_MS, SOON, Setup, start, subscription, with};
use support::api::FakeApi;
use support::publisher::{Publisher, events};
use support::rabbitmq::shared;
use support::redis::Redis;
use support::wait::wait_until;

/// For tens of thousands of events in a debug build on two busy cores.
const LONG: Duration = Duration::from_secs(90);

#[test]
fn sixteen_busy_subscriptions_share_a_turn() {
    const SUBSCRIPTIONS: usize = 16;
    const EVENTS: usize = 1_500;
    let (redis, api) = (Redis::start(), FakeApi::start_counting());
    let subscriptions: Vec<_> = (0..SUBSCRIPTIONS)
        .map(|db| {
            let name = format!("busy{}", char::from(b'a' + db as u8));
            let subscription = subscription(&format!("{}/{db}", redis.url()), &api.url());
            with(subscription, &json!({"app_name": name}))
        })
        .collect();
    let mut agent = Setup::new(&subscriptions).start();
    redis.wait_listeners(SUBSCRIPTIONS);
    std::thread::scope(|scope| {
        for db in 0..SUBSCRIPTIONS {
            let mut publisher = redis.publisher(&format!("/{db}.celeryev"));
            scope.spawn(move || publisher.send(0, EVENTS));
        }
    });
    wait_until(LONG, "all is delivered", || {
        api.counted() >= SUBSCRIPTIONS * EVENTS
    });
    agent.sigterm();
    assert_eq!(agent.wait_exit(SOON), 0);
    for subscription in &subscriptions {
        let name = format!("{}-qa", subscription["app_name"].as_str().expect("a name"));
        agent.ledger(&name).assert_all_delivered(EVENTS);
    }
    let pause = agent.longest_pause_ms();
    println!("longest pause {pause} ms");
    assert!(pause < PAUSE_MS, "{pause} ms");
}

#[test]
fn a_list_of_megabytes_is_decoded_in_pieces() {
    const EVENTS: usize = 8_000;
    let vhost = shared().vhost("long-list");
    let api = FakeApi::start_counting();
    let changes = json!({"batch_max_size_in_mb": 4});
    let mut agent = start(&with(subscription(&vhost.url(), &api.url()), &changes));
    let mut publisher = Publisher::open(&vhost.url());
    let list = Value::from(events(0, EVENTS));
    assert!(list.to_string().len() > 4 << 20);
    publisher.json("task.multi", &list);
    publisher.confirm();
    wait_until(LONG, "all is delivered", || api.counted() >= EVENTS);
    agent.stop().assert_all_delivered(EVENTS);
    let pause = agent.longest_pause_ms();
    println!("longest pause {pause} ms");
    assert!(pause < PAUSE_MS, "{pause} ms");
}
