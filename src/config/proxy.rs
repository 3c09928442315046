//! Proxies for the API, as the environment names them: `HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`, in
//! lower case too. Pure: the environment comes in as a value, no name is looked up.
//!
//! The lower-case variable comes first where both are set, as in curl. `HTTPS_PROXY` is for https
//! addresses of the API and `HTTP_PROXY` for http ones; the proxy itself is spoken to in plain HTTP.

use std::fmt;
use std::net::IpAddr;

use super::environment::Env;
use super::fault::quoted;
use super::url::{bracketed, cut_before, decoded, decoded_password, host_and_port};
use crate::secret::Secret;

/// HTTP's own port, for a proxy that names none.
const PROXY_PORT: u16 = 80;

const EXPECTED: &str = "expected http://USER:PASSWORD@HOST:PORT, user and password may be missing";

/// A proxy to reach the API through. Shows itself without user and password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// A name or an address, an IPv6 one without its brackets.
    pub host: String,
    pub port: u16,
    pub credentials: Option<ProxyCredentials>,
    /// Where it was found, for messages.
    pub variable: &'static str,
}

/// Percent-decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyCredentials {
    pub user: Secret,
    pub password: Secret,
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}:{}", bracketed(&self.host), self.port)
    }
}

/// The proxies that the environment names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    http: Option<Result<Proxy, String>>,
    https: Option<Result<Proxy, String>>,
    no_proxy: NoProxy,
}

impl Proxies {
    /// Reads the variables.
    pub fn read(env: &Env) -> Self {
        Proxies {
            http: variable(env, ["http_proxy", "HTTP_PROXY"]),
            https: variable(env, ["https_proxy", "HTTPS_PROXY"]),
            no_proxy: first(env, ["no_proxy", "NO_PROXY"])
                .map_or_else(NoProxy::default, |(_, text)| NoProxy::parse(text)),
        }
    }

    /// The proxy for an address of the API that was checked. `Err` says which variable is wrong: one
    /// that no address needs is not looked at.
    pub fn for_url(&self, api_url: &str) -> Result<Option<Proxy>, String> {
        let (proxy, default_port) = match api_url.strip_prefix("https://") {
            Some(_) => (&self.https, 443),
            None => (&self.http, 80),
        };
        let Some(proxy) = proxy else {
            return Ok(None);
        };
        let rest = api_url.split_once("://").map_or("", |(_, rest)| rest);
        let Ok((host, port)) = host_and_port(cut_before(rest, '/').0) else {
            return Ok(None);
        };
        if self.no_proxy.covers(&host, port.unwrap_or(default_port)) {
            return Ok(None);
        }
        proxy.clone().map(Some)
    }
}

/// The first variable that is set.
fn first<'a>(env: &'a Env, names: [&'static str; 2]) -> Option<(&'static str, &'a str)> {
    let set = |name: &'static str| Some((name, env.get(name)?.trim()));
    names.into_iter().find_map(set)
}

fn variable(env: &Env, names: [&'static str; 2]) -> Option<Result<Proxy, String>> {
    let (name, text) = first(env, names)?;
    Some(proxy(name, text))
}

/// One proxy's URL; a bare `HOST:PORT` counts as http.
fn proxy(variable: &'static str, text: &str) -> Result<Proxy, String> {
    let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
    if !scheme.eq_ignore_ascii_case("http") {
        // What stands before `://` may be a password, if the rest is broken enough.
        let known = ["https", "socks", "socks4", "socks4a", "socks5", "socks5h"];
        let scheme = scheme.to_ascii_lowercase();
        let found = match known.contains(&scheme.as_str()) {
            true => quoted(&format!("{scheme}://")),
            false => super::fault::HIDDEN.to_owned(),
        };
        return Err(format!("{variable}: {found}: {EXPECTED}"));
    }
    let fault = |expected: &str| format!("{variable}: {}: {expected}", super::fault::HIDDEN);
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if path.len() > 1 {
        return Err(fault(
            "expected nothing behind host and port: in a user or a password \
             \"@\" is written %40 and \"/\" is written %2F",
        ));
    }
    let (credentials, address) = match authority.rsplit_once('@') {
        Some((credentials, address)) => (Some(credentials), address),
        None => (None, authority),
    };
    let (host, port) = host_and_port(address).map_err(|expected| fault(&expected))?;
    if host.is_empty() {
        return Err(fault(EXPECTED));
    }
    let credentials = credentials
        .map(login)
        .transpose()
        .map_err(|expected| fault(&expected))?;
    Ok(Proxy {
        host,
        port: port.unwrap_or(PROXY_PORT),
        credentials,
        variable,
    })
}

fn login(text: &str) -> Result<ProxyCredentials, String> {
    let (user, password) = cut_before(text, ':');
    let password = password.strip_prefix(':').unwrap_or(password);
    Ok(ProxyCredentials {
        user: Secret::new(decoded("user", user)?),
        password: Secret::new(decoded_password(password)?),
    })
}

// ── NO_PROXY ───────────────────────────────────────────────────────────────────────────────────

/// What is reached without a proxy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NoProxy(Vec<Exempt>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Exempt {
    All,
    /// The host itself and everything below it; where a port is given, only there.
    Domain {
        name: String,
        port: Option<u16>,
    },
    Address {
        address: IpAddr,
        port: Option<u16>,
    },
    Network {
        address: IpAddr,
        bits: u8,
    },
}

impl NoProxy {
    /// Entries separated by commas or blanks; one that is not understood exempts nothing.
    pub fn parse(text: &str) -> Self {
        let words = text.split(|c: char| c == ',' || c.is_whitespace());
        let entries = words.filter(|word| !word.is_empty());
        NoProxy(entries.filter_map(exempt).collect())
    }

    /// True if `host`, a name or an address without brackets, is reached directly.
    pub fn covers(&self, host: &str, port: u16) -> bool {
        let host = plain_name(host);
        let address: Option<IpAddr> = host.parse().ok();
        self.0
            .iter()
            .any(|entry| entry.covers(&host, address, port))
    }
}

fn exempt(word: &str) -> Option<Exempt> {
    if word == "*" {
        return Some(Exempt::All);
    }
    if let Some((address, bits)) = word.split_once('/') {
        let (address, bits): (IpAddr, u8) = (address.parse().ok()?, bits.parse().ok()?);
        let most = if address.is_ipv4() { 32 } else { 128 };
        return (bits <= most).then_some(Exempt::Network { address, bits });
    }
    let (host, port) = match word.parse::<IpAddr>() {
        // Without brackets an IPv6 address has no port.
        Ok(address) => (address.to_string(), None),
        Err(_) => host_and_port(word).ok()?,
    };
    if let Ok(address) = host.parse() {
        return Some(Exempt::Address { address, port });
    }
    let name = plain_name(host.strip_prefix('*').unwrap_or(&host));
    let name = name.trim_start_matches('.').to_owned();
    (!name.is_empty()).then_some(Exempt::Domain { name, port })
}

/// Lower case, without the dot that ends a full name.
fn plain_name(host: &str) -> String {
    host.trim_end_matches('.').to_ascii_lowercase()
}

impl Exempt {
    fn covers(&self, host: &str, address: Option<IpAddr>, at: u16) -> bool {
        let same_port = |port: &Option<u16>| port.is_none_or(|port| port == at);
        match self {
            Exempt::All => true,
            Exempt::Domain { name, port } => {
                let below = host
                    .strip_suffix(name.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
                address.is_none() && below && same_port(port)
            }
            Exempt::Address {
                address: exempt,
                port,
            } => address == Some(*exempt) && same_port(port),
            Exempt::Network {
                address: network,
                bits,
            } => address.is_some_and(|address| is_within(address, *network, *bits)),
        }
    }
}

fn is_within(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => {
            let differ = u32::from(address) ^ u32::from(network);
            differ.checked_shr(32 - u32::from(bits)).unwrap_or(0) == 0
        }
        (IpAddr::V6(address), IpAddr::V6(network)) => {
            let differ = u128::from(address) ^ u128::from(network);
            differ.checked_shr(128 - u32::from(bits)).unwrap_or(0) == 0
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Proxies {
        Proxies::read(&pairs.iter().copied().collect())
    }

    #[test]
    fn no_proxy_is_read_as_everywhere() {
        for (list, host, port, covered) in [
            ("*", "anything.example", 443, true),
            ("", "anything.example", 443, false),
            ("leek.example.com", "leek.example.com", 443, true),
            ("leek.example.com", "LEEK.example.com.", 443, true),
            ("LEEK.Example.com.", "leek.example.com", 443, true),
            ("example.com", "leek.example.com", 443, true),
            (".example.com", "leek.example.com", 443, true),
            (".example.com", "example.com", 443, true),
            ("*.example.com", "leek.example.com", 443, true),
            ("example.com", "badexample.com", 443, false),
            ("example.com", "example.com.evil", 443, false),
            ("com", "example.com", 443, true),
            ("a,b c\td", "c", 80, true),
            ("a, ,,b", "b", 80, true),
            ("leek:8443", "leek", 8443, true),
            ("leek:8443", "leek", 443, false),
            ("leek:8443", "a.leek", 8443, true),
            ("10.0.0.7", "10.0.0.7", 80, true),
            ("10.0.0.7", "10.0.0.70", 80, false),
            ("10.0.0.7:5000", "10.0.0.7", 5000, true),
            ("10.0.0.7:5000", "10.0.0.7", 80, false),
            ("0.7", "10.0.0.7", 80, false),
            ("::1", "::1", 80, true),
            ("0:0::1", "::1", 80, true),
            ("[::1]", "::1", 80, true),
            ("[::1]:5000", "::1", 5000, true),
            ("[::1]:5000", "::1", 80, false),
            ("10.0.0.0/8", "10.20.30.40", 80, true),
            ("10.0.0.0/8", "11.20.30.40", 80, false),
            ("10.20.30.40/32", "10.20.30.40", 80, true),
            ("10.20.30.40/32", "10.20.30.41", 80, false),
            ("0.0.0.0/0", "203.0.113.9", 80, true),
            ("0.0.0.0/0", "leek.example.com", 80, false),
            ("10.0.0.0/33", "10.0.0.1", 80, false),
            ("fd00::/8", "fd12::3", 80, true),
            ("fd00::/8", "fe80::3", 80, false),
            ("::/0", "fe80::3", 80, true),
            ("::/0", "10.0.0.1", 80, false),
            ("10.0.0.0/x", "10.0.0.1", 80, false),
        ] {
            let no_proxy = NoProxy::parse(list);
            assert_eq!(
                no_proxy.covers(host, port),
                covered,
                "{list}: {host}:{port}"
            );
        }
    }

    #[test]
    fn each_scheme_has_its_variable() {
        let proxies = read(&[
            ("HTTPS_PROXY", "http://secure:3128"),
            ("HTTP_PROXY", "plain"),
            ("http_proxy", "http://lower:81/"),
            ("NO_PROXY", "leek.local"),
        ]);
        for (url, expected) in [
            ("https://h/x", Some("http://secure:3128")),
            ("http://h:5000", Some("http://lower:81")),
            ("https://api.leek.local/x", None),
            ("http://leek.local:5000", None),
        ] {
            let proxy = proxies.for_url(url).expect("no fault");
            let shown = proxy.map(|proxy| proxy.to_string());
            assert_eq!(shown.as_deref(), expected, "{url}");
        }
        assert_eq!(read(&[]).for_url("https://h"), Ok(None));
    }

    #[test]
    fn credentials_are_decoded_and_never_shown() {
        let proxies = read(&[("https_proxy", "http://us%40er:hun%2Fter%3A2@[::1]:3128")]);
        let proxy = proxies.for_url("https://h").expect("fine").expect("one");
        let login = proxy.credentials.clone().expect("credentials");
        assert_eq!(login.user.expose(), "us@er");
        assert_eq!(login.password.expose(), "hun/ter:2");
        assert_eq!((proxy.host.as_str(), proxy.port), ("::1", 3128));
        let shown = format!("{proxy} {proxy:?} {proxies:?}");
        assert!(!shown.contains("ter") && !shown.contains("er:2"), "{shown}");
    }

    #[test]
    fn says_what_is_wrong_with_a_variable_that_is_needed() {
        for (text, expected) in [
            ("socks5://h:1080", "\"socks5://\": expected http://"),
            ("https://u:hunter2@h", "\"https://\": expected http://"),
            ("hunter2://h", "(hidden): expected http://"),
            ("http://", "(hidden): expected http://"),
            ("http://u:hunter2@h:x", "(hidden): expected a port"),
            ("http://u:hun/ter2@h", "(hidden): expected nothing behind"),
            ("http://u:hunter2%ff@h", "(hidden): expected UTF-8"),
        ] {
            let proxies = read(&[("HTTPS_PROXY", text)]);
            let fault = proxies.for_url("https://h").expect_err(text);
            assert!(!fault.contains("ter2"), "{fault}");
            let expected = format!("HTTPS_PROXY: {expected}");
            assert!(fault.starts_with(&expected), "{text}: {fault}");
            assert_eq!(proxies.for_url("http://h"), Ok(None));
        }
    }
}
