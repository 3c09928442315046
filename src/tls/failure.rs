//! Why a handshake failed, in a technician's words: what was found, what to do about it.

use std::io;

use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, Error, InvalidMessage};

use crate::logging::timestamp::rfc3339;
use crate::release::RELEASED_MS;

/// Names of a certificate that are shown.
const NAMES_SHOWN: usize = 4;

/// The TLS error inside an I/O error, where there is one.
pub fn cause(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

/// Why a handshake failed. `key` is where its settings stand, `tls` or `api_tls`; `now_ms` is the
/// machine's clock.
pub fn reason(error: &Error, key: &str, now_ms: i64) -> String {
    let text = match error {
        Error::InvalidCertificate(certificate) => about_certificate(certificate, key, now_ms),
        Error::AlertReceived(alert) => about_alert(*alert, key),
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "the other side does not speak TLS on this port: check port and scheme".to_owned()
        }
        Error::PeerIncompatible(_) => {
            format!("no common version or cipher, TLS 1.2 or newer is expected: {error}")
        }
        other => other.to_string(),
    };
    format!("tls: {text}")
}

fn about_certificate(error: &CertificateError, key: &str, now_ms: i64) -> String {
    match error {
        CertificateError::UnknownIssuer => format!(
            "the certificate is not from an authority that is trusted here: \
             if it is your own, set {key}.ca_file to its CA's certificate"
        ),
        CertificateError::ExpiredContext { not_after, .. } => {
            let end = date(ms(*not_after));
            format!(
                "the certificate expired on {end}: renew it{}",
                clock(now_ms)
            )
        }
        CertificateError::Expired => {
            format!("the certificate has expired: renew it{}", clock(now_ms))
        }
        CertificateError::NotValidYetContext { not_before, .. } => {
            let start = date(ms(*not_before));
            format!(
                "the certificate is not valid before {start}{}",
                clock(now_ms)
            )
        }
        CertificateError::NotValidYet => {
            format!("the certificate is not valid yet{}", clock(now_ms))
        }
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } => {
            let expected = expected.to_str();
            let names = names(presented);
            format!(
                "the certificate is for {names}: expected {expected}: \
                 use a name of the certificate as the host, or get one for this host"
            )
        }
        CertificateError::NotValidForName => "the certificate is for another host".to_owned(),
        CertificateError::Revoked => "the certificate has been revoked".to_owned(),
        CertificateError::InvalidPurposeContext { .. } | CertificateError::InvalidPurpose => {
            "the certificate is not meant for servers".to_owned()
        }
        CertificateError::Other(other) => other_reason(&other.to_string(), key),
        other => format!("the certificate cannot be used: {other}"),
    }
}

/// webpki's own words where rustls has none.
fn other_reason(text: &str, key: &str) -> String {
    if text.contains("CaUsedAsEndEntity") {
        return format!(
            "the certificate is a CA's, not a host's: give the server one that this CA has signed, \
             and keep {key}.ca_file"
        );
    }
    format!("the certificate cannot be used: {text}")
}

/// What the other side did not like, which as a rule is our certificate.
fn about_alert(alert: AlertDescription, key: &str) -> String {
    use AlertDescription as Alert;
    let mend = match alert {
        Alert::CertificateRequired => {
            format!("it asks for a client certificate: set {key}.cert_file and {key}.key_file")
        }
        Alert::UnknownCA => {
            format!("it does not trust the authority of the certificate in {key}.cert_file")
        }
        Alert::CertificateExpired => {
            format!("the certificate in {key}.cert_file has expired or is not valid yet")
        }
        Alert::BadCertificate | Alert::UnsupportedCertificate | Alert::CertificateUnknown => {
            format!("it does not take the certificate in {key}.cert_file")
        }
        Alert::CertificateRevoked => {
            format!("the certificate in {key}.cert_file has been revoked")
        }
        Alert::HandshakeFailure => format!(
            "no common cipher, or it asks for a client certificate ({key}.cert_file, {key}.key_file)"
        ),
        Alert::UnrecognisedName => "it knows no host of this name".to_owned(),
        Alert::ProtocolVersion => "it speaks no TLS 1.2 or newer".to_owned(),
        other => return format!("the other side refused: {other:?}"),
    };
    format!("the other side refused: {mend}")
}

/// What the clock has to do with it.
fn clock(now_ms: i64) -> String {
    let shown = date(now_ms);
    if now_ms < RELEASED_MS {
        let released = date(RELEASED_MS);
        return format!(
            "; but the gateway's clock says {shown}, before this program was released ({released}): \
             the clock is probably wrong, set it (ntp)"
        );
    }
    format!("; the gateway's clock says {shown}")
}

fn ms(time: UnixTime) -> i64 {
    i64::try_from(time.as_secs())
        .unwrap_or(i64::MAX)
        .saturating_mul(1000)
}

/// `2026-01-02`.
fn date(ms: i64) -> String {
    let full = rfc3339(ms);
    full.split('T').next().unwrap_or_default().to_owned()
}

/// `DnsName("a")` and `IpAddress(10.0.0.1)`, as webpki writes them, without the wrapping. A
/// certificate is the peer's: its names are bounded and free of control characters.
fn names(presented: &[String]) -> String {
    if presented.is_empty() {
        return "no host at all (it has no subjectAltName)".to_owned();
    }
    let bare = presented.iter().take(NAMES_SHOWN).map(|name| {
        let inner = name
            .split_once('(')
            .map_or(name.as_str(), |(_, inner)| inner);
        let inner = inner.trim_end_matches(')').trim_matches('"');
        let shown = inner.chars().filter(|c| !c.is_control());
        shown.take(100).collect::<String>()
    });
    let mut text = bare.collect::<Vec<_>>().join(", ");
    if presented.len() > NAMES_SHOWN {
        text += ", …";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const AFTER: i64 = RELEASED_MS + 86_400_000;

    #[track_caller]
    fn check(error: CertificateError, now_ms: i64, words: &[&str]) -> String {
        let text = reason(&Error::InvalidCertificate(error), "tls", now_ms);
        for word in words {
            assert!(text.contains(word), "{word}: {text}");
        }
        text
    }

    fn at(date_secs: u64) -> UnixTime {
        UnixTime::since_unix_epoch(std::time::Duration::from_secs(date_secs))
    }

    #[test]
    fn says_what_to_do() {
        check(CertificateError::UnknownIssuer, AFTER, &["tls.ca_file"]);
        let expired = CertificateError::ExpiredContext {
            time: at(0),
            not_after: at(951_782_400),
        };
        check(
            expired,
            AFTER,
            &["expired on 2000-02-29", "clock says 2026"],
        );
        let name = CertificateError::NotValidForNameContext {
            expected: "broker.plant".try_into().expect("a name"),
            presented: vec!["DnsName(\"a.plant\")".into(), "IpAddress(10.0.0.1)".into()],
        };
        check(
            name,
            AFTER,
            &["is for a.plant, 10.0.0.1", "expected broker.plant"],
        );
    }

    #[test]
    fn a_clock_from_before_the_release_is_suspected() {
        let early = || CertificateError::NotValidYetContext {
            time: at(0),
            not_before: at(1_790_000_000),
        };
        let text = check(
            early(),
            86_400_000,
            &["probably wrong", "clock says 1970-01-02"],
        );
        assert!(text.contains("not valid before 2026-09-21"), "{text}");
        let text = check(early(), AFTER, &["clock says 2026"]);
        assert!(!text.contains("probably"), "{text}");
    }

    #[test]
    fn a_peers_names_cannot_flood_the_log() {
        let many = vec![format!("DnsName(\"{}\n\")", "x".repeat(1000)); 1000];
        let text = names(&many);
        assert!(text.len() < 500 && !text.contains('\n'), "{text}");
    }
}
