//! What the agent costs, measured on real parts. Not run by default: it takes minutes, and a figure
//! is worth something on a quiet machine and for a release build only:
//!
//! ```text
//! cargo build --release
//! LEEK_AGENT_TEST_BINARY=$PWD/target/release/leek-agent \
//!     cargo test --test real_figures -- --ignored --nocapture --test-threads 1
//! ```

mod support;

use std::fs;
use std::process::Command;
use std::time::Duration;

use leek_agent::clock;
use serde_json::json;
use support::agent::{start, subscription, with};
use support::api::FakeApi;
use support::keeper::Group;
use support::publisher::{Publisher, event};
use support::rabbitmq::shared;
use support::wait::{holds_for, wait_until};

const EVENTS: usize = 200_000;

fn cost(prefetch: u16) {
    let vhost = shared().vhost(&format!("figures-{prefetch}"));
    let api = FakeApi::start_counting();
    let mut publisher = Publisher::open(&vhost.url());
    for thousand in 0..EVENTS / 1000 {
        publisher.send(thousand * 1000, 1000);
    }
    let begun = clock::monotonic();
    let subscription = subscription(&vhost.url(), &api.url());
    let mut agent = start(&with(subscription, &json!({"prefetch_count": prefetch})));
    wait_until(Duration::from_secs(300), "every event arrived", || {
        api.counted() >= EVENTS
    });
    let (cpu, peak) = (agent.cpu_seconds(), agent.peak_rss_kib());
    let took = (clock::monotonic() - begun).as_secs_f64();
    agent.stop().assert_all_delivered(EVENTS);
    let bytes = event(EVENTS).to_string().len();
    println!(
        "prefetch {prefetch}: {EVENTS} events of {bytes} bytes: {cpu:.2} s CPU, \
         {peak} KiB peak RSS, {took:.1} s, {} posts",
        api.post_count()
    );
}

#[test]
#[ignore = "a measurement"]
fn cost_of_200_000_events() {
    cost(1_000);
    cost(10_000);
}

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
