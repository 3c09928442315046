//! From a message body to its events. Pure; nothing is copied.
//!
//! The whole body is checked as JSON once, then its events are slices of it. What an event says is
//! the business of [`crate::document`].

use std::fmt;

use crate::json::read::{self, Items};
use crate::json::scan::{self, Dialect, SyntaxError};

/// Why a body yields no events at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BodyError {
    /// The body is no JSON as Python reads it.
    Undecodable(SyntaxError),
    /// The body is JSON, but neither an object nor a list: Leek ignores it silently.
    NotEvents {
        /// Byte offset of the value.
        position: usize,
    },
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BodyError::Undecodable(error) => write!(f, "body is no JSON: {error}"),
            BodyError::NotEvents { position } => {
                write!(
                    f,
                    "body is no event: byte {position}: expected an object or a list"
                )
            }
        }
    }
}

impl std::error::Error for BodyError {}

/// The JSON text of one event, or of a list element that is no object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawEvent<'a>(&'a [u8]);

impl<'a> RawEvent<'a> {
    /// The text, without blanks around it.
    pub fn text(self) -> &'a [u8] {
        self.0
    }
}

/// The events of one body, in order.
#[derive(Debug, Clone)]
pub struct Events<'a> {
    body: &'a [u8],
    offset: usize,
}

/// Checks the whole body as JSON, then yields its events in order.
pub fn events(body: &[u8]) -> Result<Events<'_>, BodyError> {
    scan::check(body, Dialect::Python).map_err(BodyError::Undecodable)?;
    let position = read::skip_blanks(body, 0);
    match body.get(position) {
        Some(b'{' | b'[') => Ok(Events { body, offset: 0 }),
        _ => Err(BodyError::NotEvents { position }),
    }
}

impl<'a> Events<'a> {
    /// Continues in a body that [`events`] has accepted before, at an offset that
    /// [`offset`](Self::offset) gave. The body is not checked again; a wrong offset yields nothing
    /// or pieces that are rejected later.
    pub fn resume(body: &'a [u8], offset: usize) -> Events<'a> {
        Events { body, offset }
    }

    /// Where the next event is looked for: 0 at first, then behind the last one yielded.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// At the start of the body: its only event, or a step into the list.
    fn first(&mut self) -> Option<RawEvent<'a>> {
        let start = read::skip_blanks(self.body, 0);
        if self.body.get(start) == Some(&b'[') {
            self.offset = start + 1;
            return self.element();
        }
        let end = read::skip_value(self.body, start)?;
        self.offset = self.body.len();
        Some(RawEvent(&self.body[start..end]))
    }

    fn element(&mut self) -> Option<RawEvent<'a>> {
        let mut items = Items::resume(self.body, self.offset);
        let element = items.next()?;
        self.offset = items.offset();
        Some(RawEvent(element))
    }
}

impl<'a> Iterator for Events<'a> {
    type Item = RawEvent<'a>;

    fn next(&mut self) -> Option<RawEvent<'a>> {
        if self.offset == 0 {
            self.first()
        } else {
            self.element()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn texts(body: &str) -> Vec<&str> {
        let texts = events(body.as_bytes()).unwrap().map(RawEvent::text);
        texts
            .map(|text| std::str::from_utf8(text).unwrap())
            .collect()
    }

    #[test]
    fn a_body_is_one_event_or_a_list() {
        assert_eq!(texts(" {\"a\": 1} \n"), ["{\"a\": 1}"]);
        assert_eq!(
            texts("[{\"a\": [1, \"]\"]} , 5,\n{}]"),
            ["{\"a\": [1, \"]\"]}", "5", "{}"]
        );
        assert_eq!(texts("[]"), [""; 0]);
        assert_eq!(texts("[ ]"), [""; 0]);
    }

    #[test]
    fn errors_say_where() {
        let error = |body: &str| events(body.as_bytes()).unwrap_err().to_string();
        assert_eq!(
            error(" 5"),
            "body is no event: byte 1: expected an object or a list"
        );
        assert_eq!(error("[1,]"), "body is no JSON: byte 3: expected a value");
        assert_eq!(error(""), "body is no JSON: byte 0: expected a value");
    }

    #[test]
    fn resuming_goes_on_where_it_stopped() {
        for body in ["{\"a\": 1}", "[{}, {\"b\": 2} , 3 ]", "[]", " [ {} ] "] {
            let all: Vec<_> = events(body.as_bytes()).unwrap().collect();
            let mut resumed = Vec::new();
            let mut offset = 0;
            loop {
                let mut events = Events::resume(body.as_bytes(), offset);
                let Some(event) = events.next() else { break };
                resumed.push(event);
                offset = events.offset();
            }
            assert_eq!(resumed, all);
        }
    }

    proptest! {
        #[test]
        fn any_offset_in_any_bytes_is_harmless(
            body in "[\\[\\]{}\",: \\\\a1]{0,40}",
            offset in 0..50_usize,
        ) {
            prop_assert!(Events::resume(body.as_bytes(), offset).count() <= 50);
        }
    }
}
