//! Python values that a literal can denote, and when two of them are the same key.
//!
//! Integers stay decimal text of any size. Containers nest no deeper than their parsers allow
//! (literals 200, JSON 1024), so that walking a value may recurse.

use std::borrow::Cow;
use std::collections::HashMap;

use super::number::{whole_part, write_float};

/// A Python value. Strings are generalised UTF-8 (see [`super::text`]).
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    /// `None`, JSON's `null`.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// `...`
    Ellipsis,
    /// An integer, in canonical decimal digits.
    Int(Cow<'a, str>),
    /// An integer that Python reads (in base 2, 8 or 16) but refuses to print: its source text.
    OverlongInt(Cow<'a, str>),
    /// A float; infinite for `1e999`.
    Float(f64),
    /// Real and imaginary part.
    Complex(f64, f64),
    /// A string.
    Str(Cow<'a, [u8]>),
    /// A bytes object.
    Bytes(Cow<'a, [u8]>),
    /// `(1, 2)`
    Tuple(Vec<Value<'a>>),
    /// `[1, 2]`
    List(Vec<Value<'a>>),
    /// `{1, 2}`, in the order in which it is printed.
    Set(Vec<Value<'a>>),
    /// `{1: 2}`, each key once.
    Dict(Vec<(Value<'a>, Value<'a>)>),
}

impl Value<'_> {
    /// Whether it may be a key of a dict or an item of a set.
    pub fn is_hashable(&self) -> bool {
        match self {
            Value::List(_) | Value::Set(_) | Value::Dict(_) => false,
            Value::Tuple(items) => items.iter().all(Value::is_hashable),
            _ => true,
        }
    }

    /// Whether `str()` of it raises in Python, since it holds an integer too long to print.
    pub fn has_overlong_int(&self) -> bool {
        match self {
            Value::OverlongInt(_) => true,
            Value::Tuple(items) | Value::List(items) | Value::Set(items) => {
                items.iter().any(Value::has_overlong_int)
            }
            Value::Dict(items) => items
                .iter()
                .any(|(key, value)| key.has_overlong_int() || value.has_overlong_int()),
            _ => false,
        }
    }

    /// Appends bytes that are the same for two hashable values exactly where Python's `==` holds.
    fn write_identity(&self, out: &mut Vec<u8>) {
        match self {
            Value::None => out.push(b'n'),
            Value::Ellipsis => out.push(b'.'),
            Value::Bool(value) => out.extend(if *value { b"i1;" } else { b"i0;" }),
            Value::Int(digits) => write_int_identity(out, digits),
            Value::OverlongInt(source) => write_bytes_identity(out, b'o', source.as_bytes()),
            Value::Float(number) => write_float_identity(out, *number),
            Value::Complex(real, imaginary) => {
                if *imaginary != 0.0 {
                    out.push(b'c');
                    write_float_identity(out, *imaginary);
                }
                write_float_identity(out, *real);
            }
            Value::Str(text) => write_bytes_identity(out, b's', text),
            Value::Bytes(bytes) => write_bytes_identity(out, b'b', bytes),
            Value::Tuple(items) | Value::List(items) | Value::Set(items) => {
                out.push(b't');
                items.iter().for_each(|item| item.write_identity(out));
                out.push(b')');
            }
            Value::Dict(_) => out.push(b'd'),
        }
    }
}

fn write_int_identity(out: &mut Vec<u8>, digits: &str) {
    out.push(b'i');
    out.extend(digits.as_bytes());
    out.push(b';');
}

fn write_float_identity(out: &mut Vec<u8>, number: f64) {
    if number.is_finite() && number.fract() == 0.0 {
        return write_int_identity(out, &whole_part(number));
    }
    out.push(b'f');
    write_float(out, number);
    out.push(b';');
}

fn write_bytes_identity(out: &mut Vec<u8>, kind: u8, bytes: &[u8]) {
    out.push(kind);
    out.extend(bytes.len().to_le_bytes());
    out.extend(bytes);
}

/// So many keys are compared one by one, which costs less than to hash them. More are hashed: keys
/// come from anybody, and the time that they take must not grow with their square.
const FEW: usize = 16;

/// Which of many keys are equal: gives each distinct key its place.
#[derive(Default)]
pub struct Places {
    /// The identities of the first keys, one behind the other, and where each ends.
    few: Vec<u8>,
    ends: Vec<usize>,
    more: HashMap<Vec<u8>, usize>,
}

impl Places {
    /// The place of a key equal to `key`; `None` the first time, when it gets the next place.
    pub fn find(&mut self, key: &Value<'_>) -> Option<usize> {
        let start = self.ends.last().copied().unwrap_or(0);
        self.few.truncate(start);
        key.write_identity(&mut self.few);
        let (few, identity) = self.few.split_at(start);
        let mut begin = 0;
        for (place, &end) in self.ends.iter().enumerate() {
            if few[begin..end] == *identity {
                return Some(place);
            }
            begin = end;
        }
        if self.ends.len() < FEW {
            self.ends.push(self.few.len());
            return None;
        }
        if let Some(&place) = self.more.get(identity) {
            return Some(place);
        }
        let place = FEW + self.more.len();
        self.more.insert(identity.to_vec(), place);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(left: &Value<'_>, right: &Value<'_>) -> bool {
        let mut places = Places::default();
        places.find(left);
        places.find(right).is_some()
    }

    #[test]
    fn equal_numbers_are_one_key() {
        let one = Value::Int("1".into());
        assert!(same(&one, &Value::Bool(true)));
        assert!(same(&one, &Value::Float(1.0)));
        assert!(same(&one, &Value::Complex(1.0, 0.0)));
        assert!(!same(&one, &Value::Complex(1.0, 1.0)));
        assert!(same(&Value::Int("0".into()), &Value::Float(-0.0)));
        assert!(same(
            &Value::Int("100000000000000000000".into()),
            &Value::Float(1e20)
        ));
        assert!(!same(&one, &Value::Str(b"1"[..].into())));
        assert!(!same(
            &Value::Bytes(b"x"[..].into()),
            &Value::Str(b"x"[..].into())
        ));
    }

    #[test]
    fn of_many_keys_each_has_its_place() {
        let mut places = Places::default();
        let key = |number: usize| Value::Int(number.to_string().into());
        for number in 0..3 * FEW {
            assert_eq!(places.find(&key(number)), None);
            for earlier in 0..=number {
                assert_eq!(places.find(&key(earlier)), Some(earlier));
            }
        }
    }

    #[test]
    fn tuples_are_keys_by_their_items() {
        let tuple = |items: &[&str]| {
            Value::Tuple(
                items
                    .iter()
                    .map(|item| Value::Str(item.as_bytes().to_vec().into()))
                    .collect(),
            )
        };
        assert!(same(&tuple(&["a", "b"]), &tuple(&["a", "b"])));
        assert!(!same(&tuple(&["ab"]), &tuple(&["a", "b"])));
        assert!(!Value::Tuple(vec![Value::List(vec![])]).is_hashable());
    }
}
