//! Herald's YAML → JSON values, as PyYAML reads it: saphyr-parser says what stands where, and here plain
//! texts get their meaning by YAML 1.1, in which `yes` is true and `0x1f` a number.
//!
//! What a configuration has no need for (aliases, tags, numbers in other bases, a second document) is
//! refused with its line, never guessed at.

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span, StrInput};
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
    let text = text.trim_start_matches('\u{feff}');
    let mut reader = Reader {
        parser: Parser::new_from_str(text),
    };
    let mut document = None;
    loop {
        match reader.next()? {
            (Event::StreamEnd, _) => return Ok(document.unwrap_or_default()),
            (Event::DocumentStart(_), at) if document.is_some() => {
                return Err(fault(&at, "expected one document"));
            }
            (Event::DocumentStart(_), _) => {
                let first = reader.next()?;
                document = Some(reader.value(first, 0)?);
            }
            _ => {}
        }
    }
}

fn fault(at: &Span, expected: &str) -> Fault {
    Fault {
        line: at.start.line(),
        expected: expected.into(),
    }
}

struct Reader<'a> {
    parser: Parser<'a, StrInput<'a>>,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Read<(Event<'a>, Span)> {
        let end = Span::empty(Marker::new(0, 1, 0));
        let next = self.parser.next().unwrap_or(Ok((Event::StreamEnd, end)));
        next.map_err(|error: ScanError| Fault {
            line: error.marker().line(),
            expected: format!("not YAML: {}", error.info()),
        })
    }

    /// The value that begins with this event.
    fn value(&mut self, (event, at): (Event<'a>, Span), depth: usize) -> Read<Value> {
        if depth > DEPTH_MAX {
            return Err(fault(&at, "expected fewer levels"));
        }
        match event {
            Event::Scalar(_, _, _, Some(_))
            | Event::SequenceStart(_, Some(_))
            | Event::MappingStart(_, Some(_)) => {
                Err(fault(&at, "expected quotes around it: with ! it is a tag"))
            }
            Event::Scalar(text, ScalarStyle::Plain, ..) => scalar(&at, &text),
            Event::Scalar(text, ..) => Ok(text.into_owned().into()),
            Event::SequenceStart(..) => self.list(depth),
            Event::MappingStart(..) => self.map(depth),
            Event::Alias(_) => Err(fault(
                &at,
                "expected quotes around it: with * it is an alias",
            )),
            _ => Err(fault(&at, "expected a value")),
        }
    }

    fn list(&mut self, depth: usize) -> Read<Value> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Value::Array(items)),
                first => items.push(self.value(first, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Read<Value> {
        let mut members = Map::new();
        loop {
            let (event, at) = self.next()?;
            let key = match event {
                Event::MappingEnd => return Ok(Value::Object(members)),
                Event::Scalar(text, style, _, None) => key(&at, &text, style)?,
                _ => return Err(fault(&at, "expected a text as the key")),
            };
            let first = self.next()?;
            let value = self.value(first, depth + 1)?;
            if members.contains_key(&key) {
                return Err(fault(&at, &format!("{key:?}: expected each key once")));
            }
            members.insert(key, value);
        }
    }
}

/// A number stays as it is written; PyYAML has other keys that are no texts, and we have not.
fn key(at: &Span, text: &str, style: ScalarStyle) -> Read<String> {
    let is_text = style != ScalarStyle::Plain
        || matches!(scalar(at, text)?, Value::String(_) | Value::Number(_));
    match is_text {
        true => Ok(text.to_owned()),
        false => Err(fault(at, "expected a text as the key")),
    }
}

/// What PyYAML makes of a text without quotes.
fn scalar(at: &Span, text: &str) -> Read<Value> {
    Ok(match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => true.into(),
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => false.into(),
        _ => match number(text) {
            Some(Some(number)) => Value::Number(number),
            Some(None) => {
                let expected = "expected a number in decimal digits, or quotes around it";
                return Err(fault(at, expected));
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
             min: 1\n  -\n    name: b\n  - - 1\n    - 2\n  - plain\nlast:\nend: ''\n...\n",
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
        refused("a: [1, 2", 2, "expected ',' or ']'");
        refused(&"[".repeat(5_000), 1, "recursion limit");
        refused(&"[".repeat(30), 1, "fewer levels");
    }

    #[test]
    fn texts_over_several_lines() {
        check(
            "a: x\n  y\nb: |\n  one\n  two\nc: >\n  one\n  two\nd: 'x\n  y'\ne: \"\\x41\"",
            json!({"a": "x y", "b": "one\ntwo\n", "c": "one two\n", "d": "x y", "e": "A"}),
        );
    }

    #[test]
    fn what_is_not_read_is_refused_with_its_line() {
        refused("a: 1\n b: 2", 2, "not YAML");
        refused("a:\n    b: 1\n  c: 2", 3, "not YAML");
        refused("a: 1\na: 2", 2, "\"a\": expected each key once");
        refused("a: 1\nb: !x 7000", 2, "it is a tag");
        refused("a: &x 1\nb: *x", 2, "it is an alias");
        refused("yes: 1", 1, "a text as the key");
        refused("{~: 1}", 1, "a text as the key");
        refused("[1]: 1", 1, "a text as the key");
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
