//! TLS upon a socket that does not block.
//!
//! A read gives what rustls has decrypted before it looks at the socket. A write is done only when its
//! ciphertext has left: until then it answers `WouldBlock` and is called again with the same bytes, or
//! with more behind them. What is written before the handshake is over waits inside rustls, so that
//! nobody above needs to know of a handshake.

use std::io::{self, ErrorKind, Read, Write};

use rustls::ClientConnection;

/// See the module's text.
pub struct Encrypted<S> {
    socket: S,
    connection: ClientConnection,
    /// Bytes of the caller that rustls has encrypted, and the caller does not know of yet.
    accepted: usize,
}

impl<S: Read + Write> Encrypted<S> {
    pub fn new(socket: S, connection: ClientConnection) -> Self {
        Encrypted {
            socket,
            connection,
            accepted: 0,
        }
    }

    pub fn socket(&self) -> &S {
        &self.socket
    }

    /// Hands rustls what the socket has.
    fn receive(&mut self) -> io::Result<()> {
        self.connection.read_tls(&mut self.socket)?;
        let processed = self.connection.process_new_packets();
        // The handshake's next step, an alert that says what is wrong, or the answer to a change of
        // keys: what does not leave now leaves with the next write or flush.
        let _ = self.flush();
        processed
            .map(drop)
            .map_err(|error| io::Error::new(ErrorKind::InvalidData, error))
    }
}

impl<S: Read + Write> Read for Encrypted<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.connection.reader().read(buffer) {
                // Closed without TLS' own goodbye, as brokers do. AMQP has a goodbye of its own, and
                // what is cut off of RESP is no whole frame: nothing gets lost unseen.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(0),
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.receive()?,
                done => return done,
            }
        }
    }
}

impl<S: Read + Write> Write for Encrypted<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.accepted == 0 {
            self.accepted = self.connection.writer().write(bytes)?;
        }
        self.flush()?;
        match std::mem::take(&mut self.accepted) {
            // As much waits for the handshake as may wait.
            0 => Err(ErrorKind::WouldBlock.into()),
            count => Ok(count),
        }
    }

    /// Sends all ciphertext.
    fn flush(&mut self) -> io::Result<()> {
        while self.connection.wants_write() {
            if self.connection.write_tls(&mut self.socket)? == 0 {
                return Err(ErrorKind::WriteZero.into());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Arc;

    use rustls::crypto::ring;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
    use rustls::{ClientConfig, RootCertStore, ServerConfig, ServerConnection};

    use super::*;

    /// More than rustls keeps while the handshake lasts.
    const MUCH: usize = 100_000;
    /// Enough for all of it to pass.
    const ROUNDS: usize = 10_000;

    /// Takes and gives a few bytes at a time, and nothing at all every other time.
    #[derive(Default)]
    struct Narrow {
        sent: VecDeque<u8>,
        coming: VecDeque<u8>,
        reads: usize,
        writes: usize,
    }

    /// How many bytes may pass.
    fn room(calls: &mut usize) -> io::Result<usize> {
        *calls += 1;
        match *calls % 2 {
            0 => Err(ErrorKind::WouldBlock.into()),
            _ => Ok(77),
        }
    }

    impl Read for Narrow {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let most = room(&mut self.reads)?.min(buffer.len());
            match self.coming.read(&mut buffer[..most])? {
                0 => Err(ErrorKind::WouldBlock.into()),
                count => Ok(count),
            }
        }
    }

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let most = room(&mut self.writes)?.min(bytes.len());
            self.sent.write(&bytes[..most])
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn ends() -> (Encrypted<Narrow>, ServerConnection) {
        let signed = rcgen::generate_simple_self_signed(["broker".to_owned()]).expect("signed");
        let certificate: CertificateDer<'static> = signed.cert.into();
        let key = PrivateKeyDer::try_from(signed.signing_key.serialize_der()).expect("a key");
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).expect("usable");
        let provider = Arc::new(ring::default_provider());
        let client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .expect("a pair");
        let name = ServerName::try_from("broker").expect("a name");
        let client = ClientConnection::new(client.into(), name).expect("a client");
        let server = ServerConnection::new(server.into()).expect("a server");
        (Encrypted::new(Narrow::default(), client), server)
    }

    /// Carries what each side sent, and answers what the server could read.
    fn carry(client: &mut Encrypted<Narrow>, server: &mut ServerConnection) -> Vec<u8> {
        let mut plain = Vec::new();
        while !client.socket.sent.is_empty() {
            server.read_tls(&mut client.socket.sent).expect("room");
            server.process_new_packets().expect("well-formed");
            match server.reader().read_to_end(&mut plain) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                done => drop(done.expect("plain text")),
            }
        }
        while server.wants_write() {
            server.write_tls(&mut client.socket.coming).expect("room");
        }
        plain
    }

    fn would_block<T>(result: io::Result<T>) -> Option<T> {
        match result {
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            done => Some(done.expect("no other error")),
        }
    }

    /// Both ways, from before the handshake on.
    #[test]
    fn a_socket_that_takes_little_loses_and_repeats_nothing() {
        let (mut client, mut server) = ends();
        let text: Vec<u8> = (0..MUCH).map(|n| n.to_le_bytes()[0]).collect();
        let (mut given, mut came) = (0, Vec::new());
        let mut buffer = [0; 1000];
        for _ in 0..ROUNDS {
            if given < MUCH {
                given += would_block(client.write(&text[given..])).unwrap_or(0);
            } else {
                would_block(client.flush());
            }
            came.extend(carry(&mut client, &mut server));
            assert_eq!(would_block(client.read(&mut buffer)), None);
        }
        assert!(came == text && given == MUCH);

        let (mut given, mut came) = (0, Vec::new());
        for _ in 0..ROUNDS {
            given += server.writer().write(&text[given..]).expect("room");
            carry(&mut client, &mut server);
            let count = would_block(client.read(&mut buffer)).unwrap_or(0);
            came.extend_from_slice(&buffer[..count]);
        }
        assert!(came == text);
    }
}
