//! `args` → the texts of its first ten items.

use super::Validation;
use crate::python::literal;
use crate::python::repr::{self, Limited};
use crate::python::text;
use crate::python::value::Value;

/// A longer text is not parsed: a tree of values takes up to thirty times its memory. Celery itself
/// cuts the representation of arguments to 1024 characters.
pub const MAX_LITERAL: usize = 256 * 1024;

/// Code points kept of each item.
const MAX_ITEM: usize = 256;
const MAX_ITEMS: usize = 10;

/// `str()` raises on an integer of more than 4300 digits.
#[derive(Debug, PartialEq)]
pub struct Raises;

/// Hands the text of each item to `emit`, in order. A text that is no literal is one item.
pub fn flatten(
    args: &[u8],
    validation: Validation,
    mut emit: impl FnMut(&[u8]),
) -> Result<(), Raises> {
    if matches!(args, b"" | b"()" | b"[]") {
        return Ok(());
    }
    let parsed = if args.len() <= MAX_LITERAL {
        literal::parse(args).ok()
    } else {
        None
    };
    let mendable = validation == Validation::Tolerant;
    match parsed {
        // Too long an integer: Leek raises; taken as text instead, as it takes a decimal one.
        Some(value) if mendable && value.has_overlong_int() => emit(text::cut(args, MAX_ITEM)),
        Some(Value::Tuple(items) | Value::List(items)) => {
            let items = &items[..items.len().min(MAX_ITEMS)];
            if items.iter().any(Value::has_overlong_int) {
                return Err(Raises);
            }
            items.iter().for_each(|item| emit_item(item, &mut emit));
        }
        Some(value) if value.has_overlong_int() => return Err(Raises),
        Some(value) => emit_item(&value, &mut emit),
        None => emit(text::cut(args, MAX_ITEM)),
    }
    Ok(())
}

fn emit_item(item: &Value<'_>, emit: &mut impl FnMut(&[u8])) {
    match item {
        Value::Str(item) => emit(text::cut(item, MAX_ITEM)),
        Value::Int(digits) => emit(text::cut(digits.as_bytes(), MAX_ITEM)),
        other => {
            let mut text = Limited::new(MAX_ITEM);
            repr::write_str(other, &mut text);
            emit(&text.into_text());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(args: &str) -> Vec<String> {
        let mut items = Vec::new();
        flatten(args.as_bytes(), Validation::Tolerant, |item| {
            items.push(String::from_utf8(item.to_vec()).unwrap());
        })
        .unwrap();
        items
    }

    #[test]
    fn each_item_is_text() {
        assert_eq!(
            items("(1, 'two', None, [1.0])"),
            ["1", "two", "None", "[1.0]"]
        );
        assert_eq!(items("{'a': 1}"), ["{'a': 1}"]);
        assert_eq!(items("not a literal"), ["not a literal"]);
        assert_eq!(items("[1,2,3,4,5,6,7,8,9,10,11]").len(), 10);
        assert_eq!(items(" "), [" "]);
    }

    #[test]
    fn items_are_cut() {
        assert_eq!(
            items(&format!("('{}',)", "é".repeat(300))),
            ["é".repeat(256)]
        );
        assert_eq!(items(&"x".repeat(MAX_LITERAL + 1)), ["x".repeat(256)]);
    }

    #[test]
    fn an_integer_too_long_to_print_is_text_when_tolerant() {
        let args = format!("(0x{},)", "f".repeat(4000));
        assert_eq!(items(&args), [&args[..256]]);
        assert_eq!(
            flatten(args.as_bytes(), Validation::Strict, |_| {}),
            Err(Raises)
        );
        let eleventh = format!("(1,2,3,4,5,6,7,8,9,10,0x{})", "f".repeat(4000));
        assert_eq!(
            flatten(eleventh.as_bytes(), Validation::Strict, |_| {}),
            Ok(())
        );
    }
}
