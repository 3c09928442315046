//! Expressions over `r`, what a source said: `r['queue']['depth'] * 100 / r['max']`.
//!
//! The part of Python's expressions that such metrics need: values of `r` by name or position,
//! numbers, texts, arithmetic, comparison, `in`, `and`, `or`, `not`, `… if … else …`, and a few
//! functions. Nothing is ever run: `parse` turns the text into steps of a stack machine once,
//! with a bound on its length and its depth; `run` takes each step at most once, so that every
//! expression ends, and soon.
//!
//! ```text
//!  choice  = either ["if" either "else" choice]
//!  either  = both {"or" both}             both    = negated {"and" negated}
//!  negated = "not" negated | compared     compared = sum [("<" | "in" | …) sum]
//!  sum     = product {("+" | "-") product}
//!  product = signed {("*" | "/" | "//" | "%") signed}
//!  signed  = ("-" | "+") signed | item
//!  item    = atom {"[" choice "]" | ".get(" choice ["," choice] ")"}
//!  atom    = number | text | "True" | "False" | "None" | "r" | name "(" choice {"," choice} ")" | "(" choice ")"
//! ```

mod parse;
mod run;
mod term;

use std::fmt;

use self::run::run;
pub use self::term::Term;
use crate::python::value::Value;

/// Bytes of an expression: the longest that anybody needs is a few lines.
pub const LENGTH_MAX: usize = 1024;

/// Brackets inside brackets, signs before signs: parsing recurses that deep.
pub const DEPTH_MAX: usize = 32;

/// A checked expression.
#[derive(Debug, Clone, PartialEq)]
pub struct Expression {
    source: String,
    steps: Vec<Step>,
}

impl Expression {
    /// Understands an expression; the error says where and why not.
    pub fn parse(source: &str) -> Result<Self, String> {
        Ok(Expression {
            source: source.into(),
            steps: parse::parse(source)?,
        })
    }

    /// Its value for this `r`.
    pub fn value<'a>(&'a self, r: &'a Value<'a>) -> Result<Term<'a>, String> {
        run(&self.steps, r)
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

/// One step of the stack machine. Each takes its operands off the stack and puts its result there.
#[derive(Debug, Clone, PartialEq)]
enum Step {
    R,
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    /// Container, key → item.
    Index,
    /// Container, key, default → item or default.
    Get,
    Negate,
    Plus,
    Not,
    Binary(Binary),
    Call(Function, usize),
    /// Skips so many steps, and leaves the value, if it is false (or true); else takes it away.
    AndElse(usize),
    OrElse(usize),
    /// Takes a value away; skips so many steps if it is false.
    Unless(usize),
    Skip(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Binary {
    Add,
    Subtract,
    Multiply,
    Divide,
    FloorDivide,
    Modulo,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    Equal,
    NotEqual,
    In,
    NotIn,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Function {
    Int,
    Float,
    Text,
    Abs,
    Round,
    Min,
    Max,
    Len,
}

/// Names, and how many arguments they take.
const FUNCTIONS: [(&str, Function, std::ops::RangeInclusive<usize>); 8] = [
    ("int", Function::Int, 1..=1),
    ("float", Function::Float, 1..=1),
    ("str", Function::Text, 1..=1),
    ("abs", Function::Abs, 1..=1),
    ("round", Function::Round, 1..=1),
    ("min", Function::Min, 2..=8),
    ("max", Function::Max, 2..=8),
    ("len", Function::Len, 1..=1),
];

#[cfg(test)]
mod tests;
