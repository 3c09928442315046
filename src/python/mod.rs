//! What of Python a Leek document shows: literals, `str()` and `repr()`, text rules.
//!
//! Leek's own agent is Python, so arguments and tracebacks pass through its parser and its printer.
//! Only what reaches a document is reproduced here; nothing is ever evaluated.

pub mod literal;
pub mod number;
mod number_literal;
pub mod repr;
pub mod set_order;
mod string_literal;
mod tables;
#[cfg(test)]
mod tests;
pub mod text;
pub mod value;
