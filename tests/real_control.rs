//! A running agent that is asked how it is: by curl, by Prometheus' own parser, by `leek-agent status`,
//! and by clients that mean no good.

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use support::agent::{Agent, PAUSE_MS, SOON, Setup, subscription};
use support::api::{Answer, FakeApi};
use support::control::{Control, curl};
use support::publisher::Publisher;
use support::rabbitmq::{Vhost, free_port, shared};
use support::wait::wait_until;

/// An agent with one subscription that listens on both doors.
struct Site {
    vhost: Vhost<'static>,
    api: FakeApi,
    agent: Agent,
    port: u16,
}

impl Site {
    fn start(name: &str) -> Site {
        let vhost = shared().vhost(name);
        let api = FakeApi::start();
        let port = free_port();
        let listen = format!("127.0.0.1:{port}");
        let agent = Setup::new(&[subscription(&vhost.url(), &api.url())])
            .args(&["--control-socket", "FOLDER/control", "--listen", &listen])
            .start();
        agent.wait_started();
        Site {
            vhost,
            api,
            agent,
            port,
        }
    }

    fn socket(&self) -> PathBuf {
        self.agent.folder().join("control")
    }

    /// What curl gets over the unix socket: status and body.
    fn get(&self, path: &str) -> (u16, String) {
        Control::of(&self.agent).get(path)
    }

    fn status(&self) -> Value {
        Control::of(&self.agent).status()
    }

    fn events(&self, key: &str) -> u64 {
        Control::of(&self.agent).events("shop-qa", key)
    }

    /// `leek-agent status` with these options.
    fn ask(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_leek-agent"))
            .env_clear()
            .arg("status")
            .arg("--control-socket")
            .arg(self.socket())
            .args(args)
            .output()
            .expect("started")
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).expect("it listens");
        let deadline = Some(SOON);
        stream.set_read_timeout(deadline).expect("set");
        stream
    }
}

fn text(output: &[u8]) -> String {
    String::from_utf8_lossy(output).into_owned()
}

#[test]
fn its_state_is_what_happens() {
    let mut site = Site::start("seen");
    assert_eq!(site.get("/healthz"), (200, "ok\n".into()));
    wait_until(SOON, "ready", || site.get("/readyz").0 == 200);
    Publisher::open(&site.vhost.url()).send(0, 250);
    wait_until(SOON, "all delivered", || site.events("delivered") == 250);
    let status = site.status();
    assert_eq!(
        (&status["type"], &status["state"]),
        (&"standalone".into(), &"running".into())
    );
    let one = &status["subscriptions"][0];
    assert_eq!(one["name"], "shop-qa");
    assert!(one["uploads"]["stored"].as_u64() >= Some(1), "{one}");
    assert!(one["uploads"]["bytes"].as_u64() > Some(100 * 250), "{one}");
    let rate = one["rate"]["delivered"].as_array().expect("slots");
    let rated: u64 = rate.iter().filter_map(Value::as_u64).sum();
    assert_eq!(rated, 250);
    assert!(status["rss_bytes"].as_u64() > Some(1 << 20), "{status}");
    let address = one["broker"]["address"].as_str().expect("an address");
    assert!(!address.contains(support::rabbitmq::PASSWORD), "{address}");
    let shown = site.ask(&[]);
    let table = text(&shown.stdout);
    assert_eq!(
        shown.status.code(),
        Some(0),
        "{table}{}",
        text(&shown.stderr)
    );
    assert!(
        table.contains("shop-qa       consuming  well  250"),
        "{table}"
    );
    let json: Value = serde_json::from_slice(&site.ask(&["--json"]).stdout).expect("JSON");
    assert_eq!(json["pid"], site.agent.pid());
    // The socket is its owner's, and goes with the agent.
    let mode = fs::metadata(site.socket())
        .expect("there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    site.agent.stop();
    assert!(!site.socket().exists());
    let gone = site.ask(&[]);
    assert_eq!(gone.status.code(), Some(69));
    assert!(
        text(&gone.stderr).contains("does the agent run"),
        "{gone:?}"
    );
}

#[test]
fn what_is_wrong_is_told_with_what_to_do() {
    let site = Site::start("unwell");
    site.api.always(Answer::wrong_key());
    site.api.health(Answer::wrong_key());
    Publisher::open(&site.vhost.url()).send(0, 1);
    wait_until(SOON, "not ready", || site.get("/readyz").0 == 503);
    let (_, reasons) = site.get("/readyz");
    assert!(
        reasons.starts_with("shop-qa: api http://127.0.0.1:"),
        "{reasons}"
    );
    assert!(reasons.contains("check app_key"), "{reasons}");
    assert_eq!(site.get("/healthz").0, 200);
    let shown = site.ask(&[]);
    assert_eq!(shown.status.code(), Some(69));
    assert!(text(&shown.stdout).contains("check app_key"), "{shown:?}");
}

#[test]
fn prometheus_takes_its_metrics() {
    let site = Site::start("metrics");
    Publisher::open(&site.vhost.url()).send(0, 100);
    site.api.wait_ids(SOON, 100);
    wait_until(SOON, "all delivered", || site.events("delivered") == 100);
    let (code, metrics) = curl(&[&format!("http://127.0.0.1:{}/metrics", site.port)]);
    assert_eq!(code, 200);
    assert!(
        metrics.contains("\nleek_agent_events_delivered_total{subscription=\"shop-qa\"} 100\n"),
        "{metrics}"
    );
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is installed");
    let mut stdin = promtool.stdin.take().expect("piped");
    stdin.write_all(metrics.as_bytes()).expect("written");
    drop(stdin);
    let checked = promtool.wait_with_output().expect("it ends");
    let complaints = text(&checked.stdout) + &text(&checked.stderr);
    assert_eq!((checked.status.code(), complaints.as_str()), (Some(0), ""));
}

/// A web page elsewhere that has a browser here ask, and whoever wants to change something.
#[test]
fn over_tcp_only_known_hosts_may_ask_and_nobody_may_change_anything() {
    let site = Site::start("hosts");
    let url = format!("http://127.0.0.1:{}/v1/status", site.port);
    assert_eq!(curl(&[&url]).0, 200);
    assert_eq!(curl(&[&url, "--header", "Host: evil.example"]).0, 403);
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        assert_eq!(curl(&[&url, "--request", method]).0, 405, "{method}");
    }
    let (_, headers) = curl(&[&url, "--head"]);
    let headers = headers.to_ascii_lowercase();
    assert!(headers.contains("cache-control: no-store"), "{headers}");
    assert!(!headers.contains("access-control"), "{headers}");
}

#[test]
fn malformed_requests_harm_nobody() {
    let site = Site::start("malformed");
    let long = "x".repeat(20_000);
    let requests = [
        "\r\n\r\n\r\n".to_owned(),
        "GET\r\n\r\n".to_owned(),
        "GET /metrics HTTP/9.9\r\n\r\n".to_owned(),
        "GET /metrics HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_owned(),
        "GET /metrics HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n".to_owned(),
        "GET /metrics HTTP/1.1\r\nContent-Length: -1\r\n\r\n".to_owned(),
        "POST /metrics HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n".to_owned(),
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n".to_owned(),
        format!("GET /{long} HTTP/1.1\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nA: {long}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(1_000)),
        "\u{0}\u{1}\u{2}\u{16}\u{3}\u{1}\u{2}".repeat(100),
    ];
    for (number, request) in requests.iter().enumerate() {
        let mut stream = site.connect();
        // It may hang up before it has read everything.
        let _ = stream.write_all(request.as_bytes());
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = text(&answer);
        assert!(
            answer.is_empty()
                || answer.starts_with("HTTP/1.1 4")
                || answer.starts_with("HTTP/1.1 5"),
            "{number}: {answer}"
        );
    }
    assert_eq!(site.get("/healthz").0, 200);
}

/// They hold all of TCP's places; the socket has its own, events flow on, and a place is free again
/// once their time is over.
#[test]
fn slow_clients_hold_up_nobody() {
    let mut site = Site::start("slow");
    let mut slow: Vec<TcpStream> = (0..20).map(|_| site.connect()).collect();
    for stream in &mut slow {
        stream.write_all(b"GET /metrics HT").expect("sent");
    }
    Publisher::open(&site.vhost.url()).send(0, 500);
    site.api.wait_ids(SOON, 500);
    assert_eq!(site.get("/healthz").0, 200);
    let limit = Duration::from_secs(40);
    let url = format!("http://127.0.0.1:{}/healthz", site.port);
    wait_until(limit, "a free place", || curl(&[&url]).0 == 200);
    drop(slow);
    site.agent.stop().assert_all_delivered(500);
    let pause = site.agent.longest_pause_ms();
    assert!(pause < PAUSE_MS, "{pause} ms");
}

#[test]
fn a_place_that_is_taken_is_told_at_the_start() {
    let site = Site::start("taken");
    let second = |args: &[&str]| {
        let subscription = subscription(&site.vhost.url(), &site.api.url());
        Setup::new(&[subscription]).args(args).run()
    };
    let socket = site.socket().display().to_string();
    let listen = format!("127.0.0.1:{}", site.port);
    for args in [["--control-socket", &socket], ["--listen", &listen]] {
        let (code, agent) = second(&args);
        assert_eq!(code, 78, "{}", agent.text());
        assert!(agent.text().contains(args[1]), "{}", agent.text());
    }
    assert!(UnixStream::connect(site.socket()).is_ok());
}
