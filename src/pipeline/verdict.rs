//! What an answer of the Leek API means for the batch that was posted.
//!
//! Pure: an answer in, a verdict out. It decides nothing about retries, halving or quarantine; the
//! pipeline does, from the verdict alone. Answers are untrusted (any box on the way may have
//! written them), so every text that reaches a log is short and free of control characters.

use std::time::Duration;

use serde_json::Value;

mod answer_text;
mod retry_after;

pub use answer_text::plain;

/// Bytes of an answer's body that are looked at. The API names each refused document in some 250
/// bytes, so this names about 250 of them; a longer list is cut, reads as no list, and the batch is
/// halved until its list fits.
pub const MAX_ANSWER: usize = 64 * 1024;

/// One HTTP answer, already read.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    pub status: u16,
    pub retry_after: Option<&'a str>,
    /// When it was sent, by the sender's own clock.
    pub date: Option<&'a str>,
    pub content_type: Option<&'a str>,
    /// At most [`MAX_ANSWER`] bytes.
    pub body: &'a [u8],
}

/// What became of a batch, or of a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Every document is stored.
    Stored,
    /// The named documents were refused, all others are stored.
    Partial { refused: Vec<RefusedDocument> },
    /// The batch as a whole was refused: halve it.
    Refused { status: u16, reason: String },
    /// Key, application, headers or address are wrong: hold everything; `reason` says what to mend.
    Misconfigured { status: u16, reason: String },
    /// The API is not well, or was not reached: hold and try again.
    Unwell {
        /// `None` where no answer came.
        status: Option<u16>,
        reason: String,
        /// What the API asked for, at most an hour.
        retry_after: Option<Duration>,
    },
    /// Something else answered: a captive portal, a proxy.
    NotLeek { status: u16, reason: String },
}

impl Verdict {
    /// Why nothing, or not everything, was stored.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Verdict::Refused { reason, .. }
            | Verdict::Misconfigured { reason, .. }
            | Verdict::Unwell { reason, .. }
            | Verdict::NotLeek { reason, .. } => Some(reason),
            Verdict::Stored | Verdict::Partial { .. } => None,
        }
    }
}

/// A document that the API did not take, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedDocument {
    /// As the API wrote it; it is to be looked up, not to be believed.
    pub id: String,
    pub reason: String,
}

/// Classifies the answer to a posted batch. `now_wall_ms` is the wall clock, for a `Retry-After`
/// that names a date in an answer without one of its own.
pub fn classify(answer: &Answer<'_>, now_wall_ms: i64) -> Verdict {
    match answer.status {
        201 => Verdict::Stored,
        400 => bad_request(answer, now_wall_ms),
        409 | 413 | 422 => refused(answer),
        401 | 403 | 404 => misconfigured(answer),
        408 | 425 | 429 | 500..=599 => unwell(answer, now_wall_ms),
        _ => not_leek(answer),
    }
}

/// Classifies the answer to a probe (`GET`), which must be 200. A page in its place is a captive
/// portal's: the API answers JSON.
pub fn classify_probe(answer: &Answer<'_>, now_wall_ms: i64) -> Result<(), Verdict> {
    match answer.status {
        200 if answer.is_page() => Err(not_leek(answer)),
        200 => Ok(()),
        201 => Err(not_leek(answer)),
        _ => Err(classify(answer, now_wall_ms)),
    }
}

fn bad_request(answer: &Answer<'_>, now_wall_ms: i64) -> Verdict {
    let body = answer.json();
    if let Some(verdict) = body
        .as_ref()
        .and_then(|body| by_document(body, answer, now_wall_ms))
    {
        return verdict;
    }
    let headers_missing = answer.error().is_some_and(|error| error.code == "400001");
    if headers_missing || answer.wants_https() {
        return misconfigured(answer);
    }
    refused(answer)
}

/// The refused documents, if the answer names every one of them.
fn by_document(body: &Value, answer: &Answer<'_>, now_wall_ms: i64) -> Option<Verdict> {
    let named: Vec<Named> = body
        .get("errors")?
        .as_array()?
        .iter()
        .filter_map(named)
        .collect();
    let failed = body.get("failed").and_then(Value::as_u64).unwrap_or(0);
    // A document that failed without being named would be lost: let the halving find it.
    if named.is_empty() || (named.len() as u64) < failed {
        return None;
    }
    // The index was too busy for a document that may be perfectly good: the whole batch again.
    // Storing a document twice changes nothing, since its id is its key.
    if named.iter().any(|one| matches!(one.status, 429 | 503)) {
        return Some(unwell(answer, now_wall_ms));
    }
    let refused = named.into_iter().map(|one| one.document).collect();
    Some(Verdict::Partial { refused })
}

struct Named {
    status: u64,
    document: RefusedDocument,
}

/// One entry of `errors`: `{"update": {"_id", "status", "error"}}`, whatever the operation's name.
fn named(entry: &Value) -> Option<Named> {
    let item = entry
        .as_object()?
        .values()
        .find(|item| item.get("_id").is_some())?;
    let id = item.get("_id")?.as_str()?.to_owned();
    let status = item.get("status").and_then(Value::as_u64).unwrap_or(0);
    let reason = format!("{status}: {}", item_error(item.get("error")));
    Some(Named {
        status,
        document: RefusedDocument { id, reason },
    })
}

/// `{"type", "reason"}` of the search backend, a bare string, or whatever came.
fn item_error(error: Option<&Value>) -> String {
    let text = |key| {
        error
            .and_then(|error| error.get(key))
            .and_then(Value::as_str)
    };
    match (text("type"), text("reason"), error) {
        (Some(kind), Some(reason), _) => plain(&format!("{kind}: {reason}")),
        (None, Some(one), _) | (Some(one), None, _) => plain(one),
        (None, None, Some(Value::String(one))) => plain(one),
        (None, None, Some(other)) => plain(&other.to_string()),
        (None, None, None) => "no reason given".to_owned(),
    }
}

fn refused(answer: &Answer<'_>) -> Verdict {
    Verdict::Refused {
        status: answer.status,
        reason: answer.shown(),
    }
}

fn misconfigured(answer: &Answer<'_>) -> Verdict {
    let mend = match answer.status {
        400 if answer.wants_https() => {
            "the server speaks https there: api_url must begin with https://"
        }
        400 => "the API misses headers: a proxy on the way strips those that begin with x-leek-",
        401 if answer.is_page() => {
            "this is not the Leek API's own 401: check user and password of the proxy on the way, and app_key"
        }
        401 => "expected the application's key: check app_key",
        403 => {
            "access refused: check app_key, and what a proxy or firewall before the API lets pass"
        }
        _ if answer.error().is_some() => {
            "the application does not exist: check org_name and app_name, or create it in Leek"
        }
        _ => "this is not the Leek API's own 404: check the path prefix in api_url",
    };
    Verdict::Misconfigured {
        status: answer.status,
        reason: format!("{}; {mend}", answer.shown()),
    }
}

fn unwell(answer: &Answer<'_>, now_wall_ms: i64) -> Verdict {
    Verdict::Unwell {
        status: Some(answer.status),
        reason: answer.shown(),
        retry_after: answer
            .retry_after
            .and_then(|value| retry_after::parse(value, answer.date, now_wall_ms)),
    }
}

fn not_leek(answer: &Answer<'_>) -> Verdict {
    let mend = match answer.status {
        300..=399 => {
            "redirects are not followed: api_url must be the API's final address, and no captive portal in between"
        }
        407 => {
            "a proxy on the way wants a user and a password: write both into HTTP_PROXY as http://USER:PASSWORD@HOST:PORT, and check them"
        }
        _ if answer.is_page() => {
            "a web page instead of the Leek API: a captive portal, a proxy, or a wrong api_url"
        }
        _ => "not an answer of the Leek API: check api_url",
    };
    Verdict::NotLeek {
        status: answer.status,
        reason: format!("{}; {mend}", answer.shown()),
    }
}

#[cfg(test)]
mod tests;
