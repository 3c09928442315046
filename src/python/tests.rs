//! Literals and their `repr`: samples checked with CPython 3.9.18, and round trips.

use proptest::prelude::*;

use super::literal::parse;
use super::repr::{Limited, write_repr};
use super::text;
use super::value::Value;

fn repr(value: &Value<'_>) -> String {
    let mut out = Limited::new(usize::MAX);
    write_repr(value, &mut out);
    String::from_utf8(out.into_text()).unwrap()
}

#[track_caller]
fn check(source: &str, expected: &str) {
    let value = parse(source.as_bytes());
    assert_eq!(
        value.as_ref().map(repr).as_deref(),
        Ok(expected),
        "{source:?}"
    );
}

#[track_caller]
fn refuse(source: &str) {
    assert!(parse(source.as_bytes()).is_err(), "{source:?}");
}

#[test]
fn numbers() {
    check(
        "(0x_1f, 0O17, 0b1_1, 1_000, 00, 0_0)",
        "(31, 15, 3, 1000, 0, 0)",
    );
    check(
        "(.5, 1., 00.5, 01e5, 1_0.5_0, 1e5_0, 1E+5)",
        "(0.5, 1.0, 0.5, 100000.0, 10.5, 1e+50, 100000.0)",
    );
    check(
        "(1e999, -1e999, -0, -0.0, - 1, +1, -(1))",
        "(inf, -inf, 0, -0.0, -1, 1, -1)",
    );
    check(
        "(1+2j, -1-2j, (1)+(2j), 3j, 01j, -0j, 1e400+1j)",
        "((1+2j), (-1-2j), (1+2j), 3j, 1j, (-0-0j), (inf+1j))",
    );
    for source in [
        "01", "0_7", "1__0", "1_", "1_.5", "1._5", "1e", "0x", "0b2", "0o8", "1a", "0x1g", "1jj",
        "--1", "-(-1)", "-True", "~1", "1+2", "1+-2j", "1j+2j", "1+2j+3j", "2**3", "-(1+2j)",
    ] {
        refuse(source);
    }
}

#[test]
fn strings() {
    check(r#"'it\'s' "q" u'' r'\n'"#, r#""it'sq\\n""#);
    check(
        r"'\a\x41\u00e9\U0001f600\101\777\0\8\d'",
        r"'\x07Aé😀Aǿ\x00\\8\\d'",
    );
    check(
        r"(b'\xff\777\u0041\N{x}', rb'\'', B'' Rb'\x')",
        r#"(b'\xff\xff\\u0041\\N{x}', b"\\'", b'\\x')"#,
    );
    check("'''a\r\nb\rc'''", r"'a\nb\nc'");
    check("'a\\\r\nb\\\nc'", "'abc'");
    check(
        "'\u{a0}\u{ad}\u{200b}\u{378}\u{1fae0}é'",
        r"'\xa0\xad\u200b\u0378\U0001fae0é'",
    );
    for source in [
        "'a",
        "'''a''",
        "r'\\'",
        "'a\nb'",
        "'a\rb'",
        "f'x'",
        "ur'x'",
        "bu'x'",
        "b'é'",
        "'a' b'b'",
        r"'\x4'",
        r"'\u12'",
        r"'\U00110000'",
        r"b'\xg'",
        "'\0'",
        "'a' 1",
        "x'a'",
    ] {
        refuse(source);
    }
    assert!(parse(b"'\xed\xa0\x80'").is_err());
}

#[test]
fn containers() {
    check(
        "((), [], {}, set(), (1,), [1, 2,], {1: 2,}, {1,})",
        "((), [], {}, set(), (1,), [1, 2], {1: 2}, {1})",
    );
    check("1, 'a',", "(1, 'a')");
    check(
        "{1: 'a', True: 'b', 1.0: 'c', (1, 2): ..., None: 0}",
        "{1: 'c', (1, 2): Ellipsis, None: 0}",
    );
    check("({1, 1.0, True}, {10, 1, 5})", "({1}, {1, 10, 5})");
    for source in [
        "(,)",
        "[,]",
        "{,}",
        "(1,,)",
        "[1 2]",
        "{1: }",
        "{1: 2, 3}",
        "{1, 2: 3}",
        "{**{}}",
        "[*[]]",
        "{[]}",
        "{{}: 1}",
        "{([],)}",
        "{set()}",
        "set(1)",
        "set",
        "frozenset()",
        "(1)(2)",
        "[1][0]",
        "(1;)",
        "(1",
        "1)",
    ] {
        refuse(source);
    }
}

#[test]
fn blanks_and_comments() {
    for source in [
        "\n1",
        "\x0c1",
        "#c\n1",
        "  \n1",
        " \x0c1",
        "\\\n1",
        " \\\n1",
        "1 ",
        "1\n",
        "1\n\n  \n",
        "1 # c",
        "1\n  # c",
        "1\n \x0c",
        "1\r\r\n",
        "(\n1 # é\n)",
        "(1\\\n)",
    ] {
        assert_eq!(
            parse(source.as_bytes()),
            Ok(Value::Int("1".into())),
            "{source:?}"
        );
    }
    for source in [
        "",
        "\n",
        "#",
        " 1",
        "\t1",
        "1\n  ",
        "1\\\n",
        "1\n2",
        "1;",
        "1\u{a0}",
        "\u{feff}1",
        "(1,\x0b2)",
        "\\ \n1",
    ] {
        refuse(source);
    }
}

#[test]
fn names() {
    check("[None, True, False, ...]", "[None, True, False, Ellipsis]");
    for source in [
        "nan",
        "inf",
        "null",
        "true",
        "Ellipsis",
        "None_",
        "<object>",
        "a.b",
        "Decimal('1')",
        "…",
        "....",
        "é",
    ] {
        refuse(source);
    }
}

#[test]
fn depth_and_digits_are_bounded() {
    let nested =
        |open: &str, close: &str, depth| format!("{}1{}", open.repeat(depth), close.repeat(depth));
    for (open, close) in [("(", ")"), ("[", "]"), ("{1:", "}")] {
        assert!(parse(nested(open, close, 200).as_bytes()).is_ok());
        assert!(parse(nested(open, close, 201).as_bytes()).is_err());
    }
    assert!(parse("(".repeat(1_000_000).as_bytes()).is_err());
    assert!(parse("-".repeat(1_000_000).as_bytes()).is_err());
    assert!(parse("9".repeat(4300).as_bytes()).is_ok());
    assert!(parse("9".repeat(4301).as_bytes()).is_err());
    let long = format!("[0x{}]", "f".repeat(1_000_000));
    assert!(parse(long.as_bytes()).unwrap().has_overlong_int());
}

#[test]
fn equal_keys_take_linear_time() {
    let source = format!("{{{}}}", "1:2,".repeat(60_000));
    check(&source, "{1: 2}");
    let source = format!(
        "{{{}}}",
        (0..20_000).map(|n| format!("{n},")).collect::<String>()
    );
    assert!(matches!(parse(source.as_bytes()), Ok(Value::Set(items)) if items.len() == 20_000));
}

/// Values whose `repr` reads back as themselves.
fn any_value() -> impl Strategy<Value = Value<'static>> {
    let hashable = prop_oneof![
        Just(Value::None),
        any::<bool>().prop_map(Value::Bool),
        any::<i128>().prop_map(|number| Value::Int(number.to_string().into())),
        any::<f64>()
            .prop_filter("finite", |number| number.is_finite())
            .prop_map(Value::Float),
        prop::collection::vec(0..0x11_0000_u32, 0..8).prop_map(|points| {
            let mut string = Vec::new();
            points
                .into_iter()
                .for_each(|point| text::push(&mut string, point));
            Value::Str(string.into())
        }),
        prop::collection::vec(any::<u8>(), 0..8).prop_map(|bytes| Value::Bytes(bytes.into())),
    ];
    hashable.clone().prop_recursive(4, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::Tuple),
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::List),
            hashable.clone().prop_map(|item| Value::Set(vec![item])),
            (hashable.clone(), inner).prop_map(|item| Value::Dict(vec![item])),
        ]
    })
}

proptest! {
    #[test]
    fn a_repr_reads_back(value in any_value()) {
        let text = repr(&value);
        prop_assert_eq!(parse(text.as_bytes()), Ok(value));
    }

    #[test]
    fn a_cut_repr_is_the_start_of_the_whole(value in any_value(), room in 0..40_usize) {
        let mut out = Limited::new(room);
        write_repr(&value, &mut out);
        prop_assert_eq!(out.into_text(), text::cut(repr(&value).as_bytes(), room).to_vec());
    }

    #[test]
    fn any_text_is_harmless(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn any_tokens_are_harmless(source in "[\\(\\)\\[\\]{},:'\"\\\\0-9.eExbjru+\\- \n#]{0,40}") {
        let _ = parse(source.as_bytes());
    }
}
