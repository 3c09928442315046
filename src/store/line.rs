//! One line of a quarantine file: why a document was given up, and the document as it was posted.

use crate::json::read::{self, Kind};
use crate::json::scan::{self, Dialect};
use crate::pipeline::quarantine::Refused;

/// What stands in a line besides the reasons.
#[derive(Debug, PartialEq, Eq)]
pub struct Line<'a> {
    pub subscription: String,
    /// As it stands between its quotes.
    pub id: &'a [u8],
    /// JSON text.
    pub document: &'a [u8],
}

/// Appends a line, with a newline only at its end: in JSON, those between values mean nothing.
pub fn write(line: &mut Vec<u8>, stamp: &str, subscription: &str, refused: &Refused) {
    let members = [
        ("time", stamp),
        ("subscription", subscription),
        ("reason", refused.cause.as_str()),
        ("answer", &refused.answer),
    ];
    line.push(b'{');
    for (key, text) in members {
        let text = serde_json::Value::from(text);
        line.extend_from_slice(format!("\"{key}\": {text}, ").as_bytes());
    }
    line.extend_from_slice(b"\"document\": ");
    let document = refused.body.document(refused.document);
    line.extend(document.iter().map(|&byte| match byte {
        b'\n' | b'\r' => b' ',
        _ => byte,
    }));
    line.extend_from_slice(b"}\n");
}

/// Reads a line; `Err` says what was expected of it.
pub fn read(line: &[u8]) -> Result<Line<'_>, String> {
    scan::check(line, Dialect::Python).map_err(|error| format!("no JSON: {error}"))?;
    let start = read::skip_blanks(line, 0);
    let member = |wanted: &str| {
        let mut members = read::members(&line[start..]);
        let (_, value) = members.find(|(key, _)| *key == wanted.as_bytes())?;
        Some(value)
    };
    let subscription = member("subscription").filter(|value| read::kind(value) == Kind::String);
    let document = member("document").and_then(|document| Some((id(document)?, document)));
    let (Some(subscription), Some((id, document))) = (subscription, document) else {
        return Err("expected a line of a quarantine file, with subscription and document".into());
    };
    let subscription = read::decode(read::unquoted(subscription));
    Ok(Line {
        subscription: String::from_utf8_lossy(&subscription).into_owned(),
        id,
        document,
    })
}

/// Every document begins with its id; the API names it by that.
fn id(document: &[u8]) -> Option<&[u8]> {
    let (key, value) = read::members(document).next()?;
    let is_id = key == b"id" && read::kind(value) == Kind::String;
    is_id.then(|| read::unquoted(value))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::document::Body;
    use crate::pipeline::quarantine::Cause;

    #[test]
    fn a_line_tells_when_whose_why_and_what() {
        let document = "{\"id\": \"a\\nb\",\n\r\"loadavg\": [1.5,\n2]}";
        let refused = Refused {
            body: Arc::new(Body::of([document.as_bytes()])),
            document: 0,
            cause: Cause::Alone,
            answer: "422: \"no\"".into(),
        };
        let mut line = Vec::new();
        write(&mut line, "2023-11-14T22:13:20.123Z", "shop-qa", &refused);
        let text = String::from_utf8(line).unwrap();
        assert_eq!(
            text,
            "{\"time\": \"2023-11-14T22:13:20.123Z\", \"subscription\": \"shop-qa\", \
             \"reason\": \"refused alone\", \"answer\": \"422: \\\"no\\\"\", \
             \"document\": {\"id\": \"a\\nb\",  \"loadavg\": [1.5, 2]}}\n"
        );
        let read = read(text.as_bytes()).unwrap();
        assert_eq!((&*read.subscription, read.id), ("shop-qa", &b"a\\nb"[..]));
        assert_eq!(
            read.document,
            b"{\"id\": \"a\\nb\",  \"loadavg\": [1.5, 2]}"
        );
    }

    #[test]
    fn what_is_no_such_line_is_told() {
        for text in [
            r#"{"subscription": "shop-qa"}"#,
            r#"{"subscription": 5, "document": {"id": "a"}}"#,
            r#"{"subscription": "shop-qa", "document": {"state": "a", "id": "a"}}"#,
            r#"{"subscription": "shop-qa", "document": {"id": 5}}"#,
            r#"{"subscription": "shop-qa", "document": ["id"]}"#,
            "[]",
            "7",
        ] {
            let error = read(text.as_bytes()).unwrap_err();
            assert!(
                error.starts_with("expected a line of a quarantine file"),
                "{text}: {error}"
            );
        }
        for text in ["", r#"{"subscription": "sh"#, "\u{0}\u{0}"] {
            let error = read(text.as_bytes()).unwrap_err();
            assert!(error.starts_with("no JSON: byte "), "{text}: {error}");
        }
    }
}
