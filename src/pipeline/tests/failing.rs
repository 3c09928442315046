//! Documents on which the API fails with 500, among others and by themselves.

use std::time::Duration;

use super::{Bench, WINDOW, event, redis, subscription};
use crate::config::Subscription;
use crate::pipeline::verdict::Verdict;
use crate::pipeline::{Input, Output};

/// Time passes, a second at a time, while `arriving` comes in. The API fails on bodies that hold an
/// id that begins with `bad`, and stores all else. Answers the ids of each post.
fn run(
    bench: &mut Bench,
    seconds: u64,
    mut arriving: impl FnMut(u64) -> Vec<String>,
) -> Vec<Vec<String>> {
    let mut posts = Vec::new();
    for second in 0..seconds {
        for id in arriving(second) {
            bench.deliver(&event(&id, ""));
        }
        bench.now += Duration::from_secs(1);
        while let Some((batch, ids)) = next_post(bench) {
            let is_bad = ids.iter().any(|id| id.starts_with("bad"));
            let verdict = if is_bad { boom() } else { Verdict::Stored };
            posts.push(ids);
            bench.pump();
            bench.input(Input::Uploaded { batch, verdict });
        }
    }
    posts
}

fn boom() -> Verdict {
    Verdict::Unwell {
        status: Some(500),
        reason: "500: boom".into(),
        retry_after: None,
    }
}

fn next_post(bench: &mut Bench) -> Option<(super::BatchId, Vec<String>)> {
    loop {
        match bench.poll() {
            Output::Wait(Some(until)) if until == bench.now => {}
            Output::Wait(_) => return None,
            Output::Upload {
                batch,
                body,
                documents,
            } => return Some((batch, documents.map(|one| body.id(one)).collect())),
            Output::Probe => bench.input(Input::Probed(Ok(()))),
            _ => {}
        }
        bench.check_books();
    }
}

fn ids(prefix: &str, numbers: std::ops::Range<u64>) -> Vec<String> {
    numbers.map(|number| format!("{prefix}-{number}")).collect()
}

#[test]
fn bad_documents_in_a_row_do_not_keep_good_ones_from_being_tried() {
    let mut bench = Bench::new(&subscription());
    run(&mut bench, 600, |second| match second {
        // Each in a batch of its own, and nothing was ever stored.
        0 | 10 | 20 | 30 | 40 => ids("bad", second..second + 1),
        100.. if second % 10 == 0 => ids("good", second..second + 1),
        _ => vec![],
    });
    let ledger = bench.pipeline.ledger();
    let settled = (ledger.quarantined, ledger.delivered);
    assert_eq!(settled, (5, 50), "{ledger:?}");
}

#[test]
fn where_nothing_else_comes_a_stored_document_bears_witness() {
    let mut bench = Bench::new(&subscription());
    let posts = run(&mut bench, 60, |second| match second {
        0 => ids("good", 0..2),
        10 => ids("bad", 0..1),
        _ => vec![],
    });
    let [good, bad] = ["good-0", "bad-0"].map(|id| vec![id.to_owned()]);
    let search = [[bad.clone(), good], [bad.clone(), bad]].concat();
    assert_eq!(posts[0], ids("good", 0..2));
    // A 500, then five that count.
    let searched: Vec<_> = std::iter::repeat_n(&search[..2], 5)
        .flatten()
        .cloned()
        .collect();
    assert_eq!(posts[1..], [searched, search[2..3].to_vec()].concat());
    let ledger = bench.pipeline.ledger();
    assert_eq!((ledger.quarantined, ledger.delivered), (1, 2), "{ledger:?}");
}

#[test]
fn while_the_api_fails_on_everything_only_one_document_asks() {
    let mut bench = Bench::new(&subscription());
    bench.post(&["good"]);
    bench.stored(0);
    bench.post(&["fine"]);
    bench.answered(1, boom());
    for _ in 0..50 {
        bench.now += Duration::from_secs(60);
        let (batch, ids) = next_post(&mut bench).unwrap();
        assert_eq!(ids, ["good"]);
        let verdict = boom();
        bench.input(Input::Uploaded { batch, verdict });
    }
    run(&mut bench, 60, |_| vec![]);
    let ledger = bench.pipeline.ledger();
    assert_eq!((ledger.quarantined, ledger.delivered), (0, 2), "{ledger:?}");
}

#[test]
fn a_witness_that_is_refused_by_now_is_not_asked_again() {
    let mut bench = Bench::new(&subscription());
    bench.post(&["good"]);
    bench.stored(0);
    bench.post(&["bad"]);
    bench.answered(1, boom());
    bench.now += Duration::from_secs(60);
    let (batch, ids) = next_post(&mut bench).unwrap();
    assert_eq!(ids, ["good"]);
    let verdict = Verdict::Refused {
        status: 400,
        reason: "mapping".into(),
    };
    bench.input(Input::Uploaded { batch, verdict });
    bench.now += Duration::from_secs(60);
    assert_eq!(next_post(&mut bench).unwrap().1, ["bad"]);
    assert_eq!(bench.pipeline.ledger().quarantined, 0);
}

#[test]
fn a_suspect_gets_its_turn_where_others_never_cease() {
    let mut bench = Bench::listening(&Subscription {
        brokers: vec![redis()],
        ..subscription()
    });
    let posts = run(&mut bench, 60, |second| match second {
        0 => ids("bad", 0..1),
        // Several times as much as would go out between two turns.
        10.. => ids("good", 300 * second..300 * second + 300),
        _ => vec![],
    });
    let is_bad = |ids: &[String]| ids.contains(&"bad-0".into());
    let posts: Vec<_> = posts.iter().map(Vec::as_slice).collect();
    let others = posts.split(|ids| is_bad(ids)).map(<[_]>::len);
    let others: Vec<_> = others.skip_while(|others| *others == 0).collect();
    assert_eq!(others[..5], [8; 5]);
    assert_eq!(others.len(), 6, "it is given up then");
    let ledger = bench.pipeline.ledger();
    assert_eq!(ledger.quarantined, 1, "{ledger:?}");
    assert!(bench.pipeline.batches.len() <= 2);
}

#[test]
fn what_is_done_behind_a_suspect_takes_no_memory() {
    let mut bench = Bench::new(&subscription());
    bench.post(&["bad"]);
    bench.answered(0, boom());
    for number in 1..5 {
        bench.deliver(&event(&format!("good-{number}"), ""));
        bench.now += WINDOW;
        bench.pump();
        bench.now += WINDOW;
        bench.pump();
        bench.stored(number);
        let held = bench.pipeline.batches.iter();
        let held: usize = held.map(|batch| batch.body.documents()).sum();
        assert!(held <= 2, "{held} documents");
    }
}

#[test]
fn a_suspect_leaves_the_ring_to_others() {
    let mut bench = Bench::new(&Subscription {
        buffer_bytes: 4096,
        ..subscription()
    });
    let long = |id: &str| event(id, &"x".repeat(2500));
    bench.deliver(&long("bad"));
    bench.pump();
    bench.now += WINDOW;
    bench.pump();
    bench.answered(0, boom());
    // It would not fit beside the first.
    assert!(bench.pipeline.has_room(2600));
    bench.deliver(&long("good"));
}

#[test]
fn suspects_that_are_large_together_leave_no_room() {
    let mut bench = Bench::new(&subscription());
    for number in 0..10 {
        bench.deliver(&event(&format!("bad-{number}"), &"x".repeat(900)));
        bench.now += WINDOW;
        let Some((batch, _)) = next_post(&mut bench) else {
            continue;
        };
        let verdict = boom();
        bench.input(Input::Uploaded { batch, verdict });
        bench.now += Duration::from_secs(60);
    }
    let bodies = bench.pipeline.batches.iter();
    let bytes: usize = bodies.map(|batch| batch.body.bytes().len()).sum();
    // One batch of suspects, one more that was sealed then, and one for the uploader.
    assert!((2000..3 * 2000).contains(&bytes), "{bytes}");
}
