//! The pairs in `tests/data`: recorded batches with the documents that Leek's own agent makes of them.

use leek_agent::json::loads;
use leek_agent::python::value::Value;

/// Pairs that strict mode does not reproduce, and why.
pub const KNOWN_DIFFERENCES: &[(&str, &str)] = &[(
    "args/066",
    r"a `\N{BULLET}` escape: the table of names would outweigh the agent, and `repr` writes none",
)];

/// The clock of every pair.
pub const NOW_MS: i64 = 1_700_000_000_000;

/// One line of the golden file.
pub struct Pair {
    pub name: String,
    pub bodies: Vec<Vec<u8>>,
    pub docs: Option<String>,
    pub rejected: u64,
    pub skipped: u64,
    pub undecodable: u64,
    pub raises: bool,
}

/// All of them.
pub fn pairs() -> Vec<Pair> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/golden-open.jsonl");
    let text = std::fs::read_to_string(path).expect("the recorded pairs");
    text.lines().map(pair).collect()
}

/// The bodies of recorded messages of Celery 5.7.0 as they came from RabbitMQ.
pub fn recorded_bodies() -> Vec<Vec<u8>> {
    let lines = include_str!("../data/amqp-messages.jsonl").lines();
    let body = |line: &str| {
        let mut members = leek_agent::json::read::members(line.as_bytes());
        let (_, body) = members.find(|(key, _)| *key == b"body").unwrap();
        string(&loads::python(body))
    };
    lines.map(body).collect()
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
    }
}

/// JSON is text.
pub fn text(json: &[u8]) -> &str {
    std::str::from_utf8(json).unwrap()
}

/// The text of a string.
pub fn string(value: &Value<'_>) -> Vec<u8> {
    match value {
        Value::Str(text) => text.to_vec(),
        other => panic!("{other:?}"),
    }
}
