//! Life under the real supervisor, driven as Leek's control page drives it, with the sections that are
//! in configs/.

mod support;

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use serde_json::{Value, json};
use support::agent::{SOON, readme_entry, subscription, with};
use support::api::FakeApi;
use support::publisher::{Publisher, QUEUE};
use support::rabbitmq::shared;
use support::supervisor::{Setup, Supervisor};
use support::wait::{holds_for, poll, wait_until};

const SECTIONS: &str = include_str!("../configs/supervisord.conf");
const AGENT: &str = env!("CARGO_BIN_EXE_leek-agent");
const DONE: &str = "<boolean>1</boolean>";

/// The section for a gateway, with what the test has in place of what a gateway has.
fn on_a_gateway() -> String {
    let mut text = SECTIONS.to_owned();
    for (from, to) in [
        ("/usr/local/bin/leek-agent", AGENT),
        ("/etc/leek-agent/", "FOLDER/"),
        ("/var/log/leek-agent.log", "FOLDER/agent.log"),
    ] {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    text
}

/// The section for Leek's own image, which is a comment there.
fn in_leeks_image() -> String {
    let (_, rest) = SECTIONS
        .split_once("\n;[program:agent]\n")
        .expect("a second section");
    let lines = rest.lines().map(|line| line.strip_prefix(';').expect(";"));
    let text = lines.collect::<Vec<_>>().join("\n");
    let text = text.replace("/opt/app/bin/leek-agent", AGENT);
    format!(
        "[program:agent]\n{}\n",
        text.replace("/opt/app/conf/", "FOLDER/")
    )
}

fn gateway(subscriptions: &[Value]) -> Setup {
    Setup::new()
        .file(
            "leek-agent.json",
            r#"{"subscriptions": "subscriptions.json"}"#,
        )
        .file(
            "subscriptions.json",
            &Value::from(subscriptions).to_string(),
        )
}

/// How often the agent has logged this.
fn logged(supervisor: &Supervisor, log: &str, words: &str) -> usize {
    supervisor.text(log).matches(words).count()
}

#[test]
fn the_page_starts_and_stops_it_and_a_kill_is_mended() {
    let (vhost, api) = (shared().vhost("supervisor"), FakeApi::start());
    let mut publisher = Publisher::open(&vhost.url());
    publisher.send(0, 200);
    let supervisor = gateway(&[subscription(&vhost.url(), &api.url())]).start(&on_a_gateway());
    supervisor.wait_state(SOON, "RUNNING");
    api.wait_ids(SOON, 200);

    assert!(supervisor.call("stopProcess").contains(DONE));
    let info = supervisor.wait_state(SOON, "STOPPED");
    assert_eq!(info.exitstatus, 0);
    api.assert_exactly_once(0..200);
    vhost.wait_depth(QUEUE, 0, 0);
    let ledger = "\"received\":200,\"delivered\":200,";
    assert_eq!(logged(&supervisor, "agent.log", ledger), 1);

    publisher.send(200, 100);
    assert!(supervisor.call("startProcess").contains(DONE));
    supervisor.wait_state(SOON, "RUNNING");
    api.wait_ids(SOON, 300);

    supervisor.kill9_agent(SOON);
    publisher.send(300, 100);
    api.wait_ids(SOON, 400);
    supervisor.wait_state(SOON, "RUNNING");
    assert!(supervisor.call("stopProcess").contains(DONE));
    api.assert_nothing_missing(0..400);
}

#[test]
fn a_wrong_configuration_is_tried_once_and_again_when_asked_for() {
    let (vhost, api) = (shared().vhost("supervisor-78"), FakeApi::start());
    let right = subscription(&vhost.url(), &api.url());
    let wrong = with(right.clone(), &json!({"prefetch_count": 5}));
    let supervisor = gateway(&[wrong]).start(&on_a_gateway());
    let ended = supervisor.wait_state(SOON, "EXITED");
    assert_eq!(ended.exitstatus, 78);
    let stays = holds_for(Duration::from_secs(4), || supervisor.info() == ended);
    assert!(stays, "{:?}", supervisor.info());
    assert_eq!(
        logged(&supervisor, "agent.log", "expected 1000 to 10000"),
        1
    );

    let path = supervisor.folder().join("subscriptions.json");
    fs::write(path, json!([right]).to_string()).expect("writable");
    assert!(supervisor.call("startProcess").contains(DONE));
    supervisor.wait_state(SOON, "RUNNING");
    wait_until(SOON, "it consumes", || vhost.consumers(QUEUE) == 1);
}

/// A subscription as Leek's bootstrap completes it and writes it to its file, as a local agent's.
fn from_bootstrap(broker: &str, app_env: &str) -> Value {
    let changes = json!({
        "broker_management_url": "http://mq:15672",
        "app_key": "local-secret",
        "api_url": "http://0.0.0.0:5000",
        "concurrency_pool_size": 1,
    });
    with(readme_entry(broker, app_env), &changes)
}

fn as_bootstrap_writes(list: &[Value]) -> String {
    serde_json::to_string_pretty(&Value::from(list)).expect("JSON")
}

#[test]
fn in_leeks_image_it_stands_in_for_leeks_own_agent() {
    let (qa, prod) = (shared().vhost("image-qa"), shared().vhost("image-prod"));
    // The local agent knows one address only; whoever else tests there is waited for.
    let listener = poll(SOON * 2, || {
        TcpListener::bind((Ipv4Addr::UNSPECIFIED, 5000)).ok()
    });
    let api = FakeApi::start_on(listener.expect("port 5000 is free"), None);
    Publisher::open(&qa.url()).send(0, 50);
    let first = from_bootstrap(&qa.url(), "qa");
    // The list with which the container was started: bootstrap has made the file of it, and since then
    // the page has changed the file.
    let outdated = json!([with(first.clone(), &json!({"app_env": "outdated"}))]);
    let supervisor = Setup::new()
        .file(
            "subscriptions.json",
            &as_bootstrap_writes(std::slice::from_ref(&first)),
        )
        .env("LEEK_AGENT_SUBSCRIPTIONS", &outdated.to_string())
        .env("LEEK_AGENT_API_SECRET", "local-secret")
        .env("LEEK_ENABLE_AGENT", "true")
        .env("LEEK_ENABLE_API", "true")
        .env("LEEK_ENABLE_WEB", "true")
        .env("LEEK_API_ENABLE_AUTH", "false")
        .env("LEEK_API_URL", "http://leek.example.com:5000")
        .env("LEEK_WEB_URL", "http://leek.example.com:8000")
        .env("LEEK_ES_URL", "http://es:9200")
        .start(&in_leeks_image());
    // Bootstrap starts it once the API is up, as the page does later.
    assert_eq!(supervisor.info().statename, "STOPPED");
    assert!(supervisor.call("startProcess").contains(DONE));
    supervisor.wait_state(SOON, "RUNNING");
    api.wait_ids(SOON, 50);

    // A subscription more, by the page, which then restarts the agent.
    Publisher::open(&prod.url()).send(50, 50);
    let both = [first, from_bootstrap(&prod.url(), "prod")];
    let path = supervisor.folder().join("subscriptions.json");
    fs::write(path, as_bootstrap_writes(&both)).expect("writable");
    assert!(supervisor.call("stopProcess").contains(DONE));
    assert_eq!(supervisor.info().exitstatus, 0);
    assert!(supervisor.call("startProcess").contains(DONE));
    api.wait_ids(SOON, 100);
    assert!(supervisor.call("stopProcess").contains(DONE));

    api.assert_exactly_once(0..100);
    for post in api.posts() {
        assert_eq!(post.headers["x-leek-org-name"], "mono");
        assert_eq!(post.headers["x-leek-app-key"], "local-secret");
        let app_env = &post.headers["x-leek-app-env"];
        assert!(post.documents.iter().all(|one| one["app_env"] == **app_env));
    }
    // Its log is the container's.
    assert_eq!(logged(&supervisor, "output", "leek-agent started"), 2);
    assert_eq!(logged(&supervisor, "output", "outdated"), 0);
    assert_eq!(logged(&supervisor, "output", "local-secret"), 0);
}
