//! The agent as a service in Consul: how it registers, what it says of itself, and that no Consul,
//! dead, hanging or mad, holds up a single event. The Consul is a strict stand-in, `support/consul.rs`.

mod support;

use std::fs;
use std::time::Duration;

use leek_agent::clock;
use serde_json::{Value, json};
use support::agent::{Agent, PAUSE_MS, SOON, Setup, subscription, with};
use support::api::{Answer, FakeApi};
use support::consul::{FakeConsul, Manner};
use support::publisher::Publisher;
use support::rabbitmq::shared;
use support::redis::Redis;
use support::wait::{holds_for, wait_until};

/// What a stop may take that nothing holds up: a second for Consul at most, and a busy machine.
const STOPPED_BY: Duration = Duration::from_secs(6);

/// The section, with `changes` on top.
fn section(address: &str, changes: Value) -> String {
    let section = json!({"address": address, "ttl": "5s", "critical_after": "2s"});
    json!({"consul": with(section, &changes)}).to_string()
}

fn setup(subscriptions: &[Value], config: &str) -> Setup {
    Setup::new(subscriptions)
        .file("agent.json", config)
        .args(&["--config", "FOLDER/agent.json"])
}

/// A Redis, an API, and an agent between them that is known to Consul.
struct Site {
    redis: Redis,
    api: FakeApi,
    consul: FakeConsul,
    agent: Agent,
}

impl Site {
    fn new(changes: Value) -> Site {
        let (redis, api, consul) = (Redis::start(), FakeApi::start(), FakeConsul::start());
        let subscription = subscription(&format!("{}/0", redis.url()), &api.url());
        let agent = setup(&[subscription], &section(&consul.url(), changes)).start();
        redis.wait_listener();
        Site {
            redis,
            api,
            consul,
            agent,
        }
    }

    #[track_caller]
    fn wait_status(&self, id: &str, status: &str) {
        let what = format!("{id} is {status}");
        wait_until(SOON, &what, || self.consul.status(id) == status);
    }

    /// What is said about a check.
    fn output(&self, id: &str) -> String {
        self.consul
            .check(id)
            .map(|(_, output)| output)
            .unwrap_or_default()
    }

    /// `count` events more arrive, and each once.
    #[track_caller]
    fn delivers(&self, first: usize, count: usize) {
        self.redis.publisher("/0.celeryev").send(first, count);
        self.api.wait_ids(SOON, first + count);
    }
}

#[test]
fn it_stands_in_consul_while_it_runs() {
    let mut site = Site::new(json!({
        "token": "hunter2",
        "datacenter": "east",
        "service": {"name": "leek", "id": "leek-7", "address": "10.0.0.7", "port": 9464,
            "tags": ["edge"], "meta": {"site": "north"}},
        "deregister_critical_after": "10m",
        "checks": [
            {"name": "page", "http": "http://127.0.0.1:9464/healthz", "interval": "10s", "notes": "text"},
            {"name": "broker", "id": "b", "tcp": "127.0.0.1:6379", "interval": "30s"},
            {"name": "script", "args": ["/usr/bin/true", "-x"], "interval": "1m"},
        ],
    }));
    site.consul.want_token("hunter2");
    site.wait_status("leek-agent:shop-qa", "passing");
    site.wait_status("leek-7", "passing");
    let service = site.consul.service("leek-7").expect("registered");
    let expected = json!({"ID": "leek-7", "Service": "leek", "Address": "10.0.0.7", "Port": 9464,
        "Tags": ["edge"], "Meta": {"site": "north"}});
    assert_eq!(service, expected);
    wait_until(SOON, "the user's checks", || {
        site.consul.check_ids().len() == 5
    });
    let ids = ["b", "leek-7", "leek-agent:shop-qa", "page", "script"];
    assert_eq!(site.consul.check_ids(), ids);
    assert_eq!(site.output("leek-agent:shop-qa"), "consuming, api well");
    let all_well = |output: String| output.ends_with(": 1 of 1 subscriptions passing");
    wait_until(SOON, "the process tells", || {
        all_well(site.output("leek-7"))
    });
    // Renewed a few times, it is never late.
    wait_until(SOON, "renewals", || {
        let renewals = site.consul.requests();
        let renewals = renewals
            .iter()
            .filter(|request| request.target.contains("/check/update/"));
        renewals.count() > 8
    });
    assert_eq!(site.consul.status("leek-agent:shop-qa"), "passing");

    site.agent.sigterm();
    assert_eq!(site.agent.wait_exit(STOPPED_BY), 0);
    assert_eq!(site.consul.check_ids(), [""; 0], "its checks went with it");
    assert_eq!(site.consul.service("leek-7"), None);
    for request in site.consul.requests() {
        assert!(request.target.ends_with("dc=east"), "{}", request.target);
        assert!(!request.target.contains("hunter2"));
    }
    assert!(!site.agent.text().contains("hunter2"));
    assert!(site.agent.longest_pause_ms() < PAUSE_MS);
}

#[test]
fn its_checks_say_how_broker_and_api_are() {
    let mut site = Site::new(json!({}));
    let check = "leek-agent:shop-qa";
    site.wait_status(check, "passing");
    site.api.always(Answer::unavailable());
    site.redis.publisher("/0.celeryev").send(0, 1);
    site.wait_status(check, "warning");
    let output = site.output(check);
    assert!(
        output.starts_with("api http://") && output.contains("503"),
        "{output}"
    );
    site.wait_status(check, "critical");
    site.api.always(Answer::Stored);
    site.wait_status(check, "passing");

    site.redis.kill9();
    site.wait_status(check, "critical");
    let output = site.output(check);
    assert!(output.starts_with("broker redis://"), "{output}");
    assert_eq!(
        site.consul.status("leek-agent"),
        "passing",
        "the process is well"
    );
    site.redis.start_server();
    site.wait_status(check, "passing");
    site.agent.stop();
}

#[test]
fn a_consul_that_forgot_everything_is_told_again() {
    let mut site = Site::new(json!({"checks": [{"name": "port", "tcp": "h:1", "interval": "9s"}]}));
    wait_until(SOON, "registered", || site.consul.check_ids().len() == 3);
    site.consul.restart();
    wait_until(SOON, "registered again", || {
        site.consul.check_ids().len() == 3
    });
    site.wait_status("leek-agent:shop-qa", "passing");
    site.agent
        .wait_complaint(SOON, &["does not know this agent any more"]);
    site.delivers(0, 100);
    site.agent.stop().assert_all_delivered(100);
}

#[test]
fn whoever_is_killed_turns_critical_by_itself() {
    let mut site = Site::new(json!({}));
    site.wait_status("leek-agent:shop-qa", "passing");
    site.agent.kill9();
    assert_eq!(
        site.consul.status("leek-agent:shop-qa"),
        "passing",
        "nobody knows yet"
    );
    site.consul.pass(Duration::from_secs(6));
    assert_eq!(site.consul.status("leek-agent:shop-qa"), "critical");
    assert_eq!(site.consul.status("leek-agent"), "critical");
}

#[test]
fn a_token_that_may_not_is_told_and_hinders_nothing() {
    let mut site = Site::new(json!({"token": "hunter3"}));
    site.consul.want_token("hunter2");
    site.agent
        .wait_for_log(SOON, "an error about the token", |entry| {
            entry["level"] == "error" && entry.to_string().contains("service:write")
        });
    site.delivers(0, 100);
    site.agent.stop().assert_all_delivered(100);
    assert!(!site.agent.text().contains("hunter"));
}

#[test]
fn both_brokers_subscriptions_stand_in_consul() {
    let (vhost, redis) = (shared().vhost("consul"), Redis::start());
    let (api, consul) = (FakeApi::start(), FakeConsul::start());
    let on_redis = subscription(&format!("{}/0", redis.url()), &api.url());
    let on_rabbit = with(
        subscription(&vhost.url(), &api.url()),
        &json!({"app_name": "till"}),
    );
    let config = section(&consul.url(), json!({}));
    let mut agent = setup(&[on_redis, on_rabbit], &config).start();
    for id in ["leek-agent:shop-qa", "leek-agent:till-qa"] {
        wait_until(SOON, id, || consul.status(id) == "passing");
    }
    let mut publisher = Publisher::open(&vhost.url());
    publisher.send(0, 100);
    redis.publisher("/0.celeryev").send(100, 100);
    api.wait_ids(SOON, 200);
    agent.sigterm();
    assert_eq!(agent.wait_exit(STOPPED_BY), 0);
    assert_eq!(consul.check_ids(), [""; 0]);
}

// ── A Consul that is not well ──────────────────────────────────────────────────────────────────

/// Events flow beside a Consul that is like that, and the end comes in time.
fn delivers_beside(consul: Option<(&FakeConsul, Manner)>, complaint: &str) {
    let address = consul
        .as_ref()
        .map_or("http://127.0.0.1:1".to_owned(), |(consul, _)| consul.url());
    if let Some((consul, manner)) = consul {
        consul.behave(manner);
    }
    let (redis, api) = (Redis::start(), FakeApi::start());
    let subscription = subscription(&format!("{}/0", redis.url()), &api.url());
    let mut agent = setup(&[subscription], &section(&address, json!({}))).start();
    redis.wait_listener();
    if !complaint.is_empty() {
        agent.wait_complaint(SOON, &[complaint]);
    }
    let mut publisher = redis.publisher("/0.celeryev");
    for round in 0..20 {
        publisher.send(round * 500, 500);
        api.wait_ids(SOON, (round + 1) * 500);
    }
    let began = clock::monotonic();
    agent.stop().assert_all_delivered(10_000);
    let took = clock::monotonic() - began;
    assert!(took < STOPPED_BY, "{took:?}");
    api.assert_exactly_once(0..10_000);
    let pause = agent.longest_pause_ms();
    assert!(pause < PAUSE_MS, "{pause} ms");
}

#[test]
fn a_dead_consul_hinders_nothing() {
    delivers_beside(None, "nothing listens at consul.address");
}

#[test]
fn a_consul_that_hangs_hinders_nothing() {
    delivers_beside(Some((&FakeConsul::start(), Manner::Hangs)), "");
}

#[test]
fn a_consul_that_babbles_hinders_nothing() {
    delivers_beside(
        Some((&FakeConsul::start(), Manner::Babbles)),
        "the answer is not http",
    );
}

#[test]
fn an_answer_without_an_end_hinders_nothing() {
    let endless = "x".repeat(64 * 1024).leak();
    delivers_beside(
        Some((&FakeConsul::start(), Manner::Says(500, endless))),
        "500: xxx",
    );
}

#[test]
fn a_consul_that_comes_later_is_told() {
    let consul = FakeConsul::start();
    consul.behave(Manner::Babbles);
    let (redis, api) = (Redis::start(), FakeApi::start());
    let subscription = subscription(&format!("{}/0", redis.url()), &api.url());
    let mut agent = setup(&[subscription], &section(&consul.url(), json!({}))).start();
    agent.wait_complaint(SOON, &["consul not told how this agent is"]);
    consul.behave(Manner::Well);
    wait_until(SOON, "it stands there", || {
        consul.status("leek-agent:shop-qa") == "passing"
    });
    agent.stop();
}

#[test]
fn without_the_section_there_is_no_thread_for_it() {
    let (redis, api) = (Redis::start(), FakeApi::start());
    let subscription = subscription(&format!("{}/0", redis.url()), &api.url());
    let mut agent = setup(&[subscription], "{}").start();
    redis.wait_listener();
    let has_thread = |agent: &Agent| agent.threads().contains(&"leek-consul".to_owned());
    assert!(holds_for(Duration::from_millis(200), || !has_thread(
        &agent
    )));
    agent.stop();
}

// ── What changes while it runs ─────────────────────────────────────────────────────────────────

/// The list of subscriptions and the options in the agent's folder, to be changed and read again.
fn rewrite(agent: &Agent, file: &str, text: &str) {
    fs::write(agent.folder().join(file), text).expect("the folder is writable");
    agent.sighup();
}

#[test]
fn subscriptions_that_come_and_go_are_followed() {
    let mut site = Site::new(json!({}));
    site.wait_status("leek-agent:shop-qa", "passing");
    let broker = format!("{}/0", site.redis.url());
    let one = subscription(&broker, &site.api.url());
    let other = with(one.clone(), &json!({"app_name": "till"}));
    rewrite(
        &site.agent,
        "subscriptions.json",
        &json!([one, other]).to_string(),
    );
    site.wait_status("leek-agent:till-qa", "passing");
    rewrite(
        &site.agent,
        "subscriptions.json",
        &json!([other]).to_string(),
    );
    let left = ["leek-agent", "leek-agent:till-qa"];
    wait_until(SOON, "the first is gone", || {
        site.consul.check_ids() == left
    });
    let registered = site.consul.requests();
    let registered = registered
        .iter()
        .filter(|request| request.target.contains("service/register"));
    assert_eq!(registered.count(), 1, "the service stands as it stood");
    site.agent.sigterm();
    assert_eq!(site.agent.wait_exit(STOPPED_BY), 0);
}

#[test]
fn a_section_that_is_changed_counts_from_the_reload_on() {
    let mut site = Site::new(json!({}));
    site.wait_status("leek-agent:shop-qa", "passing");
    let other = section(
        &site.consul.url(),
        json!({"service": {"name": "leek", "id": "leek-2"}}),
    );
    rewrite(&site.agent, "agent.json", &other);
    wait_until(SOON, "another service", || {
        site.consul.service("leek-2").is_some()
    });
    assert_eq!(
        site.consul.service("leek-agent"),
        None,
        "the first one is gone"
    );
    site.wait_status("leek-agent:shop-qa", "passing");
    rewrite(&site.agent, "agent.json", "{}");
    wait_until(SOON, "no service", || {
        site.consul.service("leek-2").is_none()
    });
    wait_until(SOON, "its thread ends", || {
        !site.agent.threads().contains(&"leek-consul".to_owned())
    });
    site.delivers(0, 100);
    site.agent.stop().assert_all_delivered(100);
}

#[test]
fn who_drains_leaves_too() {
    let (vhost, api, consul) = (
        shared().vhost("consul-drain"),
        FakeApi::start(),
        FakeConsul::start(),
    );
    let subscription = subscription(&vhost.url(), &api.url());
    let config = section(&consul.url(), json!({}));
    let (code, _) = setup(&[subscription], &config).args(&["--drain"]).run();
    assert_eq!(code, 0);
    let requests = consul.requests();
    let of_service = requests
        .iter()
        .filter(|request| request.target.contains("/service/"));
    let targets: Vec<&str> = of_service.map(|request| request.target.as_str()).collect();
    assert_eq!(
        targets,
        [
            "/v1/agent/service/register?replace-existing-checks",
            "/v1/agent/service/deregister/leek-agent"
        ]
    );
}
