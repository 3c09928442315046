//! The binaries that gateways get, on their processors: static, small, and as good as on this machine.
//!
//! Builds what is not built yet: minutes for each target, once. `LEEK_AGENT_TEST_TARGETS="armv6 x86_64"`
//! adds targets.

mod support;

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use leek_agent::clock;
use leek_agent::json::scan::{self, Dialect};
use serde_json::{Value, json};
use support::agent::{SOON, Setup, subscription, with};
use support::api::FakeApi;
use support::certs::{Authority, Order};
use support::faketime::{clock_of, jump, with_clock};
use support::gateway::{Target, targets};
use support::golden::{KNOWN_DIFFERENCES, NOW_MS, Pair, pairs};
use support::publisher::{Publisher, QUEUE};
use support::rabbitmq::{Rabbit, shared};
use support::redis::Redis;
use support::wait::wait_until;

/// An emulated processor takes ten times as long, on cores that builds may use, too.
const LONG: Duration = Duration::from_secs(120);

/// What the program may take of a small flash. 32-bit ARM is where flash is smallest.
const SMALL_BYTES: u64 = 3_500_000;

// ── The file ───────────────────────────────────────────────────────────────────────────────────

fn readelf(target: &Target, option: &str) -> String {
    let mut readelf = Command::new("readelf");
    let output = readelf.args(["--wide", option]).arg(target.binary());
    let output = output.output().expect("readelf comes with the C compiler");
    String::from_utf8(output.stdout).expect("ASCII")
}

#[test]
fn binaries_are_static_and_start_on_the_least_processor() {
    for target in targets() {
        let headers = readelf(target, "--file-header");
        assert!(headers.contains(target.machine), "{target:?}: {headers}");
        let segments = readelf(target, "--program-headers");
        assert!(segments.contains("LOAD"), "{target:?}: {segments}");
        assert!(!segments.contains("INTERP"), "{target:?}: {segments}");
        let dynamic = readelf(target, "--dynamic");
        assert!(!dynamic.contains("NEEDED"), "{target:?}: {dynamic}");
        let version = target.command().arg("--version").output();
        let version = version.expect("qemu: scripts/setup installs it");
        let version = String::from_utf8_lossy(&version.stdout).into_owned();
        let expected = format!("leek-agent {}\n", env!("CARGO_PKG_VERSION"));
        assert_eq!(version, expected, "{target:?}");
    }
}

#[test]
fn binaries_are_small() {
    for target in targets() {
        let bytes = fs::metadata(target.binary()).expect("it is built").len();
        println!("{}: {bytes} bytes", target.name);
        if target.is_small() {
            assert!(bytes <= SMALL_BYTES, "{}: {bytes} bytes", target.name);
        }
    }
}

/// Whoever builds the same commit elsewhere must get the same bytes: no path of this machine is in it.
#[test]
fn binaries_say_nothing_of_the_machine_that_built_them() {
    let home = std::env::var("HOME").expect("a home");
    let cargo_home = std::env::var("CARGO_HOME").unwrap_or(format!("{home}/.cargo"));
    for target in targets() {
        let bytes = fs::read(target.binary()).expect("it is built");
        for path in [env!("CARGO_MANIFEST_DIR"), &cargo_home] {
            let found = bytes
                .windows(path.len())
                .position(|at| at == path.as_bytes());
            let around =
                found.map(|at| String::from_utf8_lossy(&bytes[at..(at + 100).min(bytes.len())]));
            assert_eq!(around, None, "{}", target.name);
        }
    }
}

// ── What it does ───────────────────────────────────────────────────────────────────────────────

/// A pair as a line for `transform`; `None` where a body is no JSON, which a line cannot hold.
fn line(pair: &Pair) -> Option<String> {
    let bodies: Option<Vec<&str>> = pair
        .bodies
        .iter()
        .map(|body| {
            let sound = scan::check(body, Dialect::Python).is_ok() && !body.contains(&b'\n');
            std::str::from_utf8(body).ok().filter(|_| sound)
        })
        .collect();
    bodies.map(|bodies| format!("[{}]\n", bodies.join(", ")))
}

#[test]
fn transform_gives_leeks_documents() {
    let known = |pair: &Pair| KNOWN_DIFFERENCES.iter().any(|(name, _)| *name == pair.name);
    let (mut lines, mut expected) = (String::new(), Vec::new());
    for pair in pairs()
        .into_iter()
        .filter(|pair| !pair.raises && !known(pair))
    {
        if let Some(line) = line(&pair) {
            lines.push_str(&line);
            expected.push((pair.name, pair.docs.expect("the documents")));
        }
    }
    assert!(expected.len() > 1_200, "{} pairs", expected.len());
    for target in targets() {
        let now = NOW_MS.to_string();
        let mut transform = target.command();
        transform.args(["transform", "--strict", "--app-env", "qa", "--now-ms", &now]);
        transform
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = transform.spawn().expect("qemu: scripts/setup installs it");
        let mut stdin = child.stdin.take().expect("it is piped");
        let output = std::thread::scope(|scope| {
            scope.spawn(|| {
                stdin
                    .write_all(lines.as_bytes())
                    .expect("it reads to the end");
                drop(stdin);
            });
            child.wait_with_output().expect("it ends")
        });
        let documents = String::from_utf8(output.stdout).expect("UTF-8");
        assert_eq!(documents.lines().count(), expected.len(), "{}", target.name);
        for (documents, (name, expected)) in documents.lines().zip(&expected) {
            assert_eq!(documents, expected, "{}: {name}", target.name);
        }
    }
}

/// What `check` says: its exit code and its text.
fn check(target: &Target, subscriptions: &[Value]) -> (i32, String) {
    let setup = Setup::new(subscriptions).program(&target.program());
    let mut agent = setup.args(&["check"]).start();
    let code = agent.wait_exit(LONG);
    (code, agent.text())
}

#[test]
fn check_finds_brokers_and_apis_and_says_what_is_wrong() {
    let (vhost, redis, api) = (shared().vhost("gateway"), Redis::start(), FakeApi::start());
    let kept = subscription(&vhost.url(), &api.url());
    let owed = subscription(&format!("{}/0", redis.url()), &api.url());
    let owed = with(owed, &json!({"app_name": "owed"}));
    let denied = shared().url_as("leek", "wrong", &vhost.name);
    let denied = with(
        subscription(&denied, &api.url()),
        &json!({"app_name": "denied"}),
    );
    for target in targets() {
        let (code, text) = check(target, &[kept.clone(), owed.clone()]);
        assert_eq!(code, 0, "{}: {text}", target.name);
        let (code, text) = check(target, &[kept.clone(), denied.clone()]);
        assert_eq!(code, 69, "{}: {text}", target.name);
        assert!(
            text.contains("denied-qa: broker "),
            "{}: {text}",
            target.name
        );
    }
}

#[test]
fn events_arrive_over_tls_from_rabbitmq() {
    const EVENTS: usize = 2_000;
    let authority = Authority::new("gateway");
    let rabbit = Rabbit::start_tls(&authority, &authority.server("broker"));
    let tls = json!({"ca_file": authority.ca()});
    for target in targets() {
        let vhost = rabbit.vhost(target.name);
        let api = FakeApi::start_tls(&authority.server("api"), None);
        let plain = subscription(&vhost.tls_url(), &api.url());
        let subscription = with(plain, &json!({"tls": tls, "api_tls": tls}));
        let mut agent = Setup::new(&[subscription])
            .program(&target.program())
            .start();
        Publisher::open(&vhost.url()).send(0, EVENTS);
        api.wait_ids(LONG, EVENTS);
        vhost.wait_depth(QUEUE, 0, 0);
        agent.stop().assert_all_delivered(EVENTS);
        api.assert_exactly_once(0..EVENTS);
    }
}

/// A buffer that is empty costs nothing: its pages are not touched before they are used.
#[test]
fn an_empty_buffer_takes_no_memory() {
    for target in targets() {
        let rss_kib = |megabytes: u64| {
            let (vhost, api) = (shared().vhost("empty-buffer"), FakeApi::start());
            let changes = json!({"buffer_max_size_in_mb": megabytes});
            let subscription = with(subscription(&vhost.url(), &api.url()), &changes);
            let agent = Setup::new(&[subscription])
                .program(&target.program())
                .start();
            agent.wait_for_log(LONG, "it started", |entry| {
                entry["message"] == "leek-agent started"
            });
            agent.rss_kib()
        };
        // What the emulator itself takes is in both.
        let (small, large) = (rss_kib(1), rss_kib(64));
        assert!(
            large < small + 16 * 1024,
            "{target:?}: {small}, {large} KiB"
        );
    }
}

/// What a thread asks for and another frees goes back: no event leaves anything behind in memory.
#[test]
fn memory_stays_where_it_is_while_events_flow() {
    const EVENTS: usize = 20_000;
    for target in targets() {
        let vhost = shared().vhost(&format!("steady-{}", target.name));
        let api = FakeApi::start();
        let mut agent = Setup::new(&[subscription(&vhost.url(), &api.url())])
            .program(&target.program())
            .start();
        agent.wait_started();
        let mut publisher = Publisher::open(&vhost.url());
        let held_kib = [0, 1, 2].map(|turn| {
            publisher.send(turn * EVENTS, EVENTS);
            api.wait_ids(LONG, (turn + 1) * EVENTS);
            agent.data_kib()
        });
        // musl's own allocator kept 40 bytes of each event, on 32-bit ARM 56.
        assert!(
            held_kib[2] < held_kib[0] + 256,
            "{target:?}: {held_kib:?} KiB"
        );
        agent.stop().assert_all_delivered(3 * EVENTS);
    }
}

#[test]
fn events_arrive_from_redis() {
    let redis = Redis::start();
    for target in targets() {
        let api = FakeApi::start();
        let subscription = subscription(&format!("{}/0", redis.url()), &api.url());
        let mut agent = Setup::new(&[subscription])
            .program(&target.program())
            .start();
        agent.wait_started();
        redis.wait_listener();
        redis.publisher("/0.celeryev").send(0, 500);
        api.wait_ids(SOON, 500);
        agent.stop().assert_all_delivered(500);
        api.assert_exactly_once(0..500);
    }
}

// ── After 2038 ─────────────────────────────────────────────────────────────────────────────────

/// Where 32 bits end for seconds since 1970.
const END_S: i64 = 1 << 31;

#[test]
fn the_second_in_which_32_bits_end_passes_unnoticed() {
    let redis = Redis::start();
    for target in targets().filter(|target| target.is_small()) {
        let vhost = shared().vhost(&format!("clock-{}", target.name));
        let (api, owed_api) = (FakeApi::start(), FakeApi::start());
        let kept = subscription(&vhost.url(), &api.url());
        let owed = subscription(&format!("{}/0", redis.url()), &owed_api.url());
        let owed = with(owed, &json!({"app_name": "owed"}));
        let setup = Setup::new(&[kept, owed]).program(&target.program());
        let mut agent = with_clock(setup, "+0").start();
        agent.wait_started();
        redis.wait_listener();
        let mut kept = Publisher::open(&vhost.url());
        let mut owed = redis.publisher("/0.celeryev");
        let mut sent = 0;
        let mut stamp_of_next = || {
            kept.send(sent, 10);
            owed.send(sent, 10);
            sent += 10;
            // The window of a batch is half a second, whatever the clock says.
            api.wait_ids(SOON, sent);
            owed_api.wait_ids(SOON, sent);
            let last = api.stored().pop().expect("it is stored");
            last["updated_at"].as_i64().expect("a time stamp")
        };
        let ahead = END_S - 15 - clock::wall_ms() / 1000;
        jump(&clock_of(&agent), &format!("+{ahead}"));
        let before = stamp_of_next();
        assert!(before < END_S * 1000, "{before}");
        wait_until(LONG, "32 bits have ended", || {
            stamp_of_next() > END_S * 1000
        });
        agent.sigterm();
        assert_eq!(agent.wait_exit(SOON), 0, "{}", target.name);
        for (name, api) in [("shop-qa", &api), ("owed-qa", &owed_api)] {
            agent.ledger(name).assert_all_delivered(sent);
            api.assert_exactly_once(0..sent);
        }
        let mut log = agent.log();
        let last = log.last().expect("it logs")["time"].to_string();
        assert!(last.starts_with("\"2038-01-19T03:1"), "{last}");
        log.retain(|entry| entry["level"] != "info" && entry["message"] != "event loop held up");
        assert_eq!(log, Vec::<Value>::new(), "{}", target.name);
    }
}

#[test]
fn certificates_are_judged_by_the_clock_of_2039() {
    let authority = Authority::new("2039");
    let pair = |name: &str, years: (i32, i32)| {
        let hosts = &["localhost"];
        authority.sign(&Order { name, hosts, years })
    };
    let good = pair("good", (2035, 2045));
    let rabbit = Rabbit::start_tls(&authority, &good);
    let vhost = rabbit.vhost("2039");
    let good = FakeApi::start_tls(&good, None);
    let ended = FakeApi::start_tls(&pair("ended", (2020, 2038)), None);
    let tls = json!({"ca_file": authority.ca()});
    let subscription = |api: &FakeApi| {
        let plain = subscription(&vhost.tls_url(), &api.url());
        with(plain, &json!({"tls": tls, "api_tls": tls}))
    };
    for target in targets().filter(|target| target.is_small()) {
        let check = |api: &FakeApi, clock: &str| {
            let setup = Setup::new(&[subscription(api)]).program(&target.program());
            let mut agent = with_clock(setup, clock).args(&["check"]).start();
            let code = agent.wait_exit(LONG);
            (code, agent.text())
        };
        let (code, text) = check(&good, "@2039-02-03 04:05:06");
        assert_eq!(code, 0, "{}: {text}", target.name);
        let (code, text) = check(&ended, "@2039-02-03 04:05:06");
        assert_eq!(code, 69, "{}: {text}", target.name);
        assert!(text.contains("expired on 2038-12-31"), "{text}");
        assert!(
            text.contains("the gateway's clock says 2039-02-03"),
            "{text}"
        );
        // The same certificates are nothing before their time.
        let (code, text) = check(&good, "@2034-02-03 04:05:06");
        assert_eq!(code, 69, "{}: {text}", target.name);
        assert!(text.contains("not valid before 2035-01-01"), "{text}");
    }
}
