//! The fixed-size ring that holds broker messages, in order, until they are decoded.
//!
//! A message lies contiguous in the ring, so that it can be parsed in place. It does not know what
//! a message means.
//!
//! ```text
//!   0        newer_len          older_start                 limit          capacity
//!   ├─ newer ───┤     free      ├──────── older ──────┤ free ├─ not yet touched ─┤
//! ```
//!
//! Messages are appended to `older` until `limit` is near, then from the start again as `newer`.
//! When `older` has drained, `newer` takes its place. `limit` starts small and doubles when the
//! messages in hand need it: a busy ring that is nearly empty cycles through the same few pages
//! instead of touching all of its memory once.

use memmap2::MmapMut;

use crate::delivery::DeliveryTag;

/// Bytes in front of each message: its length and delivery tag. All messages in the ring are of one
/// connection, or of a broker for which connections do not matter, so no epoch is kept.
const HEADER: usize = 4 + 8;

/// Where the first lap ends: a quarter of a MiB holds some 400 ordinary events.
const FIRST_LIMIT: usize = 256 * 1024;

/// A place in the sequence of all bytes ever pushed: grows for ever, is never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Position(u64);

/// A message as it lies in the ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    pub tag: DeliveryTag,
    pub body: &'a [u8],
    /// Where the message after this one starts.
    pub next: Position,
}

/// There is no room now; there will be when older messages are released.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

/// See the module's text.
pub struct Ring {
    bytes: MmapMut,
    limit: usize,
    /// Sequence positions: `older` is `[start, turn)`, `newer` is `[turn, end)`.
    start: u64,
    turn: u64,
    end: u64,
    /// Where `older` begins in `bytes`.
    older_start: usize,
}

impl Ring {
    /// A ring of `capacity` bytes, allocated once; the system backs its pages as they are touched. Where
    /// it has none to promise, the agent cannot begin.
    pub fn new(capacity: usize) -> Self {
        let capacity = capacity.max(HEADER);
        Ring {
            bytes: MmapMut::map_anon(capacity).unwrap_or_else(|error| {
                panic!("buffer_max_size_in_mb: no {capacity} bytes of memory: {error}")
            }),
            limit: FIRST_LIMIT.min(capacity),
            start: 0,
            turn: 0,
            end: 0,
            older_start: 0,
        }
    }

    /// The longest message body that fits into an empty ring.
    pub fn max_body(&self) -> usize {
        self.bytes.len() - HEADER
    }

    /// Bytes in use, headers counted.
    pub fn used(&self) -> usize {
        usize::try_from(self.end - self.start).expect("the ring's content fits in memory")
    }

    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Where the oldest message starts.
    pub fn start(&self) -> Position {
        Position(self.start)
    }

    /// Where the next message will start.
    pub fn end(&self) -> Position {
        Position(self.end)
    }

    /// A message of that length could be appended.
    pub fn has_room(&self, body_len: usize) -> bool {
        let behind = self.bytes.len() - self.older_start - self.older_len();
        let free = match self.newer_len() {
            0 => self.older_start.max(behind),
            newer if self.limit == self.bytes.len() => self.older_start - newer,
            newer => self.bytes.len() - self.older_len() - newer,
        };
        HEADER + body_len <= free
    }

    /// Appends a message.
    pub fn push(&mut self, tag: DeliveryTag, body: &[u8]) -> Result<(), Full> {
        let length = u32::try_from(body.len()).map_err(|_| Full)?;
        let need = HEADER + body.len();
        let at = self.make_room(need)?;
        let record = &mut self.bytes[at..at + need];
        record[0..4].copy_from_slice(&length.to_le_bytes());
        record[4..HEADER].copy_from_slice(&tag.0.to_le_bytes());
        record[HEADER..].copy_from_slice(body);
        self.end += need as u64;
        Ok(())
    }

    /// The message at `position`, `None` past the last one. `position` must come from this ring:
    /// its start, or the `next` of a message that has not been released.
    pub fn read(&self, position: Position) -> Option<Record<'_>> {
        if position.0 < self.start || position.0 >= self.end {
            return None;
        }
        let bytes = &self.bytes[self.index_of(position.0)..];
        let length = u32::from_le_bytes(bytes[0..4].try_into().expect("4 bytes")) as usize;
        Some(Record {
            tag: DeliveryTag(u64::from_le_bytes(
                bytes[4..HEADER].try_into().expect("8 bytes"),
            )),
            body: &bytes[HEADER..HEADER + length],
            next: Position(position.0 + (HEADER + length) as u64),
        })
    }

    /// Forgets all messages before `position`.
    pub fn release_to(&mut self, position: Position) {
        let to = position.0.clamp(self.start, self.end);
        if to >= self.turn {
            // `older` is gone; `newer`, which lies at the front, takes its place.
            self.older_start = self.index_of_newer(to);
            self.turn = self.end;
        } else {
            self.older_start += usize::try_from(to - self.start).expect("within the ring");
        }
        self.start = to;
        if self.is_empty() {
            self.older_start = 0;
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.release_to(self.end());
    }

    fn older_len(&self) -> usize {
        usize::try_from(self.turn - self.start).expect("within the ring")
    }

    fn newer_len(&self) -> usize {
        usize::try_from(self.end - self.turn).expect("within the ring")
    }

    fn index_of(&self, position: u64) -> usize {
        if position < self.turn {
            self.older_start + usize::try_from(position - self.start).expect("within the ring")
        } else {
            self.index_of_newer(position)
        }
    }

    /// As long as nothing has wrapped, `newer` is empty and lies where `older` ends.
    fn index_of_newer(&self, position: u64) -> usize {
        usize::try_from(position - self.turn).expect("within the ring")
    }

    /// Finds `need` contiguous bytes for the next message and says where they begin.
    fn make_room(&mut self, need: usize) -> Result<usize, Full> {
        loop {
            if let Some(at) = self.place(need) {
                return Ok(at);
            }
            self.widen(need)?;
        }
    }

    /// Room under today's limit, if there is any; turns to the front where the end has none.
    fn place(&mut self, need: usize) -> Option<usize> {
        if self.newer_len() > 0 {
            let at = self.newer_len();
            return (at + need <= self.older_start).then_some(at);
        }
        let at = self.older_start + self.older_len();
        if at + need <= self.limit {
            // Not wrapped: what is appended belongs to `older`.
            self.turn += need as u64;
            return Some(at);
        }
        (need <= self.older_start).then_some(0)
    }

    /// Doubles the limit. A wrapped ring moves `older` up to the new end, which leaves the room in
    /// the middle; each byte moves at most once a doubling.
    fn widen(&mut self, need: usize) -> Result<(), Full> {
        if self.limit == self.bytes.len() {
            return Err(Full);
        }
        let capacity = self.bytes.len();
        self.limit = (self.limit * 2).max(need).min(capacity);
        if self.newer_len() > 0 {
            let length = self.older_len();
            let target = self.limit - length;
            self.bytes
                .copy_within(self.older_start..self.older_start + length, target);
            self.older_start = target;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    fn push(ring: &mut Ring, tag: u64, length: usize) -> Result<(), Full> {
        ring.push(DeliveryTag(tag), &vec![tag as u8; length])
    }

    fn tags(ring: &Ring) -> Vec<u64> {
        let mut position = ring.start();
        let mut found = Vec::new();
        while let Some(record) = ring.read(position) {
            assert!(
                record.body.iter().all(|byte| *byte == record.tag.0 as u8),
                "message {} is damaged",
                record.tag
            );
            found.push(record.tag.0);
            position = record.next;
        }
        found
    }

    #[test]
    fn the_longest_message_fits_an_empty_ring_and_nothing_longer() {
        let mut ring = Ring::new(1024 * 1024);
        let longest = ring.max_body();
        assert_eq!(push(&mut ring, 1, longest + 1), Err(Full));
        assert_eq!(push(&mut ring, 1, longest), Ok(()));
        assert_eq!(push(&mut ring, 2, 0), Err(Full));
        ring.clear();
        assert_eq!(push(&mut ring, 3, longest), Ok(()));
        assert_eq!(tags(&ring), [3]);
    }

    #[test]
    fn a_ring_that_stays_nearly_empty_keeps_to_its_first_pages() {
        let mut ring = Ring::new(16 * 1024 * 1024);
        for tag in 0..100_000 {
            push(&mut ring, tag, 600).unwrap();
            if tag >= 10 {
                let oldest = ring.read(ring.start()).unwrap().next;
                ring.release_to(oldest);
            }
        }
        assert_eq!(ring.limit, FIRST_LIMIT);
        assert_eq!(tags(&ring).len(), 10);
    }

    #[test]
    fn positions_stay_true_when_the_ring_widens_while_wrapped() {
        let mut ring = Ring::new(4 * FIRST_LIMIT);
        let piece = FIRST_LIMIT / 8;
        for tag in 0..7 {
            push(&mut ring, tag, piece).unwrap();
        }
        let third = ring
            .read(ring.read(ring.start()).unwrap().next)
            .unwrap()
            .next;
        ring.release_to(third);
        for tag in 7..16 {
            push(&mut ring, tag, piece).unwrap();
        }
        assert!(ring.limit > FIRST_LIMIT);
        assert_eq!(ring.read(third).unwrap().tag, DeliveryTag(2));
        assert_eq!(tags(&ring), (2..16).collect::<Vec<_>>());
    }

    proptest! {
        #[test]
        fn behaves_as_a_queue(capacity in 64usize..4096, first in 32usize..64, steps in proptest::collection::vec((any::<bool>(), 0usize..300), 1..400)) {
            let mut ring = Ring::new(capacity);
            ring.limit = first.min(capacity);
            let mut model = VecDeque::new();
            for (tag, (pushes, length)) in steps.into_iter().enumerate() {
                let tag = tag as u64;
                if pushes {
                    let has_room = ring.has_room(length);
                    let pushed = push(&mut ring, tag, length);
                    prop_assert_eq!(pushed.is_ok(), has_room);
                    match pushed {
                        Ok(()) => model.push_back(tag),
                        Err(Full) => prop_assert!(ring.used() + HEADER + length > capacity / 2 || length + HEADER > capacity / 2),
                    }
                } else if let Some(record) = ring.read(ring.start()) {
                    let next = record.next;
                    ring.release_to(next);
                    model.pop_front();
                }
                prop_assert!(ring.used() <= capacity);
                prop_assert_eq!(tags(&ring), model.iter().copied().collect::<Vec<_>>());
            }
        }
    }
}
