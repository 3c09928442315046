//! The agent as a service of systemd: what it tells the service manager, and where keys come from.

mod support;

use std::net::TcpListener;
use std::time::Duration;

use serde_json::{Value, json};
use support::agent::{SOON, Setup, subscription, with};
use support::api::{Answer, FakeApi};
use support::booted::{Booted, can_boot};
use support::disk::quarantine_lines;
use support::publisher::{Publisher, QUEUE, uuid};
use support::rabbitmq::shared;
use support::redis::Redis;
use support::systemd::ServiceManager;
use support::wait::{holds_for, wait_until};

const ALL_WELL: &str = "2 of 2 subscriptions well";

fn named(subscription: Value, name: &str) -> Value {
    with(subscription, &json!({"app_name": name}))
}

#[test]
fn ready_waits_for_every_subscription_and_the_status_names_who_is_not_well() {
    let (redis, api) = (Redis::start(), FakeApi::start());
    let vhost = shared().vhost("ready");
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("an address");
    let broker = format!("amqp://{address}/");
    let subscriptions = [
        named(subscription(&redis.url(), &api.url()), "good"),
        named(subscription(&broker, &api.url()), "slow"),
        named(subscription(&vhost.url(), "http://127.0.0.1:9"), "mute"),
    ];
    let mut systemd = ServiceManager::start();
    let mut agent = systemd.service(Setup::new(&subscriptions)).start();
    systemd.wait_status(SOON, "1 of 3 subscriptions well; not: slow-qa, mute-qa");
    // Then nobody listens there any more: attempted, and that it failed holds nobody up.
    drop(silent);
    systemd.wait_for(SOON, "READY=1");
    agent.wait_started();
    let log = agent.log();
    let attempts = log
        .iter()
        .take_while(|entry| entry["message"] != "leek-agent started");
    let failed: Vec<_> = attempts.filter(|entry| entry["level"] == "warn").collect();
    for name in ["slow-qa", "mute-qa"] {
        let told = failed.iter().any(|entry| entry["subscription"] == name);
        assert!(told, "ready before {name} was attempted");
    }
    agent.sigterm();
    systemd.wait_for(SOON, "STOPPING=1");
    agent.wait_exit(SOON);
    assert_eq!(systemd.count("READY=1"), 1, "{:?}", systemd.heard());
}

#[test]
fn the_status_follows_a_broker_that_goes_and_comes() {
    let (redis, api) = (Redis::start(), FakeApi::start());
    let vhost = shared().vhost("status");
    let subscriptions = [
        named(subscription(&redis.url(), &api.url()), "near"),
        named(subscription(&vhost.url(), &api.url()), "far"),
    ];
    let mut systemd = ServiceManager::start();
    let mut agent = systemd.service(Setup::new(&subscriptions)).start();
    systemd.wait_for(SOON, "READY=1");
    systemd.wait_status(SOON, ALL_WELL);
    redis.kill9();
    systemd.wait_status(SOON, "1 of 2 subscriptions well; not: near-qa");
    redis.start_server();
    systemd.wait_status(SOON, ALL_WELL);
    agent.sigterm();
    systemd.wait_for(SOON, "STOPPING=1");
    assert_eq!(agent.wait_exit(SOON), 0);
}

#[test]
fn signs_of_life_come_twice_in_the_watchdogs_time_and_only_from_a_loop_that_turns() {
    const WATCHDOG: Duration = Duration::from_secs(2);
    let (redis, api) = (Redis::start(), FakeApi::start());
    let mut systemd = ServiceManager::start();
    let mut agent = systemd
        .service(Setup::new(&[subscription(&redis.url(), &api.url())]))
        .env("WATCHDOG_USEC", &WATCHDOG.as_micros().to_string())
        .start();
    let sign = "WATCHDOG=1";
    wait_until(SOON, "six signs of life", || systemd.count(sign) >= 6);
    let times = systemd.times(sign);
    // The machine may be busy, so no single gap is measured, only how many fit into the time.
    let length = times[5].duration_since(times[0]);
    assert!(length > WATCHDOG * 2, "six signs within {length:?}");
    assert!(length < WATCHDOG * 4, "six signs within {length:?}");
    agent.sigstop();
    let before = systemd.count(sign);
    let silent = holds_for(WATCHDOG * 2, || systemd.count(sign) == before);
    assert!(silent, "a frozen agent gave a sign of life");
    agent.sigcont();
    wait_until(SOON, "a sign again", || systemd.count(sign) > before);
    agent.stop();
}

#[test]
fn keys_come_out_of_the_credentials_folder() {
    let vhost = shared().vhost("credentials");
    let api = FakeApi::start();
    let systemd = ServiceManager::start();
    let folder = systemd.credential("own.key", "own-key\n");
    let (own, common) = (folder.join("own.key"), folder.join("app.key"));
    systemd.credential("app.key", "common-key\n");
    let plain = with(
        subscription(&vhost.url(), &api.url()),
        &json!({"app_key": null}),
    );
    let own =
        json!({"app_name": "own", "queue": "leek.own", "app_key_file": own.display().to_string()});
    let subscriptions = [with(plain.clone(), &own), named(plain, "common")];
    let mut agent = systemd
        .service(Setup::new(&subscriptions))
        .env("LEEK_AGENT_APP_KEY_FILE", &common.display().to_string())
        .start();
    agent.wait_started();
    wait_until(SOON, "both consume", || {
        vhost.consumers("leek.own") == 1 && vhost.consumers("leek.fanout") == 1
    });
    Publisher::connect(&vhost.url()).send(0, 5);
    wait_until(SOON, "both have delivered", || {
        api.events_by_id().values().sum::<u64>() == 10
    });
    for post in api.posts() {
        let header = |name: &str| post.headers[name].as_str();
        let expected = match header("x-leek-app-name") {
            "own" => "own-key",
            _ => "common-key",
        };
        assert_eq!(header("x-leek-app-key"), expected);
    }
    agent.sigterm();
    assert_eq!(agent.wait_exit(SOON), 0);
    assert!(!agent.text().contains("-key\""), "a key is in the log");
}

#[test]
fn a_wrong_configuration_ends_with_the_status_that_the_unit_does_not_restart() {
    let nobody = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("redis://{}/0", nobody.local_addr().expect("an address"));
    let wrong = with(
        subscription(&url, "http://127.0.0.1:9"),
        &json!({"prefetch_count": 5}),
    );
    let mut systemd = ServiceManager::start();
    let (code, agent) = systemd
        .service(Setup::new(&[wrong]))
        .env("WATCHDOG_USEC", "1000000")
        .run();
    assert_eq!(code, 78, "{}", agent.text());
    assert_eq!(systemd.heard(), [""; 0], "not ready, so nothing to tell");
    let unit = include_str!("../configs/leek-agent.service");
    assert!(
        unit.lines()
            .any(|line| line == "RestartPreventExitStatus=78")
    );
}

/// The unit with its lines for a key that all share, and the program where the test can put it.
fn unit() -> String {
    let mut text = include_str!("../configs/leek-agent.service").to_owned();
    for (from, to) in [
        ("/usr/bin/leek-agent", "/usr/local/bin/leek-agent"),
        ("# LoadCredential=app.key", "LoadCredential=app.key"),
        ("# Environment=", "Environment="),
    ] {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    text
}

#[test]
fn a_real_systemd_runs_it_hardened_mends_it_and_stops_it() {
    if !can_boot() {
        return;
    }
    let (vhost, api) = (shared().vhost("booted"), FakeApi::start());
    let mut publisher = Publisher::open(&vhost.url());
    let refused = uuid(7);
    api.always(Answer::Partial(vec![refused]));
    publisher.send(0, 100);
    let systemd = Booted::boot(&unit(), "WatchdogSec=3\nRestartSec=1\n");

    // Not configured: that is no failure.
    systemd.systemctl("start leek-agent");
    assert_eq!(systemd.show("ConditionResult"), "no");
    assert_eq!(systemd.show("ActiveState"), "inactive");

    // By name: a resolver needs more of the system than a socket does.
    let api_url = api.url().replace("127.0.0.1", "localhost");
    let right = with(
        subscription(&vhost.url(), &api_url),
        &json!({"app_key": null}),
    );
    systemd.configure("app.key", "from-a-credential\n");
    systemd.configure_all(&[with(right.clone(), &json!({"prefetch_count": 5}))]);
    systemd.systemctl("start leek-agent");
    systemd.wait_show(SOON, "ActiveState", "failed");
    assert_eq!(systemd.show("ExecMainStatus"), "78");
    let stays = holds_for(Duration::from_secs(3), || systemd.show("NRestarts") == "0");
    assert!(stays, "a wrong configuration was tried again");

    systemd.configure_all(&[right]);
    systemd.systemctl("start leek-agent");
    systemd.wait_show(SOON, "StatusText", "1 of 1 subscriptions well");
    assert_eq!(systemd.show("ActiveState"), "active");
    api.wait_ids(SOON, 99);
    assert_eq!(
        api.posts()[0].headers["x-leek-app-key"],
        "from-a-credential"
    );
    let may = systemd.status_lines(&["CapEff", "NoNewPrivs", "Seccomp:"]);
    assert_eq!(
        may,
        ["CapEff:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"]
    );
    let user = systemd.status_lines(&["Uid"]);
    assert!(!user[0].starts_with("Uid:\t0\t"), "{user:?}");
    let kept = || quarantine_lines(&systemd.state().join("quarantine")).len();
    wait_until(SOON, "the refused document is in its state", || kept() == 1);

    // Its loop hangs: the watchdog kills it, and another is started. Then a plain kill.
    systemd.signal("STOP");
    systemd.wait_show(SOON, "NRestarts", "1");
    systemd.wait_show(SOON, "ActiveState", "active");
    systemd.signal("KILL");
    systemd.wait_show(SOON, "NRestarts", "2");
    systemd.wait_show(SOON, "ActiveState", "active");
    publisher.send(100, 100);
    api.wait_ids(SOON, 199);

    systemd.systemctl("stop leek-agent");
    assert_eq!(systemd.show("ActiveState"), "inactive");
    assert_eq!(systemd.show("Result"), "success");
    assert_eq!(systemd.show("ExecMainStatus"), "0");
    vhost.wait_depth(QUEUE, 0, 0);
    assert!(!systemd.log().contains("from-a-credential"));
}
