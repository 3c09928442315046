//! What people are told, and what is counted, of posts and repairs.

use std::time::Duration;

use super::{Bench, event, redis, subscription};
use crate::clock::Now;
use crate::config::Subscription;
use crate::delivery::Epoch;
use crate::document::{EventTypes, Policy};
use crate::pipeline::backoff;
use crate::pipeline::ending::DRAIN_QUIET;
use crate::pipeline::report::Report;
use crate::pipeline::verdict::{RefusedDocument, Verdict};
use crate::pipeline::{Input, Output, batch::BatchId};

/// The reports that the pipeline has for people now.
fn reports(bench: &mut Bench) -> Vec<Report> {
    let mut reports = Vec::new();
    loop {
        let now = Now {
            instant: bench.now,
            wall_ms: 0,
        };
        match bench.pipeline.poll_output(now) {
            Output::Wait(Some(until)) if until == bench.now => {}
            Output::Wait(_) => return reports,
            Output::Report(report) => reports.push(report),
            _ => {}
        }
    }
}

fn answer(bench: &mut Bench, verdict: Verdict) -> Vec<Report> {
    bench.input(Input::Uploaded {
        batch: BatchId(0),
        verdict,
    });
    reports(bench)
}

#[test]
fn of_a_batch_that_is_partly_stored_the_stored_part_is_told() {
    let mut bench = Bench::new(&subscription());
    // Two events of one task are one document, so that documents and events differ.
    bench.post(&["a", "a", "b", "c", "d"]);
    let refused = vec![RefusedDocument {
        id: "d".into(),
        reason: "400: mapping".into(),
    }];
    let told = answer(&mut bench, Verdict::Partial { refused });
    assert!(
        told.iter().any(|report| matches!(
            report,
            Report::Stored {
                documents: 3,
                events: 4
            }
        )),
        "{told:?}"
    );
}

/// How long the API is left alone after that answer.
fn hold(verdict: Verdict) -> Duration {
    let mut bench = Bench::new(&subscription());
    bench.post(&["a"]);
    let told = answer(&mut bench, verdict);
    let held = told.iter().find_map(|report| match report {
        Report::ApiHeld { retry_in, .. } => Some(*retry_in),
        _ => None,
    });
    held.unwrap_or_else(|| panic!("{told:?}"))
}

#[test]
fn what_a_person_must_mend_is_tried_at_the_slow_end_and_the_rest_soon() {
    let wrong_key = Verdict::Misconfigured {
        status: 401,
        reason: "wrong key".into(),
    };
    assert!(hold(wrong_key) >= backoff::LONGEST / 2);
    let unwell = Verdict::Unwell {
        status: Some(503),
        reason: "down".into(),
        retry_after: None,
    };
    assert!(hold(unwell) <= Duration::from_secs(1));
}

#[test]
fn an_event_that_was_mended_counts_once_and_a_sound_one_does_not() {
    let mut bench = Bench::new(&subscription());
    bench.deliver(&event("a", ""));
    reports(&mut bench);
    assert_eq!(bench.pipeline.ledger().repaired, 0);
    bench.deliver(&event("b", "").replace("\"utcoffset\": 0", "\"utcoffset\": 0.0"));
    reports(&mut bench);
    assert_eq!(bench.pipeline.ledger().repaired, 1);
}

#[test]
fn what_is_kept_on_the_site_or_has_no_state_is_filtered_and_settled() {
    let mut bench = Bench::new(&Subscription {
        policy: Policy {
            keep_events: EventTypes::only("task-received").expect("it is one"),
            ..Policy::default()
        },
        ..subscription()
    });
    let kind = |kind: &str| event("a", "").replace("task-received", kind);
    for sent in ["task-started", "task-started", "task-custom", "task-custom"] {
        bench.deliver(&kind(sent));
    }
    let told = reports(&mut bench);
    let withheld = told.iter().map(|report| match report {
        Report::Withheld(events) => *events,
        _ => 0,
    });
    assert_eq!(withheld.sum::<u64>(), 2, "{told:?}");
    let ledger = bench.pipeline.ledger();
    assert_eq!((ledger.received, ledger.filtered), (4, 4), "{ledger:?}");
}

#[test]
fn only_a_connection_that_was_up_leaves_a_gap_that_is_told() {
    let mut bench = Bench::listening(&Subscription {
        brokers: vec![redis()],
        ..subscription()
    });
    let gap = |told: Vec<Report>| {
        told.into_iter().find_map(|report| match report {
            Report::SourceBack { blind } => Some(blind),
            _ => None,
        })
    };
    bench.input(Input::SourceDown {
        epoch: bench.epoch,
        reason: "gone".into(),
        heard: Some(bench.now),
    });
    let heard = bench.now;
    // The next try fails before it is up: the gap still begins where the first one ended.
    bench.now += backoff::LONGEST;
    reports(&mut bench);
    bench.input(Input::SourceDown {
        epoch: Epoch(2),
        reason: "refused".into(),
        heard: None,
    });
    bench.now += backoff::LONGEST;
    assert_eq!(gap(reports(&mut bench)), None);
    bench.input(Input::SourceUp(Epoch(3)));
    assert_eq!(gap(reports(&mut bench)), Some(bench.now - heard));
}

#[test]
fn a_drain_asks_the_broker_once_nothing_has_come_for_a_moment() {
    let mut bench = Bench::new(&subscription());
    bench.input(Input::Drain);
    let begun = bench.now;
    assert_eq!(bench.wakes(), Some(begun + DRAIN_QUIET));
    bench.now = begun + DRAIN_QUIET / 2;
    bench.deliver("[]");
    bench.pump();
    let quiet = bench.now + DRAIN_QUIET;
    assert_eq!(bench.wakes(), Some(quiet));
    bench.now = quiet;
    let asks = |output| matches!(output, Output::CountQueue { .. });
    assert!(asks(bench.poll()), "it is time");
}

#[test]
fn a_stop_takes_nothing_more_of_what_the_broker_keeps() {
    let mut bench = Bench::new(&subscription());
    assert!(bench.pipeline.takes_deliveries(bench.epoch));
    assert!(!bench.pipeline.takes_deliveries(Epoch(2)));
    bench.input(Input::Stop);
    assert!(!bench.pipeline.takes_deliveries(bench.epoch));
    let mut owing = Bench::listening(&Subscription {
        brokers: vec![redis()],
        ..subscription()
    });
    owing.input(Input::Stop);
    assert!(
        owing.pipeline.takes_deliveries(owing.epoch),
        "its last words"
    );
    owing.input(Input::SourceDown {
        epoch: owing.epoch,
        reason: "closed".into(),
        heard: None,
    });
    assert!(!owing.pipeline.takes_deliveries(owing.epoch));
}
