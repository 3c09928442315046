//! The talk with one Redis server: frames and `now` in, bytes to send and happenings out. Pure.
//!
//! ```text
//!  greeting ── AUTH, SELECT, CLIENT SETNAME, ROLE, (P)SUBSCRIBE ──► live ── hang_up ──► leaving
//!     │ an error, a replica                  PING every 25 s  │ silence                   │
//!     └──────────────► Err(reason) ◄──────────────────────────┘             Closed ◄──────┘
//! ```
//!
//! The greeting goes out in one piece: on a thin line each round trip counts. The first refusal is
//! the reason of all that follow it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::channels::{Channels, Found};
use super::failure::{Asked, reason};
use super::resp::{Frame, write_command};
use crate::secret::Secret;

/// How often the subscription is asked for a sign of life. Below the minute after which many
/// firewalls forget a silent connection.
pub const PING_EVERY: Duration = Duration::from_secs(25);

/// Pings without any answer after which the server counts as dead.
const MAX_UNANSWERED: u32 = 2;

/// Who asks, and for what.
#[derive(Debug, Clone)]
pub struct Greeting {
    pub user: Option<String>,
    pub password: Option<Secret>,
    pub db: u32,
    pub client_name: String,
    pub channels: Channels,
    /// A server that sentinels named must be a master: they may be behind the times.
    pub found: Found,
}

/// What a frame means.
#[derive(Debug, PartialEq, Eq)]
pub enum Happening<'a> {
    Nothing,
    /// Everything published from here on arrives.
    Live,
    /// What was published.
    Message(&'a [u8]),
    /// The server confirmed that nothing more comes.
    Closed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Await {
    Auth,
    Select,
    /// Whatever it is: an old server or a strict ACL refuses, and nothing depends on it.
    Name,
    Role,
    Subscribed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Greeting,
    Live { next_ping: Instant, unanswered: u32 },
    Leaving,
}

/// See the module's text.
#[derive(Debug)]
pub struct Session {
    channels: Channels,
    db: u32,
    awaited: VecDeque<Await>,
    phase: Phase,
    heard: Instant,
    out: Vec<u8>,
}

impl Session {
    /// Begins the talk.
    pub fn new(greeting: &Greeting, now: Instant) -> Self {
        let mut session = Session {
            channels: greeting.channels.clone(),
            db: greeting.db,
            awaited: VecDeque::new(),
            phase: Phase::Greeting,
            heard: now,
            out: Vec::new(),
        };
        session.greet(greeting);
        session
    }

    fn greet(&mut self, greeting: &Greeting) {
        let user = greeting.user.as_deref();
        if let Some(words) = auth(user, greeting.password.as_ref()) {
            self.ask(Await::Auth, &words);
        }
        if greeting.db != 0 {
            let db = greeting.db.to_string();
            self.ask(Await::Select, &[b"SELECT", db.as_bytes()]);
        }
        let name = greeting.client_name.as_bytes();
        self.ask(Await::Name, &[b"CLIENT", b"SETNAME", name]);
        if greeting.found == Found::BySentinels {
            self.ask(Await::Role, &[b"ROLE"]);
        }
        let names = greeting.channels.names().iter().map(String::as_bytes);
        let words: Vec<_> = [greeting.channels.subscribe().as_bytes()]
            .into_iter()
            .chain(names)
            .collect();
        self.ask(Await::Subscribed, &words);
        for _ in 1..greeting.channels.count() {
            self.awaited.push_back(Await::Subscribed);
        }
    }

    fn ask(&mut self, awaited: Await, words: &[&[u8]]) {
        write_command(&mut self.out, words);
        self.awaited.push_back(awaited);
    }

    /// Bytes to send, in order.
    pub fn output(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Something arrived, whatever it is.
    pub fn hear(&mut self, now: Instant) {
        self.heard = now;
        if let Phase::Live { unanswered, .. } = &mut self.phase {
            *unanswered = 0;
        }
    }

    /// When the server last gave a sign of life.
    pub fn heard(&self) -> Instant {
        self.heard
    }

    /// Subscribed, and not asked to end it.
    pub fn is_live(&self) -> bool {
        matches!(self.phase, Phase::Live { .. })
    }

    /// The server has not taken us in yet.
    pub fn is_greeting(&self) -> bool {
        self.phase == Phase::Greeting
    }

    /// Takes a frame. An error is why this server is of no use now.
    pub fn handle<'a>(&mut self, frame: &Frame<'a>, now: Instant) -> Result<Happening<'a>, String> {
        match self.phase {
            Phase::Greeting => self.greeted(frame, now),
            Phase::Live { .. } | Phase::Leaving => self.pushed(frame),
        }
    }

    fn greeted<'a>(&mut self, frame: &Frame<'a>, now: Instant) -> Result<Happening<'a>, String> {
        let Some(awaited) = self.awaited.pop_front() else {
            return Err(unexpected());
        };
        match (awaited, frame) {
            (Await::Name, Frame::Error(error)) if !is_fatal(error) => {}
            (_, Frame::Error(error)) => return Err(reason(error, self.asked(awaited))),
            (Await::Role, Frame::Array(role)) => check_role(role)?,
            (Await::Subscribed, Frame::Array(_)) => {}
            (Await::Auth | Await::Select | Await::Name, Frame::Simple(_)) => {}
            _ => return Err(unexpected()),
        }
        if !self.awaited.is_empty() {
            return Ok(Happening::Nothing);
        }
        self.phase = Phase::Live {
            next_ping: now + PING_EVERY,
            unanswered: 0,
        };
        Ok(Happening::Live)
    }

    fn asked(&self, awaited: Await) -> Asked<'_> {
        match awaited {
            Await::Auth => Asked::Auth,
            Await::Select => Asked::Select { db: self.db },
            Await::Subscribed => Asked::Subscribe {
                channels: self.channels.names(),
            },
            Await::Name | Await::Role => Asked::Other,
        }
    }

    fn pushed<'a>(&mut self, frame: &Frame<'a>) -> Result<Happening<'a>, String> {
        let parts = match frame {
            Frame::Array(parts) => parts.as_slice(),
            // A pong, as version 3 has it and version 2 without a subscription.
            Frame::Simple(_) => return Ok(Happening::Nothing),
            Frame::Error(error) => return Err(reason(error, Asked::Other)),
            _ => return Err(unexpected()),
        };
        let text = |index: usize| parts.get(index).and_then(Frame::text);
        match (text(0), parts.len()) {
            (Some(b"pmessage"), 4) => text(3).map(Happening::Message).ok_or_else(unexpected),
            (Some(b"message"), 3) => text(2).map(Happening::Message).ok_or_else(unexpected),
            (Some(b"pong"), _) => Ok(Happening::Nothing),
            (Some(b"unsubscribe" | b"punsubscribe"), 3) => self.unsubscribed(&parts[2]),
            _ => Err(unexpected()),
        }
    }

    fn unsubscribed<'a>(&self, left: &Frame<'_>) -> Result<Happening<'a>, String> {
        match (self.phase, left) {
            (Phase::Leaving, Frame::Integer(0)) => Ok(Happening::Closed),
            (Phase::Leaving, _) => Ok(Happening::Nothing),
            _ => Err("the server ended the subscription".to_owned()),
        }
    }

    /// Asks the server to end the subscription: what was published before still comes, then
    /// `Closed`. Answers false where there is no subscription to end.
    pub fn hang_up(&mut self) -> bool {
        if !self.is_live() {
            return false;
        }
        self.phase = Phase::Leaving;
        write_command(&mut self.out, &[self.channels.unsubscribe().as_bytes()]);
        true
    }

    /// When time alone changes something here.
    pub fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Live { next_ping, .. } => Some(next_ping),
            Phase::Greeting | Phase::Leaving => None,
        }
    }

    /// Pings, or gives a silent server up.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), String> {
        let Phase::Live {
            next_ping,
            unanswered,
        } = &mut self.phase
        else {
            return Ok(());
        };
        if now < *next_ping {
            return Ok(());
        }
        if *unanswered >= MAX_UNANSWERED {
            let silent = now.saturating_duration_since(self.heard).as_secs();
            return Err(format!(
                "the server was silent for {silent} s: it hangs, or the network is cut"
            ));
        }
        *unanswered += 1;
        *next_ping = now + PING_EVERY;
        write_command(&mut self.out, &[b"PING"]);
        Ok(())
    }
}

/// The words of AUTH; `None` without credentials. A user without a password has an empty one.
pub fn auth<'a>(user: Option<&'a str>, password: Option<&'a Secret>) -> Option<Vec<&'a [u8]>> {
    let password = password.map(|secret| secret.expose().as_bytes());
    match (user, password) {
        (None, None) => None,
        (None, Some(password)) => Some(vec![b"AUTH", password]),
        (Some(user), password) => {
            Some(vec![b"AUTH", user.as_bytes(), password.unwrap_or_default()])
        }
    }
}

pub fn unexpected() -> String {
    "the server answered what no Redis answers: is it Redis?".to_owned()
}

/// Errors that have nothing to do with the command they answer.
fn is_fatal(error: &[u8]) -> bool {
    [&b"NOAUTH"[..], b"DENIED", b"ERR max number of clients"]
        .iter()
        .any(|code| error.starts_with(code))
}

fn check_role(role: &[Frame<'_>]) -> Result<(), String> {
    match role.first().and_then(Frame::text) {
        Some(b"master") => Ok(()),
        Some(b"slave") => Err("the sentinel's master is a replica: a failover is under way".into()),
        _ => Err(unexpected()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::config::redis::RedisOptions;

    fn greeting(found: Found) -> Greeting {
        Greeting {
            user: None,
            password: None,
            db: 0,
            client_name: "leek-agent:shop-qa".into(),
            channels: Channels::new(&RedisOptions::default(), 0, "celeryev", "#", found),
            found,
        }
    }

    fn sent(session: &mut Session) -> String {
        let out = std::mem::take(session.output());
        let lines = String::from_utf8(out).unwrap();
        let words = lines
            .split("\r\n")
            .filter(|line| !line.starts_with(['*', '$']) && !line.is_empty());
        words.collect::<Vec<_>>().join(" ")
    }

    fn subscribed() -> Frame<'static> {
        let parts = [Frame::Bulk(b"psubscribe"), Frame::Bulk(b"/0.celeryev/*")];
        Frame::Array([parts.to_vec(), vec![Frame::Integer(1)]].concat())
    }

    fn live(now: Instant) -> Session {
        let mut session = Session::new(&greeting(Found::ByAddress), now);
        sent(&mut session);
        assert_eq!(
            session.handle(&Frame::Simple(b"OK"), now),
            Ok(Happening::Nothing)
        );
        assert_eq!(session.handle(&subscribed(), now), Ok(Happening::Live));
        session
    }

    #[test]
    fn greets_in_one_piece() {
        let now = clock::monotonic();
        let mut session = Session::new(&greeting(Found::ByAddress), now);
        assert_eq!(
            sent(&mut session),
            "CLIENT SETNAME leek-agent:shop-qa PSUBSCRIBE /0.celeryev/*"
        );
        let all = Greeting {
            user: Some("u".into()),
            password: Some(Secret::new("p")),
            db: 3,
            ..greeting(Found::BySentinels)
        };
        let mut session = Session::new(&all, now);
        assert_eq!(
            sent(&mut session),
            "AUTH u p SELECT 3 CLIENT SETNAME leek-agent:shop-qa ROLE \
             PSUBSCRIBE /0.celeryev/* /{db}.celeryev/*"
        );
    }

    #[test]
    fn a_name_that_is_refused_harms_nothing() {
        let now = clock::monotonic();
        let mut session = Session::new(&greeting(Found::ByAddress), now);
        let refused = Frame::Error(b"NOPERM no client|setname");
        assert_eq!(session.handle(&refused, now), Ok(Happening::Nothing));
        assert_eq!(session.handle(&subscribed(), now), Ok(Happening::Live));
    }

    #[test]
    fn a_refusal_ends_it() {
        let now = clock::monotonic();
        let refused = |frame: Frame<'static>| {
            let mut session = Session::new(&greeting(Found::BySentinels), now);
            session
                .handle(&Frame::Simple(b"OK"), now)
                .expect("the name");
            session.handle(&frame, now).unwrap_err()
        };
        let replica = Frame::Array(vec![Frame::Bulk(b"slave"), Frame::Bulk(b"10.0.0.1")]);
        assert!(refused(replica).contains("replica"));
        assert!(refused(Frame::Error(b"NOAUTH Authentication required.")).contains("password"));
        assert!(refused(Frame::Simple(b"OK")).contains("is it Redis?"));
        let mut session = Session::new(&greeting(Found::ByAddress), now);
        let denied = Frame::Error(b"DENIED Redis is running in protected mode");
        assert!(
            session
                .handle(&denied, now)
                .unwrap_err()
                .contains("protected")
        );
    }

    #[test]
    fn messages_are_handed_out() {
        let now = clock::monotonic();
        let mut session = live(now);
        let pmessage = Frame::Array(
            [&b"pmessage"[..], b"/0.celeryev/*", b"/0.celeryev/x", b"{}"]
                .map(Frame::Bulk)
                .to_vec(),
        );
        assert_eq!(
            session.handle(&pmessage, now),
            Ok(Happening::Message(b"{}"))
        );
        let message = Frame::Array([&b"message"[..], b"c", b"{}"].map(Frame::Bulk).to_vec());
        assert_eq!(session.handle(&message, now), Ok(Happening::Message(b"{}")));
        let pong = Frame::Array([&b"pong"[..], b""].map(Frame::Bulk).to_vec());
        assert_eq!(session.handle(&pong, now), Ok(Happening::Nothing));
        for wrong in [
            Frame::Array(vec![]),
            Frame::Null,
            Frame::Array(vec![Frame::Bulk(b"pmessage")]),
        ] {
            assert!(session.handle(&wrong, now).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_silent_server_is_dropped_after_two_pings() {
        let start = clock::monotonic();
        let mut session = live(start);
        let mut pings = 0;
        let end = loop {
            let now = session.deadline().expect("live");
            match session.handle_timeout(now) {
                Ok(()) => pings += 1,
                Err(reason) => break (now, reason),
            }
            assert_eq!(sent(&mut session), "PING");
        };
        assert_eq!(pings, 2);
        assert_eq!(end.0 - start, 3 * PING_EVERY);
        assert!(end.1.contains("silent for 75 s"), "{}", end.1);
    }

    #[test]
    fn a_server_that_answers_lives_for_ever() {
        let start = clock::monotonic();
        let mut session = live(start);
        for _ in 0..1000 {
            let now = session.deadline().expect("live");
            session.handle_timeout(now).expect("it answers");
            session.hear(now);
        }
        assert_eq!(session.heard() - start, 1000 * PING_EVERY);
    }

    #[test]
    fn hanging_up_waits_for_the_last_word() {
        let now = clock::monotonic();
        let mut session = live(now);
        assert!(session.hang_up());
        assert!(!session.hang_up());
        assert_eq!(sent(&mut session), "PUNSUBSCRIBE");
        let message = Frame::Array([&b"message"[..], b"c", b"{}"].map(Frame::Bulk).to_vec());
        assert_eq!(session.handle(&message, now), Ok(Happening::Message(b"{}")));
        let left = |count| {
            let parts = [Frame::Bulk(b"punsubscribe"), Frame::Bulk(b"x")];
            Frame::Array([parts.to_vec(), vec![Frame::Integer(count)]].concat())
        };
        assert_eq!(session.handle(&left(1), now), Ok(Happening::Nothing));
        assert_eq!(session.handle(&left(0), now), Ok(Happening::Closed));
        let mut session = live(now);
        assert!(session.handle(&left(0), now).is_err());
    }
}
