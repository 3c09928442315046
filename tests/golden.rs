//! Recorded batches with the documents that Leek's own agent makes of them (`tests/data`).
//!
//! Strict mode must give the same text, byte for byte: values, integers told from floats, order of
//! keys. Tolerant mode must give the same documents, but for the repairs it makes.

mod support;

use leek_agent::document::{Context, Merger, Repairs, Validation, transform};
use leek_agent::event::{BodyError, events};
use leek_agent::json::loads;
use leek_agent::python::value::Value;
use support::golden::{KNOWN_DIFFERENCES, NOW_MS, pairs, recorded_bodies, string, text};

/// What became of one batch.
#[derive(Debug, Default, PartialEq)]
struct Outcome {
    docs: String,
    rejected: u64,
    skipped: u64,
    undecodable: u64,
    repairs: Vec<&'static str>,
    reasons: Vec<String>,
}

fn run(bodies: &[Vec<u8>], validation: Validation) -> Outcome {
    let context = Context {
        app_env: "qa",
        now_ms: NOW_MS,
        validation,
    };
    let mut outcome = Outcome::default();
    let mut merger = Merger::new();
    let mut repairs = Repairs::default();
    for body in bodies {
        let events = match events(body) {
            Ok(events) => events,
            Err(BodyError::Undecodable(_)) => {
                outcome.undecodable += 1;
                continue;
            }
            Err(BodyError::NotEvents { .. }) => {
                outcome.skipped += 1;
                continue;
            }
        };
        for event in events {
            let added = transform(event, &context, &mut repairs).and_then(|document| {
                let bound = merger.len_with(&document);
                merger.add(document)?;
                assert!(merger.encoded_len() <= bound);
                Ok(())
            });
            if let Err(reason) = added {
                outcome.rejected += 1;
                outcome.reasons.push(format!("{reason:?}"));
            }
        }
    }
    let expected_len = merger.encoded_len();
    let body = merger.seal();
    assert_eq!(body.bytes().len(), expected_len);
    outcome.docs = String::from_utf8(body.bytes().to_vec()).unwrap();
    outcome.repairs = repairs.iter().map(|(name, _)| name).collect();
    outcome
}

#[test]
fn strict_mode_gives_leeks_documents() {
    let mut failures = Vec::new();
    let mut same = 0;
    for pair in pairs().into_iter().filter(|pair| !pair.raises) {
        let outcome = run(&pair.bodies, Validation::Strict);
        let counts = (outcome.rejected, outcome.skipped, outcome.undecodable);
        let equal = Some(&outcome.docs) == pair.docs.as_ref()
            && counts == (pair.rejected, pair.skipped, pair.undecodable);
        let known = KNOWN_DIFFERENCES.iter().any(|(name, _)| *name == pair.name);
        if equal == known {
            failures.push(format!(
                "{} (known difference: {known})\n  got      {} {counts:?} {:?}\n  expected {}\n",
                pair.name,
                outcome.docs,
                outcome.reasons,
                pair.docs.as_deref().unwrap_or("-"),
            ));
        }
        same += u32::from(equal);
    }
    println!("{same} pairs equal");
    assert!(
        failures.is_empty(),
        "{}:\n{}",
        failures.len(),
        failures.concat()
    );
}

/// The ids of a body's documents.
fn ids(docs: &str) -> Vec<String> {
    let items = leek_agent::json::read::items(docs.as_bytes());
    let id = |doc| {
        leek_agent::json::read::members(doc)
            .next()
            .map(|(_, id)| text(id).to_owned())
    };
    items.filter_map(id).collect()
}

#[test]
fn where_leek_raises_one_event_is_invalid_and_its_neighbours_are_kept() {
    let neighbours: &[(&str, &[&str])] = &[
        ("eta/bad_kills_good", &["\"good1\"", "\"good2\""]),
        ("batch/no_hostname_kills_batch", &["\"a\""]),
        (
            "batch/uuid_equals_worker_hostname_worker_first_older",
            &["\"w1@host\""],
        ),
        (
            "batch/uuid_eq_host_terminal_task_then_worker",
            &["\"w1@host\""],
        ),
        (
            "batch/uuid_eq_host_task_then_older_worker",
            &["\"w1@host\""],
        ),
    ];
    let uuid = "\"5ba85ca2-c7e0-4a33-8a2b-1f6c0f1c0001\"";
    for pair in pairs().into_iter().filter(|pair| pair.raises) {
        let outcome = run(&pair.bodies, Validation::Strict);
        assert_eq!(outcome.rejected, 1, "{}: {:?}", pair.name, outcome.reasons);
        let known = neighbours.iter().find(|(name, _)| *name == pair.name);
        let expected: &[&str] = match known {
            Some((_, ids)) => ids,
            None if pair.name.ends_with("list_mixed") => &[uuid],
            None if pair.name.ends_with("list_mixed_after_good") => &["\"good\"", uuid],
            None if pair.name.ends_with("_after_good") => &["\"good\""],
            None => &[],
        };
        assert_eq!(ids(&outcome.docs), expected, "{}", pair.name);
        run(&pair.bodies, Validation::Tolerant);
    }
}

/// What tolerant mode makes of a strict document: integers where they belong, no lone surrogates.
fn mended(docs: &str) -> Value<'_> {
    let Value::List(mut docs) = loads::python(docs.as_bytes()) else {
        panic!("no list")
    };
    for doc in &mut docs {
        let Value::Dict(fields) = doc else {
            panic!("no document")
        };
        for (key, value) in fields {
            if let (
                b"utcoffset" | b"pid" | b"clock" | b"retries" | b"signum" | b"active"
                | b"processed",
                Value::Float(number),
            ) = (string(key).as_slice(), &*value)
            {
                *value = Value::Int(format!("{number:.0}").replace("-0", "0").into());
            }
            replace_surrogates(value);
        }
    }
    Value::List(docs)
}

fn replace_surrogates(value: &mut Value<'_>) {
    match value {
        Value::Str(text) => {
            let points = leek_agent::python::text::code_points(text);
            let mut mended = Vec::new();
            points
                .map(|point| {
                    if (0xd800..=0xdfff).contains(&point) {
                        0xfffd
                    } else {
                        point
                    }
                })
                .for_each(|point| leek_agent::python::text::push(&mut mended, point));
            *text = mended.into();
        }
        Value::List(items) => items.iter_mut().for_each(replace_surrogates),
        Value::Dict(items) => items
            .iter_mut()
            .for_each(|(_, value)| replace_surrogates(value)),
        _ => {}
    }
}

#[test]
fn tolerant_mode_changes_nothing_but_what_it_mends() {
    let harmless = ["integer_form", "naive_date", "lone_surrogate"];
    for pair in pairs()
        .into_iter()
        .filter(|pair| !pair.raises && pair.rejected == 0)
    {
        let strict = run(&pair.bodies, Validation::Strict);
        let tolerant = run(&pair.bodies, Validation::Tolerant);
        assert_eq!(
            tolerant.rejected, 0,
            "{}: {:?}",
            pair.name, tolerant.reasons
        );
        assert_eq!(
            (tolerant.skipped, tolerant.undecodable),
            (pair.skipped, pair.undecodable)
        );
        if tolerant.repairs.iter().all(|name| *name == "naive_date") {
            assert_eq!(tolerant.docs, strict.docs, "{}", pair.name);
        } else {
            assert!(
                tolerant.repairs.iter().all(|name| harmless.contains(name)),
                "{}",
                pair.name
            );
            assert_eq!(
                loads::python(tolerant.docs.as_bytes()),
                mended(&strict.docs),
                "{}",
                pair.name
            );
        }
    }
}

/// Messages of Celery 5.7.0 as they came from RabbitMQ.
#[test]
fn every_recorded_message_becomes_documents() {
    let mut filtered = Vec::new();
    for body in recorded_bodies() {
        let outcome = run(&[body], Validation::Tolerant);
        assert_eq!((outcome.skipped, outcome.undecodable), (0, 0));
        filtered.extend(outcome.reasons);
    }
    assert!(
        filtered
            .iter()
            .all(|reason| reason.starts_with("Filtered(")),
        "{filtered:?}"
    );
}
