//! Steps → value: a stack machine that takes each step once at most.

use super::term::{Term, binary};
use super::{Function, Step};
use crate::python::value::Value;

/// Works the steps out.
pub fn run<'a>(steps: &'a [Step], r: &'a Value<'a>) -> Result<Term<'a>, String> {
    let mut stack: Vec<Term<'a>> = Vec::new();
    let mut at = 0;
    while let Some(step) = steps.get(at) {
        // Skips lead forwards only: this ends.
        at += 1 + take(step, &mut stack, r)?;
    }
    stack.pop().ok_or_else(missing)
}

/// The parser puts as many values on the stack as its steps take.
fn missing() -> String {
    "an operand is missing".into()
}

/// Takes one step; answers how many are to be skipped after it.
fn take<'a>(step: &'a Step, stack: &mut Vec<Term<'a>>, r: &'a Value<'a>) -> Result<usize, String> {
    let mut pop = || stack.pop().ok_or_else(missing);
    let result = match step {
        Step::R => Term::of(r),
        Step::None => Term::None,
        Step::Bool(flag) => Term::Bool(*flag),
        Step::Int(number) => Term::Int(*number),
        Step::Float(number) => Term::Float(*number),
        Step::Text(text) => Term::Text(text.as_str().into()),
        Step::Index => {
            let key = pop()?;
            pop()?.item(&key)?
        }
        Step::Get => {
            let (default, key) = (pop()?, pop()?);
            pop()?.get(&key, default)?
        }
        Step::Negate => pop()?.negated()?,
        Step::Plus => pop()?.plus()?,
        Step::Not => Term::Bool(!pop()?.is_true()),
        Step::Binary(operation) => {
            let other = pop()?;
            binary(*operation, &pop()?, &other)?
        }
        Step::Call(function, arguments) => {
            let from = stack.len().checked_sub(*arguments).ok_or_else(missing)?;
            let arguments = stack.split_off(from);
            call(*function, &arguments)?
        }
        Step::AndElse(skip) | Step::OrElse(skip) => {
            let is_decided = matches!(step, Step::OrElse(_));
            let value = pop()?;
            if value.is_true() == is_decided {
                stack.push(value);
                return Ok(*skip);
            }
            return Ok(0);
        }
        Step::Unless(skip) => {
            let skips = !pop()?.is_true();
            return Ok(if skips { *skip } else { 0 });
        }
        Step::Skip(skip) => return Ok(*skip),
    };
    stack.push(result);
    Ok(0)
}

fn call<'a>(function: Function, arguments: &[Term<'a>]) -> Result<Term<'a>, String> {
    let first = arguments.first().ok_or_else(missing)?;
    Ok(match function {
        Function::Int => whole(first)?,
        Function::Float => Term::Float(read(first)?),
        Function::Text => Term::Text(first.shown().into()),
        Function::Abs => match first.plus()? {
            Term::Int(number) => match number.checked_abs() {
                Some(number) => Term::Int(number),
                None => Term::Float(read(first)?.abs()),
            },
            _ => Term::Float(read(first)?.abs()),
        },
        Function::Round => truncated(read(first)?.round_ties_even())?,
        Function::Min => extreme(arguments, |it, best| it < best)?,
        Function::Max => extreme(arguments, |it, best| it > best)?,
        Function::Len => Term::Int(length(first)?),
    })
}

/// A number, or the one that a text holds.
fn read(term: &Term<'_>) -> Result<f64, String> {
    let found = match term {
        Term::Text(text) => text.trim().parse().ok(),
        other => other.number(),
    };
    found.ok_or_else(|| no_number(term))
}

fn no_number(term: &Term<'_>) -> String {
    let shown: String = term.shown().chars().take(20).collect();
    format!("expected a number, found {} {shown:?}", term.kind())
}

/// As Python's `int()`: floats lose their fraction, texts must have none.
fn whole<'a>(term: &Term<'_>) -> Result<Term<'a>, String> {
    match term {
        Term::Text(text) => {
            let number = text.trim().parse().map_err(|_| no_number(term))?;
            Ok(Term::Int(number))
        }
        Term::Float(number) => truncated(*number),
        other => match other.plus() {
            Ok(Term::Int(number)) => Ok(Term::Int(number)),
            _ => Err(no_number(term)),
        },
    }
}

fn truncated<'a>(number: f64) -> Result<Term<'a>, String> {
    if !number.is_finite() {
        return Err("expected a number that is finite".into());
    }
    // Within the first bounds a float is a whole number of 64 bits, beyond it stays a float.
    #[allow(clippy::cast_possible_truncation)]
    Ok(match number.abs() < 9e18 {
        true => Term::Int(number as i64),
        false => Term::Float(number.trunc()),
    })
}

fn extreme<'a>(
    arguments: &[Term<'a>],
    is_better: impl Fn(f64, f64) -> bool,
) -> Result<Term<'a>, String> {
    let mut best: Option<(f64, &Term<'a>)> = None;
    for term in arguments {
        let number = term.number().ok_or_else(|| no_number(term))?;
        if best.is_none_or(|(best, _)| is_better(number, best)) {
            best = Some((number, term));
        }
    }
    best.map(|(_, term)| term.clone()).ok_or_else(missing)
}

fn length(term: &Term<'_>) -> Result<i64, String> {
    let length = match term {
        Term::Text(text) => text.chars().count(),
        Term::Node(Value::List(items)) => items.len(),
        Term::Node(Value::Dict(members)) => members.len(),
        other => return Err(format!("len: {} has no length", other.kind())),
    };
    i64::try_from(length).map_err(|_| missing())
}
