//! The agent on a real Redis: what it hears, what it holds, what it counts, and what happens when
//! the server goes away. Nothing is ever delivered twice, and every event is accounted for.

mod support;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use serde_json::{Value, json};
use support::agent::{Agent, SOON, Setup, is_complaint, start, subscription, with};
use support::api::{Answer, FakeApi};
use support::certs::Authority;
use support::publisher::{event, uuid};
use support::redis::{Redis, SERVER_PASSWORD, Sentinels, envelope, free_port, wrapped};
use support::wait::{holds_for, poll, wait_until};

/// For many thousands of events in a debug build beside other tests.
const LONG: Duration = Duration::from_secs(180);

fn parts(redis: &Redis) -> (FakeApi, Value) {
    let api = FakeApi::start();
    let subscription = subscription(&redis.url(), &api.url());
    (api, subscription)
}

/// Waits for the entry that says for how long nothing was heard; answers that in milliseconds.
#[track_caller]
fn wait_back(agent: &Agent) -> u64 {
    let back = agent.wait_for_log(SOON, "reconnected", |entry| {
        let message = entry["message"].as_str().unwrap_or("");
        message.starts_with("reconnected")
    });
    back["blind_ms"].as_u64().expect("a number")
}

// ── What is heard ──────────────────────────────────────────────────────────────────────────────

#[test]
fn twenty_thousand_events_arrive_exactly_once_and_nothing_is_written() {
    let redis = Redis::start();
    let (api, subscription) = parts(&redis);
    let mut agent = start(&subscription);
    redis.publisher("/0.celeryev").send(0, 20_000);
    api.wait_ids(LONG, 20_000);
    agent.stop().assert_all_delivered(20_000);
    api.assert_exactly_once(0..20_000);
    let mut client = redis.client();
    assert_eq!(client.call(&["DBSIZE"]), "0");
    let stats = client.call(&["INFO", "commandstats"]);
    let commands = stats
        .lines()
        .filter_map(|line| line.strip_prefix("cmdstat_"));
    for command in commands.map(|line| line.split(':').next().unwrap_or("")) {
        let ours = ["client|setname", "psubscribe", "ping", "punsubscribe"];
        let tests = ["publish", "dbsize", "info"];
        assert!(
            ours.contains(&command) || tests.contains(&command),
            "{command} was sent"
        );
    }
}

/// 50 events published on `prefix` reach a subscription with that broker and those options.
#[track_caller]
fn arrives(redis: &Redis, broker: &str, options: &Value, prefix: &str) {
    let api = FakeApi::start();
    let changes = json!({"broker": broker, "redis": options});
    let mut agent = start(&with(subscription(broker, &api.url()), &changes));
    let mut publisher = redis.publisher(prefix);
    if options["fanout_patterns"] == false {
        publisher = publisher.without_routing_keys();
    }
    publisher.send(0, 50);
    api.wait_ids(SOON, 50);
    agent.stop().assert_all_delivered(50);
    api.assert_exactly_once(0..50);
    assert!(
        !agent.text().contains("carrot"),
        "a password is in the log: {}",
        agent.text()
    );
}

#[test]
fn channels_are_those_of_kombus_options() {
    let redis = Redis::start();
    let url = redis.url();
    arrives(&redis, &url, &json!({}), "/0.celeryev");
    arrives(&redis, &format!("{url}/3"), &json!({}), "/3.celeryev");
    let prefixed = json!({"global_keyprefix": "pfx:", "visibility_timeout": 3600});
    arrives(&redis, &format!("{url}/1"), &prefixed, "pfx:/1.celeryev");
    arrives(&redis, &url, &json!({"fanout_prefix": false}), "celeryev");
    let custom = json!({"fanout_prefix": "custom_{db}_"});
    arrives(&redis, &format!("{url}/3"), &custom, "custom_3_celeryev");
    let single = json!({"fanout_patterns": false});
    arrives(&redis, &format!("{url}/3"), &single, "/3.celeryev");
    let least = json!({"fanout_patterns": false, "fanout_prefix": false});
    arrives(&redis, &url, &least, "celeryev");
}

const ACL: &str = "user leek on >carrot@barley resetchannels &/0.celeryev/* &/2.celeryev/* -@all +auth +select \
                   +psubscribe +punsubscribe +ping\n\
                   user deaf on >carrot resetchannels -@all +@connection +@pubsub\n";

#[test]
fn passwords_users_and_sockets_open_the_door() {
    let redis = Redis::start_with(ACL);
    let address = format!("127.0.0.1:{}", redis.port);
    let user = format!("redis://leek:carrot%40barley@{address}/2");
    arrives(&redis, &user, &json!({}), "/2.celeryev");
    let socket = redis.socket().display().to_string();
    let local = format!("redis+socket://{socket}?virtual_host=2");
    arrives(&redis, &local, &json!({}), "/2.celeryev");
    let local = format!("redis+socket://leek:carrot%40barley@{socket}");
    arrives(&redis, &local, &json!({}), "/0.celeryev");
    // A name, which a thread of its own looks up; and a first broker that is nobody's.
    let list = format!("redis://localhost:1;redis://localhost:{}", redis.port);
    arrives(&redis, &list, &json!({}), "/0.celeryev");

    let redis = Redis::start_with("requirepass carrot-and-barley\n");
    arrives(&redis, &redis.url(), &json!({}), "/0.celeryev");
}

/// Where something answers that is no Redis.
fn web_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("redis://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
            let _ = stream.read_to_end(&mut Vec::new());
        }
    });
    url
}

#[test]
fn check_says_what_is_wrong() {
    let redis = Redis::start_with(&format!("requirepass carrot\n{ACL}"));
    let api = FakeApi::start();
    let address = format!("127.0.0.1:{}", redis.port);
    let check = |broker: &str| {
        let subscription = subscription(broker, &api.url());
        let (code, agent) = Setup::new(&[subscription]).args(&["check"]).run();
        let text = agent.text();
        assert!(!text.contains("carrot"), "{text}");
        (code, text.to_lowercase())
    };
    let (code, text) = check(&redis.url());
    assert_eq!(code, 0, "{text}");
    for (broker, word) in [
        (format!("redis://{address}"), "asks for a password"),
        (
            format!("redis://:wrong@{address}"),
            "wrong user or password",
        ),
        (
            format!("redis://leek:carrot@{address}"),
            "wrong user or password",
        ),
        (format!("redis://:carrot@{address}/99"), "no database 99"),
        (format!("redis://deaf:carrot@{address}"), "give the user"),
        ("redis://127.0.0.1:1".to_owned(), "nothing listens there"),
        ("redis://nowhere.invalid".to_owned(), "name not found"),
        (
            "redis+socket:///nowhere/socket".to_owned(),
            "this user open it",
        ),
        (web_server(), "no redis server answers there"),
    ] {
        let (code, text) = check(&broker);
        assert_eq!(code, 69, "{text}");
        assert!(text.contains(word), "{word}: {text}");
    }
    let password = Redis::start();
    let needless = password.url().replace("redis://", "redis://:carrot@");
    let (code, text) = check(&needless);
    assert_eq!(code, 69, "{text}");
    assert!(text.contains("wants no password"), "{text}");
}

#[test]
fn tls_is_spoken_and_its_failures_are_told() {
    let authority = Authority::new("leek-ca");
    let (server, client) = (authority.server("redis"), authority.client("agent"));
    let port = free_port();
    let redis = Redis::start_with(&format!(
        "tls-port {port}\ntls-cert-file {}\ntls-key-file {}\ntls-ca-cert-file {}\n\
         tls-auth-clients yes\n",
        server.cert.display(),
        server.key.display(),
        authority.ca().display(),
    ));
    let api = FakeApi::start();
    let ca = json!({"ca_file": authority.ca()});
    let mutual = with(
        ca.clone(),
        &json!({"cert_file": client.cert, "key_file": client.key}),
    );
    let on = |broker: &str, changes: Value| with(subscription(broker, &api.url()), &changes);
    let url = format!("rediss://localhost:{port}/1?ssl_cert_reqs=required");
    let quick = json!({"tls": mutual, "batch_max_window_in_seconds": 0.05});
    let good = on(&url, quick);

    let mut agent = start(&good);
    let mut publisher = redis.publisher("/1.celeryev");
    // In small helpings: Redis 7.0 fails in its own TLS ("bad length") once a subscriber's socket is
    // full, and cuts it.
    for first in (0..2_000).step_by(100) {
        publisher.send(first, 100);
        api.wait_ids(SOON, first + 100);
    }
    // Larger than every buffer of the agent's.
    let mut large = event(2_000);
    large["args"] = json!("x".repeat(200_000));
    assert_eq!(publisher.payload(&envelope(&large)), 1);
    api.wait_ids(SOON, 2_001);
    publisher.send(2_001, 10);
    api.wait_ids(SOON, 2_011);
    agent.stop().assert_all_delivered(2_011);
    api.assert_exactly_once(0..2_011);

    let stranger = Authority::new("stranger");
    for (subscription, word) in [
        (
            on(&url, json!({"tls": {"ca_file": stranger.ca()}})),
            "authority",
        ),
        (on(&url, json!({"tls": ca})), "client certificate"),
        (
            on(&format!("redis://localhost:{port}"), json!({})),
            "does it expect tls",
        ),
        (
            on(
                &format!("rediss://localhost:{}", redis.port),
                json!({"tls": mutual}),
            ),
            "does this port speak tls",
        ),
    ] {
        let (code, checked) = Setup::new(&[subscription]).args(&["check"]).run();
        let text = checked.text().to_lowercase();
        assert_eq!(code, 69, "{text}");
        assert!(text.contains(word), "{word}: {text}");
    }
}

#[test]
fn bad_envelopes_are_counted_and_harm_no_neighbour() {
    let redis = Redis::start();
    let (api, subscription) = parts(&redis);
    let mut agent = start(&subscription);
    let mut publisher = redis.publisher("/0.celeryev");
    let one = |body: &str| wrapped(body.as_bytes(), "tag");
    let odd = |key: &str, value: Value| {
        let mut envelope: Value = serde_json::from_slice(&envelope(&event(99))).expect("JSON");
        envelope[key] = value;
        envelope.to_string()
    };
    let bad = [
        String::new(),
        "hello".to_owned(),
        "7".to_owned(),
        "{\"body\"".to_owned(),
        "{}".to_owned(),
        one(""),
        one("hello"),
        one("7"),
        one("{\"type\": \"task-sent\", "),
        odd("body", json!("%%%")),
        odd("body", json!(7)),
        odd("content-type", json!("application/x-python-serialize")),
        odd("headers", json!({"compression": "application/x-bz2"})),
        odd("headers", json!({"compression": "application/x-gzip"})),
    ];
    for (number, payload) in bad.iter().enumerate() {
        assert_eq!(publisher.payload(&envelope(&event(number))), 1);
        assert_eq!(publisher.payload(payload.as_bytes()), 1);
    }
    let list = json!([event(14), "not an event", event(15)]);
    assert_eq!(publisher.payload(&envelope(&list)), 1);
    api.wait_ids(SOON, 16);
    let ledger = agent.stop();
    let wanted = (16, bad.len() as u64 + 1);
    assert_eq!((ledger.delivered, ledger.invalid), wanted, "{ledger:?}");
    api.assert_exactly_once(0..16);
}

#[test]
fn a_message_of_seventeen_megabytes_is_invalid_and_costs_no_memory() {
    let redis = Redis::start();
    let (api, subscription) = parts(&redis);
    let mut agent = start(&subscription);
    let mut publisher = redis.publisher("/0.celeryev");
    let mut huge = event(1);
    huge["args"] = json!("x".repeat(17 << 20));
    for body in [event(0), huge, event(2)] {
        assert_eq!(publisher.payload(&envelope(&body)), 1);
    }
    api.wait_ids(SOON, 2);
    let peak = agent.peak_rss_kib();
    let ledger = agent.stop();
    assert_eq!((ledger.delivered, ledger.invalid), (2, 1), "{ledger:?}");
    assert!(peak < 48 * 1024, "{peak} KiB for what is thrown away");
}

// ── What is held ───────────────────────────────────────────────────────────────────────────────

#[test]
fn it_listens_before_the_api_is_well() {
    let redis = Redis::start();
    let (api, subscription) = parts(&redis);
    api.health(Answer::unavailable());
    let mut agent = start(&subscription);
    redis.publisher("/0.celeryev").send(0, 500);
    assert!(holds_for(Duration::from_secs(1), || api.post_count() == 0));
    api.health(Answer::Status(200, json!({})));
    api.wait_ids(LONG, 500);
    agent.stop().assert_all_delivered(500);
    api.assert_exactly_once(0..500);
}

#[test]
fn a_burst_is_held_while_the_ring_has_room() {
    // A debug build is slower than the server's default patience with a subscriber.
    let redis = Redis::start_with("client-output-buffer-limit pubsub 0 0 0\n");
    let (api, subscription) = parts(&redis);
    let (slow, go) = std::sync::mpsc::channel::<()>();
    let slow = std::sync::Mutex::new(slow);
    let gate = std::sync::Mutex::new(go);
    // The API takes half a second for each of its first answers.
    api.answer(move |request| {
        if request.number < 10 {
            let _ = gate
                .lock()
                .expect("nobody panics")
                .recv_timeout(Duration::from_millis(500));
        }
        Answer::Stored
    });
    let room = json!({"buffer_max_size_in_mb": 128});
    let mut agent = start(&with(subscription, &room));
    redis.publisher("/0.celeryev").send(0, 100_000);
    wait_until(LONG, "all are stored", || api.stored_count() >= 100_000);
    drop(slow);
    agent.stop().assert_all_delivered(100_000);
    api.assert_exactly_once(0..100_000);
}

#[test]
fn a_full_ring_drops_the_oldest_and_counts_them() {
    let redis = Redis::start();
    let (api, subscription) = parts(&redis);
    api.always(Answer::unavailable());
    let tiny = json!({"buffer_max_size_in_mb": 1, "batch_max_number_of_messages": 100});
    let mut agent = start(&with(subscription, &tiny));
    let mut publisher = redis.publisher("/0.celeryev");
    publisher.send(0, 10_000);
    agent.wait_complaint(LONG, &["oldest events dropped"]);
    publisher.send(10_000, 1);
    api.always(Answer::Stored);
    // The newest is the last to be delivered.
    wait_until(LONG, "the newest is stored", || {
        api.events_by_id().contains_key(&uuid(10_000))
    });
    let ledger = agent.stop();
    assert_eq!(ledger.received, 10_001, "{ledger:?}");
    assert_eq!(ledger.delivered + ledger.dropped, 10_001, "{ledger:?}");
    assert!(ledger.dropped > 5_000, "{ledger:?}");
    let stored = api.events_by_id();
    assert!(stored.values().all(|count| *count == 1));
    assert_eq!(stored.len() as u64, ledger.delivered);
}

// ── Start and stop ─────────────────────────────────────────────────────────────────────────────

#[test]
fn what_was_published_before_a_stop_is_delivered() {
    let redis = Redis::start();
    let (api, subscription) = parts(&redis);
    let mut agent = start(&subscription);
    redis.publisher("/0.celeryev").send(0, 5_000);
    // At once: most of it is still on its way.
    agent.stop().assert_all_delivered(5_000);
    api.assert_exactly_once(0..5_000);
}

#[test]
fn a_stop_that_cannot_deliver_says_so() {
    let redis = Redis::start();
    let (api, subscription) = parts(&redis);
    api.always(Answer::unavailable());
    let limit = ["--shutdown-timeout", "2s"];
    let mut agent = Setup::new(&[subscription]).args(&limit).start();
    agent.wait_started();
    redis.publisher("/0.celeryev").send(0, 3_000);
    wait_until(SOON, "the API was asked", || api.post_count() >= 1);
    agent.sigterm();
    assert_eq!(agent.wait_exit(SOON), 75);
    let ledger = agent.ledger("shop-qa");
    assert_eq!(ledger.received, 3_000, "{ledger:?}");
    assert_eq!(ledger.delivered, 0, "{ledger:?}");
    assert_eq!(ledger.pending + ledger.dropped, 3_000, "{ledger:?}");
}

#[test]
fn drain_hears_for_a_moment_and_ends() {
    let redis = Redis::start();
    let (api, subscription) = parts(&redis);
    let (code, agent) = Setup::new(&[subscription]).args(&["run", "--drain"]).run();
    assert_eq!(code, 0);
    agent.ledger("shop-qa").assert_all_delivered(0);
    assert_eq!(api.post_count(), 0);
}

// ── The server goes away ───────────────────────────────────────────────────────────────────────

#[test]
fn a_killed_server_is_found_again_and_the_gap_is_told() {
    let redis = Redis::start();
    let (api, subscription) = parts(&redis);
    let mut agent = start(&subscription);
    redis.publisher("/0.celeryev").send(0, 100);
    redis.kill9();
    agent.wait_complaint(SOON, &["broker not connected"]);
    redis.start_server();
    let blind = wait_back(&agent);
    assert!((1..60_000).contains(&blind), "{blind} ms");
    redis.publisher("/0.celeryev").send(100, 100);
    api.wait_ids(SOON, 200);
    agent.stop().assert_all_delivered(200);
    api.assert_exactly_once(0..200);
}

#[test]
fn a_server_that_pauses_for_a_moment_is_kept() {
    let redis = Redis::start();
    let (api, subscription) = parts(&redis);
    let mut agent = start(&subscription);
    let mut publisher = redis.publisher("/0.celeryev");
    redis.sigstop();
    assert!(holds_for(Duration::from_secs(2), || {
        let log = agent.log();
        !log.iter().any(|entry| is_complaint(entry, &["broker"]))
    }));
    redis.sigcont();
    publisher.send(0, 100);
    api.wait_ids(SOON, 100);
    agent.stop().assert_all_delivered(100);
}

#[test]
fn a_subscriber_that_is_cut_comes_back() {
    let redis = Redis::start();
    let (api, subscription) = parts(&redis);
    let mut agent = start(&subscription);
    let killed = redis.client().call(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    assert_eq!(killed, "1");
    agent.wait_complaint(SOON, &["the server closed the connection"]);
    wait_back(&agent);
    redis.publisher("/0.celeryev").send(0, 10);
    api.wait_ids(SOON, 10);
    agent.stop().assert_all_delivered(10);
}

#[test]
fn sentinels_lead_to_the_master_also_after_a_failover() {
    let watched = Sentinels::start();
    let [master, replica] = &watched.servers;
    let api = FakeApi::start();
    let broker = subscription(&watched.url(2), &api.url());
    let broker = with(broker, &json!({"redis": watched.options()}));
    let mut agent = start(&broker);
    master.publisher("/2.celeryev").send(0, 50);
    // kombu before 5.4 publishes here; newer ones may do both, with the same delivery tag.
    master.publisher("/{db}.celeryev").send(50, 50);
    master.publisher("/{db}.celeryev").send(0, 50);
    api.wait_ids(SOON, 100);

    master.kill9();
    agent.wait_complaint(SOON, &["broker not connected"]);
    wait_back(&agent);
    replica.publisher("/2.celeryev").send(100, 50);
    api.wait_ids(SOON, 150);
    agent.stop().assert_all_delivered(150);
    api.assert_exactly_once(0..150);
    assert!(!agent.text().contains(SERVER_PASSWORD));

    let mut nobody = watched.options();
    nobody["master_name"] = json!("nobody");
    let wrong = with(broker, &json!({"redis": nobody}));
    let (code, checked) = Setup::new(&[wrong]).args(&["check"]).run();
    assert_eq!(code, 69);
    let text = checked.text();
    assert!(text.contains("no master named"), "{text}");
}

/// Two subscriptions, one of them without its broker: the other does not notice.
#[test]
fn each_subscription_stands_alone() {
    let redis = Redis::start();
    let (api, good) = parts(&redis);
    let dead = json!({"broker": "redis://127.0.0.1:1", "app_name": "dead"});
    let mut agent = Setup::new(&[with(good.clone(), &dead), good]).start();
    agent.wait_started();
    redis.publisher("/0.celeryev").send(0, 100);
    let arrived = poll(SOON, || (api.ids() == 100).then_some(()));
    assert!(arrived.is_some(), "{} arrived", api.ids());
    agent.stop().assert_all_delivered(100);
}
