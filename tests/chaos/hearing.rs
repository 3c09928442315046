//! Which events a Redis subscriber heard, read from the very bytes that reached its socket: what
//! the agent owes, learnt without asking the agent.

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use crate::support::fault_proxy::Heard;

/// How surely an event was heard, and by whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hearing {
    /// The number of the connection.
    pub connection: usize,
    /// Nothing before it, nor in it, was damaged on the wire.
    pub sure: bool,
}

/// The events heard, by their numbers.
pub fn events(connections: &[Heard]) -> BTreeMap<usize, Hearing> {
    let mut events = BTreeMap::new();
    for (number, heard) in connections.iter().enumerate() {
        let mut rest = &heard.bytes[..];
        while let Some((frame, behind)) = frame(rest) {
            rest = behind;
            let end = heard.bytes.len() - rest.len();
            let hearing = Hearing {
                connection: number,
                sure: heard.flipped_at.is_none_or(|at| end <= at),
            };
            for event in payload(&frame).and_then(clocks).unwrap_or_default() {
                events.insert(event, hearing);
            }
        }
    }
    events
}

/// What Redis says, as far as a subscriber hears it.
enum Frame<'a> {
    Text(&'a [u8]),
    List(Vec<Frame<'a>>),
}

/// One whole frame from the front, and what is behind it.
fn frame(bytes: &[u8]) -> Option<(Frame<'_>, &[u8])> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    let (line, rest) = (bytes.get(1..end)?, &bytes[end + 2..]);
    let length = || std::str::from_utf8(line).ok()?.parse::<usize>().ok();
    match bytes[0] {
        b'+' | b'-' | b':' => Some((Frame::Text(line), rest)),
        b'$' => {
            let (text, rest) = rest.split_at_checked(length()?)?;
            Some((Frame::Text(text), rest.strip_prefix(b"\r\n")?))
        }
        b'*' => {
            let (mut rest, mut items) = (rest, Vec::new());
            for _ in 0..length()? {
                let (item, behind) = frame(rest)?;
                items.push(item);
                rest = behind;
            }
            Some((Frame::List(items), rest))
        }
        _ => None,
    }
}

fn payload<'a>(frame: &Frame<'a>) -> Option<&'a [u8]> {
    match frame {
        Frame::List(items) => match &items[..] {
            [Frame::Text(b"pmessage"), _, _, Frame::Text(payload)] => Some(payload),
            _ => None,
        },
        Frame::Text(_) => None,
    }
}

/// The numbers of the events in an envelope.
fn clocks(payload: &[u8]) -> Option<Vec<usize>> {
    let envelope: Value = serde_json::from_slice(payload).ok()?;
    let body = BASE64_STANDARD.decode(envelope["body"].as_str()?).ok()?;
    let events = match serde_json::from_slice(&body).ok()? {
        Value::Array(events) => events,
        event => vec![event],
    };
    let clock = |event: &Value| usize::try_from(event["clock"].as_u64()?).ok();
    Some(events.iter().filter_map(clock).collect())
}
