//! The socket under a talk with Redis: bytes in, bytes out, never blocking.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use rustls::ClientConnection;
use socket2::{SockRef, TcpKeepalive};

use crate::source::encrypted::Encrypted;

/// The kernel's own probes, for a peer that vanished without a word: they also keep firewalls from
/// forgetting the connection.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(30);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);

/// An open socket, or one on its way.
pub enum Transport {
    Plain(TcpStream),
    Unix(UnixStream),
    Tls(Box<Encrypted<TcpStream>>),
}

impl Transport {
    /// Begins a connection to `address`.
    pub fn dial(address: SocketAddr, registry: &Registry, token: Token) -> io::Result<Self> {
        let mut socket = TcpStream::connect(address)?;
        let keepalive = TcpKeepalive::new()
            .with_time(KEEPALIVE_AFTER)
            .with_interval(KEEPALIVE_EVERY);
        // Both make things better; nothing depends on them.
        let _ = SockRef::from(&socket).set_tcp_keepalive(&keepalive);
        let _ = socket.set_nodelay(true);
        registry.register(&mut socket, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Transport::Plain(socket))
    }

    /// Connects to the socket at `path`.
    pub fn open(path: &str, registry: &Registry, token: Token) -> io::Result<Self> {
        let mut socket = UnixStream::connect(path)?;
        registry.register(&mut socket, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Transport::Unix(socket))
    }

    /// Puts TLS upon a connection that stands.
    pub fn encrypt(self, connection: ClientConnection) -> Self {
        match self {
            Transport::Plain(socket) => {
                Transport::Tls(Box::new(Encrypted::new(socket, connection)))
            }
            other => other,
        }
    }

    pub fn is_plain(&self) -> bool {
        matches!(self, Transport::Plain(_))
    }

    /// True once the connection stands, false while it does not yet.
    pub fn is_connected(&self) -> io::Result<bool> {
        let Transport::Plain(socket) = self else {
            return Ok(true);
        };
        if let Some(error) = socket.take_error()? {
            return Err(error);
        }
        match socket.peer_addr() {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl Read for Transport {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Transport::Plain(socket) => socket.read(bytes),
            Transport::Unix(socket) => socket.read(bytes),
            Transport::Tls(tls) => tls.read(bytes),
        }
    }
}

impl Write for Transport {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Transport::Plain(socket) => socket.write(bytes),
            Transport::Unix(socket) => socket.write(bytes),
            Transport::Tls(tls) => tls.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Transport::Plain(_) | Transport::Unix(_) => Ok(()),
            Transport::Tls(tls) => tls.flush(),
        }
    }
}
