//! Time and heap of an event's way from JSON text to document, and of its share of a batch's merge.
//!
//! `cargo bench --bench transform_time` prints lines of NAME, nanoseconds, allocations and bytes an event,
//! separated by tabs. Times are processor time, medians of several rounds, and hold for this
//! machine; freeing what was made is part of them. What must not grow is counted in instructions (`transform.rs`).

#[path = "../support/counting_heap.rs"]
mod counting_heap;
#[path = "../support/cpu_time.rs"]
mod cpu_time;
// It has more than is needed here.
#[allow(dead_code)]
#[path = "../support/golden.rs"]
mod golden;
mod samples;

use std::time::Duration;

use counting_heap::{Asked, asked};
use cpu_time::cpu_time;
use leek_agent::document::Document;
use samples::{all_documents, count, documents, lives, merged, one_task, varied};

/// Most are undisturbed by whatever else the machine does.
const ROUNDS: usize = 25;

/// A round is long enough for the clock to be of no weight.
const ROUND: Duration = Duration::from_millis(4);

const EVENT_TYPES: [&str; 11] = [
    "task-sent",
    "task-received",
    "task-started",
    "task-succeeded",
    "task-failed",
    "task-retried",
    "task-rejected",
    "task-revoked",
    "worker-online",
    "worker-heartbeat",
    "worker-offline",
];

fn main() {
    for event_type in EVENT_TYPES {
        row(event_type, &varied(event_type, 500));
    }
    row("all golden", &samples::golden());
    merge_row("merge: 800 tasks", &lives(800));
    merge_row("merge: one task", &one_task(10_000));
}

/// From JSON text to documents.
fn row(name: &str, bodies: &[Vec<u8>]) {
    let work = || {
        for body in bodies {
            documents(body, drop);
        }
    };
    print(name, count(bodies), || (), |()| work());
}

/// From documents to a body.
fn merge_row(name: &str, bodies: &[Vec<u8>]) {
    let all = all_documents(bodies);
    let copies = || -> Vec<Document> { all.clone() };
    print(name, all.len(), copies, |documents| drop(merged(documents)));
}

fn print<T>(name: &str, events: usize, prepare: impl Fn() -> T, work: impl Fn(T)) {
    let prepared = prepare();
    let (Asked { allocations, bytes }, ()) = asked(|| work(prepared));
    let runs = runs_of_a_round(&prepare, &work);
    let mut rounds: Vec<_> = (0..ROUNDS).map(|_| round(runs, &prepare, &work)).collect();
    rounds.sort_unstable();
    let share = |amount: f64| amount / events as f64;
    let ns = share(rounds[ROUNDS / 2].as_nanos() as f64 / runs as f64);
    println!(
        "{name}\t{ns:.0}\t{:.1}\t{:.0}",
        share(allocations as f64),
        share(bytes as f64)
    );
}

fn runs_of_a_round<T>(prepare: impl Fn() -> T, work: impl Fn(T)) -> usize {
    let mut runs = 1;
    while round(runs, &prepare, &work) < ROUND {
        runs *= 2;
    }
    runs
}

/// The time of some runs, without what prepares them.
fn round<T>(runs: usize, prepare: impl Fn() -> T, work: impl Fn(T)) -> Duration {
    let prepared: Vec<T> = (0..runs).map(|_| prepare()).collect();
    let start = cpu_time();
    prepared.into_iter().for_each(work);
    cpu_time() - start
}
