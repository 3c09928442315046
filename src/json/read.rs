//! Looks into JSON text that [`scan::check`](super::scan::check) has accepted; nothing is copied.
//!
//! Text that was not checked does no harm: the walk then ends early or yields odd pieces.

use std::borrow::Cow;

use super::scan::{hex4, plain_length};
use crate::bytes;
use crate::python::text;

/// What kind of value a JSON text is, told by its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `null`
    Null,
    /// `true`, `false`
    Bool,
    /// Digits without point or exponent.
    Int,
    /// Any other number, `NaN` and the infinities included.
    Float,
    /// Text in double quotes.
    String,
    /// `[…]`
    Array,
    /// `{…}`
    Object,
}

/// The kind of a value; its text has no blanks around it.
#[inline]
pub fn kind(value: &[u8]) -> Kind {
    match value.first() {
        Some(b'"') => Kind::String,
        Some(b'{') => Kind::Object,
        Some(b'[') => Kind::Array,
        Some(b't' | b'f') => Kind::Bool,
        Some(b'-' | b'0'..=b'9') if value[1..].iter().all(u8::is_ascii_digit) => Kind::Int,
        Some(b'-' | b'0'..=b'9' | b'N' | b'I') => Kind::Float,
        _ => Kind::Null,
    }
}

/// A number as a float: infinite above the range, NaN for `NaN` (and for what is no number).
pub fn float(value: &[u8]) -> f64 {
    std::str::from_utf8(value)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(f64::NAN)
}

/// The digits of an integer as Python prints it: `-0` is `0`.
pub fn int(value: &[u8]) -> &str {
    match value {
        b"-0" => "0",
        _ => std::str::from_utf8(value).unwrap_or("0"),
    }
}

/// The text between the quotes of a string, escapes and all.
#[inline]
pub fn unquoted(value: &[u8]) -> &[u8] {
    value
        .get(1..value.len().saturating_sub(1))
        .unwrap_or_default()
}

/// The text of a string as Python has it, in generalised UTF-8. `raw` has no quotes around it.
#[inline]
pub fn decode(raw: &[u8]) -> Cow<'_, [u8]> {
    let until_escape = |text| bytes::length_until(text, |word| bytes::equal(word, b'\\'));
    let mut at = until_escape(raw);
    if at == raw.len() {
        return Cow::Borrowed(raw);
    }
    let mut decoded = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while at < rest.len() {
        decoded.extend_from_slice(&rest[..at]);
        let (code_point, length) = escape(&rest[at..]);
        text::push(&mut decoded, code_point);
        rest = &rest[at + length..];
        at = until_escape(rest);
    }
    decoded.extend_from_slice(rest);
    Cow::Owned(decoded)
}

/// The code point of the escape at the start of `rest`, and its length. Two surrogate escapes
/// that make a pair are one code point.
pub fn escape(rest: &[u8]) -> (u32, usize) {
    let code_point = match rest.get(1) {
        Some(b'b') => 0x08,
        Some(b'f') => 0x0c,
        Some(b'n') => 0x0a,
        Some(b'r') => 0x0d,
        Some(b't') => 0x09,
        Some(b'u') => return unicode_escape(rest),
        Some(&byte) => u32::from(byte),
        None => return (0x5c, 1),
    };
    (code_point, 2)
}

fn unicode_escape(rest: &[u8]) -> (u32, usize) {
    let Some(unit) = hex4(rest, 2) else {
        return (0xfffd, 2);
    };
    if (0xd800..=0xdbff).contains(&unit)
        && rest.get(6..8) == Some(b"\\u")
        && let Some(low @ 0xdc00..=0xdfff) = hex4(rest, 8)
    {
        return (0x1_0000 + ((unit - 0xd800) << 10) + (low - 0xdc00), 12);
    }
    (unit, 6)
}

/// The members of an object, in order, duplicates included.
pub struct Members<'a>(Items<'a>);

/// Walks an object: pairs of key (without quotes, escapes and all) and value.
pub fn members(object: &[u8]) -> Members<'_> {
    Members(Items {
        text: object,
        at: 1,
    })
}

impl<'a> Iterator for Members<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let key = self.0.next()?;
        self.0.blanks();
        if self.0.text.get(self.0.at) != Some(&b':') {
            return None;
        }
        self.0.at += 1;
        let value = self.0.next()?;
        Some((unquoted(key), value))
    }
}

/// The elements of an array, in order.
pub struct Items<'a> {
    text: &'a [u8],
    at: usize,
}

/// Walks an array: the text of each element.
pub fn items(array: &[u8]) -> Items<'_> {
    Items { text: array, at: 1 }
}

impl<'a> Items<'a> {
    /// Walks on from an offset into an array, just behind one of its elements.
    pub fn resume(array: &'a [u8], at: usize) -> Self {
        Items { text: array, at }
    }

    /// The offset just behind the last element that was yielded.
    pub fn offset(&self) -> usize {
        self.at
    }

    #[inline]
    fn blanks(&mut self) {
        self.at = skip_blanks(self.text, self.at);
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = &'a [u8];

    /// Skips the comma before an element, too.
    fn next(&mut self) -> Option<&'a [u8]> {
        self.blanks();
        if self.text.get(self.at) == Some(&b',') {
            self.at += 1;
            self.blanks();
        }
        let end = skip_value(self.text, self.at)?;
        let value = &self.text[self.at..end];
        self.at = end;
        Some(value)
    }
}

/// The first offset from `at` on that is no blank.
#[inline]
pub fn skip_blanks(text: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\n' | b'\t' | b'\r') = text.get(at) {
        at += 1;
    }
    at
}

/// The offset behind the value that starts at `at`; `None` where none does.
#[inline]
pub fn skip_value(text: &[u8], at: usize) -> Option<usize> {
    match text.get(at)? {
        b'"' => skip_string(text, at),
        b'{' | b'[' => skip_container(text, at),
        _ => {
            let is_end = |byte: &u8| {
                matches!(
                    byte,
                    b',' | b']' | b'}' | b':' | b' ' | b'\n' | b'\t' | b'\r'
                )
            };
            let rest = &text[at..];
            let length = rest.iter().position(is_end).unwrap_or(rest.len());
            (length > 0).then_some(at + length)
        }
    }
}

#[inline]
fn skip_string(text: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 1;
    loop {
        at += plain_length(text.get(at..)?);
        match text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

fn skip_container(text: &[u8], start: usize) -> Option<usize> {
    let mut depth = 0_usize;
    let mut at = start;
    loop {
        match text.get(at)? {
            b'"' => {
                at = skip_string(text, at)?;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return Some(at);
        }
    }
}
