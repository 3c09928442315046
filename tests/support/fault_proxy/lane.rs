//! One direction of one connection: what was read and when it may be written.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use super::Trouble;
use super::pair::End;

/// What a wire holds at most before it takes no more: a socket's buffers on a long line.
const ROOM: usize = 256 * 1024;

/// Bytes taken at once where nothing asks for less.
const CHUNK: usize = 16 * 1024;

/// What an Ethernet frame carries: lost segments are of this size.
const SEGMENT: usize = 1448;

/// Linux' shortest wait before a segment is sent again; it doubles each time.
const RETRANSMIT: Duration = Duration::from_millis(200);

/// Retransmissions of one segment at most: the wait is then six seconds.
const MAX_RETRANSMITS: u32 = 5;

struct Chunk {
    due: Instant,
    bytes: Vec<u8>,
    written: usize,
    flips: usize,
}

/// What becomes of the bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Fate {
    #[default]
    Carried,
    /// Read and lost; an end that closes is not missed by the other.
    Swallowed,
}

/// See the module's text.
#[derive(Default)]
pub(super) struct Lane {
    queue: VecDeque<Chunk>,
    queued: usize,
    /// When the line has sent what it holds, where its rate is bounded.
    free_at: Option<Instant>,
    last_due: Option<Instant>,
    carried: u64,
    /// Bytes until the next turned bit.
    until_flip: Option<u64>,
    fate: Fate,
    eof: bool,
    over: bool,
}

impl Lane {
    pub(super) fn carried(&self) -> u64 {
        self.carried
    }

    /// Its source has said its last.
    pub(super) fn has_ended(&self) -> bool {
        self.eof || self.over
    }

    /// All that was sent has arrived, and so has its end.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// When time alone lets the next byte pass; what is due already waits for its reader.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        let due = self.queue.front().map(|chunk| chunk.due);
        due.filter(|due| *due > now)
    }

    /// The trouble is over: what was held back by it goes on at once.
    pub(super) fn hurry(&mut self, now: Instant) {
        for chunk in &mut self.queue {
            chunk.due = chunk.due.min(now);
        }
        (self.free_at, self.last_due) = (None, None);
    }

    pub(super) fn swallow(&mut self) {
        self.fate = Fate::Swallowed;
        self.lose();
    }

    fn lose(&mut self) {
        self.queue.clear();
        self.queued = 0;
    }

    /// There is room, and something to read.
    pub(super) fn has_more(&self, from: &Option<End>) -> bool {
        self.queued < ROOM && from.as_ref().is_some_and(|end| end.readable)
    }

    /// Reads what there is room for.
    pub(super) fn take(
        &mut self,
        from: &mut Option<End>,
        trouble: &Trouble,
        random: &mut fastrand::Rng,
        now: Instant,
    ) -> io::Result<()> {
        let mut buffer = [0; CHUNK];
        let size = size_of_chunk(trouble);
        while self.queued < ROOM {
            let Some(end) = from.as_mut().filter(|end| end.readable) else {
                return Ok(());
            };
            match end.socket.read(&mut buffer[..size]) {
                Err(error) if is_later(&error) => end.readable = false,
                Err(error) if self.fate == Fate::Carried => return Err(error),
                Ok(0) if self.fate == Fate::Carried => {
                    end.readable = false;
                    self.eof = true;
                }
                Ok(length) if self.fate == Fate::Carried => {
                    self.put(buffer[..length].to_vec(), trouble, random, now);
                }
                Ok(0) | Err(_) => {
                    *from = None;
                    self.over = true;
                }
                Ok(_) => {}
            }
        }
        Ok(())
    }

    fn put(
        &mut self,
        mut bytes: Vec<u8>,
        trouble: &Trouble,
        random: &mut fastrand::Rng,
        now: Instant,
    ) {
        let mut sent = now;
        if let Some(rate) = trouble.rate {
            let takes = Duration::from_secs_f64(bytes.len() as f64 / f64::from(rate.max(1)));
            sent = self.free_at.unwrap_or(now).max(now) + takes;
            self.free_at = Some(sent);
        }
        let under_way = trouble.latency
            + trouble.jitter.mul_f64(random.f64())
            + retransmission(trouble.loss, random);
        let due = (sent + under_way).max(self.last_due.unwrap_or(now));
        self.last_due = Some(due);
        let flips = self.flip(&mut bytes, trouble.flip_every, random);
        self.queued += bytes.len();
        self.queue.push_back(Chunk {
            due,
            bytes,
            written: 0,
            flips,
        });
    }

    /// Turns bits over; answers how many.
    fn flip(&mut self, bytes: &mut [u8], every: Option<u32>, random: &mut fastrand::Rng) -> usize {
        let Some(every) = every else {
            self.until_flip = None;
            return 0;
        };
        let mut distance = || random.u64(1..=2 * u64::from(every));
        let mut next = self.until_flip.unwrap_or_else(&mut distance);
        let mut at = Vec::new();
        while next < bytes.len() as u64 {
            at.push(next as usize);
            next += distance();
        }
        self.until_flip = Some(next - bytes.len() as u64);
        for position in &at {
            bytes[*position] ^= 1 << random.u8(0..8);
        }
        at.len()
    }

    /// Writes what is due, and tells `written` of it and of the bits turned over in it.
    pub(super) fn give(
        &mut self,
        to: &mut Option<End>,
        now: Instant,
        mut written: impl FnMut(&[u8], usize),
    ) -> io::Result<()> {
        if to.is_none() {
            self.lose();
        }
        while let Some(chunk) = self.queue.front_mut().filter(|chunk| chunk.due <= now) {
            let Some(end) = to.as_mut().filter(|end| end.writable) else {
                return Ok(());
            };
            match end.socket.write(&chunk.bytes[chunk.written..]) {
                Ok(length) => {
                    let from = chunk.written;
                    chunk.written += length;
                    let flips = std::mem::take(&mut chunk.flips);
                    written(&chunk.bytes[from..chunk.written], flips);
                    self.carried += length as u64;
                    self.queued -= length;
                    if chunk.written == chunk.bytes.len() {
                        self.queue.pop_front();
                    }
                }
                Err(error) if is_later(&error) => {
                    end.writable = false;
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        if self.eof && self.queue.is_empty() && !self.over {
            self.over = true;
            if let Some(end) = to {
                let _ = end.socket.shutdown(Shutdown::Write);
            }
        }
        Ok(())
    }
}

/// Small where a small one shows the trouble better.
fn size_of_chunk(trouble: &Trouble) -> usize {
    let by_rate = trouble.rate.map_or(CHUNK, |rate| rate as usize / 20);
    let by_loss = if trouble.loss > 0.0 { SEGMENT } else { CHUNK };
    by_rate.min(by_loss).max(1)
}

/// How long a segment takes longer because it was lost.
fn retransmission(loss: f64, random: &mut fastrand::Rng) -> Duration {
    let losses = (0..MAX_RETRANSMITS).take_while(|_| random.f64() < loss);
    losses.map(|time| RETRANSMIT * (1 << time)).sum()
}

fn is_later(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, NotConnected, WouldBlock};
    matches!(error.kind(), Interrupted | NotConnected | WouldBlock)
}
