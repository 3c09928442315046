//! Values while an expression is worked out, and what Python's operators make of them.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::Binary;
use crate::python::repr::{Limited, write_str};
use crate::python::value::Value;

/// Bytes of a text that an expression puts together.
const TEXT_MAX: usize = 64 * 1024;

/// Code points of a value's text that patterns look at.
const SHOWN_MAX: usize = 64 * 1024;

/// A value: of a scalar, itself, of a list or an object, where it stands in `r`.
#[derive(Debug, Clone)]
pub enum Term<'a> {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Cow<'a, str>),
    Node(&'a Value<'a>),
}

impl<'a> Term<'a> {
    pub fn of(value: &'a Value<'a>) -> Self {
        match value {
            Value::None => Term::None,
            Value::Bool(flag) => Term::Bool(*flag),
            Value::Int(digits) => match digits.parse() {
                Ok(number) => Term::Int(number),
                Err(_) => Term::Float(digits.parse().unwrap_or(f64::INFINITY)),
            },
            Value::Float(number) => Term::Float(*number),
            Value::Str(text) => Term::Text(String::from_utf8_lossy(text)),
            node => Term::Node(node),
        }
    }

    /// For messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Term::None => "None",
            Term::Bool(_) => "True or False",
            Term::Int(_) | Term::Float(_) => "a number",
            Term::Text(_) => "a text",
            Term::Node(Value::List(_)) => "a list",
            Term::Node(_) => "an object",
        }
    }

    /// As Python's `str()`.
    pub fn shown(&self) -> String {
        let number;
        let value = match self {
            Term::Text(text) => return text.chars().take(SHOWN_MAX).collect(),
            Term::None => &Value::None,
            Term::Node(value) => value,
            Term::Bool(flag) => {
                number = Value::Bool(*flag);
                &number
            }
            Term::Int(int) => return int.to_string(),
            Term::Float(float) => {
                number = Value::Float(*float);
                &number
            }
        };
        let mut shown = Limited::new(SHOWN_MAX);
        write_str(value, &mut shown);
        String::from_utf8_lossy(&shown.into_text()).into_owned()
    }

    pub fn is_true(&self) -> bool {
        match self {
            Term::None => false,
            Term::Bool(flag) => *flag,
            Term::Int(number) => *number != 0,
            Term::Float(number) => *number != 0.0,
            Term::Text(text) => !text.is_empty(),
            Term::Node(Value::List(items)) => !items.is_empty(),
            Term::Node(Value::Dict(members)) => !members.is_empty(),
            Term::Node(_) => true,
        }
    }

    /// A number, `True` and `False` counting as 1 and 0.
    pub fn number(&self) -> Option<f64> {
        match self {
            Term::Bool(flag) => Some(f64::from(u8::from(*flag))),
            #[allow(clippy::cast_precision_loss)] // As Python does where a float is asked for.
            Term::Int(number) => Some(*number as f64),
            Term::Float(number) => Some(*number),
            _ => None,
        }
    }

    fn int(&self) -> Option<i64> {
        match self {
            Term::Bool(flag) => Some(i64::from(*flag)),
            Term::Int(number) => Some(*number),
            _ => None,
        }
    }

    pub fn negated(&self) -> Result<Self, String> {
        match self.int().map(i64::checked_neg) {
            Some(Some(number)) => Ok(Term::Int(number)),
            _ => self.need_number().map(|number| Term::Float(-number)),
        }
    }

    /// The number itself.
    pub fn plus(&self) -> Result<Self, String> {
        match self.int() {
            Some(number) => Ok(Term::Int(number)),
            None => self.need_number().map(Term::Float),
        }
    }

    fn need_number(&self) -> Result<f64, String> {
        self.number()
            .ok_or_else(|| format!("expected a number, found {}{}", self.kind(), self.advice()))
    }

    fn advice(&self) -> &'static str {
        match self {
            Term::Text(_) => ": int(…) makes a number of it",
            _ => "",
        }
    }

    /// `self[key]`.
    pub fn item(&self, key: &Term<'_>) -> Result<Term<'a>, String> {
        let found = match (self, key) {
            (Term::Node(Value::Dict(_)), _) => {
                return self
                    .member(key)
                    .ok_or_else(|| format!("nothing has the name {}", key.quoted()));
            }
            (Term::Node(Value::List(items)), key) if key.int().is_some() => {
                place(key, items.len()).map(|place| Term::of(&items[place]))
            }
            (Term::Text(text), key) if key.int().is_some() => place(key, text.chars().count())
                .and_then(|place| text.chars().nth(place))
                .map(|c| Term::Text(Cow::Owned(c.into()))),
            _ => return Err(format!("{} has nothing at {}", self.kind(), key.quoted())),
        };
        found.ok_or_else(|| format!("{} has no place {}", self.kind(), key.quoted()))
    }

    /// `self.get(key, default)`.
    pub fn get(&self, key: &Term<'_>, default: Term<'a>) -> Result<Term<'a>, String> {
        match self {
            Term::Node(Value::Dict(_)) => Ok(self.member(key).unwrap_or(default)),
            other => Err(format!("get: expected an object, found {}", other.kind())),
        }
    }

    fn member(&self, key: &Term<'_>) -> Option<Term<'a>> {
        let (Term::Node(Value::Dict(members)), Term::Text(name)) = (self, key) else {
            return None;
        };
        let is_named = |key: &Value<'_>| matches!(key, Value::Str(it) if **it == *name.as_bytes());
        let found = members.iter().find(|(key, _)| is_named(key));
        found.map(|(_, value)| Term::of(value))
    }

    fn quoted(&self) -> String {
        match self {
            Term::Text(text) => crate::config::fault::quoted(text),
            other => other.shown().chars().take(20).collect(),
        }
    }

    fn equals(&self, other: &Term<'_>) -> bool {
        match (self, other) {
            (Term::None, Term::None) => true,
            (Term::Text(one), Term::Text(other)) => one == other,
            (Term::Node(one), Term::Node(other)) => one == other,
            _ => match (self.number(), other.number()) {
                (Some(one), Some(other)) => one == other,
                _ => false,
            },
        }
    }

    fn contains(&self, item: &Term<'_>) -> Result<bool, String> {
        match (self, item) {
            (Term::Node(Value::Dict(_)), _) => Ok(self.member(item).is_some()),
            (Term::Node(Value::List(items)), _) => {
                Ok(items.iter().any(|it| Term::of(it).equals(item)))
            }
            (Term::Text(text), Term::Text(part)) => Ok(text.contains(&**part)),
            _ => Err(format!("in: {} cannot be in {}", item.kind(), self.kind())),
        }
    }
}

/// Where a list of that length has that position; negative ones count from its end.
fn place(key: &Term<'_>, length: usize) -> Option<usize> {
    let at = key.int()?;
    let length = i64::try_from(length).ok()?;
    let at = if at < 0 { at.checked_add(length)? } else { at };
    usize::try_from(at).ok().filter(|_| at < length)
}

/// Works out `one operation other`.
pub fn binary<'a>(operation: Binary, one: &Term<'a>, other: &Term<'a>) -> Result<Term<'a>, String> {
    Ok(match operation {
        Binary::Equal => Term::Bool(one.equals(other)),
        Binary::NotEqual => Term::Bool(!one.equals(other)),
        Binary::In => Term::Bool(other.contains(one)?),
        Binary::NotIn => Term::Bool(!other.contains(one)?),
        Binary::Less | Binary::LessEqual | Binary::Greater | Binary::GreaterEqual => {
            Term::Bool(is_ordered(operation, one, other)?)
        }
        Binary::Add if matches!((one, other), (Term::Text(_), Term::Text(_))) => {
            joined(one, other)?
        }
        _ => arithmetic(operation, one, other)?,
    })
}

fn is_ordered(operation: Binary, one: &Term<'_>, other: &Term<'_>) -> Result<bool, String> {
    let order = match (one, other) {
        (Term::Text(one), Term::Text(other)) => Some(one.cmp(other)),
        _ => match (one.number(), other.number()) {
            // NaN is neither before nor after anything.
            (Some(one), Some(other)) => one.partial_cmp(&other),
            _ => {
                let kinds = (one.kind(), other.kind());
                return Err(format!("{} cannot be compared with {}", kinds.0, kinds.1));
            }
        },
    };
    Ok(match operation {
        Binary::Less => order == Some(Ordering::Less),
        Binary::LessEqual => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        Binary::Greater => order == Some(Ordering::Greater),
        _ => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
    })
}

fn joined<'a>(one: &Term<'_>, other: &Term<'_>) -> Result<Term<'a>, String> {
    let text = one.shown() + &other.shown();
    match text.len() > TEXT_MAX {
        true => Err(format!("expected a text of at most {TEXT_MAX} bytes")),
        false => Ok(Term::Text(text.into())),
    }
}

/// Whole numbers stay whole, as far as 64 bits go; beyond, they are floats.
fn arithmetic<'a>(operation: Binary, one: &Term<'_>, other: &Term<'_>) -> Result<Term<'a>, String> {
    let (left, right) = (one.need_number()?, other.need_number()?);
    let divides = matches!(
        operation,
        Binary::Divide | Binary::FloorDivide | Binary::Modulo
    );
    if divides && right == 0.0 {
        return Err("division by zero".into());
    }
    let whole = match (one.int(), other.int()) {
        (Some(one), Some(other)) => match operation {
            Binary::Add => one.checked_add(other),
            Binary::Subtract => one.checked_sub(other),
            Binary::Multiply => one.checked_mul(other),
            Binary::FloorDivide => floor_divide(one, other),
            Binary::Modulo => floor_divide(one, other)
                .and_then(|times| times.checked_mul(other))
                .and_then(|part| one.checked_sub(part)),
            _ => None,
        },
        _ => None,
    };
    if let Some(whole) = whole {
        return Ok(Term::Int(whole));
    }
    Ok(Term::Float(match operation {
        Binary::Add => left + right,
        Binary::Subtract => left - right,
        Binary::Multiply => left * right,
        Binary::FloorDivide => (left / right).floor(),
        Binary::Modulo => left - right * (left / right).floor(),
        _ => left / right,
    }))
}

/// Rounded down, as Python does, not towards zero.
fn floor_divide(one: i64, other: i64) -> Option<i64> {
    let times = one.checked_div(other)?;
    let is_down = one.checked_rem(other)? != 0 && (one < 0) != (other < 0);
    Some(times - i64::from(is_down))
}
