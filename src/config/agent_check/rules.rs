//! The rules of a plugin: lists of objects with one action each, in the order in which they are tried.

use serde_json::Value;

use super::within;
use crate::agent_check::rules::{Limit, Pattern, Threshold};
use crate::agent_check::{Answer, Expression};
use crate::config::fault::{quoted, shown};
use crate::config::raw::{Faulty, Fields};

/// Rules of one list.
const RULES_MAX: usize = 64;

const PCT: &str = "pct";
const LEAST: &str = "min_threshold_response";
/// Beyond, HAProxy counts no further.
const LEAST_MAX: u32 = 25_600;

/// An expression over `r`; `r` itself where the key is absent.
pub fn metric(fields: &mut Fields<'_>, key: &str) -> Result<Expression, Faulty> {
    let text = fields.text(key, "expected an expression such as r['load'] * 100")?;
    let text = text.unwrap_or("r");
    Expression::parse(text).map_err(|reason| fields.fault(key, quoted(text), &reason))
}

/// A list of rules, each of which `read` takes.
pub fn list<T>(
    fields: &mut Fields<'_>,
    key: &str,
    read: impl Fn(&mut Fields<'_>) -> Result<T, Faulty>,
) -> Result<Vec<T>, Faulty> {
    let list = match fields.get(key) {
        None => return Ok(Vec::new()),
        Some(Value::Array(list)) if list.len() <= RULES_MAX => list,
        Some(other) => {
            let expected = format!("expected a list of at most {RULES_MAX} objects");
            return Err(fields.fault(key, shown(other), &expected));
        }
    };
    let rules: Vec<_> = list
        .iter()
        .enumerate()
        .map(|(index, value)| within(fields, &format!("{key}[{index}]"), value, &read))
        .collect();
    rules.into_iter().collect()
}

/// `{"drain": ">7000"}`, or `{"pct": 7000, "min_threshold_response": 1}`.
pub fn threshold(fields: &mut Fields<'_>) -> Result<Threshold, Faulty> {
    if fields.names().any(|name| name == PCT) {
        return percent(fields);
    }
    let (action, answer) = action(fields)?;
    let limit = match fields.get(action) {
        Some(Value::Number(number)) => Limit::parse(&number.to_string()),
        Some(Value::String(text)) => Limit::parse(text),
        _ => None,
    };
    match limit {
        Some(limit) => Ok(Threshold::Answer(answer, limit)),
        None => Err(fault(fields, action, Limit::EXPECTED)),
    }
}

fn percent(fields: &mut Fields<'_>) -> Result<Threshold, Faulty> {
    for key in fields.names().filter(|key| ![PCT, LEAST].contains(key)) {
        fields.fault(key, "unknown key", "did you mean min_threshold_response?");
    }
    let least = fields.whole(LEAST, 0..=LEAST_MAX, "0 to 25600");
    let full = match fields.get(PCT) {
        Some(Value::Number(number)) => number.as_f64(),
        // In Herald a sign before it means nothing.
        Some(Value::String(text)) => text
            .trim_start_matches(['!', '<', '>', '='])
            .trim()
            .parse()
            .ok(),
        _ => None,
    };
    match full.filter(|full: &f64| full.is_finite() && *full > 0.0) {
        Some(full) => Ok(Threshold::Percent {
            full,
            least: least?.unwrap_or(0),
        }),
        None => Err(fault(
            fields,
            PCT,
            "expected a number over 0: the value that leaves nothing",
        )),
    }
}

/// `{"down": ".*unhealthy"}`.
pub fn pattern(fields: &mut Fields<'_>) -> Result<Pattern, Faulty> {
    let (action, answer) = action(fields)?;
    let expected = "expected a regular expression";
    let Some(source) = fields.text(action, expected)? else {
        return Err(fields.fault(action, "null", expected));
    };
    Pattern::new(answer, source).map_err(|reason| fields.fault(action, quoted(source), &reason))
}

/// The one key of a rule: what is answered.
fn action<'a>(fields: &mut Fields<'a>) -> Result<(&'a str, Answer), Faulty> {
    let mut names = fields.names();
    let (Some(action), None) = (names.next(), names.next()) else {
        let message = "expected one action and its condition such as {\"drain\": \">7000\"}";
        return Err(fields.fault_here(message));
    };
    match Answer::parse(action) {
        Ok(answer) => Ok((action, answer)),
        Err(expected) => Err(fields.fault(action, quoted(action), &expected)),
    }
}

fn fault(fields: &mut Fields<'_>, key: &str, expected: &str) -> Faulty {
    let found = fields.get(key).map_or("null".to_owned(), shown);
    fields.fault(key, found, expected)
}
