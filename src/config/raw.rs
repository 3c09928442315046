//! The subscriptions as written: JSON text → a list of objects, and readers that take one key at a
//! time, so that a fault in one key hides none in the others. Ranges and meaning are `check`'s.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::fault::{Fault, HIDDEN, kind, shown};

/// A key whose fault is reported already: nothing more is to be said about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Faulty;

/// What a reader gives: the value, nothing where the key is absent or null.
pub type Read<T> = Result<Option<T>, Faulty>;

/// Reads the text of a subscriptions file or variable. serde_json's syntax errors carry a line and
/// a column, but no text, so that no secret shows.
pub fn list(source: &str, text: &str) -> Result<Vec<Value>, Fault> {
    let value: Value = serde_json::from_str(text.trim_start_matches('\u{feff}'))
        .map_err(|error| syntax_fault(source, &error))?;
    match value {
        Value::Array(list) => Ok(list),
        other => Err(Fault::new(
            source,
            kind(&other),
            "expected a JSON list of subscriptions",
        )),
    }
}

/// `file:line:column: not JSON: reason`.
pub fn syntax_fault(source: &str, error: &serde_json::Error) -> Fault {
    let full = error.to_string();
    let reason = full
        .split_once(" at line ")
        .map_or(full.as_str(), |(reason, _)| reason);
    Fault::new(
        format!("{source}:{}:{}", error.line(), error.column()),
        "not JSON",
        reason,
    )
}

/// The keys of one object, with the place they stand at; collects faults as it is read.
pub struct Fields<'a> {
    place: String,
    keys: &'a Map<String, Value>,
    pub faults: Vec<Fault>,
}

impl<'a> Fields<'a> {
    pub fn new(place: String, keys: &'a Map<String, Value>) -> Self {
        Fields {
            place,
            keys,
            faults: Vec::new(),
        }
    }

    /// Reports `key`, and hands back the mark that it was.
    pub fn fault(&mut self, key: &str, found: impl Into<String>, expected: &str) -> Faulty {
        let place = format!("{}.{key}", self.place);
        self.faults.push(Fault::new(place, found, expected));
        Faulty
    }

    /// Where `key` stands, for an object below it.
    pub fn place_of(&self, key: &str) -> String {
        format!("{}.{key}", self.place)
    }

    /// Reports `key` where there is nothing to show.
    pub fn fault_plain(&mut self, key: &str, message: &str) -> Faulty {
        let place = format!("{}.{key}", self.place);
        self.faults.push(Fault::plain(place, message));
        Faulty
    }

    /// Reports the object as a whole.
    pub fn fault_here(&mut self, message: &str) -> Faulty {
        self.faults.push(Fault::plain(&self.place, message));
        Faulty
    }

    /// The names of all keys, in the file's order or sorted, as serde_json keeps them.
    pub fn names(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.keys.keys().map(String::as_str)
    }

    /// The value of `key`; null counts as absent, as in Leek.
    pub fn get(&self, key: &str) -> Option<&'a Value> {
        self.keys.get(key).filter(|value| !value.is_null())
    }

    /// The keys of an object inside this one; what is reported there must be taken over.
    pub fn object(&mut self, key: &str) -> Read<Fields<'a>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Object(keys)) => {
                Ok(Some(Fields::new(format!("{}.{key}", self.place), keys)))
            }
            Some(other) => Err(self.fault(key, shown(other), "expected an object")),
        }
    }

    /// Any string.
    pub fn text(&mut self, key: &str, expected: &str) -> Read<&'a str> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.fault(key, shown(other), expected)),
        }
    }

    /// Any string; what is found is never shown.
    pub fn secret(&mut self, key: &str, expected: &str) -> Read<&'a str> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.fault(key, kind(other), expected)),
        }
    }

    /// A string that `accept` takes.
    pub fn text_where(
        &mut self,
        key: &str,
        expected: &str,
        accept: impl Fn(&str) -> bool,
    ) -> Read<&'a str> {
        match self.text(key, expected)? {
            Some(text) if !accept(text) => Err(self.fault(key, shown(&text.into()), expected)),
            other => Ok(other),
        }
    }

    /// A string that `accept` takes; what is found is never shown.
    pub fn secret_where(
        &mut self,
        key: &str,
        expected: &str,
        accept: impl Fn(&str) -> bool,
    ) -> Read<&'a str> {
        match self.secret(key, expected)? {
            Some("") => Err(self.fault(key, "empty", expected)),
            Some(text) if !accept(text) => Err(self.fault(key, HIDDEN, expected)),
            other => Ok(other),
        }
    }

    /// One of a few words.
    pub fn choice<T: Copy>(&mut self, key: &str, choices: &[(&str, T)]) -> Read<T> {
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        let expected = format!("expected {}", words.join(" or "));
        let Some(text) = self.text(key, &expected)? else {
            return Ok(None);
        };
        match choices.iter().find(|(word, _)| *word == text) {
            Some((_, meaning)) => Ok(Some(*meaning)),
            None => Err(self.fault(key, shown(&text.into()), &expected)),
        }
    }

    /// A list of strings, each of which `read` takes or says what it expected. `items` names them
    /// in the plural.
    pub fn list_of<T>(
        &mut self,
        key: &str,
        items: &str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Read<Vec<T>> {
        let list = match self.get(key) {
            None => return Ok(None),
            Some(Value::Array(list)) => list,
            Some(other) => {
                return Err(self.fault(key, shown(other), &format!("expected a list of {items}")));
            }
        };
        let mut taken = Vec::with_capacity(list.len());
        for (index, value) in list.iter().enumerate() {
            let item = match value {
                Value::String(text) => read(text),
                _ => Err("expected a string".to_owned()),
            };
            match item {
                Ok(item) => taken.push(item),
                Err(expected) => {
                    self.fault(&format!("{key}[{index}]"), shown(value), &expected);
                }
            }
        }
        if taken.len() < list.len() {
            return Err(Faulty);
        }
        Ok(Some(taken))
    }

    /// `true` or `false`.
    pub fn flag(&mut self, key: &str) -> Read<bool> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(other) => Err(self.fault(key, shown(other), "expected true or false")),
        }
    }

    /// A whole number within `range`, which `range_text` puts into words. `5000.0` counts.
    pub fn whole(&mut self, key: &str, range: RangeInclusive<u32>, range_text: &str) -> Read<u32> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let expected = match value.as_f64() {
            None => format!("expected a number from {range_text}"),
            Some(number) if number.fract() != 0.0 => {
                format!("expected a whole number from {range_text}")
            }
            Some(number) => match exact(number).filter(|whole| range.contains(whole)) {
                Some(whole) => return Ok(Some(whole)),
                None => format!("expected {range_text}"),
            },
        };
        Err(self.fault(key, shown(value), &expected))
    }

    /// A number over 0, up to and with `max`.
    pub fn fraction(&mut self, key: &str, max: u32) -> Read<f64> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        match value.as_f64() {
            Some(number) if number > 0.0 && number <= f64::from(max) => Ok(Some(number)),
            Some(_) => {
                let expected = format!("expected over 0, up to {max}");
                Err(self.fault(key, shown(value), &expected))
            }
            None => {
                let expected = format!("expected a number over 0, up to {max}");
                Err(self.fault(key, shown(value), &expected))
            }
        }
    }
}

/// A number without a fraction as an integer, where it fits.
fn exact(number: f64) -> Option<u32> {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    (0.0..=f64::from(u32::MAX))
        .contains(&number)
        .then_some(number as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// What `read` gives for the object, and the lines it reports.
    fn check<T>(object: Value, read: impl Fn(&mut Fields<'_>) -> Read<T>) -> (Read<T>, String) {
        let mut fields = Fields::new("s[0]".into(), object.as_object().expect("an object"));
        let value = read(&mut fields);
        let lines: Vec<String> = fields.faults.iter().map(Fault::to_string).collect();
        (value, lines.join("\n"))
    }

    #[test]
    fn whole_numbers_keep_to_their_range() {
        let read = |fields: &mut Fields<'_>| fields.whole("n", 1..=20, "1 to 20");
        for (value, expected) in [
            (json!(0), "s[0].n: 0: expected 1 to 20"),
            (json!(21), "s[0].n: 21: expected 1 to 20"),
            (json!(-1), "s[0].n: -1: expected 1 to 20"),
            (json!(1e300), "s[0].n: 1e+300: expected 1 to 20"),
            (
                json!(1.5),
                "s[0].n: 1.5: expected a whole number from 1 to 20",
            ),
            (
                json!("abc"),
                "s[0].n: \"abc\": expected a number from 1 to 20",
            ),
            (json!(true), "s[0].n: true: expected a number from 1 to 20"),
            (json!([1]), "s[0].n: a list: expected a number from 1 to 20"),
        ] {
            assert_eq!(
                check(json!({ "n": value }), read),
                (Err(Faulty), expected.into())
            );
        }
        assert_eq!(check(json!({"n": 20}), read), (Ok(Some(20)), String::new()));
        assert_eq!(check(json!({"n": 5.0}), read), (Ok(Some(5)), String::new()));
        assert_eq!(check(json!({"n": null}), read), (Ok(None), String::new()));
        assert_eq!(check(json!({}), read), (Ok(None), String::new()));
    }

    #[test]
    fn fractions_are_over_zero() {
        let read = |fields: &mut Fields<'_>| fields.fraction("f", 10);
        assert_eq!(check(json!({"f": 0.25}), read).0, Ok(Some(0.25)));
        assert_eq!(check(json!({"f": 10}), read).0, Ok(Some(10.0)));
        assert_eq!(
            check(json!({"f": 0}), read).1,
            "s[0].f: 0: expected over 0, up to 10"
        );
        assert_eq!(
            check(json!({"f": "1"}), read).1,
            "s[0].f: \"1\": expected a number over 0, up to 10"
        );
    }

    #[test]
    fn secrets_stay_hidden_whatever_is_wrong() {
        let read = |fields: &mut Fields<'_>| {
            let secret = fields.secret_where("k", "expected a key", |_| false);
            secret.map(|text| text.map(str::to_owned))
        };
        for value in [json!("hunter2"), json!(4711), json!(["hunter2"])] {
            let (_, lines) = check(json!({ "k": value }), read);
            assert!(
                !lines.contains("hunter2") && !lines.contains("4711"),
                "{lines}"
            );
            assert!(lines.starts_with("s[0].k: "), "{lines}");
        }
    }

    #[test]
    fn broken_json_names_line_and_column_only() {
        let fault = list("subs.json", "[{\n \"app_key\": \"hunter2\", }]").expect_err("broken");
        assert_eq!(
            fault.to_string(),
            "subs.json:2:24: not JSON: trailing comma"
        );
        let fault = list("subs.json", "{}").expect_err("not a list");
        assert_eq!(
            fault.to_string(),
            "subs.json: an object: expected a JSON list of subscriptions"
        );
    }
}
