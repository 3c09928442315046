//! Documents from events: each repair of the tolerant mode, merging, bodies, hostile input.

use proptest::prelude::*;

use super::*;
use crate::event::{Events, RawEvent, events};
use crate::json::loads;
use crate::python::value::Value;

const TASK: &str = r#""type": "task-received", "uuid": "u", "timestamp": 1.5, "utcoffset": 0, "pid": 1, "clock": 2, "hostname": "h""#;
const WORKER: &str = r#""type": "worker-heartbeat", "timestamp": 1.5, "utcoffset": 0, "pid": 1, "clock": 2, "hostname": "h", "freq": 2.0, "sw_ident": "a", "sw_ver": "b", "sw_sys": "c""#;

fn context(validation: Validation) -> Context<'static> {
    Context {
        app_env: "qa",
        now_ms: 7,
        validation,
    }
}

/// An event with further members; of equal keys the last one counts.
fn event(base: &str, more: &str) -> String {
    if more.is_empty() {
        format!("{{{base}}}")
    } else {
        format!("{{{base}, {more}}}")
    }
}

fn raw(event: &str) -> RawEvent<'_> {
    events(event.as_bytes()).unwrap().next().unwrap()
}

fn document(event: &str, validation: Validation) -> Result<Document, Rejected> {
    transform(raw(event), &context(validation), &mut Repairs::default())
}

fn json(document: &Document) -> String {
    let mut out = Vec::new();
    document.write(&mut out);
    assert_eq!(out.len(), document.encoded_len());
    String::from_utf8(out).unwrap()
}

/// The JSON of one field of a document.
fn field(json: &str, name: &str) -> Option<String> {
    let mut members = crate::json::read::members(json.as_bytes());
    let value = members.find(|(key, _)| *key == name.as_bytes())?.1;
    Some(String::from_utf8(value.to_vec()).unwrap())
}

/// Strict mode rejects the event; tolerant mode makes one repair, and the field has a value.
#[track_caller]
fn mended(base: &str, more: &str, repair: Repair, name: &str, expected: Option<&str>) {
    let event = event(base, more);
    let strict = document(&event, Validation::Strict);
    assert!(matches!(strict, Err(Rejected::Invalid(_))), "{strict:?}");
    repaired(&event, repair, name, expected);
}

#[track_caller]
fn repaired(event: &str, repair: Repair, name: &str, expected: Option<&str>) {
    let mut repairs = Repairs::default();
    let document = transform(raw(event), &context(Validation::Tolerant), &mut repairs).unwrap();
    assert_eq!(repairs.iter().collect::<Vec<_>>(), [(repair.name(), 1)]);
    assert_eq!(field(&json(&document), name).as_deref(), expected);
}

#[track_caller]
fn rejected(base: &str, more: &str, reason: &str) {
    for validation in [Validation::Strict, Validation::Tolerant] {
        let rejected = document(&event(base, more), validation).unwrap_err();
        assert_eq!(rejected, Rejected::Invalid(reason.to_owned()));
    }
}

#[test]
fn a_utcoffset_with_a_fraction_becomes_its_floor() {
    let repair = Repair::FractionalUtcoffset;
    mended(
        TASK,
        r#""utcoffset": -5.5"#,
        repair,
        "utcoffset",
        Some("-6"),
    );
    mended(
        WORKER,
        r#""utcoffset": 0.5"#,
        repair,
        "utcoffset",
        Some("0"),
    );
}

#[test]
fn null_is_left_out() {
    mended(TASK, r#""runtime": null"#, Repair::Null, "runtime", None);
    mended(TASK, r#""args": null"#, Repair::Null, "args", None);
    mended(
        TASK,
        r#""kwargs": null"#,
        Repair::Null,
        "kwargs_flattened",
        None,
    );
    mended(TASK, r#""traceback": null"#, Repair::Null, "trace", None);
    mended(TASK, r#""hostname": null"#, Repair::Null, "worker", None);
    mended(TASK, r#""clock": null"#, Repair::Null, "clock", Some("0"));
    mended(WORKER, r#""loadavg": null"#, Repair::Null, "loadavg", None);
    rejected(TASK, r#""pid": null"#, "pid: null: expected a value");
    rejected(TASK, r#""uuid": null"#, "uuid: null: expected a value");
}

#[test]
fn unknown_fields_are_left_out() {
    mended(TASK, r#""mine": 1"#, Repair::UnknownField, "mine", None);
    mended(
        TASK,
        r#""state": "X""#,
        Repair::UnknownField,
        "state",
        Some("\"RECEIVED\""),
    );
    mended(TASK, r#""freq": 2.0"#, Repair::UnknownField, "freq", None);
    mended(WORKER, r#""uuid": "x""#, Repair::UnknownField, "uuid", None);
}

#[test]
fn dates_that_are_none_are_left_out() {
    mended(
        TASK,
        r#""eta": "tomorrow""#,
        Repair::UnreadableDate,
        "eta",
        None,
    );
    mended(
        TASK,
        r#""expires": """#,
        Repair::UnreadableDate,
        "expires",
        None,
    );
    mended(
        TASK,
        r#""eta": "x\ud800y""#,
        Repair::UnreadableDate,
        "eta",
        None,
    );
}

#[test]
fn naive_dates_are_utc() {
    let event = event(TASK, r#""eta": "1970-01-01T00:00:01""#);
    repaired(&event, Repair::NaiveDate, "eta", Some("1000"));
}

#[test]
fn numbers_that_json_cannot_carry_are_left_out() {
    mended(
        TASK,
        r#""runtime": NaN"#,
        Repair::NotFinite,
        "runtime",
        None,
    );
    mended(
        TASK,
        r#""runtime": 1e400"#,
        Repair::NotFinite,
        "runtime",
        None,
    );
    mended(
        TASK,
        r#""retries": -Infinity"#,
        Repair::NotFinite,
        "retries",
        None,
    );
    mended(WORKER, r#""freq": NaN"#, Repair::NotFinite, "freq", None);
    mended(
        WORKER,
        r#""loadavg": [0.1, NaN]"#,
        Repair::NotFinite,
        "loadavg",
        None,
    );
    let kwargs = r#""kwargs": "{'a': 1e999, 'b': 1}""#;
    mended(
        TASK,
        kwargs,
        Repair::NotFinite,
        "kwargs_flattened",
        Some("{\"b\": 1}"),
    );
    rejected(
        TASK,
        r#""timestamp": NaN"#,
        "timestamp: NaN: expected a finite number",
    );
}

#[test]
fn integers_come_in_other_forms() {
    let repair = Repair::IntegerForm;
    mended(TASK, r#""clock": "012""#, repair, "clock", Some("12"));
    mended(
        TASK,
        r#""retries": "-0""#,
        repair,
        "retries",
        Some("-0").map(|_| "0"),
    );
    mended(WORKER, r#""active": "+3""#, repair, "active", Some("3"));
    repaired(
        &event(TASK, r#""utcoffset": 0.0"#),
        repair,
        "utcoffset",
        Some("0"),
    );
    repaired(
        &event(TASK, r#""pid": 1e20"#),
        repair,
        "pid",
        Some("100000000000000000000"),
    );
    rejected(
        TASK,
        r#""clock": "1.0""#,
        "clock: \"1.0\": expected an integer",
    );
    rejected(TASK, r#""clock": 5.5"#, "clock: 5.5: expected an integer");
    rejected(TASK, r#""clock": true"#, "clock: true: expected an integer");
}

#[test]
fn a_task_may_lack_its_hostname() {
    let event = TASK.replace(", \"hostname\": \"h\"", "");
    mended(&event, "", Repair::MissingHostname, "worker", None);
    rejected(
        &WORKER.replace(", \"hostname\": \"h\"", ""),
        "",
        "hostname: missing",
    );
}

#[test]
fn types_without_a_state_are_filtered() {
    for name in ["task-cancelled", "mine", ""] {
        let event = event(TASK, &format!("\"type\": \"{name}\""));
        let filtered = document(&event, Validation::Tolerant).unwrap_err();
        assert_eq!(filtered, Rejected::Filtered(name.to_owned()));
        let invalid = document(&event, Validation::Strict).unwrap_err();
        assert!(matches!(invalid, Rejected::Invalid(_)));
    }
    rejected(
        TASK,
        r#""type": ["task-sent"]"#,
        "type: [\"task-sent\"]: expected a string",
    );
}

#[test]
fn lone_surrogates_are_replaced() {
    let event = event(
        TASK,
        r#""result": "a\ud800", "args": "('\\ud83d\\ude00', '\\udc00')""#,
    );
    repaired(
        &event,
        Repair::LoneSurrogate,
        "result",
        Some(r#""a\ufffd""#),
    );
    repaired(
        &event,
        Repair::LoneSurrogate,
        "args_0",
        Some(r#""\ud83d\ude00""#),
    );
    repaired(&event, Repair::LoneSurrogate, "args_1", Some(r#""\ufffd""#));
    let strict = json(&document(&event, Validation::Strict).unwrap());
    assert_eq!(field(&strict, "result").as_deref(), Some(r#""a\ud800""#));
}

#[test]
fn kinds_of_values_are_checked() {
    rejected(TASK, r#""name": 5"#, "name: 5: expected a string");
    rejected(
        TASK,
        r#""root_id": 5"#,
        "root_id: 5: expected a string or null",
    );
    rejected(
        TASK,
        r#""terminated": 1"#,
        "terminated: 1: expected true or false",
    );
    rejected(
        TASK,
        r#""timestamp": "1""#,
        "timestamp: \"1\": expected a finite number",
    );
    rejected(WORKER, r#""loadavg": 1"#, "loadavg: 1: expected an array");
    rejected(
        TASK,
        r#""signum": []"#,
        "signum: []: expected an integer, a string or null",
    );
    let long = format!("\"loadavg\": [{}0]", "0,".repeat(40_000));
    let shown = format!("[{}", "0,".repeat(19) + "0");
    rejected(
        WORKER,
        &long,
        &format!("loadavg: {shown}…: expected at most 65536 bytes"),
    );
}

#[test]
fn repairs_count_only_for_documents() {
    let mut repairs = Repairs::default();
    let event = event(TASK, r#""mine": 1, "pid": "x""#);
    assert!(transform(raw(&event), &context(Validation::Tolerant), &mut repairs).is_err());
    assert!(repairs.is_empty());
}

#[test]
fn a_document_is_bounded() {
    // DEL takes six bytes where it took one.
    let event = event(
        TASK,
        &format!("\"result\": \"{}\"", "\x7f".repeat(3_000_000)),
    );
    let Rejected::Invalid(reason) = document(&event, Validation::Tolerant).unwrap_err() else {
        panic!("not invalid");
    };
    assert_eq!(reason, "event: its document would exceed 16777216 bytes");
}

#[test]
fn flattening_is_bounded() {
    let list = format!(
        "[{}]",
        vec![format!("[{}]", vec!["0"; 100].join(",")); 100].join(",")
    );
    let kwargs = format!("{{'{}': {list}}}", "k".repeat(100_000));
    let event = event(TASK, &format!("\"kwargs\": \"{kwargs}\""));
    let document = document(&event, Validation::Strict).unwrap();
    assert!(document.encoded_len() < 2_000_000);
}

/// Recursion is bounded by depth: even unoptimised it fits the 2 MiB of a spawned thread.
#[test]
fn deep_nesting_fits_a_threads_stack() {
    let nested =
        |open: &str, close: &str, depth| format!("{}1{}", open.repeat(depth), close.repeat(depth));
    let events = [
        event(
            TASK,
            &format!("\"kwargs\": \"{}\"", nested("{\\\"a\\\":", "}", 1024)),
        ),
        event(
            TASK,
            &format!("\"kwargs\": \"{{'a': {}}}\"", nested("[", "]", 199)),
        ),
        event(TASK, &format!("\"args\": \"{}\"", nested("{1:", "}", 200))),
        event(WORKER, &format!("\"loadavg\": {}", nested("[", "]", 1022))),
    ];
    let work = move || {
        let documents = events
            .iter()
            .map(|event| document(event, Validation::Tolerant));
        documents.filter(Result::is_ok).count()
    };
    let thread = std::thread::Builder::new()
        .stack_size(2 * 1024 * 1024)
        .spawn(work);
    assert_eq!(thread.unwrap().join().unwrap(), 4);
}

fn id_of(document: &Document) -> &str {
    std::str::from_utf8(document.id()).unwrap()
}

#[test]
fn a_body_knows_its_documents() {
    let mut merger = Merger::new();
    for (uuid, count) in [("a", 1), ("é\\\"", 3), ("c", 2)] {
        for _ in 0..count {
            let event = event(TASK, &format!("\"uuid\": \"{uuid}\""));
            let document = document(&event, Validation::Tolerant).unwrap();
            assert!(id_of(&document).is_ascii());
            merger.add(document).unwrap();
        }
    }
    assert_eq!((merger.documents(), merger.events()), (3, 6));
    let body = merger.seal();
    assert!(merger.is_empty() && merger.encoded_len() == 2);
    assert_eq!(
        (0..4).map(|index| body.id(index)).collect::<Vec<_>>(),
        ["a", "é\"", "c", ""]
    );
    assert_eq!(
        (body.documents(), body.events(0..3), body.events(1..2)),
        (3, 6, 3)
    );
    assert_eq!(body.slice(0..3), body.bytes());
    assert_eq!(body.slice(1..1), b"[]");
    assert_eq!(body.slice(2..9), b"[]");
    assert_eq!(body.slice(2..3), [b"[", body.document(2), b"]"].concat());
}

#[test]
fn merging_the_same_task_often_stays_small() {
    let mut merger = Merger::new();
    let args = "x".repeat(1000);
    for clock in 0..10_000 {
        let more = format!("\"clock\": {clock}, \"timestamp\": {clock}, \"args\": \"{args}\"");
        merger
            .add(document(&event(TASK, &more), Validation::Tolerant).unwrap())
            .unwrap();
    }
    assert!(merger.documents[0].text.len() < 8000);
    let body = merger.seal();
    let json = String::from_utf8(body.document(0).to_vec()).unwrap();
    assert_eq!(field(&json, "events_count").as_deref(), Some("10000"));
    assert_eq!(field(&json, "clock").as_deref(), Some("9999"));
    assert_eq!(
        field(&json, "events").unwrap().matches("RECEIVED").count(),
        MAX_STATES
    );
}

#[test]
fn a_uuid_that_is_a_hostname_harms_nothing_else() {
    let mut merger = Merger::new();
    let add = |merger: &mut Merger, base: &str, more: &str| {
        merger.add(document(&event(base, more), Validation::Tolerant).unwrap())
    };
    add(
        &mut merger,
        TASK,
        "\"uuid\": \"h\", \"type\": \"task-succeeded\"",
    )
    .unwrap();
    let before = merger.encoded_len();
    let error = add(&mut merger, WORKER, "").unwrap_err();
    assert!(matches!(error, Rejected::Invalid(_)));
    assert_eq!((merger.encoded_len(), merger.events()), (before, 1));
}

/// Events of few tasks and workers in every state, so that merges happen.
fn any_event() -> impl Strategy<Value = String> {
    let kinds = [
        "sent",
        "received",
        "started",
        "succeeded",
        "failed",
        "rejected",
        "revoked",
        "retried",
    ];
    let extra = prop::sample::select(vec![
        "",
        "\"retries\": 1",
        "\"args\": \"(1, 'é')\"",
        "\"kwargs\": \"{'a': {'b': 1}}\"",
        "\"traceback\": \"Traceback\"",
        "\"root_id\": \"a\", \"parent_id\": \"b\"",
        "\"name\": \"x.y\"",
    ]);
    let task = (prop::sample::select(kinds.to_vec()), prop::sample::select(vec!["a", "b", "h"]), 0..4, extra)
        .prop_map(|(kind, uuid, stamp, extra)| {
            let comma = if extra.is_empty() { "" } else { ", " };
            event(TASK, &format!("\"type\": \"task-{kind}\", \"uuid\": \"{uuid}\", \"timestamp\": {stamp}{comma}{extra}"))
        });
    let worker = (
        prop::sample::select(vec!["online", "heartbeat", "offline"]),
        0..4,
    )
        .prop_map(|(kind, stamp)| {
            event(
                WORKER,
                &format!("\"type\": \"worker-{kind}\", \"timestamp\": {stamp}"),
            )
        });
    prop_oneof![4 => task, 1 => worker]
}

proptest! {
    #[test]
    fn the_length_of_a_body_is_known_before(batch in prop::collection::vec(any_event(), 0..60)) {
        let mut merger = Merger::new();
        let mut merged = 0;
        for event in &batch {
            let document = document(event, Validation::Tolerant).unwrap();
            let bound = merger.len_with(&document);
            let (documents, before) = (merger.documents(), merger.encoded_len());
            merged += usize::from(merger.add(document).is_ok());
            prop_assert!(merger.encoded_len() <= bound && before <= bound);
            if merger.documents() > documents {
                prop_assert_eq!(merger.encoded_len(), bound);
            }
        }
        prop_assert_eq!(merger.events(), merged);
        let expected = merger.encoded_len();
        let body = merger.seal();
        prop_assert_eq!(body.bytes().len(), expected);
        prop_assert_eq!(body.events(0..body.documents()), merged);
        let parsed: serde_json::Value = serde_json::from_slice(body.bytes()).unwrap();
        prop_assert_eq!(parsed.as_array().unwrap().len(), body.documents());
    }

    #[test]
    fn any_bytes_are_harmless(bytes in prop::collection::vec(any::<u8>(), 0..200), offset in 0..200_usize) {
        for event in Events::resume(&bytes, offset) {
            let _ = transform(event, &context(Validation::Tolerant), &mut Repairs::default());
        }
    }

    #[test]
    fn any_value_in_any_field_is_harmless(
        name in prop::sample::select(vec!["args", "kwargs", "eta", "traceback", "name", "clock", "timestamp", "type", "uuid"]),
        value in any::<String>(),
    ) {
        let text = serde_json::to_string(&value).unwrap();
        for validation in [Validation::Strict, Validation::Tolerant] {
            if let Ok(document) = document(&event(TASK, &format!("\"{name}\": {text}")), validation) {
                let json = json(&document);
                prop_assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok());
                prop_assert!(matches!(loads::python(json.as_bytes()), Value::Dict(_)));
            }
        }
    }
}
