//! `kwargs` → `kwargs_flattened`: one object whose keys are paths.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::Write;
use std::ops::Range;

use super::Validation;
use super::args::MAX_LITERAL;
use crate::json::loads;
use crate::json::write::Encoder;
use crate::python::literal;
use crate::python::number::write_float;
use crate::python::repr::{self, Limited};
use crate::python::text;
use crate::python::value::Value;

/// Code points kept of a string.
const MAX_STRING: usize = 100;
/// Items kept of a list.
const MAX_ITEMS: usize = 100;
/// Deeper values stay JSON text.
const MAX_DEPTH: usize = 12;
/// Deeper JSON makes Leek raise RecursionError (measured; it depends on its own stack).
const MAX_JSON_DEPTH: usize = 495;
/// Paths repeat the keys above them, a thousandfold if made for it: entries behind this many bytes
/// are left out. Celery cuts the representation of kwargs to 1024 characters.
const MAX_FLATTENED: usize = 1024 * 1024;
/// What a float counts in that: it is not looked at how many digits it has.
const FLOAT: usize = 24;

/// What Leek raises on; `Strict` only.
#[derive(Debug, PartialEq)]
pub enum Raises {
    TooDeep,
    OverlongInt,
    NotFinite,
}

/// Whether a number that JSON cannot carry was left out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum LeftOut {
    Nothing,
    NotFinite,
}

/// Writes the flattened object of `kwargs`, in generalised UTF-8; `{}` where there is none.
pub fn flatten(
    kwargs: &[u8],
    validation: Validation,
    out: &mut Encoder,
) -> Result<LeftOut, Raises> {
    let value = match kwargs {
        b"" | b"{}" => Value::None,
        _ => parse(kwargs, validation)?,
    };
    let Value::Dict(items) = &value else {
        out.raw(b"{}");
        return Ok(LeftOut::Nothing);
    };
    out.raw(b"{");
    let start = out.out.len();
    let mut flattener = Flattener {
        path: Vec::new(),
        out,
        size: 0,
        validation,
        verdict: Ok(LeftOut::Nothing),
        overlapping: has_unusual_keys(&value).then(Vec::new),
    };
    flattener.dict(items, 1);
    flattener.finish(start)
}

/// JSON first, then a Python literal.
fn parse(kwargs: &[u8], validation: Validation) -> Result<Value<'_>, Raises> {
    if kwargs.len() > MAX_LITERAL {
        return Ok(Value::None);
    }
    if let Ok(value) = loads::orjson(kwargs) {
        if validation == Validation::Strict && depth_exceeds(&value, MAX_JSON_DEPTH) {
            return Err(Raises::TooDeep);
        }
        return Ok(value);
    }
    let value = literal::parse(kwargs).unwrap_or(Value::None);
    if validation == Validation::Tolerant && value.has_overlong_int() {
        return Ok(Value::None);
    }
    Ok(value)
}

fn depth_exceeds(value: &Value<'_>, most: usize) -> bool {
    let Some(most) = most.checked_sub(1) else {
        return matches!(value, Value::List(_) | Value::Dict(_));
    };
    match value {
        Value::List(items) => items.iter().any(|item| depth_exceeds(item, most)),
        Value::Dict(items) => items.iter().any(|(_, value)| depth_exceeds(value, most)),
        _ => false,
    }
}

/// Whether some key may make two paths equal: one that is empty or has a dot, or any that is no text.
fn has_unusual_keys(value: &Value<'_>) -> bool {
    match value {
        Value::Dict(items) => items.iter().any(|(key, value)| {
            let is_usual =
                matches!(key, Value::Str(text) if !text.is_empty() && !text.contains(&b'.'));
            !is_usual || has_unusual_keys(value)
        }),
        Value::List(items) | Value::Tuple(items) | Value::Set(items) => {
            items.iter().any(has_unusual_keys)
        }
        _ => false,
    }
}

/// What stops a scalar from going out.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Stop {
    NotFinite,
    OverlongInt,
}

/// An entry that may have to make room for a later one.
struct Entry {
    path: Vec<u8>,
    /// Where its value lies in the output, as JSON.
    value: Result<Range<usize>, Stop>,
}

/// Writes the entries as it meets them. Only where paths may be equal it keeps them until the end.
struct Flattener<'o> {
    path: Vec<u8>,
    out: &'o mut Encoder,
    /// Bytes of all paths and values, before they became JSON.
    size: usize,
    validation: Validation,
    verdict: Result<LeftOut, Raises>,
    overlapping: Option<Vec<Entry>>,
}

impl Flattener<'_> {
    fn value(&mut self, value: &Value<'_>, depth: usize) {
        if self.size > MAX_FLATTENED {
            return;
        }
        match value {
            _ if depth > MAX_DEPTH => self.deep(value),
            Value::Dict(items) if items.is_empty() => self.text(b"{}"),
            Value::Dict(items) => self.dict(items, depth + 1),
            Value::List(items) | Value::Tuple(items) | Value::Set(items) => {
                self.list(items, depth + 1);
            }
            scalar => self.scalar(scalar),
        }
    }

    fn dict(&mut self, items: &[(Value<'_>, Value<'_>)], depth: usize) {
        if items.iter().all(|(key, _)| matches!(key, Value::Str(_))) {
            items
                .iter()
                .for_each(|(key, value)| self.member(&text_key(key), value, depth));
        } else {
            text_keys(items)
                .iter()
                .for_each(|(key, value)| self.member(key, value, depth));
        }
    }

    fn member(&mut self, key: &[u8], value: &Value<'_>, depth: usize) {
        let length = self.path.len();
        if length > 0 {
            self.path.push(b'.');
        }
        self.path.extend_from_slice(key);
        self.value(value, depth);
        self.path.truncate(length);
    }

    fn list(&mut self, items: &[Value<'_>], depth: usize) {
        if items.is_empty() {
            return self.text(b"[]");
        }
        let length = self.path.len();
        for (index, item) in items.iter().take(MAX_ITEMS).enumerate() {
            write!(self.path, ".{index}").expect("a Vec takes every write");
            self.value(item, depth);
            self.path.truncate(length);
        }
    }

    fn scalar(&mut self, value: &Value<'_>) {
        match value {
            Value::Int(digits) => self.json(digits.as_bytes()),
            Value::Float(number) if number.is_finite() => {
                self.entry(FLOAT, |out| out.float(*number));
            }
            Value::Float(_) => self.stop(Stop::NotFinite),
            Value::OverlongInt(_) => self.stop(Stop::OverlongInt),
            Value::None => self.json(b"null"),
            Value::Bool(true) => self.json(b"true"),
            Value::Bool(false) => self.json(b"false"),
            Value::Str(string) => self.text(text::cut(string, MAX_STRING)),
            other => self.made_text(|out| write_text(other, out)),
        }
    }

    /// A value below the deepest level: its JSON text.
    fn deep(&mut self, value: &Value<'_>) {
        if depth_has_overlong(value) {
            return self.stop(Stop::OverlongInt);
        }
        self.made_text(|out| write_json_text(value, out));
    }

    fn made_text(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut text = Vec::new();
        write(&mut text);
        self.text(&text);
    }

    fn text(&mut self, text: &[u8]) {
        self.entry(text.len(), |out| out.string(text));
    }

    fn json(&mut self, json: &[u8]) {
        self.entry(json.len(), |out| out.raw(json));
    }

    /// An entry whose value has that many bytes, and is written as JSON by `write`.
    fn entry(&mut self, length: usize, write: impl FnOnce(&mut Encoder)) {
        let is_first = self.size == 0;
        self.size += self.path.len() + length;
        match &mut self.overlapping {
            None => {
                if !is_first {
                    self.out.raw(b", ");
                }
                self.out.string(&self.path);
                self.out.raw(b": ");
                write(self.out);
            }
            Some(entries) => {
                let start = self.out.out.len();
                write(self.out);
                entries.push(Entry {
                    path: self.path.clone(),
                    value: Ok(start..self.out.out.len()),
                });
            }
        }
    }

    /// An entry that has no value.
    fn stop(&mut self, stop: Stop) {
        match &mut self.overlapping {
            None => self.judge(stop),
            Some(entries) => entries.push(Entry {
                path: self.path.clone(),
                value: Err(stop),
            }),
        }
    }

    /// The first that raises in Python decides.
    fn judge(&mut self, stop: Stop) {
        if self.verdict.is_err() {
            return;
        }
        self.verdict = match stop {
            Stop::OverlongInt => Err(Raises::OverlongInt),
            Stop::NotFinite if self.validation == Validation::Strict => Err(Raises::NotFinite),
            Stop::NotFinite => Ok(LeftOut::NotFinite),
        };
    }

    /// Ends the object whose entries begin at `start`.
    fn finish(mut self, start: usize) -> Result<LeftOut, Raises> {
        if let Some(entries) = self.overlapping.take() {
            let values = self.out.out.split_off(start);
            self.size = 0;
            for entry in last_of_each(entries) {
                self.path = entry.path;
                match entry.value {
                    Ok(value) => self.json(&values[value.start - start..value.end - start]),
                    Err(stop) => self.judge(stop),
                }
            }
        }
        self.out.raw(b"}");
        self.verdict
    }
}

/// Of equal paths the last value wins, in the place of the first.
fn last_of_each(entries: Vec<Entry>) -> Vec<Entry> {
    let mut places: HashMap<Vec<u8>, usize> = HashMap::new();
    let mut kept: Vec<Entry> = Vec::with_capacity(entries.len());
    for entry in entries {
        match places.get(&entry.path) {
            Some(&place) => kept[place].value = entry.value,
            None => {
                places.insert(entry.path.clone(), kept.len());
                kept.push(entry);
            }
        }
    }
    kept
}

/// The items of a dict with their keys as text, by which two keys may become one.
fn text_keys<'v, 'a>(dict: &'v [(Value<'a>, Value<'a>)]) -> Vec<(Cow<'v, [u8]>, &'v Value<'a>)> {
    let mut items: Vec<(Cow<'v, [u8]>, &'v Value<'a>)> = Vec::with_capacity(dict.len());
    let mut places: HashMap<Cow<'v, [u8]>, usize> = HashMap::new();
    for (key, value) in dict {
        let key = text_key(key);
        match places.get(&key) {
            Some(&place) => items[place].1 = value,
            None => {
                places.insert(key.clone(), items.len());
                items.push((key, value));
            }
        }
    }
    items
}

fn text_key<'v>(key: &'v Value<'_>) -> Cow<'v, [u8]> {
    if let Value::Str(text) = key {
        return Cow::Borrowed(text);
    }
    let mut text = Limited::new(usize::MAX);
    repr::write_str(key, &mut text);
    text.into_text().into()
}

/// The text of a scalar that is not kept as it is.
fn write_text(value: &Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Str(string) => out.extend_from_slice(text::cut(string, MAX_STRING)),
        Value::Bytes(bytes) => {
            let decoded = String::from_utf8_lossy(bytes);
            out.extend_from_slice(text::cut(decoded.as_bytes(), MAX_STRING));
        }
        Value::Ellipsis => out.extend_from_slice(b"<ELLIPSIS>"),
        other => {
            let mut text = Limited::new(usize::MAX);
            repr::write_str(other, &mut text);
            out.extend_from_slice(&text.into_text());
        }
    }
}

fn depth_has_overlong(value: &Value<'_>) -> bool {
    match value {
        Value::List(items) | Value::Tuple(items) | Value::Set(items) => {
            items.iter().take(MAX_ITEMS).any(depth_has_overlong)
        }
        Value::Dict(items) => items
            .iter()
            .any(|(key, value)| key.has_overlong_int() || depth_has_overlong(value)),
        other => other.has_overlong_int(),
    }
}

/// What `json.dumps` with `ensure_ascii=False` gives.
fn write_json_text(value: &Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::None => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Int(digits) => out.extend_from_slice(digits.as_bytes()),
        Value::Float(number) if number.is_finite() => write_float(out, *number),
        Value::Float(number) if *number > 0.0 => out.extend_from_slice(b"Infinity"),
        Value::Float(_) => out.extend_from_slice(b"-Infinity"),
        Value::List(items) | Value::Tuple(items) | Value::Set(items) => write_json_list(items, out),
        Value::Dict(items) => write_json_dict(items, out),
        scalar => {
            let mut text = Vec::new();
            write_text(scalar, &mut text);
            write_json_string(&text, out);
        }
    }
}

fn write_json_list(items: &[Value<'_>], out: &mut Vec<u8>) {
    out.push(b'[');
    for (index, item) in items.iter().take(MAX_ITEMS).enumerate() {
        if index > 0 {
            out.extend_from_slice(b", ");
        }
        write_json_text(item, out);
    }
    out.push(b']');
}

fn write_json_dict(items: &[(Value<'_>, Value<'_>)], out: &mut Vec<u8>) {
    out.push(b'{');
    for (index, (key, value)) in text_keys(items).into_iter().enumerate() {
        if index > 0 {
            out.extend_from_slice(b", ");
        }
        write_json_string(&key, out);
        out.extend_from_slice(b": ");
        write_json_text(value, out);
    }
    out.push(b'}');
}

/// A JSON string that keeps what is not ASCII.
fn write_json_string(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for &byte in text {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            0..=0x1f => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}
