//! Python's `str()` and `repr()` of a value, cut as it is written.

use super::number::{write_complex_part, write_float};
use super::text;
use super::value::Value;

/// Text that stops growing after so many code points.
pub struct Limited {
    text: Vec<u8>,
    room: usize,
}

impl Limited {
    /// Takes no more than `room` code points.
    pub fn new(room: usize) -> Self {
        Limited {
            text: Vec::new(),
            room,
        }
    }

    /// What was written, generalised UTF-8.
    pub fn into_text(self) -> Vec<u8> {
        self.text
    }

    fn push(&mut self, code_point: u32) {
        if self.room > 0 {
            self.room -= 1;
            text::push(&mut self.text, code_point);
        }
    }

    fn ascii(&mut self, piece: &[u8]) {
        let piece = &piece[..piece.len().min(self.room)];
        self.room -= piece.len();
        self.text.extend_from_slice(piece);
    }
}

/// Appends `str(value)`: a string as it is, all else as its `repr`.
pub fn write_str(value: &Value<'_>, out: &mut Limited) {
    match value {
        Value::Str(text) => {
            let piece = text::cut(text, out.room);
            out.room -= text::code_points(piece).count();
            out.text.extend_from_slice(piece);
        }
        other => write_repr(other, out),
    }
}

/// Appends `repr(value)`. An integer too long for Python to print shows its source.
pub fn write_repr(value: &Value<'_>, out: &mut Limited) {
    match value {
        Value::None => out.ascii(b"None"),
        Value::Bool(true) => out.ascii(b"True"),
        Value::Bool(false) => out.ascii(b"False"),
        Value::Ellipsis => out.ascii(b"Ellipsis"),
        Value::Int(digits) | Value::OverlongInt(digits) => out.ascii(digits.as_bytes()),
        Value::Float(number) => {
            let mut digits = Vec::new();
            write_float(&mut digits, *number);
            out.ascii(&digits);
        }
        Value::Complex(real, imaginary) => out.ascii(&complex(*real, *imaginary)),
        Value::Str(text) => write_quoted(text, out),
        Value::Bytes(bytes) => write_bytes(bytes, out),
        Value::Tuple(items) if items.len() == 1 => write_items(b"(", items, b",)", out),
        Value::Tuple(items) => write_items(b"(", items, b")", out),
        Value::List(items) => write_items(b"[", items, b"]", out),
        Value::Set(items) if items.is_empty() => out.ascii(b"set()"),
        Value::Set(items) => write_items(b"{", items, b"}", out),
        Value::Dict(items) => write_dict(items, out),
    }
}

fn write_items(open: &[u8], items: &[Value<'_>], close: &[u8], out: &mut Limited) {
    out.ascii(open);
    for (index, item) in items.iter().enumerate() {
        if out.room == 0 {
            return;
        }
        if index > 0 {
            out.ascii(b", ");
        }
        write_repr(item, out);
    }
    out.ascii(close);
}

fn write_dict(items: &[(Value<'_>, Value<'_>)], out: &mut Limited) {
    out.ascii(b"{");
    for (index, (key, value)) in items.iter().enumerate() {
        if out.room == 0 {
            return;
        }
        if index > 0 {
            out.ascii(b", ");
        }
        write_repr(key, out);
        out.ascii(b": ");
        write_repr(value, out);
    }
    out.ascii(b"}");
}

/// `1j` where the real part is a positive zero, else `(1+2j)`.
fn complex(real: f64, imaginary: f64) -> Vec<u8> {
    let mut out = Vec::new();
    if real == 0.0 && real.is_sign_positive() {
        write_complex_part(&mut out, imaginary);
        out.push(b'j');
        return out;
    }
    out.push(b'(');
    write_complex_part(&mut out, real);
    if !imaginary.is_sign_negative() {
        out.push(b'+');
    }
    write_complex_part(&mut out, imaginary);
    out.extend(b"j)");
    out
}

/// Single quotes, unless only they occur in the text.
fn quote_for(text: &[u8]) -> u8 {
    if text.contains(&b'\'') && !text.contains(&b'"') {
        b'"'
    } else {
        b'\''
    }
}

fn write_quoted(text: &[u8], out: &mut Limited) {
    let quote = quote_for(text);
    out.ascii(&[quote]);
    for code_point in text::code_points(text) {
        if out.room == 0 {
            return;
        }
        match code_point {
            0x0a => out.ascii(b"\\n"),
            0x0d => out.ascii(b"\\r"),
            0x09 => out.ascii(b"\\t"),
            0x5c => out.ascii(b"\\\\"),
            point if point == u32::from(quote) => out.ascii(&[b'\\', quote]),
            point if text::is_printable(point) => out.push(point),
            point @ 0..=0xff => out.ascii(format!("\\x{point:02x}").as_bytes()),
            point @ 0..=0xffff => out.ascii(format!("\\u{point:04x}").as_bytes()),
            point => out.ascii(format!("\\U{point:08x}").as_bytes()),
        }
    }
    out.ascii(&[quote]);
}

fn write_bytes(bytes: &[u8], out: &mut Limited) {
    let quote = quote_for(bytes);
    out.ascii(&[b'b', quote]);
    for &byte in bytes {
        if out.room == 0 {
            return;
        }
        match byte {
            b'\n' => out.ascii(b"\\n"),
            b'\r' => out.ascii(b"\\r"),
            b'\t' => out.ascii(b"\\t"),
            b'\\' => out.ascii(b"\\\\"),
            _ if byte == quote => out.ascii(&[b'\\', quote]),
            0x20..=0x7e => out.ascii(&[byte]),
            _ => out.ascii(format!("\\x{byte:02x}").as_bytes()),
        }
    }
    out.ascii(&[quote]);
}
