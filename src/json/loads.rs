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
    Ok(load(text, Dialect::Orjson))
}

/// Reads a value that was checked before, as Python's `json` does.
pub fn python(text: &[u8]) -> Value<'_> {
    load(text, Dialect::Python)
}

fn load(text: &[u8], dialect: Dialect) -> Value<'_> {
    let mut loader = Loader {
        text,
        at: 0,
        dialect,
    };
    loader.value(0)
}

/// Walks a text once, whatever is nested in what. One that was not checked ends early.
struct Loader<'a> {
    text: &'a [u8],
    at: usize,
    dialect: Dialect,
}

impl<'a> Loader<'a> {
    /// Steps over blanks, and over `byte` if it is what follows.
    fn take(&mut self, byte: u8) -> bool {
        self.at = read::skip_blanks(self.text, self.at);
        let found = self.text.get(self.at) == Some(&byte);
        self.at += usize::from(found);
        found
    }

    fn value(&mut self, depth: usize) -> Value<'a> {
        if depth <= scan::MAX_DEPTH {
            if self.take(b'[') {
                return self.array(depth);
            }
            if self.take(b'{') {
                return self.object(depth);
            }
        }
        let value = self.next().unwrap_or_default();
        self.scalar(value)
    }

    /// The text of what follows; `None` where nothing does.
    fn next(&mut self) -> Option<&'a [u8]> {
        self.at = read::skip_blanks(self.text, self.at);
        let end = read::skip_value(self.text, self.at)?;
        let value = self.text.get(self.at..end)?;
        self.at = end;
        Some(value)
    }

    fn scalar(&self, value: &'a [u8]) -> Value<'a> {
        match read::kind(value) {
            Kind::Bool => Value::Bool(value == b"true"),
            Kind::Int => load_int(read::int(value), self.dialect),
            Kind::Float => Value::Float(read::float(value)),
            Kind::String => Value::Str(read::decode(read::unquoted(value))),
            Kind::Null | Kind::Array | Kind::Object => Value::None,
        }
    }

    /// Behind the opening bracket.
    fn array(&mut self, depth: usize) -> Value<'a> {
        let mut items = Vec::new();
        while !self.take(b']') && self.at < self.text.len() {
            let start = self.at;
            items.push(self.value(depth + 1));
            if !self.take(b',') && self.at == start {
                break;
            }
        }
        Value::List(items)
    }

    /// Behind the opening bracket. Of equal keys the last value wins, in the place of the first.
    fn object(&mut self, depth: usize) -> Value<'a> {
        let mut members: Vec<(Value<'a>, Value<'a>)> = Vec::new();
        let mut places = Places::default();
        while !self.take(b'}') {
            let Some(key) = self.next() else { break };
            let key = Value::Str(read::decode(read::unquoted(key)));
            self.take(b':');
            let value = self.value(depth + 1);
            match places.find(&key) {
                Some(place) => members[place].1 = value,
                None => members.push((key, value)),
            }
            self.take(b',');
        }
        Value::Dict(members)
    }
}

fn load_int(digits: &str, dialect: Dialect) -> Value<'_> {
    let fits = digits.len() < 19 || digits.parse::<i64>().is_ok() || digits.parse::<u64>().is_ok();
    match dialect {
        Dialect::Orjson if !fits => Value::Float(read::float(digits.as_bytes())),
        _ => Value::Int(digits.into()),
    }
}
