//! The socket under a talk with Redis: bytes in, bytes out, never blocking.
//!
//! With TLS, what is written before the handshake is over waits inside rustls, so that nobody above
//! needs to know of a handshake. Ciphertext that the socket does not take at once leaves with the
//! next `flush`.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use rustls::ClientConnection;
use socket2::{SockRef, TcpKeepalive};

/// The kernel's own probes, for a peer that vanished without a word: they also keep firewalls from
/// forgetting the connection.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(30);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);

/// An open socket, or one on its way.
pub enum Transport {
    Plain(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsSocket>),
}

/// A socket and the TLS upon it.
pub struct TlsSocket {
    socket: TcpStream,
    connection: ClientConnection,
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
            Transport::Plain(socket) => Transport::Tls(Box::new(TlsSocket { socket, connection })),
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
            Transport::Tls(tls) => tls.send(),
        }
    }
}

impl TlsSocket {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.connection.reader().read(bytes) {
                // Closed without TLS' own goodbye. Whatever was cut off is no whole frame.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(0),
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.receive()?,
                done => return done,
            }
        }
    }

    /// Hands rustls what the socket has.
    fn receive(&mut self) -> io::Result<()> {
        self.connection.read_tls(&mut self.socket)?;
        let processed = self.connection.process_new_packets();
        // The handshake's next step, or an alert that says what is wrong.
        let sent = self.send();
        processed.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        sent
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.connection.writer().write(bytes)?;
        self.send()?;
        match count {
            0 => Err(ErrorKind::WouldBlock.into()),
            count => Ok(count),
        }
    }

    /// Sends what rustls has to send, as far as the socket takes it.
    fn send(&mut self) -> io::Result<()> {
        while self.connection.wants_write() {
            match self.connection.write_tls(&mut self.socket) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
