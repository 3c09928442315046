//! What a broker may say to amiquip: a filter for the bytes of AMQP 0-9-1 frames (§4.2).
//!
//! amiquip trusts its peer. A table nested some thousand levels deep overflows its stack, a content
//! header that claims 2^44 bytes aborts the process, a routing key that is not UTF-8 is an error at
//! each redelivery for ever. Here every frame is bounded, only methods that a consumer can expect
//! pass, tables are emptied, text is made UTF-8, and a message over the limit arrives empty, marked
//! as such. Pure: bytes in, bytes out; any split of the input gives the same output.

use std::borrow::Cow;
use std::fmt;

use crate::delivery::MAX_MESSAGE_BYTES;

/// The largest frame that is negotiated and accepted, its 8 bytes of envelope counted:
/// RabbitMQ's own default.
pub const FRAME_MAX: u32 = 131_072;

/// The content type of a message that was too large to be read; its encoding is the size.
pub const OVERSIZED: &str = "application/x-leek-agent-oversized";

/// A method's arguments; `connection.start` of RabbitMQ takes some 500 bytes.
const METHOD_MAX: usize = 8 * 1024;

/// Type, channel and size in front of a frame's payload.
const FRAME_HEAD: usize = 7;
const FRAME_END: u8 = 0xCE;
const ENVELOPE: usize = FRAME_HEAD + 1;

const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const HEARTBEAT: u8 = 8;

/// Methods that a broker may send to a consumer, with their arguments: `b` octet or bits, `w`
/// short, `l` long, `q` long long, `s` short string, `S` long string, `T` table; `e` is a short string
/// that is emptied, since a thousand messages would hold it in memory a thousand times.
const METHODS: [((u16, u16), &str); 21] = [
    ((10, 10), "bbTSS"), // connection.start
    ((10, 20), "S"),     // connection.secure
    ((10, 30), "wlw"),   // connection.tune
    ((10, 41), "s"),     // connection.open-ok
    ((10, 50), "wsww"),  // connection.close
    ((10, 51), ""),      // connection.close-ok
    ((10, 60), "s"),     // connection.blocked
    ((10, 61), ""),      // connection.unblocked
    ((20, 11), "S"),     // channel.open-ok
    ((20, 20), "b"),     // channel.flow
    ((20, 40), "wsww"),  // channel.close
    ((20, 41), ""),      // channel.close-ok
    ((40, 11), ""),      // exchange.declare-ok
    ((50, 11), "sll"),   // queue.declare-ok
    ((50, 21), ""),      // queue.bind-ok
    ((60, 11), ""),      // basic.qos-ok
    ((60, 21), "s"),     // basic.consume-ok
    ((60, 30), "sb"),    // basic.cancel
    ((60, 31), "s"),     // basic.cancel-ok
    ((60, 50), "wsss"),  // basic.return
    ((60, 60), "sqbee"), // basic.deliver; by which exchange and routing key, nobody asks
];

/// How a basic.deliver begins.
const DELIVER: [u8; 4] = [0, 60, 0, 60];

/// The peer does not speak AMQP 0-9-1 as a broker does; the connection must end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault(String);

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Fault {}

fn fault<T>(text: impl Into<String>) -> Result<T, Fault> {
    Err(Fault(text.into()))
}

/// Where in the stream of frames the next byte belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The head of a frame.
    Head,
    /// The rest of a frame that is looked at as a whole; so many bytes in all.
    Whole { length: usize },
    /// The payload of a body frame.
    Body { left: usize },
    /// The end mark of a body frame.
    BodyEnd,
}

/// The message whose body frames are awaited.
#[derive(Debug, Clone, Copy)]
struct Content {
    channel: u16,
    left: u64,
    fate: Fate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Pass,
    Swallow,
}

/// See the module's text.
#[derive(Debug)]
pub struct Sanitiser {
    state: State,
    frame: Vec<u8>,
    content: Option<Content>,
    deliveries: u64,
    last_tag: u64,
}

impl Default for Sanitiser {
    fn default() -> Self {
        Sanitiser {
            state: State::Head,
            frame: Vec::new(),
            content: None,
            deliveries: 0,
            last_tag: 0,
        }
    }
}

impl Sanitiser {
    /// How many messages were begun to be delivered.
    pub fn deliveries(&self) -> u64 {
        self.deliveries
    }

    /// Filters what the broker sent; appends to `output` what amiquip may read.
    pub fn push(&mut self, mut input: &[u8], output: &mut Vec<u8>) -> Result<(), Fault> {
        while !input.is_empty() {
            input = match self.state {
                State::Head => self.head(input, output)?,
                State::Whole { length } => self.whole(input, length, output)?,
                State::Body { left } => self.body(input, left, output),
                State::BodyEnd => self.body_end(input, output)?,
            };
        }
        Ok(())
    }

    /// Moves bytes into `frame` until it holds `length`; answers what is left over.
    fn collect<'a>(&mut self, input: &'a [u8], length: usize) -> &'a [u8] {
        let (taken, rest) = input.split_at(input.len().min(length - self.frame.len()));
        self.frame.extend_from_slice(taken);
        rest
    }

    fn head<'a>(&mut self, input: &'a [u8], output: &mut Vec<u8>) -> Result<&'a [u8], Fault> {
        let rest = self.collect(input, FRAME_HEAD);
        check_type(&self.frame)?;
        if self.frame.len() < FRAME_HEAD {
            return Ok(rest);
        }
        let size = u32::from_be_bytes([self.frame[3], self.frame[4], self.frame[5], self.frame[6]])
            as usize;
        let (kind, limit) = match self.frame[0] {
            METHOD => ("method", METHOD_MAX),
            HEARTBEAT => ("heartbeat", 0),
            HEADER => ("header", FRAME_MAX as usize - ENVELOPE),
            _ => ("body", FRAME_MAX as usize - ENVELOPE),
        };
        if size > limit {
            return fault(format!(
                "{kind} frame: {size} bytes: expected at most {limit}"
            ));
        }
        if self.frame[0] == BODY {
            self.begin_body(size, output)?;
        } else {
            self.state = State::Whole {
                length: size + ENVELOPE,
            };
        }
        Ok(rest)
    }

    fn begin_body(&mut self, size: usize, output: &mut Vec<u8>) -> Result<(), Fault> {
        let channel = channel(&self.frame);
        let Some(content) = self
            .content
            .as_mut()
            .filter(|content| content.channel == channel)
        else {
            return fault("body frame: expected a content header first");
        };
        let Some(left) = content.left.checked_sub(size as u64) else {
            return fault(format!(
                "body frame: {size} bytes: expected at most {}",
                content.left
            ));
        };
        content.left = left;
        if content.fate == Fate::Pass {
            output.extend_from_slice(&self.frame);
        }
        self.frame.clear();
        self.state = if size == 0 {
            State::BodyEnd
        } else {
            State::Body { left: size }
        };
        Ok(())
    }

    fn body<'a>(&mut self, input: &'a [u8], left: usize, output: &mut Vec<u8>) -> &'a [u8] {
        let (taken, rest) = input.split_at(input.len().min(left));
        if self.passes() {
            output.extend_from_slice(taken);
        }
        self.state = match left - taken.len() {
            0 => State::BodyEnd,
            left => State::Body { left },
        };
        rest
    }

    fn body_end<'a>(&mut self, input: &'a [u8], output: &mut Vec<u8>) -> Result<&'a [u8], Fault> {
        check_end(input[0])?;
        if self.passes() {
            output.push(FRAME_END);
        }
        if self.content.is_some_and(|content| content.left == 0) {
            self.content = None;
        }
        self.state = State::Head;
        Ok(&input[1..])
    }

    fn passes(&self) -> bool {
        self.content
            .is_some_and(|content| content.fate == Fate::Pass)
    }

    fn whole<'a>(
        &mut self,
        input: &'a [u8],
        length: usize,
        output: &mut Vec<u8>,
    ) -> Result<&'a [u8], Fault> {
        let rest = self.collect(input, length);
        if self.frame.len() < length {
            return Ok(rest);
        }
        check_end(self.frame[length - 1])?;
        let frame = std::mem::take(&mut self.frame);
        let payload = &frame[FRAME_HEAD..length - 1];
        let rewritten = match frame[0] {
            METHOD => method(payload)?,
            HEADER => self.content_header(channel(&frame), payload)?,
            _ => Vec::new(),
        };
        write_frame(frame[0], channel(&frame), &rewritten, output);
        if frame[0] == METHOD && payload.starts_with(&DELIVER) {
            self.delivery(payload)?;
        }
        self.state = State::Head;
        self.frame = frame;
        self.frame.clear();
        Ok(rest)
    }

    /// Tags count upwards (RabbitMQ's guide to acknowledgements). One that does not was damaged on
    /// its way, and an ack in its order would reach messages that are not delivered yet.
    fn delivery(&mut self, payload: &[u8]) -> Result<(), Fault> {
        let mut fields = Fields::new(&payload[DELIVER.len()..]);
        fields.short_string()?;
        let tag = u64::from_be_bytes(fields.take(8)?.try_into().expect("8 bytes"));
        if tag <= self.last_tag {
            let last = self.last_tag;
            return fault(format!(
                "basic.deliver: delivery tag {tag} behind {last}: expected ascending tags"
            ));
        }
        self.last_tag = tag;
        self.deliveries += 1;
        Ok(())
    }

    /// Keeps the size, content type and encoding; drops all other properties (§4.2.6.1).
    fn content_header(&mut self, channel: u16, payload: &[u8]) -> Result<Vec<u8>, Fault> {
        if self.content.is_some() {
            return fault("content header: expected the rest of a message body");
        }
        let mut fields = Fields::new(payload);
        let class = fields.take(4)?;
        let size = u64::from_be_bytes(fields.take(8)?.try_into().expect("8 bytes"));
        let flags = fields.property_flags()?;
        let content_type = if flags & 0x8000 != 0 {
            fields.short_string()?
        } else {
            Cow::default()
        };
        let encoding = if flags & 0x4000 != 0 {
            fields.short_string()?
        } else {
            Cow::default()
        };
        let oversized = size > MAX_MESSAGE_BYTES as u64;
        if size > 0 {
            let fate = if oversized { Fate::Swallow } else { Fate::Pass };
            self.content = Some(Content {
                channel,
                left: size,
                fate,
            });
        }
        Ok(if oversized {
            header_payload(class, 0, OVERSIZED.as_bytes(), size.to_string().as_bytes())
        } else {
            header_payload(class, size, &content_type, &encoding)
        })
    }
}

fn header_payload(class: &[u8], size: u64, content_type: &[u8], encoding: &[u8]) -> Vec<u8> {
    let mut payload = Vec::with_capacity(class.len() + 12 + content_type.len() + encoding.len());
    payload.extend_from_slice(class);
    payload.extend_from_slice(&size.to_be_bytes());
    payload.extend_from_slice(&[0xC0, 0x00]);
    for text in [content_type, encoding] {
        payload.push(u8::try_from(text.len()).expect("a short string, or a decimal number"));
        payload.extend_from_slice(text);
    }
    payload
}

/// Rewrites a method's arguments: text to UTF-8, tables to empty ones.
fn method(payload: &[u8]) -> Result<Vec<u8>, Fault> {
    let mut fields = Fields::new(payload);
    let (class, method) = (fields.short()?, fields.short()?);
    let Some((_, layout)) = METHODS.iter().find(|(id, _)| *id == (class, method)) else {
        return fault(format!(
            "method {class}.{method}: expected one that a broker sends to a consumer"
        ));
    };
    let mut rewritten = Vec::with_capacity(payload.len());
    rewritten.extend_from_slice(&payload[..4]);
    for argument in layout.bytes() {
        match argument {
            b'b' => rewritten.extend_from_slice(fields.take(1)?),
            b'w' => rewritten.extend_from_slice(fields.take(2)?),
            b'l' => rewritten.extend_from_slice(fields.take(4)?),
            b'q' => rewritten.extend_from_slice(fields.take(8)?),
            b's' => {
                let text = fields.short_string()?;
                rewritten.push(u8::try_from(text.len()).expect("it came with one octet of length"));
                rewritten.extend_from_slice(&text);
            }
            b'e' => {
                fields.short_string()?;
                rewritten.push(0);
            }
            b'S' => {
                let text = fields.long()?;
                rewritten.extend_from_slice(
                    &u32::try_from(text.len())
                        .expect("shorter than a method")
                        .to_be_bytes(),
                );
                rewritten.extend_from_slice(&masked(text));
            }
            _ => {
                fields.long()?;
                rewritten.extend_from_slice(&[0; 4]);
            }
        }
    }
    Ok(rewritten)
}

fn write_frame(kind: u8, channel: u16, payload: &[u8], output: &mut Vec<u8>) {
    output.push(kind);
    output.extend_from_slice(&channel.to_be_bytes());
    output.extend_from_slice(
        &u32::try_from(payload.len())
            .expect("bounded by the frame size")
            .to_be_bytes(),
    );
    output.extend_from_slice(payload);
    output.push(FRAME_END);
}

fn channel(frame: &[u8]) -> u16 {
    u16::from_be_bytes([frame[1], frame[2]])
}

/// A port that speaks something else is told by its first byte.
fn check_type(head: &[u8]) -> Result<(), Fault> {
    match head[0] {
        METHOD | HEADER | BODY | HEARTBEAT => Ok(()),
        b'A' => fault("the broker wants another AMQP version: expected 0-9-1"),
        b'H' => fault("an HTTP server answered: expected the broker's AMQP port, 5672 as a rule"),
        0x15 | 0x16 => fault("a TLS server answered: expected plain AMQP, or an amqps:// address"),
        other => fault(format!("frame type {other}: expected AMQP 0-9-1")),
    }
}

fn check_end(byte: u8) -> Result<(), Fault> {
    if byte == FRAME_END {
        Ok(())
    } else {
        fault(format!("frame end {byte:#04x}: expected {FRAME_END:#04x}"))
    }
}

/// amiquip wants UTF-8: in text that is none, every byte beyond ASCII becomes a question mark.
fn masked(text: &[u8]) -> Cow<'_, [u8]> {
    match std::str::from_utf8(text) {
        Ok(_) => text.into(),
        Err(_) => text
            .iter()
            .map(|byte| if byte.is_ascii() { *byte } else { b'?' })
            .collect(),
    }
}

/// A payload's fields, read from the front.
struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    fn new(payload: &'a [u8]) -> Self {
        Fields { rest: payload }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Fault> {
        let Some((taken, rest)) = self.rest.split_at_checked(length) else {
            return fault("frame: ends within a field");
        };
        self.rest = rest;
        Ok(taken)
    }

    fn short(&mut self) -> Result<u16, Fault> {
        Ok(u16::from_be_bytes(
            self.take(2)?.try_into().expect("2 bytes"),
        ))
    }

    /// A long string's or a table's bytes.
    fn long(&mut self) -> Result<&'a [u8], Fault> {
        let length = u32::from_be_bytes(self.take(4)?.try_into().expect("4 bytes"));
        self.take(length as usize)
    }

    fn short_string(&mut self) -> Result<Cow<'a, [u8]>, Fault> {
        let length = self.take(1)?[0];
        self.take(usize::from(length)).map(masked)
    }

    /// The first word of flags; a set lowest bit announces another word.
    fn property_flags(&mut self) -> Result<u16, Fault> {
        let first = self.short()?;
        let mut word = first;
        while word & 1 == 1 {
            word = self.short()?;
        }
        Ok(first)
    }
}

#[cfg(test)]
mod tests;
