//! The rows of the table: each measures its reference and the agent, one after the other.

use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use leek_agent::command::ask;
use serde_json::{Value, json};

use crate::bare::Bare;
use crate::cost::{Cost, Pace};
use crate::load::{self, Filler};
use crate::support::agent::{Agent, Setup, subscription, with};
use crate::support::api::{Answer, FakeApi};
use crate::support::rabbitmq::{Vhost, shared};
use crate::support::redis::Redis;
use crate::support::wait::wait_until;

const LIMIT: Duration = Duration::from_secs(600);
const MIB: usize = 1024 * 1024;
const LATENCY: Duration = Duration::from_millis(100);
/// Events that a Redis publisher has at hand; more are the same again.
const DISTINCT: usize = 35_000;

/// What was asked for on the command line.
#[derive(Debug, Clone)]
pub struct Options {
    /// A tenth of the events.
    quick: bool,
    /// Only rows whose names begin so.
    row: String,
}

impl Options {
    pub fn parse(words: &[&str]) -> Result<Options, String> {
        let mut options = Options {
            quick: false,
            row: String::new(),
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match *word {
                // What `cargo bench` adds.
                "--bench" => {}
                "--quick" => options.quick = true,
                "--row" => {
                    let name = words
                        .next()
                        .ok_or("--row: expected the beginning of a row's name")?;
                    options.row = (*name).to_owned();
                }
                other => return Err(format!("{other}: expected --quick or --row NAME")),
            }
        }
        Ok(options)
    }

    fn events(&self, count: usize) -> usize {
        if self.quick { count / 10 } else { count }
    }
}

/// A row by name: measures and prints.
type Row = (&'static str, fn(&str, &Options));

/// A line of the table.
struct Line {
    name: String,
    agent: Cost,
    /// Events that found no room, which Redis does not keep.
    lost: usize,
    /// What its throughput and its CPU time are compared with.
    rate_limit: Option<f64>,
    bare: Option<Cost>,
}

/// Runs the rows that are wanted, and prints each as it is done.
pub fn run(options: &Options) -> ExitCode {
    println!(
        "| row | events | lost | events/s | of the limit | CPU s/100,000 | of the bare loop's | peak RSS |\n\
         | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    );
    let rows: [Row; 5] = [
        ("a", drained),
        ("b", far_away),
        ("c", heard),
        ("f1", shared_out),
        ("f2", sized),
    ];
    for (name, measure) in rows {
        if name.starts_with(&options.row) {
            measure(name, options);
        }
    }
    ExitCode::SUCCESS
}

impl Line {
    fn print(&self) {
        let ratio =
            |value: Option<f64>| value.map_or("-".to_owned(), |ratio| format!("{ratio:.2}"));
        let rate = self.agent.events_per_second;
        let of_limit = self.rate_limit.map(|limit| rate / limit);
        let cpu = self.agent.cpu_per_100_000();
        let of_bare = self.bare.map(|bare| cpu / bare.cpu_per_100_000());
        println!(
            "| {} | {} | {} | {rate:.0} | {} | {cpu:.3} | {} | {:.1} MB |",
            self.name,
            self.agent.events,
            self.lost,
            ratio(of_limit),
            ratio(of_bare),
            self.agent.peak_rss_mb()
        );
    }
}

/// (a): a queue that was filled before, in messages of one event and in lists of ten.
fn drained(row: &str, options: &Options) {
    let events = options.events(500_000);
    let cases = [
        ("single", 1, 1000),
        ("single, prefetch 10000", 1, 10_000),
        ("lists of ten", 10, 1000),
    ];
    for (name, list, prefetch) in cases {
        let vhost = shared().vhost(&format!("bench-{row}-{list}-{prefetch}"));
        let mut filler = Filler::open(&vhost.url(), "celeryev", &["leek.fanout", "bare"]);
        filler.fill(load::bodies(events, list));
        let bare = Bare::amqp(&vhost.url(), "bare", events.div_ceil(list), prefetch, 1000);
        let bare = bare.cost(events);
        let api = FakeApi::start_discarding();
        let (agent, lost) = drain(&vhost, &api, &json!({"prefetch_count": prefetch}), events);
        Line {
            name: format!("{row} {name}"),
            agent,
            lost,
            rate_limit: Some(bare.events_per_second),
            bare: Some(bare),
        }
        .print();
    }
}

/// (b): the same where each answer of the API takes a while.
fn far_away(row: &str, options: &Options) {
    for pool in [1, 2, 4] {
        let events = options.events(200_000) * pool;
        let vhost = shared().vhost(&format!("bench-{row}-{pool}"));
        let mut filler = Filler::open(&vhost.url(), "celeryev", &["leek.fanout"]);
        filler.fill(load::bodies(events, 10));
        let api = FakeApi::start_discarding();
        api.answer(|_| {
            thread::park_timeout(LATENCY);
            Answer::Stored
        });
        let changes = json!({"prefetch_count": 10_000, "concurrency_pool_size": pool});
        let (agent, lost) = drain(&vhost, &api, &changes, events);
        let batch = events as f64 / api.post_count() as f64;
        Line {
            name: format!("{row} API at {} ms, {pool} in flight", LATENCY.as_millis()),
            agent,
            lost,
            rate_limit: Some(pool as f64 * batch / LATENCY.as_secs_f64()),
            bare: None,
        }
        .print();
    }
}

/// What it costs to drain `events` that wait in the one queue of `vhost`.
fn drain(vhost: &Vhost<'_>, api: &FakeApi, changes: &Value, events: usize) -> (Cost, usize) {
    let changed = with(subscription(&vhost.url(), &api.url()), changes);
    let agent = begin(&[changed]);
    finish(agent, events)
}

fn begin(subscriptions: &[Value]) -> Agent {
    let agent = Setup::new(subscriptions).args(&["--control-socket", "FOLDER/control"]);
    agent.start()
}

/// How many events it has so far delivered, and dropped for want of room.
fn counts(agent: &Agent) -> [u64; 2] {
    let socket = agent.folder().join("control");
    let status = ask::get(&socket, "/v1/status").unwrap_or_default();
    ["delivered", "dropped"].map(|count| {
        let all = status["subscriptions"].as_array().into_iter().flatten();
        all.filter_map(|one| one["events"][count].as_u64()).sum()
    })
}

/// Waits until all is delivered or lost, and says what that took, and how many were lost.
fn finish(mut agent: Agent, events: usize) -> (Cost, usize) {
    let mut lost = 0;
    let mut pace = Pace::of(events);
    wait_until(LIMIT, "all is delivered", || {
        assert!(agent.runs(), "it ended: {}", agent.text());
        let [delivered, dropped] = counts(&agent);
        lost = dropped as usize;
        pace.note((delivered + dropped) as usize);
        delivered + dropped >= events as u64
    });
    let cost = Cost {
        events,
        events_per_second: pace.per_second(),
        cpu_seconds: agent.cpu_seconds(),
        peak_rss_kib: agent.peak_rss_kib(),
    };
    agent.end();
    (cost, lost)
}

/// (c): Redis, at a steady rate and as fast as it gives.
fn heard(row: &str, options: &Options) {
    let payloads = load::envelopes(DISTINCT);
    let cases = [
        ("35,000/s", 350_000, Some(35_000)),
        ("flood", 1_050_000, None),
    ];
    for (name, count, per_second) in cases {
        let count = options.events(count);
        let redis = Redis::start_with("client-output-buffer-limit pubsub 0 0 0\n");
        let send = || {
            let mut publisher = redis.publisher("/0.celeryev");
            load::publish(&mut publisher, &payloads, count, per_second);
        };
        let bare = Bare::redis(redis.port, "/0.celeryev/*", count);
        send();
        let bare = bare.cost(count);
        let api = FakeApi::start_discarding();
        let agent = begin(&[subscription(&redis.url(), &api.url())]);
        redis.wait_listener();
        let (agent, lost) = thread::scope(|scope| {
            scope.spawn(send);
            finish(agent, count)
        });
        Line {
            name: format!("{row} Redis, {name}"),
            agent,
            lost,
            rate_limit: Some(bare.events_per_second),
            bare: Some(bare),
        }
        .print();
    }
}

/// (f): the same events from one subscription or from many.
fn shared_out(row: &str, options: &Options) {
    let events = options.events(160_000);
    for count in [1, 4, 16] {
        let vhost = shared().vhost(&format!("bench-{row}-{count}"));
        let api = FakeApi::start_discarding();
        let subscriptions: Vec<Value> = (0..count)
            .map(|number| {
                let names = [format!("events-{number}"), format!("queue-{number}")];
                let [exchange, queue] = &names;
                let mut filler = Filler::open(&vhost.url(), exchange, &[queue]);
                filler.fill(load::bodies(events / count, 1));
                let names =
                    json!({"exchange": exchange, "queue": queue, "app_env": letters(number)});
                with(subscription(&vhost.url(), &api.url()), &names)
            })
            .collect();
        let (agent, lost) = finish(begin(&subscriptions), events);
        Line {
            name: format!("{row} {count} subscriptions"),
            agent,
            lost,
            rate_limit: None,
            bare: None,
        }
        .print();
    }
}

/// An `app_env` of its own for each number below 26, which may have letters only.
fn letters(number: usize) -> String {
    format!("qa{}", char::from(b'a' + number as u8))
}

/// (f): events of growing size, the same number of bytes of each.
fn sized(row: &str, options: &Options) {
    let bytes = options.events(60 * MIB);
    for size in [300, 3_000, 30_000, 300_000] {
        let events = bytes / size;
        let vhost = shared().vhost(&format!("bench-{row}-{size}"));
        let mut filler = Filler::open(&vhost.url(), "celeryev", &["leek.fanout", "bare"]);
        filler.fill((0..events).map(|number| load::event_of(number, size).to_string()));
        let bare = Bare::amqp(
            &vhost.url(),
            "bare",
            events,
            1000,
            events.div_ceil(20).min(1000),
        );
        let bare = bare.cost(events);
        let api = FakeApi::start_discarding();
        let (agent, lost) = drain(&vhost, &api, &json!({}), events);
        let milliseconds = agent.cpu_seconds * 1000.0 / (bytes / MIB) as f64;
        Line {
            name: format!("{row} {size} bytes, {milliseconds:.1} ms CPU a MiB"),
            agent,
            lost,
            rate_limit: Some(bare.events_per_second),
            bare: Some(bare),
        }
        .print();
    }
}
