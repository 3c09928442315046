//! Events whose way from JSON text to document is measured: recorded ones, long ones, and the lives of
//! tasks. The same for instructions, time and allocations.

// Each binary uses its own part of this.
#![allow(dead_code)]

use std::fmt::Write;
use std::hint::black_box;

use leek_agent::document::{Body, Context, Document, Merger, Repairs, Validation, transform};
use leek_agent::event::{RawEvent, events, events_noting};
use leek_agent::json::read;
use leek_agent::json::scan::Parts;

use super::golden::{NOW_MS, pairs, recorded_bodies};

/// What happens to a task that is retried once, in order.
const LIFE: [&str; 6] = [
    "task-sent",
    "task-received",
    "task-started",
    "task-retried",
    "task-failed",
    "task-succeeded",
];

/// The first recorded event of a type, as Celery 5.7.0 sent it.
pub fn recorded(event_type: &str) -> Vec<u8> {
    let quoted = format!("\"{event_type}\"");
    recorded_bodies()
        .iter()
        .flat_map(|body| events(body).expect("a recorded body is JSON"))
        .map(RawEvent::text)
        .find(|event| value(event, "type") == quoted.as_bytes())
        .expect("a recorded event of each type")
        .to_vec()
}

/// The same, as so many tasks or moments would send it: a processor guesses its way through a text that
/// it just saw.
pub fn varied(event_type: &str, count: usize) -> Vec<Vec<u8>> {
    let event = recorded(event_type);
    (0..count).map(|n| stamped(&event, &uuid(n), n)).collect()
}

/// Every body of the golden file that holds events.
pub fn golden() -> Vec<Vec<u8>> {
    let bodies = pairs().into_iter().flat_map(|pair| pair.bodies);
    bodies.filter(|body| events(body).is_ok()).collect()
}

/// How many events some bodies hold.
pub fn count(bodies: &[Vec<u8>]) -> usize {
    let events = |body: &Vec<u8>| events(body).map_or(0, Iterator::count);
    bodies.iter().map(events).sum()
}

/// A recorded event in which one field is about `length` bytes long.
pub fn long(field: &str, length: usize) -> Vec<u8> {
    let (event_type, name, text) = match field {
        "args" => ("task-received", "args", args(length)),
        "args of one text" => ("task-received", "args", format!("('{}',)", words(length))),
        "kwargs" => ("task-received", "kwargs", kwargs(length)),
        "kwargs of one text" => (
            "task-received",
            "kwargs",
            format!("{{'text': '{}'}}", words(length)),
        ),
        "kwargs of nested JSON" => ("task-received", "kwargs", nested(length)),
        "result" => ("task-succeeded", "result", args(length)),
        "traceback" => ("task-failed", "traceback", traceback(length)),
        _ => panic!("{field}: no field to make long"),
    };
    with(&recorded(event_type), name, &json(&text))
}

fn words(length: usize) -> String {
    repeated(length, |n| format!("word {n} "))
}

/// Numbers, texts and nested values, as Celery writes a tuple of arguments.
fn args(length: usize) -> String {
    let item = |n| format!("{n}, 'item \"{n}\"', ['caf\u{e9}', {{'a': {n}.5}}, None], ");
    format!("({})", repeated(length, item))
}

/// The same as keyword arguments.
fn kwargs(length: usize) -> String {
    let item =
        |n| format!("'number_{n}': {n}, 'nested_{n}': {{'text': 'value {n}', 'list': [1, 2.5]}}, ");
    format!("{{{}}}", repeated(length, item))
}

/// JSON as deep as it is long, less than the depth that is refused.
fn nested(length: usize) -> String {
    let (open, close) = ("{\"a\": [", "]}");
    let depth = (length / 40).min(500);
    let text = words(length - depth * (open.len() + close.len()));
    format!("{}\"{text}\"{}", open.repeat(depth), close.repeat(depth))
}

fn traceback(length: usize) -> String {
    let frame = |n| {
        format!("  File \"/app/module_{n}.py\", line {n}, in step\n    return call(argument)\n")
    };
    let frames = repeated(length, frame);
    format!("Traceback (most recent call last):\n{frames}ValueError: no such item\n")
}

fn repeated(length: usize, item: impl Fn(usize) -> String) -> String {
    let mut text = String::new();
    for n in 0.. {
        if text.len() >= length {
            break;
        }
        text += &item(n);
    }
    text
}

/// The events of `tasks` tasks, each with all of [`LIFE`], in the order in which they happen.
pub fn lives(tasks: usize) -> Vec<Vec<u8>> {
    let life = LIFE.map(recorded);
    let mut events = Vec::new();
    for (step, event) in life.iter().enumerate() {
        for task in 0..tasks {
            events.push(stamped(event, &uuid(task), step * tasks + task));
        }
    }
    events
}

/// `count` events of one task, each later than the one before.
pub fn one_task(count: usize) -> Vec<Vec<u8>> {
    let life = LIFE.map(recorded);
    let uuid = uuid(0);
    let event = |n: usize| stamped(&life[n % life.len()], &uuid, n);
    (0..count).map(event).collect()
}

fn uuid(task: usize) -> String {
    // Its digits vary as those of real ones do.
    let hash = (task as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!(
        "{:08x}-{:04x}-4000-8000-{:012x}",
        hash >> 32,
        hash & 0xffff,
        task * 7_919
    )
}

fn stamped(event: &[u8], uuid: &str, seconds: usize) -> Vec<u8> {
    let event = with(event, "uuid", &json(uuid));
    let digits = (seconds * 1_234_567 + 821_334) % 10_000_000;
    let timestamp = format!("{}.{digits:07}", NOW_MS / 1000 + seconds as i64);
    with(&event, "timestamp", &timestamp)
}

/// The event with another value for one of its fields.
fn with(event: &[u8], field: &str, new: &str) -> Vec<u8> {
    let mut text = String::from("{");
    for (key, value) in read::members(event) {
        let value = if key == field.as_bytes() {
            new.as_bytes()
        } else {
            value
        };
        let separator = if text.len() == 1 { "" } else { ", " };
        let utf8 = |bytes| std::str::from_utf8(bytes).expect("JSON is text");
        write!(text, "{separator}\"{}\": {}", utf8(key), utf8(value)).expect("memory");
    }
    text.push('}');
    text.into_bytes()
}

fn json(text: &str) -> String {
    serde_json::to_string(text).expect("a text")
}

fn value<'a>(event: &'a [u8], field: &str) -> &'a [u8] {
    let mut members = read::members(event);
    let found = members.find(|(key, _)| *key == field.as_bytes());
    found.map_or(b"", |(_, value)| value)
}

/// What is measured of each message: its check as JSON, and for each of its events the document.
/// Answers how many became one; `take` gets those.
pub fn documents(body: &[u8], mut take: impl FnMut(Document)) {
    let context = Context {
        app_env: "qa",
        now_ms: NOW_MS,
        validation: Validation::Tolerant,
    };
    let mut repairs = Repairs::default();
    let mut parts = Parts::default();
    for event in events_noting(black_box(body), &mut parts)
        .into_iter()
        .flatten()
    {
        if let Ok(document) = transform(event, &context, &mut repairs) {
            take(document);
        }
    }
    black_box(&repairs);
}

/// The documents of some messages, ready to be merged.
pub fn all_documents(bodies: &[Vec<u8>]) -> Vec<Document> {
    let mut all = Vec::new();
    for body in bodies {
        documents(body, |document| all.push(document));
    }
    all
}

/// What is measured of a batch: its merge, and the body that is posted.
pub fn merged(documents: Vec<Document>) -> Body {
    let mut merger = Merger::new();
    for document in documents {
        // The API's answer to what cannot be merged is none of this.
        let _ = black_box(merger.add(document));
    }
    merger.seal()
}
