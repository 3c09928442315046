//! Why no answer came, in words for a technician: what happened, and where to look.
//!
//! ureq's own texts are used only where they cannot carry a secret.

use std::any::Any;
use std::io::{self, ErrorKind};

use ureq::{Error, Timeout};

use super::Place;
use crate::clock;
use crate::pipeline::verdict::plain;
use crate::tls;

/// The reason of a request that got no answer.
pub fn reason(error: &Error, at: &Place) -> String {
    let place = at.proxy.unwrap_or(at.address);
    let address = at.address;
    match error {
        Error::Io(error) => io_reason(error, at),
        Error::Timeout(phase) => timeout_reason(*phase, place),
        Error::HostNotFound => not_resolved(place),
        Error::ConnectionFailed => "not connected".to_owned(),
        // Our own words, of the time of the handshake.
        Error::Tls(text) => format!("tls: {text}: does the port in {address} speak https?"),
        Error::ConnectProxyFailed(_) => proxy_reason(refused_by_proxy(error), at),
        Error::Protocol(_) => {
            format!("the answer is not http: check the port in {address}, and whether it is https")
        }
        Error::LargeResponseHeader(..) => "the answer's headers are too long".to_owned(),
        // May quote the URL, which may hold credentials.
        Error::BadUri(_) => format!("{address}: expected an http or https url with a host"),
        other => plain(&other.to_string()),
    }
}

/// The reason of a request that panicked.
pub fn panicked(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    format!("a bug: the request panicked: {}", plain(text))
}

/// The status by which a proxy refused to connect to the API.
pub fn refused_by_proxy(error: &Error) -> Option<u16> {
    let Error::ConnectProxyFailed(text) = error else {
        return None;
    };
    let mut words = text.split(|c: char| !c.is_ascii_digit());
    words.find_map(|word| word.parse().ok())
}

fn proxy_reason(status: Option<u16>, at: &Place) -> String {
    let (variable, address) = (at.proxy.unwrap_or_default(), at.address);
    let Some(status) = status else {
        return format!("the proxy in {variable} did not answer as a proxy: check host and port");
    };
    let mend = match status {
        // tinyproxy says 401 of a login that is wrong.
        401 | 407 => format!(
            "it wants a user and a password: write both into {variable} as \
             http://USER:PASSWORD@HOST:PORT, and check them"
        ),
        403 | 405 => format!("it must allow CONNECT to the host and port in {address}"),
        500..=599 => format!("it cannot reach the host and port in {address}"),
        _ => format!("check {variable}"),
    };
    format!("the proxy refused: {status}: {mend}")
}

fn not_resolved(place: &str) -> String {
    format!("name not resolved: check the host in {place} and the gateway's dns")
}

fn io_reason(error: &io::Error, at: &Place) -> String {
    let place = at.proxy.unwrap_or(at.address);
    if let Some(cause) = tls::cause(error) {
        return tls::reason(cause, at.tls, clock::wall_ms());
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
            return format!(
                "connection closed before the answer was complete: {}",
                at.closed
            );
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

    const DIRECT: Place = Place {
        address: "api_url",
        tls: "api_tls",
        closed: "check it",
        proxy: None,
    };

    fn by(proxy: &'static str) -> Place {
        Place {
            proxy: Some(proxy),
            ..DIRECT
        }
    }

    #[test]
    fn no_url_is_quoted() {
        let reason = reason(&Error::BadUri("http://user:hunter2@".into()), &DIRECT);
        assert!(!reason.contains("hunter2"), "{reason}");
    }

    #[test]
    fn a_missing_name_is_told_from_a_missing_listener() {
        let lookup =
            io::Error::other("failed to lookup address information: Name or service not known");
        assert!(reason(&Error::Io(lookup), &DIRECT).starts_with("name not resolved"));
        let refused = io::Error::from(ErrorKind::ConnectionRefused);
        assert!(reason(&Error::Io(refused), &DIRECT).starts_with("connection refused"));
    }

    #[test]
    fn a_proxy_that_refuses_is_told_from_the_api() {
        let refused = |status: u16| {
            let text = format!("proxy server responded {status}/{status}");
            reason(&Error::ConnectProxyFailed(text), &by("HTTPS_PROXY"))
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
        let text = reason(&Error::Io(dead), &by("http_proxy"));
        assert!(text.contains("at http_proxy"), "{text}");
    }

    #[test]
    fn a_panic_without_words_has_a_reason_too() {
        assert!(panicked(&7_u8).ends_with("no message"));
    }
}
