//! The pipeline of a Redis subscription with a spool, driven by hand: what goes to disk, when, and
//! in which order it is delivered.

use std::collections::VecDeque;
use std::time::Duration;

use super::super::batch::BatchId;
use super::super::tests::redis;
use super::super::verdict::Verdict;
use super::super::{Input, Pipeline};
use super::*;
use crate::clock::{self, Now};
use crate::config::spool::Spool;
use crate::config::{BatchLimits, Subscription};
use crate::delivery::{Delivery, DeliveryTag, Epoch, Payload};

const WINDOW: Duration = Duration::from_secs(5);
const RING: usize = 16 * 1024;

fn subscription() -> Subscription {
    Subscription {
        brokers: vec![redis()],
        batch: BatchLimits {
            max_bytes: 100_000,
            max_messages: 3,
            window: WINDOW,
        },
        buffer_bytes: RING,
        spool: Some(Spool {
            dir: "spool".into(),
            max_bytes: 1,
        }),
        ..super::super::tests::subscription()
    }
}

/// What the pipeline asked for, with the documents concerned.
#[derive(Debug, Clone, PartialEq)]
enum Did {
    Probe,
    Post(u64, Vec<String>),
    Open,
    Write(Kept, Vec<String>),
    Read,
    Forget(u64),
    Close,
    Stopped,
    /// The spool was told to be unusable, and to be well again.
    Failed,
    Well,
}

/// The pipeline, and a disk that does what it is asked once `disk` is called.
struct Bench {
    pipeline: Pipeline,
    now: Instant,
    tag: u64,
    records: VecDeque<(RecordId, Body)>,
    next_record: u64,
    figures: Figures,
    asked: Option<Order>,
}

fn ids(body: &Body, documents: impl IntoIterator<Item = usize>) -> Vec<String> {
    documents.into_iter().map(|one| body.id(one)).collect()
}

fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(|name| (*name).to_owned()).collect()
}

fn post(batch: u64, list: &[&str]) -> Did {
    Did::Post(batch, names(list))
}

fn write(list: &[&str]) -> Did {
    Did::Write(Kept::OnDiskOnly, names(list))
}

fn copy(list: &[&str]) -> Did {
    Did::Write(Kept::InMemoryToo, names(list))
}

impl Bench {
    /// Listening; nobody has answered yet.
    fn begin(subscription: &Subscription) -> Bench {
        let now = clock::monotonic();
        let mut bench = Bench {
            pipeline: Pipeline::new(subscription, now, 1),
            now,
            tag: 0,
            records: VecDeque::new(),
            next_record: 1,
            figures: Figures::default(),
            asked: None,
        };
        assert_eq!(bench.pump(), [Did::Probe, Did::Open]);
        bench.input(Input::SourceUp(Epoch(1)));
        assert_eq!(bench.pump(), []);
        bench
    }

    /// The disk is empty and the API well.
    fn new() -> Bench {
        let mut bench = Bench::begin(&subscription());
        assert_eq!(bench.disk(), []);
        bench.input(Input::Probed(Ok(())));
        assert_eq!(bench.pump(), []);
        bench
    }

    fn input(&mut self, input: Input) {
        self.pipeline.handle_input(input, self.now);
        self.check_books();
    }

    fn check_books(&self) {
        let ledger = self.pipeline.ledger();
        assert_eq!(ledger.owed(), self.pipeline.pending_events(), "{ledger:?}");
    }

    /// One event each.
    fn deliver(&mut self, uuids: &[&str]) {
        for uuid in uuids {
            self.deliver_with(uuid, 0);
        }
    }

    fn deliver_with(&mut self, uuid: &str, filling: usize) {
        let args = "x".repeat(filling);
        let body = format!(
            r#"{{"type": "task-received", "uuid": "{uuid}", "hostname": "h", "utcoffset": 0, "pid": 1, "clock": 1, "timestamp": 1.5, "args": "{args}"}}"#
        );
        self.tag += 1;
        let delivery = Delivery {
            epoch: Epoch(1),
            tag: DeliveryTag(self.tag),
            payload: Payload::Json(body.as_bytes()),
        };
        self.pipeline.deliver(&delivery, self.now).expect("taken");
    }

    fn pump(&mut self) -> Vec<Did> {
        let mut did = Vec::new();
        loop {
            let now = Now {
                instant: self.now,
                wall_ms: 0,
            };
            match self.pipeline.poll_output(now) {
                Output::Wait(Some(until)) if until == self.now => {}
                Output::Wait(_) => return did,
                Output::Probe => did.push(Did::Probe),
                Output::Upload {
                    batch,
                    body,
                    documents,
                } => did.push(Did::Post(batch.0, ids(&body, documents))),
                Output::Spool(order) => {
                    did.push(match &order {
                        Order::Open => Did::Open,
                        Order::Write {
                            body,
                            documents,
                            kept,
                        } => Did::Write(*kept, ids(body, documents.clone())),
                        Order::Read => Did::Read,
                        Order::Forget { through } => Did::Forget(through.0),
                    });
                    let earlier = self.asked.replace(order);
                    assert!(earlier.is_none(), "one order at a time");
                }
                Output::Close { .. } => did.push(Did::Close),
                Output::Stopped => did.push(Did::Stopped),
                Output::Report(Report::SpoolFailed { .. }) => did.push(Did::Failed),
                Output::Report(Report::SpoolWell) => did.push(Did::Well),
                _ => {}
            }
            self.check_books();
        }
    }

    fn later(&mut self, time: Duration) -> Vec<Did> {
        self.now += time;
        self.pump()
    }

    /// The disk carries out what it was asked.
    fn disk(&mut self) -> Vec<Did> {
        let outcome = match self.asked.take().expect("the disk was asked") {
            Order::Open => {
                let events = self
                    .records
                    .iter()
                    .map(|(_, body)| body.events(0..body.documents()) as u64);
                Outcome::Opened {
                    events: events.sum(),
                }
            }
            Order::Write {
                body,
                documents,
                kept,
            } => {
                let id = RecordId(self.next_record);
                self.next_record += 1;
                let events = |one: &usize| body.events(*one..one + 1) as u32;
                let documents: Vec<_> = documents
                    .iter()
                    .map(|one| (events(one), body.document(*one)))
                    .collect();
                if kept == Kept::OnDiskOnly {
                    self.records.push_back((id, Body::rebuild(&documents)));
                } else {
                    assert!(
                        self.records.is_empty(),
                        "what stays is older than what goes"
                    );
                }
                Outcome::Written(id)
            }
            Order::Read => Outcome::Read(self.records.pop_front()),
            Order::Forget { .. } => Outcome::Forgotten,
        };
        self.disk_answers(Ok(outcome))
    }

    fn disk_answers(&mut self, outcome: Result<Outcome, String>) -> Vec<Did> {
        self.asked = None;
        let figures = Some(self.figures);
        self.input(Input::Spool(Answer { outcome, figures }));
        self.pump()
    }

    fn disk_fails(&mut self) -> Vec<Did> {
        self.disk_answers(Err("disk full".into()))
    }

    fn answer(&mut self, batch: u64, verdict: Verdict) -> Vec<Did> {
        self.input(Input::Uploaded {
            batch: BatchId(batch),
            verdict,
        });
        self.pump()
    }

    fn stored(&mut self, batch: u64) -> Vec<Did> {
        self.answer(batch, Verdict::Stored)
    }

    fn unwell(&mut self, batch: u64) -> Vec<Did> {
        let verdict = Verdict::Unwell {
            status: None,
            reason: "down".into(),
            retry_after: Some(WINDOW * 4),
        };
        self.answer(batch, verdict)
    }

    /// A first batch was posted, and the API is out since then.
    fn out() -> Bench {
        let mut bench = Bench::new();
        bench.deliver(&["a", "b", "c"]);
        assert_eq!(bench.pump(), [post(0, &["a", "b", "c"])]);
        assert_eq!(bench.unwell(0), []);
        bench
    }

    /// Told to stop, and the broker has hung up.
    fn stop(&mut self) -> Vec<Did> {
        self.input(Input::Stop);
        let did = self.pump();
        assert_eq!(did[0], Did::Close);
        self.input(Input::SourceDown {
            epoch: Epoch(1),
            reason: "closed".into(),
            heard: None,
        });
        did[1..].to_vec()
    }

    fn pending(&self) -> (u64, u64) {
        let pipeline = &self.pipeline;
        (pipeline.pending_events(), pipeline.spooled_events())
    }
}

#[test]
fn while_the_api_is_well_and_the_ring_is_low_nothing_is_written() {
    let mut bench = Bench::new();
    for round in 0..50 {
        let names: Vec<_> = (0..3).map(|number| format!("{round}-{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        bench.deliver(&names);
        assert_eq!(bench.pump(), [post(round, &names)]);
        assert_eq!(
            bench.later(WINDOW * 2),
            [],
            "a slow answer is one all the same"
        );
        assert_eq!(bench.stored(round), []);
    }
}

#[test]
fn an_outage_longer_than_a_window_sends_batches_to_disk_the_oldest_first() {
    let mut bench = Bench::out();
    bench.deliver(&["d", "e", "f", "g"]);
    assert_eq!(bench.later(WINDOW - Duration::from_millis(1)), []);
    assert_eq!(
        bench.later(Duration::from_millis(1)),
        [write(&["a", "b", "c"])]
    );
    assert_eq!(bench.disk(), [write(&["d", "e", "f"])]);
    assert_eq!(bench.disk(), [], "an open batch waits for its window");
    assert_eq!(bench.pending(), (7, 6));
    assert_eq!(bench.later(WINDOW), [write(&["g"])]);
    assert_eq!(bench.disk(), []);
    assert_eq!(bench.pending(), (7, 7));
}

#[test]
fn the_wait_asks_to_be_woken_when_the_outage_is_long_enough() {
    let mut bench = Bench::out();
    let now = Now {
        instant: bench.now,
        wall_ms: 0,
    };
    match bench.pipeline.poll_output(now) {
        Output::Wait(Some(until)) => assert_eq!(until, bench.now + WINDOW),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_on_disk_is_delivered_first_and_forgotten_then() {
    let mut bench = Bench::out();
    bench.deliver(&["d", "e", "f"]);
    bench.later(WINDOW);
    bench.disk();
    bench.disk();
    bench.deliver(&["g"]);
    assert_eq!(bench.pump(), []);
    // The hold is over: what is on disk is the trial, and no probe is needed.
    assert_eq!(
        bench.later(WINDOW * 3 - Duration::from_secs(1)),
        [write(&["g"])]
    );
    bench.disk();
    bench.deliver(&["h"]);
    assert_eq!(bench.later(Duration::from_secs(1)), [Did::Read]);
    let did = bench.disk();
    let [Did::Post(first, documents)] = &did[..] else {
        panic!("{did:?}");
    };
    assert_eq!(documents, &["a", "b", "c"]);
    // The API is back: the next record is read ahead while one is posted.
    assert_eq!(bench.stored(*first), [Did::Forget(1)]);
    assert_eq!(bench.disk(), [Did::Read]);
    let did = bench.disk();
    let [Did::Post(second, documents), Did::Read] = &did[..] else {
        panic!("{did:?}");
    };
    assert_eq!(documents, &["d", "e", "f"]);
    assert_eq!(bench.disk(), []);
    let did = bench.stored(*second);
    let [Did::Post(third, documents), Did::Forget(2)] = &did[..] else {
        panic!("{did:?}");
    };
    assert_eq!(documents, &["g"]);
    assert_eq!(bench.disk(), []);
    assert_eq!(bench.stored(*third), [Did::Forget(3)]);
    assert_eq!(bench.disk(), []);
    let did = bench.later(WINDOW);
    assert!(
        matches!(&did[..], [Did::Post(_, documents)] if documents == &["h"]),
        "{did:?}"
    );
    assert_eq!(bench.pending(), (1, 0));
}

#[test]
fn what_the_last_run_left_is_received_again_and_comes_first() {
    let mut bench = Bench::begin(&subscription());
    bench
        .records
        .push_back((RecordId(7), Body::rebuild(&[(5, br#"{"id": "old"}"#)])));
    bench.input(Input::Probed(Ok(())));
    bench.deliver(&["new-1", "new-2", "new-3"]);
    assert_eq!(
        bench.pump(),
        [],
        "nothing is posted before it is known what is on disk"
    );
    assert_eq!(bench.disk(), [Did::Read]);
    assert_eq!(bench.pipeline.ledger().received, 8);
    let did = bench.disk();
    assert!(
        matches!(&did[..], [Did::Post(_, documents)] if documents == &["old"]),
        "{did:?}"
    );
    let Did::Post(old, _) = did[0] else {
        unreachable!()
    };
    let did = bench.stored(old);
    assert!(
        matches!(&did[..], [Did::Post(_, new), Did::Forget(7)] if new[0] == "new-1"),
        "{did:?}"
    );
}

/// Fills the ring to its high-water mark; the names of the events.
fn flood(bench: &mut Bench) -> Vec<String> {
    let mut sent = Vec::new();
    while bench.pipeline.ring_used() < RING * 3 / 4 {
        let name = format!("f{}", sent.len());
        bench.deliver_with(&name, 500);
        sent.push(name);
        // Decoded as far as there is room for batches.
        bench.pump();
        assert!(sent.len() < 1000);
        if bench.asked.is_some() {
            break;
        }
    }
    assert_eq!(bench.pipeline.ledger().dropped, 0);
    sent
}

#[test]
fn a_ring_that_is_nearly_full_goes_to_disk_before_anything_is_dropped() {
    let mut bench = Bench::new();
    bench.deliver(&["a", "b", "c"]);
    assert_eq!(bench.pump(), [post(0, &["a", "b", "c"])]);
    flood(&mut bench);
    // The batch in flight is older than all that goes to disk: the disk gets a copy.
    let Some(Order::Write {
        kept, documents, ..
    }) = &bench.asked
    else {
        panic!("{:?}", bench.asked);
    };
    assert_eq!((*kept, &documents[..]), (Kept::InMemoryToo, &[0, 1, 2][..]));
    let mut written = Vec::new();
    let mut did = bench.disk();
    while let Some(Did::Write(kept, documents)) = did.first() {
        assert_eq!(*kept, Kept::OnDiskOnly);
        written.extend(documents.clone());
        did = bench.disk();
    }
    assert_eq!(written[..3], ["f0", "f1", "f2"]);
    assert!(bench.pipeline.ring_used() < RING * 3 / 4, "and no further");
    assert_eq!(bench.pipeline.ledger().dropped, 0);
    // The slow answer comes at last; everything is posted in its order.
    let mut order = Vec::new();
    let mut did = bench.stored(0);
    for _ in 0..100 {
        for one in std::mem::take(&mut did) {
            if let Did::Post(batch, documents) = one {
                order.extend(documents);
                did.extend(bench.stored(batch));
            }
        }
        match bench.asked {
            Some(_) => did.extend(bench.disk()),
            None => did.extend(bench.later(WINDOW)),
        }
    }
    let expected: Vec<_> = (0..order.len())
        .map(|number| format!("f{number}"))
        .collect();
    assert_eq!(order, expected);
    assert_eq!(bench.pending(), (0, 0));
}

#[test]
fn a_batch_whose_answer_overtakes_the_disk_is_forgotten_at_once() {
    let mut bench = Bench::new();
    bench.deliver(&["a", "b", "c"]);
    bench.pump();
    flood(&mut bench);
    bench.stored(0);
    assert_eq!(bench.disk()[0], Did::Forget(1));
}

#[test]
fn a_stop_while_the_api_is_out_saves_at_once_and_ends() {
    let mut bench = Bench::out();
    bench.deliver(&["d"]);
    bench.pump();
    // One last try, and the disk gets a copy of it meanwhile.
    let first = names(&["a", "b", "c"]);
    let did = bench.stop();
    assert_eq!(
        did,
        [
            Did::Post(0, first.clone()),
            Did::Write(Kept::InMemoryToo, first)
        ]
    );
    assert_eq!(bench.unwell(0), []);
    assert_eq!(bench.disk(), [write(&["d"])]);
    assert_eq!(bench.disk(), [Did::Stopped]);
    assert_eq!(bench.pending(), (4, 4));
}

#[test]
fn at_the_end_of_its_patience_a_stop_saves_everything_also_what_is_in_flight() {
    let mut bench = Bench::new();
    bench.deliver(&["a", "b", "c"]);
    bench.pump();
    bench.deliver(&["d", "e", "f", "g", "h", "i", "j", "k"]);
    bench.pump();
    assert_eq!(bench.stop(), [], "the API may yet answer");
    assert!(!bench.pipeline.is_saving());
    bench.input(Input::GiveUp);
    assert!(bench.pipeline.is_saving());
    assert_eq!(bench.pump(), [copy(&["a", "b", "c"])]);
    assert_eq!(bench.disk(), [write(&["d", "e", "f"])]);
    assert_eq!(bench.disk(), [write(&["g", "h", "i"])]);
    assert_eq!(bench.disk(), [write(&["j", "k"])]);
    assert_eq!(bench.disk(), [Did::Stopped]);
    assert_eq!(bench.pending(), (11, 11));
    assert_eq!(bench.pipeline.ledger().dropped, 0);
}

#[test]
fn a_disk_that_fails_at_the_end_ends_it() {
    for ends in [Bench::disk_fails, |bench: &mut Bench| {
        bench.input(Input::GiveUp);
        bench.pump()
    }] {
        let mut bench = Bench::new();
        bench.deliver(&["a", "b", "c"]);
        bench.pump();
        bench.deliver(&["d", "e", "f", "g", "h", "i", "j", "k"]);
        bench.pump();
        bench.stop();
        bench.input(Input::GiveUp);
        assert_eq!(bench.pump(), [copy(&["a", "b", "c"])]);
        let did = ends(&mut bench);
        assert_eq!(did.last(), Some(&Did::Stopped), "{did:?}");
        assert!(bench.pipeline.ledger().dropped > 0);
    }
}

#[test]
fn a_disk_that_hangs_when_time_is_over_is_not_waited_for() {
    let mut bench = Bench::out();
    assert_eq!(bench.later(WINDOW), [write(&["a", "b", "c"])]);
    assert_eq!(bench.later(PATIENCE), [Did::Failed]);
    assert_eq!(bench.stop(), [post(0, &["a", "b", "c"])]);
    bench.input(Input::GiveUp);
    assert!(!bench.pipeline.is_saving());
    assert_eq!(bench.pump(), [Did::Stopped]);
}

#[test]
fn a_stop_does_not_wait_for_the_backoff_of_a_disk() {
    let mut bench = Bench::out();
    assert_eq!(bench.later(WINDOW), [write(&["a", "b", "c"])]);
    assert_eq!(bench.disk_fails(), [Did::Failed]);
    let did = bench.stop();
    assert!(
        matches!(did[..], [Did::Post(..), Did::Write(..)]),
        "{did:?}"
    );
}

#[test]
fn a_drain_ends_when_the_disk_is_empty_and_knows_it() {
    let mut bench = Bench::begin(&subscription());
    bench
        .records
        .push_back((RecordId(7), Body::rebuild(&[(5, br#"{"id": "old"}"#)])));
    bench.input(Input::Probed(Ok(())));
    bench.input(Input::Drain);
    bench.pump();
    bench.later(WINDOW);
    bench.input(Input::QueueLength {
        epoch: Epoch(1),
        messages: 0,
    });
    assert_eq!(bench.pump(), []);
    assert_eq!(bench.disk(), [Did::Read]);
    let did = bench.disk();
    let [Did::Post(old, _)] = did[..] else {
        panic!("{did:?}");
    };
    assert_eq!(bench.stored(old), [Did::Forget(7)]);
    assert_eq!(bench.disk(), [Did::Close]);
}

#[test]
fn a_disk_that_fails_is_told_tried_again_and_stops_nothing() {
    let mut bench = Bench::out();
    assert_eq!(bench.later(WINDOW), [write(&["a", "b", "c"])]);
    assert_eq!(bench.disk_fails(), [Did::Failed]);
    // Memory goes on as if there were no spool.
    let did = bench.later(WINDOW * 3);
    assert_eq!(did, [post(0, &["a", "b", "c"]), copy(&["a", "b", "c"])]);
    assert_eq!(bench.stored(0), []);
    assert_eq!(bench.disk(), [Did::Well, Did::Forget(1)]);
    bench.disk();
    assert_eq!(bench.pending(), (0, 0));
    // It works again.
    bench.deliver(&["d", "e", "f"]);
    assert_eq!(bench.pump(), [post(1, &["d", "e", "f"])]);
    bench.unwell(1);
    assert_eq!(bench.later(WINDOW), [write(&["d", "e", "f"])]);
    bench.disk();
    assert_eq!(bench.pending(), (3, 3));
}

#[test]
fn a_spool_that_does_not_open_is_tried_again() {
    let mut bench = Bench::begin(&subscription());
    bench.input(Input::Probed(Ok(())));
    bench.deliver(&["a", "b", "c"]);
    assert_eq!(bench.pump(), []);
    assert_eq!(bench.disk_fails(), [Did::Failed, post(0, &["a", "b", "c"])]);
    bench
        .records
        .push_back((RecordId(7), Body::rebuild(&[(5, br#"{"id": "old"}"#)])));
    assert_eq!(bench.later(WINDOW), [Did::Open]);
    assert_eq!(bench.disk(), [Did::Well, Did::Read]);
    assert_eq!(bench.pending(), (8, 5));
}

#[test]
fn a_disk_that_hangs_is_left_alone_until_it_answers() {
    let mut bench = Bench::out();
    assert_eq!(bench.later(WINDOW), [write(&["a", "b", "c"])]);
    let just_before = PATIENCE - Duration::from_millis(1);
    assert_eq!(bench.later(just_before), []);
    assert_eq!(bench.later(Duration::from_millis(1)), [Did::Failed]);
    let did = bench.later(WINDOW);
    assert_eq!(did, [post(0, &["a", "b", "c"])], "it is not waited for");
    assert_eq!(bench.stored(0), []);
    assert_eq!(bench.later(PATIENCE * 100), []);
    // It has written after all: what was delivered meanwhile comes again, and counts again.
    assert_eq!(bench.disk(), [Did::Well, Did::Read]);
    let ledger = *bench.pipeline.ledger();
    assert_eq!((ledger.received, ledger.delivered), (6, 3));
    assert_eq!(bench.pending(), (3, 3));
    let did = bench.disk();
    assert!(matches!(&did[..], [Did::Post(..)]), "{did:?}");
}

#[test]
fn a_suspect_from_the_disk_takes_turns_with_others_from_there() {
    let mut bench = Bench::out();
    bench.deliver(&["d", "e", "f"]);
    bench.later(WINDOW);
    bench.disk();
    bench.disk();
    assert_eq!(bench.later(WINDOW * 4), [Did::Read]);
    let did = bench.disk();
    let [Did::Post(bad, _)] = did[..] else {
        panic!("{did:?}");
    };
    let server_error = || Verdict::Unwell {
        status: Some(500),
        reason: "crash".into(),
        retry_after: None,
    };
    assert_eq!(bench.answer(bad, server_error()), []);
    // It was posted and failed: the next one is tried before it.
    assert_eq!(bench.later(WINDOW * 12), [Did::Read]);
    let did = bench.disk();
    assert!(
        matches!(&did[..], [Did::Post(_, documents)] if documents[0] == "d"),
        "{did:?}"
    );
}

#[test]
fn what_the_disk_gave_up_is_dropped_and_counted() {
    let mut bench = Bench::out();
    bench.deliver(&["d", "e", "f"]);
    bench.later(WINDOW);
    bench.disk();
    bench.records.clear();
    bench.figures.lost = 3;
    bench.figures.written = 1234;
    bench.figures.torn = 17;
    bench.disk();
    let ledger = bench.pipeline.ledger();
    assert_eq!((ledger.dropped, bench.pending()), (3, (3, 3)));
    assert_eq!(
        (ledger.spool_bytes_written, ledger.spool_torn_bytes),
        (1234, 17)
    );
}
