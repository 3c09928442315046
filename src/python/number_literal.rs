//! Number literals: integers in four bases, floats, imaginary numbers.

use std::borrow::Cow;

use super::literal::{NotLiteral, Parsed, Parser, is_word};
use super::number::{MAX_INT_DIGITS, radix_to_decimal};
use super::value::Value;

impl<'a> Parser<'a> {
    /// A number without sign. What follows it is the caller's to judge, but no name may.
    pub(super) fn number(&mut self) -> Parsed<Value<'a>> {
        let value = match (self.peek(), self.peek_at(1).map(|byte| byte | 0x20)) {
            (Some(b'0'), Some(b'x')) => self.radix(16)?,
            (Some(b'0'), Some(b'o')) => self.radix(8)?,
            (Some(b'0'), Some(b'b')) => self.radix(2)?,
            _ => self.decimal()?,
        };
        match self.peek() {
            Some(byte) if is_word(byte) => Err(NotLiteral),
            _ => Ok(value),
        }
    }

    /// `0x1F`, also with single underscores before digits.
    fn radix(&mut self, radix: u32) -> Parsed<Value<'a>> {
        let start = self.at;
        self.at += 2;
        self.take(b'_');
        let digits = self.digits(radix);
        if digits.is_empty() {
            return Err(NotLiteral);
        }
        let source = std::str::from_utf8(&self.text[start..self.at]).map_err(|_| NotLiteral)?;
        Ok(
            match radix_to_decimal(&without_underscores(digits), radix) {
                Some(decimal) => Value::Int(decimal.into()),
                None => Value::OverlongInt(source.into()),
            },
        )
    }

    fn decimal(&mut self) -> Parsed<Value<'a>> {
        let start = self.at;
        let whole = self.digits(10);
        let mut is_float = false;
        if self.take(b'.') {
            is_float = true;
            if self.digits(10).is_empty() && whole.is_empty() {
                return Err(NotLiteral);
            }
        }
        is_float |= self.exponent();
        let source = &self.text[start..self.at];
        if self.peek().map(|byte| byte | 0x20) == Some(b'j') {
            self.at += 1;
            return parse_float(source).map(|imaginary| Value::Complex(0.0, imaginary));
        }
        if is_float {
            parse_float(source).map(Value::Float)
        } else {
            parse_int(source)
        }
    }

    /// Steps over `e5`, `E+5`, `e-0_5`, if it is here.
    fn exponent(&mut self) -> bool {
        let start = self.at;
        if self.peek().map(|byte| byte | 0x20) == Some(b'e') {
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            if !self.digits(10).is_empty() {
                return true;
            }
        }
        self.at = start;
        false
    }

    /// Digits with single underscores between them; empty where there is none.
    fn digits(&mut self, radix: u32) -> &'a [u8] {
        let start = self.at;
        let is_digit = |byte: Option<u8>| byte.is_some_and(|byte| char::from(byte).is_digit(radix));
        while is_digit(self.peek())
            || (self.at > start && self.peek() == Some(b'_') && is_digit(self.peek_at(1)))
        {
            self.at += 1;
        }
        &self.text[start..self.at]
    }
}

fn without_underscores(digits: &[u8]) -> Cow<'_, [u8]> {
    if !digits.contains(&b'_') {
        return Cow::Borrowed(digits);
    }
    digits
        .iter()
        .copied()
        .filter(|&byte| byte != b'_')
        .collect()
}

fn parse_float(source: &[u8]) -> Parsed<f64> {
    let digits = without_underscores(source);
    let text = std::str::from_utf8(&digits).map_err(|_| NotLiteral)?;
    text.parse().map_err(|_| NotLiteral)
}

/// Zeros may lead only where nothing else follows.
fn parse_int<'a>(source: &'a [u8]) -> Parsed<Value<'a>> {
    let digits = without_underscores(source);
    if digits.iter().all(|&digit| digit == b'0') {
        return Ok(Value::Int("0".into()));
    }
    if digits[0] == b'0' || digits.len() > MAX_INT_DIGITS {
        return Err(NotLiteral);
    }
    let text = match digits {
        Cow::Borrowed(digits) => std::str::from_utf8(digits).map(Cow::Borrowed).ok(),
        Cow::Owned(digits) => String::from_utf8(digits).map(Cow::Owned).ok(),
    };
    text.map(Value::Int).ok_or(NotLiteral)
}
