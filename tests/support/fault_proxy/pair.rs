//! A client's connection and the one to the server that goes with it.

use std::io;
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use socket2::SockRef;

use super::lane::Lane;
use super::{FIRST_PAIR, Record, Told, Wire};
use crate::support::keeper::lock;

/// One side of a connection and what its kernel last said of it.
pub(super) struct End {
    pub(super) socket: TcpStream,
    pub(super) readable: bool,
    pub(super) writable: bool,
}

/// See the module's text.
pub(super) struct Pair {
    number: usize,
    client: Option<End>,
    server: Option<End>,
    up: Lane,
    down: Lane,
    told: Arc<Told>,
}

impl Pair {
    pub(super) fn new(
        registry: &Registry,
        number: usize,
        client: TcpStream,
        server: TcpStream,
        told: Arc<Told>,
    ) -> Pair {
        let end = |mut socket: TcpStream, side: usize| {
            let token = Token(FIRST_PAIR + 2 * number + side);
            let interest = Interest::READABLE | Interest::WRITABLE;
            registry
                .register(&mut socket, token, interest)
                .expect("a socket");
            let _ = socket.set_nodelay(true);
            Some(End {
                socket,
                readable: false,
                writable: false,
            })
        };
        Pair {
            number,
            client: end(client, 0),
            server: end(server, 1),
            up: Lane::default(),
            down: Lane::default(),
            told,
        }
    }

    pub(super) fn ready(&mut self, side: usize, event: &mio::event::Event) {
        let end = match side {
            0 => &mut self.client,
            _ => &mut self.server,
        };
        if let Some(end) = end {
            end.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
            end.writable |= event.is_writable() || event.is_error();
        }
    }

    /// Moves what can be moved; answers when time alone lets more pass.
    pub(super) fn carry(
        &mut self,
        wire: &Wire,
        random: &mut fastrand::Rng,
        record: Record,
        now: Instant,
    ) -> Option<Instant> {
        loop {
            let moved = self
                .take(wire, random, now)
                .and_then(|()| self.give(record, now));
            if moved.is_err() || self.is_cut(wire) {
                self.reset();
                return None;
            }
            if !self.up.has_more(&self.client) && !self.down.has_more(&self.server) {
                break;
            }
        }
        if self.up.is_over() && self.down.is_over() {
            (self.client, self.server) = (None, None);
        }
        self.up.due(now).into_iter().chain(self.down.due(now)).min()
    }

    fn take(&mut self, wire: &Wire, random: &mut fastrand::Rng, now: Instant) -> io::Result<()> {
        self.up.take(&mut self.client, &wire.up, random, now)?;
        self.down.take(&mut self.server, &wire.down, random, now)
    }

    fn give(&mut self, record: Record, now: Instant) -> io::Result<()> {
        self.up.give(&mut self.server, now, |_, _| {})?;
        let (told, number) = (&self.told, self.number);
        // What is written behind a client's end falls on deaf ears.
        let record = if self.up.has_ended() {
            Record::Nothing
        } else {
            record
        };
        self.down.give(&mut self.client, now, |bytes, flips| {
            told.flips.fetch_add(flips, Ordering::SeqCst);
            if record == Record::Heard {
                lock(&told.heard)[number].add(bytes, flips);
            }
        })
    }

    fn is_cut(&self, wire: &Wire) -> bool {
        let over = |lane: &Lane, limit: Option<u64>| limit.is_some_and(|at| lane.carried() >= at);
        over(&self.up, wire.up.cut_after) || over(&self.down, wire.down.cut_after)
    }

    pub(super) fn reset(&mut self) {
        if let Some(client) = &self.client {
            let unheard = unsent(&client.socket);
            let heard = &mut lock(&self.told.heard)[self.number].bytes;
            heard.truncate(heard.len().saturating_sub(unheard));
        }
        for end in [self.client.take(), self.server.take()].iter().flatten() {
            let _ = SockRef::from(&end.socket).set_linger(Some(Duration::ZERO));
        }
    }

    pub(super) fn hurry(&mut self, now: Instant) {
        self.up.hurry(now);
        self.down.hurry(now);
    }

    pub(super) fn swallow(&mut self) {
        self.up.swallow();
        self.down.swallow();
    }

    pub(super) fn half_close(&mut self) {
        self.down.swallow();
        if let Some(client) = &self.client {
            let _ = client.socket.shutdown(Shutdown::Write);
        }
    }

    pub(super) fn is_ended(&self) -> bool {
        self.client.is_none() && self.server.is_none()
    }
}

/// linux/sockios.h: bytes in the send queue that were not sent.
const SIOCOUTQNSD: libc::Ioctl = 0x894B;

/// Bytes that the kernel took and has not sent: a reset throws them away. What it has sent on this
/// machine has arrived, acknowledged or not.
fn unsent(socket: &TcpStream) -> usize {
    let mut count: libc::c_int = 0;
    // SAFETY: SIOCOUTQNSD writes one int, and the descriptor is open as long as the borrow lasts.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCOUTQNSD, &mut count) };
    if result == 0 { count as usize } else { 0 }
}
