//! The grammar of `ast.literal_eval` in Python 3.9, as a parser that evaluates nothing else.
//!
//! Bounded like CPython's tokenizer: at most 200 brackets open at once, so recursion stays shallow.
//! Not reproduced: `\N{NAME}` escapes, whose table of names would outweigh the rest of the agent.

use super::set_order;
use super::value::{Places, Value};

/// CPython's tokenizer refuses the 201st open bracket.
const MAX_BRACKETS: usize = 200;

/// Room made at once for the items of a tuple or a dict.
const USUAL_ITEMS: usize = 8;

/// Why a text is no literal; Python would raise SyntaxError, ValueError or TypeError.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotLiteral;

pub(super) type Parsed<T> = Result<T, NotLiteral>;

/// Parses a literal. `text` is generalised UTF-8; a surrogate in it makes it no literal.
pub fn parse(text: &[u8]) -> Result<Value<'_>, NotLiteral> {
    if text.contains(&0) || std::str::from_utf8(text).is_err() {
        return Err(NotLiteral);
    }
    let mut parser = Parser {
        text,
        at: 0,
        brackets: 0,
    };
    parser.skip_empty_lines()?;
    let value = parser.expressions()?;
    parser.finish()?;
    Ok(value)
}

/// What Python's syntax tree would be, as far as signs and sums ask.
#[derive(Clone, Copy, PartialEq)]
enum Shape {
    /// A number without sign: may take one, or be added to.
    Number,
    /// A number with a sign.
    Signed,
    Other,
}

/// How a line begins.
#[derive(Clone, Copy, PartialEq)]
enum Indent {
    None,
    Some,
    /// Before a comment or behind a hidden line end, blanks do not count.
    Forgiven,
}

pub(super) struct Parser<'a> {
    pub(super) text: &'a [u8],
    pub(super) at: usize,
    brackets: usize,
}

impl<'a> Parser<'a> {
    #[inline]
    pub(super) fn peek(&self) -> Option<u8> {
        self.peek_at(0)
    }

    #[inline]
    pub(super) fn peek_at(&self, ahead: usize) -> Option<u8> {
        self.text.get(self.at + ahead).copied()
    }

    #[inline]
    pub(super) fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// The length of the line end here: `\n`, `\r` or both; 0 where there is none.
    #[inline]
    pub(super) fn line_end(&self) -> usize {
        match (self.peek(), self.peek_at(1)) {
            (Some(b'\r'), Some(b'\n')) => 2,
            (Some(b'\n' | b'\r'), _) => 1,
            _ => 0,
        }
    }

    /// Lines of blanks and comments before the value. A value that is indented is an error.
    fn skip_empty_lines(&mut self) -> Parsed<()> {
        loop {
            let indent = self.line_start()?;
            match self.line_end() {
                0 if indent == Indent::Some || self.peek().is_none() => return Err(NotLiteral),
                0 => return Ok(()),
                length => self.at += length,
            }
        }
    }

    /// Skips blanks and a comment at the start of a line. A form feed or a backslash at the line's
    /// end starts the indentation over.
    fn line_start(&mut self) -> Parsed<Indent> {
        let mut indent = Indent::None;
        loop {
            match self.peek() {
                Some(b' ' | b'\t') if indent == Indent::None => indent = Indent::Some,
                Some(b' ' | b'\t') => {}
                Some(b'\x0c') => indent = Indent::None,
                Some(b'\\') => {
                    self.continuation()?;
                    indent = Indent::Forgiven;
                    continue;
                }
                _ => break,
            }
            self.at += 1;
        }
        if self.peek() == Some(b'#') {
            self.comment();
            indent = Indent::Forgiven;
        }
        Ok(indent)
    }

    /// Steps over a backslash and the line end that it hides; something must follow.
    fn continuation(&mut self) -> Parsed<()> {
        self.at += 1;
        let length = self.line_end();
        self.at += length;
        if length == 0 || self.peek().is_none() {
            Err(NotLiteral)
        } else {
            Ok(())
        }
    }

    fn comment(&mut self) {
        if self.peek() == Some(b'#') {
            while self.peek().is_some() && self.line_end() == 0 {
                self.at += 1;
            }
        }
    }

    /// Skips what may stand between two tokens; line ends only inside brackets.
    #[inline]
    pub(super) fn blanks(&mut self) -> Parsed<()> {
        loop {
            match self.peek() {
                Some(b' ' | b'\t' | b'\x0c') => self.at += 1,
                Some(b'#') => self.comment(),
                Some(b'\n' | b'\r') if self.brackets > 0 => self.at += 1,
                Some(b'\\') => self.continuation()?,
                _ => return Ok(()),
            }
        }
    }

    /// After the value: nothing but empty lines, the last one without blanks.
    fn finish(&mut self) -> Parsed<()> {
        self.blanks()?;
        while self.peek().is_some() {
            match self.line_end() {
                0 => return Err(NotLiteral),
                length => self.at += length,
            }
            if self.line_start()? == Indent::Some && self.peek().is_none() {
                return Err(NotLiteral);
            }
        }
        Ok(())
    }

    /// One value, or several with commas: a tuple without brackets.
    fn expressions(&mut self) -> Parsed<Value<'a>> {
        let first = self.expression()?;
        if !self.take(b',') {
            return Ok(first);
        }
        let mut items = vec![first];
        self.blanks()?;
        while self.peek().is_some() && self.line_end() == 0 {
            items.push(self.expression()?);
            if !self.take(b',') {
                break;
            }
            self.blanks()?;
        }
        Ok(Value::Tuple(items))
    }

    /// A value and the blanks behind it.
    fn expression(&mut self) -> Parsed<Value<'a>> {
        self.sum().map(|(value, _)| value)
    }

    /// A value, or a complex number written as a sum: `1+2j`.
    fn sum(&mut self) -> Parsed<(Value<'a>, Shape)> {
        let (left, shape) = self.signed()?;
        self.blanks()?;
        let Some(sign @ (b'+' | b'-')) = self.peek() else {
            return Ok((left, shape));
        };
        self.at += 1;
        self.blanks()?;
        let (right, right_shape) = self.atom()?;
        self.blanks()?;
        if shape == Shape::Other || right_shape != Shape::Number {
            return Err(NotLiteral);
        }
        let real = as_float(&left)?;
        match (right, sign) {
            (Value::Complex(zero, imaginary), b'+') => {
                Ok((Value::Complex(real + zero, 0.0 + imaginary), Shape::Other))
            }
            (Value::Complex(zero, imaginary), _) => {
                Ok((Value::Complex(real - zero, 0.0 - imaginary), Shape::Other))
            }
            _ => Err(NotLiteral),
        }
    }

    #[inline]
    fn signed(&mut self) -> Parsed<(Value<'a>, Shape)> {
        let Some(sign @ (b'+' | b'-')) = self.peek() else {
            return self.atom();
        };
        self.at += 1;
        self.blanks()?;
        match self.atom()? {
            (value, Shape::Number) if sign == b'-' => Ok((negate(value), Shape::Signed)),
            (value, Shape::Number) => Ok((value, Shape::Signed)),
            _ => Err(NotLiteral),
        }
    }

    fn atom(&mut self) -> Parsed<(Value<'a>, Shape)> {
        let value = match self.peek().ok_or(NotLiteral)? {
            b'(' => return self.round(),
            b'[' => {
                self.open()?;
                Value::List(self.items(b']', Vec::new())?)
            }
            b'{' => self.curly()?,
            b'\'' | b'"' => self.strings()?,
            b'.' if self.text[self.at..].starts_with(b"...") => {
                self.at += 3;
                Value::Ellipsis
            }
            b'.' | b'0'..=b'9' => return Ok((self.number()?, Shape::Number)),
            b'a'..=b'z' | b'A'..=b'Z' => self.word()?,
            _ => return Err(NotLiteral),
        };
        Ok((value, Shape::Other))
    }

    /// Steps over an opening bracket and the blanks behind it.
    fn open(&mut self) -> Parsed<()> {
        self.at += 1;
        self.brackets += 1;
        if self.brackets > MAX_BRACKETS {
            return Err(NotLiteral);
        }
        self.blanks()
    }

    /// Steps over a closing bracket, if it is here.
    #[inline]
    fn close(&mut self, bracket: u8) -> bool {
        let closed = self.take(bracket);
        self.brackets -= usize::from(closed);
        closed
    }

    /// The rest of a bracket: items, commas between them and one allowed behind the last.
    fn items(&mut self, bracket: u8, mut items: Vec<Value<'a>>) -> Parsed<Vec<Value<'a>>> {
        while !self.close(bracket) {
            items.push(self.expression()?);
            if self.take(b',') {
                self.blanks()?;
            } else if self.peek() != Some(bracket) {
                return Err(NotLiteral);
            }
        }
        Ok(items)
    }

    /// A tuple, or one value in brackets, which keeps its shape: `-(1)` is a number.
    fn round(&mut self) -> Parsed<(Value<'a>, Shape)> {
        self.open()?;
        if self.close(b')') {
            return Ok((Value::Tuple(Vec::new()), Shape::Other));
        }
        let (first, shape) = self.sum()?;
        if self.close(b')') {
            return Ok((first, shape));
        }
        if !self.take(b',') {
            return Err(NotLiteral);
        }
        self.blanks()?;
        let mut items = Vec::with_capacity(USUAL_ITEMS);
        items.push(first);
        Ok((Value::Tuple(self.items(b')', items)?), Shape::Other))
    }

    /// A dict or a set.
    fn curly(&mut self) -> Parsed<Value<'a>> {
        self.open()?;
        if self.close(b'}') {
            return Ok(Value::Dict(Vec::new()));
        }
        let first = self.expression()?;
        if self.peek() == Some(b':') {
            return self.dict(first);
        }
        if !self.take(b',') && self.peek() != Some(b'}') {
            return Err(NotLiteral);
        }
        self.blanks()?;
        let items = self.items(b'}', vec![first])?;
        Ok(Value::Set(set_order::order(distinct(items)?)))
    }

    fn dict(&mut self, first: Value<'a>) -> Parsed<Value<'a>> {
        let mut items = Vec::with_capacity(USUAL_ITEMS);
        let mut key = first;
        loop {
            if !self.take(b':') {
                return Err(NotLiteral);
            }
            self.blanks()?;
            items.push((key, self.expression()?));
            let comma = self.take(b',');
            self.blanks()?;
            if self.close(b'}') {
                return distinct_keys(items).map(Value::Dict);
            }
            if !comma {
                return Err(NotLiteral);
            }
            key = self.expression()?;
        }
    }

    /// A name that is a value, `set()`, or the prefix of a string.
    fn word(&mut self) -> Parsed<Value<'a>> {
        let rest = &self.text[self.at..];
        let length = rest.iter().take_while(|byte| is_word(**byte)).count();
        if let Some(b'\'' | b'"') = rest.get(length) {
            return self.strings();
        }
        self.at += length;
        match &rest[..length] {
            b"None" => Ok(Value::None),
            b"True" => Ok(Value::Bool(true)),
            b"False" => Ok(Value::Bool(false)),
            b"set" => self.empty_set(),
            _ => Err(NotLiteral),
        }
    }

    fn empty_set(&mut self) -> Parsed<Value<'a>> {
        self.blanks()?;
        if self.peek() != Some(b'(') {
            return Err(NotLiteral);
        }
        self.open()?;
        if self.close(b')') {
            Ok(Value::Set(Vec::new()))
        } else {
            Err(NotLiteral)
        }
    }
}

/// Part of a name or a number: another one may not follow directly.
pub(super) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

fn negate(value: Value<'_>) -> Value<'_> {
    match value {
        Value::Int(digits) if digits == "0" => Value::Int(digits),
        Value::Int(digits) => Value::Int(format!("-{digits}").into()),
        Value::OverlongInt(source) => Value::OverlongInt(format!("-{source}").into()),
        Value::Float(number) => Value::Float(-number),
        Value::Complex(real, imaginary) => Value::Complex(-real, -imaginary),
        other => other,
    }
}

/// The left side of a complex sum. An integer beyond a float's range raises in Python.
fn as_float(value: &Value<'_>) -> Parsed<f64> {
    match value {
        Value::Float(number) => Ok(*number),
        Value::Int(digits) => digits
            .parse()
            .ok()
            .filter(|number: &f64| number.is_finite())
            .ok_or(NotLiteral),
        _ => Err(NotLiteral),
    }
}

/// Equal items become one, the first.
fn distinct(items: Vec<Value<'_>>) -> Parsed<Vec<Value<'_>>> {
    if !items.iter().all(Value::is_hashable) {
        return Err(NotLiteral);
    }
    if items.len() < 2 {
        return Ok(items);
    }
    let mut places = Places::default();
    Ok(items
        .into_iter()
        .filter(|item| places.find(item).is_none())
        .collect())
}

/// Whether the keys are few, all of them texts, and no two the same: what is usual, told by a look.
fn are_distinct_texts(items: &[(Value<'_>, Value<'_>)]) -> bool {
    const FEW: usize = 16;
    let is_new = |index: usize| match &items[index].0 {
        Value::Str(text) => items[..index]
            .iter()
            .all(|(other, _)| !matches!(other, Value::Str(other) if other == text)),
        _ => false,
    };
    items.len() <= FEW && (0..items.len()).all(is_new)
}

/// Equal keys become one: the first key, with the last value.
fn distinct_keys<'a>(items: Vec<(Value<'a>, Value<'a>)>) -> Parsed<Vec<(Value<'a>, Value<'a>)>> {
    if !items.iter().all(|(key, _)| key.is_hashable()) {
        return Err(NotLiteral);
    }
    if are_distinct_texts(&items) {
        return Ok(items);
    }
    let mut places = Places::default();
    let mut distinct: Vec<(Value<'a>, Value<'a>)> = Vec::with_capacity(items.len());
    for (key, value) in items {
        match places.find(&key) {
            Some(place) => distinct[place].1 = value,
            None => distinct.push((key, value)),
        }
    }
    Ok(distinct)
}
