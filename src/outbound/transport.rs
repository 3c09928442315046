//! How a request gets to the other side: TCP, through a proxy or not, in TLS or not. Links for ureq's chain
//! of connectors, which has each one take the connection further.
//!
//! ```text
//!  http    direct     TcpConnector
//!  https   direct     TcpConnector → TlsConnector
//!  http    by proxy   TcpConnector (to the proxy) → ForwardConnector
//!  https   by proxy   ConnectProxyConnector (CONNECT) → TlsConnector
//! ```
//!
//! An http request is handed to the proxy with the whole address in its first line, as RFC 9112
//! §3.2.2 has it and every proxy takes it: many refuse CONNECT to a port that is not 443.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};

use rustls::{ClientConnection, StreamOwned};
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectProxyConnector, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout,
    TcpConnector, Transport, TransportAdapter,
};
use ureq::{Agent, Error};

use super::lookup::Lookups;
use crate::tls::ClientTls;

/// A request's first line ends within this, or it is not ours.
const METHOD_MAX: usize = 16;

/// An agent that goes there in TLS (https) or not (http), through the proxy of `config`.
pub(super) fn agent(config: Config, lookups: Lookups, tls: Option<&ClientTls>) -> Agent {
    let tls = TlsConnector(tls.cloned());
    let connector = ().chain(ConnectProxyConnector::default());
    let connector = connector.chain(TcpConnector::default()).chain(tls);
    Agent::with_parts(config, connector, lookups)
}

/// An agent that hands http requests for `origin` (`http://host:port`) to a proxy.
pub(super) fn forwarding_agent(
    config: Config,
    lookups: Lookups,
    origin: String,
    proxy: Uri,
) -> Agent {
    let connector = ().chain(TcpConnector::default()).chain(ForwardConnector(origin));
    Agent::with_parts(config, connector, Always(proxy, lookups))
}

// ── TLS ────────────────────────────────────────────────────────────────────────────────────────

/// Goes on in TLS where the address is https.
#[derive(Debug)]
struct TlsConnector(Option<ClientTls>);

impl<In: Transport> Connector<In> for TlsConnector {
    type Out = Either<In, TlsTransport>;

    fn connect(
        &self,
        details: &ConnectionDetails,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, Error> {
        let Some(transport) = chained else {
            return Ok(None);
        };
        let Some(tls) = self.0.as_ref().filter(|_| details.needs_tls()) else {
            return Ok(Some(Either::A(transport)));
        };
        let host = details.uri.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let mut connection = tls
            .connect(host)
            .map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        let mut socket = TransportAdapter::new(transport.boxed(), details.current_time.clone());
        socket.set_timeout(details.timeout);
        while connection.is_handshaking() {
            connection
                .complete_io(&mut socket)
                .map_err(|error| during_handshake(error.into()))?;
        }
        let config = details.config;
        Ok(Some(Either::B(TlsTransport {
            buffers: LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size()),
            stream: StreamOwned::new(connection, socket),
        })))
    }
}

/// The socket stood: silence and a farewell mean something else now.
fn during_handshake(error: Error) -> Error {
    match error {
        Error::Timeout(_) => Error::Tls("no answer to the handshake in time"),
        Error::Io(error)
            if [ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset].contains(&error.kind()) =>
        {
            Error::Tls("closed during the handshake")
        }
        other => other,
    }
}

/// A connection in TLS, its handshake over.
struct TlsTransport {
    buffers: LazyBuffers,
    stream: StreamOwned<ClientConnection, TransportAdapter>,
}

impl Transport for TlsTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.stream.get_mut().set_timeout(timeout);
        self.stream.write_all(&self.buffers.output()[..amount])?;
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.stream.get_mut().set_timeout(timeout);
        let amount = self.stream.read(self.buffers.input_append_buf())?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.get_mut().get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}

impl fmt::Debug for TlsTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsTransport")
    }
}

// ── http through a proxy ───────────────────────────────────────────────────────────────────────

/// Looks the proxy up, whatever the address is: the proxy alone may know the API's name.
#[derive(Debug)]
struct Always(Uri, Lookups);

impl Resolver for Always {
    fn resolve(
        &self,
        _: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        self.1.resolve(&self.0, config, timeout)
    }
}

/// Writes the whole address into each request's first line.
#[derive(Debug)]
struct ForwardConnector(String);

impl<In: Transport> Connector<In> for ForwardConnector {
    type Out = ForwardTransport<In>;

    fn connect(
        &self,
        _: &ConnectionDetails,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, Error> {
        Ok(chained.map(|inner| ForwardTransport {
            inner,
            origin: self.0.clone(),
            at_start: true,
        }))
    }
}

#[derive(Debug)]
struct ForwardTransport<T> {
    inner: T,
    origin: String,
    /// Nothing of the next request has been sent.
    at_start: bool,
}

impl<T: Transport> Transport for ForwardTransport<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        if amount == 0 || !std::mem::take(&mut self.at_start) {
            return self.inner.transmit_output(amount, timeout);
        }
        let request = with_origin(&self.inner.buffers().output()[..amount], &self.origin);
        let mut rest = &request[..];
        while !rest.is_empty() {
            let output = self.inner.buffers().output();
            let (now, later) = rest.split_at(rest.len().min(output.len()));
            output[..now.len()].copy_from_slice(now);
            self.inner.transmit_output(now.len(), timeout)?;
            rest = later;
        }
        Ok(())
    }

    /// Once an answer comes, what is sent next is the next request.
    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.at_start = true;
        self.inner.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }
}

/// `POST /x HTTP/1.1…` → `POST http://host/x HTTP/1.1…`.
fn with_origin(request: &[u8], origin: &str) -> Vec<u8> {
    let method = request
        .iter()
        .take(METHOD_MAX)
        .position(|byte| *byte == b' ');
    let (method, rest) = request.split_at(method.map_or(0, |blank| blank + 1));
    let origin = if rest.starts_with(b"/") { origin } else { "" };
    [method, origin.as_bytes(), rest].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_address_goes_into_the_first_line() {
        for (request, expected) in [
            ("GET /x HTTP/1.1\r\n", "GET http://h:1/x HTTP/1.1\r\n"),
            ("POST / HTTP/1.1", "POST http://h:1/ HTTP/1.1"),
            ("", ""),
            ("[{\"a\": 1}]", "[{\"a\": 1}]"),
        ] {
            let found = with_origin(request.as_bytes(), "http://h:1");
            assert_eq!(String::from_utf8_lossy(&found), expected);
        }
    }
}
