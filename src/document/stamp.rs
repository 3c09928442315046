//! An event's time stamp as a number that compares exactly, be it an integer or a float.

use std::cmp::Ordering;

use crate::json::read::{self, Kind};
use crate::json::write::Encoder;
use crate::python::number::whole_part;

/// Seconds since 1970, as sent.
#[derive(Debug, Clone, PartialEq)]
pub enum Stamp {
    /// An integer of any size, in decimal digits.
    Int(Box<str>),
    /// A finite float.
    Float(f64),
}

impl Stamp {
    /// Reads the JSON text of a number; `None` where it is none, or not finite in milliseconds.
    pub fn read(value: &[u8]) -> Option<Stamp> {
        match read::kind(value) {
            Kind::Int => Some(Stamp::Int(read::int(value).into())),
            Kind::Float => {
                let number = read::float(value);
                (number * 1000.0)
                    .is_finite()
                    .then_some(Stamp::Float(number))
            }
            _ => None,
        }
    }

    /// Writes milliseconds, cut towards zero. A float is multiplied as a float.
    pub fn write_milliseconds(&self, out: &mut Encoder) {
        match self {
            Stamp::Int(digits) if &**digits == "0" => out.raw(b"0"),
            Stamp::Int(digits) => {
                out.raw(digits.as_bytes());
                out.raw(b"000");
            }
            Stamp::Float(number) => out.whole(number * 1000.0),
        }
    }

    /// Writes the number as Python prints it; `sent` is the text that it was read from.
    pub fn write(&self, sent: &[u8], out: &mut Encoder) {
        match self {
            Stamp::Int(digits) => out.raw(digits.as_bytes()),
            Stamp::Float(number) => out.float_text(sent, *number),
        }
    }

    /// Whether it is earlier than another, compared as numbers, without rounding.
    pub fn is_before(&self, other: &Stamp) -> bool {
        self.compare(other) == Ordering::Less
    }

    fn compare(&self, other: &Stamp) -> Ordering {
        match (self, other) {
            (Stamp::Float(left), Stamp::Float(right)) => {
                left.partial_cmp(right).unwrap_or(Ordering::Equal)
            }
            (Stamp::Int(left), Stamp::Int(right)) => compare_digits(left, right),
            (Stamp::Int(left), Stamp::Float(right)) => compare_mixed(left, *right),
            (Stamp::Float(left), Stamp::Int(right)) => compare_mixed(right, *left).reverse(),
        }
    }
}

fn compare_mixed(int: &str, float: f64) -> Ordering {
    let whole = compare_digits(int, &whole_part(float));
    // Equal to the whole part: the fraction decides, positive or negative.
    whole.then_with(|| 0.0.partial_cmp(&float.fract()).unwrap_or(Ordering::Equal))
}

/// Compares canonical decimal digits with a sign.
fn compare_digits(left: &str, right: &str) -> Ordering {
    let magnitude = |text: &str| (text.len(), text.to_owned());
    match (left.strip_prefix('-'), right.strip_prefix('-')) {
        (None, None) => magnitude(left).cmp(&magnitude(right)),
        (Some(left), Some(right)) => magnitude(right).cmp(&magnitude(left)),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::write::Surrogates;

    fn stamp(text: &str) -> Stamp {
        Stamp::read(text.as_bytes()).unwrap()
    }

    #[test]
    fn integers_and_floats_compare_exactly() {
        let ascending = [
            "-1e300",
            "-10",
            "-9.5",
            "-9",
            "-0.5",
            "0",
            "0.5",
            "1",
            "1.5",
            "2",
            "9007199254740992.0",
            "9007199254740993",
            "1e25",
            "10000000000000000905969665",
            "1e300",
        ];
        for (index, left) in ascending.iter().enumerate() {
            for (other, right) in ascending.iter().enumerate() {
                let expected = index < other;
                assert_eq!(
                    stamp(left).is_before(&stamp(right)),
                    expected,
                    "{left} {right}"
                );
            }
        }
        assert!(!stamp("1").is_before(&stamp("1.0")) && !stamp("1.0").is_before(&stamp("1")));
        assert!(!stamp("-0.0").is_before(&stamp("0")) && !stamp("0").is_before(&stamp("-0.0")));
    }

    #[test]
    fn milliseconds_are_cut_towards_zero() {
        for (text, expected) in [
            ("1700000000.001", "1700000000000"),
            ("-1.9999", "-1999"),
            ("-0.0", "0"),
            ("-0", "0"),
            ("1e25", "10000000000000001782142992384"),
            (
                "10000000000000000000000000",
                "10000000000000000000000000000",
            ),
        ] {
            let expected = if text == "1700000000.001" {
                ((1_700_000_000.001_f64 * 1000.0) as i64).to_string()
            } else {
                expected.to_owned()
            };
            let mut out = Encoder::new(Vec::new(), Surrogates::Keep, usize::MAX);
            stamp(text).write_milliseconds(&mut out);
            assert_eq!(out.out, expected.as_bytes());
        }
        assert_eq!(Stamp::read(b"NaN"), None);
        assert_eq!(Stamp::read(b"1.7976931348623157e308"), None);
        assert_eq!(Stamp::read(b"\"1\""), None);
    }
}
