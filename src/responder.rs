//! The sockets of one place where HAProxy asks: it connects, may say something (`agent-send`), reads
//! one line and closes.
//!
//! ```text
//!   accepted ──> Waiting ── the answer is there, or too late ──> Told ── closed, or too late ──> gone
//! ```
//!
//! What it says is read and dropped: a socket closed over unread bytes is reset, and the answer may be
//! lost with it. The port is open to anybody, so everything is bounded, and whoever was told already
//! makes room for others.

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};

/// Connections at once. They last for milliseconds; more wait in the kernel's queue.
pub const CONNECTIONS: usize = 64;

/// What a source may take that is asked at each request: less than HAProxy's usual patience, which is
/// `agent-inter`, 2 s.
const ANSWER_WITHIN: Duration = Duration::from_millis(1_500);

/// How long a client may take to close once it was told.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// What a client may say: `agent-send` is a short line.
const HEARD_MAX: usize = 4 * 1024;

/// A listener and its connections.
#[derive(Debug)]
pub struct Responder {
    listener: TcpListener,
    /// The listener's; its connections have the following ones.
    first_token: usize,
    peers: Vec<Option<Peer>>,
    /// Somebody may wait to be let in.
    knocked: bool,
}

#[derive(Debug)]
struct Peer {
    stream: TcpStream,
    state: State,
    /// There may be something to read.
    ready: bool,
    heard: usize,
    /// It says no more.
    silent: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Its answer is asked for; then it gets what there is.
    Waiting {
        until: Instant,
    },
    /// It has its answer; then it is hung up on.
    Told {
        until: Instant,
    },
    Gone,
}

impl Responder {
    /// Registers the listener. It takes `first_token` and the [`CONNECTIONS`] following ones.
    pub fn new(
        mut listener: TcpListener,
        registry: &Registry,
        first_token: Token,
    ) -> io::Result<Self> {
        registry.register(&mut listener, first_token, Interest::READABLE)?;
        Ok(Responder {
            listener,
            first_token: first_token.0,
            peers: std::iter::repeat_with(|| None).take(CONNECTIONS).collect(),
            knocked: true,
        })
    }

    /// The poll saw something on that token.
    pub fn wake(&mut self, token: Token) {
        self.knocked |= token.0 == self.first_token;
        let place = token.0.checked_sub(self.first_token + 1);
        if let Some(Some(peer)) = place.and_then(|place| self.peers.get_mut(place)) {
            peer.ready = true;
        }
    }

    /// True if somebody may wait to be let in.
    pub fn has_knocked(&self) -> bool {
        self.knocked
    }

    /// Lets those in who wait; answers how many came.
    pub fn accept(&mut self, registry: &Registry, now: Instant) -> usize {
        let mut came = 0;
        while self.knocked && came < CONNECTIONS {
            let Some(place) = self.free_place() else {
                return came;
            };
            match self.accept_at(place, registry, now) {
                Ok(()) => came += 1,
                // HAProxy comes again soon, and knocks anew: nothing is tried in a circle.
                Err(error) => {
                    self.knocked = false;
                    if error.kind() != ErrorKind::WouldBlock {
                        log::warn!(error:%; "agent check: connection not accepted");
                    }
                }
            }
        }
        came
    }

    fn accept_at(&mut self, place: usize, registry: &Registry, now: Instant) -> io::Result<()> {
        let (mut stream, _) = self.listener.accept()?;
        let token = Token(self.first_token + 1 + place);
        registry.register(&mut stream, token, Interest::READABLE)?;
        self.peers[place] = Some(Peer {
            stream,
            state: State::Waiting {
                until: now + ANSWER_WITHIN,
            },
            ready: true,
            heard: 0,
            silent: false,
        });
        Ok(())
    }

    /// A place that nobody has, else that of the one who was told longest ago.
    fn free_place(&mut self) -> Option<usize> {
        if let Some(free) = self.peers.iter().position(Option::is_none) {
            return Some(free);
        }
        let told = |(place, peer): (usize, &Option<Peer>)| match peer.as_ref()?.state {
            State::Told { until } => Some((until, place)),
            State::Waiting { .. } | State::Gone => None,
        };
        let (_, place) = self.peers.iter().enumerate().filter_map(told).min()?;
        self.peers[place] = None;
        Some(place)
    }

    /// True while somebody waits for an answer.
    pub fn is_asked(&self) -> bool {
        let mut peers = self.peers.iter().flatten();
        peers.any(|peer| matches!(peer.state, State::Waiting { .. }))
    }

    /// Tells `line` to those who wait: to all if it is `final`, else to those who waited long enough.
    /// Hears those who were told, and forgets who is gone.
    pub fn turn(&mut self, answer: &Line<'_>, now: Instant) {
        for place in &mut self.peers {
            let Some(peer) = place else { continue };
            peer.turn(answer, now);
            if peer.state == State::Gone {
                *place = None;
            }
        }
    }

    /// When the next turn is due at the latest.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        let peers = self.peers.iter();
        peers
            .map(|place| {
                place.as_ref().map(|peer| match (peer.ready, peer.state) {
                    (true, _) | (_, State::Gone) => now,
                    (false, State::Waiting { until } | State::Told { until }) => until,
                })
            })
            .filter_map(|until| until.or(self.knocked.then_some(now)))
            .min()
    }
}

/// What is told.
#[derive(Debug, Clone, Copy)]
pub struct Line<'a> {
    /// With its end.
    pub text: &'a [u8],
    /// Nothing better is to be expected.
    pub is_final: bool,
}

impl Peer {
    fn turn(&mut self, answer: &Line<'_>, now: Instant) {
        match self.state {
            State::Waiting { until } if answer.is_final || now >= until => {
                self.tell(answer.text, now);
            }
            State::Told { until } if now >= until => self.state = State::Gone,
            _ => {}
        }
        if self.ready && self.state != State::Gone {
            self.hear();
        }
    }

    /// A line fits into any socket's buffer: who takes only part of it has not read the one before.
    fn tell(&mut self, line: &[u8], now: Instant) {
        let is_told = matches!(self.stream.write(line), Ok(count) if count == line.len());
        self.state = match is_told && !self.silent {
            true => State::Told {
                until: now + CLOSE_WITHIN,
            },
            false => State::Gone,
        };
        // One that is gone already needs no end.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Reads what there is. One that has closed, or talks too much, is gone; but some say that they
    /// are done and wait for their answer.
    fn hear(&mut self) {
        let mut buffer = [0; 512];
        while self.heard <= HEARD_MAX {
            match self.stream.read(&mut buffer) {
                Ok(count) if count > 0 => self.heard += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.ready = false;
                    return;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(_) if matches!(self.state, State::Waiting { .. }) => {
                    (self.silent, self.ready) = (true, false);
                    return;
                }
                Ok(_) | Err(_) => break,
            }
        }
        self.state = State::Gone;
    }
}
