//! RESP, the wire format of Redis: bytes → frames that borrow from them, and commands → bytes.
//! Sans-IO. It knows version 2, and of version 3 only the push, which costs one letter.
//!
//! Our own, since that is a page: the crates for it (redis-protocol is the best kept) bring a parser
//! framework and both versions' whole type systems for the five kinds of frame a subscriber meets.
//!
//! A frame is parsed from its start whenever more bytes have arrived; the bulk strings, which are
//! nearly all of it, are skipped by their length and not looked at. So any split of the bytes gives
//! the same frames.

/// Arrays within arrays: `ROLE` of a master has three levels.
const MAX_DEPTH: usize = 5;

/// Elements of one frame, at all levels. `ROLE` of a master has four for each replica.
const MAX_ELEMENTS: usize = 4096;

/// A line that is no bulk string: a number, or an error in words.
const MAX_LINE: usize = 4096;

/// All strings of one frame together, as a multiple of the longest that is allowed: a message's
/// content and the names of its channel.
const MAX_STRINGS: u64 = 2;

/// All lines of one frame together, lengths and numbers included: they are looked at again whenever
/// more bytes have arrived.
const MAX_LINES: usize = 16 * MAX_LINE;

const TOO_LARGE: &str = "a reply larger than any that was asked for";

/// One reply or push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame<'a> {
    Simple(&'a [u8]),
    Error(&'a [u8]),
    Integer(i64),
    Bulk(&'a [u8]),
    Null,
    /// Also a push of version 3.
    Array(Vec<Frame<'a>>),
}

impl<'a> Frame<'a> {
    /// The text of a string of either kind.
    pub fn text(&self) -> Option<&'a [u8]> {
        match self {
            Frame::Simple(text) | Frame::Bulk(text) => Some(text),
            _ => None,
        }
    }
}

/// What stands at the start of the bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed<'a> {
    /// More bytes are needed: at least so many in all.
    Incomplete(usize),
    Frame {
        frame: Frame<'a>,
        length: usize,
    },
    /// An array whose last element is longer than allowed: its other elements, the bytes up to that
    /// element's content, and the content's length. The content and two more bytes follow.
    Oversized {
        elements: Vec<Frame<'a>>,
        length: usize,
        content: u64,
    },
}

/// The bytes are not what Redis sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotResp(pub &'static str);

/// Parses the frame at the start of `bytes`. No bulk string is longer than `max_bulk`.
pub fn parse(bytes: &[u8], max_bulk: usize) -> Result<Parsed<'_>, NotResp> {
    let mut parser = Parser {
        bytes,
        at: 0,
        max_bulk: max_bulk as u64,
        elements: 0,
        strings: 0,
        lines: 0,
    };
    match parser.frame(0) {
        Ok(frame) => Ok(Parsed::Frame {
            frame,
            length: parser.at,
        }),
        Err(Stop::Short(need)) => Ok(Parsed::Incomplete(need)),
        Err(Stop::Oversized { elements, content }) => Ok(Parsed::Oversized {
            elements,
            length: parser.at,
            content,
        }),
        Err(Stop::Wrong(reason)) => Err(NotResp(reason)),
    }
}

/// Appends a command, as an array of bulk strings.
pub fn write_command(out: &mut Vec<u8>, words: &[&[u8]]) {
    out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

/// Why there is no frame.
enum Stop<'a> {
    Short(usize),
    Oversized {
        elements: Vec<Frame<'a>>,
        content: u64,
    },
    Wrong(&'static str),
}

struct Parser<'a> {
    bytes: &'a [u8],
    at: usize,
    max_bulk: u64,
    elements: usize,
    /// Bytes of all strings so far.
    strings: u64,
    /// Bytes of all lines so far.
    lines: usize,
}

impl<'a> Parser<'a> {
    fn frame(&mut self, depth: usize) -> Result<Frame<'a>, Stop<'a>> {
        let kind = *self.bytes.get(self.at).ok_or(Stop::Short(self.at + 1))?;
        if !b"+-:$*>_".contains(&kind) {
            return Err(Stop::Wrong("no Redis server answers there"));
        }
        self.at += 1;
        let line = self.line()?;
        match kind {
            b'+' => Ok(Frame::Simple(line)),
            b'-' => Ok(Frame::Error(line)),
            b':' => number(line).map(Frame::Integer),
            b'$' => self.bulk(number(line)?),
            b'_' => Ok(Frame::Null),
            _ => self.array(number(line)?, depth),
        }
    }

    /// Up to the next line end, which is skipped.
    fn line(&mut self) -> Result<&'a [u8], Stop<'a>> {
        let rest = &self.bytes[self.at..];
        let window = &rest[..rest.len().min(MAX_LINE)];
        let Some(end) = window.iter().position(|&byte| byte == b'\r') else {
            return Err(match rest.len() < MAX_LINE {
                true => Stop::Short(self.bytes.len() + 1),
                false => Stop::Wrong("a line without an end"),
            });
        };
        match rest.get(end + 1) {
            None => Err(Stop::Short(self.bytes.len() + 1)),
            Some(b'\n') => {
                self.at += end + 2;
                self.lines += end;
                match self.lines > MAX_LINES {
                    true => Err(Stop::Wrong(TOO_LARGE)),
                    false => Ok(&rest[..end]),
                }
            }
            Some(_) => Err(Stop::Wrong("a line without its proper end")),
        }
    }

    fn bulk(&mut self, length: i64) -> Result<Frame<'a>, Stop<'a>> {
        let Ok(length) = u64::try_from(length) else {
            return Ok(Frame::Null);
        };
        if length > self.max_bulk {
            return Err(Stop::Oversized {
                elements: Vec::new(),
                content: length,
            });
        }
        self.strings += length;
        if self.strings > self.max_bulk * MAX_STRINGS {
            return Err(Stop::Wrong(TOO_LARGE));
        }
        let start = self.at;
        let end = start + usize::try_from(length).expect("at most max_bulk");
        match self.bytes.get(end..end + 2) {
            None => Err(Stop::Short(end + 2)),
            Some(b"\r\n") => {
                self.at = end + 2;
                Ok(Frame::Bulk(&self.bytes[start..end]))
            }
            Some(_) => Err(Stop::Wrong("a string without its proper end")),
        }
    }

    fn array(&mut self, length: i64, depth: usize) -> Result<Frame<'a>, Stop<'a>> {
        let Ok(length) = usize::try_from(length) else {
            return Ok(Frame::Null);
        };
        self.elements = self.elements.saturating_add(length);
        if self.elements > MAX_ELEMENTS || depth >= MAX_DEPTH {
            return Err(Stop::Wrong(TOO_LARGE));
        }
        let mut frames = Vec::with_capacity(length);
        while frames.len() < length {
            match self.frame(depth + 1) {
                Ok(frame) => frames.push(frame),
                // Only the content of a message may be long, and that comes last.
                Err(Stop::Oversized { elements, content })
                    if depth == 0 && elements.is_empty() && frames.len() + 1 == length =>
                {
                    let elements = frames;
                    return Err(Stop::Oversized { elements, content });
                }
                Err(Stop::Oversized { .. }) => {
                    return Err(Stop::Wrong("a string longer than any that was asked for"));
                }
                Err(stop) => return Err(stop),
            }
        }
        Ok(Frame::Array(frames))
    }
}

fn number<'a>(line: &[u8]) -> Result<i64, Stop<'a>> {
    let text = std::str::from_utf8(line).ok();
    text.and_then(|text| text.parse().ok())
        .ok_or(Stop::Wrong("a length or number that is none"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAX: usize = 100;

    fn whole(bytes: &[u8]) -> Frame<'_> {
        match parse(bytes, MAX) {
            Ok(Parsed::Frame { frame, length }) if length == bytes.len() => frame,
            other => panic!("{}: {other:?}", bytes.escape_ascii()),
        }
    }

    #[test]
    fn reads_every_kind() {
        assert_eq!(whole(b"+OK\r\n"), Frame::Simple(b"OK"));
        assert_eq!(whole(b"-ERR no\r\n"), Frame::Error(b"ERR no"));
        assert_eq!(whole(b":-7\r\n"), Frame::Integer(-7));
        assert_eq!(whole(b"$2\r\n\r\n\r\n"), Frame::Bulk(b"\r\n"));
        assert_eq!(whole(b"$-1\r\n"), Frame::Null);
        assert_eq!(whole(b"*-1\r\n"), Frame::Null);
        assert_eq!(whole(b"_\r\n"), Frame::Null);
        let nested = Frame::Array(vec![Frame::Integer(1), Frame::Array(vec![])]);
        assert_eq!(whole(b"*2\r\n:1\r\n*0\r\n"), nested);
        assert_eq!(whole(b">1\r\n+x\r\n"), whole(b"*1\r\n+x\r\n"));
    }

    #[test]
    fn wrong_bytes_are_errors() {
        for bytes in [
            &b"HTTP/1.1 400 Bad Request\r\n"[..],
            b"\0",
            b"$x\r\n",
            b"$1\r\nab\r\n",
            b"+a\rb",
            b"*99999999999999999999\r\n",
            b"*1000000\r\n",
            b"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n",
            b"*2\r\n$101\r\n",
        ] {
            assert!(parse(bytes, MAX).is_err(), "{}", bytes.escape_ascii());
        }
        assert!(parse(&[b'+'; 2 * MAX_LINE], MAX).is_err());
    }

    /// What a server sends is kept until its frame is whole: each frame must end somewhere.
    #[test]
    fn many_strings_that_are_allowed_alone_are_too_much_together() {
        let string = [b"$100\r\n", &[b'x'; MAX][..], b"\r\n"].concat();
        let line = [b"+", &[b'x'; MAX_LINE - 2][..], b"\r\n"].concat();
        for (element, enough) in [(&string, 2), (&line, 16)] {
            let frame = |count| [b"*4000\r\n".to_vec(), element.repeat(count)].concat();
            let (some, more) = (frame(enough), frame(enough + 1));
            assert!(matches!(parse(&some, MAX), Ok(Parsed::Incomplete(_))));
            assert_eq!(parse(&more, MAX), Err(NotResp(TOO_LARGE)));
        }
    }

    #[test]
    fn the_content_of_a_long_message_is_left_out() {
        let bytes = b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$101\r\nxxx";
        let parsed = parse(bytes, MAX).unwrap();
        let elements = vec![Frame::Bulk(b"message"), Frame::Bulk(b"c")];
        let expected = Parsed::Oversized {
            elements,
            length: bytes.len() - 3,
            content: 101,
        };
        assert_eq!(parsed, expected);
    }

    #[test]
    fn says_how_many_bytes_it_needs() {
        assert_eq!(parse(b"", MAX), Ok(Parsed::Incomplete(1)));
        assert_eq!(parse(b"$10\r\nab", MAX), Ok(Parsed::Incomplete(17)));
        assert_eq!(parse(b"*2\r\n:1\r\n", MAX), Ok(Parsed::Incomplete(9)));
    }

    #[test]
    fn commands_carry_any_bytes() {
        let mut out = Vec::new();
        write_command(&mut out, &[b"AUTH", b"a\r\nb"]);
        assert_eq!(out, b"*2\r\n$4\r\nAUTH\r\n$4\r\na\r\nb\r\n");
        let words = vec![Frame::Bulk(b"AUTH"), Frame::Bulk(b"a\r\nb")];
        assert_eq!(whole(&out), Frame::Array(words));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes, MAX);
        }

        #[test]
        fn nothing_like_it_panics_either(bytes in "[*$:+>_\\-0-9\r\nab]{0,60}") {
            let _ = parse(bytes.as_bytes(), MAX);
        }

        #[test]
        fn every_prefix_of_a_frame_is_incomplete(cut in 0_usize..60) {
            let bytes = b"*4\r\n$8\r\npmessage\r\n$1\r\np\r\n$1\r\nc\r\n$5\r\nhello\r\n";
            let parsed = parse(&bytes[..cut.min(bytes.len() - 1)], MAX);
            prop_assert!(matches!(parsed, Ok(Parsed::Incomplete(_))), "{:?}", parsed);
        }
    }
}
