//! What an event costs on its way to a document, as far as a count or a clock can tell on any machine:
//! allocations, and no cost that grows faster than the event. Instructions are counted by `scripts/cost`.

#[path = "support/counting_heap.rs"]
mod counting_heap;
#[path = "support/cpu_time.rs"]
mod cpu_time;
// Both have more than is needed here.
#[allow(dead_code)]
#[path = "support/golden.rs"]
mod golden;
#[path = "bench/samples.rs"]
mod samples;

use std::hint::black_box;
use std::time::Duration;

use counting_heap::asked;
use cpu_time::cpu_time;
use samples::{all_documents, documents, long, merged, one_task, recorded};

/// Allocations from an event's JSON text to its document.
fn allocations(event: &[u8]) -> u64 {
    let (asked, made) = asked(|| {
        let mut made = 0;
        documents(event, |document| {
            black_box(&document);
            made += 1;
        });
        made
    });
    assert_eq!(made, 1);
    asked.allocations
}

/// Most events of a task have their document's text as their only allocation.
#[test]
fn a_plain_event_allocates_its_document_and_little_else() {
    let most = [
        ("task-sent", 1),
        ("task-received", 1),
        ("task-started", 1),
        ("task-succeeded", 1),
        ("task-failed", 4),
        ("task-retried", 4),
        ("task-rejected", 1),
        ("task-revoked", 1),
        ("worker-heartbeat", 2),
    ];
    for (event_type, most) in most {
        let found = allocations(&recorded(event_type));
        println!("{event_type}: {found} allocations");
        assert!(
            found <= most,
            "{event_type}: {found}, expected {most} at most"
        );
    }
}

/// Buffers double as they grow: sixteen times the text may take four steps more.
#[test]
fn allocations_do_not_grow_with_a_text() {
    for field in [
        "args of one text",
        "kwargs of one text",
        "traceback",
        "result",
    ] {
        let [one, sixteen] = [1_500, 24_000].map(|length| allocations(&long(field, length)));
        println!("{field}: {one} allocations, {sixteen} where it is 16 times as long");
        assert!(sixteen <= one + 4, "{field}: {one} became {sixteen}");
    }
}

/// Each list or object in the arguments is one of its own in memory, too.
#[test]
fn allocations_grow_with_the_values_of_arguments_at_most() {
    for field in ["args", "kwargs"] {
        let [one, sixteen] = [1_500, 24_000].map(|length| allocations(&long(field, length)));
        println!("{field}: {one} allocations, {sixteen} where it has 16 times as many values");
        assert!(sixteen <= one * 16, "{field}: {one} became {sixteen}");
    }
}

/// The best of several times: what else the machine does costs this thread caches.
fn least_time<T>(prepare: impl Fn() -> T, work: impl Fn(T)) -> Duration {
    let time = || {
        let prepared = prepare();
        let start = cpu_time();
        work(prepared);
        cpu_time() - start
    };
    (0..7).map(|_| time()).min().expect("seven times")
}

/// What is 16 times as much may take 16 times as long; were its cost quadratic, it took 256 times.
fn assert_not_quadratic(what: &str, one: Duration, sixteen: Duration) {
    println!("{what}: {one:?}, 16 times as much: {sixteen:?}");
    assert!(sixteen < one * 64, "{what}: {one:?} became {sixteen:?}");
}

#[test]
fn no_text_takes_quadratic_time() {
    // Leek cuts a traceback; it is to be short enough to be read to its end.
    for (field, length) in [
        ("args", 12_000),
        ("kwargs", 12_000),
        ("kwargs of nested JSON", 1_200),
        ("traceback", 1_800),
        ("result", 12_000),
    ] {
        let [one, sixteen] = [length, 16 * length].map(|length| {
            let event = long(field, length);
            least_time(|| (), |()| documents(&event, drop))
        });
        assert_not_quadratic(field, one, sixteen);
    }
}

#[test]
fn merging_one_task_takes_no_quadratic_time() {
    let [one, sixteen] = [625, 10_000].map(|count| {
        let all = all_documents(&one_task(count));
        least_time(|| all.clone(), |documents| drop(merged(documents)))
    });
    assert_not_quadratic("events of one task", one, sixteen);
}
