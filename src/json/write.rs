//! JSON as Python's `json` and simplejson write it: ASCII only, floats by `repr`.

use std::ops::Range;

use super::read::{self, Kind};
use super::scan::special;
use crate::bytes;
use crate::python::number::{whole_part, write_float};
use crate::python::text;
use crate::python::value::Value;

/// What becomes of a surrogate that has no partner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Surrogates {
    /// Its escape is written, as Python does.
    Keep,
    /// U+FFFD is written instead.
    Replace,
}

/// Output being written, with what went wrong on the way.
#[derive(Debug)]
pub struct Encoder {
    /// The JSON text so far.
    pub out: Vec<u8>,
    surrogates: Surrogates,
    limit: usize,
    /// A lone surrogate was replaced.
    pub replaced: bool,
    /// Text was left out since the output would have passed its limit.
    pub overflowed: bool,
}

impl Encoder {
    /// Writes into `out`, which is not to grow much beyond `limit` bytes.
    pub fn new(out: Vec<u8>, surrogates: Surrogates, limit: usize) -> Self {
        Encoder {
            out,
            surrogates,
            limit,
            replaced: false,
            overflowed: false,
        }
    }

    /// Whether so many more bytes fit; notes where they do not.
    #[inline]
    fn has_room(&mut self, length: usize) -> bool {
        let fits = self.out.len() + length <= self.limit;
        self.overflowed |= !fits;
        fits
    }

    /// Appends text that is JSON already.
    #[inline]
    pub fn raw(&mut self, json: &[u8]) {
        if self.has_room(json.len()) {
            self.out.extend_from_slice(json);
        }
    }

    /// Appends once more what was written before.
    pub fn again(&mut self, written: Range<usize>) {
        if self.has_room(written.len()) {
            self.out.extend_from_within(written);
        }
    }

    /// Appends a string, given as it stands between the quotes of a JSON text.
    pub fn json_string(&mut self, raw: &[u8]) {
        self.out.push(b'"');
        let mut rest = raw;
        loop {
            rest = self.plain(rest);
            let Some(&byte) = rest.first() else { break };
            let (code_point, length) = match byte {
                b'\\' => read::escape(rest),
                _ => text::first(rest).unwrap_or((0xfffd, 1)),
            };
            rest = rest.get(length..).unwrap_or_default();
            self.code_point(code_point);
            if self.overflowed {
                break;
            }
        }
        self.out.push(b'"');
    }

    /// Appends a string given as generalised UTF-8.
    pub fn string(&mut self, text: &[u8]) {
        self.out.push(b'"');
        self.string_content(text);
        self.out.push(b'"');
    }

    /// Appends a string without its quotes.
    pub fn string_content(&mut self, text: &[u8]) {
        let mut rest = text;
        loop {
            rest = self.plain(rest);
            let Some((mut code_point, mut length)) = text::first(rest) else {
                break;
            };
            if let 0xd800..=0xdbff = code_point
                && let Some((low @ 0xdc00..=0xdfff, more)) = text::first(&rest[length..])
            {
                code_point = 0x1_0000 + ((code_point - 0xd800) << 10) + (low - 0xdc00);
                length += more;
            }
            rest = &rest[length..];
            self.code_point(code_point);
            if self.overflowed {
                break;
            }
        }
    }

    /// Copies the bytes that need no escape, and gives the rest.
    #[inline]
    fn plain<'a>(&mut self, text: &'a [u8]) -> &'a [u8] {
        let length = ascii_plain_length(text);
        if !self.has_room(length) {
            return &[];
        }
        self.out.extend_from_slice(&text[..length]);
        &text[length..]
    }

    fn code_point(&mut self, code_point: u32) {
        if !self.has_room(12) {
            return;
        }
        match code_point {
            0x22 => self.out.extend(b"\\\""),
            0x5c => self.out.extend(b"\\\\"),
            0x0a => self.out.extend(b"\\n"),
            0x0d => self.out.extend(b"\\r"),
            0x09 => self.out.extend(b"\\t"),
            0x0c => self.out.extend(b"\\f"),
            0x08 => self.out.extend(b"\\b"),
            0x20..=0x7e => self.out.push(code_point as u8),
            0xd800..=0xdfff if self.surrogates == Surrogates::Replace => {
                self.replaced = true;
                self.unit(0xfffd);
            }
            0..=0xffff => self.unit(code_point),
            _ => {
                self.unit(0xd7c0 + (code_point >> 10));
                self.unit(0xdc00 | code_point & 0x3ff);
            }
        }
    }

    fn unit(&mut self, unit: u32) {
        let digit = |shift: u32| b"0123456789abcdef"[(unit >> shift & 0xf) as usize];
        self.out
            .extend([b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]);
    }

    /// Appends an integer.
    pub fn int(&mut self, number: i64) {
        self.raw(itoa::Buffer::new().format(number).as_bytes());
    }

    /// Appends a finite float without its fraction, as an integer.
    pub fn whole(&mut self, number: f64) {
        if number.abs() < 1e18 {
            self.int(number as i64);
        } else {
            self.raw(whole_part(number).as_bytes());
        }
    }

    /// Appends a finite float.
    pub fn float(&mut self, number: f64) {
        write_float(&mut self.out, number);
    }

    /// Appends a float given as JSON text, whose value is `number`.
    pub fn float_text(&mut self, text: &[u8], number: f64) {
        if is_canonical_float(text) {
            self.out.extend_from_slice(text);
        } else {
            self.float(number);
        }
    }

    /// Appends any JSON value, given as text; `Err` where it holds a number that is not finite.
    pub fn value(&mut self, value: &Value<'_>) -> Result<(), NotFinite> {
        match value {
            Value::Bool(true) => self.raw(b"true"),
            Value::Bool(false) => self.raw(b"false"),
            Value::Int(digits) => self.raw(digits.as_bytes()),
            Value::Float(number) if number.is_finite() => self.float(*number),
            Value::Float(_) => return Err(NotFinite),
            Value::Str(text) => self.string(text),
            Value::List(items) => return self.array(items),
            Value::Dict(items) => return self.object(items),
            // JSON denotes nothing else.
            _ => self.raw(b"null"),
        }
        Ok(())
    }

    fn array(&mut self, items: &[Value<'_>]) -> Result<(), NotFinite> {
        self.raw(b"[");
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                self.raw(b", ");
            }
            self.value(item)?;
        }
        self.raw(b"]");
        Ok(())
    }

    fn object(&mut self, items: &[(Value<'_>, Value<'_>)]) -> Result<(), NotFinite> {
        self.raw(b"{");
        for (index, (key, value)) in items.iter().enumerate() {
            if index > 0 {
                self.raw(b", ");
            }
            self.value(key)?;
            self.raw(b": ");
            self.value(value)?;
        }
        self.raw(b"}");
        Ok(())
    }
}

/// JSON cannot carry NaN or an infinity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotFinite;

/// How many bytes from the start of `text` stand for themselves in an ASCII JSON string.
fn ascii_plain_length(text: &[u8]) -> usize {
    bytes::length_until(text, |word| special(word) | bytes::beyond_ascii(word))
}

/// Whether the text of a float is surely what `repr` would print, so that it need not be printed
/// again: no exponent, no idle zeros, and few enough digits that a double keeps them all.
fn is_canonical_float(text: &[u8]) -> bool {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let Some(point) = digits.iter().position(|&byte| byte == b'.') else {
        return false;
    };
    let (whole, fraction) = (&digits[..point], &digits[point + 1..]);
    let all_digits =
        fraction.iter().all(u8::is_ascii_digit) && whole.iter().all(u8::is_ascii_digit);
    let idle_zero = fraction.len() > 1 && fraction.ends_with(b"0");
    let large_enough = whole != b"0" || fraction == b"0" || !fraction.starts_with(b"0");
    all_digits && !idle_zero && large_enough && whole.len() + fraction.len() <= 15
}

/// Appends a JSON value given as text in Python's way: canonical numbers, one member a key.
/// `Err` where it holds a number that is not finite.
pub fn transcode(value: &[u8], out: &mut Encoder) -> Result<(), NotFinite> {
    match read::kind(value) {
        Kind::Int => out.raw(read::int(value).as_bytes()),
        Kind::Float => {
            let number = read::float(value);
            if !number.is_finite() {
                return Err(NotFinite);
            }
            out.float_text(value, number);
        }
        Kind::String => out.json_string(read::unquoted(value)),
        Kind::Array | Kind::Object => return out.value(&super::loads::python(value)),
        Kind::Null | Kind::Bool => out.raw(value),
    }
    Ok(())
}
