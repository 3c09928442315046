//! JSON text as Python values, for the few places that need a whole tree.
//!
//! A tree takes many times the memory of its text: callers bound the text they give. Its depth is
//! bounded by the check before ([`scan::MAX_DEPTH`]), so that reading it may recurse.

use super::read::{self, Kind};
use super::scan::{self, Dialect, SyntaxError};
use crate::python::value::{Places, Value};

/// Reads a value as `orjson.loads` does: integers beyond 64 bits become floats.
pub fn orjson(text: &[u8]) -> Result<Value<'_>, SyntaxError> {
    scan::check(text, Dialect::Orjson)?;
    let start = read::skip_blanks(text, 0);
    let end = read::skip_value(text, start).unwrap_or(text.len());
    Ok(load(&text[start..end], Dialect::Orjson, 0))
}

/// Reads a value that was checked before, as Python's `json` does.
pub fn python(text: &[u8]) -> Value<'_> {
    load(text, Dialect::Python, 0)
}

fn load(value: &[u8], dialect: Dialect, depth: usize) -> Value<'_> {
    if depth > scan::MAX_DEPTH {
        return Value::None;
    }
    match read::kind(value) {
        Kind::Null => Value::None,
        Kind::Bool => Value::Bool(value == b"true"),
        Kind::Int => load_int(read::int(value), dialect),
        Kind::Float => Value::Float(read::float(value)),
        Kind::String => Value::Str(read::decode(read::unquoted(value))),
        Kind::Array => Value::List(
            read::items(value)
                .map(|item| load(item, dialect, depth + 1))
                .collect(),
        ),
        Kind::Object => load_object(value, dialect, depth),
    }
}

fn load_int(digits: &str, dialect: Dialect) -> Value<'_> {
    let fits = digits.len() < 19 || digits.parse::<i64>().is_ok() || digits.parse::<u64>().is_ok();
    match dialect {
        Dialect::Orjson if !fits => Value::Float(read::float(digits.as_bytes())),
        _ => Value::Int(digits.into()),
    }
}

/// Of equal keys the last value wins, in the place of the first.
fn load_object(object: &[u8], dialect: Dialect, depth: usize) -> Value<'_> {
    let mut members: Vec<(Value<'_>, Value<'_>)> = Vec::new();
    let mut places: Option<Places> = None;
    for (key, value) in read::members(object) {
        let key = Value::Str(read::decode(key));
        let value = load(value, dialect, depth + 1);
        if members.is_empty() {
            members.push((key, value));
            continue;
        }
        let places = places.get_or_insert_with(|| {
            let mut places = Places::default();
            places.find(&members[0].0);
            places
        });
        match places.find(&key) {
            Some(place) => members[place].1 = value,
            None => members.push((key, value)),
        }
    }
    Value::Dict(members)
}
