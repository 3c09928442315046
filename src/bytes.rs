//! Looks at text eight bytes at a time: a body is mostly text, and this is where the time goes.
//!
//! In a word of eight bytes, a byte that is looked for is marked by its top bit. Above the first mark
//! others may be wrong, since the arithmetic borrows from there; only the first is used.

/// A one in each byte.
const ONES: u64 = 0x0101_0101_0101_0101;
/// The top bit of each byte.
const TOPS: u64 = 0x8080_8080_8080_8080;
/// Blanks in each byte: what stands behind a text that does not fill a word.
const BLANKS: u64 = ONES * 0x20;
const WORD: usize = 8;

/// How many bytes stand before the first one that `marks` marks, which must not be a blank.
#[inline]
pub fn length_until(text: &[u8], marks: impl Fn(u64) -> u64) -> usize {
    let (words, rest) = text.as_chunks::<WORD>();
    for (index, word) in words.iter().enumerate() {
        let marked = marks(u64::from_le_bytes(*word));
        if marked != 0 {
            return index * WORD + first(marked);
        }
    }
    let last = rest.iter().rev();
    let last = last.fold(BLANKS, |word, &byte| word << 8 | u64::from(byte));
    let marked = marks(last);
    let length = if marked == 0 {
        rest.len()
    } else {
        first(marked)
    };
    text.len() - rest.len() + length
}

fn first(marked: u64) -> usize {
    marked.trailing_zeros() as usize / WORD
}

/// Marks bytes that are `byte`.
#[inline]
pub fn equal(word: u64, byte: u8) -> u64 {
    let zeros = word ^ (ONES * u64::from(byte));
    zeros.wrapping_sub(ONES) & !zeros & TOPS
}

/// Marks ASCII control characters below the blank.
#[inline]
pub fn controls(word: u64) -> u64 {
    word.wrapping_sub(BLANKS) & !word & TOPS
}

/// Marks bytes from 0x7f on.
#[inline]
pub fn beyond_ascii(word: u64) -> u64 {
    (word | word.wrapping_add(ONES)) & TOPS
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_first_marked_byte_is_found(text in "[ -~é\n\r\u{7f}\u{0}'\"]{0,40}") {
            let text = text.as_bytes();
            let position = |is: fn(u8) -> bool| {
                text.iter().position(|&byte| is(byte)).unwrap_or(text.len())
            };
            let quote = length_until(text, |word| equal(word, b'\''));
            prop_assert_eq!(quote, position(|byte| byte == b'\''));
            prop_assert_eq!(length_until(text, controls), position(|byte| byte < b' '));
            prop_assert_eq!(length_until(text, beyond_ascii), position(|byte| byte >= 0x7f));
            let either = length_until(text, |word| equal(word, b'"') | controls(word));
            prop_assert_eq!(either, position(|byte| byte == b'"' || byte < b' '));
        }
    }
}
