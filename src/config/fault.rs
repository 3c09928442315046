//! What is wrong with a configuration, in lines a technician can act on: *where: found: expected*.
//!
//! Nothing here ever holds a secret: whoever builds a fault masks what was found first.

use std::fmt;

use serde_json::Value;

/// What stands where a value must not be shown.
pub const HIDDEN: &str = "(hidden)";

/// Longest excerpt of a found value, in characters: a line stays readable on a serial console.
const FOUND_MAX: usize = 60;

/// One fault. Displays as `place: found: expected`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    place: String,
    found: Option<String>,
    expected: String,
}

impl Fault {
    /// `place: found: expected`.
    pub fn new(
        place: impl Into<String>,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) -> Self {
        Fault {
            place: place.into(),
            found: Some(found.into()),
            expected: expected.into(),
        }
    }

    /// `place: message`, where there is nothing that was found.
    pub fn plain(place: impl Into<String>, message: impl Into<String>) -> Self {
        Fault {
            place: place.into(),
            found: None,
            expected: message.into(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.found {
            Some(found) => write!(f, "{}: {found}: {}", self.place, self.expected),
            None => write!(f, "{}: {}", self.place, self.expected),
        }
    }
}

/// Everything that is wrong, a line a fault; faults inside one file or variable stand under a line
/// that names it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    lines: Vec<String>,
}

impl Report {
    /// Adds a fault whose place says all.
    pub fn push(&mut self, fault: &Fault) {
        self.lines.push(fault.to_string());
    }

    /// Adds lines of advice as they are.
    pub fn advise(&mut self, lines: &[&str]) {
        self.lines.extend(lines.iter().map(|line| (*line).into()));
    }

    /// Adds the faults found inside `source`, a file or a variable.
    pub fn push_section(&mut self, source: &str, faults: &[Fault]) {
        let noun = if faults.len() == 1 { "fault" } else { "faults" };
        self.lines
            .push(format!("{source}: {} {noun}", faults.len()));
        self.lines.extend(faults.iter().map(Fault::to_string));
    }

    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines.join("\n"))
    }
}

/// A found value that is no secret, short enough for a line.
pub fn shown(value: &Value) -> String {
    match value {
        Value::Array(_) | Value::Object(_) => kind(value).into(),
        Value::String(text) => quoted(text),
        other => other.to_string(),
    }
}

/// Text in quotes, control characters escaped, cut where it is long.
pub fn quoted(text: &str) -> String {
    match text.char_indices().nth(FOUND_MAX) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// What kind of JSON value stands there, for values that must not be shown.
pub fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_where_found_expected() {
        let mut report = Report::default();
        report.push_section(
            "subs.json",
            &[
                Fault::new(
                    "subscriptions[2].prefetch_count",
                    "200",
                    "expected 1000 to 10000",
                ),
                Fault::plain("subscriptions[2].tls", "not supported yet by this version"),
            ],
        );
        assert_eq!(
            report.to_string(),
            "subs.json: 2 faults\n\
             subscriptions[2].prefetch_count: 200: expected 1000 to 10000\n\
             subscriptions[2].tls: not supported yet by this version"
        );
    }

    #[test]
    fn shows_values_on_one_short_line() {
        assert_eq!(shown(&serde_json::json!("a\nb")), r#""a\nb""#);
        assert_eq!(
            shown(&serde_json::json!({"app_key": "hunter2"})),
            "an object"
        );
        assert!(quoted(&"é".repeat(500)).chars().count() < 70);
    }
}
