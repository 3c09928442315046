//! The bytes of a spool's segment: records of batches, and marks of what was delivered. Pure.
//!
//! ```text
//!   segment  = magic (8) | record …
//!   record   = checksum (4) | kind (1) | length (4) | id (8) | events (4) | payload (length)
//!   payload  = document …                 of a batch; a mark has none
//!   document = events (4) | length (4) | JSON text
//! ```
//!
//! Numbers are little-endian. The checksum is CRC-32 over the segment's number and everything behind
//! the checksum: what a power cut leaves of another file is not taken for a record of this one. A
//! segment is good up to its first record that is not whole.

use std::io::{self, Read};

use crc32fast::Hasher;

use crate::document::Body;
use crate::pipeline::spool::RecordId;

/// How every segment begins; the digit is the format's version.
pub const MAGIC: [u8; 8] = *b"leekspl1";

/// Bytes of a record in front of its payload.
pub const HEADER: usize = 4 + 1 + 4 + 8 + 4;

/// Bytes in front of each document's text.
const DOCUMENT_HEADER: usize = 4 + 4;

/// What a record is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Documents that are owed.
    Batch = 1,
    /// Everything up to and including the record of this id was delivered.
    Done = 2,
}

/// A whole record, as it was read.
#[derive(Debug, PartialEq, Eq)]
pub struct Record<'a> {
    pub kind: Kind,
    pub id: RecordId,
    pub events: u32,
    pub payload: &'a [u8],
}

/// A record that still wants the number of the segment it goes to.
pub struct Draft {
    bytes: Vec<u8>,
    events: u32,
}

impl Draft {
    /// Those documents of `body`; `None` where they are longer than a length can say.
    pub fn batch(id: RecordId, body: &Body, documents: &[usize]) -> Option<Draft> {
        let mut bytes = vec![0; HEADER];
        let mut events = 0u32;
        for &document in documents {
            let text = body.document(document);
            let of_document = u32::try_from(body.events(document..document + 1)).ok()?;
            events = events.checked_add(of_document)?;
            bytes.extend(of_document.to_le_bytes());
            bytes.extend(u32::try_from(text.len()).ok()?.to_le_bytes());
            bytes.extend_from_slice(text);
        }
        Draft::new(bytes, Kind::Batch, id, events)
    }

    /// The mark that everything up to and including `through` was delivered.
    pub fn done(through: RecordId) -> Draft {
        Draft::new(vec![0; HEADER], Kind::Done, through, 0).expect("a mark has no payload")
    }

    /// Writes the header in front of the payload, all but its checksum.
    fn new(mut bytes: Vec<u8>, kind: Kind, id: RecordId, events: u32) -> Option<Draft> {
        let length = u32::try_from(bytes.len() - HEADER).ok()?;
        bytes[4] = kind as u8;
        bytes[5..9].copy_from_slice(&length.to_le_bytes());
        bytes[9..17].copy_from_slice(&id.0.to_le_bytes());
        bytes[17..HEADER].copy_from_slice(&events.to_le_bytes());
        Some(Draft { bytes, events })
    }

    /// Bytes that it takes in a segment.
    pub fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Events in its documents.
    pub fn events(&self) -> u32 {
        self.events
    }

    /// What is written to that segment.
    pub fn seal(mut self, segment: u64) -> Vec<u8> {
        let checksum = checksum(segment, &self.bytes[4..], &[]);
        self.bytes[0..4].copy_from_slice(&checksum.to_le_bytes());
        self.bytes
    }
}

fn checksum(segment: u64, header: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(&segment.to_le_bytes());
    hasher.update(header);
    hasher.update(payload);
    hasher.finalize()
}

/// The documents of a batch's payload; `None` where it is not what [`Draft::batch`] writes.
pub fn body(payload: &[u8]) -> Option<Body> {
    let mut documents = Vec::new();
    let mut rest = payload;
    while !rest.is_empty() {
        let (header, after) = rest.split_at_checked(DOCUMENT_HEADER)?;
        let text = after.get(..number(&header[4..]) as usize)?;
        documents.push((number(header), text));
        rest = &after[text.len()..];
    }
    Some(Body::rebuild(&documents))
}

/// The little-endian number at the start of `bytes`, which must hold one.
fn number(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes[..4].try_into().expect("4 bytes"))
}

/// Reads a segment's records one after the other, as far as they are whole.
pub struct Reader<R> {
    input: R,
    segment: u64,
    /// Up to here everything was whole.
    position: u64,
    last_batch: Option<RecordId>,
    /// The record last read; as large as the largest of them.
    buffer: Vec<u8>,
}

impl<R: Read> Reader<R> {
    /// A reader at a segment's first byte.
    pub fn new(input: R, segment: u64) -> Self {
        Reader::resume(input, segment, 0)
    }

    /// A reader whose `input` stands at the record at `position`.
    pub fn resume(input: R, segment: u64, position: u64) -> Self {
        Reader {
            input,
            segment,
            position,
            last_batch: None,
            buffer: Vec::new(),
        }
    }

    /// Where the record that comes next starts.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The next record; `None` where the good part of the segment ends.
    pub fn read_next(&mut self) -> io::Result<Option<Record<'_>>> {
        if self.position == 0 {
            if self.take(MAGIC.len())? != MAGIC {
                return Ok(None);
            }
            self.position = MAGIC.len() as u64;
        }
        let Ok(header) = <[u8; HEADER]>::try_from(self.take(HEADER)?) else {
            return Ok(None);
        };
        let length = number(&header[5..]) as usize;
        let (id, events) = (id_of(&header), number(&header[17..]));
        let kind = match header[4] {
            1 if self.last_batch < Some(id) => Kind::Batch,
            2 if length == 0 => Kind::Done,
            _ => return Ok(None),
        };
        let segment = self.segment;
        let whole = self.take(length)?.len() == length;
        if !whole || number(&header) != checksum(segment, &header[4..], &self.buffer) {
            return Ok(None);
        }
        self.position += (HEADER + length) as u64;
        if kind == Kind::Batch {
            self.last_batch = Some(id);
        }
        Ok(Some(Record {
            kind,
            id,
            events,
            payload: &self.buffer,
        }))
    }

    /// Up to `length` bytes; never more memory than there are bytes.
    fn take(&mut self, length: usize) -> io::Result<&[u8]> {
        self.buffer.clear();
        let mut part = self.input.by_ref().take(length as u64);
        part.read_to_end(&mut self.buffer)?;
        Ok(&self.buffer)
    }
}

fn id_of(header: &[u8; HEADER]) -> RecordId {
    RecordId(u64::from_le_bytes(
        header[9..17].try_into().expect("8 bytes"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SEGMENT: u64 = 7;

    fn body_of(texts: &[&str]) -> Body {
        let documents: Vec<_> = texts.iter().map(|text| (2, text.as_bytes())).collect();
        Body::rebuild(&documents)
    }

    /// A segment of three batches with a mark between them, and where its records end.
    fn segment() -> (Vec<u8>, Vec<usize>) {
        let body = body_of(&[r#"{"id": "a"}"#, r#"{"id": "b"}"#, r#"{"id": "c"}"#]);
        let mut bytes = MAGIC.to_vec();
        let mut ends = vec![bytes.len()];
        for record in [
            Draft::batch(RecordId(4), &body, &[0]).unwrap(),
            Draft::batch(RecordId(5), &body, &[0, 2]).unwrap(),
            Draft::done(RecordId(4)),
            Draft::batch(RecordId(9), &body, &[0, 1, 2]).unwrap(),
        ] {
            bytes.extend(record.seal(SEGMENT));
            ends.push(bytes.len());
        }
        (bytes, ends)
    }

    /// Kind, id and events of each record, and how many bytes are good.
    fn read(bytes: &[u8]) -> (Vec<(Kind, u64, u32)>, u64) {
        let mut reader = Reader::new(bytes, SEGMENT);
        let mut found = Vec::new();
        while let Some(record) = reader.read_next().unwrap() {
            found.push((record.kind, record.id.0, record.events));
        }
        (found, reader.position())
    }

    const WHOLE: [(Kind, u64, u32); 4] = [
        (Kind::Batch, 4, 2),
        (Kind::Batch, 5, 4),
        (Kind::Done, 4, 0),
        (Kind::Batch, 9, 6),
    ];

    #[test]
    fn what_was_written_is_read() {
        let (bytes, _) = segment();
        assert_eq!(read(&bytes), (WHOLE.to_vec(), bytes.len() as u64));
    }

    #[test]
    fn documents_come_back_as_they_were() {
        let (bytes, ends) = segment();
        let mut reader = Reader::resume(&bytes[ends[1]..], SEGMENT, ends[1] as u64);
        let record = reader.read_next().unwrap().unwrap();
        let body = body(record.payload).unwrap();
        assert_eq!(body.bytes(), br#"[{"id": "a"}, {"id": "c"}]"#);
        assert_eq!((body.events(0..2), body.id(1).as_str()), (4, "c"));
    }

    #[test]
    fn whatever_is_cut_off_the_records_before_it_are_read() {
        let (bytes, ends) = segment();
        for length in 0..bytes.len() {
            let whole = ends.iter().filter(|end| **end <= length).count();
            let good = whole.checked_sub(1).map_or(0, |index| ends[index]);
            let expected = WHOLE[..whole.saturating_sub(1)].to_vec();
            assert_eq!(read(&bytes[..length]), (expected, good as u64), "{length}");
        }
    }

    #[test]
    fn a_flipped_bit_ends_the_good_part_and_zeros_do_too() {
        let (bytes, ends) = segment();
        for at in 0..bytes.len() {
            let whole = ends.iter().filter(|end| **end <= at).count();
            let expected = WHOLE[..whole.saturating_sub(1)].to_vec();
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                assert_eq!(read(&damaged).0, expected, "bit {bit} of byte {at}");
            }
            let mut zeros = bytes.clone();
            zeros[at..].fill(0);
            assert!(read(&zeros).0.len() <= expected.len() + 1);
            assert!(WHOLE.starts_with(&read(&zeros).0), "zeros from {at}");
        }
    }

    #[test]
    fn a_record_of_another_segment_or_of_the_past_is_none() {
        let (bytes, _) = segment();
        let mut reader = Reader::new(&bytes[..], SEGMENT + 1);
        assert_eq!(reader.read_next().unwrap(), None);
        let again = [&bytes[..], &bytes[MAGIC.len()..]].concat();
        assert_eq!(read(&again).1, bytes.len() as u64);
    }

    #[test]
    fn a_claimed_length_costs_no_memory() {
        let mut bytes = MAGIC.to_vec();
        bytes.extend([0; HEADER]);
        bytes[MAGIC.len() + 4] = Kind::Batch as u8;
        bytes[MAGIC.len() + 5..MAGIC.len() + 9].fill(0xff);
        let mut reader = Reader::new(&bytes[..], SEGMENT);
        assert_eq!(reader.read_next().unwrap(), None);
        assert!(reader.buffer.capacity() < 4096);
    }

    proptest! {
        #[test]
        fn any_documents_come_back(texts in proptest::collection::vec(".{0,40}", 1..20)) {
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let whole = body_of(&texts);
            let all: Vec<usize> = (0..texts.len()).collect();
            let bytes = Draft::batch(RecordId(1), &whole, &all).unwrap().seal(SEGMENT);
            let mut reader = Reader::resume(&bytes[..], SEGMENT, 1);
            let record = reader.read_next().unwrap().unwrap();
            prop_assert_eq!(record.events as usize, 2 * texts.len());
            let back = body(record.payload).unwrap();
            prop_assert_eq!(back.bytes(), whole.bytes());
            for document in 0..texts.len() {
                prop_assert_eq!(back.document(document), whole.document(document));
            }
        }

        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = body(&bytes);
            let with_magic = [&MAGIC[..], &bytes].concat();
            for bytes in [&bytes, &with_magic] {
                prop_assert!(read(bytes).1 <= bytes.len() as u64);
            }
        }
    }
}
