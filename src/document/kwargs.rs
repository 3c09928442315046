//! `kwargs` → `kwargs_flattened`: one object whose keys are paths.

use std::borrow::Cow;
use std::collections::HashMap;
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
    let mut flattener = Flattener {
        scratch: Vec::with_capacity(kwargs.len() * 2),
        ..Flattener::default()
    };
    flattener.dict(items, 1);
    flattener.finish(validation, out)
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

/// A scalar as it goes out, or what stops it.
#[derive(Debug, Clone, PartialEq)]
enum Leaf {
    /// Text that becomes a JSON string: a range of the scratch.
    Text(Range<usize>),
    /// JSON as it stands: a range of the scratch.
    Json(Range<usize>),
    NotFinite,
    OverlongInt,
}

#[derive(Debug)]
struct Entry {
    path: Range<usize>,
    leaf: Leaf,
}

/// Collects the entries: their paths and values lie one behind the other in `scratch`.
#[derive(Default)]
struct Flattener {
    path: Vec<u8>,
    scratch: Vec<u8>,
    entries: Vec<Entry>,
    /// Some key may make two paths equal.
    ambiguous: bool,
}

impl Flattener {
    fn value(&mut self, value: &Value<'_>, depth: usize) {
        if self.scratch.len() > MAX_FLATTENED {
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
        self.ambiguous |= key.is_empty() || key.contains(&b'.');
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
            self.path.extend_from_slice(format!(".{index}").as_bytes());
            self.value(item, depth);
            self.path.truncate(length);
        }
    }

    fn scalar(&mut self, value: &Value<'_>) {
        match value {
            Value::Int(digits) => self.json(digits.as_bytes()),
            Value::Float(number) if number.is_finite() => {
                let start = self.scratch.len();
                write_float(&mut self.scratch, *number);
                self.entry(Leaf::Json(start..self.scratch.len()));
            }
            Value::Float(_) => self.entry(Leaf::NotFinite),
            Value::OverlongInt(_) => self.entry(Leaf::OverlongInt),
            Value::None => self.json(b"null"),
            Value::Bool(true) => self.json(b"true"),
            Value::Bool(false) => self.json(b"false"),
            other => self.with_text(|out| write_text(other, out)),
        }
    }

    /// A value below the deepest level: its JSON text.
    fn deep(&mut self, value: &Value<'_>) {
        if depth_has_overlong(value) {
            return self.entry(Leaf::OverlongInt);
        }
        self.with_text(|out| write_json_text(value, out));
    }

    fn text(&mut self, text: &[u8]) {
        self.with_text(|out| out.extend_from_slice(text));
    }

    fn with_text(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.scratch.len();
        write(&mut self.scratch);
        self.entry(Leaf::Text(start..self.scratch.len()));
    }

    fn json(&mut self, json: &[u8]) {
        let start = self.scratch.len();
        self.scratch.extend_from_slice(json);
        self.entry(Leaf::Json(start..self.scratch.len()));
    }

    fn entry(&mut self, leaf: Leaf) {
        let start = self.scratch.len();
        self.scratch.extend_from_slice(&self.path);
        self.entries.push(Entry {
            path: start..self.scratch.len(),
            leaf,
        });
    }

    /// Of equal paths the last value wins, in the place of the first.
    fn overwrite(&mut self) {
        let mut places: HashMap<&[u8], usize> = HashMap::new();
        let mut kept: Vec<Entry> = Vec::with_capacity(self.entries.len());
        for entry in self.entries.drain(..) {
            match places.get(&self.scratch[entry.path.clone()]) {
                Some(&place) => kept[place].leaf = entry.leaf,
                None => {
                    places.insert(&self.scratch[entry.path.clone()], kept.len());
                    kept.push(entry);
                }
            }
        }
        self.entries = kept;
    }

    fn finish(mut self, validation: Validation, out: &mut Encoder) -> Result<LeftOut, Raises> {
        if self.ambiguous {
            self.overwrite();
        }
        let mut left_out = LeftOut::Nothing;
        let mut separator: &[u8] = b"";
        out.raw(b"{");
        for entry in &self.entries {
            let (quoted, value) = match &entry.leaf {
                Leaf::Text(range) => (true, range.clone()),
                Leaf::Json(range) => (false, range.clone()),
                Leaf::OverlongInt => return Err(Raises::OverlongInt),
                Leaf::NotFinite if validation == Validation::Strict => {
                    return Err(Raises::NotFinite);
                }
                Leaf::NotFinite => {
                    left_out = LeftOut::NotFinite;
                    continue;
                }
            };
            out.raw(separator);
            out.string(&self.scratch[entry.path.clone()]);
            out.raw(b": ");
            if quoted {
                out.string(&self.scratch[value]);
            } else {
                out.raw(&self.scratch[value]);
            }
            separator = b", ";
        }
        out.raw(b"}");
        Ok(left_out)
    }
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
