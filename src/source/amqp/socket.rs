//! A broker's socket, plain or in TLS: what the filtering stream reads from and writes to.
//!
//! It does not block. With TLS, a read gives what rustls has decrypted before it looks at the
//! socket, and a write is done only when its ciphertext has left: until then it answers
//! `WouldBlock` and is called again with the same bytes, since nothing else would flush the rest.

use std::io::{self, ErrorKind, Read, Write};

use mio_06::net::TcpStream;
use rustls::ClientConnection;

/// See the module's text.
pub enum Socket {
    Plain(TcpStream),
    Tls(Box<TlsSocket>),
}

/// A socket after its handshake.
pub struct TlsSocket {
    socket: TcpStream,
    connection: ClientConnection,
    /// Bytes of the caller that rustls has encrypted, and the caller does not know of yet.
    accepted: usize,
}

impl Socket {
    /// Takes over a connected socket; `connection` is one whose handshake is over.
    pub fn new(
        socket: std::net::TcpStream,
        connection: Option<ClientConnection>,
    ) -> io::Result<Self> {
        let socket = TcpStream::from_stream(socket)?;
        Ok(match connection {
            None => Socket::Plain(socket),
            Some(connection) => Socket::Tls(Box::new(TlsSocket {
                socket,
                connection,
                accepted: 0,
            })),
        })
    }

    /// What a poll watches.
    pub fn evented(&self) -> &TcpStream {
        match self {
            Socket::Plain(socket) => socket,
            Socket::Tls(tls) => &tls.socket,
        }
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Plain(socket) => socket.read(buffer),
            Socket::Tls(tls) => tls.read(buffer),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Plain(socket) => socket.write(bytes),
            Socket::Tls(tls) => tls.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Socket::Plain(socket) => socket.flush(),
            Socket::Tls(tls) => tls.send(),
        }
    }
}

impl TlsSocket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.connection.reader().read(buffer) {
                // Closed without TLS' own goodbye, as brokers do. AMQP has a goodbye of its own, so
                // that nothing can be cut off unseen.
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
        // An alert that says what is wrong, or the answer to a change of keys: what does not leave
        // now leaves with the next write.
        let _ = self.send();
        processed
            .map(drop)
            .map_err(|error| io::Error::new(ErrorKind::InvalidData, error))
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.accepted == 0 {
            self.accepted = self.connection.writer().write(bytes)?;
        }
        self.send()?;
        Ok(std::mem::take(&mut self.accepted))
    }

    /// Sends all ciphertext.
    fn send(&mut self) -> io::Result<()> {
        while self.connection.wants_write() {
            if self.connection.write_tls(&mut self.socket)? == 0 {
                return Err(ErrorKind::WriteZero.into());
            }
        }
        Ok(())
    }
}
