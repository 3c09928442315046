//! Anything as a segment of the spool, as a batch's payload, and as damage to a good segment.
#![no_main]

use leek_agent::pipeline::spool::RecordId;
use leek_agent::store::spool::record::{Draft, MAGIC, Reader, body};
use libfuzzer_sys::fuzz_target;

const SEGMENT: u64 = 1;

/// How many records are whole.
fn read(bytes: &[u8]) -> usize {
    let mut reader = Reader::new(bytes, SEGMENT);
    let mut records = 0;
    while let Ok(Some(record)) = reader.read_next() {
        let _ = body(record.payload);
        records += 1;
    }
    assert!(reader.position() <= bytes.len() as u64);
    records
}

fuzz_target!(|data: &[u8]| {
    read(data);
    let Some(documents) = body(data) else { return };
    let all: Vec<usize> = (0..documents.documents()).collect();
    let draft = |id| Draft::batch(RecordId(id), &documents, &all);
    let (Some(first), Some(second)) = (draft(1), draft(2)) else {
        return;
    };
    // What was understood is written as it was read.
    let first = first.seal(SEGMENT);
    assert!(first.ends_with(data));
    let good = [&MAGIC[..], &first, &second.seal(SEGMENT)].concat();
    assert_eq!(read(&good), 2);
    // The damage costs what is behind it, and nothing before.
    let at = data.iter().map(|byte| usize::from(*byte)).sum::<usize>() % good.len();
    let mut flipped = good.clone();
    flipped[at] ^= 1 << (at % 8);
    let before = [MAGIC.len(), MAGIC.len() + first.len()];
    let expected = match before.iter().filter(|end| **end <= at).count() {
        2 => 1,
        _ => 0,
    };
    assert_eq!(read(&flipped), expected);
    assert_eq!(read(&good[..at]), expected);
});
