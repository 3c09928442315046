//! Broker and API addresses: text → parts, percent-decoded. Says what is wrong without ever showing
//! a password, also of an address that cannot be understood.

mod redis;

use std::fmt;
use std::net::Ipv6Addr;

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::fault::HIDDEN;
use super::{AmqpBroker, Broker, Login, RedisBroker};
use crate::secret::Secret;

/// AMQP's own port, for a URL that names none.
const AMQP_PORT: u16 = 5672;
/// The same with TLS.
const AMQPS_PORT: u16 = 5671;
/// RabbitMQ's own user and password, as kombu fills them in.
const GUEST: &str = "guest";
/// AMQP short strings hold no more bytes than this.
const SHORT_STRING_MAX: usize = 255;

const BROKER_EXPECTED: &str = "expected amqp://USER:PASSWORD@HOST:PORT/VHOST or \
                               redis://USER:PASSWORD@HOST:PORT/DB";
/// A broker that keeps events and one that does not cannot stand in for each other.
const ONE_KIND: &str = "expected brokers of one kind: amqp, redis or sentinel";
/// What follows the host is shown in logs; a password with a stray `/` must not end up there.
const STRAY_AT: &str = "expected no \"@\" behind the host: in a user, a password or a virtual host \
                        \"@\" is written %40 and \"/\" is written %2F";

/// What is wrong with an address: what to show of it, and what was expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UrlFault {
    pub found: String,
    pub expected: String,
}

/// The brokers of a failover list: URLs separated by `;`, blanks around them allowed. All
/// sentinels together are one broker.
pub fn brokers(text: &str) -> Result<Vec<Broker>, Vec<UrlFault>> {
    let urls = text.split(';').map(str::trim).filter(|url| !url.is_empty());
    let (mut listed, mut faults) = (Vec::new(), Vec::new());
    for url in urls {
        match broker(url) {
            Ok(one) => listed.push((url, one)),
            Err(fault) => faults.push(fault),
        }
    }
    if listed.is_empty() && faults.is_empty() {
        faults.push(UrlFault::new("empty", BROKER_EXPECTED));
    }
    if faults.is_empty() {
        together(listed).map_err(|fault| vec![fault])
    } else {
        Err(faults)
    }
}

/// What one URL of a list names.
enum Listed {
    Amqp(AmqpBroker),
    Redis(RedisBroker),
    Sentinel(redis::SentinelUrl),
}

/// The brokers that URLs of one kind name together.
fn together(listed: Vec<(&str, Listed)>) -> Result<Vec<Broker>, UrlFault> {
    let first = listed.first().map(|(_, one)| std::mem::discriminant(one));
    let (mut brokers, mut sentinels) = (Vec::new(), Vec::new());
    for (url, one) in listed {
        if first != Some(std::mem::discriminant(&one)) {
            return Err(UrlFault::new(masked(url), ONE_KIND));
        }
        match one {
            Listed::Amqp(broker) => brokers.push(Broker::Amqp(broker)),
            Listed::Redis(broker) => brokers.push(Broker::Redis(broker)),
            Listed::Sentinel(sentinel) => sentinels.push(sentinel),
        }
    }
    if !sentinels.is_empty() {
        let broker = redis::join(sentinels).map_err(|expected| UrlFault::new(HIDDEN, expected))?;
        brokers.push(Broker::Redis(broker));
    }
    Ok(brokers)
}

/// The address of a Leek API, a path prefix kept, without a trailing slash.
pub fn api(text: &str) -> Result<String, UrlFault> {
    let text = text.trim();
    let fault = |expected: &str| UrlFault::new(masked(text), expected);
    let expected = "expected http://HOST:PORT or https://HOST:PORT, a path may follow";
    let (scheme, rest) = text.split_once("://").ok_or_else(|| fault(expected))?;
    let scheme = scheme.to_ascii_lowercase();
    if scheme != "http" && scheme != "https" {
        return Err(fault(expected));
    }
    if rest.contains(['?', '#']) {
        return Err(fault("expected no query and no fragment"));
    }
    if !rest.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(fault(
            "expected ASCII letters, digits and signs without blanks",
        ));
    }
    let (authority, path) = cut_before(rest, '/');
    if authority.contains('@') {
        return Err(fault(
            "expected no user or password: the application key is the credential",
        ));
    }
    let (host, port) = host_and_port(authority).map_err(|expected| fault(&expected))?;
    if host.is_empty() {
        return Err(fault(expected));
    }
    let port = port.map_or(String::new(), |port| format!(":{port}"));
    let path = path.trim_end_matches('/');
    Ok(format!("{scheme}://{}{port}{path}", bracketed(&host)))
}

impl UrlFault {
    fn new(found: impl Into<String>, expected: impl Into<String>) -> Self {
        UrlFault {
            found: found.into(),
            expected: expected.into(),
        }
    }
}

/// One URL of the list.
fn broker(url: &str) -> Result<Listed, UrlFault> {
    let Some((scheme, rest)) = url.split_once("://") else {
        return Err(UrlFault::new(HIDDEN, BROKER_EXPECTED));
    };
    let scheme = scheme.to_ascii_lowercase();
    let listed = match scheme.as_str() {
        "amqp" | "pyamqp" => amqp(rest, false).map(Listed::Amqp),
        "amqps" => amqp(rest, true).map(Listed::Amqp),
        "redis" => redis::tcp(rest, false).map(Listed::Redis),
        "rediss" => redis::tcp(rest, true).map(Listed::Redis),
        "redis+socket" => redis::socket(rest).map(Listed::Redis),
        "sentinel" => redis::sentinel(rest).map(Listed::Sentinel),
        _ => Err(BROKER_EXPECTED.into()),
    };
    listed.map_err(|expected| UrlFault::new(masked(url), expected))
}

/// What follows `amqp://` or `amqps://`.
fn amqp(rest: &str, tls: bool) -> Result<AmqpBroker, String> {
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    let (credentials, address) = match authority.rsplit_once('@') {
        Some((credentials, address)) => (credentials, address),
        None => ("", authority),
    };
    if tail.contains('@') {
        return Err(STRAY_AT.into());
    }
    let (user, password) = cut_before(credentials, ':');
    let password = password.strip_prefix(':').unwrap_or(password);
    let (host, port) = host_and_port(address)?;
    let (path, query) = cut_before(cut_before(tail, '#').0, '?');
    let vhost = decoded("virtual host", path.strip_prefix('/').unwrap_or(path))?;
    Ok(AmqpBroker {
        host: or_default(host, "localhost"),
        port: port.unwrap_or(if tls { AMQPS_PORT } else { AMQP_PORT }),
        login: login(query, credentials)?,
        tls,
        user: or_default(decoded("user", user)?, GUEST),
        password: Secret::new(or_default(decoded_password(password)?, GUEST)),
        vhost: or_default(vhost, "/"),
    })
}

/// How to log in: what `?auth_mechanism=` of RabbitMQ's clients or `?login_method=` of kombu says.
/// Of the other parameters, such as `heartbeat`, none means anything here.
fn login(query: &str, credentials: &str) -> Result<Login, String> {
    let pairs = query.trim_start_matches('?').split('&');
    let mechanisms = pairs.filter_map(|pair| match pair.split_once('=') {
        Some(("auth_mechanism" | "login_method", value)) => Some(value.to_ascii_lowercase()),
        _ => None,
    });
    let mut login = match credentials {
        "" => Login::Either,
        _ => Login::Password,
    };
    for mechanism in mechanisms {
        login = match mechanism.as_str() {
            "external" => Login::Certificate,
            "plain" | "amqplain" => Login::Password,
            _ => return Err("expected auth_mechanism=plain or auth_mechanism=external".into()),
        };
    }
    Ok(login)
}

/// `host`, `host:port`, `[v6]`, `[v6]:port`; the brackets are taken off.
pub(super) fn host_and_port(address: &str) -> Result<(String, Option<u16>), String> {
    let (host, port) = match address.strip_prefix('[') {
        Some(inner) => {
            let (host, port) = inner
                .split_once(']')
                .filter(|(host, _)| host.parse::<Ipv6Addr>().is_ok())
                .ok_or("expected an IPv6 address in the brackets")?;
            (host.to_owned(), port)
        }
        None => {
            let (host, port) = cut_before(address, ':');
            (decoded("host", host)?, port)
        }
    };
    if host.contains(|c: char| c.is_whitespace() || "[]@".contains(c)) {
        return Err("expected a host name or an IP address".into());
    }
    Ok((host, port_after_colon(port)?))
}

/// `` or `:` (kombu takes both as none), or `:port`.
fn port_after_colon(text: &str) -> Result<Option<u16>, String> {
    match text.strip_prefix(':') {
        None if text.is_empty() => Ok(None),
        Some("") => Ok(None),
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => match port.parse() {
            Ok(0) | Err(_) => Err("expected a port from 1 to 65535".into()),
            Ok(port) => Ok(Some(port)),
        },
        _ => Err("expected a port from 1 to 65535 after the host; \
                  in a password \"@\" is written %40 and \"/\" is written %2F"
            .into()),
    }
}

/// Percent-decoded text of one part, free of control characters and short enough for AMQP.
pub(super) fn decoded(part: &str, text: &str) -> Result<String, String> {
    let text = percent_decode_str(text)
        .decode_utf8()
        .map_err(|_| format!("expected UTF-8 in the {part}"))?;
    if text.len() > SHORT_STRING_MAX || text.chars().any(char::is_control) {
        return Err(format!(
            "expected at most {SHORT_STRING_MAX} bytes without control characters in the {part}"
        ));
    }
    Ok(text.into_owned())
}

/// As [`decoded`], but a password may be long.
pub(super) fn decoded_password(text: &str) -> Result<String, String> {
    percent_decode_str(text)
        .decode_utf8()
        .map(Into::into)
        .map_err(|_| "expected UTF-8 in the password".into())
}

/// The text before `mark`, and the rest from the mark on.
pub(super) fn cut_before(text: &str, mark: char) -> (&str, &str) {
    text.split_at(text.find(mark).unwrap_or(text.len()))
}

fn or_default(text: String, default: &str) -> String {
    if text.is_empty() {
        default.into()
    } else {
        text
    }
}

/// An IPv6 address goes back into its brackets.
pub(super) fn bracketed(host: &str) -> String {
    if host.contains(':') {
        format!("[{host}]")
    } else {
        host.into()
    }
}

/// A URL fit to be shown: everything that could be a password is replaced, however broken the URL.
/// Without `@` what looks like a port may be a password cut off at a stray `/` or `#`, so all from
/// the colon on goes.
pub(super) fn masked(url: &str) -> String {
    let is_scheme = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    let parts = url.split_once("://");
    let Some((scheme, rest)) = parts.filter(|(scheme, _)| scheme.chars().all(is_scheme)) else {
        return HIDDEN.into();
    };
    let shown = match rest.rsplit_once('@') {
        Some((credentials, address)) => {
            let user = cut_before(credentials, ':').0;
            let address = cut_before(address, '?').0;
            format!("{scheme}://{user}:********@{address}")
        }
        None => {
            let (host, tail) = rest.split_at(rest.find([':', '?', '#']).unwrap_or(rest.len()));
            let mask = if tail.is_empty() { "" } else { ":********" };
            format!("{scheme}://{host}{mask}")
        }
    };
    shown.chars().filter(|c| !c.is_control()).collect()
}

/// The address as logs show it: user, host, port and virtual host, never the password.
impl fmt::Display for AmqpBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "amqps" } else { "amqp" };
        write!(f, "{scheme}://")?;
        if self.login != Login::Certificate {
            write!(f, "{}@", utf8_percent_encode(&self.user, NON_ALPHANUMERIC))?;
        }
        write!(f, "{}:{}/", bracketed(&self.host), self.port)?;
        if self.vhost == "/" {
            return Ok(());
        }
        utf8_percent_encode(&self.vhost, NON_ALPHANUMERIC).fmt(f)
    }
}

impl fmt::Display for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Broker::Amqp(broker) => broker.fmt(f),
            Broker::Redis(broker) => broker.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// host, port, user, password, vhost.
    fn parts(url: &str) -> (String, u16, String, String, String) {
        match brokers(url).as_deref() {
            Ok([Broker::Amqp(broker)]) => (
                broker.host.clone(),
                broker.port,
                broker.user.clone(),
                broker.password.expose().into(),
                broker.vhost.clone(),
            ),
            other => panic!("{url}: {other:?}"),
        }
    }

    #[test]
    fn reads_what_kombu_reads() {
        for (url, host, port, user, password, vhost) in [
            ("amqp://h", "h", 5672, "guest", "guest", "/"),
            ("amqp://h/", "h", 5672, "guest", "guest", "/"),
            ("amqp://h//", "h", 5672, "guest", "guest", "/"),
            ("amqp://h/%2F", "h", 5672, "guest", "guest", "/"),
            ("amqp://h/%2f", "h", 5672, "guest", "guest", "/"),
            ("amqp://h/shop", "h", 5672, "guest", "guest", "shop"),
            ("amqp://h//shop", "h", 5672, "guest", "guest", "/shop"),
            ("amqp://h/a%2Fb", "h", 5672, "guest", "guest", "a/b"),
            ("amqps://h", "h", 5671, "guest", "guest", "/"),
            ("AMQPS://u:p@h:5672/v", "h", 5672, "u", "p", "v"),
            ("PYAMQP://u:p@h:5673/v", "h", 5673, "u", "p", "v"),
            ("amqp://u@h", "h", 5672, "u", "guest", "/"),
            ("amqp://u:@h", "h", 5672, "u", "guest", "/"),
            ("amqp://u:p%40%2F%3A@h", "h", 5672, "u", "p@/:", "/"),
            ("amqp://u%40x:a:b@h", "h", 5672, "u@x", "a:b", "/"),
            ("amqp://u:p@q@h", "h", 5672, "u", "p@q", "/"),
            ("amqp://[::1]:5673/v", "::1", 5673, "guest", "guest", "v"),
            ("amqp://u:p@[fe80::1]", "fe80::1", 5672, "u", "p", "/"),
            (
                "amqp://h:5673?heartbeat=30",
                "h",
                5673,
                "guest",
                "guest",
                "/",
            ),
            (
                "amqp://h/v?heartbeat=30&x=/y",
                "h",
                5672,
                "guest",
                "guest",
                "v",
            ),
            ("amqp://", "localhost", 5672, "guest", "guest", "/"),
            (
                " amqp://10.0.0.7 ; ",
                "10.0.0.7",
                5672,
                "guest",
                "guest",
                "/",
            ),
        ] {
            let expected = (
                host.into(),
                port,
                user.into(),
                password.into(),
                vhost.into(),
            );
            assert_eq!(parts(url), expected, "{url}");
        }
    }

    #[test]
    fn who_logs_in_how() {
        for (url, tls, login, shown) in [
            ("amqp://h", false, Login::Either, "amqp://guest@h:5672/"),
            ("amqps://h", true, Login::Either, "amqps://guest@h:5671/"),
            ("amqps://u:p@h", true, Login::Password, "amqps://u@h:5671/"),
            (
                "amqps://u:p@h/v?heartbeat=5&auth_mechanism=EXTERNAL",
                true,
                Login::Certificate,
                "amqps://h:5671/v",
            ),
            (
                "amqps://h?login_method=external",
                true,
                Login::Certificate,
                "amqps://h:5671/",
            ),
            (
                "amqps://h?auth_mechanism=plain",
                true,
                Login::Password,
                "amqps://guest@h:5671/",
            ),
        ] {
            match brokers(url).as_deref() {
                Ok([Broker::Amqp(broker)]) => {
                    let found = (broker.tls, broker.login, broker.to_string());
                    assert_eq!(found, (tls, login, shown.into()), "{url}");
                }
                other => panic!("{url}: {other:?}"),
            }
        }
    }

    #[test]
    fn failover_lists_keep_their_order() {
        let list = brokers("amqp://a;amqp://b:1/x").expect("two brokers");
        let shown: Vec<String> = list.iter().map(Broker::to_string).collect();
        assert_eq!(shown, ["amqp://guest@a:5672/", "amqp://guest@b:1/x"]);
    }

    #[test]
    fn says_what_is_wrong() {
        for (url, found, expected) in [
            ("", "empty", "expected amqp://"),
            (" ; ", "empty", "expected amqp://"),
            ("hunter2", "(hidden)", "expected amqp://"),
            ("kafka://h", "kafka://h", "expected amqp://"),
            (
                "amqps://h?auth_mechanism=gssapi",
                "amqps://h:********",
                "expected auth_mechanism=plain",
            ),
            (
                "amqp://h:0",
                "amqp://h:********",
                "expected a port from 1 to 65535",
            ),
            (
                "amqp://h:65536",
                "amqp://h:********",
                "expected a port from 1",
            ),
            (
                "amqp://[::zz]/",
                "amqp://[:********",
                "expected an IPv6 address",
            ),
            (
                "amqp://u:p@h h",
                "amqp://u:********@h h",
                "expected a host name",
            ),
            (
                "amqp://u:p%ff@h",
                "amqp://u:********@h",
                "expected UTF-8 in the password",
            ),
            ("amqp://h/%00", "amqp://h/%00", "expected at most 255 bytes"),
        ] {
            let faults = brokers(url).expect_err(url);
            assert_eq!(faults[0].found, found, "{url}");
            assert!(
                faults[0].expected.starts_with(expected),
                "{url}: {}",
                faults[0].expected
            );
        }
    }

    #[test]
    fn no_broken_address_shows_its_password() {
        for url in [
            "amqp://user:hunter2",
            "amqp://user:hunter2/",
            "amqp://user:hun/ter2@host:1",
            "amqp://user:1234/hunter2@host",
            "amqp://user:hun@/hunter2@host",
            "amqp://user:hun#hunter2@host",
            "amqp://user:hun?hunter2@host",
            "amqp://user:hunter2@host:port",
            "amqp://user:hunter2@[zz]",
            "amqp://user:x@hunter2@:h:h",
            "amqp://user:hunter2%ff@host",
            "amqp://user:8;hunter2@host",
            "amqp://h:x?password=hunter2",
            "rediss://:hunter2@host/x",
            "kafka://:hunter2@host",
            "user:hunter2@host",
            "user:hunter2@amqp://host",
            "amqp:/user:hunter2@host",
        ] {
            let faults = format!("{:?}", brokers(url).expect_err(url));
            assert!(!faults.contains("hunter2"), "{url}: {faults}");
        }
        let fault = format!(
            "{:?}",
            api("https://user:hunter2@host").expect_err("userinfo")
        );
        assert!(!fault.contains("hunter2"), "{fault}");
        assert!(fault.contains("expected no user or password"), "{fault}");
    }

    #[test]
    fn api_addresses_keep_their_prefix_only() {
        for (text, expected) in [
            ("http://h", "http://h"),
            ("HTTPS://h:8443/", "https://h:8443"),
            ("https://h/leek/api//", "https://h/leek/api"),
            (" http://h\n", "http://h"),
            ("http://[::1]:5000/x", "http://[::1]:5000/x"),
        ] {
            assert_eq!(api(text).as_deref(), Ok(expected));
        }
        for text in [
            "",
            "h:5000",
            "ftp://h",
            "http://",
            "http:///x",
            "http://h?x",
            "http://h:x",
            "http://h /x",
        ] {
            assert!(api(text).is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics_or_shows_what_stands_in_a_password(text in "\\PC{0,40}") {
            let _ = brokers(&text);
            let _ = api(&text);
            let shown = format!("{:?}", brokers(&format!("amqp://u:q7Z{text}q7Z@h")));
            proptest::prop_assert!(!shown.contains("q7Z"), "{}", shown);
        }
    }
}
