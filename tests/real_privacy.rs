//! What must not leave the site does not, on a real RabbitMQ and with a real Celery worker: a
//! secret is planted wherever a task can carry one, and then every output is searched for it.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use support::agent::{Agent, SOON, Setup, subscription, with};
use support::api::{Answer, FakeApi};
use support::celery::Worker;
use support::publisher::{Publisher, event, uuid};
use support::rabbitmq::{Vhost, shared};
use support::redis::{Redis, envelope};
use support::wait::wait_until;

const SECRET: &str = "hunter2";
const MARK: &str = "[redacted]";
const LONG: Duration = Duration::from_secs(60);

/// A vhost and an API of their own, and a subscription that joins them, with `policy` in it.
fn parts(name: &str, policy: &Value) -> (Vhost<'static>, FakeApi, Value) {
    let vhost = shared().vhost(name);
    let api = FakeApi::start();
    let subscription = with(subscription(&vhost.url(), &api.url()), policy);
    (vhost, api, subscription)
}

/// Starts an agent that says all it can say.
fn start_talkative(subscription: &Value) -> Agent {
    let agent = Setup::new(std::slice::from_ref(subscription))
        .args(&["--log-level", "trace"])
        .start();
    agent.wait_started();
    agent
}

/// Fails if the secret is in anything that the agent gave away.
#[track_caller]
fn assert_kept(agent: &Agent, api: &FakeApi, title: &str) {
    for post in api.posts() {
        let documents = Value::from(post.documents).to_string();
        assert!(!documents.contains(SECRET), "posted: {documents}");
        let headers = format!("{:?} {}", post.headers, post.path);
        assert!(!headers.contains(SECRET), "posted: {headers}");
    }
    assert!(!agent.text().contains(SECRET), "logged");
    assert!(!title.contains(SECRET), "in the process title: {title}");
    for (path, text) in written(agent.folder()) {
        assert!(!text.contains(SECRET), "written to {}", path.display());
    }
}

/// Every file below a folder, with what is in it.
fn written(folder: &Path) -> Vec<(PathBuf, String)> {
    let entries = fs::read_dir(folder).expect("the folder is there");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let files = paths.map(|path| match path.is_dir() {
        true => written(&path),
        false => {
            let text = fs::read(&path).expect("a file");
            vec![(path, String::from_utf8_lossy(&text).into_owned())]
        }
    });
    files.flatten().collect()
}

fn process_title(agent: &Agent) -> String {
    let line = fs::read(format!("/proc/{}/cmdline", agent.pid())).expect("the agent runs");
    let name = fs::read(format!("/proc/{}/comm", agent.pid())).expect("the agent runs");
    String::from_utf8_lossy(&[line, name].concat()).into_owned()
}

/// An event numbered `number`, of another type and with other fields.
fn of_type(number: usize, event_type: &str, fields: &Value) -> Value {
    with(with(event(number), &json!({"type": event_type})), fields)
}

/// A secret wherever a task can carry one, and in every form that Celery gives it.
fn planted() -> Vec<Value> {
    let cut = format!(
        "{}…",
        &format!("{{'password': '{SECRET}', 'note': '{}'", "x".repeat(2000))[..1024]
    );
    let kwargs = [
        format!("{{'password': '{SECRET}', 'n': 1}}"),
        format!("{{'user': {{'name': 'ann', 'tokens': [{{'password': '{SECRET}'}}]}}}}"),
        format!("{{\"password\": \"{SECRET}\", \"deep\": {{\"password\": [\"{SECRET}\"]}}}}"),
        format!("{{'request': '{{\"password\": \"{SECRET}\"}}'}}"),
        format!("{{'password': '{SECRET}', ...}}"),
        format!("{{'user': <User password={SECRET}>}}"),
        cut,
    ];
    let with_kwargs = kwargs.iter().enumerate();
    let mut all: Vec<Value> = with_kwargs
        .map(|(number, kwargs)| {
            let args = format!("('{SECRET}', 2)");
            of_type(
                number,
                "task-received",
                &json!({"kwargs": kwargs, "args": args}),
            )
        })
        .collect();
    let message = format!("first line\n{SECRET}: second line");
    all.push(of_type(
        7,
        "task-failed",
        &json!({
            "exception": format!("Declined({message:?})"),
            "traceback": format!(
                "Traceback (most recent call last):\n  File \"pay.py\", line 1, in pay\n    \
                 charge('{SECRET}')\nKeyError: '{SECRET}'\n\nDuring handling of the above \
                 exception, another exception occurred:\n\nTraceback (most recent call last):\n\
                 shop.Declined: {message}"
            ),
        }),
    ));
    all.push(of_type(
        8,
        "task-retried",
        &json!({
            "exception": format!("Declined('{SECRET}')"),
            "traceback": format!("celery.exceptions.Retry: Retry in 3s: Declined('{SECRET}')"),
        }),
    ));
    all.push(of_type(
        9,
        "task-succeeded",
        &json!({"result": format!("'{SECRET}'")}),
    ));
    all
}

/// Events that are invalid, each with the secret where its reason could quote it.
fn invalid() -> Vec<Value> {
    vec![
        of_type(20, "task-received", &json!({"args": [SECRET]})),
        of_type(
            21,
            "task-received",
            &json!({"kwargs": {"password": SECRET}}),
        ),
        of_type(
            22,
            "task-failed",
            &json!({"exception": {"message": SECRET}}),
        ),
        json!(SECRET),
        json!([{"password": SECRET}]),
    ]
}

#[test]
fn a_redacted_secret_is_in_no_output() {
    let fields = [
        "args",
        "kwargs.password",
        "result",
        "exception",
        "traceback",
    ];
    let (vhost, api, subscription) = parts("redacted", &json!({ "redact": fields }));
    let mut publisher = Publisher::open(&vhost.url());
    let (planted, invalid) = (planted(), invalid());
    planted.iter().for_each(|event| publisher.event(event));
    publisher.list(&invalid);
    publisher.list(&planted);
    publisher.confirm();
    let mut agent = start_talkative(&subscription);
    api.wait_ids(SOON, planted.len());
    let title = process_title(&agent);
    let ledger = agent.stop();
    let counts = (ledger.delivered, ledger.invalid);
    assert_eq!(counts, (2 * planted.len() as u64, 5), "{ledger:?}");
    assert_kept(&agent, &api, &title);

    let stored = api.stored();
    let document = |number: usize| {
        let id = uuid(number);
        let found = stored.iter().find(|document| document["id"] == id.as_str());
        found.expect("every event became a document")
    };
    assert_eq!(document(0)["args"], MARK);
    assert_eq!(document(0)["args_0"], Value::Null);
    assert_eq!(
        document(0)["kwargs_flattened"],
        json!({"password": MARK, "n": 1})
    );
    assert_eq!(document(1)["kwargs_flattened"]["user.name"], "ann");
    assert_eq!(document(3)["kwargs_flattened"], json!({"request": MARK}));
    assert_eq!(document(6)["kwargs"], MARK);
    assert_eq!(document(8)["error"]["type"], "celery.exceptions.Retry");
    assert_eq!(document(9)["result"], MARK);

    let (code, checked) = Setup::new(&[subscription])
        .args(&["check", "--log-level", "trace"])
        .run();
    assert_eq!(code, 0, "{}", checked.text());
    assert_kept(&checked, &api, "");
}

/// The planted events under `policy`, all of them refused and kept in the quarantine file.
fn all_refused(name: &str, policy: &Value) -> (Agent, FakeApi) {
    let (vhost, api, subscription) = parts(name, policy);
    let mut publisher = Publisher::open(&vhost.url());
    let planted = planted();
    api.always(Answer::Partial((0..planted.len()).map(uuid).collect()));
    publisher.list(&planted);
    publisher.confirm();
    let mut agent = start_talkative(&subscription);
    wait_until(SOON, "all are kept", || {
        agent.quarantined().len() == planted.len()
    });
    let ledger = agent.stop();
    assert_eq!(ledger.quarantined, planted.len() as u64, "{ledger:?}");
    (agent, api)
}

#[test]
fn what_is_redacted_is_in_no_quarantine_file() {
    let fields = ["args", "kwargs", "result", "exception", "traceback"];
    let (agent, api) = all_refused("refused-redacted", &json!({ "redact": fields }));
    assert_kept(&agent, &api, "");
    let (agent, _) = all_refused("refused-shown", &json!({}));
    for line in agent.quarantined() {
        assert!(line.to_string().contains(SECRET), "{line}");
    }
}

/// The same events without `redact` do show it: the test above looks in the right places.
#[test]
fn the_search_finds_what_is_not_redacted() {
    let (vhost, api, subscription) = parts("shown", &json!({}));
    let mut publisher = Publisher::open(&vhost.url());
    let planted = planted();
    publisher.list(&planted);
    publisher.list(&invalid());
    publisher.confirm();
    let mut agent = start_talkative(&subscription);
    api.wait_ids(SOON, planted.len());
    agent.stop();
    for document in api.stored() {
        assert!(document.to_string().contains(SECRET), "{document}");
    }
    assert!(
        agent.text().contains(SECRET),
        "reasons quote what they found"
    );
}

/// What a spool has on disk during an outage of the API.
fn spooled_with(policy: &Value) -> String {
    let redis = Redis::start();
    let api = FakeApi::start();
    api.always(Answer::unavailable());
    let spool = json!({"spool": {"dir": "spool"}, "batch_max_window_in_seconds": 0.1});
    let subscription = with(subscription(&redis.url(), &api.url()), &spool);
    let agent = start_talkative(&with(subscription, policy));
    let planted = planted();
    let mut publisher = redis.publisher("/0.celeryev");
    for event in &planted {
        publisher.payload(&envelope(event));
    }
    let folder = agent.folder().join("spool");
    let on_disk = || {
        let files = fs::read_dir(&folder).expect("the spool is open");
        let texts = files.map(|file| fs::read(file.expect("an entry").path()).expect("readable"));
        texts
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .collect::<String>()
    };
    wait_until(SOON, "every document is on disk", || {
        let text = on_disk();
        (0..planted.len()).all(|number| text.contains(&uuid(number)))
    });
    assert!(!agent.text().contains(SECRET), "logged");
    on_disk()
}

#[test]
fn a_redacted_secret_is_not_spooled() {
    let fields = json!(["args", "kwargs", "result", "exception", "traceback"]);
    let redacted = spooled_with(&json!({ "redact": fields }));
    assert!(redacted.contains(MARK) && !redacted.contains(SECRET));
    assert!(
        spooled_with(&json!({})).contains(SECRET),
        "the search finds it"
    );
}

#[test]
fn only_kept_events_are_posted() {
    let policy = json!({"keep_events": ["task-failed", "task-succeeded"]});
    let (vhost, api, subscription) = parts("kept-events", &policy);
    let mut publisher = Publisher::open(&vhost.url());
    let types = [
        "task-received",
        "task-started",
        "task-succeeded",
        "task-failed",
    ];
    for (number, event_type) in types.into_iter().enumerate() {
        publisher.event(&of_type(number, event_type, &json!({})));
    }
    publisher.confirm();
    let mut agent = start_talkative(&subscription);
    api.wait_ids(SOON, 2);
    let ledger = agent.stop();
    assert_eq!((ledger.delivered, ledger.filtered), (2, 2), "{ledger:?}");
    api.assert_exactly_once(2..4);
}

// ── A real worker, whose later events carry no name ────────────────────────────────────────────

/// Runs one task of each kind under `policy`; gives their ids and what was posted of each.
fn run_worker(name: &str, policy: &Value) -> [Vec<Value>; 3] {
    let (vhost, api, subscription) = parts(name, policy);
    let publisher = Publisher::open(&vhost.url());
    let mut worker = Worker::start(&vhost.url());
    let ids = [
        worker.send("shop.orders.add", "[2, 3]", "{}"),
        worker.send("shop.stock.reserve", r#"["lamp"]"#, r#"{"quantity": 2}"#),
        worker.send("shop.payments.charge", r#"["hunter2", 12.5]"#, "{}"),
    ];
    wait_until(LONG, "every task came to its end", || {
        let log = worker.log();
        let ended =
            |line: &&str| line.contains("succeeded in") || line.contains("raised unexpected");
        ids.iter()
            .all(|id| log.lines().filter(ended).any(|line| line.contains(id)))
    });
    worker.stop();
    drop(publisher);
    let (code, agent) = Setup::new(&[subscription])
        .args(&["run", "--drain", "--log-level", "trace"])
        .run();
    assert_eq!(code, 0);
    let ledger = agent.ledger("shop-qa");
    assert!(ledger.filtered > 0 && ledger.delivered > 0, "{ledger:?}");
    assert_eq!(
        ledger.received,
        ledger.delivered + ledger.filtered,
        "{ledger:?}"
    );
    // The charge carries the secret in its arguments, its exception and its traceback.
    assert_kept(&agent, &api, "");
    let stored = api.stored();
    let workers: BTreeSet<&str> = stored
        .iter()
        .filter(|document| document["kind"] == "worker")
        .filter_map(|document| document["id"].as_str())
        .collect();
    assert_eq!(workers, BTreeSet::from(["w1@gateway"]));
    ids.map(|id| {
        let of_task = stored
            .iter()
            .filter(|document| document["id"] == id.as_str());
        of_task.cloned().collect()
    })
}

fn events(documents: &[Value]) -> u64 {
    documents
        .iter()
        .filter_map(|document| document["events_count"].as_u64())
        .sum()
}

#[test]
fn an_excluded_task_never_arrives_and_others_are_whole() {
    let [add, reserve, charge] = run_worker("excluded", &json!({"exclude": ["*.payments.*"]}));
    assert_eq!((events(&add), events(&reserve)), (4, 8));
    assert_eq!(add[0]["result"], "5");
    assert!(charge.is_empty(), "{charge:?}");
}

#[test]
fn only_included_tasks_arrive_and_they_are_whole() {
    let policy = json!({"include": ["shop.[os]*"], "exclude": ["shop.stock.*"]});
    let [add, reserve, charge] = run_worker("included", &policy);
    assert_eq!(events(&add), 4);
    assert!(
        reserve.is_empty() && charge.is_empty(),
        "{reserve:?} {charge:?}"
    );
}

#[test]
fn a_restarted_agent_lets_no_value_of_an_unknown_task_go() {
    let (vhost, api, subscription) = parts("restarted", &json!({"exclude": ["pay.*"]}));
    let mut publisher = Publisher::open(&vhost.url());
    let mut late = of_type(0, "task-succeeded", &json!({"result": SECRET}));
    for named in ["name", "args", "kwargs"] {
        late.as_object_mut().expect("an object").remove(named);
    }
    publisher.event(&late);
    publisher.confirm();
    let mut agent = start_talkative(&subscription);
    api.wait_ids(SOON, 1);
    let title = process_title(&agent);
    agent.stop().assert_all_delivered(1);
    assert_eq!(api.stored()[0]["result"], MARK);
    assert_kept(&agent, &api, &title);
}
