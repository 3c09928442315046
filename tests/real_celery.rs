//! Events of a real Celery worker, from task-sent to the end of each kind of task.

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use support::agent::{SOON, Setup, start, subscription, with};
use support::api::FakeApi;
use support::celery::{Line, Worker};
use support::publisher::Publisher;
use support::rabbitmq::shared;
use support::redis::Redis;
use support::wait::wait_until;

const LONG: Duration = Duration::from_secs(60);

/// One task of each kind; gives their ids.
fn run_tasks(worker: &Worker) -> [String; 3] {
    let ids = [
        worker.send("shop.orders.add", "[2, 3]", "{}"),
        worker.send("shop.stock.reserve", r#"["lamp"]"#, r#"{"quantity": 2}"#),
        worker.send("shop.payments.charge", r#"["c-7", 12.5]"#, "{}"),
    ];
    let done = |id: &String, ends: &[&str]| {
        let log = worker.log();
        let mut lines = log.lines().filter(|line| line.contains(id.as_str()));
        lines.any(|line| ends.iter().any(|end| line.contains(end)))
    };
    wait_until(LONG, "every task came to its end", || {
        ids.iter()
            .all(|id| done(id, &["succeeded in", "raised unexpected"]))
    });
    ids
}

/// The events of a task. They are sent from two processes, and the worker's in bundles, so that
/// they overtake each other: told apart by what they are, not by their order.
fn events_of(document: &Value) -> Vec<&str> {
    let events = document["events"].as_array().expect("a list of events");
    sorted(events.iter().filter_map(Value::as_str))
}

fn sorted<'a>(words: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let mut words: Vec<&str> = words.into_iter().collect();
    words.sort_unstable();
    words
}

#[test]
fn a_task_becomes_one_document_with_its_whole_history() {
    let vhost = shared().vhost("one-document");
    let api = FakeApi::start();
    // The queue is there before the worker, and the agent after it: all events in one batch.
    let publisher = Publisher::open(&vhost.url());
    let mut worker = Worker::start(&vhost.url());
    let [added, reserved, charged] = run_tasks(&worker);
    worker.stop();
    drop(publisher);
    let subscription = subscription(&vhost.url(), &api.url());
    let (code, agent) = Setup::new(&[subscription]).args(&["run", "--drain"]).run();
    assert_eq!(code, 0);
    let ledger = agent.ledger("shop-qa");
    assert_eq!(ledger.received, ledger.delivered, "{ledger:?}");

    let stored = api.stored();
    let mut documents = BTreeMap::new();
    for document in &stored {
        let id = document["id"].as_str().expect("an id");
        assert!(
            documents.insert(id, document).is_none(),
            "two documents of {id}"
        );
    }
    let add = documents[added.as_str()];
    let whole = ["QUEUED", "RECEIVED", "STARTED", "SUCCEEDED"];
    assert_eq!(events_of(add), sorted(whole));
    assert_eq!(
        (&add["state"], &add["result"]),
        (&json!("SUCCEEDED"), &json!("5"))
    );
    assert_eq!(
        (&add["args_0"], &add["name"]),
        (&json!("2"), &json!("shop.orders.add"))
    );
    assert!(add["runtime"].is_number(), "{add}");

    let charge = documents[charged.as_str()];
    let failed = ["QUEUED", "RECEIVED", "STARTED", "FAILED"];
    assert_eq!(events_of(charge), sorted(failed));
    assert_eq!(charge["error"]["type"], "ValueError", "{charge}");
    let message = "card of c-7 refused: 12.5";
    assert_eq!(charge["error"]["message"], message, "{charge}");

    let reserve = documents[reserved.as_str()];
    let first = ["QUEUED", "RECEIVED", "STARTED", "RETRY"];
    assert_eq!(events_of(reserve), sorted(first.into_iter().chain(whole)));
    assert_eq!(reserve["state"], "RECOVERED", "{reserve}");
    assert_eq!(reserve["kwargs_flattened"]["quantity"], 2, "{reserve}");

    let worker = documents["w1@gateway"];
    assert_eq!(
        (&worker["kind"], &worker["state"]),
        (&json!("worker"), &json!("OFFLINE"))
    );
}

#[test]
fn a_live_worker_is_followed() {
    let vhost = shared().vhost("live");
    follows(Line::Newest, &vhost.url());
}

#[test]
fn a_live_worker_is_followed_over_redis() {
    let redis = Redis::start();
    follows(Line::Newest, &format!("{}/0", redis.url()));
}

#[test]
fn a_live_worker_of_2022_is_followed_over_redis() {
    let redis = Redis::start();
    follows(Line::FiveTwo, &format!("{}/3", redis.url()));
}

/// Every event of every task of a worker on that broker is stored once.
#[track_caller]
fn follows(line: Line, broker: &str) {
    let api = FakeApi::start();
    let subscription = subscription(broker, &api.url());
    let mut agent = start(&with(
        subscription,
        &json!({"batch_max_window_in_seconds": 0.2}),
    ));
    let mut worker = Worker::start_line(line, broker);
    let [added, reserved, charged] = run_tasks(&worker);
    worker.stop();
    // However the batches fell, no event is missing and none came twice.
    let count = |id: &String| api.events_by_id().get(id).copied().unwrap_or(0);
    let counts = || (count(&added), count(&reserved), count(&charged));
    wait_until(SOON, "all events of all tasks", || counts() == (4, 8, 4));
    let ledger = agent.stop();
    assert_eq!(ledger.received, ledger.delivered, "{ledger:?}");
    assert_eq!(counts(), (4, 8, 4));
}
