//! The agent on a real RabbitMQ and an API that speak TLS: what arrives, who logs in how, what a
//! technician reads when a certificate is wrong, and what a broker's death does under TLS.

mod support;

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use serde_json::{Value, json};
use support::agent::{SOON, Setup, start, subscription, with};
use support::api::FakeApi;
use support::certs::{Authority, Order, Pair};
use support::fault_proxy::FaultProxy;
use support::keeper::lock;
use support::publisher::{Publisher, QUEUE};
use support::rabbitmq::{Depth, PASSWORD, Rabbit, USER, Vhost};
use support::wait::wait_until;

const LONG: Duration = Duration::from_secs(90);

/// A broker that speaks TLS, and the authority that everybody here trusts. Its tests take turns,
/// since they kill it and change its certificate.
struct Site {
    authority: Authority,
    server: Pair,
    rabbit: Rabbit,
}

fn site() -> MutexGuard<'static, Site> {
    static SITE: OnceLock<Mutex<Site>> = OnceLock::new();
    let site = lock(SITE.get_or_init(|| {
        let authority = Authority::new("site");
        let server = authority.server("broker");
        let rabbit = Rabbit::start_tls(&authority, &server);
        Mutex::new(Site {
            authority,
            server,
            rabbit,
        })
    }));
    site.rabbit.heal();
    site
}

impl Site {
    /// What a gateway of this site is configured with.
    fn tls(&self) -> Value {
        json!({"ca_file": self.authority.ca()})
    }

    /// The same and a certificate of its own.
    fn mutual(&self, name: &str) -> Value {
        let client = self.authority.client(name);
        json!({"ca_file": self.authority.ca(), "cert_file": client.cert, "key_file": client.key})
    }

    /// A subscription to `vhost` in TLS.
    fn subscription(&self, vhost: &Vhost<'_>, api: &FakeApi) -> Value {
        let plain = subscription(&vhost.tls_url(), &api.url());
        with(plain, &json!({"tls": self.tls()}))
    }

    /// Has the broker show another certificate from now on.
    fn show(&self, pair: &Pair) {
        for (from, to) in [
            (&pair.cert, &self.server.cert),
            (&pair.key, &self.server.key),
        ] {
            fs::copy(from, to).expect("writable");
        }
        self.rabbit.eval("ssl:clear_pem_cache().");
    }
}

/// What `check` says in the end: its exit code and its text, without secrets.
fn check(subscription: Value) -> (i32, String) {
    let (code, agent) = Setup::new(&[subscription]).args(&["check"]).run();
    let text = agent.text();
    for secret in [PASSWORD, "not-for-the-log"] {
        assert!(!text.contains(secret), "{text}");
    }
    (code, text)
}

#[track_caller]
fn assert_says(subscription: Value, side: &str, words: &[&str]) {
    let (code, text) = check(subscription);
    assert_eq!(code, 69, "{text}");
    let line = text
        .lines()
        .find(|line| line.contains(&format!(": {side} ")));
    let line = line.unwrap_or_else(|| panic!("no line for the {side}: {text}"));
    for word in words {
        assert!(line.contains(word), "{word:?} is not in: {line}");
    }
}

// ── What is delivered ──────────────────────────────────────────────────────────────────────────

#[test]
fn events_arrive_when_broker_and_api_speak_tls_and_want_certificates() {
    let site = site();
    let vhost = site.rabbit.vhost("mutual");
    let server = site.authority.server("api");
    let api = FakeApi::start_tls(&server, Some(&site.authority));
    let mutual = site.mutual("mutual-gateway");
    let changes = json!({"tls": mutual, "api_tls": mutual, "concurrency_pool_size": 3});
    let subscription = with(site.subscription(&vhost, &api), &changes);
    let (code, text) = check(subscription.clone());
    assert_eq!(code, 0, "{text}");
    let mut publisher = Publisher::open(&vhost.url());
    let setup = Setup::new(&[subscription]).args(&["--log-level", "trace"]);
    let mut agent = setup.start();
    agent.wait_started();
    publisher.send(0, 20_000);
    api.wait_ids(LONG, 20_000);
    vhost.wait_depth(QUEUE, 0, 0);
    agent.stop().assert_all_delivered(20_000);
    api.assert_exactly_once(0..20_000);
    for secret in [PASSWORD, "not-for-the-log", "PRIVATE KEY"] {
        assert!(!agent.text().contains(secret), "a secret is in the log");
    }
}

#[test]
fn a_message_larger_than_every_buffer_passes() {
    let site = site();
    let vhost = site.rabbit.vhost("large");
    let server = site.authority.server("api");
    let api = FakeApi::start_tls(&server, None);
    let changes = json!({"api_tls": site.tls(), "batch_max_size_in_mb": 10});
    let mut agent = start(&with(site.subscription(&vhost, &api), &changes));
    let mut publisher = Publisher::open(&vhost.url());
    let mut large = support::publisher::event(0);
    large["result"] = json!("x".repeat(5 << 20));
    publisher.event(&large);
    publisher.send(1, 100);
    api.wait_ids(SOON, 101);
    agent.stop().assert_all_delivered(101);
    vhost.wait_depth(QUEUE, 0, 0);
}

#[test]
fn the_environments_certificates_are_trusted() {
    let site = site();
    let vhost = site.rabbit.vhost("environment");
    let server = site.authority.server("api");
    let api = FakeApi::start_tls(&server, None);
    Publisher::open(&vhost.url()).send(0, 10);
    let setup = Setup::new(&[subscription(&vhost.tls_url(), &api.url())]);
    let ca = site.authority.ca().display().to_string();
    let mut agent = setup.env("SSL_CERT_FILE", &ca).start();
    api.wait_ids(SOON, 10);
    agent.stop().assert_all_delivered(10);
}

#[test]
fn certificates_log_in_without_a_password() {
    let site = site();
    let vhost = site.rabbit.vhost("external");
    site.rabbit.user("external-gateway", "unused", "external");
    let api = FakeApi::start();
    let mut publisher = Publisher::open(&vhost.url());
    let port = site.rabbit.tls_port();
    for (number, broker) in [
        format!("amqps://localhost:{port}/external"),
        format!("amqps://{USER}:wrong@localhost:{port}/external?auth_mechanism=external"),
    ]
    .iter()
    .enumerate()
    {
        let plain = subscription(broker, &api.url());
        let known = with(plain, &json!({"tls": site.mutual("external-gateway")}));
        let mut agent = start(&known);
        publisher.send(number * 10, 10);
        api.wait_ids(SOON, number * 10 + 10);
        agent.stop().assert_all_delivered(10);
        // The broker has no such user.
        let unknown = with(known, &json!({"tls": site.mutual("stranger")}));
        assert_says(unknown, "broker", &["no user for the client certificate"]);
    }
    vhost.wait_depth(QUEUE, 0, 0);
    // With a user in the URL the certificate is shown and the password counts.
    let changes = json!({"tls": site.mutual("stranger")});
    let (code, text) = check(with(site.subscription(&vhost, &api), &changes));
    assert_eq!(code, 0, "{text}");
}

// ── What is wrong ──────────────────────────────────────────────────────────────────────────────

#[test]
fn check_says_what_is_wrong_with_the_brokers_certificate() {
    let site = site();
    let vhost = site.rabbit.vhost("wrong");
    let api = FakeApi::start();
    let good = site.subscription(&vhost, &api);
    let other = Authority::new("other");
    let changes = json!({"tls": {"ca_file": other.ca()}});
    let unknown = ["not from an authority", "set tls.ca_file"];
    assert_says(with(good.clone(), &changes), "broker", &unknown);
    assert_says(
        with(good.clone(), &json!({"tls": null})),
        "broker",
        &unknown,
    );

    let original = site.authority.server("original");
    let this: &[&str] = &["localhost", "127.0.0.1"];
    for (name, hosts, years, words) in [
        (
            "old",
            this,
            (2020, 2021),
            ["expired on 2021-12-31", "the gateway's clock says"],
        ),
        (
            "new",
            this,
            (2080, 2090),
            ["not valid before 2080-01-01", "the gateway's clock says"],
        ),
        (
            "away",
            &["a.plant", "b.plant"],
            (2020, 2090),
            ["is for a.plant, b.plant", "expected localhost"],
        ),
    ] {
        site.show(&site.authority.sign(&Order { name, hosts, years }));
        assert_says(good.clone(), "broker", &words);
    }
    site.show(&original);
    let (code, text) = check(good);
    assert_eq!(code, 0, "{text}");
}

#[test]
fn check_tells_tls_from_plain_amqp() {
    let site = site();
    let vhost = site.rabbit.vhost("ports");
    let api = FakeApi::start();
    let good = site.subscription(&vhost, &api);
    let (plain, tls) = (site.rabbit.amqp_port(), site.rabbit.tls_port());
    let broker = format!("amqps://{USER}:{PASSWORD}@localhost:{plain}/ports");
    let changes = json!({ "broker": broker });
    assert_says(
        with(good.clone(), &changes),
        "broker",
        &["does not speak TLS on this port"],
    );
    let broker = format!("amqp://{USER}:{PASSWORD}@localhost:{tls}/ports");
    let changes = json!({"broker": broker, "tls": null});
    assert_says(with(good.clone(), &changes), "broker", &["TLS", "amqps://"]);
    // One that takes the connection and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = silent.local_addr().expect("an address").port();
    let broker = format!("amqps://{USER}:{PASSWORD}@localhost:{port}/ports");
    let changes = json!({ "broker": broker });
    assert_says(with(good, &changes), "broker", &["tls: no answer in time"]);
}

#[test]
fn check_says_what_is_wrong_with_the_apis_certificate() {
    let site = site();
    let vhost = site.rabbit.vhost("api");
    let good = |api: &FakeApi| {
        let changes = json!({"api_tls": site.tls()});
        with(site.subscription(&vhost, api), &changes)
    };
    let this: &[&str] = &["localhost"];
    for (name, hosts, years, words) in [
        (
            "api-old",
            this,
            (2020, 2021),
            ["expired on 2021-12-31", "the gateway's clock says"],
        ),
        (
            "api-new",
            this,
            (2080, 2090),
            ["not valid before 2080-01-01", "the gateway's clock says"],
        ),
        (
            "api-away",
            &["leek.plant"],
            (2020, 2090),
            ["is for leek.plant", "expected localhost"],
        ),
    ] {
        let pair = site.authority.sign(&Order { name, hosts, years });
        assert_says(good(&FakeApi::start_tls(&pair, None)), "api", &words);
    }
    let server = site.authority.server("api");
    let api = FakeApi::start_tls(&server, Some(&site.authority));
    let asked = ["asks for a client certificate", "api_tls.cert_file"];
    assert_says(good(&api), "api", &asked);
    let untrusting = with(good(&api), &json!({"api_tls": null}));
    assert_says(
        untrusting,
        "api",
        &["not from an authority", "set api_tls.ca_file"],
    );
    let plain = FakeApi::start();
    let url = plain.url().replace("http://", "https://");
    let spoken = with(good(&api), &json!({ "api_url": url }));
    assert_says(
        spoken,
        "api",
        &["tls: no answer to the handshake", "speak https"],
    );
    let url = api.url().replace("https://", "http://");
    let plain = with(good(&api), &json!({"api_url": url, "api_tls": null}));
    assert_says(plain, "api", &["not http", "whether it is https"]);
}

// ── What breaks ────────────────────────────────────────────────────────────────────────────────

#[test]
fn a_broker_killed_under_tls_loses_nothing() {
    let site = site();
    let vhost = site.rabbit.vhost("killed");
    let api = FakeApi::start();
    let changes = json!({"batch_max_number_of_messages": 200});
    let mut agent = start(&with(site.subscription(&vhost, &api), &changes));
    let mut publisher = Publisher::open(&vhost.url());
    publisher.send(0, 5_000);
    api.wait_ids(LONG, 500);
    drop(publisher);
    site.rabbit.restart();
    api.wait_ids(LONG, 5_000);
    // What was stored and not yet acked when the broker died comes again, and is acked then.
    wait_until(LONG, "every message is acked", || {
        vhost.depth(QUEUE) == Depth::default()
    });
    let ledger = agent.stop();
    assert_eq!(ledger.pending, 0, "{ledger:?}");
    api.assert_nothing_missing(0..5_000);
}

#[test]
fn a_half_closed_connection_is_made_anew() {
    let site = site();
    let vhost = site.rabbit.vhost("half");
    let api = FakeApi::start();
    let wire = FaultProxy::to(site.rabbit.tls_port());
    let broker = format!("amqps://{USER}:{PASSWORD}@localhost:{}/half", wire.port());
    let mut agent = start(&with(
        site.subscription(&vhost, &api),
        &json!({ "broker": broker }),
    ));
    let mut publisher = Publisher::open(&vhost.url());
    publisher.send(0, 100);
    api.wait_ids(SOON, 100);
    assert_eq!(wire.connections(), 1);
    wire.half_close();
    wait_until(SOON, "a second connection", || wire.connections() >= 2);
    publisher.send(100, 100);
    api.wait_ids(SOON, 200);
    agent.wait_complaint(SOON, &["closed the connection"]);
    agent.stop().assert_balanced();
    api.assert_nothing_missing(0..200);
}

// ── What it costs ──────────────────────────────────────────────────────────────────────────────

#[test]
fn tls_stays_small() {
    let site = site();
    let vhost = site.rabbit.vhost("memory");
    let server = site.authority.server("api");
    let rss = |subscription: Value, api: &FakeApi, count: usize| {
        let mut publisher = Publisher::open(&vhost.url());
        let mut agent = start(&subscription);
        publisher.send(count, 200);
        api.wait_ids(SOON, 200);
        let rss = agent.rss_kib();
        agent.stop().assert_all_delivered(200);
        rss
    };
    let api = FakeApi::start();
    let plain = rss(subscription(&vhost.url(), &api.url()), &api, 0);
    let api = FakeApi::start_tls(&server, None);
    let changes = json!({"api_tls": site.tls()});
    let own = rss(with(site.subscription(&vhost, &api), &changes), &api, 200);
    println!("RSS in KiB: {plain} plain, {own} with amqps and https");
    assert!(own < plain + 2048, "{plain} KiB plain, {own} KiB with TLS");
    let alive = TcpStream::connect(("127.0.0.1", api.port()));
    assert!(alive.is_ok(), "the API lives until here");
}
