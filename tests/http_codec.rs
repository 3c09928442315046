//! Properties of the HTTP server codec: how bytes are split changes nothing, and no bytes break it.

use std::time::{Duration, Instant};

use leek_agent::clock;
use leek_agent::http::{Connection, Limits, Request, Response};
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// Small, so that generated input reaches them.
const LIMITS: Limits = Limits {
    head: 200,
    headers: 6,
    body: 64,
    request: Duration::from_secs(30),
    idle: Duration::from_secs(75),
};

const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";

/// What came out of a connection.
#[derive(Debug, PartialEq)]
struct Outcome {
    requests: Vec<Request>,
    sent: String,
}

impl Outcome {
    /// Answers what there is to answer and sends what there is to send.
    fn serve(&mut self, connection: &mut Connection, now: Instant) {
        loop {
            let output = connection.output().to_vec();
            connection.handle_sent(output.len(), now);
            self.sent.push_str(&String::from_utf8(output).unwrap());
            match connection.poll_request() {
                Some(request) => {
                    connection.respond(&Response::text(200, request.path()), now);
                    self.requests.push(request);
                }
                None if connection.output().is_empty() => return,
                None => {}
            }
        }
    }
}

/// Feeds `parts` one after the other, then the end of the input.
fn run<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let now = clock::monotonic();
    let mut connection = Connection::new(LIMITS, now);
    let mut outcome = Outcome {
        requests: Vec::new(),
        sent: String::new(),
    };
    for part in parts {
        connection.handle_input(part, now);
        outcome.serve(&mut connection, now);
    }
    connection.handle_eof(now);
    outcome.serve(&mut connection, now);
    assert!(connection.is_ended());
    // Whether a client is told to go on depends on whether it waited.
    outcome.sent = outcome.sent.replace(CONTINUE, "");
    outcome
}

/// Pieces of which requests, good and bad, are made.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    const PIECES: [&str; 24] = [
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /a?b=c HTTP/1.1\r\nHost: x\r\nX-One: 1\r\n\r\n",
        "HEAD http://x/a HTTP/1.1\nHost: x\n\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
        "5\r\nhello\r\n",
        "a;x=y\r\n0123456789\r\n",
        "0\r\n\r\n",
        "0\r\nX-Trailer: 1\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 65\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.1\r\n",
        "Host: x\r\n",
        "X: 0123456789012345678901234567890123456789\r\n",
        "Content-Length: 3\r\n",
        "Transfer-Encoding: gzip\r\n",
        "ffffffffffffffff\r\n",
        "\r\n",
        "\n",
        "\r",
        " ",
        "\0",
    ];
    prop_oneof![
        4 => select(&PIECES[..]).prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..8),
    ]
}

fn stream() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(piece(), 0..12).prop_map(|pieces| pieces.concat())
}

/// `bytes` cut at the places that `cuts` point to.
fn split<'a>(bytes: &'a [u8], cuts: &[Index]) -> Vec<&'a [u8]> {
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    at.extend([0, bytes.len()]);
    at.sort_unstable();
    at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_split_changes_nothing(bytes in stream(), cuts in prop::collection::vec(any::<Index>(), 0..20)) {
        let whole = run([&bytes[..]]);
        prop_assert_eq!(&run(split(&bytes, &cuts)), &whole);
        prop_assert_eq!(&run(bytes.chunks(1)), &whole);
    }

    #[test]
    fn limits_hold(bytes in stream()) {
        for request in run([&bytes[..]]).requests {
            prop_assert!(request.body.len() <= LIMITS.body);
            prop_assert!(request.headers.len() <= LIMITS.headers);
        }
    }

    #[test]
    fn no_bytes_and_no_calls_break_it(steps in prop::collection::vec((0..6_u8, stream()), 0..30)) {
        let mut now = clock::monotonic();
        let mut connection = Connection::new(LIMITS, now);
        for (step, bytes) in steps {
            match step {
                0 | 1 => connection.handle_input(&bytes, now),
                2 => drop(connection.poll_request()),
                3 => connection.respond(&Response::text(200, "x"), now),
                4 => connection.handle_sent(bytes.len(), now),
                _ => {
                    now += Duration::from_secs(bytes.len() as u64);
                    connection.handle_timeout(now);
                }
            }
        }
        connection.handle_eof(now);
    }
}
