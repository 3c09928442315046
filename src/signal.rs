//! Signals as bytes on sockets that the event loop polls.

use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use mio::net::UnixStream;
use mio::{Interest, Registry, Token};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::low_level::pipe;

/// The signals an agent heeds. Two of the same kind in quick succession are two.
pub struct Signals {
    stop: UnixStream,
    reload: UnixStream,
}

impl Signals {
    /// Starts to listen: SIGTERM and SIGINT wake `stop`, SIGHUP wakes `reload`.
    ///
    /// A file that reaches a limit (`ulimit -f`) then fails as on a full disk: its SIGXFSZ would end
    /// the agent.
    pub fn listen(registry: &Registry, stop: Token, reload: Token) -> io::Result<Self> {
        signal_hook::flag::register(SIGXFSZ, Arc::default())?;
        Ok(Signals {
            stop: socket(registry, stop, &[SIGTERM, SIGINT])?,
            reload: socket(registry, reload, &[SIGHUP])?,
        })
    }

    /// How many signals to stop have come since the last call.
    pub fn stops(&mut self) -> usize {
        drain(&mut self.stop)
    }

    /// How many signals to reload have come since the last call.
    pub fn reloads(&mut self) -> usize {
        drain(&mut self.reload)
    }
}

fn socket(registry: &Registry, token: Token, signals: &[i32]) -> io::Result<UnixStream> {
    let (mut receiver, sender) = UnixStream::pair()?;
    let sender = OwnedFd::from(std::os::unix::net::UnixStream::from(sender));
    for signal in signals {
        pipe::register(*signal, sender.try_clone()?)?;
    }
    registry.register(&mut receiver, token, Interest::READABLE)?;
    Ok(receiver)
}

fn drain(socket: &mut UnixStream) -> usize {
    let mut bytes = [0; 16];
    let mut count = 0;
    while let Ok(length @ 1..) = socket.read(&mut bytes) {
        count += length;
    }
    count
}

/// For a command that waits: SIGINT and SIGTERM no longer end it at once.
#[derive(Debug)]
pub struct Interrupt {
    socket: std::os::unix::net::UnixStream,
}

impl Interrupt {
    pub fn listen() -> io::Result<Self> {
        let (socket, sender) = std::os::unix::net::UnixStream::pair()?;
        for signal in [SIGTERM, SIGINT] {
            pipe::register(signal, sender.try_clone()?)?;
        }
        Ok(Interrupt { socket })
    }

    /// Waits for that long; true as soon as a signal has come.
    pub fn comes_within(&mut self, span: Duration) -> bool {
        // A span of nothing would mean for ever.
        let span = span.max(Duration::from_millis(1));
        if self.socket.set_read_timeout(Some(span)).is_err() {
            return true;
        }
        loop {
            match self.socket.read(&mut [0]) {
                // The handler that interrupted has written its byte by now.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => return matches!(outcome, Ok(1)),
            }
        }
    }
}
