//! Under which names the agent lets itself be asked. A web page elsewhere can point a name of its own
//! at this address (DNS rebinding) and have a browser on this network ask; an address cannot be
//! pointed anywhere.

use std::net::IpAddr;

use crate::http::Request;

/// Names that are known beside IP addresses and `localhost`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hosts(Vec<String>);

impl Hosts {
    /// Names without ports, separated by commas.
    pub fn parse(text: &str) -> Hosts {
        let names = text
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty());
        Hosts(names.map(str::to_ascii_lowercase).collect())
    }

    /// True where the `Host` header names this agent.
    pub fn know(&self, header: Option<&str>) -> bool {
        let Some(name) = header.and_then(name) else {
            return false;
        };
        name.parse::<IpAddr>().is_ok()
            || name.eq_ignore_ascii_case("localhost")
            || self.0.iter().any(|known| known.eq_ignore_ascii_case(name))
    }
}

/// True where no page of another site asks: browsers name the page's site in `Origin` with everything
/// that is not a plain GET, other clients do not.
pub fn is_same_site(request: &Request) -> bool {
    let Some(origin) = request.header("origin") else {
        return true;
    };
    let site = origin.split_once("://").map(|(_, site)| site);
    site.is_some() && site == request.header("host")
}

/// The name or address in `NAME`, `NAME:PORT`, `[ADDRESS]` or `[ADDRESS]:PORT`.
fn name(header: &str) -> Option<&str> {
    let (name, rest) = match header.strip_prefix('[') {
        Some(bracketed) => bracketed.split_once(']')?,
        None => header.split_at(header.find(':').unwrap_or(header.len())),
    };
    let is_port = |rest: &str| {
        rest.strip_prefix(':')
            .is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
    };
    (rest.is_empty() || is_port(rest)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_localhost_and_named_hosts_are_known() {
        let hosts = Hosts::parse("gateway-7.plant, Gateway");
        for known in [
            "127.0.0.1",
            "127.0.0.1:9464",
            "[::1]:9464",
            "[fe80::1]",
            "localhost:9464",
            "LocalHost",
            "gateway-7.PLANT:80",
            "gateway",
        ] {
            assert!(hosts.know(Some(known)), "{known}");
        }
        for unknown in [
            "evil.example",
            "evil.example:9464",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "127.0.0.1:9464.evil.example",
            "[::1]evil.example",
            "[::1",
            "",
            "::1",
        ] {
            assert!(!hosts.know(Some(unknown)), "{unknown}");
        }
        assert!(!hosts.know(None));
        assert!(!Hosts::parse("").know(Some("")));
    }
}
