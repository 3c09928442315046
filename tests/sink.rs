//! The sink as an agent and a technician see it: a real socket, ureq as the client.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use leek_agent::command::sink::{Options, Sink, SinkError};
use leek_agent::pipeline::verdict::Verdict;
use leek_agent::secret::Secret;
use leek_agent::upload::{Endpoint, Job, PostBody, Report, Uploader};
use tempfile::TempDir;
use ureq::Agent;

/// Longer than any test should take: reaching it is a failure.
const DEADLINE: Duration = Duration::from_secs(20);

/// A sink on a thread of its own, which ends with the test's process.
struct Running {
    address: SocketAddr,
    out: PathBuf,
    _folder: TempDir,
}

impl Running {
    fn start(app_key: Option<&str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("documents.jsonl");
        let sink = Sink::bind(Options {
            listen: "127.0.0.1:0".parse().unwrap(),
            out: Some(out.clone()),
            app_key: app_key.map(Secret::new),
        });
        let sink = sink.unwrap();
        let address = sink.address();
        thread::spawn(move || sink.serve().unwrap());
        Running {
            address,
            out,
            _folder: folder,
        }
    }

    fn lines(&self) -> String {
        fs::read_to_string(&self.out).unwrap()
    }

    /// Posts `body` with an agent's headers, less `without`, and returns status and body.
    fn post_without(&self, without: &str, body: &str) -> (u16, String) {
        let headers = [
            ("content-type", "application/json"),
            ("x-requested-with", "leek-agent"),
            ("x-agent-version", "1"),
            ("x-leek-org-name", "mono"),
            ("x-leek-app-name", "leek"),
            ("x-leek-app-key", "right"),
            ("x-leek-app-env", "prod"),
        ];
        let url = format!("http://{}/leek/v1/events/process", self.address);
        let mut request = agent().post(url);
        for (name, value) in headers.into_iter().filter(|(name, _)| *name != without) {
            request = request.header(name, value);
        }
        let mut response = request.send(body).unwrap();
        (
            response.status().as_u16(),
            response.body_mut().read_to_string().unwrap(),
        )
    }

    fn post(&self, body: &str) -> (u16, String) {
        self.post_without("", body)
    }

    /// Sends `bytes` as they are and returns all that comes back until the sink closes.
    fn raw(&self, bytes: &str) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(bytes.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

fn agent() -> Agent {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .proxy(None);
    config.timeout_global(Some(DEADLINE)).build().into()
}

#[test]
fn documents_are_appended_unchanged_a_line_each() {
    let sink = Running::start(Some("right"));
    let body = "[{\"id\": \"b\",\n \"z\": 1.50, \"a\": \"\\u00e9\\ud800\\n\"}, {\"id\": \"a\", \"id2\": 1e999}]\n";
    assert_eq!(sink.post(body), (201, r#"{"success":2}"#.to_owned()));
    assert_eq!(sink.post("[]"), (201, r#"{"success":0}"#.to_owned()));
    assert_eq!(sink.post(r#"[{"id":"c"}]"#).0, 201);
    let expected = "{\"id\": \"b\", \"z\": 1.50, \"a\": \"\\u00e9\\ud800\\n\"}\n{\"id\": \"a\", \"id2\": 1e999}\n{\"id\":\"c\"}\n";
    assert_eq!(sink.lines(), expected);
    let mode = fs::metadata(&sink.out).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn every_missing_header_is_named() {
    let sink = Running::start(None);
    for name in [
        "x-requested-with",
        "x-agent-version",
        "x-leek-org-name",
        "x-leek-app-name",
        "x-leek-app-key",
        "x-leek-app-env",
    ] {
        let (status, body) = sink.post_without(name, "[]");
        assert_eq!(status, 400, "{name}");
        assert!(body.contains("400001") && body.contains(name), "{body}");
    }
    assert_eq!(sink.lines(), "");
}

#[test]
fn what_is_no_list_of_documents_is_refused_whole() {
    let sink = Running::start(None);
    for body in [
        "",
        "{}",
        "[1]",
        "[null]",
        "[[]]",
        "[{\"id\": 1}]",
        "[{\"id\": \"a\"}, {\"uuid\": \"b\"}]",
        "[{\"id\": \"a\"}",
        "[{\"id\": \"a\", \"x\": NaN}]",
        "[] []",
    ] {
        let (status, answer) = sink.post(body);
        assert_eq!(status, 400, "{body}");
        assert!(
            answer.starts_with(r#"{"error":{"code":"400002""#),
            "{answer}"
        );
    }
    let (status, answer) = sink.post_without("content-type", "[]");
    assert!(
        status == 400 && answer.contains("application/json"),
        "{answer}"
    );
    assert_eq!(sink.lines(), "");
}

#[test]
fn the_key_is_checked_if_there_is_one() {
    let (status, body) = Running::start(Some("other")).post("[]");
    assert_eq!(status, 401);
    assert!(body.contains("401001") && !body.contains("other"), "{body}");
    assert_eq!(Running::start(None).post("[]").0, 201);
}

#[test]
fn paths_and_methods() {
    let sink = Running::start(None);
    let url = |path: &str| format!("http://{}{path}", sink.address);
    let get = |path: &str| agent().get(url(path)).call().unwrap().status();
    assert_eq!(get("/v1/events/process"), 200);
    assert_eq!(get("/leek/v1/events/process?x=y"), 200);
    assert_eq!(get("/"), 404);
    assert_eq!(get("/v1/events"), 404);
    let response = agent().delete(url("/v1/events/process")).call().unwrap();
    assert_eq!(response.status(), 405);
    assert_eq!(response.headers()["allow"], "GET, POST");
}

#[test]
fn broken_requests_get_their_answer() {
    let sink = Running::start(None);
    assert!(sink.raw("nonsense\r\n\r\n").starts_with("HTTP/1.1 400 "));
    assert!(
        sink.raw("PRI * HTTP/2.0\r\n\r\n")
            .starts_with("HTTP/1.1 505 ")
    );
    let long = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 33554433\r\n\r\n";
    assert!(sink.raw(long).starts_with("HTTP/1.1 413 "));
    // The answer survives what its client goes on to send.
    assert_eq!(sink.post(&"x".repeat(33_554_433)).0, 413);
}

#[test]
fn pipelined_requests_are_answered_in_turn() {
    let sink = Running::start(None);
    let get = "GET /v1/events/process HTTP/1.1\r\nHost: x\r\n";
    let requests = format!("{get}\r\n{get}\r\n{get}Connection: close\r\n\r\n");
    assert_eq!(sink.raw(&requests).matches("HTTP/1.1 200 ").count(), 3);
}

#[test]
fn more_connections_than_places_wait_their_turn() {
    let sink = Running::start(None);
    let mut held: Vec<TcpStream> = (0..70)
        .map(|_| TcpStream::connect(sink.address).unwrap())
        .collect();
    let mut last = held.pop().unwrap();
    last.write_all(b"GET /v1/events/process HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    drop(held);
    last.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut answer = [0; 12];
    last.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
}

#[test]
fn an_uploader_is_content_with_it() {
    let sink = Running::start(Some("right"));
    let endpoint = Endpoint {
        subscription: "leek-prod".into(),
        api_url: format!("http://{}/leek", sink.address),
        app_key: Secret::new("right"),
        org_name: "mono".into(),
        app_name: "leek".into(),
        app_env: "prod".into(),
        tls: None,
        proxy: None,
    };
    let (reports, received) = channel();
    let uploader = Uploader::start(&endpoint, 2, move |report| drop(reports.send(report))).unwrap();
    uploader.submit(Job::Probe);
    assert_eq!(
        received.recv_timeout(DEADLINE).unwrap(),
        Report::Probed(Ok(()))
    );
    // Larger than what the sink reads at once, and than what sockets hold.
    let text = "x".repeat(10_000_000);
    let document = format!(r#"{{"id": "a", "result": "{text}"}}"#);
    let body = PostBody::Part(format!("[{document}]").into_bytes());
    uploader.submit(Job::Post { id: 1, body });
    let stored = Report::Posted {
        id: 1,
        verdict: Verdict::Stored,
    };
    assert_eq!(received.recv_timeout(DEADLINE).unwrap(), stored);
    assert!(sink.lines() == document + "\n");
}

#[test]
fn a_full_disk_is_the_api_not_well() {
    let sink = Sink::bind(Options {
        listen: "127.0.0.1:0".parse().unwrap(),
        out: Some("/dev/full".into()),
        app_key: None,
    });
    let sink = sink.unwrap();
    let address = sink.address();
    thread::spawn(move || sink.serve());
    let _folder = tempfile::tempdir().unwrap();
    let running = Running {
        address,
        out: PathBuf::new(),
        _folder,
    };
    let (status, body) = running.post(r#"[{"id": "a"}]"#);
    assert!(status == 503 && body.contains("503001"), "{status} {body}");
}

#[test]
fn an_address_in_use_and_a_missing_folder_are_named() {
    let bind = |listen: SocketAddr, out: Option<&str>| {
        let out = out.map(PathBuf::from);
        Sink::bind(Options {
            listen,
            out,
            app_key: None,
        })
        .err()
        .unwrap()
    };
    let taken = Running::start(None).address;
    let error = bind(taken, None);
    assert!(matches!(error, SinkError::Listen(address, _) if address == taken));
    assert!(
        error
            .to_string()
            .starts_with(&format!("--listen {taken}: ")),
        "{error}"
    );
    let error = bind("127.0.0.1:0".parse().unwrap(), Some("/nowhere/file"));
    assert!(
        error.to_string().starts_with("--out /nowhere/file: "),
        "{error}"
    );
}
