//! What becomes of whole events under a policy.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::document::{Context, Merger, Repairs, Validation, transform_through};
use crate::event::events;

const SECRET: &str = "hunter2";

/// The documents of one batch, and what became of the other events.
struct Outcome {
    documents: Vec<Value>,
    rejected: Vec<Rejected>,
    /// Everything that may be read outside.
    text: String,
}

fn run_with(policy: Policy, validation: Validation, all: &[Value]) -> Outcome {
    let context = Context {
        app_env: "qa",
        now_ms: 5,
        validation,
    };
    let mut screen = Screen::new(policy);
    let mut merger = Merger::new();
    let mut rejected = Vec::new();
    for event in all {
        let body = event.to_string();
        for event in events(body.as_bytes()).unwrap() {
            let document = transform_through(&mut screen, event, &context, &mut Repairs::default());
            rejected.extend(document.and_then(|document| merger.add(document)).err());
        }
    }
    let body = String::from_utf8(merger.seal().bytes().to_vec()).unwrap();
    let reasons: Vec<String> = rejected.iter().map(Rejected::to_string).collect();
    Outcome {
        documents: serde_json::from_str(&body).unwrap(),
        text: body + &reasons.join("\n"),
        rejected,
    }
}

fn run(policy: Policy, all: &[Value]) -> Outcome {
    run_with(policy, Validation::Tolerant, all)
}

fn event(kind: &str, uuid: &str, fields: Value) -> Value {
    let mut event = json!({
        "type": kind, "uuid": uuid, "hostname": "h", "timestamp": 1.5, "utcoffset": 0, "pid": 1,
        "clock": 2,
    });
    for (key, value) in fields.as_object().unwrap() {
        event[key] = value.clone();
    }
    event
}

fn globs(patterns: &[&str]) -> Vec<Glob> {
    let parse = |pattern: &&str| Glob::parse(pattern).unwrap();
    patterns.iter().map(parse).collect()
}

fn filter(include: &[&str], exclude: &[&str]) -> Policy {
    Policy {
        include: globs(include),
        exclude: globs(exclude),
        ..Policy::default()
    }
}

fn redact(fields: &[&str]) -> Policy {
    let mut redact = Redact::default();
    for field in fields {
        match Part::NAMED.iter().find(|(name, _)| name == field) {
            Some((_, part)) => redact.add_part(*part),
            None => redact.add_key(field.strip_prefix("kwargs.").unwrap()),
        }
    }
    Policy {
        redact,
        ..Policy::default()
    }
}

/// The whole life of a task, its name only in the first event.
fn life(uuid: &str, name: &str) -> [Value; 3] {
    [
        event("task-received", uuid, json!({"name": name, "args": SECRET})),
        event("task-started", uuid, json!({})),
        event("task-succeeded", uuid, json!({"result": SECRET})),
    ]
}

// ── Tasks and events ───────────────────────────────────────────────────────────────────────────

#[test]
fn the_whole_life_of_a_task_leaves_or_stays() {
    for (include, exclude, leaves) in [
        (&[][..], &[][..], &["a", "b", "c"][..]),
        (&["shop.*"], &[], &["a", "b"]),
        (&["shop.orders.*", "pay.*"], &[], &["a", "c"]),
        (&[], &["shop.*"], &["c"]),
        (&["shop.*"], &["*.stock.*"], &["a"]),
        (&["*"], &["*"], &[]),
    ] {
        let lives = [
            life("a", "shop.orders.add"),
            life("b", "shop.stock.count"),
            life("c", "pay.charge"),
        ];
        // In turns, as workers send them.
        let all: Vec<Value> = (0..3)
            .flat_map(|at| lives.iter().map(move |life| life[at].clone()))
            .collect();
        let outcome = run(filter(include, exclude), &all);
        let ids: Vec<&str> = outcome
            .documents
            .iter()
            .map(|d| d["id"].as_str().unwrap())
            .collect();
        assert_eq!(ids, leaves, "{include:?} {exclude:?}");
        let whole = |document: &Value| document["events_count"] == 3;
        assert!(outcome.documents.iter().all(whole), "{}", outcome.text);
        let withheld = vec![Rejected::Withheld(Withheld::Task); 9 - 3 * leaves.len()];
        assert_eq!(outcome.rejected, withheld);
    }
}

#[test]
fn a_task_without_a_known_name_stays_where_only_named_ones_may_leave() {
    let late = [event("task-succeeded", "a", json!({"result": SECRET}))];
    let outcome = run(filter(&["*"], &[]), &late);
    assert_eq!(outcome.rejected, [Rejected::Withheld(Withheld::Task)]);
    let outcome = run(filter(&["shop.*"], &["pay.*"]), &late);
    assert_eq!(outcome.rejected, [Rejected::Withheld(Withheld::Task)]);
}

#[test]
fn a_task_without_a_known_name_leaves_without_its_values_where_some_must_not() {
    let late = [event(
        "task-succeeded",
        "a",
        json!({"result": SECRET, "runtime": 2.5}),
    )];
    let outcome = run(filter(&[], &["pay.*"]), &late);
    assert_eq!(outcome.documents[0]["result"], MARK);
    assert_eq!(outcome.documents[0]["runtime"], 2.5);
    assert_eq!(outcome.documents[0]["state"], "SUCCEEDED");
}

#[test]
fn workers_are_no_tasks() {
    let online = event(
        "worker-online",
        "",
        json!({"freq": 2, "sw_ident": "py", "sw_ver": "5", "sw_sys": "Linux"}),
    );
    let outcome = run(filter(&["shop.*"], &["*"]), &[online]);
    assert_eq!(outcome.documents[0]["state"], "ONLINE");
}

#[test]
fn names_are_learned_from_events_that_are_not_kept() {
    let policy = Policy {
        keep_events: EventTypes::only("task-succeeded").unwrap(),
        ..filter(&["shop.*"], &[])
    };
    let all = [life("a", "shop.add"), life("b", "pay.charge")].concat();
    let outcome = run(policy, &all);
    assert_eq!(outcome.documents.len(), 1);
    assert_eq!(outcome.documents[0]["events"], json!(["SUCCEEDED"]));
    let by_type = |rejected: &&Rejected| **rejected == Rejected::Withheld(Withheld::EventType);
    assert_eq!(outcome.rejected.iter().filter(by_type).count(), 4);
}

#[test]
fn every_event_type_can_be_kept() {
    for name in EVENT_TYPES {
        let only = EventTypes::only(name).unwrap();
        let kept = EVENT_TYPES.map(|other| {
            let (_, state) = State::of_event(other.as_bytes()).unwrap();
            only.has(state)
        });
        assert_eq!(kept.iter().filter(|kept| **kept).count(), 1);
    }
    assert_eq!(EventTypes::only("task-cancelled"), None);
}

// ── Values ─────────────────────────────────────────────────────────────────────────────────────

/// One event with every value that can be redacted.
fn full() -> Value {
    event(
        "task-failed",
        "a",
        json!({
            "name": "shop.add",
            "args": "('x', 'hunter2')",
            "kwargs": "{'user': {'name': 'ann', 'password': 'hunter2'}, 'n': 1}",
            "result": "hunter2",
            "exception": "Declined('hunter2')",
            "traceback": "Traceback (most recent call last):\n  File \"a\"\nshop.Declined: hunter2",
        }),
    )
}

fn check(fields: &[&str], expected: Value) {
    let outcome = run(redact(fields), &[full()]);
    let document = &outcome.documents[0];
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&document[key], value, "{key} with {fields:?}");
    }
}

#[test]
fn args_and_what_is_made_of_them() {
    check(
        &["args"],
        json!({"args": MARK, "args_0": null, "args_1": null, "result": SECRET}),
    );
}

#[test]
fn kwargs_and_what_is_made_of_them() {
    check(
        &["kwargs"],
        json!({"kwargs": MARK, "kwargs_flattened": {}, "args_1": SECRET}),
    );
    check(
        &["kwargs.user.password"],
        json!({
            "kwargs": "{'user': {'name': 'ann', 'password': '[redacted]'}, 'n': 1}",
            "kwargs_flattened": {"user.name": "ann", "user.password": MARK, "n": 1},
        }),
    );
    check(
        &["kwargs.password", "kwargs.n"],
        json!({
            "kwargs": "{'user': {'name': 'ann', 'password': '[redacted]'}, 'n': '[redacted]'}",
            "kwargs_flattened": {"user.name": "ann", "user.password": MARK, "n": MARK},
        }),
    );
    check(
        &["kwargs.user"],
        json!({"kwargs_flattened": {"user": MARK, "n": 1}}),
    );
    // Nothing there by that name: as it was.
    check(&["kwargs.token"], json!({"kwargs": full()["kwargs"]}));
}

#[test]
fn a_result_is_just_a_value() {
    check(&["result"], json!({"result": MARK, "args_1": SECRET}));
}

#[test]
fn an_exception_is_in_its_traceback_too() {
    let gone = json!({"raw": MARK, "text": MARK, "wc": MARK});
    let error = json!({"type": "shop.Declined", "message": MARK});
    check(
        &["exception"],
        json!({"exception": MARK, "traceback": MARK, "trace": gone, "error": error,
               "lang": "python", "stack": []}),
    );
    check(
        &["traceback"],
        json!({"exception": "Declined('hunter2')", "traceback": MARK, "trace": gone,
               "error": error}),
    );
}

#[test]
fn an_error_type_that_may_be_part_of_a_message_stays() {
    let mut event = event("task-failed", "a", json!({}));
    for (exception, last, expected) in [
        (
            "Declined('a\\nhunter2: b')",
            "shop.Declined: a\nhunter2: b",
            "",
        ),
        ("Declined('x')", "shop.Declined", ""),
        ("1 error", "shop.Declined: x", ""),
        ("Declined()", "shop.Declined: x", "shop.Declined"),
        (
            "hunter2",
            "celery.exceptions.Retry: in 3s",
            "celery.exceptions.Retry",
        ),
    ] {
        event["exception"] = json!(exception);
        event["traceback"] = json!(format!("Traceback (most recent call last):\n{last}"));
        let outcome = run(redact(&["exception"]), std::slice::from_ref(&event));
        assert_eq!(outcome.documents[0]["error"]["type"], expected, "{last}");
        assert!(!outcome.text.contains(SECRET), "{}", outcome.text);
    }
}

#[test]
fn everything_redacted_leaves_no_secret() {
    let all = ["args", "kwargs", "result", "exception", "traceback"];
    let outcome = run(redact(&all), &[full(), full()]);
    assert_eq!(outcome.documents[0]["events_count"], 2);
    assert!(!outcome.text.contains(SECRET), "{}", outcome.text);
}

#[test]
fn reasons_quote_no_value() {
    let wrong = [
        json!(SECRET),
        json!([SECRET]),
        json!({ SECRET: SECRET }),
        json!(true),
        json!(1.5),
    ];
    let fields = [
        "type",
        "timestamp",
        "uuid",
        "name",
        "args",
        "kwargs",
        "result",
        "exception",
        "traceback",
        "hostname",
        "pid",
        "retries",
        "eta",
        "terminated",
        "runtime",
        "signum",
    ];
    for policy in [redact(&["kwargs.password"]), filter(&[], &["pay.*"])] {
        for validation in [Validation::Tolerant, Validation::Strict] {
            for value in &wrong {
                for field in fields {
                    let mut event = event("task-sent", "a", json!({"name": "shop.add"}));
                    event[field] = value.clone();
                    let outcome = run_with(policy.clone(), validation, &[event]);
                    for rejected in &outcome.rejected {
                        // A type without a state is told: it is no value of a task.
                        let told = matches!(rejected, Rejected::Filtered(_));
                        let reason = rejected.to_string();
                        assert!(told || !reason.contains(SECRET), "{field}: {reason}");
                    }
                }
            }
            let outcome = run_with(policy.clone(), validation, &[json!(wrong)]);
            assert!(!outcome.text.contains(SECRET), "{}", outcome.text);
        }
    }
    let outcome = run(
        redact(&["args"]),
        &[event("task-sent", "a", json!({"args": [SECRET]}))],
    );
    assert_eq!(outcome.text, "[]args: expected a string");
}

// ── Whatever the kwargs are ────────────────────────────────────────────────────────────────────

/// Python's `repr` and JSON's text of a value.
fn texts(value: &Value) -> [String; 2] {
    let mut python = Vec::new();
    write_python(value, &mut python);
    [String::from_utf8(python).unwrap(), value.to_string()]
}

fn write_python(value: &Value, out: &mut Vec<u8>) {
    use crate::python::repr::{Limited, write_repr};
    let text = value.to_string();
    let value = crate::json::loads::python(text.as_bytes());
    let mut limited = Limited::new(usize::MAX);
    write_repr(&value, &mut limited);
    out.extend(limited.into_text());
}

/// Any value, here and there a `password` with the secret somewhere in it.
fn planted() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z '\"\\\\{}\\[\\]:,#é\n]{0,8}".prop_map(Value::from),
    ];
    let secret = prop_oneof![
        Just(json!(SECRET)),
        "[a-z '\"\\\\{}\\[\\]:,#\n]{0,6}".prop_map(|text| json!(format!("{text}{SECRET}{text}"))),
        Just(json!([1, {"x": SECRET}])),
        Just(json!({ SECRET: [[SECRET]] })),
    ];
    leaf.prop_recursive(5, 40, 5, move |inner| {
        let key = "[a-z' ]{0,3}(\\.[a-z']{0,2})?";
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            (
                prop::collection::btree_map(key, inner, 0..4),
                prop::option::of(secret.clone())
            )
                .prop_map(|(members, secret)| {
                    let secret = secret.map(|secret| ("password".to_owned(), secret));
                    Value::Object(members.into_iter().chain(secret).collect())
                }),
        ]
    })
}

fn leaks(kwargs: &str) -> Option<String> {
    let event = event("task-sent", "a", json!({"name": "n", "kwargs": kwargs}));
    let outcome = run(redact(&["kwargs.password"]), &[event]);
    outcome.text.contains(SECRET).then_some(outcome.text)
}

proptest! {
    #[test]
    fn no_planted_value_leaves(value in planted(), cut in 0..200_usize) {
        for text in texts(&json!({"top": value, "password": SECRET})) {
            prop_assert_eq!(leaks(&text), None, "{}", text);
            // What is cut anywhere cannot be read, whatever is put behind it.
            let cut = (0..=cut.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
            let start = &text[..cut.unwrap_or(0)];
            for end in ["", "...", "…", ", ...}", "...'}", "'}", "\"}"] {
                let text = format!("{start}{end}");
                prop_assert_eq!(leaks(&text), None, "{}", text);
            }
        }
    }

    #[test]
    fn what_is_not_named_is_as_it_was(value in planted()) {
        for text in texts(&json!({"top": value})) {
            let plain = event("task-sent", "a", json!({"kwargs": text}));
            let documents = |policy| run(policy, std::slice::from_ref(&plain)).documents;
            let redacted = documents(redact(&["kwargs.no_such_key"]));
            let doubtful = redacted[0]["kwargs"] == MARK;
            prop_assert!(doubtful || redacted == documents(Policy::default()), "{}", text);
        }
    }

    #[test]
    fn any_text_does_no_harm(text in "[{}\\[\\]():,'\"\\\\#ab. 1\n]{0,40}") {
        leaks(&text);
    }
}
