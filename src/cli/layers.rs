//! Precedence: command line, then environment, then `--config` file, then default. Every value
//! keeps the name of the place it came from, for the message if it is at fault.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::arrange::Given;
use super::options::{self, OPTIONS};
use crate::config::environment::{Env, parse_switch};
use crate::config::fault::{Fault, Report, kind, quoted};
use crate::config::raw;
use crate::nearest::nearest;
use crate::small_file;

/// Who has to mend a fault: the one who typed, or the one who configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    Typed,
    Configured,
}

/// A value and the place it came from.
#[derive(Clone, PartialEq, Eq)]
pub struct Found {
    pub text: String,
    pub place: String,
    pub origin: Origin,
}

/// The three places that options come from, and the faults met in reading them.
pub struct Layers<'a> {
    typed: &'a BTreeMap<&'static str, Given>,
    env: &'a Env,
    /// The configuration file's name and its keys.
    file: Option<(String, Map<String, Value>)>,
    /// Faults of what was typed.
    pub usage: Report,
    /// Faults of environment and files.
    pub config: Report,
}

impl<'a> Layers<'a> {
    pub fn new(typed: &'a BTreeMap<&'static str, Given>, env: &'a Env) -> Self {
        Layers {
            typed,
            env,
            file: None,
            usage: Report::default(),
            config: Report::default(),
        }
    }

    /// Reads the file that `--config` names, if it does; its keys count from here on.
    pub fn read_config_file(&mut self, typed: Option<String>) {
        let Some(found) = self.text("config", typed) else {
            return;
        };
        match config_file(&found) {
            Ok(keys) => {
                for fault in unknown_keys(&found.text, &keys) {
                    self.config.push(&fault);
                }
                self.file = Some((found.text, keys));
            }
            Err(fault) => self.config.push(&fault),
        }
    }

    /// The first value in the order of precedence.
    pub fn text(&mut self, long: &str, typed: Option<String>) -> Option<Found> {
        self.typed_text(long, typed)
            .or_else(|| self.variable(long))
            .or_else(|| self.file_text(long))
    }

    /// As [`Layers::text`], parsed; a value that `parse` refuses is reported.
    pub fn parsed<T>(
        &mut self,
        long: &str,
        typed: Option<String>,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let found = self.text(long, typed)?;
        let value = parse(&found.text);
        if value.is_none() {
            self.fault(&found, expected);
        }
        value
    }

    /// A switch: on where it was typed, else as environment or file say.
    pub fn switch(&mut self, long: &str, typed: bool) -> bool {
        if typed {
            return true;
        }
        self.parsed(long, None, "expected true or false", parse_switch)
            .unwrap_or(false)
    }

    /// Reports a found value that is no secret.
    pub fn fault(&mut self, found: &Found, expected: &str) {
        let fault = Fault::new(&found.place, quoted(&found.text), expected);
        self.report(found.origin, &fault);
    }

    /// Reports a fault to the one who has to mend it.
    pub fn report(&mut self, origin: Origin, fault: &Fault) {
        match origin {
            Origin::Typed => self.usage.push(fault),
            Origin::Configured => self.config.push(fault),
        }
    }

    pub fn typed_text(&self, long: &str, typed: Option<String>) -> Option<Found> {
        let text = typed?;
        let origin = self.typed.get(long).and_then(|given| given.origin.as_ref());
        let at = origin.map_or(String::new(), |at| format!("{at}: "));
        Some(Found {
            text,
            place: format!("{at}--{long}"),
            origin: Origin::Typed,
        })
    }

    pub fn variable(&self, long: &str) -> Option<Found> {
        let place = options::variable(long);
        Some(Found {
            text: self.env.get(&place)?.into(),
            place,
            origin: Origin::Configured,
        })
    }

    pub fn file_text(&mut self, long: &str) -> Option<Found> {
        let (file, keys) = self.file.as_ref()?;
        let key = options::key(long);
        let place = format!("{file}: {key}");
        let text = match keys.get(&key)? {
            Value::Null => return None,
            Value::String(text) => text.clone(),
            scalar @ (Value::Number(_) | Value::Bool(_)) => scalar.to_string(),
            other => {
                let fault = Fault::new(
                    place,
                    kind(other),
                    "expected a string, a number or true or false",
                );
                self.config.push(&fault);
                return None;
            }
        };
        Some(Found {
            text,
            place,
            origin: Origin::Configured,
        })
    }
}

/// The keys of a configuration file.
fn config_file(found: &Found) -> Result<Map<String, Value>, Fault> {
    let text = small_file::read_text(found.text.as_ref())
        .map_err(|expected| Fault::new(&found.place, quoted(&found.text), expected))?;
    match serde_json::from_str(text.trim_start_matches('\u{feff}')) {
        Ok(Value::Object(keys)) => Ok(keys),
        Ok(other) => Err(Fault::new(
            &found.text,
            kind(&other),
            "expected a JSON object of options",
        )),
        Err(error) => Err(raw::syntax_fault(&found.text, &error)),
    }
}

fn unknown_keys(file: &str, keys: &Map<String, Value>) -> Vec<Fault> {
    let longs = OPTIONS.iter().map(|spec| spec.long);
    let known: Vec<String> = longs
        .filter(|long| options::is_key(long))
        .map(options::key)
        .collect();
    let unknown = keys.keys().filter(|key| !known.contains(key));
    unknown
        .map(|key| {
            let hint = nearest(key, known.iter().map(String::as_str)).expect("there are keys");
            Fault::new(
                format!("{file}: {key}"),
                "unknown key",
                format!("did you mean {hint}?"),
            )
        })
        .collect()
}
