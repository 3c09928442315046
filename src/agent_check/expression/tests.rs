//! Expressions and what they come to: as in Python, but for whole numbers beyond 64 bits.

use proptest::prelude::*;

use super::*;
use crate::json::loads;

const R: &str = r#"{"a": {"b": [3, 1, 4]}, "max": 50, "health": "so healthy", "msg-per-second": 7.5,
    "big": 9223372036854775807, "off": false, "nothing": null, "text": " 42 ", "empty": {}}"#;

fn value(source: &str) -> Result<String, String> {
    let r = loads::orjson(R.as_bytes()).expect("JSON");
    let expression = Expression::parse(source).map_err(|reason| format!("parse: {reason}"))?;
    expression.value(&r).map(|term| term.shown())
}

#[track_caller]
fn check(source: &str, expect: &str) {
    assert_eq!(value(source).as_deref(), Ok(expect), "{source}");
}

#[track_caller]
fn refused(source: &str, expect: &str) {
    match value(source) {
        Err(reason) if reason.contains(expect) => {}
        other => panic!("{source}: {other:?}, not {expect}"),
    }
}

#[test]
fn values_of_r() {
    check("r['a']['b'][0]", "3");
    check("r['a'][\"b\"][-1]", "4");
    check("r['msg-per-second'] * 2", "15.0");
    check("r['health'][0] + r['health'][-1]", "sy");
    check("r.get('max')", "50");
    check("r.get('min', 7) + r.get('max', 7)", "57");
    check("r.get('min')", "None");
    check("r['a']", "{'b': [3, 1, 4]}");
    check("r['off']", "False");
    refused("r['b']", "nothing has the name \"b\"");
    refused("r['a']['b'][3]", "a list has no place 3");
    refused("r['max'][0]", "a number has nothing at 0");
    refused("r['a'][0]", "nothing has the name 0");
    refused("r['max'].get('a')", "expected an object");
}

#[test]
fn arithmetic_is_pythons() {
    check("1 + 2 * 3 - 4", "3");
    check("(1 + 2) * 3", "9");
    check("7 / 2", "3.5");
    check("6 / 2", "3.0");
    check("7 // 2", "3");
    check("-7 // 2", "-4");
    check("-7 % 3", "2");
    check("7 % -3", "-2");
    check("-7.5 // 2", "-4.0");
    check("-7.5 % 2", "0.5");
    check("- -3", "3");
    check("+True", "1");
    check("2 - -r['max']", "52");
    check("1e3 + .5", "1000.5");
    check("1_000", "1000");
    check("r['big'] + 1", "9.223372036854776e+18");
    check("-r['big'] - 1", "-9223372036854775808");
    check("(-r['big'] - 1) // -1", "9.223372036854776e+18");
    check("'a' + 'b'", "ab");
    refused("1 / 0", "division by zero");
    refused("1 % r['off']", "division by zero");
    refused("r['text'] + 1", "int(…) makes a number of it");
    refused("'x' * 1000000", "expected a number, found a text");
    refused("r['a'] + 1", "found an object");
    refused("r['nothing'] * 2", "found None");
}

#[test]
fn comparisons_and_choices() {
    check("r['max'] >= 50", "True");
    check("1 == 1.0", "True");
    check("'1' == 1", "False");
    check("r['nothing'] == None", "True");
    check("'healthy' in r['health']", "True");
    check("'max' not in r", "False");
    check("4 in r['a']['b']", "True");
    check("not r['off']", "True");
    check("not 1 == 2", "True");
    check("1 if r['off'] else 2", "2");
    check("1 if 0 else 2 if 0 else 3", "3");
    check("(1 if 1 else 1 / 0) + 1", "2");
    check("0 or 'x'", "x");
    check("0 and 1 / 0", "0");
    check("1 or 1 / 0", "1");
    check("1 and 0 or 5", "5");
    check("r['max'] and r['a'] and 3", "3");
    refused("1 < 2 < 3", "and between two comparisons");
    refused("1 < 'a'", "a number cannot be compared with a text");
    refused("1 in 2", "a number cannot be in a number");
}

#[test]
fn functions() {
    check("int(r['text'])", "42");
    check("int(-2.9)", "-2");
    check("float('1.5') + 1", "2.5");
    check("str(r['max']) + '%'", "50%");
    check("abs(-3)", "3");
    check("abs(-3.5)", "3.5");
    check("round(2.5) + round(3.5)", "6");
    check("min(3, r['max'], 2.5)", "2.5");
    check("max(1, 2)", "2");
    check("len(r['a']['b']) + len('äö')", "5");
    refused("int('4.2')", "found a text \"4.2\"");
    refused("int('nan')", "found a text");
    refused("int(float('inf'))", "that is finite");
    refused("len(3)", "no length");
}

#[test]
fn what_is_no_expression_is_told_with_its_place() {
    for (source, expect) in [
        ("", "parse: expected more at its end"),
        ("r['a'", "parse: at 6: expected ]"),
        ("1 +", "expected more"),
        ("1 2", "at 3: \"2\""),
        ("r.keys()", "at 3: expected get"),
        (
            "__import__('os')",
            "at 1: \"__import__\": expected r or one of int",
        ),
        ("s['a']", "\"s\": expected r or one of"),
        ("lambda: 1", "\"lambda\""),
        ("[1]", "at 1"),
        ("'abc", "at 1: expected the text's other quote"),
        (r"'\x41'", "after \\"),
        ("1 if 2", "expected else"),
        ("99999999999999999999", "expected a number"),
        ("0x10", "expected a number"),
        ("1e999", "expected a number"),
        ("min(1)", "min takes 2 to 8"),
        ("int()", "expected a value"),
        ("2 ** 3", "at 4"),
        ("1 is 1", "at 3"),
        ("ü", "at 1"),
    ] {
        refused(source, expect);
    }
    refused(&"(".repeat(500), "32 levels");
    refused(&"-".repeat(500), "32 levels");
    refused(&"not ".repeat(200), "32 levels");
    refused(&"1+".repeat(600), "1024 bytes");
    check(&format!("{}1", "1+".repeat(500)), "501");
}

/// Pieces that are often an expression.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "r", "['a']", "['max']", "[0]", "(", ")", "1", "2.5", "-", "+", "*", "/", "//", "%", "<=",
        "==", " and ", " or ", " not ", " in ", " if ", " else ", "'x'", ".get(", ",", "int(",
        "max(",
    ]);
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn whatever_is_written_ends_without_a_panic(source in prop_oneof![pieces(), ".{0,60}"]) {
        let _ = value(&source);
    }
}
