//! A broker's socket, plain or in TLS: what the filtering stream reads from and writes to.
//!
//! It does not block. amiquip never flushes it.

use std::io::{self, Read, Write};

use mio_06::net::TcpStream;
use rustls::ClientConnection;

use crate::source::encrypted::Encrypted;

/// See the module's text.
pub enum Socket {
    Plain(TcpStream),
    Tls(Box<Encrypted<TcpStream>>),
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
            Some(connection) => Socket::Tls(Box::new(Encrypted::new(socket, connection))),
        })
    }

    /// What a poll watches.
    pub fn evented(&self) -> &TcpStream {
        match self {
            Socket::Plain(socket) => socket,
            Socket::Tls(tls) => tls.socket(),
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
            Socket::Tls(tls) => tls.flush(),
        }
    }
}
