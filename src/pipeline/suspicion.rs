//! Documents on which the API fails with 500, told from an API that fails on everything.
//!
//! Only what is stored meanwhile can tell the two apart. A 500 counts against documents where a post
//! that started after their last 500 was stored: an older one proves nothing, its answer may just have
//! been late, or the API may have broken down since.

/// Posts, of all batches, are numbered as they start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct PostNumber(pub u64);

/// So many 500s for the same documents, each while others are stored, are those documents' fault: the
/// API fails on them, and would for ever.
const POISON_FAILURES: u32 = 5;

/// What is held against documents that were posted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Suspicion {
    /// Their last post.
    post: PostNumber,
    /// How often they met a 500.
    failures: u32,
    /// Of these, while others were stored.
    proofs: u32,
}

impl Suspicion {
    /// One more 500, in that post; `newest_stored` is the newest post that was stored so far.
    pub fn after(before: Option<Self>, post: PostNumber, newest_stored: PostNumber) -> Self {
        let before = before.unwrap_or(Suspicion {
            post,
            failures: 0,
            proofs: 0,
        });
        Suspicion {
            post,
            failures: before.failures.saturating_add(1),
            proofs: before.proofs + u32::from(before.can_be_tested(newest_stored)),
        }
    }

    /// Others were stored since: one more 500 would count.
    pub fn can_be_tested(&self, newest_stored: PostNumber) -> bool {
        newest_stored > self.post
    }

    /// Not to be posted again as they are. Several documents are divided even without a proof, since
    /// their halves are each other's test; a single one is tried for ever until there is one.
    pub fn is_proven(&self, documents: usize) -> bool {
        self.proofs >= POISON_FAILURES || (self.failures >= POISON_FAILURES && documents > 1)
    }

    /// What is held against a half of these documents. Proofs against the whole let the search go
    /// on with the first 500; a document that is alone now is given up for its own 500s only.
    pub fn of_half(self, documents: usize) -> Self {
        Suspicion {
            failures: 0,
            proofs: if documents == 1 { 0 } else { self.proofs },
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A document that meets a 500 in each of these posts, with what was stored until then.
    fn after(posts: impl IntoIterator<Item = (u64, u64)>) -> Suspicion {
        let mut suspicion = None;
        for (post, newest_stored) in posts {
            let (post, stored) = (PostNumber(post), PostNumber(newest_stored));
            suspicion = Some(Suspicion::after(suspicion, post, stored));
        }
        suspicion.expect("there was a post")
    }

    #[test]
    fn without_others_a_document_is_tried_for_ever_and_several_are_divided() {
        let suspicion = after((10..60).map(|post| (post, 9)));
        assert!(!suspicion.is_proven(1));
        assert!(suspicion.is_proven(2));
        assert!(!after((10..14).map(|post| (post, 9))).is_proven(2));
    }

    #[test]
    fn five_500s_between_which_others_were_stored_are_a_proof() {
        let posts = (1..6).map(|step| (10 * step, 10 * step - 1));
        // The first has no 500 before it, after which anything could have been stored.
        assert!(!after(posts.clone()).is_proven(1));
        assert!(after(posts.chain([(60, 59)])).is_proven(1));
    }

    #[test]
    fn one_stored_post_is_one_proof() {
        assert!(!after((10..60).map(|post| (post, 11))).is_proven(1));
    }

    #[test]
    fn a_post_that_began_before_the_500_proves_nothing() {
        assert!(!after((2..60).map(|post| (2 * post, 2 * post - 3))).is_proven(1));
        let once = after([(7, 6)]);
        assert!(!once.can_be_tested(PostNumber(7)));
        assert!(once.can_be_tested(PostNumber(8)));
    }

    #[test]
    fn a_post_that_overtook_this_one_counts() {
        assert!(after((1..6).map(|post| (2 * post, 2 * post + 1))).is_proven(1));
    }

    #[test]
    fn halves_are_searched_on_and_single_documents_judged_anew() {
        let whole = after((1..7).map(|step| (10 * step, 10 * step - 1)));
        let once_more =
            |half| Suspicion::after(Some(half), PostNumber(70), PostNumber(69)).is_proven(2);
        assert!(once_more(whole.of_half(2)));
        assert!(!once_more(whole.of_half(1)));
        let unproven = after((10..15).map(|post| (post, 9)));
        let half = Suspicion::after(Some(unproven.of_half(2)), PostNumber(16), PostNumber(9));
        assert!(!half.is_proven(2));
    }
}
