//! Why no answer came, in words for a technician: what happened, and where to look.
//!
//! ureq's own texts are used only where they cannot carry a secret.

use std::any::Any;
use std::io::{self, ErrorKind};

use ureq::{Error, Timeout};

use crate::clock;
use crate::pipeline::verdict::plain;
use crate::tls;

/// The subscription's key for what TLS needs.
const TLS_KEY: &str = "api_tls";

/// The reason of a request that got no answer. `proxy` is the variable that names the proxy on the
/// way: what fails in front of it is not api_url's fault.
pub(super) fn reason(error: &Error, proxy: Option<&str>) -> String {
    let place = proxy.unwrap_or("api_url");
    match error {
        Error::Io(error) => io_reason(error, place),
        Error::Timeout(phase) => timeout_reason(*phase, place),
        Error::HostNotFound => not_resolved(place),
        Error::ConnectionFailed => "not connected".to_owned(),
        // Our own words, of the time of the handshake.
        Error::Tls(text) => format!("tls: {text}: does the port in api_url speak https?"),
        Error::ConnectProxyFailed(_) => proxy_reason(refused_by_proxy(error), place),
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

/// The status by which a proxy refused to connect to the API.
pub(super) fn refused_by_proxy(error: &Error) -> Option<u16> {
    let Error::ConnectProxyFailed(text) = error else {
        return None;
    };
    let mut words = text.split(|c: char| !c.is_ascii_digit());
    words.find_map(|word| word.parse().ok())
}

fn proxy_reason(status: Option<u16>, variable: &str) -> String {
    let Some(status) = status else {
        return format!("the proxy in {variable} did not answer as a proxy: check host and port");
    };
    let mend = match status {
        // tinyproxy says 401 of a login that is wrong.
        401 | 407 => format!(
            "it wants a user and a password: write both into {variable} as \
             http://USER:PASSWORD@HOST:PORT, and check them"
        ),
        403 | 405 => "it must allow CONNECT to the host and port in api_url".to_owned(),
        500..=599 => "it cannot reach the host and port in api_url".to_owned(),
        _ => format!("check {variable}"),
    };
    format!("the proxy refused: {status}: {mend}")
}

fn not_resolved(place: &str) -> String {
    format!("name not resolved: check the host in {place} and the gateway's dns")
}

fn io_reason(error: &io::Error, place: &str) -> String {
    if let Some(cause) = tls::cause(error) {
        return tls::reason(cause, TLS_KEY, clock::wall_ms());
    }
    // std gives failed look-ups no kind of their own.
    if error.to_string().starts_with("failed to lookup address") {
        return not_resolved(place);
    }
    let text = match error.kind() {
        ErrorKind::ConnectionRefused => {
            return format!(
                "connection refused: nothing listens at {place}, or a firewall rejects it"
            );
        }
        ErrorKind::UnexpectedEof
        | ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::BrokenPipe => {
            "connection closed before the answer was complete: check that api_url is the Leek API's; if only large batches fail, a proxy limits their size"
        }
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => {
            return format!("no route to the host in {place}: check the gateway's network");
        }
        ErrorKind::TimedOut | ErrorKind::WouldBlock => "timed out",
        _ => return plain(&error.to_string()),
    };
    text.to_owned()
}

fn timeout_reason(phase: Timeout, place: &str) -> String {
    let text = match phase {
        Timeout::Resolve => {
            return format!("timed out resolving the name in {place}: is the DNS answering?");
        }
        Timeout::Connect => {
            return format!(
                "timed out connecting: check address and port in {place}, and firewalls"
            );
        }
        Timeout::SendRequest | Timeout::SendBody => "timed out sending the request",
        Timeout::RecvResponse | Timeout::RecvBody => "timed out waiting for the answer",
        _ => "timed out before the answer was complete",
    };
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_url_is_quoted() {
        let reason = reason(&Error::BadUri("http://user:hunter2@".into()), None);
        assert!(!reason.contains("hunter2"), "{reason}");
    }

    #[test]
    fn a_missing_name_is_told_from_a_missing_listener() {
        let lookup =
            io::Error::other("failed to lookup address information: Name or service not known");
        assert!(reason(&Error::Io(lookup), None).starts_with("name not resolved"));
        let refused = io::Error::from(ErrorKind::ConnectionRefused);
        assert!(reason(&Error::Io(refused), None).starts_with("connection refused"));
    }

    #[test]
    fn a_proxy_that_refuses_is_told_from_the_api() {
        let refused = |status: u16| {
            let text = format!("proxy server responded {status}/{status}");
            reason(&Error::ConnectProxyFailed(text), Some("HTTPS_PROXY"))
        };
        for (status, words) in [
            (407, "USER:PASSWORD"),
            (403, "allow CONNECT"),
            (503, "cannot reach"),
        ] {
            let text = refused(status);
            assert!(text.contains(words), "{text}");
            assert!(text.contains(&status.to_string()), "{text}");
        }
        let dead = io::Error::from(ErrorKind::ConnectionRefused);
        let text = reason(&Error::Io(dead), Some("http_proxy"));
        assert!(text.contains("at http_proxy"), "{text}");
    }

    #[test]
    fn a_panic_without_words_has_a_reason_too() {
        assert!(panicked(&7_u8).ends_with("no message"));
    }
}
