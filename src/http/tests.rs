use std::time::{Duration, Instant};

use super::*;

fn limits() -> Limits {
    Limits {
        head: 300,
        headers: 4,
        body: 10,
        request: Duration::from_secs(30),
        idle: Duration::from_secs(75),
    }
}

fn connection() -> (Connection, Instant) {
    let now = crate::clock::monotonic();
    (Connection::new(limits(), now), now)
}

/// The connection after `input`, as far as it comes by itself.
fn after(input: &str) -> (Connection, Instant) {
    let (mut connection, now) = connection();
    connection.handle_input(input.as_bytes(), now);
    (connection, now)
}

fn output(connection: &Connection) -> String {
    String::from_utf8(connection.output().to_vec()).unwrap()
}

fn send_all(connection: &mut Connection, now: Instant) -> String {
    let sent = output(connection);
    connection.handle_sent(sent.len(), now);
    sent
}

/// The status of the fault that `input` ends in.
fn fault(input: &str) -> u16 {
    let (mut connection, now) = after(input);
    assert!(connection.poll_request().is_none(), "{input}");
    let answer = send_all(&mut connection, now);
    assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
    connection.handle_eof(now);
    assert!(connection.is_ended());
    answer["HTTP/1.1 ".len()..][..3].parse().unwrap()
}

/// The body of the one request in `input`.
fn body(input: &str) -> String {
    let (mut connection, _) = after(input);
    let request = connection.poll_request().expect(input);
    String::from_utf8(request.body).unwrap()
}

#[test]
fn a_request_is_answered_and_the_connection_kept() {
    let (mut connection, now) = after("GET /a/b?c=d HTTP/1.1\r\nHost: x\r\nX-One:  1 \r\n\r\n");
    let request = connection.poll_request().unwrap();
    assert_eq!((request.method.as_str(), request.path()), ("GET", "/a/b"));
    assert_eq!(
        (request.header("x-one"), request.header("x-two")),
        (Some("1"), None)
    );
    assert!(connection.poll_request().is_none());
    assert!(!connection.wants_read() && connection.deadline().is_none());

    connection.respond(&Response::text(200, "hi"), now);
    let expected = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 3\r\n\r\nhi\n";
    assert_eq!(send_all(&mut connection, now), expected);
    assert!(connection.wants_read() && !connection.is_ended());
    assert_eq!(connection.deadline(), Some(now + limits().idle));
}

#[test]
fn pipelined_requests_come_one_after_the_other() {
    let get = |path| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    let (mut connection, now) = after(&(get("/1") + &get("/2")));
    for path in ["/1", "/2"] {
        assert_eq!(connection.poll_request().unwrap().path(), path);
        assert!(connection.poll_request().is_none());
        connection.respond(&Response::json(200, "{}"), now);
        assert!(
            connection.poll_request().is_none(),
            "before the answer is sent"
        );
        send_all(&mut connection, now);
    }
}

#[test]
fn bodies() {
    let of = |rest: &str| body(&format!("POST / HTTP/1.1\r\nHost: x\r\n{rest}"));
    assert_eq!(of("\r\nignored"), "");
    assert_eq!(of("Content-Length: 3\r\n\r\nabcd"), "abc");
    assert_eq!(
        of("Transfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"),
        "abcde"
    );
    assert_eq!(
        of("Transfer-Encoding: chunked\r\n\r\n0\r\nTrailer: 1\r\n\r\n"),
        ""
    );
}

#[test]
fn a_client_that_asks_may_go_on() {
    let head = "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    let (mut connection, now) = after(head);
    assert_eq!(
        send_all(&mut connection, now),
        "HTTP/1.1 100 Continue\r\n\r\n"
    );
    connection.handle_input(b"ab", now);
    assert_eq!(connection.poll_request().unwrap().body, b"ab");
    // One that does not wait is not told.
    let (connection, _) = after(&(head.to_owned() + "a"));
    assert_eq!(output(&connection), "");
}

#[test]
fn faults() {
    let post = |rest: &str| fault(&format!("POST / HTTP/1.1\r\nHost: x\r\n{rest}\r\n\r\n"));
    assert_eq!(fault("GET / HTTP/1.1\r\n\r\n"), 400);
    assert_eq!(fault("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"), 400);
    assert_eq!(fault("GET /\r\n\r\n"), 400);
    assert_eq!(fault("\u{16}\u{3}\u{1}\n"), 400);
    assert_eq!(fault("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 505);
    assert_eq!(post("A: 1\r\nB: 2\r\nC: 3\r\nD: 4"), 431);
    assert_eq!(
        fault(&format!(
            "GET /{} HTTP/1.1\r\nHost: x\r\n\r\n",
            "a".repeat(300)
        )),
        431
    );
    assert_eq!(post("Content-Length: 11"), 413);
    assert_eq!(post("Content-Length: 99999999999999999999999999"), 413);
    assert_eq!(post("Content-Length: -1"), 400);
    assert_eq!(post("Content-Length: 1, 1"), 400);
    assert_eq!(post("Content-Length: 1\r\nContent-Length: 1"), 400);
    assert_eq!(post("Content-Length: 1\r\nTransfer-Encoding: chunked"), 400);
    assert_eq!(post("Transfer-Encoding: gzip, chunked"), 501);
    assert_eq!(
        fault("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"),
        400
    );
    assert_eq!(post("Expect: tea"), 417);
    let chunked = |rest: &str| post(&format!("Transfer-Encoding: chunked\r\n\r\n{rest}"));
    assert_eq!(chunked("b\r\n"), 413);
    assert_eq!(chunked("6\r\naaaaaa\r\n5\r\n"), 413);
    assert_eq!(chunked("x\r\n"), 400);
    assert_eq!(chunked("\r\n"), 400);
    assert_eq!(chunked("1\r\nab\r\n"), 400);
    assert_eq!(chunked(&format!("1;{}", "x".repeat(300))), 400);
    assert_eq!(chunked(&format!("0\r\nA: {}", "x".repeat(300))), 431);
}

#[test]
fn the_connection_closes_when_asked() {
    for request in [
        "GET / HTTP/1.1\r\nHost: x\r\nConnection: x, Close\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
    ] {
        let (mut connection, now) = after(request);
        connection.poll_request().unwrap();
        connection.respond(&Response::text(200, ""), now);
        assert!(send_all(&mut connection, now).contains("\r\nConnection: close\r\n"));
        assert!(connection.is_ended());
    }
}

#[test]
fn an_end_of_input_still_gets_its_answer() {
    let (mut connection, now) = after("HEAD / HTTP/1.1\r\nHost: x\r\n\r\n");
    connection.handle_eof(now);
    connection.poll_request().unwrap();
    connection.respond(&Response::text(200, "hello"), now);
    let answer = send_all(&mut connection, now);
    assert!(answer.ends_with("Content-Length: 6\r\n\r\n"), "{answer}");
    assert!(connection.is_ended());
}

#[test]
fn half_a_request_ends_with_its_connection() {
    let (mut connection, now) = after("GET / HTTP/1.1\r\n");
    connection.handle_eof(now);
    assert!(connection.is_ended());
}

#[test]
fn idle_connections_are_closed_without_a_word() {
    let (mut connection, now) = connection();
    connection.handle_timeout(now + limits().idle - Duration::from_millis(1));
    assert!(!connection.is_ended());
    connection.handle_timeout(now + limits().idle);
    assert!(connection.is_ended());
}

#[test]
fn a_trickled_request_is_late_however_busy_it_looks() {
    let (mut connection, start) = connection();
    let mut now = start;
    for byte in b"GET / HTTP/1.1\r\nHost: xxxxxxxxxxxxxx" {
        now += Duration::from_secs(1);
        connection.handle_timeout(now);
        connection.handle_input(&[*byte], now);
    }
    assert!(output(&connection).starts_with("HTTP/1.1 408 "));
    send_all(&mut connection, now);
    assert!(
        connection.wants_read() && connection.wants_shutdown(),
        "lingers"
    );
    connection.handle_input(b"more", now);
    connection.handle_timeout(now + LINGER);
    assert!(connection.is_ended());
}

#[test]
fn an_answer_that_is_not_taken_ends_the_connection() {
    let (mut connection, now) = after("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    connection.poll_request().unwrap();
    connection.respond(&Response::text(200, "hello"), now);
    connection.handle_sent(1, now);
    connection.handle_timeout(now + limits().request);
    assert!(connection.is_ended());
}

#[test]
fn a_header_value_cannot_end_its_line() {
    let (mut connection, now) = after("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    connection.poll_request().unwrap();
    connection.respond(
        &Response::text(405, "").with_header("Allow", "GET\r\nX: 1"),
        now,
    );
    assert!(output(&connection).contains("\r\nAllow: GETX: 1\r\n"));
}

#[test]
fn the_path_of_every_form_of_target() {
    let path = |target: &str| {
        let input = format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
        after(&input).0.poll_request().unwrap().path().to_owned()
    };
    assert_eq!(path("/a?b://c"), "/a");
    assert_eq!(path("http://x/a?b"), "/a");
    assert_eq!(path("http://x"), "/");
    assert_eq!(path("*"), "*");
}
