//! Names into addresses, off the event loop: the system's resolver blocks, for as long as the DNS
//! keeps silent. An address that is one already costs no thread.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::thread;

/// A lookup calls the C library, which keeps its buffers on the stack: musl's need some 20 KiB.
const STACK_SIZE: usize = 128 * 1024;

/// Lookups of one source that may hang before no further one is started: nothing can cut them short.
const MAX_LINGERING: usize = 2;

/// Addresses tried of a name that has many.
const MAX_ADDRESSES: usize = 4;

/// What came of a lookup.
#[derive(Debug)]
pub struct Answer {
    pub ticket: u64,
    /// `Err` is why there are none, for a human.
    pub addresses: Result<Vec<SocketAddr>, String>,
}

/// A lookup as it begins.
#[derive(Debug)]
pub enum Lookup {
    Known(Vec<SocketAddr>),
    /// An [`Answer`] with this ticket will come.
    Pending(u64),
}

/// How answers reach the loop; called from any thread.
pub type Tell = Arc<dyn Fn(Answer) + Send + Sync>;

/// One source's lookups.
pub struct Resolver {
    tell: Tell,
    /// Held by every lookup under way: their number is its count less one.
    alive: Arc<()>,
    tickets: u64,
}

impl Resolver {
    pub fn new(tell: Tell) -> Self {
        Resolver {
            tell,
            alive: Arc::new(()),
            tickets: 0,
        }
    }

    /// Looks `host` up: a name, or an address without brackets.
    pub fn look_up(&mut self, host: &str, port: u16) -> Result<Lookup, String> {
        if let Ok(ip) = host.parse::<IpAddr>() {
            return Ok(Lookup::Known(vec![SocketAddr::new(ip, port)]));
        }
        if Arc::strong_count(&self.alive) > MAX_LINGERING {
            return Err(format!(
                "{host}: earlier lookups still hang: is the DNS answering?"
            ));
        }
        self.tickets += 1;
        let ticket = self.tickets;
        let (host, tell) = (host.to_owned(), Arc::clone(&self.tell));
        let alive = Arc::clone(&self.alive);
        let spawned = thread::Builder::new()
            .name("leek-resolve".to_owned())
            .stack_size(STACK_SIZE)
            .spawn(move || {
                let addresses = addresses(&host, port);
                drop(alive);
                tell(Answer { ticket, addresses });
            });
        spawned.map_err(|error| format!("no thread for a name's lookup: {error}"))?;
        Ok(Lookup::Pending(ticket))
    }
}

fn addresses(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    let found = (host, port).to_socket_addrs().map_err(|error| {
        format!("{host}: name not found: {error}: check the broker's host name and the DNS")
    })?;
    let addresses: Vec<_> = found.take(MAX_ADDRESSES).collect();
    if addresses.is_empty() {
        return Err(format!("{host}: the name has no address"));
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    #[test]
    fn addresses_are_known_and_names_are_looked_up() {
        let (sender, answers) = channel();
        let mut resolver = Resolver::new(Arc::new(move |answer| sender.send(answer).unwrap()));
        let known = resolver.look_up("::1", 7).unwrap();
        assert!(matches!(known, Lookup::Known(list) if list == ["[::1]:7".parse().unwrap()]));
        let pending = resolver.look_up("localhost", 7).unwrap();
        let answer = answers.recv_timeout(Duration::from_secs(30)).unwrap();
        assert!(matches!(pending, Lookup::Pending(ticket) if ticket == answer.ticket));
        assert!(answer.addresses.unwrap().iter().all(|one| one.port() == 7));
    }
}
