//! "Did you mean": the known name that a mistyped one is closest to.

/// The candidate with the smallest edit distance to `typed`; the first one wins a tie. `None` only
/// where there are no candidates.
pub fn nearest<'a>(typed: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .min_by_key(|known| strsim::damerau_levenshtein(typed, known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_closest() {
        let known = ["drain", "for", "lock"];
        assert_eq!(nearest("darin", known), Some("drain"));
        assert_eq!(nearest("lokc", known), Some("lock"));
        assert_eq!(nearest("anything", []), None);
    }
}
