//! Bytes read from the socket and not yet parsed. Sans-IO: it reads from whatever is handed in.
//!
//! It grows for a message that does not fit, as the message's bytes arrive and not when their number
//! is announced, and shrinks again behind it.

use std::io::{self, Read};

/// Read at once: a hundred messages, in one call to the system.
const CHUNK: usize = 64 * 1024;

/// A read into less room than this would cost more calls than it saves memory.
const LEAST: usize = 4 * 1024;

/// See the module's text.
#[derive(Debug, Default)]
pub struct Inbox {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// So many bytes to come are of a message that is not wanted.
    discard: u64,
}

impl Inbox {
    /// What is to be parsed.
    pub fn unread(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// The first `length` bytes are dealt with.
    pub fn consume(&mut self, length: usize) {
        self.start += length;
        debug_assert!(self.start <= self.end, "only what was read");
    }

    /// The next `length` bytes are thrown away, those that are yet to come too.
    pub fn discard(&mut self, length: u64) {
        self.discard += length;
        self.throw_away();
    }

    fn throw_away(&mut self) {
        let here = (self.end - self.start) as u64;
        let now = self.discard.min(here);
        self.start += usize::try_from(now).expect("at most what is here");
        self.discard -= now;
    }

    /// Reads once. `need` is how long the unread bytes must become before they make sense.
    pub fn fill(&mut self, source: &mut impl Read, need: usize) -> io::Result<usize> {
        self.make_room(need);
        let count = source.read(&mut self.bytes[self.end..])?;
        self.end += count;
        self.throw_away();
        Ok(count)
    }

    fn make_room(&mut self, need: usize) {
        let length = self.end - self.start;
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, length);
        }
        if self.bytes.len() > CHUNK && length.max(need) < CHUNK / 2 {
            self.bytes.truncate(CHUNK);
            self.bytes.shrink_to_fit();
        }
        if self.bytes.len() - length < LEAST {
            let wanted = (self.bytes.len() * 2).min(need.max(length) + LEAST);
            self.bytes.resize(wanted.max(CHUNK), 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives at most `most` bytes a read.
    struct Trickle<'a>(&'a [u8], usize);

    impl Read for Trickle<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(into.len()).min(self.0.len());
            into[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    #[test]
    fn grows_for_a_long_message_and_shrinks_behind_it() {
        let long = vec![b'x'; 40 * CHUNK];
        let mut source = Trickle(&long, usize::MAX);
        let mut inbox = Inbox::default();
        while inbox.unread().len() < long.len() {
            let read = inbox.unread().len();
            assert!(inbox.fill(&mut source, long.len()).unwrap() > 0);
            assert!(
                inbox.bytes.len() <= 2 * read + 2 * CHUNK,
                "grew before it had to"
            );
        }
        assert_eq!(inbox.unread(), long);
        inbox.consume(long.len());
        inbox.fill(&mut Trickle(b"next", 4), 1).unwrap();
        assert_eq!(inbox.unread(), b"next");
        assert_eq!(inbox.bytes.len(), CHUNK);
    }

    #[test]
    fn what_is_unwanted_takes_no_room() {
        let mut inbox = Inbox::default();
        let bytes = [vec![b'x'; 10 * CHUNK], b"next".to_vec()].concat();
        let mut source = Trickle(&bytes, 1000);
        inbox.fill(&mut source, 1).unwrap();
        inbox.discard(10 * CHUNK as u64);
        while inbox.fill(&mut source, 1).unwrap() > 0 {
            assert_eq!(inbox.bytes.len(), CHUNK);
        }
        assert_eq!(inbox.unread(), b"next");
    }
}
