//! The API's name, or its proxy's, into addresses. The system's resolver blocks for as long as the DNS
//! keeps silent and cannot be cut short, so each look-up has a thread of its own; what still hangs
//! counts against the next, or an hour of silence would leave a thread behind for each try.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread;

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;
use ureq::{Error, Timeout};

/// A look-up calls the C library, which keeps its buffers on the stack: musl's need some 20 KiB.
const STACK_SIZE: usize = 128 * 1024;

/// Look-ups that may hang beside those that uploaders wait for.
const MAX_LINGERING: usize = 2;

/// Addresses tried of a name that has many.
const MAX_ADDRESSES: usize = 4;

/// One subscription's look-ups.
#[derive(Debug)]
pub(super) struct Lookups {
    /// Held by every look-up under way: their number is its count less one.
    alive: Arc<()>,
    most: usize,
}

impl Lookups {
    /// For so many uploaders, each of which may wait for one.
    pub fn new(uploaders: usize) -> Self {
        Lookups {
            alive: Arc::new(()),
            most: uploaders + MAX_LINGERING,
        }
    }

    fn look_up(
        &self,
        host: &str,
        port: u16,
        timeout: NextTimeout,
    ) -> Result<Vec<SocketAddr>, Error> {
        let alive = Arc::clone(&self.alive);
        if Arc::strong_count(&alive) - 1 > self.most {
            return Err(Error::Timeout(Timeout::Resolve));
        }
        let (tell, answer) = sync_channel(1);
        let host = host.to_owned();
        thread::Builder::new()
            .name("leek-resolve".to_owned())
            .stack_size(STACK_SIZE)
            .spawn(move || {
                let addresses = (host.as_str(), port).to_socket_addrs();
                drop(alive);
                // Whoever asked may have given up.
                let _ = tell.send(addresses);
            })?;
        let answered = answer.recv_timeout(*timeout.after);
        let addresses = answered.map_err(|_| Error::Timeout(Timeout::Resolve))??;
        Ok(addresses.take(MAX_ADDRESSES).collect())
    }
}

impl Resolver for Lookups {
    fn resolve(
        &self,
        uri: &Uri,
        _: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let (host, port) = place(uri).ok_or_else(|| io::Error::other("a url without a host"))?;
        let found = match host.parse::<IpAddr>() {
            Ok(address) => vec![SocketAddr::new(address, port)],
            Err(_) => self.look_up(host, port, timeout)?,
        };
        if found.is_empty() {
            return Err(Error::HostNotFound);
        }
        let mut addresses = self.empty();
        found
            .into_iter()
            .for_each(|address| addresses.push(address));
        Ok(addresses)
    }
}

/// Host, without an IPv6 address's brackets, and port.
fn place(uri: &Uri) -> Option<(&str, u16)> {
    let usual = match uri.scheme_str()? {
        "https" => 443,
        _ => 80,
    };
    let host = uri.host()?.trim_start_matches('[').trim_end_matches(']');
    Some((host, uri.port_u16().unwrap_or(usual)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn resolve(lookups: &Lookups, url: &str) -> Result<Vec<SocketAddr>, Error> {
        let timeout = NextTimeout {
            after: Duration::from_secs(30).into(),
            ..NextTimeout::default()
        };
        let config = Config::default();
        let found = lookups.resolve(&url.parse().unwrap(), &config, timeout);
        found.map(|addresses| addresses.to_vec())
    }

    #[test]
    fn addresses_need_no_look_up_and_ports_have_defaults() {
        let lookups = Lookups {
            most: 0,
            ..Lookups::new(1)
        };
        for (url, address) in [
            ("http://127.0.0.1:5000/x", "127.0.0.1:5000"),
            ("http://127.0.0.1", "127.0.0.1:80"),
            ("https://[::1]/leek", "[::1]:443"),
        ] {
            let expected: SocketAddr = address.parse().unwrap();
            assert_eq!(resolve(&lookups, url).unwrap(), [expected], "{url}");
        }
    }

    #[test]
    fn what_hangs_counts_against_the_next() {
        let lookups = Lookups::new(1);
        let hanging = [(); 3].map(|()| Arc::clone(&lookups.alive));
        let refused = resolve(&lookups, "http://localhost");
        assert!(matches!(refused, Err(Error::Timeout(Timeout::Resolve))));
        drop(hanging);
        let found = resolve(&lookups, "http://localhost:7").unwrap();
        assert!(found.iter().all(|address| address.port() == 7), "{found:?}");
    }
}
