//! What the pipeline has to tell people. It decides that something happened; how it is worded and
//! how often it is repeated is the logger's business.

use std::collections::VecDeque;
use std::time::Duration;

use super::quarantine::Cause;
use super::verdict::Verdict;
use crate::delivery::DeliveryTag;
use crate::document::Repairs;

/// One thing worth telling.
#[derive(Debug)]
pub enum Report {
    /// An event or a whole message that means nothing.
    Invalid { tag: DeliveryTag, reason: String },
    /// An event of a type that Leek has no state for.
    Filtered {
        tag: DeliveryTag,
        event_type: String,
    },
    /// So many events were kept on the site, as the subscription says.
    Withheld(u64),
    /// Events mended on the way, by kind.
    Repaired(Repairs),
    /// The broker connection is gone, or did not come up; zero means that the next broker of the
    /// list is tried at once.
    SourceLost { reason: String, retry_in: Duration },
    /// The broker connection is back; what was published in between is gone, since the broker
    /// keeps nothing.
    SourceBack { blind: Duration },
    /// Events given up, oldest first: the ring was full, or the agent had to stop.
    Dropped { events: u64 },
    /// The API is well (again).
    ApiWell,
    /// The API takes nothing; the verdict says why and `retry_in` how long all uploads wait.
    ApiHeld {
        verdict: Verdict,
        retry_in: Duration,
    },
    /// A batch was stored.
    Stored { documents: usize, events: u64 },
    /// Documents were refused together and are sent again in halves.
    Halved { documents: usize, reason: String },
    /// A document is refused for good.
    Quarantined {
        id: String,
        events: u64,
        cause: Cause,
        /// The API's words.
        answer: String,
    },
    /// Refused documents are in that file now; so many older ones had to go.
    Kept {
        documents: u64,
        removed: u64,
        file: String,
    },
    /// Refused documents are in no file.
    NotKept { documents: u64, reason: String },
    /// The spool is open, and so many events of an earlier run are in it.
    SpoolOpened { events: u64 },
    /// From now on batches go to disk.
    SpoolInUse,
    /// A batch went to disk.
    Spooled { events: u64 },
    /// The disk does not do what it is asked; `None`: it does not even answer.
    SpoolFailed {
        reason: String,
        retry_in: Option<Duration>,
    },
    /// It does again.
    SpoolWell,
    /// Events on disk given up, oldest first: there was no more room, or they were damaged.
    SpoolDropped { events: u64 },
    /// Bytes on disk that could not be read.
    SpoolTorn { bytes: u64 },
    /// More was to be told than there is room for.
    Omitted(u64),
}

/// A message may hold millions of broken events: past this many untold reports they are counted.
const MAX_UNTOLD: usize = 64;

/// Reports on their way out.
#[derive(Debug, Default)]
pub struct Reports {
    untold: VecDeque<Report>,
    omitted: u64,
    withheld: u64,
    repairs: Repairs,
    dropped: u64,
}

impl Reports {
    pub fn push(&mut self, report: Report) {
        if self.untold.len() < MAX_UNTOLD {
            self.untold.push_back(report);
        } else {
            self.omitted += 1;
        }
    }

    pub fn invalid(&mut self, tag: DeliveryTag, reason: String) {
        self.push(Report::Invalid { tag, reason });
    }

    /// Filtering is everyday business: summed up until the next report goes out.
    pub fn withheld(&mut self) {
        self.withheld += 1;
    }

    /// Repairs are summed up until the next report goes out.
    pub fn repaired(&mut self, repairs: &Repairs) {
        self.repairs.absorb(repairs);
    }

    /// Drops are summed up until the next report goes out.
    pub fn dropped(&mut self, events: u64) {
        self.dropped += events;
    }

    /// The next report to tell.
    pub fn pop(&mut self) -> Option<Report> {
        if let Some(report) = self.untold.pop_front() {
            return Some(report);
        }
        if self.omitted > 0 {
            return Some(Report::Omitted(std::mem::take(&mut self.omitted)));
        }
        if self.withheld > 0 {
            return Some(Report::Withheld(std::mem::take(&mut self.withheld)));
        }
        if self.dropped > 0 {
            let events = std::mem::take(&mut self.dropped);
            return Some(Report::Dropped { events });
        }
        (!self.repairs.is_empty()).then(|| Report::Repaired(std::mem::take(&mut self.repairs)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_to_tell_is_counted_and_told_after_the_rest() {
        let mut reports = Reports::default();
        for _ in 0..MAX_UNTOLD + 3 {
            reports.push(Report::ApiWell);
        }
        let told: Vec<_> = std::iter::from_fn(|| reports.pop()).collect();
        assert_eq!(told.len(), MAX_UNTOLD + 1);
        assert!(matches!(told.last(), Some(Report::Omitted(3))));
    }

    #[test]
    fn everyday_business_is_summed_up_and_told_once() {
        let mut reports = Reports::default();
        assert!(reports.pop().is_none());
        for events in [2, 5] {
            reports.withheld();
            reports.dropped(events);
        }
        assert!(matches!(reports.pop(), Some(Report::Withheld(2))));
        assert!(matches!(reports.pop(), Some(Report::Dropped { events: 7 })));
        assert!(reports.pop().is_none());
    }
}
