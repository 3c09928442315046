//! The spool on a real disk, with a real Redis: what an outage, a flood, a kill or a full disk leaves
//! of what was heard. Nothing is delivered twice here, and everything in its order.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use support::agent::{Agent, Ledger, SOON, Setup, subscription, with};
use support::api::{Answer, FakeApi};
use support::disk::{HangingFlush, can_mount};
use support::keeper::keep_folder;
use support::publisher::uuid;
use support::redis::Redis;
use support::wait::{holds_for, wait_for, wait_until};
use tempfile::TempDir;

/// For many thousands of events in a debug build beside other tests.
const LONG: Duration = Duration::from_secs(180);

/// A Redis, an API, a folder for the spool, and a subscription that joins them.
struct Site {
    redis: Redis,
    api: FakeApi,
    folder: TempDir,
    subscription: Value,
}

impl Site {
    fn new() -> Site {
        Site::with(&json!({}))
    }

    fn with(changes: &Value) -> Site {
        // A debug build is slower than the server's default patience with a subscriber.
        let redis = Redis::start_with("client-output-buffer-limit pubsub 0 0 0\n");
        let api = FakeApi::start();
        let folder = tempfile::tempdir().expect("a temporary folder");
        keep_folder(folder.path());
        let spool = json!({"spool": {"dir": folder.path().join("spool")}});
        let subscription = with(subscription(&redis.url(), &api.url()), &spool);
        Site {
            subscription: with(subscription, changes),
            redis,
            api,
            folder,
        }
    }

    /// An agent that tells of every batch.
    fn start(&self) -> Agent {
        let agent = self.setup().start();
        agent.wait_started();
        agent
    }

    fn setup(&self) -> Setup {
        Setup::new(std::slice::from_ref(&self.subscription)).args(&["--log-level", "debug"])
    }

    fn send(&self, first: usize, count: usize) {
        self.redis.publisher("/0.celeryev").send(first, count);
    }

    fn dir(&self) -> PathBuf {
        self.folder.path().join("spool")
    }

    /// The segments on disk, the oldest first.
    fn segments(&self) -> Vec<PathBuf> {
        segments(&self.dir())
    }
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    let paths = entries.flatten().map(|entry| entry.path());
    let is_segment = |path: &PathBuf| path.extension().is_some_and(|kind| kind == "spool");
    let mut paths: Vec<_> = paths.filter(is_segment).collect();
    paths.sort();
    paths
}

/// Events that an agent said it has written.
fn spooled(agent: &Agent) -> u64 {
    let log = agent.log();
    let spooled = log
        .iter()
        .filter(|entry| entry["message"] == "batch spooled");
    spooled.filter_map(|entry| entry["events"].as_u64()).sum()
}

#[track_caller]
fn wait_spooled(agent: &Agent, events: u64) {
    wait_until(LONG, "everything is on disk", || spooled(agent) >= events);
}

/// Stops an agent that cannot deliver everything.
#[track_caller]
fn stop_undelivered(agent: &mut Agent) -> Ledger {
    agent.sigterm();
    assert_eq!(agent.wait_exit(SOON), 75);
    agent.ledger("shop-qa")
}

/// The documents arrived in the order in which their events were sent.
#[track_caller]
fn assert_in_order(api: &FakeApi, count: usize) {
    let stored = api.stored();
    let ids: Vec<&str> = stored.iter().filter_map(|one| one["id"].as_str()).collect();
    let expected: Vec<String> = (0..count).map(uuid).collect();
    let wrong = ids
        .iter()
        .zip(&expected)
        .position(|(id, wanted)| id != wanted);
    assert_eq!((ids.len(), wrong), (count, None));
}

// ── When it is used ────────────────────────────────────────────────────────────────────────────

#[test]
fn while_the_api_is_well_nothing_is_written() {
    let site = Site::new();
    let mut agent = site.start();
    let mut publisher = site.redis.publisher("/0.celeryev");
    for first in (0..5_000).step_by(500) {
        publisher.send(first, 500);
        assert!(site.segments().is_empty());
    }
    site.api.wait_ids(LONG, 5_000);
    assert!(holds_for(Duration::from_secs(1), || site
        .segments()
        .is_empty()));
    let ledger = agent.stop();
    ledger.assert_all_delivered(5_000);
    assert_eq!(ledger.spool_bytes_written, 0);
    assert_eq!(spooled(&agent), 0);
}

#[test]
fn what_was_spooled_outlives_a_kill_and_arrives_in_order() {
    let site = Site::new();
    site.api.always(Answer::unavailable());
    let mut agent = site.start();
    for first in (0..2_000).step_by(200) {
        site.send(first, 200);
        wait_spooled(&agent, first as u64 + 200);
    }
    agent.kill9();

    let mut next = site.start();
    let opened = next.wait_for_log(SOON, "spool opened", |entry| {
        entry["message"] == "spool opened"
    });
    assert_eq!(opened["events"], 2_000);
    site.send(2_000, 100);
    site.api.always(Answer::Stored);
    site.api.wait_ids(LONG, 2_100);
    assert_in_order(&site.api, 2_100);
    let ledger = next.stop();
    ledger.assert_all_delivered(2_100);
    assert!(
        site.segments().is_empty(),
        "all of it is delivered and gone"
    );
}

#[test]
fn a_stop_during_an_outage_leaves_everything_to_the_next_run() {
    let site = Site::with(&json!({"batch_max_window_in_seconds": 20}));
    site.api.always(Answer::unavailable());
    let mut agent = site.start();
    site.send(0, 1_500);
    wait_until(SOON, "the outage is noticed", || site.api.post_count() > 0);
    let ledger = stop_undelivered(&mut agent);
    assert_eq!((ledger.pending, ledger.spooled), (1_500, 1_500));
    assert_eq!(ledger.dropped, 0);
    assert!(ledger.spool_bytes_written > 0);

    site.api.always(Answer::Stored);
    let (code, next) = site.setup().args(&["run", "--drain"]).run();
    assert_eq!(code, 0);
    next.ledger("shop-qa").assert_all_delivered(1_500);
    assert_in_order(&site.api, 1_500);
    let (code, third) = site.setup().args(&["run", "--drain"]).run();
    assert_eq!(code, 0);
    third.ledger("shop-qa").assert_all_delivered(0);
}

/// Also what is in flight, with an API that never answers.
#[test]
fn what_is_left_when_a_stop_has_no_more_time_is_saved() {
    let site = Site::new();
    site.api.always(Answer::Hang);
    let agent = site.setup().args(&["--shutdown-timeout", "1s"]).start();
    agent.wait_started();
    site.send(0, 3_000);
    wait_until(SOON, "a post hangs", || site.api.post_count() > 0);
    let mut agent = agent;
    let ledger = stop_undelivered(&mut agent);
    assert_eq!((ledger.pending, ledger.spooled), (3_000, 3_000));
    site.api.always(Answer::Stored);
    let mut next = site.start();
    site.api.wait_ids(LONG, 3_000);
    next.stop().assert_all_delivered(3_000);
    assert_in_order(&site.api, 3_000);
}

/// Events that fit into memory with the default buffer, less a tenth.
const NEARLY_FULL: u64 = 28_000;

#[test]
fn a_flood_past_a_slow_api_goes_to_disk_and_nothing_is_dropped() {
    let site = Site::with(&json!({"batch_max_window_in_seconds": 20}));
    // The API answers the first post only once this is told, or just before it is given up.
    let (release, gate) = std::sync::mpsc::channel::<()>();
    let gate = std::sync::Mutex::new(gate);
    site.api.answer(move |request| {
        if request.number == 0 {
            let _ = gate.lock().expect("nobody panics").recv_timeout(SOON / 2);
        }
        Answer::Stored
    });
    let mut agent = site.start();
    let mut publisher = site.redis.publisher("/0.celeryev");
    // As fast as the disk takes it, with the ring between three quarters and full.
    for first in (0..60_000).step_by(1_000) {
        wait_until(LONG, "the flood reaches the disk", || {
            let away = spooled(&agent).max(site.api.stored_count() as u64);
            first as u64 <= away + NEARLY_FULL
        });
        publisher.send(first, 1_000);
    }
    drop(release);
    site.api.wait_ids(LONG, 60_000);
    let ledger = agent.stop();
    ledger.assert_all_delivered(60_000);
    assert!(ledger.spool_bytes_written > 1_000_000, "{ledger:?}");
    assert_in_order(&site.api, 60_000);
}

// ── Its bounds ─────────────────────────────────────────────────────────────────────────────────

#[test]
fn a_full_spool_gives_up_the_oldest_and_counts_them() {
    let mut site = Site::with(&json!({"batch_max_size_in_mb": 0.1}));
    site.subscription["spool"]["max_mb"] = json!(2);
    // More than fit into a batch of a tenth of a megabyte.
    const BATCH: usize = 150;
    site.api.always(Answer::unavailable());
    let mut agent = site.start();
    let mut publisher = site.redis.publisher("/0.celeryev");
    for first in (0..12_000).step_by(1_000) {
        publisher.send(first, 1_000);
        let lengths = site.segments().into_iter().flat_map(fs::metadata);
        let bytes: u64 = lengths.map(|file| file.len()).sum();
        assert!(bytes <= 2 << 20, "{bytes}");
    }
    agent.wait_complaint(LONG, &["oldest events dropped"]);
    wait_spooled(&agent, 11_000);
    site.api.always(Answer::Stored);
    wait_until(LONG, "the newest is stored", || {
        site.api.events_by_id().contains_key(&uuid(11_999))
    });
    let ledger = agent.stop();
    assert_eq!(ledger.received, 12_000, "{ledger:?}");
    assert_eq!(ledger.delivered + ledger.dropped, 12_000, "{ledger:?}");
    assert!(ledger.dropped > 5_000, "{ledger:?}");
    // What is left is the newest, in one piece, and the few batches that were read to try the API.
    let stored = site.api.events_by_id();
    assert!(stored.values().all(|count| *count == 1));
    let first = 12_000 - ledger.delivered as usize + 3 * BATCH;
    site.api.assert_nothing_missing(first..12_000);
}

#[test]
fn a_full_disk_is_told_and_stops_no_delivery() {
    if !can_mount() {
        return;
    }
    let mut site = Site::new();
    site.subscription["spool"]["dir"] = json!("spool");
    site.api.always(Answer::unavailable());
    let mut agent = site
        .setup()
        .mounting("mkdir spool; mount -t tmpfs -o size=1m tmpfs spool")
        .start();
    agent.wait_started();
    for first in (0..4_000).step_by(500) {
        site.send(first, 500);
    }
    let told = agent.wait_complaint(LONG, &["spool not usable"]);
    let reason = told["reason"].as_str().expect("a reason");
    assert!(reason.contains("free some space"), "{reason}");
    site.api.always(Answer::Stored);
    site.api.wait_ids(LONG, 4_000);
    let ledger = agent.stop();
    ledger.assert_all_delivered(4_000);
    assert_in_order_of_records(&site.api);
}

/// Within each post, at least: what a full disk did not take overtakes what it did.
#[track_caller]
fn assert_in_order_of_records(api: &FakeApi) {
    for post in api.posts() {
        let ids: Vec<_> = post
            .documents
            .iter()
            .map(|one| one["id"].to_string())
            .collect();
        assert!(ids.is_sorted(), "{ids:?}");
    }
}

#[test]
fn a_disk_that_hangs_is_told_and_stops_no_delivery() {
    let Some(flush) = HangingFlush::build() else {
        return;
    };
    let site = Site::new();
    site.api.always(Answer::unavailable());
    let [library, hang] = flush.env();
    let mut agent = site
        .setup()
        .env(library.0, &library.1)
        .env(hang.0, &hang.1)
        .start();
    agent.wait_started();
    site.send(0, 1_000);
    let told = agent.wait_complaint(SOON, &["spool not usable"]);
    assert_eq!(told["reason"], "no answer within 10 s: check the disk");
    site.api.always(Answer::Stored);
    site.api.wait_ids(LONG, 1_000);
    flush.heal();
    agent.wait_for_log(SOON, "usable again", |entry| {
        entry["message"] == "spool is usable again"
    });
    // The batch whose flush hung is on disk after all: it comes again, and counts again.
    wait_until(SOON, "nothing is left", || site.segments().is_empty());
    let ledger = agent.stop();
    assert_eq!(ledger.received, ledger.delivered, "{ledger:?}");
    site.api.assert_nothing_missing(0..1_000);
}

// ── Whose it is, and what is wrong with it ─────────────────────────────────────────────────────

#[test]
fn a_second_agent_is_told_and_goes_on_without() {
    let site = Site::new();
    let mut first = site.start();
    let mut second = site.setup().start();
    let told = second.wait_complaint(SOON, &["spool not usable"]);
    let reason = told["reason"].as_str().expect("a reason");
    let pid = first.pid().to_string();
    assert!(
        reason.contains(&pid) && reason.contains("spool.dir of its own"),
        "{reason}"
    );
    second.wait_started();
    first.stop();
    site.send(0, 100);
    site.api.wait_ids(SOON, 100);
    // Once the first has ended, the spool is the second's.
    second.wait_for_log(LONG, "spool opened", |entry| {
        entry["message"] == "spool opened"
    });
    second.stop().assert_all_delivered(100);
}

#[test]
fn a_torn_end_is_cut_off_and_told() {
    let site = Site::new();
    site.api.always(Answer::unavailable());
    let mut agent = site.start();
    for first in (0..300).step_by(100) {
        site.send(first, 100);
        wait_spooled(&agent, first as u64 + 100);
    }
    agent.kill9();
    let last = site.segments().pop().expect("a segment");
    let length = fs::metadata(&last).expect("it is there").len();
    let file = fs::OpenOptions::new().write(true).open(&last);
    file.and_then(|file| file.set_len(length - 10))
        .expect("writable");

    site.api.always(Answer::Stored);
    let mut next = site.start();
    next.wait_complaint(SOON, &["cut off"]);
    let arrived = wait_for(LONG, "what is whole arrives", || {
        let arrived = site.api.ids();
        (arrived >= 100 && site.segments().is_empty()).then_some(arrived)
    });
    let ledger = next.stop();
    ledger.assert_all_delivered(arrived);
    assert!(ledger.spool_torn_bytes > 0);
    assert_in_order(&site.api, arrived);
}

#[test]
fn a_folder_that_cannot_be_written_costs_the_spool_only() {
    let site = Site::new();
    fs::write(site.dir(), "a file in the way").expect("writable");
    let mut agent = site.setup().start();
    let told = agent.wait_complaint(SOON, &["spool not usable"]);
    let reason = told["reason"].as_str().expect("a reason");
    assert!(reason.contains("choose another spool.dir"), "{reason}");
    agent.wait_started();
    site.send(0, 100);
    site.api.wait_ids(SOON, 100);
    agent.stop().assert_all_delivered(100);
}
