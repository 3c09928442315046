//! The Leek API's events endpoint, as far as an agent can tell. Pure: a request in, a batch or an
//! answer out.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use crate::http::{Request, Response};
use crate::pipeline::verdict::plain;
use crate::secret::Secret;

/// The endpoint's path; a prefix before it is as good, as behind a proxy.
const ENDPOINT: &str = "/v1/events/process";

/// What every agent sends along with its documents.
const HEADERS: [&str; 6] = [
    "x-requested-with",
    "x-agent-version",
    "x-leek-org-name",
    "x-leek-app-name",
    "x-leek-app-key",
    "x-leek-app-env",
];

/// Documents that passed every check.
pub(super) struct Batch {
    /// One document a line, as they were sent.
    pub lines: Vec<u8>,
    pub documents: usize,
    /// `app_name-app_env`.
    pub app: String,
}

/// All that is asked of a document here; the rest passes unread.
#[derive(Deserialize)]
struct Identified<'a> {
    #[serde(borrow, rename = "id")]
    _id: Cow<'a, str>,
}

/// The batch in `request`, or the answer to what is none.
pub(super) fn take(request: &Request, app_key: Option<&Secret>) -> Result<Batch, Response> {
    if !request.path().ends_with(ENDPOINT) {
        let text = format!("nothing here: expected {ENDPOINT}, with or without a prefix");
        return Err(Response::text(404, &text));
    }
    match request.method.as_str() {
        "GET" | "HEAD" => Err(Response::json(200, "\"leek-agent sink\"")),
        "POST" => {
            headers_are_there(request)?;
            key_is_right(request, app_key)?;
            batch(request)
        }
        _ => Err(Response::text(405, "expected GET or POST").with_header("Allow", "GET, POST")),
    }
}

/// Every document was written out.
pub(super) fn stored(documents: usize) -> Response {
    Response::json(201, json!({ "success": documents }).to_string())
}

/// The documents could not be written out.
pub(super) fn unavailable() -> Response {
    error(
        503,
        "503001",
        "Service temporary unavailable",
        "The sink cannot write",
    )
}

fn headers_are_there(request: &Request) -> Result<(), Response> {
    let missing = |name: &&str| request.header(name).is_none_or(str::is_empty);
    let mut lacking: Vec<&str> = HEADERS.into_iter().filter(missing).collect();
    if lacking.is_empty() && request.header("x-requested-with") != Some("leek-agent") {
        lacking.push("x-requested-with: leek-agent");
    }
    if lacking.is_empty() {
        return Ok(());
    }
    let reason = format!("Missing headers: {}", lacking.join(", "));
    Err(error(400, "400001", "Invalid request", &reason))
}

fn key_is_right(request: &Request, app_key: Option<&Secret>) -> Result<(), Response> {
    match app_key {
        Some(key) if request.header("x-leek-app-key") != Some(key.expose()) => Err(error(
            401,
            "401001",
            "Not Authorized",
            "Application API Key is wrong",
        )),
        _ => Ok(()),
    }
}

fn batch(request: &Request) -> Result<Batch, Response> {
    let kind = request.header("content-type").unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/json") {
        return Err(invalid("Content-Type: expected application/json"));
    }
    let documents: Vec<&RawValue> = serde_json::from_slice(&request.body)
        .map_err(|error| invalid(&format!("body: {error}: expected a json list")))?;
    let mut lines = Vec::with_capacity(request.body.len());
    for (index, document) in documents.iter().enumerate() {
        identified(document).map_err(|error| invalid(&format!("documents[{index}]: {error}")))?;
        // A line end inside a JSON text is white space between tokens.
        lines.extend(
            document
                .get()
                .bytes()
                .filter(|byte| !matches!(byte, b'\n' | b'\r')),
        );
        lines.push(b'\n');
    }
    Ok(Batch {
        lines,
        documents: documents.len(),
        app: app(request),
    })
}

/// Checks that a document is an object with a string `id`.
fn identified(document: &RawValue) -> Result<(), String> {
    if !document.get().starts_with('{') {
        return Err("expected an object".to_owned());
    }
    match serde_json::from_str::<Identified<'_>>(document.get()) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("expected a string id: {error}")),
    }
}

fn app(request: &Request) -> String {
    let part = |name| request.header(name).unwrap_or_default();
    plain(&format!(
        "{}-{}",
        part("x-leek-app-name"),
        part("x-leek-app-env")
    ))
}

fn invalid(reason: &str) -> Response {
    error(400, "400002", "Invalid request", &plain(reason))
}

fn error(status: u16, code: &str, message: &str, reason: &str) -> Response {
    let error = json!({ "error": { "code": code, "message": message, "reason": reason } });
    Response::json(status, error.to_string())
}
