//! The sockets below [`crate::http`]: one listener of an event loop, with a fixed number of
//! connections. Who needs it polls, and calls [`Server::turn`] after each sleep.

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::time::Instant;

use log::warn;
use mio::event::Source;
use mio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use mio::{Interest, Registry, Token};

use crate::http::{Connection, Limits, Request, Response};

/// Where connections come from.
#[derive(Debug)]
pub enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    fn source(&mut self) -> &mut dyn Source {
        match self {
            Listener::Tcp(listener) => listener,
            Listener::Unix(listener) => listener,
        }
    }

    fn accept(&self) -> io::Result<Stream> {
        Ok(match self {
            Listener::Tcp(listener) => {
                let (stream, _) = listener.accept()?;
                // An answer is one write; there is nothing to gather. Without it, it is only slower.
                let _ = stream.set_nodelay(true);
                Stream::Tcp(stream)
            }
            Listener::Unix(listener) => Stream::Unix(listener.accept()?.0),
        })
    }
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    fn source(&mut self) -> &mut dyn Source {
        match self {
            Stream::Tcp(stream) => stream,
            Stream::Unix(stream) => stream,
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.read(buffer),
            Stream::Unix(stream) => stream.read(buffer),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.write(bytes),
            Stream::Unix(stream) => stream.write(bytes),
        }
    }

    fn end_writing(&self) {
        // One that is gone already needs no end.
        let _ = match self {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write),
        };
    }
}

/// What a server may take of its process.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Connections at once; more wait in the kernel's queue.
    pub connections: usize,
    /// Bytes read from one connection before the next has its turn.
    pub read: usize,
    pub limits: Limits,
}

/// A request that waits for its answer: the place it came in by, and who has that place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    place: usize,
    peer: u64,
}

/// A listener and its connections.
#[derive(Debug)]
pub struct Server {
    listener: Listener,
    /// The listener's; its connections have the following ones.
    first_token: usize,
    peers: Vec<Option<Peer>>,
    /// Somebody may wait to be let in: asked only then, since loops turn often and clients are rare.
    knocked: bool,
    limits: Limits,
    buffer: Vec<u8>,
    accepted: u64,
}

#[derive(Debug)]
struct Peer {
    /// Which of all that were ever accepted.
    number: u64,
    stream: Stream,
    connection: Connection,
    /// There may be something to read, or room to write.
    ready: bool,
}

impl Server {
    /// Registers the listener. It takes `first_token` and as many of the following ones as there may
    /// be connections.
    pub fn new(
        mut listener: Listener,
        size: Size,
        registry: &Registry,
        first_token: Token,
    ) -> io::Result<Self> {
        registry.register(listener.source(), first_token, Interest::READABLE)?;
        Ok(Server {
            listener,
            first_token: first_token.0,
            peers: std::iter::repeat_with(|| None)
                .take(size.connections)
                .collect(),
            knocked: true,
            limits: size.limits,
            buffer: vec![0; size.read],
            accepted: 0,
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

    /// When the next turn is due at the latest.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        let peers = self.peers.iter().flatten();
        peers.filter_map(|peer| peer.wakes_at(now)).min()
    }

    /// One turn for each connection that is ready or due. A request that `answer` answers with nothing
    /// waits for [`respond`](Self::respond). Ends at the first that cannot be answered.
    pub fn turn<E>(
        &mut self,
        registry: &Registry,
        mut answer: impl FnMut(&Request, Ticket) -> Result<Option<Response>, E>,
        now: Instant,
    ) -> Result<(), E> {
        for (index, place) in self.peers.iter_mut().enumerate() {
            let Some(peer) = place else { continue };
            if peer.is_due(now) {
                let ticket = Ticket {
                    place: index,
                    peer: peer.number,
                };
                let mut answer = |request: &Request| answer(request, ticket);
                peer.turn(&mut self.buffer, &mut answer, now)?;
            }
            if peer.connection.is_ended() {
                *place = None;
            }
        }
        // Last, since turns free places, and nothing tells twice of a connection that waits.
        if self.knocked {
            self.accept(registry, now);
        }
        Ok(())
    }

    /// Answers a request that waits. One whose client is gone is answered to nobody.
    pub fn respond(&mut self, ticket: Ticket, response: &Response, now: Instant) {
        let peer = self.peers.get_mut(ticket.place).and_then(Option::as_mut);
        if let Some(peer) = peer.filter(|peer| peer.number == ticket.peer) {
            peer.connection.respond(response, now);
            peer.write(now);
            peer.ready = true;
        }
    }

    /// Takes what waits, as far as there is room.
    fn accept(&mut self, registry: &Registry, now: Instant) {
        for (index, place) in self.peers.iter_mut().enumerate() {
            if place.is_some() {
                continue;
            }
            let token = Token(self.first_token + 1 + index);
            let accepted = self.listener.accept().and_then(|mut stream| {
                let interest = Interest::READABLE | Interest::WRITABLE;
                registry.register(stream.source(), token, interest)?;
                Ok(stream)
            });
            match accepted {
                Ok(stream) => {
                    self.accepted += 1;
                    *place = Some(Peer {
                        number: self.accepted,
                        stream,
                        connection: Connection::new(self.limits, now),
                        ready: true,
                    });
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.knocked = false;
                    return;
                }
                Err(error) => return warn!(error:%; "connection not accepted"),
            }
        }
    }
}

impl Peer {
    fn wakes_at(&self, now: Instant) -> Option<Instant> {
        if self.ready {
            Some(now)
        } else {
            self.connection.deadline()
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        self.wakes_at(now).is_some_and(|at| at <= now)
    }

    /// Reads once, answers what is complete, writes what the socket takes.
    fn turn<E>(
        &mut self,
        buffer: &mut [u8],
        answer: &mut impl FnMut(&Request) -> Result<Option<Response>, E>,
        now: Instant,
    ) -> Result<(), E> {
        self.connection.handle_timeout(now);
        let drained = self.connection.wants_read() && self.read(buffer, now);
        self.write(now);
        while let Some(request) = self.connection.poll_request() {
            let Some(response) = answer(&request)? else {
                break;
            };
            self.connection.respond(&response, now);
            self.write(now);
        }
        if self.connection.wants_shutdown() {
            self.stream.end_writing();
        }
        self.ready = !drained && self.connection.wants_read();
        Ok(())
    }

    /// True if there is nothing more to read for now.
    fn read(&mut self, buffer: &mut [u8], now: Instant) -> bool {
        match self.stream.read(buffer) {
            Ok(0) => self.connection.handle_eof(now),
            Ok(count) => self.connection.handle_input(&buffer[..count], now),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => self.connection.abort(),
        }
        false
    }

    fn write(&mut self, now: Instant) {
        while !self.connection.output().is_empty() {
            match self.stream.write(self.connection.output()) {
                Ok(count) if count > 0 => self.connection.handle_sent(count, now),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => return self.connection.abort(),
            }
        }
    }
}
