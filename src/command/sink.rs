//! `leek-agent sink`: a stand-in for the Leek API, to commission a gateway with.
//!
//! It answers as the API does and prints or appends what it is given, one document a line. One
//! thread, one mio loop. It keeps nothing in memory: a batch is written out before it is answered.

use std::fmt;
use std::io::{self, ErrorKind, Read};
use std::net::SocketAddr;
use std::path::PathBuf;

use log::{info, warn};
use mio::net::{TcpListener, UnixStream};
use mio::{Events, Interest, Poll, Token};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::clock;
use crate::http::{Limits, Request, Response};
use crate::secret::Secret;
use crate::server::{Listener, Server, Size};

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

const SIGNALS: Token = Token(0);
const SERVER: Token = Token(1);

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
    server: Server,
    address: SocketAddr,
    signals: UnixStream,
    app_key: Option<Secret>,
    output: Output,
}

impl Sink {
    /// Listens; from here on SIGTERM and SIGINT end [`serve`](Self::serve) instead of the process.
    pub fn bind(options: Options) -> Result<Self, SinkError> {
        let output = Output::open(options.out)?;
        let listen = |error| SinkError::Listen(options.listen, error);
        let listener = TcpListener::bind(options.listen).map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let poll = Poll::new().map_err(SinkError::Loop)?;
        let mut signals = signals().map_err(SinkError::Loop)?;
        let registry = poll.registry();
        registry
            .register(&mut signals, SIGNALS, Interest::READABLE)
            .map_err(SinkError::Loop)?;
        let size = Size {
            connections: MAX_CONNECTIONS,
            read: READ_SIZE,
            limits: Limits::with_body(MAX_BODY),
        };
        let server = Server::new(Listener::Tcp(listener), size, registry, SERVER);
        Ok(Sink {
            server: server.map_err(SinkError::Loop)?,
            poll,
            address,
            signals,
            app_key: options.app_key,
            output,
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
            let (key, output) = (self.app_key.as_ref(), &mut self.output);
            let answer = |request: &Request, _| answer(request, key, output).map(Some);
            self.server
                .turn(self.poll.registry(), answer, clock::monotonic())?;
        }
    }

    /// Sleeps until something happens or the nearest deadline has come.
    fn wait(&mut self, events: &mut Events) -> io::Result<()> {
        let now = clock::monotonic();
        let deadline = self.server.deadline(now);
        let timeout = deadline.map(|at| at.saturating_duration_since(now));
        match self.poll.poll(events, timeout) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            other => other?,
        }
        for event in events.iter() {
            self.server.wake(event.token());
        }
        Ok(())
    }

    fn signalled(&mut self) -> bool {
        matches!(self.signals.read(&mut [0]), Ok(count) if count > 0)
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
