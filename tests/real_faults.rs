//! The agent on a real RabbitMQ while something breaks: the agent itself, the API, the broker, the
//! network's manners, the configuration. Nothing that the broker keeps may be lost.

mod support;

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use serde_json::{Value, json};
use support::agent::{SOON, Setup, start, subscription, with};
use support::api::{Answer, FakeApi};
use support::keeper::lock;
use support::publisher::{Publisher, QUEUE};
use support::rabbitmq::{Depth, PASSWORD, Rabbit, USER, Vhost, shared};
use support::wait::{holds_for, wait_until};

/// For thousands of events, a broker's restart, or several steps of backoff.
const LONG: Duration = Duration::from_secs(90);

/// A node that its tests, one at a time, may kill and stop.
fn victim() -> MutexGuard<'static, Rabbit> {
    static VICTIM: OnceLock<Mutex<Rabbit>> = OnceLock::new();
    let rabbit = lock(VICTIM.get_or_init(|| Mutex::new(Rabbit::start())));
    rabbit.heal();
    rabbit
}

fn parts_on<'a>(rabbit: &'a Rabbit, name: &str) -> (Vhost<'a>, FakeApi, Value) {
    let vhost = rabbit.vhost(name);
    let api = FakeApi::start();
    let subscription = subscription(&vhost.url(), &api.url());
    (vhost, api, subscription)
}

fn parts(name: &str) -> (Vhost<'static>, FakeApi, Value) {
    parts_on(shared(), name)
}

// ── The agent dies ─────────────────────────────────────────────────────────────────────────────

#[test]
fn a_killed_agent_loses_nothing() {
    let (vhost, api, subscription) = parts("killed");
    let subscription = with(subscription, &json!({"batch_max_number_of_messages": 200}));
    let mut publisher = Publisher::open(&vhost.url());
    let mut agent = start(&subscription);
    publisher.send(0, 10_000);
    api.wait_ids(LONG, 1_000);
    agent.kill9();
    let mut agent = start(&subscription);
    api.wait_ids(LONG, 10_000);
    let ledger = agent.stop();
    assert_eq!(ledger.received, ledger.delivered, "{ledger:?}");
    api.assert_nothing_missing(0..10_000);
    vhost.wait_depth(QUEUE, 0, 0);
}

#[test]
fn an_agent_takes_over_from_a_killed_one() {
    let (vhost, api, subscription) = parts("shared-queue");
    let subscription = with(subscription, &json!({"batch_max_number_of_messages": 200}));
    let mut publisher = Publisher::open(&vhost.url());
    let mut killed = start(&subscription);
    let mut survivor = start(&subscription);
    wait_until(SOON, "both consume", || vhost.consumers(QUEUE) == 2);
    publisher.send(0, 5_000);
    api.wait_ids(LONG, 500);
    killed.kill9();
    publisher.send(5_000, 5_000);
    api.wait_ids(LONG, 10_000);
    let ledger = survivor.stop();
    assert_eq!(ledger.received, ledger.delivered, "{ledger:?}");
    api.assert_nothing_missing(0..10_000);
    vhost.wait_depth(QUEUE, 0, 0);
}

// ── The API is not well ────────────────────────────────────────────────────────────────────────

/// `count` events reach an API that gives `answer` to its first `times` POSTs, each exactly once.
#[track_caller]
fn survives(name: &str, answer: &Answer, times: usize) -> FakeApi {
    let (vhost, api, subscription) = parts(name);
    let mut publisher = Publisher::open(&vhost.url());
    let first = answer.clone();
    api.answer(move |request| {
        if request.number < times {
            first.clone()
        } else {
            Answer::Stored
        }
    });
    let mut agent = start(&subscription);
    publisher.send(0, 1_000);
    api.wait_ids(LONG, 1_000);
    agent.stop().assert_all_delivered(1_000);
    api.assert_exactly_once(0..1_000);
    vhost.wait_depth(QUEUE, 0, 0);
    api
}

#[test]
fn an_unavailable_api_is_tried_again() {
    let api = survives("unavailable", &Answer::unavailable(), 3);
    assert!(api.post_count() >= 4);
}

#[test]
fn an_api_that_breaks_off_is_tried_again() {
    survives("cut", &Answer::Cut, 2);
    survives("close", &Answer::Close, 2);
}

#[test]
fn a_captive_portal_is_not_the_api() {
    survives("portal-302", &Answer::captive_portal(), 2);
    survives("portal-200", &Answer::html(200, "<h1>Welcome</h1>"), 2);
}

/// Every other batch meets one of the answers that mean "not now".
#[test]
fn an_api_that_is_not_well_is_tried_again_whatever_its_words() {
    let (vhost, api, subscription) = parts("not-well");
    let statuses = [408, 425, 429, 500, 502, 503, 504, 599];
    api.answer(move |request| match statuses.get(request.number / 2) {
        Some(status) if request.number % 2 == 1 => Answer::html(*status, "<h1>Not now</h1>"),
        _ => Answer::Stored,
    });
    let changes = json!({"batch_max_number_of_messages": 50});
    let mut publisher = Publisher::open(&vhost.url());
    publisher.send(0, 1_000);
    let mut agent = start(&with(subscription, &changes));
    api.wait_ids(LONG, 1_000);
    assert!(
        api.post_count() > 2 * statuses.len(),
        "each answer was given"
    );
    agent.wait_for_log(SOON, "a warning", |entry| {
        let reason = entry["reason"].as_str().unwrap_or("");
        entry["level"] == "warn" && reason.starts_with("408: ")
    });
    agent.stop().assert_all_delivered(1_000);
    api.assert_exactly_once(0..1_000);
    vhost.wait_depth(QUEUE, 0, 0);
}

#[test]
fn a_captive_portal_in_the_health_check_s_place_is_not_the_api() {
    let (vhost, api, subscription) = parts("portal-health");
    let mut publisher = Publisher::open(&vhost.url());
    publisher.send(0, 100);
    for portal in [
        Answer::html(200, "<h1>Welcome</h1>"),
        Answer::captive_portal(),
    ] {
        api.health(portal);
        let mut agent = Setup::new(std::slice::from_ref(&subscription)).start();
        agent.wait_complaint(SOON, &["captive portal"]);
        vhost.wait_depth(QUEUE, 100, 0);
        agent.stop();
        assert_eq!(api.post_count(), 0);
    }
    api.health(Answer::Status(200, json!({})));
    let mut agent = start(&subscription);
    api.wait_ids(SOON, 100);
    agent.stop().assert_all_delivered(100);
}

#[test]
fn retry_after_is_honoured() {
    let api = survives("retry-after", &Answer::slow_down(3), 1);
    let posts = api.posts();
    let waited = posts[1].at - posts[0].at;
    assert!(
        waited >= Duration::from_secs(3),
        "tried again after {waited:?}"
    );
}

#[test]
fn an_unhealthy_api_leaves_the_events_to_the_broker() {
    let (vhost, api, subscription) = parts("unhealthy");
    let mut publisher = Publisher::open(&vhost.url());
    publisher.send(0, 100);
    api.health(Answer::unavailable());
    let mut agent = Setup::new(&[subscription]).start();
    agent.wait_complaint(SOON, &["503", "api"]);
    assert!(holds_for(Duration::from_secs(2), || vhost.consumers(QUEUE) == 0));
    assert_eq!(
        vhost.depth(QUEUE),
        Depth {
            ready: 100,
            unacked: 0
        }
    );
    api.health(Answer::Status(200, json!({})));
    api.wait_ids(LONG, 100);
    agent.stop().assert_all_delivered(100);
    api.assert_exactly_once(0..100);
}

#[test]
fn a_wrong_key_holds_everything_until_it_is_mended() {
    let (vhost, api, subscription) = parts("wrong-key");
    let mut publisher = Publisher::open(&vhost.url());
    api.always(Answer::wrong_key());
    let mut agent = start(&subscription);
    publisher.send(0, 200);
    let said = agent.wait_complaint(SOON, &["key", "401"]);
    assert_eq!(
        said["level"].as_str().map(str::to_lowercase).as_deref(),
        Some("error"),
        "{said}"
    );
    vhost.wait_depth(QUEUE, 0, 200);
    api.always(Answer::Stored);
    // The backoff's slow end is 60 s.
    api.wait_ids(LONG, 200);
    agent.stop().assert_all_delivered(200);
    api.assert_exactly_once(0..200);
}

/// What only a person can mend, each at a subscription of its own, since the slow end of the backoff
/// is 60 s.
#[test]
fn a_wrong_application_or_address_holds_everything_until_it_is_mended() {
    let code = |status, code: &str, message: &str| {
        let error = json!({"code": code, "message": message, "reason": message});
        Answer::Status(status, json!({ "error": error }))
    };
    let cases = [
        (
            "forbidden",
            Answer::html(403, "<h1>403</h1>"),
            "access refused: check app_key",
        ),
        (
            "unknown",
            code(404, "404001", "No such app"),
            "the application does not exist",
        ),
        (
            "elsewhere",
            Answer::html(404, "<h1>404</h1>"),
            "check the path prefix in api_url",
        ),
        (
            "headerless",
            code(400, "400001", "Missing headers"),
            "strips those that begin with x-leek-",
        ),
    ];
    let parts = cases.map(|(name, answer, mend)| {
        let (vhost, api, subscription) = parts(name);
        api.always(answer);
        Publisher::open(&vhost.url()).send(0, 50);
        let subscription = with(subscription, &json!({"app_name": name}));
        (vhost, api, subscription, mend, format!("{name}-qa"))
    });
    let subscriptions: Vec<Value> = parts.iter().map(|part| part.2.clone()).collect();
    let mut agent = Setup::new(&subscriptions).start();
    for (vhost, _, _, mend, name) in &parts {
        agent.wait_for_log(SOON, mend, |entry| {
            let reason = entry["reason"].as_str().unwrap_or("");
            entry["level"] == "error" && entry["subscription"] == **name && reason.contains(mend)
        });
        vhost.wait_depth(QUEUE, 0, 50);
    }
    for (_, api, ..) in &parts {
        api.always(Answer::Stored);
    }
    for (vhost, api, ..) in &parts {
        api.wait_ids(LONG, 50);
        vhost.wait_depth(QUEUE, 0, 0);
    }
    agent.sigterm();
    assert_eq!(agent.wait_exit(SOON), 0);
    for (_, api, _, _, name) in &parts {
        agent.ledger(name).assert_all_delivered(50);
        api.assert_exactly_once(0..50);
    }
}

// ── The broker fails ───────────────────────────────────────────────────────────────────────────

#[test]
fn a_killed_broker_is_found_again() {
    let rabbit = victim();
    let (vhost, api, subscription) = parts_on(&rabbit, "broker-killed");
    Publisher::open(&vhost.url()).send(0, 5_000);
    // Held back, so that the broker dies with messages unacked and uploads under way.
    api.answer(|request| match request.number {
        0..=2 => Answer::Stored,
        3..=4 => Answer::unavailable(),
        _ => Answer::Stored,
    });
    let changes = json!({"batch_max_number_of_messages": 200});
    let mut agent = start(&with(subscription, &changes));
    api.wait_ids(LONG, 600);
    rabbit.kill9();
    agent.wait_complaint(SOON, &["broker", "connection", "disconnect"]);
    rabbit.start_node();
    api.wait_ids(LONG, 5_000);
    vhost.wait_depth(QUEUE, 0, 0);
    agent.stop();
    api.assert_nothing_missing(0..5_000);
}

#[test]
fn a_frozen_broker_neither_loses_events_nor_blocks_a_stop() {
    let rabbit = victim();
    let (vhost, api, subscription) = parts_on(&rabbit, "broker-frozen");
    let mut publisher = Publisher::open(&vhost.url());
    let mut agent = start(&subscription);
    publisher.send(0, 500);
    api.wait_ids(SOON, 500);
    rabbit.sigstop();
    assert!(holds_for(Duration::from_secs(3), || api.ids() == 500));
    rabbit.sigcont();
    publisher.send(500, 500);
    api.wait_ids(SOON, 1_000);
    vhost.wait_depth(QUEUE, 0, 0);
    rabbit.sigstop();
    agent.sigterm();
    // All is delivered; the goodbye to a broker that does not answer has its bound
    // (shutdown_timeout, 10 s).
    let code = agent.wait_exit(Duration::from_secs(15));
    rabbit.sigcont();
    assert_eq!(code, 0);
    agent.ledger("shop-qa").assert_all_delivered(1_000);
    api.assert_exactly_once(0..1_000);
}

#[test]
fn a_broker_that_is_down_at_start_is_awaited() {
    let rabbit = victim();
    let (vhost, api, subscription) = parts_on(&rabbit, "broker-late");
    Publisher::open(&vhost.url()).send(0, 100);
    rabbit.kill9();
    // The other subscription's broker is well and must not wait for this one.
    let (other, other_api, unharmed) = parts("beside-late");
    let unharmed = with(unharmed, &json!({"app_name": "other"}));
    let mut agent = Setup::new(&[subscription, unharmed]).start();
    Publisher::open(&other.url()).send(0, 100);
    other_api.wait_ids(SOON, 100);
    agent.wait_complaint(SOON, &["broker", "connect"]);
    rabbit.start_node();
    api.wait_ids(LONG, 100);
    agent.stop().assert_all_delivered(100);
    agent.ledger("other-qa").assert_all_delivered(100);
}

#[test]
fn a_deleted_queue_is_declared_again() {
    let (vhost, api, subscription) = parts("deleted");
    let mut publisher = Publisher::open(&vhost.url());
    let mut agent = start(&subscription);
    publisher.send(0, 100);
    api.wait_ids(SOON, 100);
    vhost.wait_depth(QUEUE, 0, 0);
    vhost.delete_queue(QUEUE);
    wait_until(SOON, "the agent consumes again", || {
        vhost.consumers(QUEUE) == 1
    });
    publisher.send(100, 100);
    api.wait_ids(SOON, 200);
    agent.stop().assert_all_delivered(200);
    api.assert_exactly_once(0..200);
}

#[test]
fn acks_that_a_dead_connection_owes_are_not_given_to_the_next() {
    let (vhost, api, subscription) = parts("epochs");
    let mut publisher = Publisher::open(&vhost.url());
    api.always(Answer::unavailable());
    let mut agent = start(&subscription);
    publisher.send(0, 300);
    wait_until(SOON, "an upload failed", || api.post_count() >= 1);
    vhost.wait_depth(QUEUE, 0, 300);
    // The broker closes the connection by force; what was unacked comes again on the next.
    vhost.close_agents();
    agent.wait_complaint(SOON, &["closed", "connection", "320"]);
    api.always(Answer::Stored);
    api.wait_ids(LONG, 300);
    vhost.wait_depth(QUEUE, 0, 0);
    agent.stop();
    api.assert_nothing_missing(0..300);
}

// ── The configuration is wrong ─────────────────────────────────────────────────────────────────

#[test]
fn wrong_credentials_are_told_retried_and_harm_no_other_subscription() {
    let (vhost, api, unharmed) = parts("beside");
    let late = |app: &str, broker: String| {
        with(
            subscription(&broker, &api.url()),
            &json!({"app_name": app, "broker": broker}),
        )
    };
    let subscriptions = [
        late(
            "password",
            shared().url_as("newcomer", "hunter2-secret", &vhost.name),
        ),
        late("vhost", shared().url_as(USER, PASSWORD, "built-later")),
        unharmed,
    ];
    let mut agent = Setup::new(&subscriptions).start();
    agent.wait_started();
    for (name, words) in [
        (
            "password-qa",
            ["credential", "password", "access", "refused"],
        ),
        ("vhost-qa", ["vhost", "530", "not allowed", "not found"]),
    ] {
        let what = format!("why {name} is down: one of {words:?}");
        agent.wait_for_log(SOON, &what, |entry| {
            entry["subscription"] == name && support::agent::is_complaint(entry, &words)
        });
    }
    let mut publisher = Publisher::open(&vhost.url());
    publisher.send(0, 100);
    api.wait_ids(SOON, 100);
    assert!(
        !agent.text().contains("hunter2-secret"),
        "a password is in the log"
    );

    // What was wrong is mended on the broker's side, and found without a restart.
    let built = shared().vhost("built-later");
    shared().ctl(&["add_user", "newcomer", "hunter2-secret"]);
    let all = ["newcomer", ".*", ".*", ".*"];
    shared().ctl(&[&["set_permissions", "-p", &vhost.name], &all[..]].concat());
    wait_until(LONG, "the new vhost is consumed", || {
        built.consumers(QUEUE) == 1
    });
    wait_until(LONG, "the new user consumes", || {
        vhost.consumers(QUEUE) == 2
    });
    Publisher::open(&built.url()).send(100, 100);
    api.wait_ids(SOON, 200);
    agent.stop();
    let names: BTreeSet<&str> = BTreeSet::from(["password-qa", "vhost-qa"]);
    let delivered: u64 = names.iter().map(|name| agent.ledger(name).delivered).sum();
    assert_eq!(delivered + agent.ledger("shop-qa").delivered, 200);
    api.assert_exactly_once(0..200);
}
