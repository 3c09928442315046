//! The JSON reader and writer against Python's rules and against serde_json.

use proptest::prelude::*;

use super::loads;
use super::read;
use super::scan::{self, Dialect, MAX_DEPTH};
use super::write::{Encoder, Surrogates, transcode};
use crate::python::value::Value;

fn is_python(text: &str) -> bool {
    scan::check(text.as_bytes(), Dialect::Python).is_ok()
}

fn is_orjson(text: &str) -> bool {
    scan::check(text.as_bytes(), Dialect::Orjson).is_ok()
}

fn rewritten(text: &str) -> String {
    assert!(is_python(text), "{text}");
    let mut encoder = Encoder::new(Vec::new(), Surrogates::Keep, usize::MAX);
    transcode(text.as_bytes(), &mut encoder).unwrap();
    String::from_utf8(encoder.out).unwrap()
}

#[test]
fn both_dialects_are_strict() {
    for text in [
        "",
        " ",
        "01",
        "-",
        "+1",
        ".5",
        "1.",
        "1e",
        "1e+",
        "0x1",
        "1_0",
        "True",
        "nul",
        "'a'",
        "\"a",
        "\"\t\"",
        "\"\\x41\"",
        "\"\\u12g4\"",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{\"a\":1,}",
        "{\"a\" 1}",
        "{a:1}",
        "{1:1}",
        "[1]]",
        "[1",
        "{",
        "\u{feff}1",
        "1 //",
        "nan",
        "-NaN",
        "\"\\",
    ] {
        assert!(!is_python(text) && !is_orjson(text), "{text}");
    }
    for text in [
        "0",
        "-0",
        "1.5e-3",
        " [ ] ",
        "{ }",
        "\"\x7f\\/\\u00e9\"",
        "[{\"a\":[]},null,true]",
    ] {
        assert!(is_python(text) && is_orjson(text), "{text}");
    }
    assert_eq!(
        scan::check(b"\"\xff\"", Dialect::Python)
            .unwrap_err()
            .position,
        1
    );
}

#[test]
fn the_dialects_differ_where_python_and_orjson_do() {
    let digits = "9".repeat(400);
    for text in [
        "NaN",
        "[Infinity]",
        "-Infinity",
        "1e400",
        "\"\\ud800\"",
        "\"\\ud800\\u0041\"",
        "\"\\udc00\"",
        &digits,
    ] {
        assert!(is_python(text) && !is_orjson(text), "{text}");
    }
    assert!(is_orjson("\"\\ud83d\\ude00\""));
    assert!(is_python(&"9".repeat(4300)) && !is_python(&"9".repeat(4301)));
    assert!(!is_orjson("1.7976931348623159e308") && is_orjson("0.1e-400"));
}

#[test]
fn nesting_is_bounded() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let nested = |depth: usize| format!("{}1{}", open.repeat(depth), close.repeat(depth));
        assert!(is_python(&nested(MAX_DEPTH)) && !is_python(&nested(MAX_DEPTH + 1)));
        let deep = nested(MAX_DEPTH);
        assert!(loads::orjson(deep.as_bytes()).is_ok());
        rewritten(&deep);
    }
    assert!(!is_python(&"[".repeat(10_000_000)));
    assert_eq!(read::skip_value("[".repeat(10_000_000).as_bytes(), 0), None);
}

#[test]
fn text_is_rewritten_as_python_writes_it() {
    assert_eq!(
        rewritten("\"é\\u00E9\\/\\\"\\n\x7f😀\\ud83d\\ude00\\ud800\""),
        "\"\\u00e9\\u00e9/\\\"\\n\\u007f\\ud83d\\ude00\\ud83d\\ude00\\ud800\""
    );
    assert_eq!(
        rewritten("[-0,1E3,1.50,{\"b\":1,\"a\":2,\"b\":3}]"),
        "[0, 1000.0, 1.5, {\"b\": 3, \"a\": 2}]"
    );
    assert_eq!(rewritten("1.0"), "1.0");
    assert_eq!(rewritten("1700000000.123456"), "1700000000.123456");
    assert_eq!(rewritten("0.00001"), "1e-05");
    assert_eq!(rewritten("12345678901234567890"), "12345678901234567890");
}

#[test]
fn orjson_reads_large_integers_as_floats() {
    let read = |text: &'static str| loads::orjson(text.as_bytes()).unwrap();
    assert_eq!(
        read("18446744073709551615"),
        Value::Int("18446744073709551615".into())
    );
    assert_eq!(
        read("18446744073709551616"),
        Value::Float(18_446_744_073_709_551_616.0)
    );
    assert_eq!(
        read("-9223372036854775808"),
        Value::Int("-9223372036854775808".into())
    );
    assert_eq!(
        read("-9223372036854775809"),
        Value::Float(-9_223_372_036_854_775_809.0)
    );
    assert_eq!(read("-0"), Value::Int("0".into()));
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<u64>().prop_map(Into::into),
        // Short ones: serde_json reads long floats inexactly.
        any::<i32>().prop_map(|number| (f64::from(number) / 8.0).into()),
        any::<String>().prop_map(Into::into),
    ];
    leaf.prop_recursive(5, 60, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            prop::collection::vec((any::<String>(), inner), 0..6).prop_map(|members| members
                .into_iter()
                .collect::<serde_json::Map<_, _>>()
                .into()),
        ]
    })
}

proptest! {
    #[test]
    fn values_survive_being_rewritten(value in any_json()) {
        for text in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
            prop_assert!(is_orjson(&text));
            let rewritten = rewritten(&text);
            prop_assert!(rewritten.is_ascii());
            prop_assert_eq!(&serde_json::from_str::<serde_json::Value>(&rewritten).unwrap(), &value);
        }
    }

    #[test]
    fn what_serde_refuses_is_refused(text in "[\\[\\]{}\",:0-9.eE+\\-a-u\\\\ ]{0,20}") {
        // serde_json takes lone surrogates in a string it skips, and no number over 1e308.
        let serde = serde_json::from_str::<serde_json::Value>(&text).is_ok();
        prop_assert_eq!(serde, is_orjson(&text), "{}", text);
    }

    #[test]
    fn any_bytes_are_harmless(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        let _ = scan::check(&bytes, Dialect::Python);
        read::members(&bytes).count();
        read::items(&bytes).count();
        read::decode(&bytes);
        loads::python(&bytes);
        let mut encoder = Encoder::new(Vec::new(), Surrogates::Replace, usize::MAX);
        let _ = transcode(&bytes, &mut encoder);
        encoder.string(&bytes);
    }
}
