//! A document that the API has stored, posted again to see whether the API is well.
//!
//! Where nothing but documents that met a 500 is left to post, nothing could show whose fault that
//! is: the broker may hand out no more before these are settled. Leek knows documents by their id and
//! takes one twice (contract C7), so a stored one can be asked about at any time.

use std::sync::Arc;

use super::batch::BatchId;
use super::suspicion::PostNumber;
use crate::document::Body;

/// A longer document is not kept in memory for this.
const LONGEST: usize = 64 * 1024;

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Witness {
    document: Option<Arc<Body>>,
    posted: Option<(BatchId, PostNumber)>,
}

impl Witness {
    /// There is one.
    pub fn is_known(&self) -> bool {
        self.document.is_some()
    }

    pub fn is_in_flight(&self) -> bool {
        self.posted.is_some()
    }

    /// The API stored this document of `body`.
    pub fn remember(&mut self, body: &Body, document: usize) {
        let bytes = body.document(document);
        if bytes.len() <= LONGEST {
            self.document = Some(Arc::new(Body::of([bytes])));
        }
    }

    /// What to post.
    pub fn start(&mut self, batch: BatchId, post: PostNumber) -> Option<Arc<Body>> {
        let body = self.document.clone()?;
        self.posted = Some((batch, post));
        Some(body)
    }

    /// The answer to its post is here: which post that was.
    pub fn answered(&mut self, batch: BatchId) -> Option<PostNumber> {
        let (_, post) = self.posted.take_if(|(posted, _)| *posted == batch)?;
        Some(post)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_document_that_is_not_too_long_is_posted_again() {
        let mut witness = Witness::default();
        let long = format!("{{\"id\": \"{}\"}}", "x".repeat(LONGEST));
        let texts = ["{\"id\": \"a\"}", "{\"id\": \"b\"}", &long];
        let body = Body::of(texts.map(str::as_bytes));
        assert!(!witness.is_known());
        witness.remember(&body, 2);
        assert!(!witness.is_known());
        witness.remember(&body, 0);
        witness.remember(&body, 1);
        witness.remember(&body, 2);
        let posted = witness.start(BatchId(7), PostNumber(9)).unwrap();
        assert_eq!(posted.bytes(), b"[{\"id\": \"b\"}]");
        assert_eq!(witness.answered(BatchId(6)), None);
        assert!(witness.is_in_flight());
        assert_eq!(witness.answered(BatchId(7)), Some(PostNumber(9)));
        assert!(!witness.is_in_flight() && witness.is_known());
    }
}
