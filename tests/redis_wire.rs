//! A recorded session of real Celery workers, fed to the pure parts of the Redis source in pieces of
//! every kind: any split of the bytes gives the same messages.

use std::time::Instant;

use leek_agent::clock;
use leek_agent::config::redis::RedisOptions;
use leek_agent::source::redis::channels::{Channels, Found};
use leek_agent::source::redis::envelope::{self, OVERHEAD};
use leek_agent::source::redis::resp::{self, Parsed};
use leek_agent::source::redis::session::{Greeting, Happening, Session};
use proptest::prelude::*;
use serde_json::Value;

fn recorded() -> Vec<Value> {
    let text = include_str!("data/redis-envelopes.jsonl");
    let lines = text.lines().map(serde_json::from_str);
    lines.collect::<Result<_, _>>().expect("JSON lines")
}

fn bulk(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(format!("${}\r\n{text}\r\n", text.len()).as_bytes());
}

/// What the server would send a subscriber: its welcome, all messages, and a pong now and then.
fn stream(messages: &[Value]) -> Vec<u8> {
    let text = |value: &Value| value.as_str().expect("a string").to_owned();
    let mut out = b"+OK\r\n*3\r\n$10\r\npsubscribe\r\n$13\r\n/0.celeryev/*\r\n:1\r\n".to_vec();
    for (number, message) in messages.iter().enumerate() {
        out.extend_from_slice(b"*4\r\n$8\r\npmessage\r\n");
        bulk(&mut out, &text(&message["consumer_psubscribe"]));
        bulk(&mut out, &text(&message["channel"]));
        bulk(&mut out, &text(&message["message"]));
        if number % 10 == 0 {
            out.extend_from_slice(b"*2\r\n$4\r\npong\r\n$0\r\n\r\n");
        }
    }
    out
}

/// The bodies of all messages in `chunks`.
fn bodies<'a>(chunks: impl IntoIterator<Item = &'a [u8]>, now: Instant) -> Vec<Value> {
    let greeting = Greeting {
        user: None,
        password: None,
        db: 0,
        client_name: "leek-agent:shop-qa".into(),
        channels: Channels::new(
            &RedisOptions::default(),
            0,
            "celeryev",
            "#",
            Found::ByAddress,
        ),
        found: Found::ByAddress,
    };
    let mut session = Session::new(&greeting, now);
    let (mut buffer, mut bodies) = (Vec::new(), Vec::new());
    for chunk in chunks {
        buffer.extend_from_slice(chunk);
        let mut at = 0;
        while let Parsed::Frame { frame, length } =
            resp::parse(&buffer[at..], OVERHEAD).expect("it is RESP")
        {
            let happening = session.handle(&frame, now).expect("it is Redis");
            if let Happening::Message(payload) = happening {
                let body = envelope::open(payload).body.expect("a body");
                bodies.push(serde_json::from_slice(&body).expect("JSON"));
            }
            at += length;
        }
        buffer.drain(..at);
    }
    assert!(buffer.is_empty(), "{} bytes are left", buffer.len());
    bodies
}

#[test]
fn every_recorded_envelope_opens() {
    let messages = recorded();
    assert!(messages.len() > 100);
    let found = bodies([&stream(&messages)[..]], clock::monotonic());
    let expected: Vec<_> = messages.iter().map(|one| &one["body_decoded"]).collect();
    assert_eq!(found.iter().collect::<Vec<_>>(), expected);
}

#[test]
fn byte_by_byte_gives_the_same() {
    let messages = &recorded()[..20];
    let stream = stream(messages);
    let found = bodies(stream.chunks(1), clock::monotonic());
    let expected: Vec<_> = messages.iter().map(|one| &one["body_decoded"]).collect();
    assert_eq!(found.iter().collect::<Vec<_>>(), expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_split_gives_the_same(lengths in proptest::collection::vec(1_usize..5000, 1..200)) {
        let messages = &recorded()[..40];
        let stream = stream(messages);
        let mut rest = &stream[..];
        let mut chunks = Vec::new();
        for length in lengths.iter().cycle() {
            let (chunk, others) = rest.split_at(rest.len().min(*length));
            if chunk.is_empty() {
                break;
            }
            chunks.push(chunk);
            rest = others;
        }
        prop_assert_eq!(bodies(chunks, clock::monotonic()).len(), messages.len());
    }
}
