//! Which values of an event never leave, and what stands in their place.

use std::borrow::Cow;

use super::keys;
use crate::document::input::Input;

/// Stands where a value was.
pub const MARK: &str = "[redacted]";

/// A field that can be redacted as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Args,
    Kwargs,
    Result,
    Exception,
    Traceback,
}

impl Part {
    /// All of them, by name.
    pub const NAMED: [(&'static str, Part); 5] = [
        ("args", Part::Args),
        ("kwargs", Part::Kwargs),
        ("result", Part::Result),
        ("exception", Part::Exception),
        ("traceback", Part::Traceback),
    ];
}

/// What is redacted. The default is nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Redact {
    /// A bit for each part.
    parts: u8,
    /// Dotted paths of keys within kwargs.
    keys: Vec<String>,
}

impl Redact {
    /// Every part.
    pub fn everything() -> &'static Redact {
        static EVERYTHING: Redact = Redact {
            parts: u8::MAX,
            keys: Vec::new(),
        };
        &EVERYTHING
    }

    /// Redacts a whole field.
    pub fn add_part(&mut self, part: Part) {
        self.parts |= 1 << part as u8;
    }

    /// Redacts the values that a path of keys leads to, wherever in kwargs it begins.
    pub fn add_key(&mut self, path: &str) {
        self.keys.push(path.to_owned());
    }

    pub fn is_empty(&self) -> bool {
        self.parts == 0 && self.keys.is_empty()
    }

    /// Whether all of a field is redacted.
    pub fn covers(&self, input: Input) -> bool {
        let has = |part| self.parts >> part as u8 & 1 == 1;
        match input {
            Input::Args => has(Part::Args),
            Input::Kwargs => has(Part::Kwargs),
            Input::Result => has(Part::Result),
            Input::Exception => has(Part::Exception),
            // Its last line tells the exception, and those above tell of the ones behind it.
            Input::Traceback => has(Part::Traceback) || has(Part::Exception),
            _ => false,
        }
    }

    /// Whether some values within kwargs are redacted.
    pub fn has_keys(&self) -> bool {
        !self.keys.is_empty()
    }

    /// The text of kwargs without the values of those keys; `None` where it has none.
    pub fn kwargs(&self, text: &[u8]) -> Option<Cow<'static, [u8]>> {
        keys::redact(text, &self.keys)
    }
}
