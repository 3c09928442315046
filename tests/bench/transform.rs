//! Instructions of an event's way from JSON text to document, and of a batch's to its body.
//!
//! `scripts/cost` runs this under callgrind and fails where a figure is 10 % above its baseline in
//! `transform.tsv`; `scripts/cost --record` writes what it counts there. Preparing the events, and
//! freeing the documents, is not counted; memory comes from the C library's malloc.

// It has more than is needed here.
#[allow(dead_code)]
#[path = "../support/golden.rs"]
mod golden;
mod samples;

use gungraun::{
    Callgrind, EventKind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main,
};
use leek_agent::document::{Body, Document};
use samples::{all_documents, documents, long, merged, recorded};

/// Lines of a name and its instructions. It is read at run time: new baselines need no new build.
const BASELINES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/bench/transform.tsv");

/// How much of a baseline is too much. What the same code costs moves by far less between builds.
const LIMIT_PERCENT: u64 = 110;

/// Fails what takes more than its baseline allows. What has none yet is only counted.
fn limit(name: &str) -> LibraryBenchmarkConfig {
    let mut callgrind = Callgrind::with_args(["--cache-sim=no"]);
    callgrind.format([EventKind::Ir]);
    if let Some(instructions) = baseline(name) {
        callgrind.hard_limits([(EventKind::Ir, instructions * LIMIT_PERCENT / 100)]);
    }
    let mut config = LibraryBenchmarkConfig::default();
    config.tool(callgrind);
    config
}

fn baseline(name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(BASELINES).expect("the baselines");
    let mut lines = text.lines().filter_map(|line| line.split_once('\t'));
    let (_, instructions) = lines.find(|(known, _)| *known == name)?;
    Some(instructions.parse().expect("instructions are a number"))
}

/// Messages, and room for the documents of all their events.
type Messages = (Vec<Vec<u8>>, Vec<Document>);

fn messages(bodies: Vec<Vec<u8>>) -> Messages {
    let room = Vec::with_capacity(samples::count(&bodies));
    (bodies, room)
}

fn one(event_type: &str) -> Messages {
    messages(vec![recorded(event_type)])
}

fn one_long(field: &str, length: usize) -> Messages {
    messages(vec![long(field, length)])
}

fn golden() -> Messages {
    messages(samples::golden())
}

#[library_benchmark(setup = one)]
#[bench::task_sent(args = ("task-sent"), config = limit("task_sent"))]
#[bench::task_received(args = ("task-received"), config = limit("task_received"))]
#[bench::task_started(args = ("task-started"), config = limit("task_started"))]
#[bench::task_succeeded(args = ("task-succeeded"), config = limit("task_succeeded"))]
#[bench::task_failed(args = ("task-failed"), config = limit("task_failed"))]
#[bench::task_retried(args = ("task-retried"), config = limit("task_retried"))]
#[bench::task_rejected(args = ("task-rejected"), config = limit("task_rejected"))]
#[bench::task_revoked(args = ("task-revoked"), config = limit("task_revoked"))]
#[bench::worker_online(args = ("worker-online"), config = limit("worker_online"))]
#[bench::worker_heartbeat(args = ("worker-heartbeat"), config = limit("worker_heartbeat"))]
#[bench::worker_offline(args = ("worker-offline"), config = limit("worker_offline"))]
#[bench::all_golden(args = (), setup = golden, config = limit("all_golden"))]
#[bench::args_3k(args = ("args", 3_000), setup = one_long, config = limit("args_3k"))]
#[bench::args_24k(args = ("args", 24_000), setup = one_long, config = limit("args_24k"))]
#[bench::kwargs_3k(args = ("kwargs", 3_000), setup = one_long, config = limit("kwargs_3k"))]
#[bench::kwargs_24k(args = ("kwargs", 24_000), setup = one_long, config = limit("kwargs_24k"))]
#[bench::traceback_3k(args = ("traceback", 3_000), setup = one_long, config = limit("traceback_3k"))]
#[bench::traceback_24k(args = ("traceback", 24_000), setup = one_long, config = limit("traceback_24k"))]
#[bench::result_3k(args = ("result", 3_000), setup = one_long, config = limit("result_3k"))]
#[bench::result_24k(args = ("result", 24_000), setup = one_long, config = limit("result_24k"))]
fn document((bodies, mut room): Messages) -> Messages {
    for body in &bodies {
        documents(body, |document| room.push(document));
    }
    (bodies, room)
}

fn of_one_task(events: usize) -> Vec<Document> {
    all_documents(&samples::one_task(events))
}

fn of_many_tasks(tasks: usize) -> Vec<Document> {
    all_documents(&samples::lives(tasks))
}

#[library_benchmark(setup = of_one_task)]
#[bench::one_task_1k(args = (1_000), config = limit("one_task_1k"))]
#[bench::one_task_8k(args = (8_000), config = limit("one_task_8k"))]
#[bench::tasks_100(args = (100), setup = of_many_tasks, config = limit("tasks_100"))]
#[bench::tasks_800(args = (800), setup = of_many_tasks, config = limit("tasks_800"))]
fn body(documents: Vec<Document>) -> Body {
    merged(documents)
}

library_benchmark_group!(name = cost, benchmarks = [document, body]);
main!(library_benchmark_groups = cost);
