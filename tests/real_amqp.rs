//! The agent on a real RabbitMQ: what it delivers, when it acks, how it stops.

mod support;

use std::time::Duration;

use amiquip::{AmqpValue, FieldTable, QueueDeclareOptions};
use serde_json::{Value, json};
use support::agent::{SOON, Setup, is_complaint, start, subscription, with};
use support::api::{Answer, FakeApi};
use support::keeper::keep_folder;
use support::publisher::{EXCHANGE, Publisher, QUEUE, event, events, uuid};
use support::rabbitmq::{Depth, PASSWORD, USER, Vhost, shared};
use support::wait::{holds_for, poll, wait_until};

/// For thousands of events in a debug build beside other tests.
const LONG: Duration = Duration::from_secs(90);
const KIB: f64 = 1024.0;

/// A vhost and an API of their own, and the subscription that joins them.
fn parts(name: &str) -> (Vhost<'static>, FakeApi, Value) {
    let vhost = shared().vhost(name);
    let api = FakeApi::start();
    let subscription = subscription(&vhost.url(), &api.url());
    (vhost, api, subscription)
}

// ── What is delivered ──────────────────────────────────────────────────────────────────────────

#[test]
fn twenty_thousand_single_events_arrive_exactly_once() {
    let (vhost, api, subscription) = parts("single");
    let mut publisher = Publisher::open(&vhost.url());
    let mut agent = start(&subscription);
    publisher.send(0, 20_000);
    api.wait_ids(LONG, 20_000);
    agent.stop().assert_all_delivered(20_000);
    api.assert_exactly_once(0..20_000);
    vhost.wait_depth(QUEUE, 0, 0);
}

#[test]
fn twenty_thousand_events_in_lists_arrive_exactly_once() {
    let (vhost, api, subscription) = parts("lists");
    let mut publisher = Publisher::open(&vhost.url());
    let mut agent = start(&with(subscription, &json!({"concurrency_pool_size": 3})));
    let all = events(0, 20_000);
    let mut rest = &all[..];
    // A worker's dispatcher makes lists of one to four; a flood makes longer ones.
    for size in [1, 2, 3, 4, 50].into_iter().cycle() {
        let (list, others) = rest.split_at(rest.len().min(size));
        if list.is_empty() {
            break;
        }
        publisher.list(list);
        rest = others;
    }
    publisher.confirm();
    api.wait_ids(LONG, 20_000);
    agent.stop().assert_all_delivered(20_000);
    api.assert_exactly_once(0..20_000);
    vhost.wait_depth(QUEUE, 0, 0);
}

#[test]
fn an_idle_tail_is_flushed_by_its_window() {
    let (vhost, api, subscription) = parts("tail");
    let mut publisher = Publisher::open(&vhost.url());
    let mut agent = start(&with(
        subscription,
        &json!({"batch_max_window_in_seconds": 1}),
    ));
    publisher.send(0, 3);
    api.wait_ids(SOON, 3);
    vhost.wait_depth(QUEUE, 0, 0);
    agent.stop().assert_all_delivered(3);
    api.assert_exactly_once(0..3);
}

#[test]
fn bad_messages_are_counted_and_harm_no_neighbour() {
    let (vhost, api, subscription) = parts("bad");
    let mut publisher = Publisher::open(&vhost.url());
    let json = "application/json";
    let good = event(900).to_string();
    let one_each: [(&str, &[u8]); 9] = [
        (json, b"{\"type\": \"task-sent\", "),
        (json, b"hello"),
        (json, b""),
        (json, b"7"),
        (json, b"null"),
        (json, b"\"task-sent\""),
        (json, b"{\"type\": \"task-sent\", \"uuid\": \"\xff\xfe\"}"),
        (
            "application/x-python-serialize",
            b"\x80\x04\x95\x0c\x00\x00\x00\x00",
        ),
        ("application/x-yaml", b"type: task-sent\nuuid: x\n"),
    ];
    for (number, (content_type, body)) in one_each.iter().enumerate() {
        publisher.event(&event(number));
        publisher.raw("task.sent", content_type, body);
    }
    // No event at all, and one that is none between two that are.
    publisher.json("task.multi", &json!([]));
    publisher.list(&[event(9), json!("not an event"), event(10)]);
    publisher.event(&event(11));
    publisher.confirm();
    let mut agent = start(&subscription);
    api.wait_ids(SOON, 12);
    vhost.wait_depth(QUEUE, 0, 0);
    let ledger = agent.stop();
    assert_eq!((ledger.delivered, ledger.invalid), (12, 10), "{ledger:?}");
    api.assert_exactly_once(0..12);
    let log = agent.log();
    let told = log
        .iter()
        .any(|entry| is_complaint(entry, &["invalid", "json", "event"]));
    assert!(told, "nothing was said of the bad messages");
    assert!(
        !agent.text().contains(&good),
        "events do not belong in the log"
    );
}

#[test]
fn event_types_without_a_state_are_filtered() {
    let (vhost, api, subscription) = parts("filtered");
    let mut publisher = Publisher::open(&vhost.url());
    let mut custom = event(1);
    custom["type"] = json!("task-progress");
    publisher.list(&[event(0), custom, event(2)]);
    publisher.confirm();
    let mut agent = start(&subscription);
    api.wait_ids(SOON, 2);
    let ledger = agent.stop();
    assert_eq!((ledger.delivered, ledger.filtered), (2, 1), "{ledger:?}");
    vhost.wait_depth(QUEUE, 0, 0);
}

#[test]
fn a_message_of_seventeen_megabytes_is_invalid_and_costs_no_memory() {
    let (vhost, api, subscription) = parts("huge");
    let mut publisher = Publisher::open(&vhost.url());
    let mut huge = event(1);
    huge["args"] = json!("x".repeat(17 << 20));
    publisher.event(&event(0));
    publisher.event(&huge);
    publisher.event(&event(2));
    publisher.confirm();
    let mut agent = start(&subscription);
    api.wait_ids(SOON, 2);
    vhost.wait_depth(QUEUE, 0, 0);
    let peak = agent.peak_rss_kib();
    let ledger = agent.stop();
    assert_eq!((ledger.delivered, ledger.invalid), (2, 1), "{ledger:?}");
    assert!(
        peak < 48 * 1024,
        "{peak} KiB for a message that is thrown away"
    );
}

#[test]
fn the_api_is_spoken_to_as_leek_does() {
    let (vhost, api, subscription) = parts("headers");
    let mut publisher = Publisher::open(&vhost.url());
    let url = format!("{}/behind/a/prefix", api.url());
    let mut agent = start(&with(subscription, &json!({"api_url": url})));
    publisher.send(0, 1);
    api.wait_ids(SOON, 1);
    agent.stop().assert_all_delivered(1);
    let post = &api.posts()[0];
    assert_eq!(post.path, "/behind/a/prefix/v1/events/process");
    assert_eq!(api.gets()[0].path, post.path);
    for (name, value) in [
        ("x-requested-with", "leek-agent"),
        ("x-agent-version", env!("CARGO_PKG_VERSION")),
        ("x-leek-org-name", "mono"),
        ("x-leek-app-name", "shop"),
        ("x-leek-app-env", "qa"),
        ("x-leek-app-key", "not-for-the-log"),
        ("content-type", "application/json"),
    ] {
        assert_eq!(
            post.headers.get(name).map(String::as_str),
            Some(value),
            "{name}"
        );
    }
    let document = &post.documents[0];
    assert_eq!(
        (&document["id"], &document["app_env"]),
        (&json!(uuid(0)), &json!("qa"))
    );
    for secret in ["not-for-the-log", PASSWORD] {
        assert!(!agent.text().contains(secret), "a secret is in the log");
    }
}

#[test]
fn a_failover_list_is_tried_in_turn() {
    let (vhost, api, subscription) = parts("failover");
    let mut publisher = Publisher::open(&vhost.url());
    // Port 1 is nobody's.
    let brokers = format!("amqp://{USER}:{PASSWORD}@127.0.0.1:1/x;{}", vhost.url());
    let mut agent = start(&with(subscription, &json!({"broker": brokers})));
    publisher.send(0, 10);
    api.wait_ids(SOON, 10);
    agent.stop().assert_all_delivered(10);
}

#[test]
fn a_queue_that_was_declared_otherwise_is_used_as_it_is() {
    let (vhost, api, subscription) = parts("clash");
    let mut publisher = Publisher::connect(&vhost.url());
    let mut arguments = FieldTable::new();
    arguments.insert("x-max-length".to_owned(), AmqpValue::LongInt(100_000));
    let options = QueueDeclareOptions {
        durable: true,
        arguments,
        ..Default::default()
    };
    let channel = publisher.channel();
    channel.queue_declare(QUEUE, options).expect("the queue");
    let mut agent = start(&subscription);
    agent.wait_complaint(SOON, &["exist", "406", "precondition"]);
    wait_until(SOON, "the agent consumes", || vhost.consumers(QUEUE) == 1);
    publisher.send(0, 10);
    api.wait_ids(SOON, 10);
    agent.stop().assert_all_delivered(10);
}

#[test]
fn another_exchange_and_queue_can_be_named() {
    let (vhost, api, subscription) = parts("named");
    let names = json!({"exchange": "celeryev", "queue": "leek.other", "routing_key": "task.#"});
    let mut agent = start(&with(subscription, &names));
    wait_until(SOON, "the agent consumes", || {
        vhost.consumers("leek.other") == 1
    });
    let mut publisher = Publisher::connect(&vhost.url());
    publisher.send(0, 10);
    api.wait_ids(SOON, 10);
    agent.stop().assert_all_delivered(10);
    assert_eq!(EXCHANGE, "celeryev");
}

// ── When it acks ───────────────────────────────────────────────────────────────────────────────

#[test]
fn nothing_is_acked_before_it_is_stored() {
    let (vhost, api, subscription) = parts("acks");
    let mut publisher = Publisher::open(&vhost.url());
    api.always(Answer::unavailable());
    let mut agent = start(&subscription);
    publisher.send(0, 500);
    wait_until(SOON, "the API was asked", || api.post_count() >= 1);
    vhost.wait_depth(QUEUE, 0, 500);
    api.always(Answer::Stored);
    api.wait_ids(SOON, 500);
    vhost.wait_depth(QUEUE, 0, 0);
    agent.stop().assert_all_delivered(500);
    api.assert_exactly_once(0..500);
}

#[test]
fn prefetch_bounds_what_the_agent_holds() {
    let (vhost, api, subscription) = parts("prefetch");
    let mut publisher = Publisher::open(&vhost.url());
    publisher.send(0, 3_000);
    api.always(Answer::unavailable());
    let mut agent = start(&subscription);
    vhost.wait_depth(QUEUE, 2_000, 1_000);
    assert!(holds_for(Duration::from_secs(1), || vhost
        .depth(QUEUE)
        .unacked
        == 1_000));
    api.always(Answer::Stored);
    api.wait_ids(LONG, 3_000);
    agent.stop().assert_all_delivered(3_000);
    api.assert_exactly_once(0..3_000);
}

#[test]
fn a_batch_keeps_to_its_limits() {
    let (vhost, api, subscription) = parts("limits");
    let mut publisher = Publisher::open(&vhost.url());
    publisher.send(0, 2_000);
    let limits = json!({"batch_max_size_in_mb": 0.05, "batch_max_number_of_messages": 900});
    let mut agent = start(&with(subscription, &limits));
    api.wait_ids(LONG, 2_000);
    agent.stop().assert_all_delivered(2_000);
    let most = api.posts().iter().map(|post| post.bytes).max().unwrap_or(0) as f64;
    let limit = 0.05 * KIB * KIB;
    assert!(most <= limit, "a body of {most} bytes, {limit} allowed");
    assert!(
        most > limit / 2.0,
        "bodies of at most {most} bytes waste {limit}"
    );

    let (vhost, api, subscription) = parts("limits-count");
    let mut publisher = Publisher::open(&vhost.url());
    publisher.send(0, 1_000);
    let mut agent = start(&with(
        subscription,
        &json!({"batch_max_number_of_messages": 70}),
    ));
    api.wait_ids(LONG, 1_000);
    agent.stop().assert_all_delivered(1_000);
    let most = api.posts().iter().map(|post| post.documents.len()).max();
    assert_eq!(most, Some(70));
}

#[test]
fn uploads_run_side_by_side_up_to_the_pool_size() {
    let (vhost, api, subscription) = parts("pool");
    let api = std::sync::Arc::new(api);
    let watched = std::sync::Arc::downgrade(&api);
    // Each answer waits for company, so that three are open at once if three may be.
    api.answer(move |_| {
        let most = || watched.upgrade().map_or(3, |api| api.most_at_once());
        poll(Duration::from_secs(5), || (most() >= 3).then_some(()));
        Answer::Stored
    });
    let mut publisher = Publisher::open(&vhost.url());
    publisher.send(0, 1_000);
    let pool = json!({"concurrency_pool_size": 3, "batch_max_number_of_messages": 50});
    let mut agent = start(&with(subscription, &pool));
    api.wait_ids(LONG, 1_000);
    agent.stop().assert_all_delivered(1_000);
    assert_eq!(api.most_at_once(), 3);
    api.assert_exactly_once(0..1_000);
    vhost.wait_depth(QUEUE, 0, 0);
}

// ── Start and stop ─────────────────────────────────────────────────────────────────────────────

#[test]
fn drain_ends_with_everything_delivered() {
    let (vhost, api, subscription) = parts("drain");
    Publisher::open(&vhost.url()).send(0, 3_000);
    let mut agent = Setup::new(&[subscription])
        .args(&["run", "--drain"])
        .start();
    assert_eq!(agent.wait_exit(LONG), 0);
    agent.ledger("shop-qa").assert_all_delivered(3_000);
    api.assert_exactly_once(0..3_000);
    vhost.wait_depth(QUEUE, 0, 0);
}

#[test]
fn drain_of_an_empty_queue_ends_at_once() {
    let (_vhost, api, subscription) = parts("drain-empty");
    let (code, agent) = Setup::new(&[subscription]).args(&["run", "--drain"]).run();
    assert_eq!(code, 0);
    agent.ledger("shop-qa").assert_all_delivered(0);
    assert_eq!(api.post_count(), 0);
}

#[test]
fn drain_that_cannot_deliver_ends_at_its_deadline_with_75() {
    let (vhost, api, subscription) = parts("drain-down");
    Publisher::open(&vhost.url()).send(0, 100);
    api.always(Answer::unavailable());
    let setup = Setup::new(std::slice::from_ref(&subscription));
    let (code, agent) = setup.args(&["run", "--drain", "--for", "5s"]).run();
    assert_eq!(code, 75);
    assert_eq!(agent.ledger("shop-qa").delivered, 0);
    vhost.wait_depth(QUEUE, 100, 0);

    // The same where not even the health check is answered.
    api.health(Answer::Close);
    let setup = Setup::new(&[subscription]);
    let (code, _) = setup.args(&["run", "--drain", "--for", "3s"]).run();
    assert_eq!(code, 75);
    vhost.wait_depth(QUEUE, 100, 0);
}

#[test]
fn for_ends_by_itself() {
    let (vhost, api, subscription) = parts("for");
    Publisher::open(&vhost.url()).send(0, 10);
    let (code, agent) = Setup::new(&[subscription])
        .args(&["run", "--for", "3s"])
        .run();
    assert_eq!(code, 0);
    agent.ledger("shop-qa").assert_all_delivered(10);
    api.assert_exactly_once(0..10);
}

#[test]
fn a_held_lock_ends_the_second_agent_with_0() {
    let (_vhost, _api, subscription) = parts("lock");
    let folder = tempfile::tempdir().expect("a temporary folder");
    keep_folder(folder.path());
    let lock = folder.path().join("agent.lock").display().to_string();
    let setup = || Setup::new(std::slice::from_ref(&subscription));
    let mut first = setup().args(&["run", "--lock", &lock]).start();
    first.wait_started();
    let (code, second) = setup().args(&["run", "--lock", &lock]).run();
    assert_eq!(code, 0);
    let pid = first.pid().to_string();
    assert!(
        second.text().contains(&pid),
        "{pid} is not named: {}",
        second.text()
    );
    first.stop().assert_all_delivered(0);
    // A dead holder does not hold.
    let (code, third) = setup().args(&["run", "--for", "1s", "--lock", &lock]).run();
    assert_eq!(code, 0);
    third.ledger("shop-qa").assert_all_delivered(0);
}

#[test]
fn sigterm_flushes_what_waits_for_its_window() {
    let (vhost, api, subscription) = parts("sigterm");
    let mut publisher = Publisher::open(&vhost.url());
    let mut agent = start(&with(
        subscription,
        &json!({"batch_max_window_in_seconds": 20}),
    ));
    publisher.send(0, 5);
    vhost.wait_depth(QUEUE, 0, 5);
    assert_eq!(api.post_count(), 0);
    agent.stop().assert_all_delivered(5);
    api.assert_exactly_once(0..5);
    vhost.wait_depth(QUEUE, 0, 0);
}

#[test]
fn a_stop_gives_up_on_a_silent_api_and_a_second_sigterm_at_once() {
    let (vhost, api, subscription) = parts("silent");
    let mut publisher = Publisher::open(&vhost.url());
    api.always(Answer::Hang);
    let mut agent = start(&subscription);
    publisher.send(0, 5);
    wait_until(SOON, "an upload is under way", || api.post_count() == 1);
    agent.sigterm();
    // shutdown_timeout is 10 s.
    let code = agent.wait_exit(Duration::from_secs(15));
    assert_eq!(code, 75);
    assert_eq!(
        agent.ledger("shop-qa").pending + agent.ledger("shop-qa").returned,
        5
    );
    vhost.wait_depth(QUEUE, 5, 0);

    let mut agent = start(&with(
        support::agent::subscription(&vhost.url(), &api.url()),
        &json!({}),
    ));
    wait_until(SOON, "another is under way", || api.post_count() == 2);
    agent.sigterm();
    agent.wait_for_log(SOON, "that it stops", |entry| {
        entry["message"]
            .as_str()
            .is_some_and(|message| message.contains("stop"))
    });
    agent.sigterm();
    assert_eq!(agent.wait_exit(Duration::from_secs(3)), 75);
    vhost.wait_depth(QUEUE, 5, 0);
}

#[test]
fn strict_refuses_to_start_without_its_services() {
    let (vhost, api, subscription) = parts("strict");
    let strict = |subscription: Value, more: &[&str]| {
        let setup = Setup::new(&[subscription]).args(&["run", "--strict"]);
        setup.args(more).run().0
    };
    assert_eq!(strict(subscription.clone(), &["--for", "1s"]), 0);
    let wrong = shared().url_as(USER, "wrong", &vhost.name);
    let refused = with(subscription.clone(), &json!({"broker": wrong}));
    assert_eq!(strict(refused, &[]), 69);
    api.health(Answer::unavailable());
    assert_eq!(strict(subscription, &[]), 69);
}

#[test]
fn check_tests_everything_and_consumes_nothing() {
    let (vhost, api, subscription) = parts("check");
    Publisher::open(&vhost.url()).send(0, 3);
    let check = |subscription: Value, more: &[&str]| {
        let (code, agent) = Setup::new(&[subscription])
            .args(&["check"])
            .args(more)
            .run();
        let text = agent.text();
        assert!(
            !text.contains(PASSWORD) && !text.contains("not-for-the-log"),
            "{text}"
        );
        (code, text.to_lowercase())
    };
    let (code, text) = check(subscription.clone(), &[]);
    assert_eq!(code, 0, "{text}");
    let bad = [
        (
            shared().url_as(USER, "wrong", &vhost.name),
            ["refused", "credential", "password"],
        ),
        (
            shared().url_as(USER, PASSWORD, "nowhere"),
            ["vhost", "nowhere", "not allowed"],
        ),
        (
            format!("amqp://{USER}:{PASSWORD}@127.0.0.1:1/x"),
            ["refused", "connect", "reach"],
        ),
    ];
    for (broker, words) in bad {
        let (code, text) = check(with(subscription.clone(), &json!({"broker": broker})), &[]);
        assert_eq!(code, 69, "{text}");
        assert!(
            words.iter().any(|word| text.contains(word)),
            "none of {words:?}: {text}"
        );
    }
    let dead = with(
        subscription.clone(),
        &json!({"broker": "amqp://127.0.0.1:1//"}),
    );
    assert_eq!(check(dead, &["--offline"]).0, 0);
    for answer in [
        Answer::unavailable(),
        Answer::captive_portal(),
        Answer::Close,
    ] {
        api.health(answer);
        let (code, text) = check(subscription.clone(), &[]);
        assert_eq!(code, 69, "{text}");
        assert!(text.contains("api"), "{text}");
    }
    let faulty = with(
        subscription,
        &json!({"prefetch_count": 200, "app_env": "QA"}),
    );
    let (code, text) = check(faulty, &[]);
    assert_eq!(code, 78, "{text}");
    for fault in ["prefetch_count", "app_env"] {
        assert!(text.contains(fault), "{fault} is not named: {text}");
    }
    assert_eq!(api.post_count(), 0);
    assert_eq!(
        vhost.depth(QUEUE),
        Depth {
            ready: 3,
            unacked: 0
        }
    );
}
