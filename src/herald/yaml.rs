//! The YAML that Herald's configuration is written in: maps and lists by indentation or in brackets,
//! texts on one line, comments.
//!
//! A whole reader would take 94 KB of every gateway's binary for a file that is converted once. What is
//! read here means what PyYAML makes of it; anything else (anchors, tags, texts over several lines,
//! numbers in other bases) is refused with its line, never guessed at.

use serde_json::{Map, Number, Value};

/// Maps in lists in maps; Herald's files have five levels.
const DEPTH_MAX: usize = 24;

/// Why a text cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Counted from 1.
    pub line: usize,
    pub expected: String,
}

type Read<T> = Result<T, Fault>;

/// Reads one document.
pub fn read(text: &str) -> Read<Value> {
    let mut lines = Vec::new();
    for (number, text) in (1..).zip(text.trim_start_matches('\u{feff}').lines()) {
        let line = Line::new(number, text)?;
        match line.text {
            "" => {}
            "---" if lines.is_empty() => {}
            "---" => return Err(fault(number, "expected one document")),
            "..." => break,
            _ => lines.push(line),
        }
    }
    let mut reader = Reader { lines, next: 0 };
    let value = match reader.peek() {
        None => Value::Null,
        Some(first) => reader.node(first.indent, 0)?,
    };
    match reader.peek() {
        None => Ok(value),
        Some(line) => Err(fault(
            line.number,
            "expected the indentation of a line above",
        )),
    }
}

fn fault(line: usize, expected: &str) -> Fault {
    Fault {
        line,
        expected: expected.into(),
    }
}

/// A line with something on it.
#[derive(Debug, Clone, Copy)]
struct Line<'a> {
    number: usize,
    indent: usize,
    /// Without indentation and comment.
    text: &'a str,
}

impl<'a> Line<'a> {
    fn new(number: usize, text: &'a str) -> Read<Self> {
        let content = text.trim_start_matches(' ');
        let indent = text.len() - content.len();
        if content.starts_with('\t') && !content.trim().is_empty() {
            return Err(fault(number, "expected blanks for indentation, not a tab"));
        }
        if indent == 0 && content.starts_with('%') {
            return Err(fault(number, "expected no directive"));
        }
        Ok(Line {
            number,
            indent,
            text: without_comment(content).trim_end(),
        })
    }

    fn fault(&self, expected: &str) -> Fault {
        fault(self.number, expected)
    }
}

/// A comment begins at a `#` at the start or behind a blank, outside of quotes.
fn without_comment(text: &str) -> &str {
    let mut scan = Scan::default();
    let mut before = ' ';
    for (at, c) in text.char_indices() {
        if scan.quote.is_none() && c == '#' && before.is_whitespace() {
            return &text[..at];
        }
        scan.step(c, &text[at + c.len_utf8()..]);
        before = c;
    }
    text
}

/// Follows quotes and brackets through a line: both mean something only where a value begins.
#[derive(Debug)]
struct Scan {
    quote: Option<char>,
    escaped: bool,
    /// A value may begin here.
    begins: bool,
    brackets: usize,
}

impl Default for Scan {
    fn default() -> Self {
        Scan {
            quote: None,
            escaped: false,
            begins: true,
            brackets: 0,
        }
    }
}

impl Scan {
    /// Goes past `c`, behind which is `rest`.
    fn step(&mut self, c: char, rest: &str) {
        match self.quote {
            _ if self.escaped => self.escaped = false,
            Some('"') if c == '\\' => self.escaped = true,
            Some('\'') if c == '\'' && rest.starts_with('\'') => self.escaped = true,
            Some(quote) if c == quote => self.quote = None,
            Some(_) => {}
            None => self.plain(c, rest),
        }
    }

    fn plain(&mut self, c: char, rest: &str) {
        let is_sign = rest.is_empty() || rest.starts_with(' ');
        match c {
            ' ' => {}
            '\'' | '"' if self.begins => (self.quote, self.begins) = (Some(c), false),
            '[' | '{' if self.begins => self.brackets += 1,
            ']' | '}' if self.brackets > 0 => {
                (self.brackets, self.begins) = (self.brackets - 1, false)
            }
            ',' if self.brackets > 0 => self.begins = true,
            ':' if is_sign || self.brackets > 0 => self.begins = true,
            '-' if self.begins && is_sign => {}
            _ => self.begins = false,
        }
    }
}

struct Reader<'a> {
    lines: Vec<Line<'a>>,
    next: usize,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<Line<'a>> {
        self.lines.get(self.next).copied()
    }

    /// The value that begins at the next line, which stands at `indent`.
    fn node(&mut self, indent: usize, depth: usize) -> Read<Value> {
        let Some(line) = self.peek() else {
            return Ok(Value::Null);
        };
        if depth > DEPTH_MAX {
            return Err(line.fault("expected fewer levels"));
        }
        if item(line.text).is_some() {
            return self.list(indent, depth);
        }
        if entry(&line)?.is_some() {
            return self.map(indent, depth);
        }
        self.next += 1;
        inline(&line, line.text)
    }

    fn list(&mut self, indent: usize, depth: usize) -> Read<Value> {
        let mut items = Vec::new();
        while let Some(line) = self.peek().filter(|line| line.indent == indent) {
            let Some(rest) = item(line.text) else { break };
            if rest.is_empty() {
                self.next += 1;
                items.push(self.below(indent, depth)?);
                continue;
            }
            // What follows the dash stands as if on a line of its own, that far to the right.
            let within = indent + line.text.len() - rest.len();
            self.lines[self.next] = Line {
                indent: within,
                text: rest,
                ..line
            };
            items.push(self.node(within, depth + 1)?);
        }
        Ok(Value::Array(items))
    }

    fn map(&mut self, indent: usize, depth: usize) -> Read<Value> {
        let mut members = Map::new();
        while let Some(line) = self.peek().filter(|line| line.indent == indent) {
            let Some((key, rest)) = entry(&line)? else {
                return Err(line.fault("expected key: value"));
            };
            if members.contains_key(&key) {
                return Err(line.fault(&format!("{key:?}: expected each key once")));
            }
            self.next += 1;
            let value = match rest {
                "" => self.beside_or_below(indent, depth)?,
                rest => inline(&line, rest)?,
            };
            members.insert(key, value);
        }
        Ok(Value::Object(members))
    }

    /// What stands further to the right; null if nothing does.
    fn below(&mut self, indent: usize, depth: usize) -> Read<Value> {
        match self.peek() {
            Some(line) if line.indent > indent => self.node(line.indent, depth + 1),
            _ => Ok(Value::Null),
        }
    }

    /// The same for a map's value: a list may stand at the map's own indentation.
    fn beside_or_below(&mut self, indent: usize, depth: usize) -> Read<Value> {
        match self.peek() {
            Some(line) if line.indent == indent && item(line.text).is_some() => {
                self.list(indent, depth + 1)
            }
            _ => self.below(indent, depth),
        }
    }
}

/// What follows the dash of a list's item.
fn item(text: &str) -> Option<&str> {
    let rest = text.strip_prefix('-')?;
    (rest.is_empty() || rest.starts_with(' ')).then(|| rest.trim_start())
}

/// `key: value` or `key:`, if the line is one.
fn entry<'a>(line: &Line<'a>) -> Read<Option<(String, &'a str)>> {
    let mut scan = Scan::default();
    for (at, c) in line.text.char_indices() {
        let rest = &line.text[at + c.len_utf8()..];
        let is_end = rest.is_empty() || rest.starts_with(' ');
        if c == ':' && is_end && scan.quote.is_none() && scan.brackets == 0 {
            let written = line.text[..at].trim_end();
            let key = key(line, inline(line, written)?, written)?;
            return Ok(Some((key, rest.trim_start())));
        }
        scan.step(c, rest);
    }
    Ok(None)
}

/// A number stays as it is written; PyYAML has other keys that are no texts, and we have not.
fn key(line: &Line<'_>, value: Value, written: &str) -> Read<String> {
    match value {
        Value::String(key) => Ok(key),
        Value::Number(_) => Ok(written.to_owned()),
        _ => Err(line.fault("expected a text as the key")),
    }
}

// ── Values on one line ─────────────────────────────────────────────────────────────────────────

/// A value that begins and ends on its line.
fn inline(line: &Line<'_>, text: &str) -> Read<Value> {
    let mut flow = Flow { line, rest: text };
    let value = flow.value(0, &[])?;
    match flow.rest.trim() {
        "" => Ok(value),
        _ => Err(line.fault("expected nothing behind the value")),
    }
}

struct Flow<'a> {
    line: &'a Line<'a>,
    rest: &'a str,
}

impl<'a> Flow<'a> {
    /// A plain text ends before one of `ends`.
    fn value(&mut self, depth: usize, ends: &[char]) -> Read<Value> {
        self.rest = self.rest.trim_start();
        if depth > DEPTH_MAX {
            return Err(self.line.fault("expected fewer levels"));
        }
        match self.rest.chars().next() {
            Some('[') => self.list(depth),
            Some('{') => self.map(depth),
            Some(quote @ ('\'' | '"')) => self.quoted(quote).map(Value::String),
            _ => {
                let text = self.plain(ends);
                scalar(self.line, text)
            }
        }
    }

    fn list(&mut self, depth: usize) -> Read<Value> {
        self.rest = &self.rest[1..];
        let mut items = Vec::new();
        loop {
            if self.takes(']') {
                return Ok(Value::Array(items));
            }
            items.push(self.value(depth + 1, &[',', ']'])?);
            if !self.takes(',') && !self.rest.trim_start().starts_with(']') {
                return Err(self.line.fault("expected , or ]"));
            }
        }
    }

    fn map(&mut self, depth: usize) -> Read<Value> {
        self.rest = &self.rest[1..];
        let mut members = Map::new();
        loop {
            if self.takes('}') {
                return Ok(Value::Object(members));
            }
            let before = self.rest.trim_start();
            let value = self.value(depth + 1, &[':', ',', '}'])?;
            let written = before[..before.len() - self.rest.len()].trim_end();
            let key = key(self.line, value, written)?;
            if !self.takes(':') {
                return Err(self.line.fault("expected : behind a key"));
            }
            if !before.starts_with(['\'', '"']) && !self.rest.starts_with(' ') {
                return Err(self.line.fault("expected a blank behind :"));
            }
            let value = self.value(depth + 1, &[',', '}'])?;
            if members.insert(key, value).is_some() {
                return Err(self.line.fault("expected each key once"));
            }
            if !self.takes(',') && !self.rest.trim_start().starts_with('}') {
                return Err(self.line.fault("expected , or }"));
            }
        }
    }

    fn takes(&mut self, sign: char) -> bool {
        let taken = self.rest.trim_start().strip_prefix(sign);
        if let Some(rest) = taken {
            self.rest = rest;
        }
        taken.is_some()
    }

    fn plain(&mut self, ends: &[char]) -> &'a str {
        let end = match ends {
            [] => None,
            ends => self.rest.find(ends),
        };
        let (text, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        text.trim_end()
    }

    fn quoted(&mut self, quote: char) -> Read<String> {
        let mut text = String::new();
        let mut chars = self.rest[1..].char_indices();
        while let Some((at, c)) = chars.next() {
            if c == quote {
                let rest = &self.rest[1 + at + 1..];
                if quote == '\'' && rest.starts_with('\'') {
                    text.push('\'');
                    chars.next();
                    continue;
                }
                self.rest = rest;
                return Ok(text);
            }
            if c != '\\' || quote == '\'' {
                text.push(c);
                continue;
            }
            match chars.next().map(|(_, c)| c) {
                Some(c @ ('\\' | '"' | '/')) => text.push(c),
                Some('n') => text.push('\n'),
                Some('t') => text.push('\t'),
                _ => {
                    return Err(self
                        .line
                        .fault("expected \\\\, \\\", \\/, \\n or \\t: in '…' a \\ means itself"));
                }
            }
        }
        Err(self.line.fault("expected the other quote on the same line"))
    }
}

/// What PyYAML makes of a text without quotes.
fn scalar(line: &Line<'_>, text: &str) -> Read<Value> {
    if text.starts_with(|c: char| "&*!|>%@`?".contains(c)) || text.contains(": ") {
        return Err(line.fault("expected quotes around it, since YAML reads its signs otherwise"));
    }
    if text == "-" || text.starts_with("- ") || text.ends_with(':') {
        return Err(line.fault("expected quotes around it, since YAML reads its signs otherwise"));
    }
    if text.starts_with([',', ']', '}']) {
        return Err(line.fault("expected a value"));
    }
    Ok(match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => true.into(),
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => false.into(),
        _ => match number(text) {
            Some(Some(number)) => Value::Number(number),
            Some(None) => {
                return Err(line.fault("expected a number in decimal digits, or quotes around it"));
            }
            None => text.into(),
        },
    })
}

/// A number; `Some(None)` for what PyYAML reads as one in another way of writing.
fn number(text: &str) -> Option<Option<Number>> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let starts = unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    let parts = |c: char| c.is_ascii_hexdigit() || "_.:xXoO+-".contains(c);
    if !starts || !unsigned.chars().all(parts) {
        return [".inf", ".nan"]
            .contains(&unsigned.to_ascii_lowercase().as_str())
            .then_some(None);
    }
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_digits(unsigned) {
        let leads = unsigned.len() > 1 && unsigned.starts_with('0');
        let number = text
            .trim_start_matches('+')
            .parse::<i64>()
            .ok()
            .filter(|_| !leads);
        return Some(number.map(Number::from));
    }
    if let Some((whole, fraction)) = unsigned.split_once('.')
        && is_digits(whole)
        && is_digits(fraction)
    {
        let number = text.trim_start_matches('+').parse().ok();
        return Some(number.and_then(Number::from_f64));
    }
    // 1_000, 0x1f, 12:30, 1.5e+3; all else with digits in front, such as an address, is a text.
    let is_other = unsigned.starts_with("0x")
        || unsigned.starts_with("0b")
        || unsigned
            .split(':')
            .all(|part| is_digits(&part.replace(['_', '.'], "")))
            && unsigned.matches('.').count() < 2
        || unsigned.contains(['+', '-']) && unsigned.contains('.') && unsigned.contains(['e', 'E']);
    is_other.then_some(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[track_caller]
    fn check(text: &str, expect: Value) {
        assert_eq!(read(text), Ok(expect), "{text}");
    }

    #[track_caller]
    fn refused(text: &str, line: usize, expect: &str) {
        let fault = read(text).expect_err(text);
        assert_eq!(fault.line, line, "{text}: {fault:?}");
        assert!(fault.expected.contains(expect), "{text}: {fault:?}");
    }

    #[test]
    fn maps_and_lists_by_indentation() {
        check(
            "---\n# a comment\nname: x # another\nplugins:\n  - name: a\n    rules:\n    - up: '>1'\n\n    - pct: 7\n      \
             min: 1\n  -\n    name: b\n  - - 1\n    - 2\n  - plain\nlast:\nend: ''\n...\n: ignored",
            json!({
                "name": "x",
                "plugins": [
                    {"name": "a", "rules": [{"up": ">1"}, {"pct": 7, "min": 1}]},
                    {"name": "b"}, [1, 2], "plain",
                ],
                "last": null, "end": "",
            }),
        );
        check("", Value::Null);
        check("- 1", json!([1]));
        check("a: b\r\nc: d\r\n", json!({"a": "b", "c": "d"}));
        check("\u{feff}a:\n- x\nb: 1", json!({"a": ["x"], "b": 1}));
    }

    #[test]
    fn texts_with_and_without_quotes() {
        check(
            r#"- "r['a'] # no comment"
- 'it''s: so'
- "a\\b\"c\n"
- '.*\d+'
- http://h:80/p#x
- a#b 'c' "d"
- -5x
- r["a"]
- it's
- don't 'stop # here
- 0.0.0.0
- '5'"#,
            json!([
                "r['a'] # no comment",
                "it's: so",
                "a\\b\"c\n",
                ".*\\d+",
                "http://h:80/p#x",
                "a#b 'c' \"d\"",
                "-5x",
                "r[\"a\"]",
                "it's",
                "don't 'stop",
                "0.0.0.0",
                "5"
            ]),
        );
        check(
            "'a b': 1\n\"c:d\": 2\n50%: 3\n0: 4",
            json!({"a b": 1, "c:d": 2, "50%": 3, "0": 4}),
        );
    }

    #[test]
    fn scalars_are_pyyamls() {
        check(
            "[yes, No, on, OFF, true, y, ~, null, '']",
            json!([true, false, true, false, true, "y", null, null, ""]),
        );
        check(
            "[0, -7, +8, 1.5, -0.5, 1e3, v1.2.3, 1.2.3]",
            json!([0, -7, 8, 1.5, -0.5, "1e3", "v1.2.3", "1.2.3"]),
        );
        for text in [
            "010",
            "0x1F",
            "1_000",
            "12:30:45",
            ".inf",
            "1.5e+3",
            "99999999999999999999",
        ] {
            refused(text, 1, "in decimal digits");
        }
    }

    #[test]
    fn brackets_on_one_line() {
        check(
            "a: {b: [1, 'x, y', {c: d}], e: }\nf: []\ng: {}",
            json!({"a": {"b": [1, "x, y", {"c": "d"}], "e": null}, "f": [], "g": {}}),
        );
        refused("a: [1, 2", 1, "expected , or ]");
        refused("a: {b 1}", 1, "expected : behind");
        refused("a: [1] 2", 1, "nothing behind");
        refused("{a:b}", 1, "a blank behind");
        refused(&"[".repeat(5_000), 1, "fewer levels");
    }

    #[test]
    fn what_is_not_read_is_refused_with_its_line() {
        refused("a: 1\n\tb: 2", 2, "not a tab");
        refused("a: 1\n b: 2", 2, "expected the indentation");
        refused("a:\n    b: 1\n  c: 2", 3, "expected the indentation");
        refused("a: 1\nb", 2, "expected key: value");
        refused("a: 1\na: 2", 2, "\"a\": expected each key once");
        refused("a: >7000", 1, "expected quotes");
        refused("a: !7000", 1, "expected quotes");
        refused("a: |\n  text", 1, "expected quotes");
        refused("a: &x 1", 1, "expected quotes");
        refused("a: *x", 1, "expected quotes");
        refused("a: b: c", 1, "expected quotes");
        refused("a: - b", 1, "expected quotes");
        refused("yes: 1", 1, "a text as the key");
        refused("{~: 1}", 1, "a text as the key");
        refused(": 1", 1, "a text as the key");
        refused("a: 'x\n  y'", 1, "the other quote");
        refused("a: \"\\x41\"", 1, "means itself");
        refused("a: x\n  y", 2, "expected the indentation");
        refused("%YAML 1.1\n---\na: 1", 1, "no directive");
        refused("a: 1\n---\nb: 2", 2, "one document");
        refused(&"- ".repeat(5_000), 1, "fewer levels");
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "([a-z'\"#:\\[\\]{},-]|\n|  |- |: |\\\\|é){0,60}") {
            let _ = read(&text);
        }
    }
}
