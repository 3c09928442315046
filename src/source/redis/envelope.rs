//! From what a publisher put on a channel to the body of its message: kombu's JSON envelope,
//! base64, compression. Pure.
//!
//! ```text
//!  {"body": "eyJ0eXBl…", "content-type": "application/json", "content-encoding": "utf-8",
//!   "headers": {"compression": …}, "properties": {"body_encoding": "base64", "delivery_tag": …}}
//! ```

use std::borrow::Cow;
use std::collections::{HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use miniz_oxide::inflate::{TINFLStatus, decompress_to_vec_zlib_with_limit};
use serde::Deserialize;
use serde_json::error::Category;

use crate::delivery::{MAX_MESSAGE_BYTES, check_content};

/// Beside the body, base64 or not: content type, headers and properties, with room to spare.
pub const OVERHEAD: usize = 64 * 1024;

/// Python writes padding; whoever does not is understood all the same.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The longest envelope of a body of that length: base64 makes four bytes of three.
pub const fn longest(body: usize) -> usize {
    body.div_ceil(3) * 4 + OVERHEAD
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    body: Option<Text<'a>>,
    #[serde(borrow, rename = "content-type")]
    content_type: Option<Text<'a>>,
    #[serde(borrow, rename = "content-encoding")]
    content_encoding: Option<Text<'a>>,
    #[serde(borrow)]
    headers: Option<Headers<'a>>,
    #[serde(borrow)]
    properties: Option<Properties<'a>>,
}

#[derive(Deserialize)]
struct Headers<'a> {
    #[serde(borrow)]
    compression: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct Properties<'a> {
    #[serde(borrow)]
    body_encoding: Option<Text<'a>>,
    #[serde(borrow)]
    delivery_tag: Option<Text<'a>>,
}

/// A string where it stands, copied only if it holds escapes: serde would copy an optional one always.
#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

fn text<'a>(text: Option<&'a Text<'_>>) -> Option<&'a str> {
    text.map(|text| &*text.0)
}

/// One message out of its envelope.
#[derive(Debug, PartialEq, Eq)]
pub struct Opened<'a> {
    /// `Err` is why it cannot be read, for a human.
    pub body: Result<Vec<u8>, String>,
    pub delivery_tag: Option<Cow<'a, str>>,
}

/// Opens the envelope.
pub fn open(payload: &[u8]) -> Opened<'_> {
    match serde_json::from_slice::<Envelope<'_>>(payload) {
        Ok(envelope) => Opened {
            body: body(&envelope),
            delivery_tag: envelope
                .properties
                .and_then(|properties| properties.delivery_tag)
                .map(|tag| tag.0),
        },
        Err(error) => Opened {
            // Its own words may quote what stands there: an event's content is not for the log.
            body: Err(format!(
                "envelope: {} at column {}: expected kombu's JSON envelope",
                fault(error.classify()),
                error.column()
            )),
            delivery_tag: None,
        },
    }
}

fn fault(category: Category) -> &'static str {
    match category {
        Category::Syntax | Category::Eof | Category::Io => "not JSON",
        Category::Data => "an unexpected value",
    }
}

fn body(envelope: &Envelope<'_>) -> Result<Vec<u8>, String> {
    let headers = envelope.headers.as_ref();
    let properties = envelope.properties.as_ref();
    let compression = text(headers.and_then(|headers| headers.compression.as_ref()));
    let encoding = text(properties.and_then(|properties| properties.body_encoding.as_ref()));
    check_content(
        text(envelope.content_type.as_ref()),
        text(envelope.content_encoding.as_ref()),
    )?;
    let text =
        text(envelope.body.as_ref()).ok_or("envelope: no body: expected kombu's JSON envelope")?;
    let bytes = match encoding {
        None | Some("") => text.as_bytes().to_vec(),
        Some("base64") => BASE64
            .decode(text)
            .map_err(|error| format!("body: not base64: {error}"))?,
        Some(other) => return Err(format!("body encoding: {other:?}: expected base64")),
    };
    decompressed(bytes, compression)
}

/// kombu calls its zlib compression gzip. The others would each bring a library for what no Celery
/// sends: its event dispatcher compresses nothing.
fn decompressed(bytes: Vec<u8>, compression: Option<&str>) -> Result<Vec<u8>, String> {
    match compression {
        None | Some("") => Ok(bytes),
        Some("application/x-gzip" | "gzip" | "zlib") => inflated(&bytes),
        Some(other) => Err(format!(
            "compression: {other:?}: expected application/x-gzip (zlib) or none"
        )),
    }
}

fn inflated(bytes: &[u8]) -> Result<Vec<u8>, String> {
    decompress_to_vec_zlib_with_limit(bytes, MAX_MESSAGE_BYTES).map_err(|error| {
        match error.status {
            TINFLStatus::HasMoreOutput => {
                format!("body: decompressed over {MAX_MESSAGE_BYTES} bytes: expected at most that")
            }
            _ => "body: not the zlib data that its compression header names".to_owned(),
        }
    })
}

/// Newer kombu may publish an event twice over sentinels, on both spellings of a channel's name and
/// at once: a short memory is enough to tell.
const REMEMBERED: usize = 8192;

/// The delivery tags seen lately. It keeps 128 bits of hash for each, not the text.
#[derive(Debug, Default)]
pub struct RecentTags {
    known: HashSet<(u64, u64)>,
    order: VecDeque<(u64, u64)>,
}

impl RecentTags {
    /// True the first time, false for a repeat.
    pub fn is_new(&mut self, tag: &str) -> bool {
        let key = (hash(0, tag), hash(1, tag));
        if !self.known.insert(key) {
            return false;
        }
        self.order.push_back(key);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }
}

fn hash(salt: u8, text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (salt, text).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    const JSON: &str = "application/json";

    fn envelope(body: &str, headers: &Value, encoding: &Value) -> Value {
        json!({
            "body": body, "content-encoding": "utf-8", "content-type": JSON, "headers": headers,
            "properties": {"body_encoding": encoding, "delivery_tag": "t-1", "priority": 0},
        })
    }

    fn opened(envelope: &Value) -> Result<String, String> {
        let text = envelope.to_string();
        let body = open(text.as_bytes()).body?;
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    fn zlib(text: &[u8]) -> String {
        BASE64.encode(miniz_oxide::deflate::compress_to_vec_zlib(text, 6))
    }

    #[test]
    fn bodies_come_in_base64_or_plain() {
        let event = r#"{"type": "task-sent", "name": "é"}"#;
        let base64 = BASE64.encode(event);
        let body = |text, encoding| opened(&envelope(text, &json!({}), &encoding));
        assert_eq!(body(&base64, json!("base64")).as_deref(), Ok(event));
        let unpadded = base64.trim_end_matches('=');
        assert_eq!(body(unpadded, json!("base64")).as_deref(), Ok(event));
        assert_eq!(body(event, json!(null)).as_deref(), Ok(event));
        let bare = json!({"body": event}).to_string();
        assert_eq!(open(bare.as_bytes()).body.unwrap(), event.as_bytes());
    }

    #[test]
    fn zlib_is_inflated_up_to_the_limit() {
        let headers = json!({"hostname": "w@h", "compression": "application/x-gzip"});
        let body = |text: &str| opened(&envelope(text, &headers, &json!("base64")));
        assert_eq!(body(&zlib(b"[{}]")).as_deref(), Ok("[{}]"));
        let bomb = zlib(&vec![b' '; MAX_MESSAGE_BYTES + 1]);
        assert!(body(&bomb).unwrap_err().contains("over 16777216 bytes"));
        assert!(body("AAAA").unwrap_err().contains("not the zlib data"));
    }

    #[test]
    fn the_rest_is_named() {
        for (change, reason) in [
            (
                json!({"content-type": "application/x-python-serialize"}),
                "event_serializer",
            ),
            (json!({"content-encoding": "utf-16"}), "content encoding"),
            (json!({"body": null}), "no body"),
            (json!({"body": "%%%"}), "not base64"),
            (json!({"body": 7}), "unexpected value"),
            (json!({"properties": {"body_encoding": "rot13"}}), "rot13"),
            (json!({"headers": {"compression": "zstd"}}), "zstd"),
            (json!({"headers": "hunter2"}), "unexpected value"),
        ] {
            let mut envelope = envelope("e30=", &json!({}), &json!("base64"));
            for (key, value) in change.as_object().unwrap() {
                envelope[key] = value.clone();
            }
            let found = opened(&envelope).unwrap_err();
            assert!(found.contains(reason), "{reason}: {found}");
            assert!(!found.contains("hunter2"), "{found}");
        }
        for payload in [&b""[..], b"hello", b"7", b"null", b"[]", b"\xff"] {
            let found = open(payload).body.unwrap_err();
            assert!(found.contains("expected kombu's JSON envelope"), "{found}");
        }
    }

    #[test]
    fn a_repeat_is_told_for_a_while() {
        let mut tags = RecentTags::default();
        assert!(tags.is_new("a"));
        assert!(!tags.is_new("a"));
        for number in 0..REMEMBERED {
            assert!(tags.is_new(&number.to_string()));
        }
        assert_eq!(tags.known.len(), REMEMBERED);
        assert!(tags.is_new("a"), "forgotten by now");
    }

    proptest! {
        #[test]
        fn no_payload_panics(payload in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = open(&payload);
        }

        #[test]
        fn no_body_panics(body in "[A-Za-z0-9+/=\\-]{0,80}", compressed in any::<bool>()) {
            let headers = if compressed { json!({"compression": "gzip"}) } else { json!({}) };
            let _ = opened(&envelope(&body, &headers, &json!("base64")));
        }
    }
}
