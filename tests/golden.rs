//! Recorded batches with the documents that Leek's own agent makes of them (`tests/data`).
//!
//! Strict mode must give the same text, byte for byte: values, integers told from floats, order of
//! keys. Tolerant mode must give the same documents, but for the repairs it makes.

use leek_agent::document::{Context, Merger, Rejected, Repairs, Validation, transform};
use leek_agent::event::{BodyError, events};
use leek_agent::json::loads;
use leek_agent::python::value::Value;

/// Pairs that strict mode does not reproduce, and why.
const KNOWN_DIFFERENCES: &[(&str, &str)] = &[(
    "args/066",
    r"a `\N{BULLET}` escape: the table of names would outweigh the agent, and `repr` writes none",
)];

const NOW_MS: i64 = 1_700_000_000_000;

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

/// One line of the golden file.
struct Pair {
    name: String,
    bodies: Vec<Vec<u8>>,
    docs: Option<String>,
    rejected: u64,
    skipped: u64,
    undecodable: u64,
    raises: bool,
    leading_blanks: bool,
}

fn pairs() -> Vec<Pair> {
    include_str!("data/golden-open.jsonl")
        .lines()
        .map(pair)
        .collect()
}

fn pair(line: &str) -> Pair {
    let members: Vec<_> = leek_agent::json::read::members(line.as_bytes()).collect();
    let get = |key: &str| {
        members
            .iter()
            .find(|(name, _)| *name == key.as_bytes())
            .map(|(_, value)| *value)
    };
    let number = |key| get(key).map_or(0, |value| text(value).parse().unwrap());
    let bodies = match (get("events"), get("raw_bodies")) {
        (Some(events), _) => leek_agent::json::read::items(events)
            .map(<[u8]>::to_vec)
            .collect(),
        (None, raw) => match loads::python(raw.unwrap()) {
            Value::List(bodies) => bodies.iter().map(string).collect(),
            other => panic!("{other:?}"),
        },
    };
    let docs = get("docs_raw").map(|raw| String::from_utf8(string(&loads::python(raw))).unwrap());
    Pair {
        name: String::from_utf8(string(&loads::python(get("name").unwrap()))).unwrap(),
        bodies,
        docs: docs.or(get("docs").map(|docs| text(docs).to_owned())),
        rejected: number("rejected"),
        skipped: number("skipped"),
        undecodable: number("undecodable"),
        raises: get("raises").is_some(),
        leading_blanks: get("tags").is_some(),
    }
}

fn text(json: &[u8]) -> &str {
    std::str::from_utf8(json).unwrap()
}

fn string(value: &Value<'_>) -> Vec<u8> {
    match value {
        Value::Str(text) => text.to_vec(),
        other => panic!("{other:?}"),
    }
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
