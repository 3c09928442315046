//! Finding the master: which sentinel to ask next, and the question itself. Pure.
//!
//! ```text
//!  next ──► a sentinel ── get-master-addr-by-name ──► an address ── ROLE: master ──► found
//!   ▲          │ unreachable, knows no such master         │ unreachable, a replica
//!   └──────────┴───────────────────────────────────────────┘        (until each was asked)
//! ```

use std::collections::VecDeque;

use super::failure::{Asked, reason};
use super::resp::{Frame, write_command};
use super::session::{auth, unexpected};
use crate::config::HostPort;
use crate::secret::Secret;

/// A pass through the sentinels, each asked once.
#[derive(Debug)]
pub struct Search {
    left: VecDeque<HostPort>,
    failures: Vec<String>,
}

impl Search {
    /// Begins with the sentinel at `first`, the one that helped last time.
    pub fn new(sentinels: &[HostPort], first: usize) -> Self {
        let mut left: VecDeque<_> = sentinels.iter().cloned().collect();
        let turns = first % left.len().max(1);
        left.rotate_left(turns);
        Search {
            left,
            failures: Vec::new(),
        }
    }

    /// The sentinel to ask now. `Err` is why there is none left.
    pub fn next_sentinel(&mut self) -> Result<HostPort, String> {
        self.left
            .pop_front()
            .ok_or_else(|| format!("no sentinel helped: {}", self.failures.join("; ")))
    }

    /// The last one, or the master that it named, was of no use.
    pub fn failed(&mut self, reason: String) {
        self.failures.push(reason);
    }

    /// How many were asked so far.
    pub fn asked(&self) -> usize {
        self.failures.len()
    }
}

/// The question put to one sentinel.
#[derive(Debug)]
pub struct Query {
    master: String,
    awaits_auth: bool,
    out: Vec<u8>,
}

impl Query {
    pub fn new(master: &str, user: Option<&str>, password: Option<&Secret>) -> Self {
        let mut out = Vec::new();
        let auth = auth(user, password);
        if let Some(words) = &auth {
            write_command(&mut out, words);
        }
        let name = master.as_bytes();
        write_command(&mut out, &[b"SENTINEL", b"get-master-addr-by-name", name]);
        Query {
            master: master.to_owned(),
            awaits_auth: auth.is_some(),
            out,
        }
    }

    /// Bytes to send, in order.
    pub fn output(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Takes a reply: the master's address, once it is known.
    pub fn handle(&mut self, frame: &Frame<'_>) -> Result<Option<HostPort>, String> {
        let asked = match std::mem::take(&mut self.awaits_auth) {
            true => Asked::Auth,
            false => Asked::Other,
        };
        match (asked, frame) {
            (Asked::Auth, Frame::Simple(_)) => Ok(None),
            (_, Frame::Error(error)) => Err(self.refused(error, asked)),
            (_, Frame::Null) => Err(format!(
                "the sentinel knows no master named {:?}: check redis.master_name",
                self.master
            )),
            (_, Frame::Array(parts)) => address(parts).map(Some).ok_or_else(unexpected),
            _ => Err(unexpected()),
        }
    }

    fn refused(&self, error: &[u8], asked: Asked<'_>) -> String {
        let found = reason(error, asked);
        let mend = match asked {
            _ if error.starts_with(b"ERR unknown command") => ": is it a sentinel?",
            Asked::Auth => ": a sentinel's own credentials stand in redis.sentinel_kwargs",
            _ if error.starts_with(b"NOAUTH") => {
                return "the sentinel asks for a password: put it into redis.sentinel_kwargs"
                    .to_owned();
            }
            _ => "",
        };
        format!("sentinel: {found}{mend}")
    }
}

fn address(parts: &[Frame<'_>]) -> Option<HostPort> {
    let [host, port] = parts else { return None };
    let text = |frame: &Frame<'_>| std::str::from_utf8(frame.text()?).ok().map(str::to_owned);
    Some(HostPort {
        host: text(host).filter(|host| !host.is_empty())?,
        port: text(port)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sentinel(host: &str) -> HostPort {
        HostPort {
            host: host.into(),
            port: 26379,
        }
    }

    #[test]
    fn asks_each_sentinel_once_and_the_helpful_one_first() {
        let list = ["a", "b", "c"].map(sentinel);
        let mut search = Search::new(&list, 1);
        let mut order = Vec::new();
        let end = loop {
            match search.next_sentinel() {
                Ok(sentinel) => order.push(sentinel.host.clone()),
                Err(reason) => break reason,
            }
            search.failed(format!("{} is down", order.last().unwrap()));
        };
        assert_eq!(order, ["b", "c", "a"]);
        assert_eq!(end, "no sentinel helped: b is down; c is down; a is down");
    }

    #[test]
    fn learns_the_masters_address() {
        let password = Secret::new("p");
        let mut query = Query::new("m", None, Some(&password));
        let sent = String::from_utf8(std::mem::take(query.output())).unwrap();
        assert!(sent.contains("AUTH\r\n$1\r\np\r\n"), "{sent}");
        assert!(
            sent.ends_with("get-master-addr-by-name\r\n$1\r\nm\r\n"),
            "{sent}"
        );
        assert_eq!(query.handle(&Frame::Simple(b"OK")), Ok(None));
        let address = Frame::Array(vec![Frame::Bulk(b"10.0.0.7"), Frame::Bulk(b"6379")]);
        let expected = HostPort {
            host: "10.0.0.7".into(),
            port: 6379,
        };
        assert_eq!(query.handle(&address), Ok(Some(expected)));
    }

    #[test]
    fn says_what_is_wrong() {
        let answer = |frame: Frame<'_>| Query::new("m", None, None).handle(&frame).unwrap_err();
        assert!(answer(Frame::Null).contains("redis.master_name"));
        assert!(answer(Frame::Error(b"NOAUTH no")).contains("sentinel_kwargs"));
        let plain = answer(Frame::Error(b"ERR unknown command 'SENTINEL'"));
        assert!(plain.contains("is it a sentinel?"), "{plain}");
        for wrong in [
            Frame::Integer(1),
            Frame::Array(vec![]),
            Frame::Array(vec![Frame::Bulk(b"h"), Frame::Bulk(b"x")]),
        ] {
            assert!(answer(wrong).contains("is it Redis?"));
        }
    }
}
