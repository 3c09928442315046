use super::*;
use proptest::prelude::*;

fn frame(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_frame(kind, channel, payload, &mut bytes);
    bytes
}

fn short_string(text: &[u8]) -> Vec<u8> {
    [&[text.len() as u8], text].concat()
}

fn deliver(routing_key: &[u8]) -> Vec<u8> {
    deliver_as(7, routing_key)
}

fn deliver_as(tag: u64, routing_key: &[u8]) -> Vec<u8> {
    deliver_by(tag, b"celeryev", routing_key)
}

fn deliver_by(tag: u64, exchange: &[u8], routing_key: &[u8]) -> Vec<u8> {
    let arguments = [
        [0, 60, 0, 60].as_slice(),
        &short_string(b"ctag"),
        &tag.to_be_bytes(),
        &[0],
        &short_string(exchange),
        &short_string(routing_key),
    ];
    frame(METHOD, 1, &arguments.concat())
}

/// As a delivery comes out.
fn delivered(tag: u64) -> Vec<u8> {
    deliver_by(tag, b"", b"")
}

/// A content header with content type, encoding, and a headers table of `table` bytes.
fn header(size: u64, table: &[u8]) -> Vec<u8> {
    let payload = [
        [0, 60, 0, 0].as_slice(),
        &size.to_be_bytes(),
        &[0xE0, 0x00],
        &short_string(b"application/json"),
        &short_string(b"utf-8"),
        &(table.len() as u32).to_be_bytes(),
        table,
    ];
    frame(HEADER, 1, &payload.concat())
}

/// The same header as it should come out.
fn plain_header(size: u64, content_type: &str, encoding: &str) -> Vec<u8> {
    frame(
        HEADER,
        1,
        &header_payload(
            &[0, 60, 0, 0],
            size,
            content_type.as_bytes(),
            encoding.as_bytes(),
        ),
    )
}

fn sanitise(input: &[u8]) -> Result<Vec<u8>, Fault> {
    let mut output = Vec::new();
    Sanitiser::default()
        .push(input, &mut output)
        .map(|()| output)
}

fn fault_of(input: &[u8]) -> String {
    sanitise(input).unwrap_err().to_string()
}

#[test]
fn a_message_passes_with_two_properties_only() {
    let input = [
        deliver(b"task.multi"),
        header(4, b"whatever"),
        frame(BODY, 1, b"[{"),
        frame(BODY, 1, b"}]"),
    ]
    .concat();
    let expected = [
        delivered(7),
        plain_header(4, "application/json", "utf-8"),
        frame(BODY, 1, b"[{"),
        frame(BODY, 1, b"}]"),
    ];
    assert_eq!(sanitise(&input).unwrap(), expected.concat());
}

#[test]
fn a_delivery_passes_whatever_its_routing_key_says() {
    for key in [&b"task.\xff\xfe"[..], "täsk".as_bytes(), b""] {
        assert_eq!(sanitise(&deliver(key)).unwrap(), delivered(7));
    }
}

#[test]
fn text_that_is_not_utf8_is_masked() {
    let close = |reason: &[u8]| {
        let arguments = [
            [0, 10, 0, 50, 1, 64].as_slice(),
            &short_string(reason),
            &[0, 0, 0, 0],
        ];
        frame(METHOD, 0, &arguments.concat())
    };
    for (said, passed) in [
        (&b"no \xff\xfe"[..], &b"no ??"[..]),
        ("nö".as_bytes(), "nö".as_bytes()),
    ] {
        assert_eq!(sanitise(&close(said)).unwrap(), close(passed));
    }
}

#[test]
fn the_table_of_connection_start_is_emptied() {
    let start = |table: &[u8]| {
        let arguments = [
            [0, 10, 0, 10, 0, 9].as_slice(),
            &(table.len() as u32).to_be_bytes(),
            table,
            &5u32.to_be_bytes(),
            b"PLAIN",
            &5u32.to_be_bytes(),
            b"en_US",
        ];
        frame(METHOD, 0, &arguments.concat())
    };
    assert_eq!(sanitise(&start(&[b'F'; 3000])).unwrap(), start(b""));
}

#[test]
fn a_message_over_the_limit_arrives_empty_and_marked() {
    let size = MAX_MESSAGE_BYTES as u64 + 1;
    let chunk = vec![b'x'; 100_000];
    let mut input = [deliver(b"task.multi"), header(size, b"")].concat();
    let mut left = size as usize;
    while left > 0 {
        let part = left.min(chunk.len());
        input.extend(frame(BODY, 1, &chunk[..part]));
        left -= part;
    }
    input.extend(deliver_as(8, b"next"));
    let expected = [
        delivered(7),
        plain_header(0, OVERSIZED, &size.to_string()),
        delivered(8),
    ];
    assert_eq!(sanitise(&input).unwrap(), expected.concat());
}

#[test]
fn a_claim_of_terabytes_costs_nothing() {
    let input = [deliver(b"x"), header(1 << 44, b"")].concat();
    assert_eq!(
        sanitise(&input).unwrap(),
        [
            delivered(7),
            plain_header(0, OVERSIZED, &(1u64 << 44).to_string())
        ]
        .concat()
    );
}

#[test]
fn other_servers_are_named() {
    assert!(fault_of(b"HTTP/1.1 400 Bad Request").contains("HTTP server"));
    assert!(fault_of(b"AMQP\x00\x01\x00\x00").contains("another AMQP version"));
    assert!(fault_of(b"\x15\x03\x03\x00\x02\x02\x46").contains("TLS server"));
    assert!(fault_of(b"-ERR unknown command").contains("expected AMQP 0-9-1"));
}

#[test]
fn frames_are_bounded_before_they_are_read() {
    assert!(fault_of(&[METHOD, 0, 0, 0x00, 0x00, 0x20, 0x01]).contains("method frame: 8193 bytes"));
    assert!(fault_of(&[HEADER, 0, 1, 0x7F, 0xFF, 0xFF, 0xFF]).contains("header frame"));
    assert!(fault_of(&[BODY, 0, 1, 0x7F, 0xFF, 0xFF, 0xFF]).contains("body frame"));
    assert!(fault_of(&[HEARTBEAT, 0, 0, 0, 0, 0, 1]).contains("heartbeat frame"));
}

#[test]
fn a_broker_that_breaks_the_order_of_frames_is_left() {
    assert!(fault_of(&frame(BODY, 1, b"x")).contains("expected a content header first"));
    let longer = [deliver(b"x"), header(1, b""), frame(BODY, 1, b"xx")].concat();
    assert!(fault_of(&longer).contains("expected at most 1"));
    let other_channel = [deliver(b"x"), header(1, b""), frame(BODY, 2, b"x")].concat();
    assert!(fault_of(&other_channel).contains("expected a content header first"));
    let twice = [deliver(b"x"), header(1, b""), header(1, b"")].concat();
    assert!(fault_of(&twice).contains("expected the rest"));
    let mut no_end = frame(HEARTBEAT, 0, b"");
    *no_end.last_mut().unwrap() = 0;
    assert!(fault_of(&no_end).contains("frame end 0x00"));
}

#[test]
fn delivery_tags_must_ascend() {
    let message = |tag| [deliver_as(tag, b"x"), header(1, b""), frame(BODY, 1, b"x")].concat();
    assert!(sanitise(&[message(1), message(2), message(4)].concat()).is_ok());
    for (first, second) in [(3, 3), (1 << 40, 4)] {
        let text = fault_of(&[message(first), message(second)].concat());
        assert!(text.contains("expected ascending tags"), "{text}");
    }
    assert!(fault_of(&message(0)).contains("delivery tag 0"));
}

#[test]
fn methods_that_no_broker_sends_to_a_consumer_are_refused() {
    let declare = frame(METHOD, 1, &[0, 50, 0, 10, 0, 0]);
    assert!(fault_of(&declare).contains("method 50.10"));
    assert!(fault_of(&frame(METHOD, 1, &[0])).contains("ends within a field"));
}

proptest! {
    #[test]
    fn any_split_gives_the_same(cuts in proptest::collection::vec(0usize..600, 0..20), table in proptest::collection::vec(any::<u8>(), 0..200)) {
        let input = [deliver(b"task.multi"), header(4, &table), frame(BODY, 1, b"[{}]"), frame(HEARTBEAT, 0, b""), deliver_as(8, b"x")].concat();
        let whole = sanitise(&input).unwrap();
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(input.len())).collect();
        cuts.extend([0, input.len()]);
        cuts.sort_unstable();
        let (mut sanitiser, mut output) = (Sanitiser::default(), Vec::new());
        for pair in cuts.windows(2) {
            sanitiser.push(&input[pair[0]..pair[1]], &mut output).unwrap();
        }
        prop_assert_eq!(output, whole);
    }

    #[test]
    fn no_bytes_panic(input in proptest::collection::vec(any::<u8>(), 0..2000), kind in proptest::sample::select(vec![METHOD, HEADER, BODY, HEARTBEAT])) {
        let _ = sanitise(&input);
        let _ = sanitise(&frame(kind, 1, &input));
        let _ = sanitise(&[deliver(b"x"), header(input.len() as u64, b""), input].concat());
    }
}
