//! From a message body to its events. Pure; nothing is copied.
//!
//! The whole body is checked as JSON once, then its events are slices of it. What an event says is
//! the business of [`crate::document`].

use std::fmt;

use crate::json::read::{self, Items};
use crate::json::scan::{self, Dialect, Parts, SyntaxError};

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
#[derive(Debug, Clone, Copy)]
pub struct RawEvent<'a> {
    text: &'a [u8],
    /// Where its members lie in the text, if that was noted when it was checked.
    parts: Option<&'a Parts>,
}

impl<'a> RawEvent<'a> {
    /// The text, without blanks around it.
    pub fn text(self) -> &'a [u8] {
        self.text
    }

    /// Hands over key (without quotes, escapes and all) and value of each member, in order, duplicates
    /// included; nothing where it is no object.
    pub fn members(self, mut take: impl FnMut(&'a [u8], &'a [u8])) {
        match self.parts {
            Some(parts) => {
                let places = (0..).step_by(2);
                let members = places.map_while(|at| Some((parts.get(at)?, parts.get(at + 1)?)));
                let text = |place| self.text.get(place).unwrap_or_default();
                members.for_each(|(key, value)| take(read::unquoted(text(key)), text(value)));
            }
            None => read::members(self.text).for_each(|(key, value)| take(key, value)),
        }
    }
}

/// The events of one body, in order.
#[derive(Debug, Clone)]
pub struct Events<'a> {
    body: &'a [u8],
    offset: usize,
    /// What the check noted, and how much of it was used.
    parts: Option<&'a Parts>,
    used: usize,
}

/// Checks the whole body as JSON, then yields its events in order.
pub fn events(body: &[u8]) -> Result<Events<'_>, BodyError> {
    scan::check(body, Dialect::Python).map_err(BodyError::Undecodable)?;
    begin(body, None)
}

/// The same; what the check finds on its way is noted in `parts` and need not be looked for again.
pub fn events_noting<'a>(body: &'a [u8], parts: &'a mut Parts) -> Result<Events<'a>, BodyError> {
    parts.clear();
    scan::check_noting(body, Dialect::Python, Some(parts)).map_err(BodyError::Undecodable)?;
    begin(body, Some(parts))
}

fn begin<'a>(body: &'a [u8], parts: Option<&'a Parts>) -> Result<Events<'a>, BodyError> {
    let position = read::skip_blanks(body, 0);
    match body.get(position) {
        Some(b'{' | b'[') => Ok(Events {
            body,
            offset: 0,
            parts,
            used: 0,
        }),
        _ => Err(BodyError::NotEvents { position }),
    }
}

impl<'a> Events<'a> {
    /// Continues in a body that [`events`] has accepted before, at an offset that
    /// [`offset`](Self::offset) gave. The body is not checked again; a wrong offset yields nothing
    /// or pieces that are rejected later.
    pub fn resume(body: &'a [u8], offset: usize) -> Events<'a> {
        Events {
            body,
            offset,
            parts: None,
            used: 0,
        }
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
        self.offset = self.body.len();
        let text = self.body[start..].trim_ascii_end();
        // Places count from the start of the body.
        let parts = self.parts.take();
        let parts = parts.filter(|parts| start == 0 && parts.is_complete());
        (!text.is_empty()).then_some(RawEvent { text, parts })
    }

    fn element(&mut self) -> Option<RawEvent<'a>> {
        let text = self.noted_element().or_else(|| self.next_element())?;
        Some(RawEvent { text, parts: None })
    }

    fn noted_element(&mut self) -> Option<&'a [u8]> {
        let place = self.parts?.get(self.used)?;
        self.used += 1;
        self.offset = place.end;
        self.body.get(place)
    }

    fn next_element(&mut self) -> Option<&'a [u8]> {
        let mut items = Items::resume(self.body, self.offset);
        let element = items.next()?;
        self.offset = items.offset();
        Some(element)
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
            let all = texts(body);
            let mut resumed = Vec::new();
            let mut offset = 0;
            loop {
                let mut events = Events::resume(body.as_bytes(), offset);
                let Some(event) = events.next() else { break };
                resumed.push(std::str::from_utf8(event.text()).unwrap());
                offset = events.offset();
            }
            assert_eq!(resumed, all);
        }
    }

    /// Each event's text and members.
    type Seen = Vec<(Vec<u8>, Vec<(Vec<u8>, Vec<u8>)>)>;

    fn seen(events: Events<'_>) -> Seen {
        let one = |event: RawEvent<'_>| {
            let mut members = Vec::new();
            event.members(|key, value| members.push((key.to_vec(), value.to_vec())));
            (event.text().to_vec(), members)
        };
        events.map(one).collect()
    }

    #[test]
    fn what_was_noted_is_what_is_found() {
        let long = (0..100).map(|n| format!("\"k{n}\" : [{n}, {{}}]"));
        let long = format!("{{{}}}", long.collect::<Vec<_>>().join(", "));
        let list = format!("[{}]", [long.as_str(); 3].join(" , "));
        let many = format!("[{}]", ["{\"a\": \"]\"}"; 100].join(","));
        let mut parts = Parts::default();
        for body in [
            "{}",
            " { \"a\" : 1 , \"b\\\"\" : { \"c\": [ 2 ] } } ",
            "{\"a\": 1.5, \"a\": [[], {}], \"\": null}",
            "[]",
            "[ {\"a\": {\"b\": 1}} , 5, [ { } ],\n{\"c\": \"}\"} ]",
            &long,
            &list,
            &many,
        ] {
            let noted = seen(events_noting(body.as_bytes(), &mut parts).unwrap());
            assert_eq!(noted, seen(events(body.as_bytes()).unwrap()), "{body}");
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
