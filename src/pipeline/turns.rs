//! Which documents are posted next, and how many batches may wait for that.
//!
//! | order | what | why then |
//! | --- | --- | --- |
//! | 1 | a suspect for which many others were preferred | a search must end, also under full load |
//! | 2 | what no 500 has met, oldest first | one bad document holds up nobody |
//! | 3 | a suspect that can be tested: something was stored since its 500 | to find whose fault that was |
//! | 4 | any other suspect, or a witness in its stead | to find whether the API is well |
//!
//! A suspect is a batch whose next documents have met a 500.

use std::time::Instant;

use super::Pipeline;
use super::batch::Batch;
use super::suspicion::PostNumber;

/// Posts of others that are preferred to a suspect.
const PREFERRED: u64 = 8;

/// What to post next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Post {
    /// The next documents of that batch.
    Batch(usize),
    /// What was stored before.
    Witness,
}

/// See the module's text; suspects by when they were tried last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    Overdue(PostNumber),
    Fresh,
    Testable(PostNumber),
    Untestable(PostNumber),
}

impl Pipeline {
    /// What an idle uploader should post.
    pub(super) fn next_post(&self, now: Instant) -> Option<Post> {
        if self.in_flight() >= self.uploads {
            return None;
        }
        let waiting = self
            .batches
            .iter()
            .enumerate()
            .filter(|(_, batch)| batch.is_waiting() && self.is_in_turn(batch));
        let turns = waiting.map(|(index, batch)| (self.turn(batch), index));
        match turns.min()? {
            // What is on disk is fresh.
            (Turn::Testable(_) | Turn::Untestable(_), _) if self.wants_record(now) => None,
            (Turn::Untestable(_), _) if self.witness.is_known() => {
                // What is under way may bear witness, too.
                (self.in_flight() == 0).then_some(Post::Witness)
            }
            (_, index) => Some(Post::Batch(index)),
        }
    }

    fn turn(&self, batch: &Batch) -> Turn {
        let tried = batch.tried;
        match batch.suspicion() {
            None => Turn::Fresh,
            Some(suspicion) if !suspicion.can_be_tested(self.newest_stored) => {
                Turn::Untestable(tried)
            }
            Some(_) if self.last_post.0 - tried.0 >= PREFERRED => Turn::Overdue(tried),
            Some(_) => Turn::Testable(tried),
        }
    }

    /// Uploaders in use.
    pub fn in_flight(&self) -> usize {
        let batches = self.batches.iter().chain(&self.orphans);
        let in_flight = batches.filter(|batch| batch.is_in_flight()).count();
        in_flight + usize::from(self.witness.is_in_flight())
    }

    /// How much room batches take, counted in batches. Where there was room for suspects only, nothing
    /// could show whose fault it is; so they take none, as long as all of them together are no larger
    /// than one batch.
    pub(super) fn crowd<'a>(&self, batches: impl Iterator<Item = &'a Batch>) -> usize {
        let (mut others, mut suspects, mut bytes) = (0, 0, 0);
        for batch in batches.filter(|batch| !batch.is_done()) {
            if batch.is_waiting() && batch.suspicion().is_some() {
                suspects += 1;
                bytes += batch.body.bytes().len();
            } else {
                others += 1;
            }
        }
        let takes_room = bytes > self.batch_bytes;
        others + if takes_room { suspects } else { 0 }
    }
}
