//! Checks each value of an event against its field's rule, and mends what may be mended.

use std::borrow::Cow;

use super::input::{Input, Need, Rule};
use super::transform::{Builder, invalid};
use super::{Rejected, Repair, Validation};
use crate::json::read;

/// A load average has three numbers. Whatever else a worker sends there has to be read as a tree,
/// which takes many times its memory.
const MAX_LOADAVG: usize = 64 * 1024;

/// A value that passed its rule, ready to be written.
pub enum Admitted<'a> {
    /// JSON text, to be written in Python's way.
    Json(&'a [u8]),
    /// An integer's digits.
    Int(Cow<'a, str>),
    /// The whole part of a float.
    Whole(f64),
    /// Nothing: null, or repaired away.
    Absent,
}

impl Builder<'_> {
    pub fn is_strict(&self) -> bool {
        self.context.validation == Validation::Strict
    }

    /// Repairs where that is allowed; an invalid event where it is not.
    pub fn repair(
        &mut self,
        repair: Repair,
        otherwise: impl FnOnce() -> Rejected,
    ) -> Result<(), Rejected> {
        if self.is_strict() {
            return Err(otherwise());
        }
        self.repairs.add(repair);
        Ok(())
    }

    /// Checks a value against the rule of its field.
    pub fn admit<'a>(&mut self, input: Input, value: &'a [u8]) -> Result<Admitted<'a>, Rejected> {
        use read::Kind as K;
        let spec = input.spec();
        let refuse = |expected| Err(invalid(spec.name, value, expected));
        match (spec.rule, read::kind(value)) {
            (Rule::StringOrNull | Rule::IntegerStringOrNull, K::Null) => Ok(Admitted::Absent),
            (_, K::Null) => self.null(input, value),
            (Rule::String | Rule::StringOrNull | Rule::IntegerStringOrNull, K::String)
            | (Rule::Number, K::Int | K::Float)
            | (Rule::Bool, K::Bool)
            | (Rule::Integer | Rule::IntegerStringOrNull, K::Int) => Ok(Admitted::Json(value)),
            (Rule::Integer | Rule::IntegerStringOrNull, K::Float) => {
                self.float_as_int(input, value)
            }
            (Rule::Integer, K::String) => self.string_as_int(input, value),
            (Rule::Array, K::Array) if value.len() <= MAX_LOADAVG => Ok(Admitted::Json(value)),
            (Rule::Array, K::Array) => refuse("at most 65536 bytes"),
            (Rule::Array, _) => refuse("an array"),
            (Rule::String, _) => refuse("a string"),
            (Rule::StringOrNull, _) => refuse("a string or null"),
            (Rule::Number, _) => refuse("a number"),
            (Rule::Integer, _) => refuse("an integer"),
            (Rule::IntegerStringOrNull, _) => refuse("an integer, a string or null"),
            (Rule::Bool, _) => refuse("true or false"),
        }
    }

    /// null where Leek refuses it.
    fn null<'a>(&mut self, input: Input, value: &'a [u8]) -> Result<Admitted<'a>, Rejected> {
        let spec = input.spec();
        let refuse = || invalid(spec.name, value, "a value");
        match (input, spec.need) {
            (Input::Clock, _) => {
                self.repair(Repair::Null, refuse)?;
                Ok(Admitted::Int("0".into()))
            }
            (_, Need::Optional) => {
                self.repair(Repair::Null, refuse)?;
                Ok(Admitted::Absent)
            }
            (_, Need::Required) => Err(refuse()),
        }
    }

    /// A float where an integer belongs. Leek takes it, as a float, if it has no fraction.
    fn float_as_int<'a>(
        &mut self,
        input: Input,
        value: &'a [u8],
    ) -> Result<Admitted<'a>, Rejected> {
        let refuse = || invalid(input.spec().name, value, "an integer");
        let number = read::float(value);
        if !number.is_finite() {
            self.repair(Repair::NotFinite, refuse)?;
            return Ok(Admitted::Absent);
        }
        if number.fract() == 0.0 {
            if self.is_strict() {
                return Ok(Admitted::Json(value));
            }
            self.repairs.add(Repair::IntegerForm);
            return Ok(Admitted::Whole(number));
        }
        if input != Input::Utcoffset {
            return Err(refuse());
        }
        self.repair(Repair::FractionalUtcoffset, refuse)?;
        Ok(Admitted::Whole(number.floor()))
    }

    fn string_as_int<'a>(
        &mut self,
        input: Input,
        value: &'a [u8],
    ) -> Result<Admitted<'a>, Rejected> {
        let refuse = || invalid(input.spec().name, value, "an integer");
        let digits = exact_int(read::unquoted(value)).ok_or_else(refuse)?;
        self.repair(Repair::IntegerForm, refuse)?;
        Ok(Admitted::Int(digits))
    }
}

/// Canonical digits of an integer in a string: a sign and digits, nothing else.
fn exact_int(text: &[u8]) -> Option<Cow<'_, str>> {
    let (sign, digits) = match text {
        [b'-', digits @ ..] => ("-", digits),
        [b'+', digits @ ..] => ("", digits),
        digits => ("", digits),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let zeros = digits.iter().take_while(|&&digit| digit == b'0').count();
    match std::str::from_utf8(&digits[zeros..]).ok()? {
        "" => Some("0".into()),
        digits => Some(format!("{sign}{digits}").into()),
    }
}
