//! Checks a whole text against a JSON grammar in one iterative pass that allocates nothing.

use std::fmt;

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

struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
    dialect: Dialect,
    nesting: Nesting,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn fail<T>(&self, expected: &'static str) -> Result<T, SyntaxError> {
        Err(SyntaxError {
            position: self.at,
            expected,
        })
    }

    fn blanks(&mut self) {
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    /// Steps over a scalar or into a container, and out of all that end behind it.
    fn value(&mut self) -> Result<Step, SyntaxError> {
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
        self.string()?;
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
pub fn plain_length(text: &[u8]) -> usize {
    length_until(text, special_marks)
}

/// How many bytes stand before the first one that `marks` marks.
///
/// Eight at a time: a body is mostly text, and this is where the time goes.
pub fn length_until(text: &[u8], marks: impl Fn(u64) -> u64) -> usize {
    let (chunks, rest) = text.as_chunks::<8>();
    for (index, &chunk) in chunks.iter().enumerate() {
        let marked = marks(u64::from_le_bytes(chunk));
        if marked != 0 {
            return index * 8 + marked.trailing_zeros() as usize / 8;
        }
    }
    // Padded with a byte that is never marked.
    let mut last = [b' '; 8];
    last[..rest.len()].copy_from_slice(rest);
    let marked = marks(u64::from_le_bytes(last));
    let length = if marked == 0 {
        rest.len()
    } else {
        marked.trailing_zeros() as usize / 8
    };
    chunks.len() * 8 + length
}

/// A one in each byte.
pub const ONES: u64 = 0x0101_0101_0101_0101;
/// The top bit of each byte.
pub const TOPS: u64 = 0x8080_8080_8080_8080;

/// The top bit of each byte that ends plain text; bits above the first such byte may be wrong.
pub fn special_marks(word: u64) -> u64 {
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word;
    let quotes = zeros(word ^ (ONES * u64::from(b'"')));
    let backslashes = zeros(word ^ (ONES * u64::from(b'\\')));
    let controls = word.wrapping_sub(ONES * 0x20) & !word;
    (quotes | backslashes | controls) & TOPS
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

    fn pop(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }

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
