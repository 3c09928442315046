//! Why no answer came, in words for a technician: what happened, and where to look.
//!
//! ureq's own texts are used only where they cannot carry a secret.

use std::any::Any;
use std::io::{self, ErrorKind};

use ureq::{Error, Timeout};

use crate::pipeline::verdict::plain;

/// The reason of a request that got no answer.
pub(super) fn reason(error: &Error) -> String {
    match error {
        Error::Io(error) => io_reason(error),
        Error::Timeout(phase) => timeout_reason(*phase).to_owned(),
        Error::HostNotFound => NOT_RESOLVED.to_owned(),
        Error::ConnectionFailed => "not connected".to_owned(),
        Error::Rustls(error) => tls_reason(&error.to_string()),
        Error::Tls(error) => tls_reason(error),
        Error::Protocol(_) => {
            "the answer is not http: check the port in api_url, and whether it is https".to_owned()
        }
        Error::LargeResponseHeader(..) => "the answer's headers are too long".to_owned(),
        // May quote the URL, which may hold credentials.
        Error::BadUri(_) => "api_url: expected an http or https url with a host".to_owned(),
        other => plain(&other.to_string()),
    }
}

/// The reason of a request that panicked.
pub(super) fn panicked(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    format!("a bug: the request panicked: {}", plain(text))
}

const NOT_RESOLVED: &str = "name not resolved: check the host in api_url and the gateway's dns";

fn io_reason(error: &io::Error) -> String {
    // std gives failed look-ups no kind of their own.
    if error.to_string().starts_with("failed to lookup address") {
        return NOT_RESOLVED.to_owned();
    }
    let text = match error.kind() {
        ErrorKind::ConnectionRefused => {
            "connection refused: nothing listens at api_url, or a firewall rejects it"
        }
        ErrorKind::UnexpectedEof
        | ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::BrokenPipe => {
            "connection closed before the answer was complete: if only large batches fail, a proxy limits their size"
        }
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => {
            "no route to the host in api_url: check the gateway's network"
        }
        ErrorKind::TimedOut | ErrorKind::WouldBlock => "timed out",
        // rustls wraps its errors so.
        ErrorKind::InvalidData => return tls_reason(&error.to_string()),
        _ => return plain(&error.to_string()),
    };
    text.to_owned()
}

fn timeout_reason(phase: Timeout) -> &'static str {
    match phase {
        Timeout::Resolve => "timed out resolving the name in api_url",
        Timeout::Connect => "timed out connecting: check address, port and firewall",
        Timeout::SendRequest | Timeout::SendBody => "timed out sending the request",
        Timeout::RecvResponse | Timeout::RecvBody => "timed out waiting for the answer",
        _ => "timed out before the answer was complete",
    }
}

fn tls_reason(error: &str) -> String {
    let hint = if error.contains("Expired")
        || error.contains("NotValidYet")
        || error.contains("expired")
        || error.contains("not valid yet")
    {
        "; check the gateway's clock"
    } else if error.contains("UnknownIssuer") {
        "; the api's certificate is not from a known authority"
    } else if error.contains("InvalidContentType") {
        "; the port in api_url may speak plain http"
    } else {
        ""
    };
    format!("tls: {}{hint}", plain(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_url_is_quoted() {
        let reason = reason(&Error::BadUri("http://user:hunter2@".into()));
        assert!(!reason.contains("hunter2"), "{reason}");
    }

    #[test]
    fn a_missing_name_is_told_from_a_missing_listener() {
        let lookup =
            io::Error::other("failed to lookup address information: Name or service not known");
        assert!(reason(&Error::Io(lookup)).starts_with("name not resolved"));
        let refused = io::Error::from(ErrorKind::ConnectionRefused);
        assert!(reason(&Error::Io(refused)).starts_with("connection refused"));
    }

    #[test]
    fn a_panic_without_words_has_a_reason_too() {
        assert!(panicked(&7_u8).ends_with("no message"));
    }
}
