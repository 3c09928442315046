//! The harness tested on itself: what the other real_* tests rest on does what it says.

mod support;

use std::process::Command;
use std::time::Duration;

use amiquip::{Connection, ConsumerMessage, ConsumerOptions};
use serde_json::json;
use support::api::{Answer, FakeApi};
use support::keeper::{Group, keep_folder};
use support::publisher::{Publisher, QUEUE, event, events, uuid};
use support::rabbitmq::{Depth, Rabbit, shared};
use support::wait::{holds_for, wait_until};

const SOON: Duration = Duration::from_secs(20);

fn post(api: &FakeApi, count: usize) -> u16 {
    let documents: Vec<_> = (0..count)
        .map(|number| json!({"id": uuid(number), "events_count": 1}))
        .collect();
    let agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .build()
        .new_agent();
    let body = serde_json::to_string(&documents).expect("JSON");
    let answer = agent
        .post(format!("{}/v1/events/process", api.url()))
        .header("x-leek-app-name", "shop")
        .send(body);
    answer.map_or(0, |answer| answer.status().as_u16())
}

#[test]
fn a_broker_keeps_what_it_confirmed_even_through_a_kill() {
    let rabbit = Rabbit::start();
    let vhost = rabbit.vhost("kept");
    let mut publisher = Publisher::open(&vhost.url());
    publisher.event(&event(1));
    publisher.list(&events(2, 3));
    publisher.confirm();
    drop(publisher);
    rabbit.restart();
    let kept = Depth {
        ready: 2,
        unacked: 0,
    };
    wait_until(SOON, "both messages are still there", || {
        vhost.depth(QUEUE) == kept
    });
    vhost.purge(QUEUE);
    assert_eq!(vhost.depth(QUEUE), Depth::default());
}

#[test]
fn what_is_published_can_be_consumed() {
    let vhost = shared().vhost("consumed");
    let mut publisher = Publisher::open(&vhost.url());
    publisher.event(&event(7));
    publisher.confirm();
    let mut connection = Connection::insecure_open(&vhost.url()).expect("a connection");
    let channel = connection.open_channel(None).expect("a channel");
    let options = ConsumerOptions::default();
    let consumer = channel.basic_consume(QUEUE, options).expect("a consumer");
    let ConsumerMessage::Delivery(delivery) = consumer.receiver().recv().expect("a message") else {
        panic!("not a delivery");
    };
    assert_eq!(delivery.routing_key, "task.received");
    assert_eq!(delivery.body, event(7).to_string().as_bytes());
    assert_eq!(vhost.consumers(QUEUE), 1);
    assert_eq!(
        vhost.depth(QUEUE),
        Depth {
            ready: 0,
            unacked: 1
        }
    );
}

#[test]
fn an_event_is_as_large_as_a_real_one() {
    let bytes = event(12_345).to_string().len();
    assert!((550..=650).contains(&bytes), "{bytes} bytes");
}

#[test]
fn the_api_counts_what_it_stored_and_nothing_else() {
    let api = FakeApi::start();
    assert_eq!(post(&api, 3), 201);
    api.assert_exactly_once(0..3);
    api.always(Answer::unavailable());
    assert_eq!(post(&api, 3), 503);
    api.assert_exactly_once(0..3);
    api.always(Answer::Partial(vec![uuid(0)]));
    assert_eq!(post(&api, 4), 400);
    assert_eq!(api.events_by_id().get(&uuid(0)), Some(&1));
    assert_eq!(api.events_by_id().get(&uuid(3)), Some(&1));
    for (answer, status) in [
        (Answer::Cut, 0),
        (Answer::Close, 0),
        (Answer::wrong_key(), 401),
    ] {
        api.always(answer);
        assert_eq!(post(&api, 1), status);
    }
    assert_eq!(api.post_count(), 6);
    assert_eq!(api.posts()[0].headers["x-leek-app-name"], "shop");
}

#[test]
fn a_group_dies_whole() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    keep_folder(folder.path());
    let file = folder.path().join("pid");
    let script = format!("sleep 600 & echo $! > {}; wait", file.display());
    let mut group = Group::spawn(Command::new("/bin/sh").args(["-c", &script]));
    let read = || std::fs::read_to_string(&file).unwrap_or_default();
    wait_until(SOON, "the grandchild runs", || read().ends_with('\n'));
    let grandchild = format!("/proc/{}/cmdline", read().trim());
    group.kill();
    // Nobody may have buried it yet, but it no longer runs anything.
    let runs = || std::fs::read(&grandchild).is_ok_and(|line| !line.is_empty());
    wait_until(SOON, "the grandchild is gone", || !runs());
    assert!(holds_for(Duration::from_millis(50), || !runs()));
}
