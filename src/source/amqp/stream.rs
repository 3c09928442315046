//! The stream between a broker's socket and amiquip: it filters what comes in, and tells the event
//! loop when something has been handed over.
//!
//! amiquip dispatches every complete frame before it reads again. So entering a read after one that
//! gave data means that those deliveries lie in the receiver: that is when the bell rings. It rings
//! once more when the stream is dropped and when amiquip's thread ends, since a dying connection
//! drops the stream before it closes the receiver.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use amiquip::IoStream;
use mio_06::{Evented, Poll, PollOpt, Ready, Token};

use super::frames::{Fault, Sanitiser};
use super::socket::Socket;
use crate::source::bell::Bell;

/// Bytes read from the socket at once: what a 64 KiB socket buffer holds.
const CHUNK: usize = 64 * 1024;

/// What the broker may still deliver. RabbitMQ keeps to the prefetch; a peer that does not would
/// fill the memory, since amiquip reads all that comes.
#[derive(Debug)]
pub struct Credit {
    prefetch: u64,
    /// Deliveries that were acknowledged, or are about to be.
    settled: AtomicU64,
}

impl Credit {
    pub fn new(prefetch: u16) -> Self {
        Credit {
            prefetch: prefetch.into(),
            settled: AtomicU64::new(0),
        }
    }

    /// So many deliveries will be acknowledged: call it before they are.
    pub fn settle(&self, deliveries: usize) {
        self.settled.fetch_add(deliveries as u64, Ordering::Relaxed);
    }

    fn check(&self, deliveries: u64) -> io::Result<()> {
        let open = deliveries.saturating_sub(self.settled.load(Ordering::Relaxed));
        if open <= self.prefetch {
            return Ok(());
        }
        let prefetch = self.prefetch;
        let reason = format!(
            "the broker delivers beyond the prefetch: expected {prefetch} messages at most before an ack"
        );
        Err(io::Error::new(io::ErrorKind::InvalidData, reason))
    }
}

/// See the module's text.
pub struct Stream {
    socket: Socket,
    credit: Arc<Credit>,
    sanitiser: Sanitiser,
    chunk: Box<[u8]>,
    /// Filtered bytes that amiquip has not read: `ready[given..]`.
    ready: Vec<u8>,
    given: usize,
    bell: Bell,
    /// Data was given since the bell rang last.
    unrung: bool,
    guarded: bool,
}

impl Stream {
    /// Takes over a connected socket.
    pub fn new(socket: Socket, credit: Arc<Credit>, bell: Bell) -> Self {
        Stream {
            socket,
            credit,
            sanitiser: Sanitiser::default(),
            chunk: vec![0; CHUNK].into_boxed_slice(),
            ready: Vec::new(),
            given: 0,
            bell,
            unrung: false,
            guarded: false,
        }
    }

    /// Reads from the socket until something passes the filter.
    fn refill(&mut self) -> io::Result<()> {
        self.ready.clear();
        self.given = 0;
        while self.ready.is_empty() {
            let length = self.socket.read(&mut self.chunk)?;
            if length == 0 {
                return Ok(());
            }
            self.sanitiser
                .push(&self.chunk[..length], &mut self.ready)
                .map_err(not_amqp)?;
            self.credit.check(self.sanitiser.deliveries())?;
        }
        Ok(())
    }
}

fn not_amqp(fault: Fault) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, fault)
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.guarded {
            self.guarded = true;
            ring_at_thread_exit(&self.bell);
        }
        if std::mem::take(&mut self.unrung) {
            self.bell.ring();
        }
        if self.given == self.ready.len() {
            self.refill()?;
        }
        let length = buffer.len().min(self.ready.len() - self.given);
        buffer[..length].copy_from_slice(&self.ready[self.given..self.given + length]);
        self.given += length;
        self.unrung = length > 0;
        Ok(length)
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

impl Evented for Stream {
    fn register(
        &self,
        poll: &Poll,
        token: Token,
        interest: Ready,
        options: PollOpt,
    ) -> io::Result<()> {
        self.socket
            .evented()
            .register(poll, token, interest, options)
    }

    fn reregister(
        &self,
        poll: &Poll,
        token: Token,
        interest: Ready,
        options: PollOpt,
    ) -> io::Result<()> {
        self.socket
            .evented()
            .reregister(poll, token, interest, options)
    }

    fn deregister(&self, poll: &Poll) -> io::Result<()> {
        self.socket.evented().deregister(poll)
    }
}

impl IoStream for Stream {}

impl Drop for Stream {
    fn drop(&mut self) {
        self.bell.ring();
    }
}

/// Rings when the thread that holds it ends.
struct ExitGuard(Bell);

impl Drop for ExitGuard {
    fn drop(&mut self) {
        self.0.ring();
    }
}

thread_local! {
    static EXIT_GUARD: RefCell<Option<ExitGuard>> = const { RefCell::new(None) };
}

fn ring_at_thread_exit(bell: &Bell) {
    EXIT_GUARD.with_borrow_mut(|guard| *guard = Some(ExitGuard(bell.clone())));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_may_deliver_what_was_settled_and_the_prefetch() {
        let credit = Credit::new(1000);
        assert!(credit.check(1000).is_ok());
        assert!(credit.check(1001).is_err());
        credit.settle(10);
        assert!(credit.check(1010).is_ok());
        assert!(credit.check(1011).is_err());
    }
}
