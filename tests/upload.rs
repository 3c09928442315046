//! The uploader against small scripted servers: whatever they do, one report comes for each job.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use leek_agent::pipeline::verdict::{RefusedDocument, Verdict};
use leek_agent::secret::Secret;
use leek_agent::tls::{ClientTls, TlsSettings};
use leek_agent::upload::{Endpoint, Job, PostBody, Report, Timeouts, Uploader};

/// Longer than any test should take: reaching it is a failure.
const DEADLINE: Duration = Duration::from_secs(20);

/// Short enough to test with, long enough for a busy machine.
const SHORT: Timeouts = Timeouts {
    connect: Duration::from_secs(2),
    request: Duration::from_secs(2),
};

/// A request as the server saw it: the head's lines in lower case, and the body.
#[derive(Debug)]
struct Seen {
    head: Vec<String>,
    body: Vec<u8>,
}

/// One accepted connection of a scripted server.
struct Peer(BufReader<TcpStream>);

impl Peer {
    /// The next request, `None` at the connection's end.
    fn request(&mut self) -> Option<Seen> {
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).unwrap_or(0) == 0 {
                return None;
            }
            match line.trim_end() {
                "" => break,
                line => head.push(line.to_lowercase()),
            }
        }
        let length = head
            .iter()
            .find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        self.0.read_exact(&mut body).ok()?;
        Some(Seen { head, body })
    }

    fn send(&mut self, bytes: &str) {
        // A client that has seen enough may be gone.
        let _ = self.0.get_mut().write_all(bytes.as_bytes());
    }
}

/// Serves each connection in turn with `script`, on a thread that ends with the test's process.
fn server(script: impl Fn(Peer) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            script(Peer(BufReader::new(stream.unwrap())));
        }
    });
    address
}

/// Reads one request, answers with `bytes`, closes.
fn answering(bytes: impl Into<String>) -> SocketAddr {
    let bytes = bytes.into();
    server(move |mut peer| {
        if peer.request().is_some() {
            peer.send(&bytes);
        }
    })
}

fn endpoint(api_url: String) -> Endpoint {
    Endpoint {
        subscription: "leek-prod".into(),
        api_url,
        app_key: Secret::new("hunter2"),
        org_name: "mono".into(),
        app_name: "leek".into(),
        app_env: "prod".into(),
        tls: Some(ClientTls::open(&TlsSettings::default()).expect("certificates to trust")),
        proxy: None,
    }
}

fn uploader(api_url: String, threads: usize) -> (Uploader, Receiver<Report>) {
    let (reports, received) = channel();
    let notify = move |report| drop(reports.send(report));
    let uploader = Uploader::start_with(&endpoint(api_url), threads, SHORT, notify).unwrap();
    (uploader, received)
}

fn post(id: u64) -> Job {
    Job::Post {
        id,
        body: PostBody::Part(br#"[{"id": "a"}]"#.to_vec()),
    }
}

/// The verdict on one batch posted to `address`.
fn posted(address: SocketAddr) -> Verdict {
    let (uploader, reports) = uploader(format!("http://{address}"), 1);
    uploader.submit(post(7));
    match reports.recv_timeout(DEADLINE).unwrap() {
        Report::Posted { id: 7, verdict } => verdict,
        other => panic!("{other:?}"),
    }
}

/// The reason of a batch that got no answer from `address`.
fn no_answer(address: SocketAddr) -> String {
    match posted(address) {
        Verdict::Unwell {
            status: None,
            reason,
            ..
        } => {
            assert!(!reason.contains("hunter2"), "{reason}");
            reason
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn requests_carry_the_headers_of_an_agent() {
    let (requests, seen) = channel();
    let address = server(move |mut peer| {
        while let Some(request) = peer.request() {
            requests.send(request).unwrap();
            peer.send("HTTP/1.1 201 Created\r\nContent-Length: 14\r\n\r\n{\"success\": 1}");
        }
    });
    let (uploader, reports) = uploader(format!("http://{address}/leek"), 1);
    uploader.submit(post(1));
    let verdict = Verdict::Stored;
    assert_eq!(
        reports.recv_timeout(DEADLINE).unwrap(),
        Report::Posted { id: 1, verdict }
    );

    let Seen { mut head, body } = seen.recv_timeout(DEADLINE).unwrap();
    assert_eq!(body, br#"[{"id": "a"}]"#);
    assert_eq!(head.remove(0), "post /leek/v1/events/process http/1.1");
    head.sort();
    let version = env!("CARGO_PKG_VERSION");
    let expected = [
        "accept: */*".to_owned(),
        "content-length: 13".to_owned(),
        "content-type: application/json".to_owned(),
        format!("host: {address}"),
        format!("user-agent: leek-agent/{version}"),
        format!("x-agent-version: {version}"),
        "x-leek-app-env: prod".to_owned(),
        "x-leek-app-key: hunter2".to_owned(),
        "x-leek-app-name: leek".to_owned(),
        "x-leek-org-name: mono".to_owned(),
        "x-requested-with: leek-agent".to_owned(),
    ];
    assert_eq!(head, expected);
}

#[test]
fn a_probe_gets_with_the_same_headers() {
    let (requests, seen) = channel();
    let address = server(move |mut peer| {
        requests.send(peer.request().unwrap()).unwrap();
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n\"ok\"");
    });
    let (uploader, reports) = uploader(format!("http://{address}"), 1);
    uploader.submit(Job::Probe);
    assert_eq!(
        reports.recv_timeout(DEADLINE).unwrap(),
        Report::Probed(Ok(()))
    );
    let Seen { head, body } = seen.recv_timeout(DEADLINE).unwrap();
    assert_eq!(head[0], "get /v1/events/process http/1.1");
    assert!(
        head.contains(&"x-leek-app-key: hunter2".to_owned()),
        "{head:?}"
    );
    assert!(body.is_empty());
}

#[test]
fn a_connection_is_kept_for_the_next_batch() {
    let (connections, seen) = channel();
    let address = server(move |mut peer| {
        connections.send(()).unwrap();
        while peer.request().is_some() {
            peer.send("HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}");
        }
    });
    let (uploader, reports) = uploader(format!("http://{address}"), 1);
    for id in 0..3 {
        uploader.submit(post(id));
        let verdict = Verdict::Stored;
        assert_eq!(
            reports.recv_timeout(DEADLINE).unwrap(),
            Report::Posted { id, verdict }
        );
    }
    assert_eq!(seen.try_iter().count(), 1);
}

#[test]
fn uploads_go_out_side_by_side() {
    // No answer before both requests are there.
    let (first, waiting) = channel::<Peer>();
    let address = server(move |mut peer| {
        peer.request().unwrap();
        first.send(peer).unwrap();
    });
    let (uploader, reports) = uploader(format!("http://{address}"), 2);
    uploader.submit(post(1));
    uploader.submit(post(2));
    let peers = [(); 2].map(|()| waiting.recv_timeout(DEADLINE).unwrap());
    for mut peer in peers {
        peer.send("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n");
    }
    for _ in 0..2 {
        let report = reports.recv_timeout(DEADLINE).unwrap();
        assert!(
            matches!(
                report,
                Report::Posted {
                    verdict: Verdict::Stored,
                    ..
                }
            ),
            "{report:?}"
        );
    }
}

#[test]
fn one_job_too_many_is_reported_at_once() {
    let (peers, held) = channel::<Peer>();
    let address = server(move |peer| peers.send(peer).unwrap());
    let (uploader, reports) = uploader(format!("http://{address}"), 1);
    uploader.submit(post(1));
    let _held = held.recv_timeout(DEADLINE).unwrap();
    uploader.submit(post(2)); // waits in the channel
    uploader.submit(post(3));
    let report = reports.recv_timeout(DEADLINE).unwrap();
    let Report::Posted {
        id: 3,
        verdict: Verdict::Unwell { status: None, .. },
    } = report
    else {
        panic!("{report:?}")
    };
}

#[test]
fn unwell_with_a_time_to_wait() {
    let address = answering("HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n");
    let expected = Verdict::Unwell {
        status: Some(503),
        reason: "503: empty answer".into(),
        retry_after: Some(Duration::from_secs(7)),
    };
    assert_eq!(posted(address), expected);
    // A date counts from the API's clock, not from ours.
    let address = answering(
        "HTTP/1.1 503 Busy\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
         Retry-After: Sun, 06 Nov 1994 08:49:44 GMT\r\nContent-Length: 0\r\n\r\n",
    );
    assert_eq!(posted(address), expected);
}

#[test]
fn refused_documents_are_named() {
    let body = r#"{"success": 0, "failed": 1, "errors": [{"update": {"_id": "a", "status": 400, "error": "bad"}}]}"#;
    let address = answering(format!(
        "HTTP/1.1 400 Bad\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    let refused = vec![RefusedDocument {
        id: "a".into(),
        reason: "400: bad".into(),
    }];
    assert_eq!(posted(address), Verdict::Partial { refused });
}

#[test]
fn captive_portals_are_not_leek() {
    let redirect =
        "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n";
    assert!(matches!(
        posted(answering(redirect)),
        Verdict::NotLeek { status: 302, .. }
    ));
    let redirect = "HTTP/1.1 307 Temporary\r\nLocation: http://127.0.0.1:1/\r\n\r\n";
    assert!(matches!(
        posted(answering(redirect)),
        Verdict::NotLeek { status: 307, .. }
    ));
    let page = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html>Log in</html>";
    let verdict = posted(answering(page));
    let Verdict::NotLeek {
        status: 200,
        reason,
    } = &verdict
    else {
        panic!("{verdict:?}")
    };
    assert!(reason.contains("captive portal"), "{reason}");
}

#[test]
fn nobody_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    assert!(no_answer(address).starts_with("connection refused"));
}

#[test]
fn the_connection_breaks() {
    let closed = "connection closed before";
    assert!(no_answer(answering("")).starts_with(closed));
    assert!(no_answer(answering("HTTP/1.1 2")).starts_with(closed));
    // Half of a 400 must not condemn a batch …
    let half = "HTTP/1.1 400 Bad\r\nContent-Length: 100\r\n\r\n{";
    assert!(no_answer(answering(half)).starts_with(closed));
    // … while a 201 has said all there is to say.
    let half = "HTTP/1.1 201 Created\r\nContent-Length: 100\r\n\r\n{";
    assert_eq!(posted(answering(half)), Verdict::Stored);
}

#[test]
fn garbage_is_no_answer() {
    assert!(no_answer(answering("SSH-2.0-OpenSSH_9.2\r\n\r\n\r\n")).contains("not http"));
    assert!(!no_answer(answering("\0\u{1}\u{2}\r\n\r\n")).is_empty());
}

#[test]
fn silence_times_out() {
    let (peers, _held) = channel::<Peer>();
    let address = server(move |peer| peers.send(peer).unwrap());
    assert!(no_answer(address).starts_with("timed out"));
}

#[test]
fn a_trickle_is_cut_by_the_timeout() {
    let address = server(|mut peer| {
        peer.request();
        peer.send("HTTP/1.1 400 Bad\r\nContent-Length: 1000000\r\n\r\n");
        // Nobody sends on this channel: each wait is the pace of the trickle.
        let (_quiet, pace) = channel::<()>();
        while peer.0.get_mut().write_all(b"x").is_ok() {
            let _ = pace.recv_timeout(Duration::from_millis(100));
        }
    });
    assert!(no_answer(address).starts_with("timed out"));
}

#[test]
fn an_endless_answer_is_not_read() {
    let (counts, written) = channel();
    let address = server(move |mut peer| {
        peer.request();
        peer.send("HTTP/1.1 500 Oops\r\nContent-Length: 10000000000\r\n\r\n");
        let block = [b'x'; 65536];
        let mut blocks = 0_u64;
        while peer.0.get_mut().write_all(&block).is_ok() {
            blocks += 1;
        }
        counts.send(blocks).unwrap();
    });
    let verdict = posted(address);
    assert!(
        matches!(
            verdict,
            Verdict::Unwell {
                status: Some(500),
                ..
            }
        ),
        "{verdict:?}"
    );
    // What fits into the sockets' buffers, far from 10 GB.
    assert!(written.recv_timeout(DEADLINE).unwrap() < 1000);
}

#[test]
fn long_headers_are_no_answer() {
    let long = format!(
        "HTTP/1.1 201 Created\r\nX-Long: {}\r\n\r\n",
        "x".repeat(100_000)
    );
    assert!(!no_answer(answering(long)).is_empty());
}

#[test]
fn an_uploader_is_dropped_with_a_request_under_way() {
    let (peers, held) = channel::<Peer>();
    let address = server(move |peer| peers.send(peer).unwrap());
    let (uploader, reports) = uploader(format!("http://{address}"), 1);
    uploader.submit(post(1));
    let mut peer = held.recv_timeout(DEADLINE).unwrap();
    drop(uploader);
    peer.request().unwrap();
    peer.send("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n");
    let verdict = Verdict::Stored;
    assert_eq!(
        reports.recv_timeout(DEADLINE).unwrap(),
        Report::Posted { id: 1, verdict }
    );
    // The thread is gone, and its way of telling with it.
    assert!(reports.recv_timeout(DEADLINE).is_err());
}

#[test]
fn plain_http_where_tls_was_expected_is_said() {
    let address = server(|mut peer| {
        let _ = peer.0.fill_buf();
        peer.send("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
        // Until the client is gone, so that it reads the answer first.
        let _ = peer.0.read_to_end(&mut Vec::new());
    });
    let (uploader, reports) = uploader(format!("https://{address}"), 1);
    uploader.submit(Job::Probe);
    let report = reports.recv_timeout(DEADLINE).unwrap();
    let Report::Probed(Err(Verdict::Unwell { reason, .. })) = &report else {
        panic!("{report:?}")
    };
    assert!(
        reason.starts_with("tls: ") && reason.contains("does not speak TLS"),
        "{reason}"
    );
}
