//! Python strings as bytes: generalised UTF-8, in which a lone surrogate has its three bytes.
//!
//! Text that came from UTF-8 is borrowed as it is. Every function takes any bytes: what is no
//! generalised UTF-8 counts as U+FFFD, one for each byte, and never panics.

use super::tables::{PRINTABLE, WORD};

/// The first code point of `text` and its length in bytes; `None` at the end.
pub fn first(text: &[u8]) -> Option<(u32, usize)> {
    let &lead = text.first()?;
    if lead < 0x80 {
        return Some((u32::from(lead), 1));
    }
    let (length, bits) = match lead {
        0xc2..=0xdf => (2, lead & 0x1f),
        0xe0..=0xef => (3, lead & 0x0f),
        0xf0..=0xf4 => (4, lead & 0x07),
        _ => return Some((0xfffd, 1)),
    };
    let mut code_point = u32::from(bits);
    for at in 1..length {
        match text.get(at) {
            Some(&byte) if byte & 0xc0 == 0x80 => {
                code_point = code_point << 6 | u32::from(byte & 0x3f);
            }
            _ => return Some((0xfffd, 1)),
        }
    }
    if code_point > 0x10_ffff {
        return Some((0xfffd, 1));
    }
    Some((code_point, length))
}

/// The last code point of `text` and its length in bytes; `None` where it is empty.
pub fn last(text: &[u8]) -> Option<(u32, usize)> {
    if let Some(&byte) = text.last().filter(|byte| byte.is_ascii()) {
        return Some((byte.into(), 1));
    }
    for length in 1..=text.len().min(4) {
        let tail = &text[text.len() - length..];
        if tail[0] & 0xc0 != 0x80 {
            return first(tail)
                .filter(|&(_, taken)| taken == length)
                .or(Some((0xfffd, 1)));
        }
    }
    (!text.is_empty()).then_some((0xfffd, 1))
}

/// The code points of a text, in order.
pub struct CodePoints<'a>(&'a [u8]);

/// Walks `text` one code point at a time.
pub fn code_points(text: &[u8]) -> CodePoints<'_> {
    CodePoints(text)
}

impl Iterator for CodePoints<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let (code_point, length) = first(self.0)?;
        self.0 = &self.0[length..];
        Some(code_point)
    }
}

/// Appends a code point, a surrogate included.
pub fn push(out: &mut Vec<u8>, code_point: u32) {
    let low = |shift: u32| 0x80 | (code_point >> shift & 0x3f) as u8;
    match code_point {
        0..=0x7f => out.push(code_point as u8),
        0x80..=0x7ff => out.extend([0xc0 | (code_point >> 6) as u8, low(0)]),
        0x800..=0xffff => out.extend([0xe0 | (code_point >> 12) as u8, low(6), low(0)]),
        _ => out.extend([0xf0 | (code_point >> 18 & 7) as u8, low(12), low(6), low(0)]),
    }
}

/// Python's `text[:count]`.
pub fn cut(text: &[u8], count: usize) -> &[u8] {
    if text.len() <= count {
        return text;
    }
    let mut end = 0;
    for _ in 0..count {
        match first(&text[end..]) {
            Some((_, length)) => end += length,
            None => break,
        }
    }
    &text[..end]
}

/// Python's `text.lstrip()`.
pub fn strip_start(mut text: &[u8]) -> &[u8] {
    while let Some((code_point, length)) = first(text) {
        if !is_space(code_point) {
            break;
        }
        text = &text[length..];
    }
    text
}

/// Python's `text.rstrip()`.
pub fn strip_end(mut text: &[u8]) -> &[u8] {
    while let Some((code_point, length)) = last(text) {
        if !is_space(code_point) {
            break;
        }
        text = &text[..text.len() - length];
    }
    text
}

/// What `text.splitlines()` has last, for a text that does not end in a line break.
pub fn last_line(text: &[u8]) -> &[u8] {
    let mut start = text.len();
    while let Some((code_point, length)) = last(&text[..start]) {
        if is_line_break(code_point) {
            break;
        }
        start -= length;
    }
    &text[start..]
}

/// Whether `text` holds a surrogate code point.
pub fn has_surrogate(text: &[u8]) -> bool {
    text.windows(2)
        .any(|pair| pair[0] == 0xed && pair[1] >= 0xa0)
}

/// `str.isspace`, which is also `\s`.
pub fn is_space(code_point: u32) -> bool {
    matches!(code_point,
        0x09..=0x0d | 0x1c..=0x20 | 0x85 | 0xa0 | 0x1680 | 0x2000..=0x200a
        | 0x2028 | 0x2029 | 0x202f | 0x205f | 0x3000)
}

/// Where `str.splitlines` splits.
pub fn is_line_break(code_point: u32) -> bool {
    matches!(code_point, 0x0a..=0x0d | 0x1c..=0x1e | 0x85 | 0x2028 | 0x2029)
}

/// `\w` of Python's `re`.
pub fn is_word(code_point: u32) -> bool {
    inside(&WORD, code_point)
}

/// `str.isprintable`.
pub fn is_printable(code_point: u32) -> bool {
    matches!(code_point, 0x20..=0x7e) || inside(&PRINTABLE, code_point)
}

fn inside(bounds: &[u32], code_point: u32) -> bool {
    bounds.partition_point(|&bound| bound <= code_point) % 2 == 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn surrogates_survive_a_round_trip() {
        let mut text = Vec::new();
        let points = [0x41, 0xe9, 0x6f22, 0xd800, 0xdfff, 0x1_f600];
        points.iter().for_each(|&point| push(&mut text, point));
        assert_eq!(code_points(&text).collect::<Vec<_>>(), points);
        assert!(has_surrogate(&text));
        assert!(!has_surrogate("\u{d7ff}\u{e000}".as_bytes()));
    }

    #[test]
    fn cuts_by_code_points() {
        assert_eq!(cut("éa漢b".as_bytes(), 3), "éa漢".as_bytes());
        assert_eq!(cut(b"abc", 9), b"abc");
        assert_eq!(cut(b"abc", 0), b"");
    }

    #[test]
    fn strips_as_python_does() {
        let text = "\u{1c}\u{a0} x\u{feff}\u{3000}\n".as_bytes();
        assert_eq!(strip_end(strip_start(text)), "x\u{feff}".as_bytes());
    }

    #[test]
    fn finds_the_last_line() {
        assert_eq!(last_line("a\rb\u{2028}c".as_bytes()), b"c");
        assert_eq!(last_line(b"a\x1fb"), b"a\x1fb");
        assert_eq!(last_line(b"a\x1eb"), b"b");
    }

    #[test]
    fn knows_the_character_classes() {
        assert!(is_word('²' as u32) && is_word('ⅷ' as u32) && is_word('_' as u32));
        assert!(!is_word(0x200d) && !is_word(0x301));
        assert!(is_printable('é' as u32) && is_printable(' ' as u32));
        assert!(!is_printable(0xa0) && !is_printable(0xad) && !is_printable(0x10_ffff));
        // U+1FAE0 came with Unicode 14.
        assert!(is_printable(0x1_f600) && !is_printable(0x1_fae0));
    }

    proptest! {
        #[test]
        fn any_bytes_are_walked_to_their_end(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let count = code_points(&bytes).count();
            prop_assert!(count <= bytes.len());
            prop_assert_eq!(cut(&bytes, count), &bytes[..]);
            strip_end(&bytes);
            last_line(&bytes);
        }
    }
}
