//! A Redis server for one subscriber, as far as it goes, and what may go wrong in it.

use std::io::{self, Read};

use serde_json::Value;

use super::Then::{Close, GoOn, Wait};
use super::{Deed, Peer};
use crate::support::redis::wrapped;

/// AUTH, SELECT, CLIENT SETNAME, PSUBSCRIBE, a message, and its successor.
pub const STEPS: usize = 6;

pub fn serve(peer: &mut Peer) -> io::Result<()> {
    // The client asks for everything at once.
    let _ = peer.client.read(&mut [0; 4096])?;
    for step in 0..3 {
        peer.send(step, b"+OK\r\n")?;
    }
    peer.send(3, &array(&[b"psubscribe", PATTERN], ":1\r\n"))?;
    for (step, envelope) in [4, 5].into_iter().zip(envelopes()) {
        peer.send(step, &message(envelope.as_bytes()))?;
    }
    peer.wait()
}

const PATTERN: &[u8] = b"/1.celeryev/*";

/// What workers once published.
fn envelopes() -> Vec<String> {
    let lines = include_str!("../../data/redis-envelopes.jsonl")
        .lines()
        .take(2);
    lines
        .map(|line| {
            let line: Value = serde_json::from_str(line).expect("JSON");
            line["message"].as_str().expect("a string").to_owned()
        })
        .collect()
}

fn bulk(text: &[u8]) -> Vec<u8> {
    [format!("${}\r\n", text.len()).as_bytes(), text, b"\r\n"].concat()
}

/// An array of strings and a last element.
fn array(strings: &[&[u8]], last: &str) -> Vec<u8> {
    let count = strings.len() + usize::from(!last.is_empty());
    let mut bytes = format!("*{count}\r\n").into_bytes();
    bytes.extend(strings.iter().flat_map(|text| bulk(text)));
    bytes.extend(last.as_bytes());
    bytes
}

fn message(payload: &[u8]) -> Vec<u8> {
    array(
        &[b"pmessage", PATTERN, b"/1.celeryev/task.sent", payload],
        "",
    )
}

fn after(good: &[u8], bytes: &[u8]) -> Vec<u8> {
    [good, bytes].concat()
}

pub const DEEDS: [Deed; 24] = [
    // Lengths and numbers that are none, or too large.
    |_, _| Wait(b"*1000000\r\n".to_vec()),
    |_, _| Wait(b"*99999999999999999999\r\n".to_vec()),
    |_, _| Wait(b"$99999999999\r\nabc".to_vec()),
    |_, _| Wait(b":twelve\r\n".to_vec()),
    |good, _| GoOn(after(good, b"$-1\r\n*-1\r\n")),
    |_, _| Wait([b"+", &[b'x'; 100_000][..]].concat()),
    |_, _| Wait(b"*1\r\n".repeat(10_000)),
    // Strings that are allowed alone.
    |_, _| Wait([b"*4000\r\n".to_vec(), bulk(&[b'x'; 100_000]).repeat(60)].concat()),
    |_, _| {
        Wait(
            [
                b"*4000\r\n".to_vec(),
                [b"+", &[b'x'; 4000][..], b"\r\n"].concat().repeat(900),
            ]
            .concat(),
        )
    },
    // Errors, of which some are fatal.
    |_, _| GoOn(b"-ERR unknown command\r\n".to_vec()),
    |_, _| GoOn(b"-NOAUTH Authentication required.\r\n".to_vec()),
    |_, _| GoOn(b"-LOADING Redis is loading the dataset in memory\r\n".to_vec()),
    |_, _| GoOn(b"-MOVED 1234 127.0.0.1:1\r\n".to_vec()),
    // Another protocol.
    |_, _| Close(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()),
    |good, _| Wait(after(good, b"%1\r\n+server\r\n+redis\r\n")),
    |good, _| GoOn(after(good, b">2\r\n+pong\r\n+\r\n")),
    // Pushes at the wrong time, or of a form that none has.
    |good, _| Wait(after(good, &array(&[b"punsubscribe", PATTERN], ":0\r\n"))),
    |good, _| Wait(after(good, &array(&[b"pmessage", PATTERN], ":7\r\n"))),
    |good, _| Wait(after(good, &array(&[b"message", b"x"], "*0\r\n"))),
    |good, _| GoOn(after(good, &b"+PONG\r\n".repeat(200_000))),
    // Messages that cannot be opened.
    |good, _| {
        GoOn(after(
            good,
            &[message(b""), message(b"\xFF\xFE{"), message(b"[1]")].concat(),
        ))
    },
    |good, _| GoOn(after(good, &message("[".repeat(100_000).as_bytes()))),
    |good, random| {
        let body: Vec<u8> = std::iter::repeat_with(|| random.u8(..))
            .take(3000)
            .collect();
        GoOn(after(good, &message(wrapped(&body, "x").as_bytes())))
    },
    |good, _| {
        // Longer than the ring of the tests, hence announced and thrown away.
        let long = vec![b'x'; 3 << 20];
        GoOn(after(good, &message(&long)))
    },
];
