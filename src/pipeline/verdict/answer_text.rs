//! The texts of an answer: the API's own error, or an excerpt that is safe to log.

use serde_json::Value;

use super::Answer;

/// Characters of a foreign text that a reason shows: one line of a terminal or two.
const MAX_SHOWN: usize = 200;

/// The API's own error: `{"error": {"code", "message", "reason"}}`.
pub(super) struct ApiError {
    pub code: String,
    pub message: String,
    pub reason: String,
}

impl Answer<'_> {
    pub(super) fn json(&self) -> Option<Value> {
        serde_json::from_slice(self.body).ok()
    }

    pub(super) fn error(&self) -> Option<ApiError> {
        let body = self.json()?;
        let error = body.get("error")?.as_object()?;
        let text = |key| match error.get(key) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Number(number)) => number.to_string(),
            _ => String::new(),
        };
        let code = text("code");
        (!code.is_empty()).then(|| ApiError {
            code,
            message: text("message"),
            reason: text("reason"),
        })
    }

    /// An HTML page, by its type or by its first character.
    pub(super) fn is_page(&self) -> bool {
        let typed = self.content_type.is_some_and(|kind| {
            let kind = kind.trim_start().to_ascii_lowercase();
            kind.starts_with("text/html") || kind.starts_with("application/xhtml")
        });
        typed || self.body.trim_ascii_start().starts_with(b"<")
    }

    /// What nginx, Apache and Go say to plain HTTP on a port that expects TLS.
    pub(super) fn wants_https(&self) -> bool {
        const PHRASES: [&str; 3] = [
            "plain HTTP request was sent to HTTPS port",
            "speaking plain HTTP to an SSL-enabled server port",
            "HTTP request to an HTTPS server",
        ];
        let body = String::from_utf8_lossy(self.body);
        PHRASES.iter().any(|phrase| body.contains(phrase))
    }

    /// The status and what came with it, for a person.
    pub(super) fn shown(&self) -> String {
        let text = match self.error() {
            Some(error) => {
                let mut parts = vec![error.code, error.message, error.reason];
                parts.retain(|part| !part.is_empty());
                // Leek often gives the same words twice.
                parts.dedup();
                plain(&parts.join(": "))
            }
            None => plain(&String::from_utf8_lossy(self.body)),
        };
        match text.as_str() {
            "" => format!("{}: empty answer", self.status),
            text => format!("{}: {text}", self.status),
        }
    }
}

/// A foreign text on one line: white space folded, control characters left out, and cut.
pub fn plain(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control());
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    let mut shown = words.join(" ");
    if let Some((cut, _)) = shown.char_indices().nth(MAX_SHOWN) {
        shown.truncate(cut);
        shown.push('…');
    }
    shown
}
