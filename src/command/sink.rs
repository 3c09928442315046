//! `leek-agent sink`: a stand-in for the Leek API, to commission a gateway with.
//!
//! It answers as the API does and prints or appends what it is given, one document a line. One
//! thread, one mio loop. It keeps nothing in memory: a batch is written out before it is answered.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::path::PathBuf;
use std::time::Instant;

use log::{info, warn};
use mio::net::{TcpListener, TcpStream, UnixStream};
use mio::{Events, Interest, Poll, Token};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::clock;
use crate::http::{Connection, Limits, Request, Response};
use crate::secret::Secret;

mod api;
mod output;

use output::Output;

/// Connections at once: three agents with 20 uploaders each, and a person with curl. More wait in
/// the kernel's queue.
const MAX_CONNECTIONS: usize = 64;

/// Bytes of a batch: three times the largest that an agent may be configured to send.
const MAX_BODY: usize = 32 * 1024 * 1024;

/// Bytes read from one connection before the next has its turn.
const READ_SIZE: usize = 64 * 1024;

/// Connections that become ready in one turn of the loop; more are found in the next.
const MAX_EVENTS: usize = 128;

const LISTENER: Token = Token(MAX_CONNECTIONS);
const SIGNALS: Token = Token(MAX_CONNECTIONS + 1);

/// What `sink` was asked to do.
#[derive(Debug, Clone)]
pub struct Options {
    /// Port 0 takes any free one.
    pub listen: SocketAddr,
    /// Where the documents are appended; standard output without it.
    pub out: Option<PathBuf>,
    /// The key that agents must show; any will do without it.
    pub app_key: Option<Secret>,
}

/// Why the sink did not start, or ended.
#[derive(Debug)]
pub enum SinkError {
    /// The address cannot be listened on.
    Listen(SocketAddr, io::Error),
    /// The file cannot be opened for appending.
    Open(PathBuf, io::Error),
    /// Whoever read the standard output is gone.
    Printed(io::Error),
    /// The operating system refused what an event loop needs.
    Loop(io::Error),
}

impl fmt::Display for SinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SinkError::Listen(address, error) => write!(f, "--listen {address}: {error}"),
            SinkError::Open(path, error) => write!(f, "--out {}: {error}", path.display()),
            SinkError::Printed(error) => write!(f, "standard output: {error}"),
            SinkError::Loop(error) => write!(f, "event loop: {error}"),
        }
    }
}

impl std::error::Error for SinkError {}

/// Runs the sink until SIGTERM or SIGINT.
pub fn run(options: Options) -> Result<(), SinkError> {
    let sink = Sink::bind(options)?;
    // Scripts that let the system choose the port read it from here.
    eprintln!("listening on http://{}", sink.address());
    info!(address:% = sink.address(); "sink listening");
    sink.serve()
}

/// A sink that listens.
pub struct Sink {
    poll: Poll,
    listener: TcpListener,
    address: SocketAddr,
    signals: UnixStream,
    peers: [Option<Peer>; MAX_CONNECTIONS],
    app_key: Option<Secret>,
    output: Output,
    buffer: Vec<u8>,
}

struct Peer {
    stream: TcpStream,
    connection: Connection,
    /// There may be something to read, or room to write.
    ready: bool,
}

impl Sink {
    /// Listens; from here on SIGTERM and SIGINT end [`serve`](Self::serve) instead of the process.
    pub fn bind(options: Options) -> Result<Self, SinkError> {
        let output = Output::open(options.out)?;
        let listen = |error| SinkError::Listen(options.listen, error);
        let mut listener = TcpListener::bind(options.listen).map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let poll = Poll::new().map_err(SinkError::Loop)?;
        let mut signals = signals().map_err(SinkError::Loop)?;
        let registry = poll.registry();
        registry
            .register(&mut listener, LISTENER, Interest::READABLE)
            .and_then(|()| registry.register(&mut signals, SIGNALS, Interest::READABLE))
            .map_err(SinkError::Loop)?;
        Ok(Sink {
            poll,
            listener,
            address,
            signals,
            peers: [const { None }; MAX_CONNECTIONS],
            app_key: options.app_key,
            output,
            buffer: vec![0; READ_SIZE],
        })
    }

    /// Where it listens; says the real port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until SIGTERM or SIGINT.
    pub fn serve(mut self) -> Result<(), SinkError> {
        let mut events = Events::with_capacity(MAX_EVENTS);
        loop {
            self.wait(&mut events).map_err(SinkError::Loop)?;
            if self.signalled() {
                return Ok(());
            }
            self.take_turns()?;
            // Last, since turns free places, and nothing tells twice of a connection that waits.
            self.accept();
        }
    }

    /// Sleeps until something happens or the nearest deadline has come.
    fn wait(&mut self, events: &mut Events) -> io::Result<()> {
        let now = clock::monotonic();
        let wakes = self
            .peers
            .iter()
            .flatten()
            .filter_map(|peer| peer.wakes_at(now));
        let timeout = wakes.min().map(|at| at.saturating_duration_since(now));
        match self.poll.poll(events, timeout) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            other => other?,
        }
        for event in events.iter() {
            if let Some(Some(peer)) = self.peers.get_mut(event.token().0) {
                peer.ready = true;
            }
        }
        Ok(())
    }

    fn signalled(&mut self) -> bool {
        matches!(self.signals.read(&mut [0]), Ok(count) if count > 0)
    }

    /// Takes what waits, as far as there is room.
    fn accept(&mut self) {
        for (index, place) in self.peers.iter_mut().enumerate() {
            if place.is_some() {
                continue;
            }
            let accepted = self.listener.accept().and_then(|(mut stream, _)| {
                let interest = Interest::READABLE | Interest::WRITABLE;
                self.poll
                    .registry()
                    .register(&mut stream, Token(index), interest)?;
                Ok(stream)
            });
            match accepted {
                Ok(stream) => *place = Some(Peer::new(stream)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => return warn!(error:%; "connection not accepted"),
            }
        }
    }

    /// One turn for each connection that is ready or due.
    fn take_turns(&mut self) -> Result<(), SinkError> {
        let now = clock::monotonic();
        for place in &mut self.peers {
            let Some(peer) = place else { continue };
            let mut answer =
                |request: Request| answer(&request, self.app_key.as_ref(), &mut self.output);
            if peer.is_due(now) {
                peer.turn(&mut self.buffer, &mut answer, now)?;
            }
            if peer.connection.is_ended() {
                *place = None;
            }
        }
        Ok(())
    }
}

impl Peer {
    fn new(stream: TcpStream) -> Self {
        // An answer is one write; there is nothing to gather. Without it, it is only slower.
        let _ = stream.set_nodelay(true);
        let connection = Connection::new(Limits::with_body(MAX_BODY), clock::monotonic());
        Peer {
            stream,
            connection,
            ready: true,
        }
    }

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
    fn turn(
        &mut self,
        buffer: &mut [u8],
        answer: &mut impl FnMut(Request) -> Result<Response, SinkError>,
        now: Instant,
    ) -> Result<(), SinkError> {
        self.connection.handle_timeout(now);
        let drained = self.connection.wants_read() && self.read(buffer, now);
        self.write(now);
        while let Some(request) = self.connection.poll_request() {
            let response = answer(request)?;
            self.connection.respond(&response, now);
            self.write(now);
        }
        if self.connection.wants_shutdown() {
            // One that is gone already needs none.
            let _ = self.stream.shutdown(Shutdown::Write);
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

/// Answers a request, after its documents are written out.
fn answer(
    request: &Request,
    app_key: Option<&Secret>,
    output: &mut Output,
) -> Result<Response, SinkError> {
    let batch = match api::take(request, app_key) {
        Ok(batch) => batch,
        Err(response) => return Ok(response),
    };
    match output.write(&batch.lines) {
        Ok(()) => {
            let (documents, bytes) = (batch.documents, request.body.len());
            info!(documents, bytes, app = batch.app.as_str(); "batch taken");
            Ok(api::stored(batch.documents))
        }
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(SinkError::Printed(error)),
        Err(error) => {
            warn!(error:%; "batch not written");
            Ok(api::unavailable())
        }
    }
}

/// A socket that SIGTERM and SIGINT write a byte to.
fn signals() -> io::Result<UnixStream> {
    let (read, write) = std::os::unix::net::UnixStream::pair()?;
    for signal in [SIGTERM, SIGINT] {
        signal_hook::low_level::pipe::register(signal, write.try_clone()?)?;
    }
    read.set_nonblocking(true)?;
    Ok(UnixStream::from_std(read))
}
