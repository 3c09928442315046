//! A session that RabbitMQ 3.10 once had with the agent, frame by frame, and what may go wrong in it.

use std::io::{self, Read};

use super::Then::{Close, GoOn, Wait};
use super::{Deed, Peer};

/// What the broker said: nine answers of the set-up, then deliveries.
const SESSION: &[u8] = include_bytes!("../../data/amqp-session.bin");

/// Frames that the client waits for one by one, up to basic.consume-ok.
const ANSWERS: usize = 9;

/// These, the first delivery, its content header and its body.
pub const STEPS: usize = ANSWERS + 3;

/// The consumer that the recorded deliveries are for.
const TAG: &str = "amq.ctag-yldyUC4WxUQQtATalb1l0A";

const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const HEARTBEAT: u8 = 8;

pub fn serve(peer: &mut Peer) -> io::Result<()> {
    let frames = split(SESSION);
    // The protocol header; a client speaks first.
    peer.client.read_exact(&mut [0; 8])?;
    for (step, frame) in frames.iter().enumerate() {
        peer.send(step, frame)?;
        // Nothing is said between tune-ok and open; and after a misdeed the client may say anything.
        let awaited = match step {
            0 => 1,
            1 => 2,
            _ if step < ANSWERS - 1 => 1,
            _ => 0,
        };
        for _ in 0..awaited {
            read_frame(peer)?;
        }
    }
    peer.wait()
}

fn split(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let size = u32::from_be_bytes(bytes[3..7].try_into().expect("4 bytes")) as usize;
        let (frame, rest) = bytes.split_at(size + 8);
        frames.push(frame);
        bytes = rest;
    }
    frames
}

fn read_frame(peer: &mut Peer) -> io::Result<()> {
    let mut head = [0; 7];
    peer.client.read_exact(&mut head)?;
    let size = u32::from_be_bytes(head[3..7].try_into().expect("4 bytes"));
    let mut rest = vec![0; size as usize + 1];
    peer.client.read_exact(&mut rest)
}

fn frame(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend(channel.to_be_bytes());
    bytes.extend((payload.len() as u32).to_be_bytes());
    bytes.extend(payload);
    bytes.push(0xCE);
    bytes
}

fn method(channel: u16, (class, method): (u16, u16), arguments: &[u8]) -> Vec<u8> {
    let id = [class.to_be_bytes(), method.to_be_bytes()].concat();
    frame(METHOD, channel, &[&id, arguments].concat())
}

fn short(text: &[u8]) -> Vec<u8> {
    [&[text.len() as u8], text].concat()
}

fn close(channel: u16, id: (u16, u16), code: u16) -> Vec<u8> {
    let arguments = [&code.to_be_bytes()[..], &short(b"no\xFF reason"), &[0; 4]].concat();
    method(channel, id, &arguments)
}

fn deliver(consumer: &str, tag: u64, routing_key: &[u8]) -> Vec<u8> {
    let arguments = [
        short(consumer.as_bytes()),
        tag.to_be_bytes().to_vec(),
        vec![0],
        short(b"celeryev"),
        short(routing_key),
    ];
    method(1, (60, 60), &arguments.concat())
}

fn header(channel: u16, size: u64) -> Vec<u8> {
    let payload = [&[0, 60, 0, 0][..], &size.to_be_bytes(), &[0, 0]];
    frame(HEADER, channel, &payload.concat())
}

fn message(consumer: &str, tag: u64, body: &[u8]) -> Vec<u8> {
    [
        deliver(consumer, tag, b"task.received"),
        header(1, body.len() as u64),
        frame(BODY, 1, body),
    ]
    .concat()
}

/// With what was due, so that the next misdeed has something to stand on.
fn after(good: &[u8], bytes: &[u8]) -> Vec<u8> {
    [good, bytes].concat()
}

fn any(random: &mut fastrand::Rng, channels: &[u16]) -> u16 {
    channels[random.usize(0..channels.len())]
}

/// connection.start whose server properties are a table in a table in a table …
fn nested_start() -> Vec<u8> {
    let mut table = Vec::new();
    while table.len() < 7_900 {
        let length = (table.len() as u32).to_be_bytes();
        table = [&b"\x01aF"[..], &length, &table].concat();
    }
    let length = (table.len() as u32).to_be_bytes();
    let arguments = [
        &[0, 9],
        &length[..],
        &table,
        b"\0\0\0\x05PLAIN\0\0\0\x05en_US",
    ];
    method(0, (10, 10), &arguments.concat())
}

pub const DEEDS: [Deed; 27] = [
    |_, _| GoOn(nested_start()),
    // Frames that claim to be longer than any.
    |_, _| Wait([&[METHOD, 0, 0, 0x7F, 0xFF, 0xFF, 0xFF][..], &[0; 100_000]].concat()),
    |_, _| Wait([&[BODY, 0, 1, 0xFF, 0xFF, 0xFF, 0xFF][..], &[0; 100_000]].concat()),
    |_, random| Wait(frame(random.u8(..), any(random, &[0, 1, 9]), &[0; 300])),
    // Content that claims to be longer than any, or than it is, or is sent to nobody.
    |good, _| {
        Wait(after(
            good,
            &[deliver(TAG, 1, b"x"), header(1, 1 << 44)].concat(),
        ))
    },
    |good, _| {
        let large = [deliver(TAG, 1, b"x"), header(1, 17 << 20)].concat();
        let bodies = frame(BODY, 1, &[b'x'; 100_000]).repeat(20);
        Wait(after(good, &[large, bodies].concat()))
    },
    |good, _| {
        let short = [deliver(TAG, 1, b"x"), header(1, 3), frame(BODY, 1, b"1234")];
        Wait(after(good, &short.concat()))
    },
    |good, random| Wait(after(good, &header(any(random, &[0, 1, 9]), 5))),
    |good, random| Wait(after(good, &frame(BODY, any(random, &[0, 1, 9]), b"{}"))),
    |good, _| {
        Wait(after(
            good,
            &[deliver(TAG, 1, b"x"), deliver(TAG, 2, b"x")].concat(),
        ))
    },
    |good, _| Wait(after(good, &message("nobody", 1, b"{}"))),
    // Deliveries that are odd: empty, not in order, not UTF-8, more than are allowed.
    |good, _| {
        let empty = [deliver(TAG, 1, b"x"), header(1, 0)].concat();
        GoOn(after(good, &empty.repeat(50)))
    },
    |good, _| {
        let tags = [9, 9, 3, 0, u64::MAX, 1];
        GoOn(after(
            good,
            &tags.map(|tag| message(TAG, tag, b"{}")).concat(),
        ))
    },
    |good, _| {
        let odd = [
            deliver(TAG, 1, b"\xFF\xFE"),
            header(1, 2),
            frame(BODY, 1, b"\xFF{"),
        ];
        GoOn(after(good, &odd.concat()))
    },
    |good, _| {
        let many: Vec<_> = (1..5000).map(|tag| message(TAG, tag, b"{}")).collect();
        Wait(after(good, &many.concat()))
    },
    // Ends: of the connection, of the channel, of the consumer.
    |_, random| Wait(close(0, (10, 50), any(random, &[320, 501, 530, 541, 0]))),
    |_, random| Wait(close(1, (20, 40), any(random, &[403, 404, 405, 406, 0]))),
    |good, random| GoOn(after(good, &close(any(random, &[0, 9]), (20, 40), 504))),
    |_, _| Wait(method(0, (10, 51), &[])),
    |_, _| Wait(method(1, (20, 41), &[])),
    |good, _| {
        GoOn(after(
            good,
            &method(1, (60, 30), &[&short(TAG.as_bytes())[..], &[0]].concat()),
        ))
    },
    |good, _| GoOn(after(good, &method(1, (60, 31), &short(TAG.as_bytes())))),
    // Methods at the wrong time, or of no use.
    |_, random| {
        let other = split(SESSION)[random.usize(0..ANSWERS)].to_vec();
        GoOn(other)
    },
    |good, _| {
        let idle = [
            method(1, (20, 20), &[0]),
            method(0, (10, 60), &short(b"low on memory")),
            method(0, (10, 61), &[]),
            method(0, (10, 20), &[0, 0, 0, 0]),
        ];
        GoOn(after(good, &idle.concat()))
    },
    |good, random| {
        Wait(after(
            good,
            &method(1, (random.u16(0..120), random.u16(0..120)), &[0; 9]),
        ))
    },
    // Heartbeats: too many, with a content.
    |good, _| Close(after(good, &frame(HEARTBEAT, 0, &[]).repeat(100_000))),
    |good, _| GoOn(after(good, &frame(HEARTBEAT, 3, b"x"))),
];
