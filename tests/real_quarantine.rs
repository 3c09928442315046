//! What the API refuses, on a real RabbitMQ and a real Redis: how it is found among what is stored,
//! what is kept of it, what a disk that fails does to delivery, and the way back to the API.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use support::agent::{Agent, QUARANTINE, SOON, Setup, start, subscription, with};
use support::api::{Answer, FakeApi};
use support::disk::{HangingFlush, can_mount, quarantine_lines, seen_by};
use support::keeper::keep_folder;
use support::publisher::{Publisher, QUEUE, uuid};
use support::rabbitmq::{Vhost, shared};
use support::redis::Redis;
use support::wait::{poll, wait_until};

/// For thousands of events, or for the time that an agent waits for a disk.
const LONG: Duration = Duration::from_secs(90);

fn parts(name: &str) -> (Vhost<'static>, FakeApi, Value) {
    let vhost = shared().vhost(name);
    let api = FakeApi::start();
    let subscription = subscription(&vhost.url(), &api.url());
    (vhost, api, subscription)
}

/// The API names these events as refused, whenever they come.
fn refuse(api: &FakeApi, numbers: impl IntoIterator<Item = usize>) {
    api.always(Answer::Partial(numbers.into_iter().map(uuid).collect()));
}

fn ids(lines: &[Value]) -> BTreeSet<String> {
    let ids = lines.iter().map(|line| line["document"]["id"].as_str());
    ids.map(|id| id.expect("an id").to_owned()).collect()
}

fn uuids(numbers: impl IntoIterator<Item = usize>) -> BTreeSet<String> {
    numbers.into_iter().map(uuid).collect()
}

/// The quarantine file has exactly the events numbered `numbers`, as they would have been posted.
#[track_caller]
fn assert_quarantined(agent: &Agent, numbers: &[usize], reason: &str, answer: &str) {
    let lines = agent.quarantined();
    let ids = lines.iter().map(|line| line["document"]["id"].as_str());
    let ids: Vec<_> = ids.flatten().map(str::to_owned).collect();
    let wanted: Vec<_> = numbers.iter().map(|number| uuid(*number)).collect();
    assert_eq!(ids, wanted);
    for line in &lines {
        let told = ["subscription", "reason", "answer"].map(|key| &line[key]);
        assert_eq!(told, ["shop-qa", reason, answer]);
        assert!(
            line["time"]
                .as_str()
                .is_some_and(|time| time.ends_with('Z'))
        );
        assert_eq!(line["document"]["events_count"], 1, "{line}");
    }
}

// ── Found among the others ───────────────────────────────────────────────────────────────────────

#[test]
fn documents_that_are_refused_by_name_do_not_hold_the_others() {
    let (vhost, api, subscription) = parts("partial");
    let mut publisher = Publisher::open(&vhost.url());
    publisher.send(0, 100);
    api.always(Answer::Partial(vec![uuid(3), uuid(70)]));
    let mut agent = start(&subscription);
    api.wait_ids(SOON, 98);
    vhost.wait_depth(QUEUE, 0, 0);
    let ledger = agent.stop();
    assert_eq!(
        (ledger.delivered, ledger.quarantined),
        (98, 2),
        "{ledger:?}"
    );
    api.assert_exactly_once((0..100).filter(|number| ![3, 70].contains(number)));
    assert_quarantined(
        &agent,
        &[3, 70],
        "named by the api",
        "400: mapper_parsing_exception: failed to parse field",
    );
}

#[test]
fn a_batch_that_is_too_large_is_halved() {
    let (vhost, api, subscription) = parts("halved");
    let mut publisher = Publisher::open(&vhost.url());
    publisher.send(0, 500);
    api.answer(|request| match request.documents.len() {
        0..=20 => Answer::Stored,
        _ => Answer::too_large(),
    });
    let mut agent = start(&subscription);
    api.wait_ids(LONG, 500);
    vhost.wait_depth(QUEUE, 0, 0);
    agent.stop().assert_all_delivered(500);
    api.assert_exactly_once(0..500);
}

/// Whatever holds document `bad` gets `answer`; all others must come through and `bad` must not. Gives
/// the agent, stopped, and the API.
#[track_caller]
fn isolate(
    name: &str,
    changes: &Value,
    count: usize,
    bad: usize,
    answer: &Answer,
) -> (Agent, FakeApi) {
    let (vhost, api, subscription) = parts(name);
    let mut publisher = Publisher::open(&vhost.url());
    let (id, refusal) = (uuid(bad), answer.clone());
    api.answer(move |request| {
        if request.names(&id) {
            refusal.clone()
        } else {
            Answer::Stored
        }
    });
    publisher.send(0, count);
    let mut agent = start(&with(subscription, changes));
    api.wait_ids(LONG, count - 1);
    // The bad one is settled, too, in its own time.
    let settled = poll(LONG, || (vhost.depth(QUEUE).total() == 0).then_some(()));
    assert!(settled.is_some(), "{:?} left", vhost.depth(QUEUE));
    let ledger = agent.stop();
    let wanted = (count as u64 - 1, 1);
    assert_eq!((ledger.delivered, ledger.quarantined), wanted, "{ledger:?}");
    api.assert_nothing_missing((0..count).filter(|number| *number != bad));
    (agent, api)
}

/// The same, where each of the others is stored once.
#[track_caller]
fn isolates(name: &str, changes: &Value, count: usize, bad: usize, answer: &Answer) -> Agent {
    let (agent, api) = isolate(name, changes, count, bad, answer);
    api.assert_exactly_once((0..count).filter(|number| *number != bad));
    agent
}

#[test]
fn a_document_that_is_always_refused_is_found_by_halving() {
    let refused = Answer::Status(422, json!({"error": {"message": "no"}}));
    let agent = isolates("refused", &json!({}), 200, 77, &refused);
    let answer = r#"422: {"error":{"message":"no"}}"#;
    assert_quarantined(&agent, &[77], "refused alone", answer);
    // As Leek answers a conflict: a JSON string.
    let conflict = Answer::Status(409, json!("conflict"));
    let agent = isolates("conflict", &json!({}), 50, 0, &conflict);
    assert_quarantined(&agent, &[0], "refused alone", "409: \"conflict\"");
    // Refused without a name, and with one that is not in the batch.
    let nameless = Answer::Status(400, json!({"success": 0, "failed": 1, "errors": []}));
    let agent = isolates("nameless", &json!({}), 50, 13, &nameless);
    let answer = r#"400: {"errors":[],"failed":1,"success":0}"#;
    assert_quarantined(&agent, &[13], "refused alone", answer);
    let error = json!({"update": {"_id": "somebody-else", "status": 400, "error": "no"}});
    let stranger = Answer::Status(400, json!({"failed": 1, "errors": [error]}));
    let agent = isolates("stranger", &json!({}), 50, 49, &stranger);
    assert_quarantined(&agent, &[49], "refused alone", "400: no");
}

#[test]
fn a_document_that_is_too_large_for_the_api_is_kept() {
    let too_large = Answer::too_large();
    let agent = isolates("too-large", &json!({}), 60, 59, &too_large);
    let answer = "413: <h1>413 Request Entity Too Large</h1>";
    assert_quarantined(&agent, &[59], "refused alone", answer);
}

#[test]
fn a_poison_document_is_found_while_others_pass() {
    let failing = Answer::Status(500, json!({"error": {"message": "boom"}}));
    // Small batches, side by side: the others pass while the poisoned one is tried five times.
    let changes = json!({"batch_max_number_of_messages": 4, "concurrency_pool_size": 3});
    // Once all others are stored, one of them is posted again as a witness.
    let (agent, _) = isolate("poison", &changes, 200, 42, &failing);
    let answer = r#"500: {"error":{"message":"boom"}}"#;
    let reason = "500 again and again while others were stored";
    assert_quarantined(&agent, &[42], reason, answer);
}

/// Posts with one of these events meet 500, all others are stored.
fn fail_on(api: &FakeApi, bad: &'static [usize]) {
    api.answer(
        |request| match bad.iter().any(|one| request.names(&uuid(*one))) {
            true => Answer::Status(500, json!({"error": {"message": "boom"}})),
            false => Answer::Stored,
        },
    );
}

/// Nothing was ever stored that could tell the API from the documents, and only one upload is under
/// way at a time.
#[test]
fn poison_documents_at_the_start_do_not_stop_a_quiet_subscription() {
    let (vhost, api, subscription) = parts("poisons");
    let changes = json!({"batch_max_number_of_messages": 1, "concurrency_pool_size": 1});
    let mut publisher = Publisher::open(&vhost.url());
    fail_on(&api, &[0, 1, 2]);
    publisher.send(0, 4);
    let mut agent = start(&with(subscription, &changes));
    api.wait_ids(LONG, 1);
    vhost.wait_depth(QUEUE, 0, 0);
    let ledger = agent.stop();
    let wanted = (1, 3);
    assert_eq!((ledger.delivered, ledger.quarantined), wanted, "{ledger:?}");
}

#[test]
fn a_poison_document_is_found_where_nothing_else_comes() {
    let (vhost, api, subscription) = parts("witness");
    let mut publisher = Publisher::open(&vhost.url());
    fail_on(&api, &[1]);
    let mut agent = start(&subscription);
    publisher.send(0, 1);
    api.wait_ids(LONG, 1);
    publisher.send(1, 1);
    vhost.wait_depth(QUEUE, 0, 0);
    // What was stored before bore witness.
    assert_eq!(api.events_by_id().get(&uuid(0)), Some(&6));
    let ledger = agent.stop();
    let wanted = (1, 1);
    assert_eq!((ledger.delivered, ledger.quarantined), wanted, "{ledger:?}");
    let reason = "500 again and again while others were stored";
    assert_quarantined(&agent, &[1], reason, r#"500: {"error":{"message":"boom"}}"#);
}

// ── Kept, and sent again ─────────────────────────────────────────────────────────────────────────

/// `leek-agent replay` of everything in that directory.
fn replay(subscription: &Value, dir: &Path) -> (i32, Agent) {
    let entries = fs::read_dir(dir).expect("there are files");
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path().display().to_string())
        .collect();
    files.sort();
    let words: Vec<&str> = ["replay"]
        .into_iter()
        .chain(files.iter().map(String::as_str))
        .collect();
    Setup::new(std::slice::from_ref(subscription))
        .args(&words)
        .run()
}

fn mode(path: &Path) -> u32 {
    let metadata = fs::metadata(path).expect("it is there");
    metadata.permissions().mode() & 0o777
}

#[test]
fn what_was_refused_is_stored_once_the_api_takes_it() {
    let (vhost, api, subscription) = parts("replay");
    let mut publisher = Publisher::open(&vhost.url());
    publisher.send(0, 300);
    let bad = || (0..300).filter(|number| number % 30 == 7);
    refuse(&api, bad());
    let mut agent = start(&subscription);
    api.wait_ids(SOON, 290);
    vhost.wait_depth(QUEUE, 0, 0);
    let ledger = agent.stop();
    assert_eq!(
        (ledger.delivered, ledger.quarantined),
        (290, 10),
        "{ledger:?}"
    );
    assert_eq!((ledger.quarantine_lost, ledger.quarantine_evicted), (0, 0));
    let dir = agent.folder().join(QUARANTINE);
    assert_eq!(
        (mode(&dir), mode(&dir.join("shop-qa-000001.jsonl"))),
        (0o700, 0o600)
    );

    // Before it is mended: refused again, and told.
    let (code, again) = replay(&subscription, &dir);
    assert_eq!(code, 75, "{}", again.text());
    assert!(
        again
            .text()
            .contains("shop-qa: 0 of 10 documents stored, 10 refused again")
    );
    // Mended: each is stored as it would have been.
    api.always(Answer::Stored);
    let (code, replayed) = replay(&subscription, &dir);
    assert_eq!(code, 0, "{}", replayed.text());
    assert!(
        replayed
            .text()
            .contains("shop-qa: 10 of 10 documents stored")
    );
    api.assert_exactly_once(0..300);
    let fields = |number: usize| {
        let id = uuid(number);
        let stored = api.stored();
        let found = stored.iter().find(|one| one["id"] == id.as_str()).cloned();
        let document = found.expect("all are stored");
        let keys = document.as_object().expect("an object").keys().cloned();
        keys.collect::<Vec<_>>()
    };
    assert_eq!(fields(7), fields(8), "a replayed document lacks nothing");
    assert_eq!(agent.quarantined().len(), 10, "the file is left as it was");
}

#[test]
fn without_a_refusal_there_is_neither_directory_nor_thread() {
    let (vhost, api, subscription) = parts("no-refusal");
    let mut publisher = Publisher::open(&vhost.url());
    let mut agent = start(&subscription);
    let disk = |agent: &Agent| {
        let threads = agent.threads();
        threads.iter().filter(|name| *name == "leek-disk").count()
    };
    publisher.send(0, 100);
    api.wait_ids(SOON, 100);
    vhost.wait_depth(QUEUE, 0, 0);
    assert_eq!(disk(&agent), 0, "{:?}", agent.threads());
    assert!(!agent.folder().join(QUARANTINE).exists());
    refuse(&api, [100, 110]);
    publisher.send(100, 100);
    api.wait_ids(SOON, 198);
    vhost.wait_depth(QUEUE, 0, 0);
    assert_eq!(disk(&agent), 1, "{:?}", agent.threads());
    agent.stop();
    assert_eq!(ids(&agent.quarantined()), uuids([100, 110]));
}

// ── The disk fails ───────────────────────────────────────────────────────────────────────────────

#[test]
fn a_full_disk_stops_no_delivery() {
    if !can_mount() {
        return;
    }
    let (vhost, api, subscription) = parts("full-disk");
    let subscription = with(subscription, &json!({"batch_max_number_of_messages": 20}));
    refuse(&api, (0..200).filter(|number| number % 2 == 0));
    let mut agent = Setup::new(&[subscription])
        .mounting("mkdir quarantine; mount -t tmpfs -o size=16k tmpfs quarantine")
        .start();
    agent.wait_started();
    let mut publisher = Publisher::open(&vhost.url());
    publisher.send(0, 100);
    api.wait_ids(SOON, 50);
    vhost.wait_depth(QUEUE, 0, 0);
    agent.wait_for_log(SOON, "what to do", |entry| {
        let reason = entry["reason"].as_str().unwrap_or("");
        entry["level"] == "error"
            && entry["message"] == "refused documents not kept"
            && reason.contains("free space on its disk")
    });
    let dir = seen_by(agent.pid(), &agent.folder().join(QUARANTINE));
    let file = dir.join("shop-qa-000001.jsonl");
    let text = fs::read_to_string(&file).expect("it is there");
    let kept = text.lines().count();
    assert_eq!(quarantine_lines(&dir).len(), kept, "no line is torn");
    assert!(
        text.ends_with('\n') && (5..50).contains(&kept),
        "{kept} lines"
    );
    // Somebody makes room: from then on documents are kept again.
    fs::remove_file(&file).expect("removed");
    publisher.send(100, 20);
    api.wait_ids(SOON, 60);
    vhost.wait_depth(QUEUE, 0, 0);
    assert_eq!(ids(&quarantine_lines(&dir)), uuids((100..120).step_by(2)));
    let ledger = agent.stop();
    assert_eq!(
        (ledger.delivered, ledger.quarantined),
        (60, 60),
        "{ledger:?}"
    );
    assert_eq!(ledger.quarantine_lost, 50 - kept as u64, "{ledger:?}");
    api.assert_exactly_once((0..120).filter(|number| number % 2 == 1));
}

/// 100 events, two of them refused, with a quarantine directory that takes nothing.
#[track_caller]
fn keeps_nothing(name: &str, setup: impl FnOnce(Setup) -> Setup, words: &[&str]) {
    let (vhost, api, subscription) = parts(name);
    refuse(&api, [3, 70]);
    let mut agent = setup(Setup::new(&[subscription])).start();
    agent.wait_started();
    Publisher::open(&vhost.url()).send(0, 100);
    api.wait_ids(SOON, 98);
    vhost.wait_depth(QUEUE, 0, 0);
    let told = agent.wait_for_log(SOON, "refused documents not kept", |entry| {
        entry["message"] == "refused documents not kept"
    });
    let reason = told["reason"].as_str().unwrap_or("");
    assert!(words.iter().all(|word| reason.contains(word)), "{told}");
    let ledger = agent.stop();
    assert_eq!(
        (ledger.delivered, ledger.quarantined),
        (98, 2),
        "{ledger:?}"
    );
    assert_eq!(ledger.quarantine_lost, 2, "{ledger:?}");
    api.assert_exactly_once((0..100).filter(|number| ![3, 70].contains(number)));
}

#[test]
fn a_directory_that_cannot_be_made_stops_no_delivery() {
    keeps_nothing(
        "no-directory",
        |setup| setup.args(&["--quarantine-dir", "FOLDER/subscriptions.json/q"]),
        &["not a directory", "check --quarantine-dir"],
    );
}

#[test]
fn a_limit_on_the_size_of_files_stops_no_delivery() {
    if !can_mount() {
        return;
    }
    let limited = |setup: Setup| setup.mounting("ulimit -f 0");
    keeps_nothing("limited", limited, &["file too large"]);
}

#[test]
fn a_read_only_disk_stops_no_delivery() {
    if !can_mount() {
        return;
    }
    keeps_nothing(
        "read-only",
        |setup| setup.mounting("mkdir quarantine; mount -t tmpfs -o ro tmpfs quarantine"),
        &["read-only", "--quarantine-dir", "--quarantine-max-mb 0"],
    );
}

#[test]
fn a_disk_that_hangs_stops_delivery_once_and_for_seconds_only() {
    let Some(flush) = HangingFlush::build() else {
        return;
    };
    let (vhost, api, subscription) = parts("hanging-disk");
    refuse(&api, 0..20);
    let mut setup = Setup::new(&[subscription]);
    for (name, value) in flush.env() {
        setup = setup.env(name, &value);
    }
    let mut agent = setup.start();
    agent.wait_started();
    let mut publisher = Publisher::open(&vhost.url());
    publisher.send(0, 1);
    // Not acked while there is hope.
    agent.wait_complaint(SOON, &["document refused"]);
    vhost.wait_depth(QUEUE, 0, 1);
    // Others pass meanwhile, and the agent lives on.
    publisher.send(100, 1);
    api.wait_ids(Duration::from_secs(8), 1);
    agent.wait_complaint(SOON, &["the disk has not answered for 10 s"]);
    vhost.wait_depth(QUEUE, 0, 0);
    publisher.send(1, 10);
    publisher.send(101, 10);
    api.wait_ids(Duration::from_secs(8), 11);
    vhost.wait_depth(QUEUE, 0, 0);
    // It comes back: what hung is kept after all, and so is what follows.
    flush.heal();
    agent.wait_for_log(SOON, "kept", |entry| {
        entry["message"] == "refused documents kept"
    });
    publisher.send(11, 5);
    wait_until(SOON, "six documents are kept", || {
        agent.quarantined().len() == 6
    });
    let ledger = agent.stop();
    assert_eq!(
        (ledger.delivered, ledger.quarantined),
        (11, 16),
        "{ledger:?}"
    );
    assert_eq!(ledger.quarantine_lost, 10, "{ledger:?}");
    assert_eq!(
        ids(&agent.quarantined()),
        uuids([0].into_iter().chain(11..16))
    );
    let pause = agent.longest_pause_ms();
    assert!(
        pause < 5_000.0,
        "the event loop waited for the disk: {pause} ms"
    );
}

#[test]
fn a_killed_agent_loses_no_refused_document() {
    let (vhost, api, subscription) = parts("killed-refused");
    let changes = json!({"batch_max_number_of_messages": 50});
    let subscription = with(subscription, &changes);
    let bad = || (0..3_000).filter(|number| number % 10 == 3);
    refuse(&api, bad());
    Publisher::open(&vhost.url()).send(0, 3_000);
    let folder = tempfile::tempdir().expect("a folder");
    keep_folder(folder.path());
    let dir = folder.path().join("kept");
    let begin = || {
        let dir = dir.display().to_string();
        Setup::new(std::slice::from_ref(&subscription))
            .args(&["--quarantine-dir", &dir])
            .start()
    };
    for kept in [10, 60, 150, 220] {
        let mut agent = begin();
        wait_until(LONG, "some documents are kept", || {
            quarantine_lines(&dir).len() >= kept
        });
        agent.kill9();
    }
    let mut agent = begin();
    api.wait_ids(LONG, 2_700);
    vhost.wait_depth(QUEUE, 0, 0);
    let ledger = agent.stop();
    assert_eq!(ledger.quarantine_lost, 0, "{ledger:?}");
    assert_eq!(ids(&quarantine_lines(&dir)), uuids(bad()));
    api.assert_nothing_missing((0..3_000).filter(|number| number % 10 != 3));
}

#[test]
fn what_redis_brought_and_the_api_refused_is_kept_too() {
    let redis = Redis::start();
    let api = FakeApi::start();
    refuse(&api, [3, 70]);
    let mut agent = start(&subscription(&redis.url(), &api.url()));
    redis.publisher("/0.celeryev").send(0, 100);
    api.wait_ids(SOON, 98);
    let ledger = agent.stop();
    assert_eq!(
        (ledger.delivered, ledger.quarantined),
        (98, 2),
        "{ledger:?}"
    );
    assert_eq!(ids(&agent.quarantined()), uuids([3, 70]));
}
