//! An HTTP/1.1 server's side of one connection, without the socket: bytes in, requests out;
//! responses in, bytes out; `now` comes as an argument.
//!
//! ```text
//!            head complete        body complete        taken            answered
//!   Head ───────────────> Body ─────────────────> Ready ──────> Busy ──────────────┐
//!    ^ │                   │                                                       v
//!    │ └─────── fault ─────┴──> answer, then Linger ──> Ended <── close ──────  output
//!    └──────────────────────────────── keep-alive, all sent ───────────────────────┘
//! ```
//!
//! One request at a time: a pipelined one waits, unparsed, until the answer before it is sent, and
//! meanwhile nothing more is read. Every buffer is bounded by [`Limits`], every wait has a deadline.
//! It serves the `sink` command and the control interface; paths, methods and rights are theirs.

use std::time::{Duration, Instant};

mod chunked;
mod head;
mod message;

pub use message::{Request, Response};

use chunked::Chunked;
use head::{Fault, Framing, Head};

/// Bytes of a request's head (request line and headers): room for the longest cookie a browser
/// sends, and still small for 64 connections.
pub const MAX_HEAD: usize = 16 * 1024;

/// Headers of a request: browsers send some 20.
pub const MAX_HEADERS: usize = 64;

/// From a request's first byte to its last: 10 MB in this time is 2.7 Mbit/s, and a client that
/// trickles a head (slow loris) holds its place no longer. An answer must be taken in it, too.
pub const REQUEST_DEADLINE: Duration = Duration::from_secs(30);

/// A connection without a request: longer than clients keep one, so that it is they who close.
pub const IDLE_DEADLINE: Duration = Duration::from_secs(75);

/// After a fault, what the client still sends is read and dropped for this long: closing at once
/// would reset the connection, and the answer would be lost with it.
const LINGER: Duration = Duration::from_secs(2);

/// What one connection may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of the head; also of a chunked body's trailers.
    pub head: usize,
    pub headers: usize,
    /// Bytes of the body, decoded.
    pub body: usize,
    /// First byte of a request to its last, and first byte of an answer to its last.
    pub request: Duration,
    pub idle: Duration,
}

impl Limits {
    /// The usual limits, with bodies of at most `body` bytes.
    pub fn with_body(body: usize) -> Self {
        Limits {
            head: MAX_HEAD,
            headers: MAX_HEADERS,
            body,
            request: REQUEST_DEADLINE,
            idle: IDLE_DEADLINE,
        }
    }
}

/// One connection. The shell reads while [`wants_read`](Self::wants_read), writes
/// [`output`](Self::output), and closes the socket once [`is_ended`](Self::is_ended).
#[derive(Debug)]
pub struct Connection {
    limits: Limits,
    state: State,
    /// Received, not yet understood.
    input: Vec<u8>,
    /// To be sent; the first `sent` bytes are.
    output: Vec<u8>,
    sent: usize,
    deadline: Option<Instant>,
    /// The client sends no more.
    eof: bool,
    /// The answer under way is the last one.
    last: bool,
}

#[derive(Debug)]
enum State {
    Head,
    Body(Incoming),
    Ready(Request),
    Busy(Manner),
    Linger,
    Ended,
}

/// A request whose body is on its way.
#[derive(Debug)]
struct Incoming {
    head: Head,
    body: Body,
    bytes: Vec<u8>,
}

#[derive(Debug)]
enum Body {
    Length(usize),
    Chunked(Chunked),
}

/// How the request under way is to be answered.
#[derive(Debug, Clone, Copy)]
struct Manner {
    keep_alive: bool,
    head_only: bool,
}

impl Connection {
    /// A connection that was just accepted.
    pub fn new(limits: Limits, now: Instant) -> Self {
        Connection {
            limits,
            state: State::Head,
            input: Vec::new(),
            output: Vec::new(),
            sent: 0,
            deadline: Some(now + limits.idle),
            eof: false,
            last: false,
        }
    }

    /// Takes what the socket gave.
    pub fn handle_input(&mut self, bytes: &[u8], now: Instant) {
        if bytes.is_empty() || matches!(self.state, State::Linger | State::Ended) {
            return;
        }
        if self.is_idle() {
            self.deadline = Some(now + self.limits.request);
        }
        let lines = bytes.contains(&b'\n');
        self.input.extend_from_slice(bytes);
        // A head is parsed when a line of it has ended, not at every byte of it.
        let whole = lines || self.input.len() >= self.limits.head;
        if whole || !matches!(self.state, State::Head) {
            self.advance(now);
        }
    }

    /// The client has sent all it wants to send.
    pub fn handle_eof(&mut self, now: Instant) {
        self.eof = true;
        match self.state {
            State::Linger if self.output().is_empty() => self.end(),
            State::Linger | State::Ended => {}
            _ => self.advance(now),
        }
    }

    /// The deadline has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.deadline.is_none_or(|deadline| now < deadline) {
            return;
        }
        let receiving = matches!(self.state, State::Head | State::Body(_));
        if receiving && self.output().is_empty() && !self.is_idle() {
            self.fault(Fault(408, "the request did not arrive in time"), now);
        } else {
            self.end();
        }
    }

    /// The socket failed: nothing more can be said.
    pub fn abort(&mut self) {
        self.end();
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due. None while the request is being
    /// answered: how long that takes is the caller's affair.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// The next request, once; it is answered with [`respond`](Self::respond).
    pub fn poll_request(&mut self) -> Option<Request> {
        let State::Ready(request) = &self.state else {
            return None;
        };
        let manner = Manner {
            keep_alive: request.keep_alive,
            head_only: request.method == "HEAD",
        };
        match std::mem::replace(&mut self.state, State::Busy(manner)) {
            State::Ready(request) => Some(request),
            _ => None,
        }
    }

    /// Answers the request under way. Without one it does nothing.
    pub fn respond(&mut self, response: &Response, now: Instant) {
        let State::Busy(manner) = self.state else {
            return;
        };
        self.last = !manner.keep_alive;
        response.render(manner, &mut self.output);
        self.state = State::Head;
        self.deadline = Some(now + self.limits.request);
    }

    /// Bytes to be sent.
    pub fn output(&self) -> &[u8] {
        self.output.get(self.sent..).unwrap_or_default()
    }

    /// The socket took `count` bytes of [`output`](Self::output).
    pub fn handle_sent(&mut self, count: usize, now: Instant) {
        self.sent = self.output.len().min(self.sent + count);
        if !self.output.is_empty() && self.sent == self.output.len() {
            self.output = Vec::new();
            self.sent = 0;
            self.all_sent(now);
        }
    }

    /// True while there is room for what the client sends.
    pub fn wants_read(&self) -> bool {
        if self.eof {
            return false;
        }
        match self.state {
            State::Head => self.output.is_empty(),
            State::Body(_) | State::Linger => true,
            State::Ready(_) | State::Busy(_) | State::Ended => false,
        }
    }

    /// True once all is said and the client has to end: the socket's writing side is to be shut
    /// down, so that a client which reads to the end finds it.
    pub fn wants_shutdown(&self) -> bool {
        matches!(self.state, State::Linger) && self.output.is_empty()
    }

    /// True once the socket is to be closed.
    pub fn is_ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    /// Nothing of a request has arrived, and no answer is under way.
    fn is_idle(&self) -> bool {
        matches!(self.state, State::Head) && self.input.is_empty() && self.output.is_empty()
    }

    fn all_sent(&mut self, now: Instant) {
        match self.state {
            State::Head if self.last => self.end(),
            State::Head => {
                let wait = if self.input.is_empty() {
                    self.limits.idle
                } else {
                    self.limits.request
                };
                self.deadline = Some(now + wait);
                self.advance(now);
            }
            State::Linger if self.eof => self.end(),
            State::Linger => self.deadline = Some(now + LINGER),
            // 100 Continue: the request's deadline runs on.
            _ => {}
        }
    }

    /// Understands as much of the input as there is.
    fn advance(&mut self, now: Instant) {
        let step = match self.state {
            State::Head if self.output.is_empty() => self.read_head(),
            State::Body(_) => self.read_body(),
            _ => return,
        };
        match step {
            Ok(true) => self.advance(now),
            Ok(false) if self.eof => self.end(),
            Ok(false) => {}
            Err(fault) => self.fault(fault, now),
        }
    }

    /// True if the state has changed.
    fn read_head(&mut self) -> Result<bool, Fault> {
        let Some((length, head)) = Head::parse(&self.input, &self.limits)? else {
            return Ok(false);
        };
        self.input.drain(..length);
        let body = match head.framing {
            Framing::Length(length) => Body::Length(length),
            Framing::Chunked => Body::Chunked(Chunked::default()),
        };
        if head.expects_continue && head.framing != Framing::Length(0) && self.input.is_empty() {
            self.output
                .extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        let bytes = Vec::new();
        self.state = State::Body(Incoming { head, body, bytes });
        Ok(true)
    }

    /// True if the state has changed.
    fn read_body(&mut self) -> Result<bool, Fault> {
        let State::Body(incoming) = &mut self.state else {
            return Ok(false);
        };
        if !incoming.read(&mut self.input, &self.limits)? {
            return Ok(false);
        }
        self.deadline = None;
        if let State::Body(incoming) = std::mem::replace(&mut self.state, State::Ended) {
            self.state = State::Ready(incoming.head.into_request(incoming.bytes));
        }
        Ok(true)
    }

    /// Says what is wrong; the connection cannot go on, since where the next request begins is
    /// unknown.
    fn fault(&mut self, Fault(status, text): Fault, now: Instant) {
        let manner = Manner {
            keep_alive: false,
            head_only: false,
        };
        Response::text(status, text).render(manner, &mut self.output);
        self.input = Vec::new();
        self.state = State::Linger;
        self.deadline = Some(now + self.limits.request);
    }

    fn end(&mut self) {
        self.state = State::Ended;
        self.input = Vec::new();
        self.output = Vec::new();
        self.sent = 0;
        self.deadline = None;
    }
}

impl Incoming {
    /// Moves what belongs to the body out of `input`; true if it is complete.
    fn read(&mut self, input: &mut Vec<u8>, limits: &Limits) -> Result<bool, Fault> {
        let (used, complete) = match &mut self.body {
            Body::Length(length) => {
                let used = input.len().min(length.saturating_sub(self.bytes.len()));
                self.bytes.extend_from_slice(&input[..used]);
                (used, self.bytes.len() == *length)
            }
            Body::Chunked(chunked) => chunked.decode(input, &mut self.bytes, limits)?,
        };
        input.drain(..used);
        Ok(complete)
    }
}

#[cfg(test)]
mod tests;
