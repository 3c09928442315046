//! Patterns over task names, with the rules of Python's `fnmatch`: `*` any text, `?` one
//! character, `[a-z]` one of a set, `[!a-z]` one that is not in it. The whole name must match.
//!
//! Our own, since the crates bring file paths or a regex engine along. On a mismatch only the last
//! `*` is tried anew, which is enough: no exponential backtracking, at worst name × pattern steps.

use std::fmt;

use crate::python::text;

/// A pattern, ready to match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob {
    tokens: Vec<Token>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    /// `*`
    Text,
    /// `?`
    Any,
    One(u32),
    OneOf(Set),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Set {
    inverted: bool,
    /// First and last code point, both within.
    ranges: Vec<(u32, u32)>,
}

/// Why a text is no pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadGlob {
    Empty,
    /// A `[` without its `]`.
    Unclosed,
    /// A range such as `[z-a]`.
    Backwards,
}

impl fmt::Display for BadGlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BadGlob::Empty => "expected a pattern such as shop.orders.*",
            BadGlob::Unclosed => "expected a ] after the [, or [[] for a bracket itself",
            BadGlob::Backwards => "expected the lower end of a range such as [a-z] first",
        })
    }
}

impl std::error::Error for BadGlob {}

impl Glob {
    /// Reads a pattern.
    pub fn parse(pattern: &str) -> Result<Glob, BadGlob> {
        let mut rest = pattern;
        let mut tokens = Vec::new();
        while let Some(first) = rest.chars().next() {
            rest = &rest[first.len_utf8()..];
            match first {
                '*' if tokens.last() == Some(&Token::Text) => {}
                '*' => tokens.push(Token::Text),
                '?' => tokens.push(Token::Any),
                '[' => {
                    let (set, after) = Set::parse(rest)?;
                    tokens.push(Token::OneOf(set));
                    rest = after;
                }
                other => tokens.push(Token::One(other.into())),
            }
        }
        if tokens.is_empty() {
            return Err(BadGlob::Empty);
        }
        Ok(Glob { tokens })
    }

    /// Whether the whole of `name` matches. `name` is generalised UTF-8.
    pub fn matches(&self, name: &[u8]) -> bool {
        let (mut token, mut rest) = (0, name);
        // Where to go on after a mismatch: behind the last `*`, which then takes one more.
        let mut retry: Option<(usize, &[u8])> = None;
        loop {
            let first = text::first(rest);
            match (self.tokens.get(token), first) {
                (Some(Token::Text), _) => {
                    token += 1;
                    retry = Some((token, rest));
                    continue;
                }
                (Some(wanted), Some((point, length))) if wanted.takes(point) => {
                    token += 1;
                    rest = &rest[length..];
                    continue;
                }
                (None, None) => return true,
                _ => {}
            }
            let Some((behind, from)) = retry else {
                return false;
            };
            let Some((_, length)) = text::first(from) else {
                return false;
            };
            token = behind;
            rest = &from[length..];
            retry = Some((behind, rest));
        }
    }
}

impl Token {
    fn takes(&self, point: u32) -> bool {
        match self {
            Token::Text | Token::Any => true,
            Token::One(wanted) => *wanted == point,
            Token::OneOf(set) => set.has(point),
        }
    }
}

impl Set {
    /// Reads what stands behind a `[`; gives the set and the pattern's rest.
    fn parse(text: &str) -> Result<(Set, &str), BadGlob> {
        let (inverted, text) = match text.strip_prefix('!') {
            Some(text) => (true, text),
            None => (false, text),
        };
        // A `]` that comes first is a member.
        let from = usize::from(text.starts_with(']'));
        let end = text[from..].find(']').ok_or(BadGlob::Unclosed)? + from;
        let mut ranges = Vec::new();
        let members: Vec<u32> = text[..end].chars().map(u32::from).collect();
        let mut members = &members[..];
        while let [first, rest @ ..] = members {
            let (last, rest) = match rest {
                [dash, last, rest @ ..] if *dash == u32::from('-') => (last, rest),
                _ => (first, rest),
            };
            if first > last {
                return Err(BadGlob::Backwards);
            }
            ranges.push((*first, *last));
            members = rest;
        }
        Ok((Set { inverted, ranges }, &text[end + 1..]))
    }

    fn has(&self, point: u32) -> bool {
        let within = |&(first, last): &(u32, u32)| (first..=last).contains(&point);
        self.ranges.iter().any(within) != self.inverted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(pattern: &str, name: &str) -> bool {
        Glob::parse(pattern).unwrap().matches(name.as_bytes())
    }

    #[test]
    fn the_whole_name_must_match() {
        for (pattern, name, expected) in [
            ("shop.orders.add", "shop.orders.add", true),
            ("shop.orders.add", "shop.orders.add2", false),
            ("shop.orders.add", "Shop.orders.add", false),
            ("shop.*", "shop.orders.add", true),
            ("shop.*", "shop", false),
            ("*", "", true),
            ("*.add", "shop.orders.add", true),
            ("*.orders.*", "shop.orders.add", true),
            ("*a*b", "aabab", true),
            ("*a*b", "aaba", false),
            ("**", "x", true),
            ("a?c", "abc", true),
            ("a?c", "aéc", true),
            ("a?c", "ac", false),
            ("t[0-9]", "t5", true),
            ("t[0-9]", "tx", false),
            ("t[!0-9]", "tx", true),
            ("t[!0-9]", "t5", false),
            ("t[!0-9]", "t", false),
            ("[]x]", "]", true),
            ("[!]x]", "]", false),
            ("[a-]", "-", true),
            ("[-a]", "-", true),
            ("[à-ü]", "é", true),
            ("[[]", "[", true),
            ("a.c", "abc", false),
            ("a]", "a]", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn what_is_no_pattern_says_why() {
        for (pattern, expected) in [
            ("", BadGlob::Empty),
            ("a[", BadGlob::Unclosed),
            ("[]", BadGlob::Unclosed),
            ("[!]", BadGlob::Unclosed),
            ("[!", BadGlob::Unclosed),
            ("[z-a]", BadGlob::Backwards),
        ] {
            assert_eq!(Glob::parse(pattern), Err(expected), "{pattern}");
        }
    }

    #[test]
    fn many_stars_take_no_time() {
        let pattern = format!("{}b", "*a".repeat(50));
        assert!(!matches(&pattern, &"a".repeat(20_000)));
    }

    /// Tries everything, each `*` with every length.
    fn naive(tokens: &[Token], name: &[char]) -> bool {
        match (tokens, name) {
            ([], _) => name.is_empty(),
            ([Token::Text, rest @ ..], _) => {
                (0..=name.len()).any(|taken| naive(rest, &name[taken..]))
            }
            ([first, rest @ ..], [one, others @ ..]) => {
                first.takes(u32::from(*one)) && naive(rest, others)
            }
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn agrees_with_trying_everything(
            pattern in "([ab*?é]|\\[!?[a-b]\\]){1,8}",
            name in "[abcé]{0,10}",
        ) {
            let glob = Glob::parse(&pattern).unwrap();
            let chars: Vec<char> = name.chars().collect();
            prop_assert_eq!(glob.matches(name.as_bytes()), naive(&glob.tokens, &chars));
        }

        #[test]
        fn any_text_is_read_or_refused(pattern in "\\PC{0,20}", name in "\\PC{0,20}") {
            if let Ok(glob) = Glob::parse(&pattern) {
                glob.matches(name.as_bytes());
            }
        }
    }
}
