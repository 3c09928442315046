//! Documents of a quarantine file on their way to the API once more, a batch at a time.
//!
//! Answers mean the same as in a running pipeline, with two differences, since somebody waits for
//! the end and the file keeps every document: an API that is not well is tried `TRIES` times only,
//! and a document that meets 500 five times by itself is given up without a sign that others pass.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::backoff::{Backoff, LONGEST};
use super::batch::{Batch, BatchId, Refusal, ServerError};
use super::settle::INTERNAL_SERVER_ERROR;
use super::suspicion::PostNumber;
use super::verdict::{RefusedDocument, Verdict};
use crate::document::Body;

/// Failures in a row until the API counts as down: more than a batch meets before it is halved. With
/// the waits between them about a minute.
const TRIES: u32 = 8;

/// What a batch is told of other posts: one that started after its own was stored.
const POST: PostNumber = PostNumber(0);
const NEWER_POST: PostNumber = PostNumber(1);

/// What to do after an answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Post what comes next.
    Post,
    /// The API is not well: post what comes next after that long.
    After(Duration, String),
    /// Nothing more can be stored now, and why.
    Stop(String),
}

/// What came of the documents so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    pub stored: u64,
    pub refused: u64,
}

/// The documents of one subscription.
pub struct Resend {
    batch: Batch,
    backoff: Backoff,
    failures: u32,
    tally: Tally,
    refused: Vec<RefusedDocument>,
}

impl Resend {
    /// Nothing to send yet. `seed` makes its backoff repeatable.
    pub fn new(seed: u64) -> Self {
        Resend {
            batch: batch(Body::default()),
            backoff: Backoff::new(seed),
            failures: 0,
            tally: Tally::default(),
            refused: Vec::new(),
        }
    }

    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Takes the next batch, once the one before is done.
    pub fn take(&mut self, body: Body) {
        self.batch = batch(body);
    }

    /// The documents to post next; `None` once the batch is done.
    pub fn next_post(&mut self) -> Option<(Arc<Body>, Range<usize>)> {
        let documents = self.batch.start(POST)?;
        Some((Arc::clone(&self.batch.body), documents))
    }

    /// The documents that were refused for good since the last call.
    pub fn take_refused(&mut self) -> Vec<RefusedDocument> {
        std::mem::take(&mut self.refused)
    }

    /// Takes note of the answer to the last post.
    pub fn answered(&mut self, verdict: Verdict) -> Next {
        match verdict {
            Verdict::Stored => self.stored(Vec::new()),
            Verdict::Partial { refused } => self.partly_stored(refused),
            Verdict::Refused { reason, .. } => {
                let refusal = self.batch.refused();
                self.refused(refusal, reason)
            }
            Verdict::Unwell {
                status,
                reason,
                retry_after,
            } => {
                match status {
                    Some(INTERNAL_SERVER_ERROR) => self.server_error(&reason),
                    _ => self.batch.retry(),
                }
                self.unwell(reason, retry_after.unwrap_or_default())
            }
            Verdict::Misconfigured { reason, .. } | Verdict::NotLeek { reason, .. } => {
                self.batch.retry();
                Next::Stop(reason)
            }
        }
    }

    /// All documents in flight but these are stored.
    fn stored(&mut self, refused: Vec<RefusedDocument>) -> Next {
        let documents = self.batch.documents_in_flight() - refused.len();
        self.batch.stored();
        self.tally.stored += documents as u64;
        self.give_up(refused);
        self.is_well()
    }

    fn partly_stored(&mut self, named: Vec<RefusedDocument>) -> Next {
        let found = self.batch.find_in_flight(&named);
        if found.is_empty() {
            // It names documents that are not in this body: find the refused ones by halving.
            let reason = named.into_iter().next().map(|one| one.reason);
            let refusal = self.batch.refused();
            return self.refused(refusal, reason.unwrap_or_default());
        }
        let body = Arc::clone(&self.batch.body);
        let refused = found.into_iter().map(|(document, reason)| RefusedDocument {
            id: body.id(document),
            reason,
        });
        self.stored(refused.collect())
    }

    fn refused(&mut self, refusal: Option<Refusal>, reason: String) -> Next {
        if let Some(Refusal::Quarantined(document)) = refusal {
            let id = self.batch.body.id(document);
            self.give_up(vec![RefusedDocument { id, reason }]);
        }
        self.is_well()
    }

    fn server_error(&mut self, reason: &str) {
        if let ServerError::Poison(Refusal::Quarantined(document)) =
            self.batch.server_error(NEWER_POST)
        {
            let (id, reason) = (self.batch.body.id(document), reason.to_owned());
            self.give_up(vec![RefusedDocument { id, reason }]);
        }
    }

    fn give_up(&mut self, refused: Vec<RefusedDocument>) {
        self.tally.refused += refused.len() as u64;
        self.refused.extend(refused);
    }

    fn is_well(&mut self) -> Next {
        self.failures = 0;
        self.backoff.reset();
        Next::Post
    }

    fn unwell(&mut self, reason: String, asked: Duration) -> Next {
        self.failures += 1;
        if self.failures >= TRIES {
            return Next::Stop(reason);
        }
        if asked > LONGEST {
            let seconds = asked.as_secs();
            return Next::Stop(format!("{reason}; it asks to wait for {seconds} s"));
        }
        Next::After(self.backoff.next_delay().max(asked), reason)
    }
}

fn batch(body: Body) -> Batch {
    Batch::new(BatchId(0), None, body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::backoff::FIRST;

    fn body(documents: usize) -> Body {
        let texts: Vec<_> = (0..documents)
            .map(|number| format!("{{\"id\": \"task-{number}\"}}"))
            .collect();
        Body::of(texts.iter().map(String::as_bytes))
    }

    fn unwell(status: u16) -> Verdict {
        Verdict::Unwell {
            status: Some(status),
            reason: "not well".into(),
            retry_after: None,
        }
    }

    fn named(id: &str) -> RefusedDocument {
        RefusedDocument {
            id: id.into(),
            reason: "no".into(),
        }
    }

    /// Sends `documents` to an API; answers how it ended, the tally and the refused ids.
    fn send(
        documents: usize,
        api: impl Fn(&Range<usize>) -> Verdict,
    ) -> (Option<String>, Tally, Vec<String>) {
        let mut resend = Resend::new(7);
        resend.take(body(documents));
        let mut refused = Vec::new();
        let mut stopped = None;
        while let Some((_, posted)) = resend.next_post() {
            let next = resend.answered(api(&posted));
            refused.extend(resend.take_refused().into_iter().map(|one| one.id));
            if let Next::Stop(reason) = next {
                stopped = Some(reason);
                break;
            }
        }
        (stopped, resend.tally(), refused)
    }

    #[test]
    fn what_is_stored_is_counted() {
        let tally = Tally {
            stored: 5,
            refused: 0,
        };
        assert_eq!(send(5, |_| Verdict::Stored), (None, tally, vec![]));
    }

    #[test]
    fn refused_documents_are_named_found_by_halving_or_by_their_500s() {
        let answers: [fn(&Range<usize>) -> Verdict; 4] = [
            |_| Verdict::Partial {
                refused: vec![named("task-2"), named("other")],
            },
            |posted| match posted.contains(&2) {
                true => Verdict::Refused {
                    status: 422,
                    reason: "no".into(),
                },
                false => Verdict::Stored,
            },
            |posted| match (posted.contains(&2), posted.len()) {
                (true, 1) => Verdict::Refused {
                    status: 422,
                    reason: "no".into(),
                },
                (true, _) => Verdict::Partial {
                    refused: vec![named("other")],
                },
                (false, _) => Verdict::Stored,
            },
            |posted| match posted.contains(&2) {
                true => unwell(500),
                false => Verdict::Stored,
            },
        ];
        for (number, api) in answers.into_iter().enumerate() {
            let tally = Tally {
                stored: 6,
                refused: 1,
            };
            let expected = (None, tally, vec!["task-2".to_owned()]);
            assert_eq!(send(7, api), expected, "{number}");
        }
    }

    #[test]
    fn one_document_that_meets_500_does_not_stop_those_behind_it() {
        let mut resend = Resend::new(7);
        resend.take(body(1));
        let mut tries = 0;
        while resend.next_post().is_some() {
            tries += 1;
            assert!(matches!(resend.answered(unwell(500)), Next::After(..)));
        }
        assert_eq!((tries, resend.take_refused().len()), (5, 1));
        resend.take(body(3));
        resend.next_post();
        assert_eq!(resend.answered(Verdict::Stored), Next::Post);
        assert_eq!(resend.tally().stored, 3);
    }

    #[test]
    fn an_answer_that_stores_something_ends_the_backoff() {
        for seed in 0..50 {
            let mut resend = Resend::new(seed);
            for _ in 0..7 {
                resend.take(body(1));
                resend.next_post();
                assert!(matches!(resend.answered(unwell(503)), Next::After(..)));
            }
            resend.next_post();
            assert_eq!(resend.answered(Verdict::Stored), Next::Post);
            resend.take(body(1));
            resend.next_post();
            let next = resend.answered(unwell(503));
            assert!(
                matches!(next, Next::After(delay, _) if delay <= FIRST),
                "{next:?}"
            );
        }
    }

    #[test]
    fn an_api_that_is_down_is_tried_a_few_times() {
        for status in [500, 503] {
            let posts = std::cell::Cell::new(0);
            let (stopped, tally, _) = send(4, |_| {
                posts.set(posts.get() + 1);
                unwell(status)
            });
            assert_eq!((stopped.as_deref(), posts.get()), (Some("not well"), TRIES));
            assert_eq!(tally, Tally::default());
        }
    }

    #[test]
    fn what_only_a_person_can_mend_stops_at_once() {
        let wrong_key = |_: &Range<usize>| Verdict::Misconfigured {
            status: 401,
            reason: "check app_key".into(),
        };
        assert_eq!(send(3, wrong_key).0.as_deref(), Some("check app_key"));
        let tomorrow = |_: &Range<usize>| Verdict::Unwell {
            status: Some(429),
            reason: "429: slow down".into(),
            retry_after: Some(Duration::from_secs(3600)),
        };
        let reason = "429: slow down; it asks to wait for 3600 s";
        assert_eq!(send(3, tomorrow).0.as_deref(), Some(reason));
    }

    #[test]
    fn a_wait_is_as_long_as_the_api_asks() {
        let mut resend = Resend::new(7);
        resend.take(body(1));
        resend.next_post();
        let asked = Duration::from_secs(50);
        let next = resend.answered(Verdict::Unwell {
            status: None,
            reason: "busy".into(),
            retry_after: Some(asked),
        });
        assert_eq!(next, Next::After(asked, "busy".into()));
    }
}
