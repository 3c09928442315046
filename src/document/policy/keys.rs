//! The values of some keys within the text of kwargs, cut out in place.
//!
//! The text is JSON or a Python literal. One walk finds where the values lie, so that all else
//! stays as it was written. A text that cannot be read is redacted as a whole: Celery cuts long
//! ones, and what is left over may begin anywhere.

use std::borrow::Cow;
use std::ops::Range;

use super::redact::MARK;
use crate::document::args::MAX_LITERAL;
use crate::json::read;
use crate::json::scan::{self, Dialect};
use crate::python::literal;
use crate::python::repr::{self, Limited};
use crate::python::value::Value;

/// Celery marks what it cut, keys too.
const CUT: &[u8] = b"...";

/// `text` without the values that `paths` lead to; `None` where there are none.
pub fn redact(text: &[u8], paths: &[String]) -> Option<Cow<'static, [u8]>> {
    if text.is_empty() {
        return None;
    }
    let Some(syntax) = Syntax::of(text) else {
        return Some(MARK.as_bytes().into());
    };
    let mut walk = Walk {
        text,
        at: 0,
        syntax,
        paths,
        found: Vec::new(),
    };
    walk.value(&[]);
    (!walk.found.is_empty()).then(|| walk.splice().into())
}

/// How the text of a dict is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Syntax {
    Json,
    Python,
}

impl Syntax {
    /// `None` where the text is no dict that can surely be read.
    fn of(text: &[u8]) -> Option<Syntax> {
        if text.len() > MAX_LITERAL {
            return None;
        }
        if scan::check(text, Dialect::Orjson).is_ok() {
            return (text.trim_ascii_start().first() == Some(&b'{')).then_some(Syntax::Json);
        }
        // Celery escapes quotes, but no backslash: behind one, text that is within a string for
        // Celery may be outside of it for us.
        let is_doubtful = |three: &[u8]| matches!(three, [b'\\', b'\\', b'\'' | b'"']);
        if text.windows(3).any(is_doubtful) {
            return None;
        }
        matches!(literal::parse(text), Ok(Value::Dict(_))).then_some(Syntax::Python)
    }

    fn key(self, key: &[u8]) -> Option<Cow<'_, [u8]>> {
        match self {
            Syntax::Json => Some(read::decode(read::unquoted(key.trim_ascii()))),
            Syntax::Python => match literal::parse(key.trim_ascii()).ok()? {
                Value::Str(text) | Value::Bytes(text) => Some(text),
                other => {
                    let mut text = Limited::new(usize::MAX);
                    repr::write_str(&other, &mut text);
                    Some(text.into_text().into())
                }
            },
        }
    }

    fn mark(self) -> String {
        match self {
            Syntax::Json => format!("\"{MARK}\""),
            Syntax::Python => format!("'{MARK}'"),
        }
    }
}

/// What the paths say of one value.
enum Next<'t> {
    /// It must not leave.
    Whole,
    /// These rests of paths go on below it.
    Below(Vec<&'t [u8]>),
}

/// One walk over a text that is known to be well-formed. A path may begin at any key; `inner` are
/// the rests of those that have begun above.
struct Walk<'t> {
    text: &'t [u8],
    at: usize,
    syntax: Syntax,
    paths: &'t [String],
    /// Where the values to redact lie, in order.
    found: Vec<Range<usize>>,
}

impl<'t> Walk<'t> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    /// Walks over one value, or a key, up to the `,` or `:` or bracket behind it. Answers whether
    /// it is a string that seems to hold one of the keys itself.
    fn value(&mut self, inner: &[&'t [u8]]) -> bool {
        let mut hides_key = false;
        while let Some(byte) = self.peek() {
            match byte {
                b',' | b':' | b')' | b']' | b'}' => break,
                b'\'' | b'"' => hides_key |= self.string(byte),
                b'#' => self.comment(),
                b'{' => self.dict_or_set(inner),
                b'(' | b'[' => self.list(inner),
                _ => self.at += 1,
            }
        }
        hides_key
    }

    /// Walks over one value of which the paths say `next`.
    fn item(&mut self, next: &Next<'t>) {
        let (start, found) = (self.at, self.found.len());
        let hides_key = match next {
            Next::Whole => self.value(&[]),
            Next::Below(rests) => self.value(rests),
        };
        if hides_key || matches!(next, Next::Whole) {
            self.found.truncate(found);
            self.cut(start);
        }
    }

    /// The value that began at `start` must not leave.
    fn cut(&mut self, start: usize) {
        let value = &self.text[start..self.at];
        let blanks = value.len() - value.trim_ascii_start().len();
        let start = start + blanks;
        self.found.push(start..start + value.trim_ascii().len());
    }

    fn dict_or_set(&mut self, inner: &[&'t [u8]]) {
        self.at += 1;
        loop {
            let start = self.at;
            let hides_key = self.value(inner);
            if self.peek() == Some(b':') {
                let key = self.syntax.key(&self.text[start..self.at]);
                self.at += 1;
                let next = self.behind_key(key.as_deref(), inner);
                self.item(&next);
            } else if hides_key {
                self.cut(start);
            }
            if !self.more() {
                return;
            }
        }
    }

    fn list(&mut self, inner: &[&'t [u8]]) {
        self.at += 1;
        for index in 0_usize.. {
            let next = behind_index(index, inner);
            self.item(&next);
            if !self.more() {
                return;
            }
        }
    }

    /// Steps over a comma or a closing bracket; true for a comma.
    fn more(&mut self) -> bool {
        let comma = self.peek() == Some(b',');
        self.at += 1;
        comma
    }

    /// A key that cannot be read may be any.
    fn behind_key(&self, key: Option<&[u8]>, inner: &[&'t [u8]]) -> Next<'t> {
        let Some(key) = key else { return Next::Whole };
        let mut rests = Vec::new();
        let paths = self.paths.iter().map(String::as_bytes);
        for path in paths.chain(inner.iter().copied()) {
            if path == key || is_cut_from(key, path) {
                return Next::Whole;
            }
            add(&mut rests, below(path, key));
        }
        Next::Below(rests)
    }

    /// Walks over a string. Answers whether it looks like a dict or list with one of the keys, as
    /// the text of a request does: it is one value here, and cannot be looked into.
    fn string(&mut self, quote: u8) -> bool {
        let is_triple = self.text[self.at..].starts_with(&[quote; 3]);
        let quotes = if is_triple { 3 } else { 1 };
        let start = self.at + quotes;
        self.at = start;
        while self.peek().is_some() && !self.text[self.at..].starts_with(&[quote; 3][..quotes]) {
            self.at += if self.peek() == Some(b'\\') { 2 } else { 1 };
        }
        let end = self.at.min(self.text.len());
        self.at = end + quotes;
        self.seems_to_hold_key(&self.text[start..end])
    }

    fn seems_to_hold_key(&self, text: &[u8]) -> bool {
        let holds = |path: &String| {
            let key = path.rsplit('.').next().unwrap_or(path).as_bytes();
            text.windows(key.len()).any(|window| window == key)
        };
        matches!(text.trim_ascii_start().first(), Some(b'{' | b'[' | b'('))
            && self.paths.iter().any(holds)
    }

    fn comment(&mut self) {
        while !matches!(self.peek(), None | Some(b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// The text with a mark in the place of each value that was found.
    fn splice(&self) -> Vec<u8> {
        let mark = self.syntax.mark();
        let mut spliced = Vec::with_capacity(self.text.len() + mark.len());
        let mut from = 0;
        for found in &self.found {
            spliced.extend_from_slice(&self.text[from..found.start]);
            spliced.extend_from_slice(mark.as_bytes());
            from = found.end;
        }
        spliced.extend_from_slice(&self.text[from..]);
        spliced
    }
}

/// Paths pass through lists, with the item's number or without it.
fn behind_index<'t>(index: usize, inner: &[&'t [u8]]) -> Next<'t> {
    let mut rests = inner.to_vec();
    if inner.is_empty() {
        return Next::Below(rests);
    }
    let index = index.to_string();
    for path in inner {
        if *path == index.as_bytes() {
            return Next::Whole;
        }
        add(&mut rests, below(path, index.as_bytes()));
    }
    Next::Below(rests)
}

/// What is left of a dotted path behind its first key.
fn below<'t>(path: &'t [u8], key: &[u8]) -> Option<&'t [u8]> {
    path.strip_prefix(key)?.strip_prefix(b".")
}

/// Each rest once, or a deep list would double them at every level.
fn add<'t>(rests: &mut Vec<&'t [u8]>, rest: Option<&'t [u8]>) {
    if let Some(rest) = rest
        && !rests.contains(&rest)
    {
        rests.push(rest);
    }
}

/// Whether a key may be the beginning of the path's, cut short by Celery.
fn is_cut_from(key: &[u8], path: &[u8]) -> bool {
    key.strip_suffix(CUT)
        .is_some_and(|stem| path.starts_with(stem))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, path: &str, expected: &str) {
        let redacted = redact(text.as_bytes(), &[path.to_owned()]);
        let redacted = redacted.map_or(text.as_bytes().into(), Cow::into_owned);
        assert_eq!(
            String::from_utf8(redacted).unwrap(),
            expected,
            "{path} in {text}"
        );
    }

    #[test]
    fn values_are_cut_out_and_all_else_stays() {
        for (text, expected) in [
            ("{'a': 1,  'b' : 0x10}", "{'a': '[redacted]',  'b' : 0x10}"),
            ("{'b': {'a': [1, (2,)]}, }", "{'b': {'a': '[redacted]'}, }"),
            (
                "{'b': [{'a': 1}, {'a': 2}]}",
                "{'b': [{'a': '[redacted]'}, {'a': '[redacted]'}]}",
            ),
            (
                "{'a': 'x' \"y\", 'b': '''a'b'''}",
                "{'a': '[redacted]', 'b': '''a'b'''}",
            ),
            (
                "{b'a': 1, 'a': 2, 'a': 3}",
                "{b'a': '[redacted]', 'a': '[redacted]', 'a': '[redacted]'}",
            ),
            ("{'\\x61': {1, 2}}", "{'\\x61': '[redacted]'}"),
            (
                "{ # a: 1\n 'a' : ... # '\n}",
                "{ # a: 1\n 'a' : '[redacted]'\n}",
            ),
            (
                r#"{"a": 1, "b": [null, {"\u0061": "x"}]}"#,
                r#"{"a": "[redacted]", "b": [null, {"\u0061": "[redacted]"}]}"#,
            ),
            (
                r#"{"big": 123456789012345678901234567890, "a": {}}"#,
                r#"{"big": 123456789012345678901234567890, "a": "[redacted]"}"#,
            ),
            ("{}", "{}"),
            ("{'b': 'a', 'aa': 1, 'A': 2}", "{'b': 'a', 'aa': 1, 'A': 2}"),
            ("", ""),
        ] {
            check(text, "a", expected);
        }
    }

    #[test]
    fn paths_lead_through_dicts_and_lists() {
        for (text, path, expected) in [
            (
                "{'a': {'b': 1, 'c': 2}, 'b': 3}",
                "a.b",
                "{'a': {'b': '[redacted]', 'c': 2}, 'b': 3}",
            ),
            (
                "{'x': {'a': {'b': 1}}}",
                "a.b",
                "{'x': {'a': {'b': '[redacted]'}}}",
            ),
            (
                "{'a.b': 1, 'a': {'b.c': 2}}",
                "a.b",
                "{'a.b': '[redacted]', 'a': {'b.c': 2}}",
            ),
            ("{'a.b': {'c': 1}}", "a.b.c", "{'a.b': {'c': '[redacted]'}}"),
            (
                "{'a': [[{'b': 1}], 2]}",
                "a.b",
                "{'a': [[{'b': '[redacted]'}], 2]}",
            ),
            (
                "{'a': [{'b': 1}, {'b': 2}]}",
                "a.1.b",
                "{'a': [{'b': 1}, {'b': '[redacted]'}]}",
            ),
            ("{'a': (1, 2)}", "a.1", "{'a': (1, '[redacted]')}"),
            ("{1: 2, None: 3}", "1", "{1: '[redacted]', None: 3}"),
        ] {
            check(text, path, expected);
        }
        let deep = format!("{{'0': {}{}}}", "[".repeat(150), "]".repeat(150));
        check(&deep, "0.0.0.0.0.0.0.x", &deep);
    }

    #[test]
    fn a_string_that_holds_the_key_is_cut_as_a_whole() {
        check(
            r#"{"body": "{\"token\": 1}", "note": "token", "list": ["[\"token\"]", 2]}"#,
            "user.token",
            r#"{"body": "[redacted]", "note": "token", "list": ["[redacted]", 2]}"#,
        );
    }

    #[test]
    fn what_cannot_be_read_stays_as_a_whole() {
        for text in [
            "{'a': 'hunter2', ...}",
            "{'a': 'hunter",
            "{'x': <User hunter2>}",
            "{'a': Decimal('5')}",
            "['a', 'hunter2']",
            "'hunter2'",
            "{'a', 'hunter2'}",
            "{\"a\": NaN}",
            " {'a': 1}",
            // Celery's own text of one value, `1\', "x": "hunter2", "`, and of a second one.
            r#"{'a': '1\\', "x": "hunter2", "': 2}"#,
        ] {
            check(text, "a", MARK);
        }
        let long = format!("{{'b': '{}'}}", "x".repeat(MAX_LITERAL));
        check(&long, "a", MARK);
    }

    #[test]
    fn a_key_that_celery_cut_may_be_the_one() {
        check("{'pass...': 1}", "password", "{'pass...': '[redacted]'}");
        check("{'pat...': 1}", "password", "{'pat...': 1}");
    }
}
