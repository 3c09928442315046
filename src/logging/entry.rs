//! One log entry and how it becomes a line. Fields keep their JSON types; everything that came from
//! outside is escaped, so that no broker can forge a line.

use std::borrow::Cow;
use std::fmt::Write;

use log::kv::{self, Key, Value, VisitSource, VisitValue};
use serde_json::Value as Json;

use super::{Format, rate_limit, rfc3339};

/// A line to be.
#[derive(Debug)]
pub struct Entry {
    time_ms: i64,
    level: log::Level,
    /// Named for other crates only.
    target: Option<String>,
    pub subscription: Option<String>,
    message: String,
    fields: Vec<(String, Json)>,
    /// Repeats that were not written.
    pub held_back: u64,
}

impl Entry {
    pub fn of_record(record: &log::Record<'_>, time_ms: i64) -> Self {
        let mut fields = Fields::default();
        // Only a visitor that fails can make this fail; ours does not.
        let _ = record.key_values().visit(&mut fields);
        Entry {
            time_ms,
            level: record.level(),
            target: foreign(record.target()),
            subscription: fields.subscription,
            message: record.args().to_string(),
            fields: fields.others,
            held_back: 0,
        }
    }

    /// The line that tells how often a message was held back.
    pub fn of_key(key: &rate_limit::Key, time_ms: i64, held_back: u64) -> Self {
        let message = match &key.place {
            None => format!("repeated: {}", key.message),
            Some((file, line)) => format!("repeated: message of {file}:{line}"),
        };
        Entry {
            time_ms,
            level: key.level,
            target: foreign(&key.target),
            subscription: key.subscription.clone(),
            message,
            fields: Vec::new(),
            held_back,
        }
    }

    /// The line in the place of entries for which there was no room.
    pub fn of_gap(count: u64, time_ms: i64) -> Self {
        Entry {
            time_ms,
            level: log::Level::Warn,
            target: None,
            subscription: None,
            message: "log entries dropped: stdout was not read".into(),
            fields: vec![("count".into(), count.into())],
            held_back: 0,
        }
    }

    pub fn line(&self, format: Format) -> String {
        match format {
            Format::Json => self.json(),
            Format::Text => self.text(),
        }
    }

    /// `{"time":…,"level":…,"subscription":…,"message":…,…}`
    fn json(&self) -> String {
        let mut line = String::with_capacity(200);
        let level = self.level.as_str().to_ascii_lowercase();
        push_json(&mut line, "time", &rfc3339(self.time_ms).into());
        push_json(&mut line, "level", &level.into());
        let named = [
            ("target", &self.target),
            ("subscription", &self.subscription),
        ];
        for (name, text) in named {
            if let Some(text) = text {
                push_json(&mut line, name, &text.as_str().into());
            }
        }
        push_json(&mut line, "message", &self.message.as_str().into());
        for (name, value) in &self.fields {
            push_json(&mut line, name, value);
        }
        if self.held_back > 0 {
            push_json(&mut line, "held_back", &self.held_back.into());
        }
        line.push('}');
        line
    }

    /// `2026-01-02T03:04:05.678Z INFO  [name] message key=value`
    fn text(&self) -> String {
        let mut line = format!("{} {:<5}", rfc3339(self.time_ms), self.level);
        for name in [&self.target, &self.subscription].into_iter().flatten() {
            push(&mut line, format_args!(" [{}]", escaped(name)));
        }
        push(&mut line, format_args!(" {}", escaped(&self.message)));
        for (name, value) in &self.fields {
            push(&mut line, format_args!(" {name}={}", plain(value)));
        }
        if self.held_back > 0 {
            push(&mut line, format_args!(" held_back={}", self.held_back));
        }
        line
    }
}

/// The target of another crate's entry.
fn foreign(target: &str) -> Option<String> {
    let ours = target.split("::").next() == Some("leek_agent");
    (!ours).then(|| target.into())
}

fn push_json(line: &mut String, name: &str, value: &Json) {
    line.push(if line.is_empty() { '{' } else { ',' });
    push(line, format_args!("{}:{value}", Json::from(name)));
}

fn push(line: &mut String, text: std::fmt::Arguments<'_>) {
    line.write_fmt(text).expect("writing to a string");
}

/// A field's value in a text line: in quotes only where it must be.
fn plain(value: &Json) -> Cow<'_, str> {
    match value {
        Json::String(text) if text.is_empty() || text.contains([' ', '"', '=']) => {
            value.to_string().into()
        }
        Json::String(text) => escaped(text),
        other => other.to_string().into(),
    }
}

/// Text without line breaks and terminal sequences.
fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return text.into();
    }
    let mut clean = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if c.is_control() {
            clean.extend(c.escape_debug());
        } else {
            clean.push(c);
        }
    }
    clean.into()
}

/// Collects a record's key-value fields.
#[derive(Default)]
struct Fields {
    subscription: Option<String>,
    others: Vec<(String, Json)>,
}

impl<'kvs> VisitSource<'kvs> for Fields {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
        let mut typed = Typed(Json::Null);
        value.visit(&mut typed)?;
        match (key.as_str(), typed.0) {
            ("subscription", Json::String(name)) => self.subscription = Some(name),
            (name, value) => self.others.push((name.into(), value)),
        }
        Ok(())
    }
}

/// A field's value as JSON: numbers, booleans and strings as such, anything else by `Display`.
struct Typed(Json);

impl<'v> VisitValue<'v> for Typed {
    fn visit_any(&mut self, value: Value<'_>) -> Result<(), kv::Error> {
        self.0 = value.to_string().into();
        Ok(())
    }

    fn visit_null(&mut self) -> Result<(), kv::Error> {
        self.0 = Json::Null;
        Ok(())
    }

    fn visit_u64(&mut self, value: u64) -> Result<(), kv::Error> {
        self.0 = value.into();
        Ok(())
    }

    fn visit_i64(&mut self, value: i64) -> Result<(), kv::Error> {
        self.0 = value.into();
        Ok(())
    }

    fn visit_f64(&mut self, value: f64) -> Result<(), kv::Error> {
        self.0 = value.into();
        Ok(())
    }

    fn visit_bool(&mut self, value: bool) -> Result<(), kv::Error> {
        self.0 = value.into();
        Ok(())
    }

    fn visit_str(&mut self, value: &str) -> Result<(), kv::Error> {
        self.0 = value.into();
        Ok(())
    }
}
