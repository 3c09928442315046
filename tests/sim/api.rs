//! A model of the Leek API: stores documents, or fails in one of the ways of contract C6.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use leek_agent::document::Body;
use leek_agent::pipeline::verdict::{RefusedDocument, Verdict};

/// How the API behaves for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    Well,
    Silent,
    Error503,
    Error500,
    WrongKey,
    CaptivePortal,
    Slow,
}

pub const MOODS: [Mood; 7] = [
    Mood::Well,
    Mood::Silent,
    Mood::Error503,
    Mood::Error500,
    Mood::WrongKey,
    Mood::CaptivePortal,
    Mood::Slow,
];

#[derive(Debug)]
pub struct Api {
    pub mood: Mood,
    /// More documents than this in one body are refused with 413.
    pub most_documents: usize,
    /// Events stored, by document id.
    pub stored: BTreeMap<String, usize>,
}

/// Documents that the API can never store, told by their id.
pub fn is_refused(id: &str) -> bool {
    id.starts_with("refused")
}

/// Documents on which the API fails with 500.
pub fn is_poison(id: &str) -> bool {
    id.starts_with("poison")
}

/// Documents that make the API refuse the whole batch without saying which.
pub fn is_opaque(id: &str) -> bool {
    id.starts_with("opaque")
}

impl Api {
    /// The answer to a probe.
    pub fn probe(&self) -> Result<(), Verdict> {
        match self.failure() {
            Some(verdict) => Err(verdict),
            None => Ok(()),
        }
    }

    /// The answer to a post; what it stores is stored at once.
    pub fn post(&mut self, body: &Body, documents: Range<usize>) -> Verdict {
        if let Some(verdict) = self.failure() {
            return verdict;
        }
        let ids: Vec<_> = documents
            .clone()
            .map(|document| body.id(document))
            .collect();
        if ids.len() > self.most_documents {
            return Verdict::Refused {
                status: 413,
                reason: "too large".into(),
            };
        }
        if ids.iter().any(|id| is_poison(id)) {
            return unwell(Some(500));
        }
        if ids.iter().any(|id| is_opaque(id)) {
            return Verdict::Refused {
                status: 422,
                reason: "something in it".into(),
            };
        }
        let mut refused = Vec::new();
        for (document, id) in documents.zip(ids) {
            if is_refused(&id) {
                refused.push(RefusedDocument {
                    id,
                    reason: "mapping".into(),
                });
            } else {
                *self.stored.entry(id).or_default() += body.events(document..document + 1);
            }
        }
        if refused.is_empty() {
            Verdict::Stored
        } else {
            Verdict::Partial { refused }
        }
    }

    fn failure(&self) -> Option<Verdict> {
        match self.mood {
            Mood::Well | Mood::Slow => None,
            Mood::Silent => Some(unwell(None)),
            Mood::Error503 => Some(unwell(Some(503))),
            Mood::Error500 => Some(unwell(Some(500))),
            Mood::WrongKey => Some(Verdict::Misconfigured {
                status: 401,
                reason: "wrong key".into(),
            }),
            Mood::CaptivePortal => Some(Verdict::NotLeek {
                status: 302,
                reason: "portal".into(),
            }),
        }
    }

    pub fn latency(&self, random: &mut fastrand::Rng) -> Duration {
        let longest = if self.mood == Mood::Slow || self.mood == Mood::Silent {
            30_000
        } else {
            300
        };
        Duration::from_millis(random.u64(1..longest))
    }
}

fn unwell(status: Option<u16>) -> Verdict {
    Verdict::Unwell {
        status,
        reason: "not well".into(),
        retry_after: None,
    }
}
