//! Bytes of an HTTP client, whole and in pieces: no panic, and the same requests either way.
#![no_main]

use std::time::Instant;

use leek_agent::http::{Connection, Limits, Request, Response};
use libfuzzer_sys::fuzz_target;

/// All requests that these bytes make, each answered at once, and whether the connection is over then.
fn requests(bytes: &[u8], piece: usize) -> (Vec<Request>, bool) {
    let now = Instant::now();
    let mut connection = Connection::new(Limits::with_body(256), now);
    let mut requests = Vec::new();
    let mut rest = bytes;
    loop {
        let before = (rest.len(), requests.len());
        if connection.wants_read() && !rest.is_empty() {
            let (some, more) = rest.split_at(piece.min(rest.len()));
            connection.handle_input(some, now);
            rest = more;
        }
        while let Some(request) = connection.poll_request() {
            connection.respond(&Response::text(200, "ok"), now);
            requests.push(request);
        }
        let sent = connection.output().len();
        connection.handle_sent(sent, now);
        if before == (rest.len(), requests.len()) && sent == 0 {
            return (requests, connection.is_ended());
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let whole = requests(bytes, bytes.len().max(1));
    for piece in [1, 7] {
        assert_eq!(requests(bytes, piece).0, whole.0, "in pieces of {piece}");
    }
});
