//! String and bytes literals: prefixes, quotes, escapes, adjacent literals that join.

use std::borrow::Cow;

use super::literal::{NotLiteral, Parsed, Parser};
use super::text;
use super::value::Value;
use crate::bytes;

/// What the prefix of a literal says.
#[derive(Clone, Copy, Default, PartialEq)]
struct Prefix {
    bytes: bool,
    raw: bool,
}

/// The end of a literal: its quote, once or three times.
#[derive(Clone, Copy)]
struct Quote {
    byte: u8,
    triple: bool,
}

impl<'a> Parser<'a> {
    /// One or more literals, which join; strings and bytes do not mix.
    pub(super) fn strings(&mut self) -> Parsed<Value<'a>> {
        let (first, mut joined) = self.string()?;
        loop {
            self.blanks()?;
            if !self.at_string() {
                break;
            }
            let (prefix, next) = self.string()?;
            if prefix.bytes != first.bytes {
                return Err(NotLiteral);
            }
            joined.to_mut().extend_from_slice(&next);
        }
        Ok(if first.bytes {
            Value::Bytes(joined)
        } else {
            Value::Str(joined)
        })
    }

    /// Whether a literal starts here, with or without a prefix.
    fn at_string(&self) -> bool {
        let quote = |ahead| matches!(self.peek_at(ahead), Some(b'\'' | b'"'));
        let letter = |ahead| {
            self.peek_at(ahead)
                .is_some_and(|byte| byte.is_ascii_alphabetic())
        };
        quote(0) || letter(0) && (quote(1) || letter(1) && quote(2))
    }

    fn string(&mut self) -> Parsed<(Prefix, Cow<'a, [u8]>)> {
        let prefix = self.prefix()?;
        let byte = self.peek().ok_or(NotLiteral)?;
        let triple = self.peek_at(1) == Some(byte) && self.peek_at(2) == Some(byte);
        self.at += if triple { 3 } else { 1 };
        let content = self.content(prefix, Quote { byte, triple })?;
        if prefix.bytes && !content.1 {
            return Err(NotLiteral);
        }
        Ok((prefix, content.0))
    }

    /// `r`, `b`, `u` alone, or `r` and `b` together, in any case. `f` makes no literal.
    fn prefix(&mut self) -> Parsed<Prefix> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_alphabetic()) {
            self.at += 1;
        }
        match self.text[start..self.at].to_ascii_lowercase().as_slice() {
            b"" | b"u" => Ok(Prefix::default()),
            b"r" => Ok(Prefix {
                bytes: false,
                raw: true,
            }),
            b"b" => Ok(Prefix {
                bytes: true,
                raw: false,
            }),
            b"rb" | b"br" => Ok(Prefix {
                bytes: true,
                raw: true,
            }),
            _ => Err(NotLiteral),
        }
    }

    /// The text up to the closing quote, and whether its source is ASCII. Borrowed where source
    /// and value are the same.
    fn content(&mut self, prefix: Prefix, quote: Quote) -> Parsed<(Cow<'a, [u8]>, bool)> {
        let start = self.at;
        let mut owned: Option<Vec<u8>> = None;
        let mut run = start;
        loop {
            self.at += bytes::length_until(&self.text[self.at..], |word| {
                bytes::equal(word, quote.byte) | bytes::equal(word, b'\\') | bytes::controls(word)
            });
            let byte = self.peek().ok_or(NotLiteral)?;
            let ahead = self.at;
            if byte == quote.byte && self.closes(quote) {
                let ascii = self.text[start..ahead].is_ascii();
                self.at += if quote.triple { 3 } else { 1 };
                let rest = &self.text[run..ahead];
                return Ok(match owned {
                    None => (Cow::Borrowed(rest), ascii),
                    Some(mut text) => {
                        text.extend_from_slice(rest);
                        (Cow::Owned(text), ascii)
                    }
                });
            }
            match byte {
                b'\\' | b'\r' => {
                    let text = owned.get_or_insert_default();
                    text.extend_from_slice(&self.text[run..ahead]);
                    if byte == b'\r' {
                        self.newline(quote, text)?;
                    } else if prefix.raw {
                        self.raw_backslash(text)?;
                    } else {
                        self.escape(prefix, text)?;
                    }
                    run = self.at;
                }
                b'\n' if !quote.triple => return Err(NotLiteral),
                _ => self.at += 1,
            }
        }
    }

    fn closes(&self, quote: Quote) -> bool {
        !quote.triple || self.peek_at(1) == Some(quote.byte) && self.peek_at(2) == Some(quote.byte)
    }

    /// Python reads every line end as `\n`; only three quotes may hold one.
    fn newline(&mut self, quote: Quote, out: &mut Vec<u8>) -> Parsed<()> {
        if !quote.triple {
            return Err(NotLiteral);
        }
        self.at += self.line_end();
        out.push(b'\n');
        Ok(())
    }

    /// In a raw string a backslash stays, and so does what it protects.
    fn raw_backslash(&mut self, out: &mut Vec<u8>) -> Parsed<()> {
        out.push(b'\\');
        self.at += 1;
        let protected = self.peek().ok_or(NotLiteral)?;
        match self.line_end() {
            0 => {
                self.at += 1;
                out.push(protected);
            }
            length => {
                self.at += length;
                out.push(b'\n');
            }
        }
        Ok(())
    }

    fn escape(&mut self, prefix: Prefix, out: &mut Vec<u8>) -> Parsed<()> {
        self.at += 1;
        let length = self.line_end();
        if length > 0 {
            self.at += length;
            return Ok(());
        }
        let letter = self.peek().ok_or(NotLiteral)?;
        self.at += 1;
        let simple = match letter {
            b'\\' | b'\'' | b'"' => letter,
            b'a' => 0x07,
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'v' => 0x0b,
            b'0'..=b'7' => return self.octal(prefix, out),
            b'x' => return self.hexadecimal(2, prefix, out),
            b'u' if !prefix.bytes => return self.hexadecimal(4, prefix, out),
            b'U' if !prefix.bytes => return self.hexadecimal(8, prefix, out),
            b'N' if !prefix.bytes => return Err(NotLiteral),
            _ => {
                out.extend([b'\\', letter]);
                return Ok(());
            }
        };
        out.push(simple);
        Ok(())
    }

    /// Up to three octal digits, the first of which was read. Bytes keep the low eight bits.
    fn octal(&mut self, prefix: Prefix, out: &mut Vec<u8>) -> Parsed<()> {
        self.at -= 1;
        let mut value = 0;
        for _ in 0..3 {
            let Some(digit @ b'0'..=b'7') = self.peek() else {
                break;
            };
            value = value * 8 + u32::from(digit - b'0');
            self.at += 1;
        }
        put(value, prefix, out);
        Ok(())
    }

    fn hexadecimal(&mut self, digits: usize, prefix: Prefix, out: &mut Vec<u8>) -> Parsed<()> {
        let mut value = 0;
        for _ in 0..digits {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16));
            value = value << 4 | digit.ok_or(NotLiteral)?;
            self.at += 1;
        }
        if value > 0x10_ffff {
            return Err(NotLiteral);
        }
        put(value, prefix, out);
        Ok(())
    }
}

fn put(value: u32, prefix: Prefix, out: &mut Vec<u8>) {
    if prefix.bytes {
        out.push(value as u8);
    } else {
        text::push(out, value);
    }
}
