//! Python numbers as text: `repr` of a float, decimal digits of an integer of any size.

use std::io::Write;

/// CPython neither reads nor prints an integer with more decimal digits than this.
pub const MAX_INT_DIGITS: usize = 4300;

/// Appends Python's `repr` of a float: the shortest digits that read back as the same number.
pub fn write_float(out: &mut Vec<u8>, number: f64) {
    // Python writes no exponent here, and neither does zmij.
    if (1e-3..1e15).contains(&number.abs()) {
        out.extend(zmij::Buffer::new().format_finite(number).as_bytes());
    } else {
        write_digits(out, number, ".0");
    }
}

/// As [`write_float`], without the `.0` after a whole number: a part of a complex number.
pub fn write_complex_part(out: &mut Vec<u8>, number: f64) {
    write_digits(out, number, "");
}

fn write_digits(out: &mut Vec<u8>, number: f64, whole: &str) {
    if number.is_nan() {
        return out.extend(b"nan");
    }
    if number.is_sign_negative() {
        out.push(b'-');
    }
    if number.is_infinite() {
        return out.extend(b"inf");
    }
    let (digits, exponent) = shortest(number.abs());
    lay_out(out, digits.as_bytes(), exponent, whole);
}

/// The shortest digits that read back as the same number, and the exponent of the first one. Of two
/// that are equally near it is the even one, as in Python; `std::fmt` may choose the other.
fn shortest(number: f64) -> (String, i32) {
    let mut buffer = zmij::Buffer::new();
    let text = buffer.format_finite(number);
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = [whole, fraction].concat();
    let digits = all.trim_start_matches('0');
    if digits.is_empty() {
        return ("0".to_owned(), 0);
    }
    let zeros = (all.len() - digits.len()) as i32;
    let exponent = exponent.parse().unwrap_or(0) + whole.len() as i32 - 1 - zeros;
    (digits.trim_end_matches('0').to_owned(), exponent)
}

/// Python writes an exponent below -4 and from 16 on, else all digits.
fn lay_out(out: &mut Vec<u8>, digits: &[u8], exponent: i32, whole: &str) {
    if !(-4..16).contains(&exponent) {
        out.push(digits[0]);
        if digits.len() > 1 {
            out.push(b'.');
            out.extend(&digits[1..]);
        }
        let sign = if exponent < 0 { '-' } else { '+' };
        write!(out, "e{sign}{:02}", exponent.abs()).expect("a Vec takes every write");
    } else if exponent < 0 {
        out.extend(b"0.");
        out.resize(out.len() + exponent.unsigned_abs() as usize - 1, b'0');
        out.extend(digits);
    } else {
        let point = exponent.unsigned_abs() as usize + 1;
        if digits.len() > point {
            out.extend(&digits[..point]);
            out.push(b'.');
            out.extend(&digits[point..]);
        } else {
            out.extend(digits);
            out.resize(out.len() + point - digits.len(), b'0');
            out.extend(whole.as_bytes());
        }
    }
}

/// The exact decimal digits of a finite float without its fraction.
pub fn whole_part(number: f64) -> String {
    let whole = number.trunc();
    if whole == 0.0 {
        "0".to_owned()
    } else {
        format!("{whole:.0}")
    }
}

/// The decimal digits of an integer written in base 2, 8 or 16; `None` above [`MAX_INT_DIGITS`],
/// where CPython refuses to print it.
pub fn radix_to_decimal(digits: &[u8], radix: u32) -> Option<String> {
    const LIMB: u64 = 1_000_000_000;
    let significant = digits.iter().position(|&digit| digit != b'0');
    let digits = &digits[significant.unwrap_or(digits.len())..];
    // 10^4300 has 14285 bits: longer text need not be converted, and the work below is quadratic.
    if digits.len() * radix.ilog2() as usize > 14_285 + 3 {
        return None;
    }
    let mut limbs = vec![0_u32];
    for &digit in digits {
        let mut carry = u64::from(char::from(digit).to_digit(radix)?);
        for limb in &mut limbs {
            let sum = u64::from(*limb) * u64::from(radix) + carry;
            *limb = (sum % LIMB) as u32;
            carry = sum / LIMB;
        }
        if carry > 0 {
            limbs.push(carry as u32);
        }
    }
    let mut text = limbs.pop().map(|limb| limb.to_string()).unwrap_or_default();
    for limb in limbs.iter().rev() {
        text.push_str(&format!("{limb:09}"));
    }
    (text.len() <= MAX_INT_DIGITS).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn repr(number: f64) -> String {
        let mut out = Vec::new();
        write_float(&mut out, number);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn floats_print_as_python_prints_them() {
        for (number, expected) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (0.1, "0.1"),
            (100.0, "100.0"),
            (1e-4, "0.0001"),
            (1e-5, "1e-05"),
            (1.5e-7, "1.5e-07"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.234e22, "1.234e+22"),
            (1e100, "1e+100"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
            (1_700_000_000.123_456, "1700000000.123456"),
            (692_796_117_297_856.0 + 0.25, "692796117297856.2"),
            (-4_503_599_627_370_497.5, "-4503599627370498.0"),
            (2.0_f64.powi(-1074) * 3.0, "1.5e-323"),
            (9.5e-6, "9.5e-06"),
            (0.000_123, "0.000123"),
            (9_007_199_254_740_993.0, "9007199254740992.0"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
        ] {
            assert_eq!(repr(number), expected);
        }
    }

    #[test]
    fn other_bases_become_decimal() {
        assert_eq!(radix_to_decimal(b"ff", 16).as_deref(), Some("255"));
        assert_eq!(radix_to_decimal(b"000", 8).as_deref(), Some("0"));
        assert_eq!(
            radix_to_decimal(b"fFfFfFfFfFfFfFfFf", 16).as_deref(),
            Some("295147905179352825855")
        );
        assert_eq!(
            radix_to_decimal(&[b'f'; 3571], 16).map(|text| text.len()),
            Some(4300)
        );
        assert_eq!(radix_to_decimal(&[b'f'; 3572], 16), None);
        assert_eq!(radix_to_decimal(&vec![b'1'; 1_000_000], 2), None);
    }

    #[test]
    fn whole_parts_are_exact() {
        assert_eq!(whole_part(-0.9), "0");
        assert_eq!(whole_part(-1999.9), "-1999");
        assert_eq!(whole_part(1e25 * 1000.0), "10000000000000001782142992384");
    }

    proptest! {
        #[test]
        fn what_needs_no_exponent_is_laid_out_as_all_others(large in -1e16..1e16, small in -0.1..0.1) {
            for number in [large, small] {
                let mut out = Vec::new();
                write_digits(&mut out, number, ".0");
                prop_assert_eq!(repr(number), String::from_utf8(out).unwrap());
            }
        }

        #[test]
        fn floats_read_back(number in any::<f64>().prop_filter("finite", |n| n.is_finite())) {
            prop_assert_eq!(repr(number).parse::<f64>().unwrap().to_bits(), number.to_bits());
        }

        #[test]
        fn hexadecimal_agrees_with_the_standard_library(number in any::<u128>()) {
            let digits = format!("{number:x}");
            prop_assert_eq!(radix_to_decimal(digits.as_bytes(), 16), Some(number.to_string()));
        }
    }
}
