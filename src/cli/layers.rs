//! Precedence: command line, then environment, then `--config` file, then default. Every value
//! keeps the name of the place it came from, for the message if it is at fault.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::arrange::Given;
use super::options::{self, OPTIONS, SECTIONS};
use crate::config::environment::{Env, parse_switch};
use crate::config::fault::{Fault, Report, kind, quoted};
use crate::config::raw::{self, Faulty, Fields, Read};
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

    /// The section of that name, an object, as `read` understands it. Only the file has sections.
    pub fn object<T>(
        &mut self,
        section: &str,
        read: impl FnOnce(&mut Fields<'_>) -> Result<T, Faulty>,
    ) -> Read<T> {
        match self.section(section) {
            None => Ok(None),
            Some((place, Value::Object(keys))) => self.fields(place, &keys, read).map(Some),
            Some((place, other)) => Err(self.no_section(place, &other, "expected an object")),
        }
    }

    /// The section of that name, a list of objects, each as `read` understands it; what is at fault
    /// in one hides nothing in the others.
    pub fn list<T>(
        &mut self,
        section: &str,
        mut read: impl FnMut(&mut Fields<'_>) -> Result<T, Faulty>,
    ) -> Read<Vec<T>> {
        let (place, items) = match self.section(section) {
            None => return Ok(None),
            Some((place, Value::Array(items))) => (place, items),
            Some((place, other)) => {
                return Err(self.no_section(place, &other, "expected a list of objects"));
            }
        };
        let items = items.into_iter().enumerate();
        let taken: Vec<_> = items
            .map(|(index, item)| match (format!("{place}[{index}]"), item) {
                (place, Value::Object(keys)) => self.fields(place, &keys, &mut read),
                (place, other) => Err(self.no_section(place, &other, "expected an object")),
            })
            .collect();
        taken.into_iter().collect::<Result<_, _>>().map(Some)
    }

    /// A section and its place. A section is read once, so it is taken out.
    fn section(&mut self, section: &str) -> Option<(String, Value)> {
        debug_assert!(SECTIONS.contains(&section), "{section} is not in the table");
        let (file, keys) = self.file.as_mut()?;
        let value = keys.remove(section).filter(|value| !value.is_null())?;
        Some((format!("{file}: {section}"), value))
    }

    /// Takes over what is reported meanwhile.
    fn fields<T>(
        &mut self,
        place: String,
        keys: &Map<String, Value>,
        read: impl FnOnce(&mut Fields<'_>) -> Result<T, Faulty>,
    ) -> Result<T, Faulty> {
        let mut fields = Fields::new(place, keys);
        let value = read(&mut fields);
        for fault in &fields.faults {
            self.config.push(fault);
        }
        if fields.faults.is_empty() {
            value
        } else {
            Err(Faulty)
        }
    }

    fn no_section(&mut self, place: String, found: &Value, expected: &str) -> Faulty {
        self.config.push(&Fault::new(place, kind(found), expected));
        Faulty
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
        .chain(SECTIONS.map(str::to_owned))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads `text` as the configuration file: the lines it reports afterwards.
    fn reports(text: &str, read: impl FnOnce(&mut Layers<'_>)) -> String {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("agent.json");
        std::fs::write(&path, text).expect("written");
        let (typed, env) = (BTreeMap::new(), Env::from_iter([("", ""); 0]));
        let mut layers = Layers::new(&typed, &env);
        let path = path.to_str().expect("UTF-8").to_owned();
        layers.read_config_file(Some(path.clone()));
        read(&mut layers);
        layers.config.to_string().replace(&path, "agent.json")
    }

    fn port(fields: &mut Fields<'_>) -> Result<u32, Faulty> {
        let port = fields.whole("port", 1..=9, "1 to 9")?;
        Ok(port.unwrap_or(5))
    }

    #[test]
    fn sections_are_known_keys_and_read_with_their_place() {
        let text = r#"{"consul": {"port": 3}, "agent_check": [{"port": 1}, {}], "agent_chek": 1}"#;
        let reported = reports(text, |layers| {
            assert_eq!(layers.object("consul", port), Ok(Some(3)));
            assert_eq!(layers.list("agent_check", port), Ok(Some(vec![1, 5])));
        });
        let expected = "agent.json: agent_chek: unknown key: did you mean agent_check?";
        assert_eq!(reported, expected);
    }

    #[test]
    fn every_fault_of_a_section_is_reported() {
        let text = r#"{"consul": [], "agent_check": [{"port": 0}, 7, {"port": 10}]}"#;
        let reported = reports(text, |layers| {
            assert_eq!(layers.object("consul", port), Err(Faulty));
            assert_eq!(layers.list("agent_check", port), Err(Faulty));
        });
        assert_eq!(
            reported,
            "agent.json: consul: a list: expected an object\n\
             agent.json: agent_check[0].port: 0: expected 1 to 9\n\
             agent.json: agent_check[1]: a number: expected an object\n\
             agent.json: agent_check[2].port: 10: expected 1 to 9"
        );
    }

    #[test]
    fn a_section_that_is_absent_or_null_is_none() {
        let reported = reports(r#"{"consul": null}"#, |layers| {
            assert_eq!(layers.object("consul", port), Ok(None));
            assert_eq!(layers.list("agent_check", port), Ok(None));
        });
        assert_eq!(reported, "");
    }
}
