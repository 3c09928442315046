//! What the agent costs beside events, which `scripts/bench` has: while idle, at the start, for a spool, and
//! when it is asked. Measured on real parts. Not run by default: it takes minutes, and a figure is worth
//! something on a quiet machine and for a release build only:
//!
//! ```text
//! cargo build --release
//! LEEK_AGENT_TEST_BINARY=$PWD/target/release/leek-agent \
//!     cargo test --test real_figures -- --ignored --nocapture --test-threads 1
//! ```

mod support;

use std::borrow::Cow;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use leek_agent::clock;
use serde_json::json;
use support::agent::{Agent, Setup, start, subscription, with};
use support::api::{Answer, FakeApi};
use support::keeper::Group;
use support::publisher::Publisher;
use support::rabbitmq::{free_port, shared};
use support::redis::Redis;
use support::wait::{holds_for, wait_until};

const EVENTS: usize = 200_000;

#[test]
#[ignore = "a measurement"]
fn wake_ups_in_an_idle_minute() {
    let vhost = shared().vhost("figures-idle");
    let api = FakeApi::start();
    let mut agent = start(&subscription(&vhost.url(), &api.url()));
    let counts = agent.folder().join("strace");
    let mut strace = Group::spawn(
        Command::new("strace")
            .args(["-f", "-c", "-o"])
            .arg(&counts)
            .args(["-p", &agent.pid().to_string()]),
    );
    let before = agent.cpu_seconds();
    assert!(holds_for(Duration::from_secs(60), || true));
    let cpu = agent.cpu_seconds() - before;
    strace.signal(libc::SIGINT);
    strace.wait(Duration::from_secs(5)).expect("strace ends");
    let table = fs::read_to_string(counts).expect("strace wrote its table");
    let rss = agent.rss_kib();
    println!("an idle minute: {cpu:.2} s CPU (under strace), {rss} KiB RSS\n{table}");
    agent.stop().assert_all_delivered(0);
}

/// From the start of the process to the first event at the API, with a window that waits for nothing.
#[test]
#[ignore = "a measurement"]
fn start_up_to_the_first_event() {
    let vhost = shared().vhost("figures-start");
    let api = FakeApi::start();
    let mut publisher = Publisher::open(&vhost.url());
    let subscription = subscription(&vhost.url(), &api.url());
    let subscription = with(subscription, &json!({"batch_max_window_in_seconds": 0.01}));
    let times: Vec<u128> = (0..10)
        .map(|number| {
            publisher.send(number, 1);
            let begun = clock::monotonic();
            let mut agent = Setup::new(std::slice::from_ref(&subscription)).start();
            api.wait_ids(Duration::from_secs(30), number + 1);
            agent.stop().assert_all_delivered(1);
            (api.posts()[number].at - begun).as_millis()
        })
        .collect();
    println!("first event after {times:?} ms");
}

/// What an outage costs the flash, and how long the next run takes to read it back.
#[test]
#[ignore = "a measurement"]
fn cost_of_spooling_100_000_events() {
    const SPOOLED: usize = 100_000;
    let limit = Duration::from_secs(300);
    let redis = Redis::start_with("client-output-buffer-limit pubsub 0 0 0\n");
    let api = FakeApi::start_counting();
    api.always(Answer::unavailable());
    let folder = tempfile::tempdir().expect("a temporary folder");
    let spool = json!({
        "spool": {"dir": folder.path(), "max_mb": 256},
        "buffer_max_size_in_mb": 64,
    });
    let subscription = with(subscription(&redis.url(), &api.url()), &spool);
    let setup = || Setup::new(std::slice::from_ref(&subscription)).args(&["--log-level", "debug"]);
    let begin = || {
        let agent = setup().start();
        agent.wait_started();
        agent
    };
    let mut agent = begin();
    let spooled = |agent: &Agent| -> u64 {
        let log = agent.log();
        let spooled = log
            .iter()
            .filter(|entry| entry["message"] == "batch spooled");
        spooled.filter_map(|entry| entry["events"].as_u64()).sum()
    };
    redis.publisher("/0.celeryev").send(0, 1);
    wait_until(limit, "the outage is known", || spooled(&agent) == 1);
    let (begun, cpu) = (clock::monotonic(), agent.cpu_seconds());
    redis.publisher("/0.celeryev").send(1, SPOOLED);
    let sent = (clock::monotonic() - begun).as_secs_f64();
    wait_until(limit, "all is on disk", || spooled(&agent) > SPOOLED as u64);
    let took = (clock::monotonic() - begun).as_secs_f64();
    let (cpu, peak) = (agent.cpu_seconds() - cpu, agent.peak_rss_kib());
    agent.sigterm();
    assert_eq!(agent.wait_exit(limit), 75);
    let ledger = agent.ledger("shop-qa");
    let bytes = ledger.spool_bytes_written;
    println!(
        "{SPOOLED} events sent in {sent:.1} s, on disk after {took:.1} s, {cpu:.2} s CPU, \
         {peak} KiB peak RSS; {bytes} bytes written, {} an event; {} dropped",
        bytes / SPOOLED as u64,
        ledger.dropped
    );

    let begun = clock::monotonic();
    let mut next = setup().start();
    next.wait_for_log(limit, "spool opened", |entry| {
        entry["message"] == "spool opened"
    });
    let opened = (clock::monotonic() - begun).as_millis();
    let cpu = next.cpu_seconds();
    api.always(Answer::Stored);
    wait_until(limit, "all is delivered", || api.counted() >= SPOOLED);
    let (peak, took) = (
        next.peak_rss_kib(),
        (clock::monotonic() - begun).as_secs_f64(),
    );
    next.stop();
    println!(
        "{bytes} bytes read back: open after {opened} ms and {cpu:.2} s CPU, all delivered after \
         {took:.1} s, {peak} KiB peak RSS"
    );
}

/// Asks for the metrics, over and over, until `over`; answers how often.
fn scrape(port: u16, over: &AtomicBool) -> u64 {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    let (mut count, mut buffer) = (0, vec![0; 64 * 1024]);
    while !over.load(Ordering::Relaxed) {
        let request = b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
        stream.write_all(request).expect("sent");
        let mut answer = Vec::new();
        // The last family ends every scrape.
        while !text(&answer).contains("seconds_count{") || !answer.ends_with(b"\n") {
            let length = stream.read(&mut buffer).expect("an answer");
            answer.extend_from_slice(&buffer[..length]);
        }
        count += 1;
    }
    count
}

fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// The same 200,000 events without anybody asking, and with somebody who asks as fast as it answers.
#[test]
#[ignore = "a measurement"]
fn cost_of_being_asked_meanwhile() {
    for is_asked in [false, true] {
        let vhost = shared().vhost(&format!("asked-{is_asked}"));
        let api = FakeApi::start_counting();
        let mut publisher = Publisher::open(&vhost.url());
        for thousand in 0..EVENTS / 1000 {
            publisher.send(thousand * 1000, 1000);
        }
        let port = free_port();
        let subscription = subscription(&vhost.url(), &api.url());
        let begun = clock::monotonic();
        let mut agent = Setup::new(&[subscription])
            .args(&["--listen", &format!("127.0.0.1:{port}")])
            .start();
        agent.wait_started();
        let over = AtomicBool::new(!is_asked);
        let asked = std::thread::scope(|scope| {
            let scraper = scope.spawn(|| scrape(port, &over));
            wait_until(Duration::from_secs(300), "every event arrived", || {
                api.counted() >= EVENTS
            });
            over.store(true, Ordering::Relaxed);
            scraper.join().expect("it ended")
        });
        let took = (clock::monotonic() - begun).as_secs_f64();
        let (cpu, per_second) = (agent.cpu_seconds(), asked as f64 / took);
        agent.stop().assert_all_delivered(EVENTS);
        println!(
            "asked {asked} times ({per_second:.0}/s): {took:.1} s, {cpu:.2} s CPU, longest pause {} ms",
            agent.longest_pause_ms()
        );
    }
}
