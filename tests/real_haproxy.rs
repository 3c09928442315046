//! HAProxy that asks the agent: what is said, by whichever source, is what HAProxy does.

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use leek_agent::clock;
use serde_json::{Value, json};
use support::agent::{Agent, PAUSE_MS, SOON, Setup, subscription, with};
use support::api::{Answer, FakeApi};
use support::certs::Authority;
use support::haproxy::Haproxy;
use support::page::{Page, Says};
use support::rabbitmq::free_port;
use support::redis::Redis;
use support::wait::{holds_for, wait_until};

/// An agent with one subscription and these plugins on one port.
struct Site {
    redis: Redis,
    api: FakeApi,
    agent: Agent,
    port: u16,
}

fn setup(redis: &Redis, api: &FakeApi, checks: &Value) -> Setup {
    let config = json!({ "agent_check": checks }).to_string();
    Setup::new(&[subscription(&redis.url(), &api.url())])
        .file("agent.json", &config)
        .args(&[
            "--config",
            "agent.json",
            "--control-socket",
            "FOLDER/control",
        ])
}

impl Site {
    fn start(plugins: &Value) -> Site {
        let (redis, api, port) = (Redis::start(), FakeApi::start_counting(), free_port());
        let checks = json!([{"bind": "127.0.0.1", "port": port, "plugins": plugins}]);
        let agent = setup(&redis, &api, &checks).start();
        agent.wait_started();
        Site {
            redis,
            api,
            agent,
            port,
        }
    }

    /// What is said to whoever connects.
    fn line(&self) -> String {
        ask(self.port)
    }

    #[track_caller]
    fn wait_line(&self, expected: &str) {
        let found = support::wait::poll(SOON, || (self.line() == expected).then_some(()));
        assert!(found.is_some(), "{:?}, not {expected:?}", self.line());
    }

    /// Has the control interface do something.
    fn control(&self, method: &str, path: &str) {
        let output = Command::new("curl")
            .args([
                "--silent",
                "--fail-with-body",
                "--max-time",
                "20",
                "--request",
                method,
            ])
            .arg("--unix-socket")
            .arg(self.agent.folder().join("control"))
            .arg(format!("http://localhost{path}"))
            .output()
            .expect("curl is installed");
        assert!(output.status.success(), "{output:?}");
    }

    fn write(&self, name: &str, text: &str) {
        write(&self.agent.folder().join(name), text);
    }
}

/// As a careful program does it: nobody reads half a file.
fn write(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).expect("written");
    fs::rename(&new, path).expect("renamed");
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    stream.set_read_timeout(Some(SOON)).expect("set");
    stream
}

fn ask(port: u16) -> String {
    let mut line = String::new();
    connect(port).read_to_string(&mut line).expect("a line");
    line
}

fn file(changes: &Value) -> Value {
    let mut plugin =
        json!({"source": "file", "file_path": "load", "is_json": true, "interval": 0.1});
    let members = plugin.as_object_mut().expect("an object");
    members.extend(changes.as_object().expect("an object").clone());
    plugin
}

#[test]
fn haproxy_does_what_a_source_says() {
    let site = Site::start(&json!([file(&json!({
        "patterns_metric": "r['health']",
        "patterns": [{"up ready": ".*well"}, {"down # too hot": "hot$"}, {"maint": "away"}, {"fail": "sick"}],
        "thresholds_metric": "r['queue']['depth'] * 100 / r['queue']['max']",
        "thresholds": [{"drain": ">=95"}, {"pct": 100, "min_threshold_response": 1}],
    }))]));
    assert_eq!(site.line(), "\n");
    let haproxy = Haproxy::asking(&[site.port]);
    let load = |health: &str, depth: u32| {
        let load = json!({"health": health, "queue": {"depth": depth, "max": 50}});
        site.write("load", &load.to_string());
    };
    load("all well", 10);
    haproxy.wait(0, "UP", 80);
    load("all well", 47);
    haproxy.wait(0, "UP", 6);
    load("all well", 48);
    haproxy.wait_status(0, "DRAIN (agent)");
    load("all well", 0);
    haproxy.wait(0, "UP", 100);
    load("hot", 25);
    haproxy.wait(0, "DOWN (agent)", 50);
    assert_eq!(haproxy.server(0).description, "too hot");
    load("well", 25);
    haproxy.wait(0, "UP", 50);
    load("away", 25);
    haproxy.wait_status(0, "MAINT");
    load("well", 25);
    haproxy.wait(0, "UP", 50);
    load("sick", 25);
    haproxy.wait_status(0, "DOWN");
    load("well", 50);
    haproxy.wait_status(0, "DRAIN (agent)");
}

/// HAProxy keeps what it was told last while nothing better is known, and hears when that is stale.
#[test]
fn a_source_that_fails_counts_on_until_it_is_stale() {
    let page = Page::start(r#"{"load": 3}"#);
    let site = Site::start(&json!([{
        "source": "http", "url": page.url_with_login(), "is_json": true, "interval": 0.1, "timeout": 0.5,
        "staleness_interval": 2, "staleness_response": "down # stale",
        "thresholds_metric": "r['load']", "thresholds": [{"up ready 10%": "<= 5"}, {"drain": "!0"}],
        "default_response": "up ready",
    }]));
    let haproxy = Haproxy::asking(&[site.port]);
    haproxy.wait(0, "UP", 10);
    let login = "authorization: Basic Z3Vlc3Q6c2VjIHJldA==";
    assert!(
        page.heads()[0]
            .to_lowercase()
            .contains(&login.to_lowercase()),
        "{:?}",
        page.heads()
    );
    for (says, reason) in [
        (Says::Well("{\"load\": ".into()), "not JSON"),
        (Says::Well("{\"lode\": 3}".into()), "nothing has the name"),
        (Says::Well("{\"load\": \"3\"}".into()), "found a text"),
        (Says::Status("500 No"), "the source answered 500"),
        (Says::Endless, "more than 262144 bytes"),
        // Warnings with the same message are rate-limited: this one may be held back.
        (Says::Nothing, ""),
    ] {
        page.says(says.clone());
        site.agent.wait_complaint(SOON, &[&reason.to_lowercase()]);
        haproxy.wait(0, "DOWN (agent)", 10);
        assert_eq!(haproxy.server(0).description, "stale", "{says:?}");
        page.says(Says::Well(r#"{"load": 0}"#.into()));
        haproxy.wait(0, "UP", 10);
    }
    page.says(Says::Well(r#"{"load": 6}"#.into()));
    haproxy.wait_status(0, "DRAIN (agent)");
    // What a page says is nobody's business but its reader's.
    assert!(
        !site.agent.text().contains("sec ret"),
        "{}",
        site.agent.text()
    );
}

#[test]
fn a_source_in_tls_is_believed_if_its_certificate_is_trusted() {
    let authority = Authority::new("agent-check");
    let page = FakeApi::start_tls(&authority.server("load"), None);
    page.health(Answer::Status(200, json!(25)));
    let plugin = json!({"source": "http", "url": page.url(), "interval": 0.1,
        "thresholds_metric": "int(r)", "thresholds": [{"pct": 100}]});
    let site = Site::start(&json!([with(
        plugin.clone(),
        &json!({"ca_file": authority.ca()})
    )]));
    site.wait_line("75%\n");
    let site = Site::start(&json!([plugin]));
    site.agent.wait_complaint(SOON, &["certificate"]);
    assert_eq!(site.line(), "\n");
}

/// A file that is a pipe nobody writes to, is a folder, is gone: the agent goes on, and so do its events.
#[test]
fn a_file_that_hangs_holds_up_nobody() {
    let mut site = Site::start(&json!([file(&json!({
        "is_json": false, "staleness_interval": 0.5, "staleness_response": "drain",
        "thresholds_metric": "int(r)", "thresholds": [{"pct": 8}],
    }))]));
    let load = site.agent.folder().join("load");
    site.wait_line("drain\n");
    site.agent.wait_complaint(SOON, &["no such file"]);
    let made = Command::new("mkfifo").arg(&load).status().expect("started");
    assert!(made.success());
    site.agent.wait_complaint(SOON, &["not a regular file"]);
    site.redis.publisher("/0.celeryev").send(0, 500);
    wait_until(SOON, "all delivered", || site.api.counted() >= 500);
    assert_eq!(site.line(), "drain\n");
    site.write("load", " 2\n");
    site.wait_line("75%\n");
    site.agent.stop().assert_all_delivered(500);
    let pause = site.agent.longest_pause_ms();
    assert!(pause < PAUSE_MS, "{pause} ms");
}

/// In Herald such a plugin always says nothing.
#[test]
fn without_an_interval_each_check_asks_the_source() {
    let page = Page::start("10");
    let plugin = |url: String| {
        json!({"source": "http", "url": url, "thresholds_metric": "float(r)", "thresholds": [{"pct": 20}],
            "staleness_interval": 1, "staleness_response": "maint"})
    };
    let site = Site::start(&json!([plugin(page.url())]));
    assert_eq!(page.asked(), 0);
    for (asked, load, line) in [(1, "10", "50%\n"), (2, "5", "75%\n"), (3, "20", "0%\n")] {
        page.says(Says::Well(load.into()));
        assert_eq!(site.line(), line);
        assert_eq!(page.asked(), asked);
    }
    let head = &page.heads()[0];
    assert!(head.starts_with("GET /load?deep=1 HTTP/1.1\r\n"), "{head}");
    // HAProxy waits 2 s; one that takes longer gets what there is.
    page.says(Says::Nothing);
    let before = clock::monotonic();
    assert_eq!(site.line(), "maint\n");
    let took = clock::monotonic() - before;
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[test]
fn what_haproxy_says_is_read() {
    let page = Page::start("well");
    let site = Site::start(&json!([
        {"source": "http", "url": page.url(), "patterns": [{"up 30%": "well"}]},
        {"source": "self", "thresholds_metric": "r['uptime_seconds']", "thresholds": [{"ready 60%": ">=0"}]},
    ]));
    let haproxy = Haproxy::asking_with(&[site.port], &"client/plugin ".repeat(100));
    // Two plugins at once: the lower weight.
    haproxy.wait(0, "UP", 30);
    page.says(Says::Well("well again".into()));
    let still = holds_for(Duration::from_secs(2), || haproxy.server(0).weight == 30);
    assert!(still, "{:?}", haproxy.server(0));
    // One that has nothing more to say still gets its answer.
    let mut stream = connect(site.port);
    stream.write_all(b"hello\n").expect("sent");
    stream.shutdown(Shutdown::Write).expect("shut");
    let mut line = String::new();
    stream.read_to_string(&mut line).expect("read");
    assert_eq!(line, "up ready 30%\n");
}

#[test]
fn the_agent_speaks_for_itself() {
    let mut site = Site::start(&json!([{
        "source": "self", "interval": 0, "thresholds_metric": "r['lag']",
        "thresholds": [{"drain": ">=100"}, {"pct": 200}], "default_response": "up",
        "patterns_metric":
            "'well' if r['subscriptions']['shop-qa']['ready'] else 'failing' if r['error_percent'] > 0 else ''",
        "patterns": [{"up ready": "well"}, {"down # api": "failing"}],
    }]));
    let haproxy = Haproxy::asking(&[site.port]);
    haproxy.wait(0, "UP", 100);
    site.api.always(Answer::unavailable());
    site.redis.publisher("/0.celeryev").send(0, 150);
    haproxy.wait_status(0, "DOWN");
    assert_eq!(haproxy.server(0).description, "api");
    site.api.always(Answer::Stored);
    wait_until(SOON, "all delivered", || site.api.counted() >= 150);
    wait_until(SOON, "no lag", || site.line().contains("ready 100%"));
    site.agent.stop().assert_all_delivered(150);
}

/// As many as three dozen HAProxies with a hundred backends each send, beside events that flow.
#[test]
fn a_thousand_checks_a_second_delay_no_event() {
    const EVENTS: usize = 20_000;
    const CHECKERS: usize = 4;
    let mut site = Site::start(&json!([{
        "source": "self", "interval": 0, "thresholds_metric": "r['lag'] + r['buffer_percent']",
        "thresholds": [{"pct": 1e9}],
    }]));
    let (checks, sent) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let start = clock::monotonic();
    let mut publisher = site.redis.publisher("/0.celeryev");
    let is_over = || {
        let (age, is_sent) = (
            clock::monotonic() - start,
            sent.load(Ordering::SeqCst) == EVENTS,
        );
        let is_delivered = is_sent && site.api.counted() >= EVENTS;
        (is_delivered && age > Duration::from_secs(4)) || age > Duration::from_secs(90)
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for batch in 0..EVENTS / 500 {
                publisher.send(batch * 500, 500);
            }
            sent.store(EVENTS, Ordering::SeqCst);
        });
        for _ in 0..CHECKERS {
            scope.spawn(|| {
                while !is_over() {
                    let line = ask(site.port);
                    assert!(line.ends_with("%\n"), "{line:?}");
                    checks.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
    });
    let seconds = (clock::monotonic() - start).as_secs_f64();
    let checks = checks.load(Ordering::SeqCst) as f64;
    // The agent's own time, events included: what else runs on this machine is no fault of it.
    let own_rate = checks / site.agent.cpu_seconds();
    site.agent.stop().assert_all_delivered(EVENTS);
    let pause = site.agent.longest_pause_ms();
    let rate = checks / seconds;
    println!(
        "{rate:.0} checks/s, {own_rate:.0} for each second of the agent's CPU time, beside {EVENTS} \
         events in {seconds:.1} s, longest own pause {pause} ms"
    );
    assert!(
        own_rate > 1_000.0,
        "{own_rate:.0} checks a second of CPU time"
    );
    assert!(pause < PAUSE_MS, "{pause} ms");
}

/// They hold connections, talk without end, and say nothing: HAProxy is answered all the same.
#[test]
fn rude_clients_hold_up_nobody() {
    let mut site = Site::start(
        &json!([{"source": "self", "thresholds_metric": "1", "thresholds": [{"ready 40%": 1}]}]),
    );
    let mut rude: Vec<TcpStream> = (0..300).map(|_| connect(site.port)).collect();
    for stream in rude.iter_mut().step_by(3) {
        // It may have hung up already.
        let _ = stream.write_all(&[b'x'; 20_000]);
    }
    let haproxy = Haproxy::asking(&[site.port]);
    haproxy.wait(0, "UP", 40);
    site.redis.publisher("/0.celeryev").send(0, 500);
    wait_until(SOON, "all delivered", || site.api.counted() >= 500);
    let before = site.agent.footprint().descriptors;
    drop(rude);
    wait_until(SOON, "all are gone", || {
        site.agent.footprint().descriptors < before.min(40)
    });
    assert_eq!(site.line(), "ready 40%\n");
    site.agent.stop().assert_all_delivered(500);
    let pause = site.agent.longest_pause_ms();
    assert!(pause < PAUSE_MS, "{pause} ms");
}

#[test]
fn faults_and_a_taken_port_are_told_at_the_start() {
    let plugins = json!([{"source": "self", "thresholds": [{"failed": 1}]}]);
    let (redis, api) = (Redis::start(), FakeApi::start());
    let (code, agent) = setup(&redis, &api, &json!([{"plugins": plugins, "port": "x"}])).run();
    assert_eq!(code, 78);
    for line in [
        "agent.json: agent_check[0].port: \"x\": expected a number from 1 to 65535",
        "agent.json: agent_check[0].plugins[0].thresholds[0].failed: \"failed\": expected up, down",
    ] {
        assert!(agent.text().contains(line), "{}", agent.text());
    }
    let site = Site::start(&json!([{"source": "self", "thresholds": [{"pct": 1}]}]));
    let plugins = json!([{"source": "self", "thresholds": [{"pct": 1}]}]);
    let checks = json!([{"bind": "127.0.0.1", "port": site.port, "plugins": plugins}]);
    let (code, agent) = setup(&redis, &api, &checks).run();
    assert_eq!(code, 78, "{}", agent.text());
    assert!(
        agent
            .text()
            .contains(&format!("agent_check 127.0.0.1:{}", site.port))
    );
}

/// `leek-agent pause` takes a server out of the balance, `resume` brings it back.
#[test]
fn a_paused_agent_is_drained() {
    let mut site = Site::start(&json!([{"source": "self", "paused_response": "drain"}]));
    let haproxy = Haproxy::asking(&[site.port]);
    haproxy.wait_status(0, "UP");
    assert_eq!(site.line(), "ready\n");
    site.control("POST", "/v1/pause");
    haproxy.wait_status(0, "DRAIN (agent)");
    site.control("POST", "/v1/resume");
    haproxy.wait_status(0, "UP");
    site.agent.stop();
}

/// What did not change goes on as it was; what did is there at once, and gone what was removed.
#[test]
fn a_reload_applies_what_changed() {
    let mut site = Site::start(&json!([file(&json!({"thresholds": [{"pct": 8}]}))]));
    site.write("load", "2");
    site.wait_line("75%\n");
    let (kept, new) = (site.port, free_port());
    let plugin = |pct: u32| json!([file(&json!({"thresholds": [{"pct": pct}]}))]);
    let reload = |list: &Value| {
        let config = json!({ "agent_check": list }).to_string();
        site.write("agent.json", &config);
        site.control("POST", "/v1/reload");
    };
    let one = json!({"bind": "127.0.0.1", "port": kept, "plugins": plugin(8)});
    let other = json!({"bind": "127.0.0.1", "port": new, "plugins": plugin(4)});
    reload(&json!([other, one]));
    assert_eq!(ask(kept), "75%\n");
    wait_until(SOON, "the new one answers", || ask(new) == "50%\n");
    let changed = json!({"bind": "127.0.0.1", "port": kept, "plugins": plugin(16)});
    reload(&json!([changed]));
    wait_until(SOON, "the changed one answers", || ask(kept) == "87%\n");
    assert!(TcpStream::connect(("127.0.0.1", new)).is_err());
    let threads = site.agent.threads();
    let pollers = || {
        site.agent
            .threads()
            .iter()
            .filter(|name| *name == "leek-poll")
            .count()
    };
    wait_until(SOON, &format!("one thread is left of {threads:?}"), || {
        pollers() == 1
    });
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let busy = json!({"bind": "127.0.0.1", "port": port, "plugins": plugin(4)});
    reload(&json!([busy, changed]));
    site.agent.wait_complaint(SOON, &["haproxy cannot ask"]);
    assert_eq!(ask(kept), "87%\n");
    site.agent.stop();
}
