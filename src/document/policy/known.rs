//! Which tasks were decided upon lately, by uuid, in a fixed amount of memory.
//!
//! A table of short lines: a uuid's hash chooses its line, and the line forgets what was longest
//! not asked for. Nothing is ever removed, since a redelivery may bring a task's first event again.

use std::hash::{DefaultHasher, Hasher};

/// Half a megabyte for each subscription that filters by name, room for 65,536 tasks: those of ten
/// minutes at a hundred a second. A task is forgotten after about so many later ones.
const LINES: usize = 8192;
/// One cache line of a gateway's processor.
const LINE: usize = 8;

/// What was decided of a task when its name was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    Leaves,
    Stays,
}

/// See the module's text.
#[derive(Debug)]
pub struct Known {
    /// Hashes, their lowest bit replaced by the decision, the latest first; 0 where there is none.
    lines: Vec<[u64; LINE]>,
}

impl Default for Known {
    fn default() -> Self {
        // Zeroed pages cost nothing until they are written to.
        Known {
            lines: vec![[0; LINE]; LINES],
        }
    }
}

impl Known {
    /// Remembers a decision; a later one about the same task replaces it.
    pub fn learn(&mut self, uuid: &[u8], decision: Decision) {
        let (line, hash) = self.line(uuid);
        let place = find(line, hash).unwrap_or(LINE - 1);
        line[..=place].rotate_right(1);
        line[0] = hash | u64::from(decision == Decision::Leaves);
    }

    /// What was decided of a task, if that is remembered.
    pub fn recall(&mut self, uuid: &[u8]) -> Option<Decision> {
        let (line, hash) = self.line(uuid);
        let place = find(line, hash)?;
        line[..=place].rotate_right(1);
        Some(match line[0] & 1 {
            1 => Decision::Leaves,
            _ => Decision::Stays,
        })
    }

    /// The line of a uuid, and its hash without the lowest bit, never 0.
    fn line(&mut self, uuid: &[u8]) -> (&mut [u64; LINE], u64) {
        let mut hasher = DefaultHasher::new();
        hasher.write(uuid);
        let hash = hasher.finish();
        let line = (hash >> 32) as usize % LINES;
        (&mut self.lines[line], hash & !1 | 2)
    }
}

fn find(line: &[u64; LINE], hash: u64) -> Option<usize> {
    line.iter().position(|entry| entry & !1 == hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uuid(number: u32) -> Vec<u8> {
        format!("5eed0000-0000-4000-8000-{number:012x}").into_bytes()
    }

    #[test]
    fn decisions_are_remembered_and_replaced() {
        let mut known = Known::default();
        assert_eq!(known.recall(&uuid(1)), None);
        known.learn(&uuid(1), Decision::Stays);
        known.learn(&uuid(2), Decision::Leaves);
        assert_eq!(known.recall(&uuid(1)), Some(Decision::Stays));
        assert_eq!(known.recall(&uuid(2)), Some(Decision::Leaves));
        known.learn(&uuid(1), Decision::Leaves);
        assert_eq!(known.recall(&uuid(1)), Some(Decision::Leaves));
    }

    #[test]
    fn the_latest_thousands_are_all_there() {
        let mut known = Known::default();
        (0..200_000).for_each(|number| known.learn(&uuid(number), Decision::Stays));
        let kept = |range: std::ops::Range<u32>, known: &mut Known| {
            range
                .filter(|&number| known.recall(&uuid(number)).is_some())
                .count()
        };
        // Which line a task falls into is chance: a few go early, most stay to the last.
        assert!(kept(190_000..200_000, &mut known) >= 9_999);
        assert!(kept(160_000..200_000, &mut known) > 38_000);
        assert!(kept(0..50_000, &mut known) < 500);
    }

    #[test]
    fn what_is_asked_for_is_kept() {
        let mut known = Known::default();
        known.learn(&uuid(0), Decision::Leaves);
        for number in 1..200_000 {
            known.learn(&uuid(number), Decision::Stays);
            if number % 1000 == 0 {
                assert_eq!(known.recall(&uuid(0)), Some(Decision::Leaves));
            }
        }
    }
}
