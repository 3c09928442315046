//! Checks a whole text against a JSON grammar in one iterative pass that allocates nothing.

use std::fmt;
use std::ops::Range;

use crate::bytes;
use crate::python::number::MAX_INT_DIGITS;

/// Containers may nest this deep: orjson's limit, and about that of Python's `json`, whose own
/// depends on the stack of its caller.
pub const MAX_DEPTH: usize = 1024;

/// Which of the two readers in Leek is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Python's `json`: `NaN`, infinities, lone surrogate escapes; integers up to 4300 digits.
    Python,
    /// orjson: none of these, and no number that overflows a float.
    Orjson,
}

/// Where a text stops being JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SyntaxError {
    /// Byte offset into the text.
    pub position: usize,
    /// What would have been right there.
    pub expected: &'static str,
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "byte {}: expected {}", self.position, self.expected)
    }
}

type Checked = Result<(), SyntaxError>;

/// Whether the whole of `text` is one JSON value.
pub fn check(text: &[u8], dialect: Dialect) -> Checked {
    check_noting(text, dialect, None)
}

/// As [`check`]; notes where the parts of the value lie, so that they need not be looked for again.
pub fn check_noting(text: &[u8], dialect: Dialect, parts: Option<&mut Parts>) -> Checked {
    if let Err(error) = std::str::from_utf8(text) {
        return Err(SyntaxError {
            position: error.valid_up_to(),
            expected: "UTF-8",
        });
    }
    let mut scanner = Scanner {
        text,
        at: 0,
        dialect,
        nesting: Nesting::default(),
        part: 0,
        parts,
    };
    scanner.blanks();
    while scanner.value()? == Step::Value {}
    scanner.blanks();
    if scanner.at < text.len() {
        return scanner.fail("the end of the text");
    }
    Ok(())
}

/// What has to come next.
#[derive(PartialEq)]
enum Step {
    Value,
    End,
}

/// Where the parts of a container lie in its text: the keys and values of an object in turn, or the
/// elements of an array. Of a long one only the first are noted.
#[derive(Debug, Clone)]
pub struct Parts {
    /// Start and end.
    places: [(u32, u32); Parts::MOST],
    count: usize,
}

impl Default for Parts {
    fn default() -> Self {
        Parts {
            places: [(0, 0); Parts::MOST],
            count: 0,
        }
    }
}

impl Parts {
    /// Two for each member of an event: Celery's have 25 at most.
    const MOST: usize = 64;

    /// Forgets all.
    pub fn clear(&mut self) {
        self.count = 0;
    }

    fn note(&mut self, part: Range<usize>) {
        if let Some(place) = self.places.get_mut(self.count) {
            // A text beyond 4 GB would be another's memory.
            *place = (part.start as u32, part.end as u32);
        }
        self.count += 1;
    }

    /// Where a part lies; `None` where there is none, or it is not noted.
    pub fn get(&self, index: usize) -> Option<Range<usize>> {
        let places = &self.places[..self.count.min(Parts::MOST)];
        let (start, end) = places.get(index)?;
        Some(*start as usize..*end as usize)
    }

    /// No part is missing.
    pub fn is_complete(&self) -> bool {
        self.count <= Parts::MOST
    }
}

struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
    dialect: Dialect,
    nesting: Nesting,
    /// Where the part began that the scanner is in.
    part: usize,
    parts: Option<&'a mut Parts>,
}

impl Scanner<'_> {
    /// Notes a part of the outermost container.
    #[inline]
    fn note(&mut self, part: Range<usize>) {
        if self.nesting.depth == 1
            && let Some(parts) = &mut self.parts
        {
            parts.note(part);
        }
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn fail<T>(&self, expected: &'static str) -> Result<T, SyntaxError> {
        Err(SyntaxError {
            position: self.at,
            expected,
        })
    }

    #[inline]
    fn blanks(&mut self) {
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    /// Steps over a scalar or into a container, and out of all that end behind it.
    fn value(&mut self) -> Result<Step, SyntaxError> {
        if self.nesting.depth == 1 {
            self.part = self.at;
        }
        match self.peek() {
            Some(b'{') => {
                self.at += 1;
                self.blanks();
                if self.peek() != Some(b'}') {
                    self.enter(Container::Object)?;
                    self.key()?;
                    return Ok(Step::Value);
                }
                self.at += 1;
            }
            Some(b'[') => {
                self.at += 1;
                self.blanks();
                if self.peek() != Some(b']') {
                    self.enter(Container::Array)?;
                    return Ok(Step::Value);
                }
                self.at += 1;
            }
            _ => self.scalar()?,
        }
        self.after_value()
    }

    fn enter(&mut self, container: Container) -> Checked {
        if self.nesting.push(container) {
            Ok(())
        } else {
            self.fail("at most 1024 levels")
        }
    }

    fn after_value(&mut self) -> Result<Step, SyntaxError> {
        while let Some(container) = self.nesting.top() {
            self.note(self.part..self.at);
            self.blanks();
            match (container, self.peek()) {
                (Container::Array, Some(b',')) => {
                    self.at += 1;
                    self.blanks();
                    return Ok(Step::Value);
                }
                (Container::Object, Some(b',')) => {
                    self.at += 1;
                    self.blanks();
                    self.key()?;
                    return Ok(Step::Value);
                }
                (Container::Array, Some(b']')) | (Container::Object, Some(b'}')) => {
                    self.at += 1;
                    self.nesting.pop();
                }
                (Container::Array, _) => return self.fail("`,` or `]`"),
                (Container::Object, _) => return self.fail("`,` or `}`"),
            }
        }
        Ok(Step::End)
    }

    /// A key, its colon, and the blanks before the value.
    fn key(&mut self) -> Checked {
        if self.peek() != Some(b'"') {
            return self.fail("a key in double quotes");
        }
        let start = self.at;
        self.string()?;
        self.note(start..self.at);
        self.blanks();
        if self.peek() != Some(b':') {
            return self.fail("`:`");
        }
        self.at += 1;
        self.blanks();
        Ok(())
    }

    fn scalar(&mut self) -> Checked {
        let python = self.dialect == Dialect::Python;
        match self.peek() {
            Some(b'"') => self.string(),
            Some(b't') => self.word(b"true"),
            Some(b'f') => self.word(b"false"),
            Some(b'n') => self.word(b"null"),
            Some(b'N') if python => self.word(b"NaN"),
            Some(b'I') if python => self.word(b"Infinity"),
            Some(b'-') if python && self.text.get(self.at + 1) == Some(&b'I') => {
                self.word(b"-Infinity")
            }
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => self.fail("a value"),
        }
    }

    fn word(&mut self, word: &[u8]) -> Checked {
        if !self.text[self.at..].starts_with(word) {
            return self.fail("a value");
        }
        self.at += word.len();
        Ok(())
    }

    #[inline]
    fn string(&mut self) -> Checked {
        self.at += 1;
        loop {
            self.at += plain_length(&self.text[self.at..]);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => self.escape()?,
                Some(0..=0x1f) => return self.fail("no raw control character"),
                Some(_) => self.at += 1,
                None => return self.fail("a closing quote"),
            }
        }
    }

    fn escape(&mut self) -> Checked {
        match self.text.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 2;
                Ok(())
            }
            Some(b'u') => self.unicode_escape(),
            _ => self.fail("a known escape"),
        }
    }

    fn unicode_escape(&mut self) -> Checked {
        let Some(unit) = hex4(self.text, self.at + 2) else {
            return self.fail("four hexadecimal digits");
        };
        let is_pair = || {
            self.text.get(self.at + 6..self.at + 8) == Some(b"\\u")
                && matches!(hex4(self.text, self.at + 8), Some(0xdc00..=0xdfff))
        };
        match unit {
            0xd800..=0xdfff if self.dialect == Dialect::Python => self.at += 6,
            0xd800..=0xdbff if is_pair() => self.at += 12,
            0xd800..=0xdfff => return self.fail("no lone surrogate"),
            _ => self.at += 6,
        }
        Ok(())
    }

    fn number(&mut self) -> Checked {
        let start = self.at;
        self.at += usize::from(self.peek() == Some(b'-'));
        let first = self.peek();
        let whole = self.digits();
        if whole == 0 || (whole > 1 && first == Some(b'0')) {
            return self.fail("a number");
        }
        let mut is_int = true;
        if self.peek() == Some(b'.') {
            is_int = false;
            self.at += 1;
            if self.digits() == 0 {
                return self.fail("a digit");
            }
        }
        if let Some(b'e' | b'E') = self.peek() {
            is_int = false;
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            if self.digits() == 0 {
                return self.fail("a digit");
            }
        }
        self.size(start, is_int.then_some(whole))
    }

    /// The two dialects refuse numbers that are too large for them.
    fn size(&self, start: usize, int_digits: Option<usize>) -> Checked {
        let too_large = match (self.dialect, int_digits) {
            (Dialect::Python, Some(digits)) => digits > MAX_INT_DIGITS,
            (Dialect::Python, None) => false,
            // Fewer digits than this cannot overflow a float.
            (Dialect::Orjson, Some(0..=300)) => false,
            (Dialect::Orjson, _) => !super::read::float(&self.text[start..self.at]).is_finite(),
        };
        if too_large {
            return Err(SyntaxError {
                position: start,
                expected: "a smaller number",
            });
        }
        Ok(())
    }

    #[inline]
    fn digits(&mut self) -> usize {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        self.at - start
    }
}

/// Four hexadecimal digits at an offset.
pub fn hex4(text: &[u8], at: usize) -> Option<u32> {
    let digits = text.get(at..at + 4)?;
    digits.iter().try_fold(0, |unit, &byte| {
        Some(unit << 4 | char::from(byte).to_digit(16)?)
    })
}

/// How many bytes from the start of `text` are neither quote, backslash nor control character.
#[inline]
pub fn plain_length(text: &[u8]) -> usize {
    bytes::length_until(text, special)
}

/// Marks what ends plain text.
#[inline]
pub fn special(word: u64) -> u64 {
    bytes::equal(word, b'"') | bytes::equal(word, b'\\') | bytes::controls(word)
}

#[derive(Clone, Copy)]
enum Container {
    Array,
    Object,
}

/// The open containers, a bit each.
struct Nesting {
    bits: [u64; MAX_DEPTH / 64],
    depth: usize,
}

impl Default for Nesting {
    fn default() -> Self {
        Nesting {
            bits: [0; MAX_DEPTH / 64],
            depth: 0,
        }
    }
}

impl Nesting {
    /// False where there is no more room.
    fn push(&mut self, container: Container) -> bool {
        let Some(word) = self.bits.get_mut(self.depth / 64) else {
            return false;
        };
        let bit = 1 << (self.depth % 64);
        match container {
            Container::Array => *word &= !bit,
            Container::Object => *word |= bit,
        }
        self.depth += 1;
        true
    }

    #[inline]
    fn pop(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }

    #[inline]
    fn top(&self) -> Option<Container> {
        let last = self.depth.checked_sub(1)?;
        let is_object = self.bits[last / 64] >> (last % 64) & 1 == 1;
        Some(if is_object {
            Container::Object
        } else {
            Container::Array
        })
    }
}
