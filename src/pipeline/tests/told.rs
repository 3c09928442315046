//! What people are told, and what is counted, of posts and repairs.

use std::time::Duration;

use super::{Bench, event, subscription};
use crate::clock::Now;
use crate::pipeline::backoff;
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
