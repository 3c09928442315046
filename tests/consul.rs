//! `leek-agent consul` and the `consul` section: what is sent, what is refused before, what is shown.
//! Against a strict stand-in, and where there is a `consul` on the PATH, against that.

mod support;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use support::agent::{SOON, subscription};
use support::certs::Authority;
use support::consul::{FakeConsul, Manner};
use support::redis::free_port;
use support::wait::wait_until;

/// What a command came to.
struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

fn run(words: &[&str], env: &[(&str, &str)]) -> Ran {
    agent(&[&["consul"], words].concat(), env)
}

fn agent(words: &[&str], env: &[(&str, &str)]) -> Ran {
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(env!("CARGO_BIN_EXE_leek-agent"))
        .args(words)
        .env_clear()
        .envs(env.iter().copied())
        .stdin(Stdio::null())
        .output()
        .expect("started");
    Ran {
        code: status.code().expect("an exit code"),
        stdout: String::from_utf8(stdout).expect("UTF-8"),
        stderr: String::from_utf8(stderr).expect("UTF-8"),
    }
}

/// Runs it against `address`, expects that it is done, and gives what it printed.
#[track_caller]
fn done(address: &str, line: &[&str]) -> String {
    let words = [line, &["--consul-address", address]].concat();
    let ran = run(&words, &[]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{line:?}");
    ran.stdout
}

fn listed(address: &str, what: &str) -> Value {
    let text = done(address, &[what, "--json"]);
    serde_json::from_str(&text).expect("JSON")
}

// ── Every command ──────────────────────────────────────────────────────────────────────────────

/// Each command but those about other nodes, on any Consul.
fn every_command(address: &str) {
    checks_of_every_kind(address);
    what_a_ttl_check_is_told(address);
    services(address);
    let members = listed(address, "members");
    assert_eq!(members[0]["Status"], 1, "{members}");
    assert!(done(address, &["members"]).contains(" alive "));
    // Nobody knows other datacenters here, but it may be asked.
    done(address, &["members", "--wan"]);
}

fn checks_of_every_kind(address: &str) {
    for (id, kind) in [
        ("by-ttl", &["--ttl", "10s"][..]),
        (
            "by/http",
            &["--http", "http://127.0.0.1:1/h?a=b", "--interval", "10s"],
        ),
        ("by tcp", &["--tcp", "127.0.0.1:1", "--interval", "1m30s"]),
    ] {
        let names = [
            "check",
            "register",
            "A name",
            "--id",
            id,
            "--notes",
            "for people",
        ];
        assert_eq!(done(address, &[&names, kind].concat()), "");
        let checks = listed(address, "checks");
        assert_eq!(checks[id]["Name"], "A name", "{checks}");
        assert_eq!(checks[id]["Notes"], "for people");
        assert_eq!(checks[id]["Status"], "critical", "nobody looked yet");
        assert_eq!(done(address, &["check", "deregister", id]), "");
        assert!(listed(address, "checks").get(id).is_none());
    }
}

fn what_a_ttl_check_is_told(address: &str) {
    done(address, &["check", "register", "told", "--ttl", "60"]);
    for (verb, status) in [
        ("pass", "passing"),
        ("warn", "warning"),
        ("fail", "critical"),
    ] {
        done(address, &["check", verb, "told", "--note", "50 % & more"]);
        let told = &listed(address, "checks")["told"];
        assert_eq!(told["Status"], status);
        assert_eq!(told["Output"], "50 % & more");
    }
    let table = done(address, &["checks"]);
    assert!(table.starts_with("CHECK "), "{table}");
    let line = table
        .lines()
        .find(|line| line.starts_with("told "))
        .expect("it is listed");
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words, ["told", "critical", "50", "%", "&", "more"]);
    done(address, &["check", "deregister", "told"]);
}

fn services(address: &str) {
    let line = [
        "service",
        "register",
        "web",
        "--id",
        "web-1",
        "--address",
        "10.1.2.3",
        "--port",
        "8080",
        "--tags",
        "a, b",
        "--meta",
        "owner=ops,tier=2",
        "--ttl",
        "30s",
        "--deregister-critical-after",
        "2m",
    ];
    done(address, &line);
    let service = &listed(address, "services")["web-1"];
    assert_eq!(service["Service"], "web");
    assert_eq!(service["Address"], "10.1.2.3");
    assert_eq!(service["Port"], 8080);
    assert_eq!(service["Tags"], json!(["a", "b"]));
    assert_eq!(service["Meta"], json!({"owner": "ops", "tier": "2"}));
    let table = done(address, &["services"]);
    assert!(
        table.contains("web-1    web   10.1.2.3  8080  a,b"),
        "{table}"
    );
    done(address, &["check", "pass", "service:web-1"]);
    assert_eq!(
        listed(address, "checks")["service:web-1"]["ServiceID"],
        "web-1"
    );
    let more = [
        "check",
        "register",
        "more",
        "--service-id",
        "web-1",
        "--ttl",
        "5s",
    ];
    done(address, &more);
    done(address, &["service", "deregister", "web-1"]);
    assert_eq!(listed(address, "services").get("web-1"), None);
    let checks = listed(address, "checks");
    assert!(checks.get("more").is_none() && checks.get("service:web-1").is_none());
}

#[test]
fn every_command_does_its_work() {
    let consul = FakeConsul::start();
    let address = consul.url();
    every_command(&address);
    done(&address, &["join", "10.0.0.7"]);
    assert!(done(&address, &["members"]).contains("10.0.0.7  "));
    done(&address, &["force-leave", "10.0.0.7"]);
    let left = done(&address, &["members"]);
    assert!(
        left.lines()
            .any(|line| line.starts_with("10.0.0.7") && line.contains(" left ")),
        "{left}"
    );
    done(&address, &["force-leave", "10.0.0.7", "--prune"]);
    assert_eq!(
        listed(&address, "members").as_array().map(Vec::len),
        Some(1)
    );
    done(&address, &["join", "10.0.0.8:8302", "--wan"]);
    let script = [
        "--args",
        "/usr/bin/check 'with blanks' -v",
        "--interval",
        "30s",
    ];
    done(
        &address,
        &[&["check", "register", "s"], &script[..]].concat(),
    );
    let requests = consul.requests();
    let sent = requests.last().expect("some");
    assert_eq!(
        sent.body["Args"],
        json!(["/usr/bin/check", "with blanks", "-v"])
    );
    let joined = requests
        .iter()
        .any(|request| request.target == "/v1/agent/join/10.0.0.8%3A8302?wan=1");
    assert!(joined);
}

/// A Consul agent of its own, ended with the test.
struct RealConsul {
    process: Child,
    address: String,
}

impl RealConsul {
    /// `None` where there is none on this machine.
    fn start() -> Option<RealConsul> {
        Command::new("consul").arg("version").output().ok()?;
        let (port, serf, rpc) = (free_port(), free_port(), free_port());
        let ports = [
            ("http", port.into()),
            ("serf_lan", serf.into()),
            ("server", rpc.into()),
        ];
        let off = ["serf_wan", "dns", "grpc"].map(|name| (name, -1));
        let ports = ports.into_iter().chain(off);
        let ports: String = ports
            .map(|(name, port): (&str, i32)| format!("{name} = {port}\n"))
            .collect();
        let process = Command::new("consul")
            .args([
                "agent",
                "-dev",
                "-bind",
                "127.0.0.1",
                "-client",
                "127.0.0.1",
            ])
            .args(["-hcl", &format!("ports {{\n{ports}}}")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("started");
        let address = format!("http://127.0.0.1:{port}");
        let consul = RealConsul { process, address };
        wait_until(SOON, "a Consul that answers", || {
            run(&["checks", "--consul-address", &consul.address], &[]).code == 0
        });
        Some(consul)
    }
}

impl Drop for RealConsul {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_real_consul_takes_every_command() {
    match RealConsul::start() {
        Some(consul) => every_command(&consul.address),
        None => println!("skipped: there is no consul on the PATH"),
    }
}

// ── Refusals ───────────────────────────────────────────────────────────────────────────────────

#[test]
fn what_consul_would_misunderstand_is_not_sent() {
    let consul = FakeConsul::start();
    for (line, complaint) in [
        ("check register c --http http://h", "--interval: missing"),
        ("check register c --args true", "--interval: missing"),
        (
            "check register c --args true --ttl 10s",
            "--args: ttl is given too",
        ),
        (
            "check register c --http http://h --ttl 10s",
            "--http: ttl is given too",
        ),
        (
            "check register c --args true --http http://h --interval 5s",
            "--args: http is given too",
        ),
        (
            "check register c --ttl 10s --interval 5s",
            "--interval: given",
        ),
        (
            "check register c --ttl soon",
            "--ttl: \"soon\": expected a duration",
        ),
        (
            "check register c --ttl 10s --deregister-critical-after 30s",
            "expected 1m or more",
        ),
        ("check register c", "no kind of check"),
        (
            "service register s --port http",
            "--port: \"http\": expected 1 to 65535",
        ),
        ("service register s --port 0", "expected 1 to 65535"),
        (
            "service register s --meta owner",
            "--meta: \"owner\": expected KEY=VALUE",
        ),
        (
            "service register s --ttl 10s --http http://h --interval 5s",
            "--http: ttl is given too",
        ),
        (
            "service register s --deregister-critical-after 2m",
            "expected it beside --ttl",
        ),
        ("check pass", "NAME"),
        ("join", "HOST"),
    ] {
        let mut words: Vec<&str> = line.split(' ').collect();
        let url = consul.url();
        words.extend(["--consul-address", &url]);
        let ran = run(&words, &[]);
        assert_eq!(
            (ran.code, ran.stdout.as_str()),
            (64, ""),
            "{line}: {}",
            ran.stderr
        );
        assert!(ran.stderr.contains(complaint), "{line}: {}", ran.stderr);
    }
    assert_eq!(consul.requests().len(), 0);
}

#[test]
fn what_consul_refuses_is_told_with_what_to_do() {
    let consul = FakeConsul::start();
    let address = consul.url();
    let refused = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let ran = run(&[&words[..], &["--consul-address", &address]].concat(), &[]);
        assert_eq!(ran.code, 69, "{line}");
        ran.stderr
    };
    let told = refused("check pass nobody");
    assert!(
        told.contains("404: nothing there has that id") && told.contains("Unknown check"),
        "{told}"
    );
    assert!(refused("force-leave nobody").contains("500: Consul refuses: agent: No node found"));
    consul.behave(Manner::Says(401, "ACL support disabled"));
    assert!(refused("checks").contains("401: ACLs are disabled there: leave the token out"));
    consul.behave(Manner::Says(405, "method not allowed"));
    assert!(refused("services").contains("Consul 1.0 or newer"));
    consul.behave(Manner::Says(200, "<html>Welcome</html>"));
    assert!(refused("members").contains("the answer is not Consul's"));
    consul.behave(Manner::Babbles);
    assert!(refused("members").contains("the answer is not http"));
}

// ── Where, and with which token ────────────────────────────────────────────────────────────────

#[test]
fn the_token_goes_in_its_header_and_nowhere_else() {
    let consul = FakeConsul::start();
    consul.want_token("hunter2");
    let address = consul.url();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("token");
    fs::write(&file, "hunter2\n").expect("writable");
    let file = file.to_str().expect("UTF-8");
    let section =
        json!({"consul": {"address": address, "token": "hunter2", "datacenter": "east 1"}});
    let config = folder.path().join("agent.json");
    fs::write(&config, section.to_string()).expect("writable");
    let config = config.to_str().expect("UTF-8");

    let with_address = |words: &[&str], env: &[(&str, &str)]| {
        run(
            &[&["checks", "--consul-address", &address], words].concat(),
            env,
        )
    };
    for ran in [
        with_address(&["--consul-token", "hunter2"], &[]),
        with_address(&["--consul-token-file", file], &[]),
        with_address(&[], &[("LEEK_AGENT_CONSUL_TOKEN", "hunter2")]),
        with_address(&[], &[("LEEK_AGENT_CONSUL_TOKEN_FILE", file)]),
        with_address(&[], &[("CONSUL_HTTP_TOKEN", "hunter2")]),
        run(&["checks", "--config", config], &[]),
        run(
            &["checks", "--consul-token", "hunter2"],
            &[("CONSUL_HTTP_ADDR", &address["http://".len()..])],
        ),
        run(
            &["checks", "--consul-token", "hunter2"],
            &[
                ("LEEK_AGENT_CONSUL_ADDRESS", &address),
                ("CONSUL_HTTP_ADDR", "127.0.0.1:1"),
            ],
        ),
        // What is typed comes first.
        with_address(
            &["--consul-token", "hunter2"],
            &[
                ("CONSUL_HTTP_TOKEN", "wrong"),
                ("CONSUL_HTTP_ADDR", "127.0.0.1:1"),
            ],
        ),
    ] {
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    }
    let requests = consul.requests();
    assert!(
        requests
            .iter()
            .all(|request| request.token.as_deref() == Some("hunter2"))
    );
    assert!(
        requests
            .iter()
            .all(|request| !request.target.contains("hunter2"))
    );
    assert!(
        requests
            .iter()
            .any(|request| request.target.ends_with("?dc=east%201"))
    );

    let wrong = with_address(&["--consul-token", "hunter3"], &[]);
    assert_eq!(wrong.code, 69);
    assert!(
        wrong.stderr.contains("403: forbidden: give a token"),
        "{}",
        wrong.stderr
    );
    assert!(!wrong.stderr.contains("hunter3"));
}

#[test]
fn a_consul_in_tls_is_trusted_by_its_authority() {
    let authority = Authority::new("consul");
    let server = authority.server("localhost");
    let api = support::api::FakeApi::start_tls(&server, None);
    let config = |tls: Value| {
        let folder = tempfile::tempdir().expect("a folder");
        let section = json!({"consul": {"address": api.url(), "tls": tls}});
        fs::write(folder.path().join("agent.json"), section.to_string()).expect("writable");
        let path = folder.path().join("agent.json");
        run(
            &[
                "checks",
                "--json",
                "--config",
                path.to_str().expect("UTF-8"),
            ],
            &[],
        )
    };
    let trusted = config(json!({"ca_file": authority.ca()}));
    assert_eq!(
        (trusted.code, trusted.stdout.as_str()),
        (0, "{}\n"),
        "{}",
        trusted.stderr
    );
    let unknown = config(Value::Null);
    assert_eq!(unknown.code, 69);
    assert!(
        unknown.stderr.contains("consul.tls.ca_file"),
        "{}",
        unknown.stderr
    );
}

// ── The section ────────────────────────────────────────────────────────────────────────────────

/// What is said to a section that is at fault, line by line: by the commands, and before a run.
fn faults(section: &Value) -> Vec<String> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("agent.json");
    fs::write(&path, json!({ "consul": section }).to_string()).expect("writable");
    let path = path.to_str().expect("UTF-8");
    let lines = |words: &[&str]| -> Vec<String> {
        let list = subscription("amqp://h", "http://h");
        let list = ("LEEK_AGENT_SUBSCRIPTIONS", &*json!([list]).to_string());
        let ran = agent(words, &[list]);
        assert_eq!(ran.code, 78, "{}", ran.stderr);
        let lines = ran.stderr.trim_start_matches("leek-agent: ").lines();
        lines.map(|line| line.replace(path, "agent.json")).collect()
    };
    let told = lines(&["consul", "checks", "--config", path]);
    assert_eq!(lines(&["check", "--offline", "--config", path]), told);
    assert_eq!(lines(&["run", "--config", path]), told);
    told
}

#[test]
fn all_faults_of_the_section_are_told_at_once() {
    let section = json!({
        "address": "localhost:8500",
        "adress": "x",
        "token": "a",
        "token_file": "/b",
        "ttl": "1s",
        "critical_after": 5,
        "deregister_critical_after": "30s",
        "tls": {"ca_file": 7},
        "service": {"name": "", "port": 70000, "tags": "a", "meta": {"k": 1}},
        "checks": [
            {"name": "a", "http": "http://h"},
            {"name": "b", "http": "http://h", "interval": "often"},
            {"name": "c", "args": ["true"], "ttl": "10s"},
            {"name": "c", "http": "http://h", "ttl": "10s"},
            {"name": "d", "args": "true", "interval": "5s"},
            {"name": "e", "ttl": "5s"},
            {"tcp": "h:1", "interval": "5s"},
            {"name": "f", "tcp": "h:1", "interval": "5s"},
            {"name": "f", "tcp": "h:1", "interval": "5s"},
            7,
        ],
    });
    let expected = [
        "consul.adress: unknown key: did you mean address?",
        "consul.address: (hidden): expected http://HOST:PORT or https://HOST:PORT, a path may follow",
        "consul.token_file: a token is given too: expected one of them",
        "consul.tls.ca_file: 7: expected a file's name",
        "consul.service.name: \"\": expected a name",
        "consul.service.port: 70000: expected 1 to 65535",
        "consul.service.tags: \"a\": expected a list of tags",
        "consul.service.meta.k: 1: expected a string",
        "consul.critical_after: 5: expected a duration such as 50s, 5m, 1h30m or 500ms",
        "consul.deregister_critical_after: 30s: expected 1m or more: Consul looks no more often",
        "consul.checks[0].interval: missing: expected how often to look, such as 10s",
        "consul.checks[1].interval: \"often\": expected a duration such as 50s, 5m, 1h30m or 500ms",
        "consul.checks[2].args: ttl is given too: expected one of ttl, http, tcp and args",
        "consul.checks[3].http: ttl is given too: expected one of ttl, http, tcp and args",
        "consul.checks[4].args: \"true\": expected a list of strings",
        "consul.checks[5].ttl: given: expected http, tcp or args, and interval: who would renew a ttl?",
        "consul.checks[6].name: missing: expected a name",
        "consul.checks[8].id: \"f\": expected an id of its own, by default its name",
        "consul.checks[9]: a number: expected an object",
        "consul.ttl: 1s: expected 5s or more",
    ];
    let expected: Vec<String> = expected
        .iter()
        .map(|line| format!("agent.json: {line}"))
        .collect();
    assert_eq!(faults(&section), expected);
    assert_eq!(
        faults(&json!(7)),
        ["agent.json: consul: a number: expected an object"]
    );
}

#[test]
fn the_examples_are_true() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let example = fs::read_to_string(root.join("configs/leek-agent.consul.example.json"));
    let readme = fs::read_to_string(root.join("README.md")).expect("readable");
    let (_, readme) = readme.split_once("### Consul\n").expect("a section");
    let readme = readme
        .split("```")
        .nth(1)
        .and_then(|block| block.strip_prefix("json"));
    for text in [
        example.expect("readable").as_str(),
        readme.expect("an example"),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let consul = FakeConsul::start();
        let token = folder.path().join("consul.token");
        fs::write(&token, "hunter2").expect("writable");
        let text = text
            .replace(
                "/etc/leek-agent/consul.token",
                token.to_str().expect("UTF-8"),
            )
            .replace("http://127.0.0.1:8500", &consul.url());
        let config = folder.path().join("agent.json");
        fs::write(&config, text).expect("writable");
        let ran = run(
            &["checks", "--config", config.to_str().expect("UTF-8")],
            &[],
        );
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
        assert_eq!(consul.requests()[0].token.as_deref(), Some("hunter2"));
    }
}

// ── The stand-in itself ────────────────────────────────────────────────────────────────────────

#[test]
fn the_stand_in_is_strict() {
    let consul = FakeConsul::start();
    let asked = |method: &str, target: &str, body: &str| -> String {
        use std::io::{Read, Write};
        let mut stream =
            std::net::TcpStream::connect(&consul.url()["http://".len()..]).expect("it listens");
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(head.as_bytes()).expect("written");
        stream.shutdown(std::net::Shutdown::Write).expect("open");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("UTF-8");
        answer[9..12].to_owned()
    };
    for (method, path, body, status) in [
        ("GET", "check/pass/a", "", "405"),
        ("PUT", "checks", "", "405"),
        ("PUT", "check/pass/a", "", "404"),
        ("PUT", "check/registers", "", "404"),
        ("PUT", "check/register", r#"{"Name": "a"}"#, "400"),
        (
            "PUT",
            "check/register",
            r#"{"Name": "a", "HTTP": "http://h"}"#,
            "400",
        ),
        (
            "PUT",
            "check/register",
            r#"{"Name": "a", "Script": "x", "Interval": "5s"}"#,
            "400",
        ),
        (
            "PUT",
            "check/register",
            r#"{"Name": "a", "TTL": "5"}"#,
            "400",
        ),
        (
            "PUT",
            "check/register",
            r#"{"Name": "a", "TTL": "5s", "ServiceID": "no"}"#,
            "500",
        ),
        (
            "PUT",
            "service/register",
            r#"{"Name": "a", "Port": "80"}"#,
            "400",
        ),
        ("PUT", "service/register?token=x", r#"{"Name": "a"}"#, "400"),
        (
            "PUT",
            "check/register",
            r#"{"Name": "a", "TTL": "5s", "Status": "passing"}"#,
            "200",
        ),
    ] {
        assert_eq!(
            asked(method, &format!("/v1/agent/{path}"), body),
            status,
            "{path} {body}"
        );
    }
    assert_eq!(consul.status("a"), "passing");
    consul.pass(Duration::from_secs(6));
    assert_eq!(consul.status("a"), "critical", "its ttl is over");
    consul.restart();
    assert_eq!(consul.check("a"), None);
}
