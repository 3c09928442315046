//! Brokers as people write them, on a real RabbitMQ: names that must be encoded, default and
//! missing vhosts, IPv6, failover lists, and Leek's own examples in local and standalone mode.

mod support;

use std::net::{Ipv4Addr, TcpListener};

use serde_json::json;
use support::agent::{SOON, Setup, readme_entry, start, subscription, with};
use support::api::FakeApi;
use support::fault_proxy::FaultProxy;
use support::publisher::{Publisher, QUEUE};
use support::rabbitmq::{Depth, PASSWORD, Rabbit, USER, shared};
use support::wait::{poll, wait_until};

/// Publishes 10 events through `by` and has an agent take them from `broker`.
#[track_caller]
fn deliver(by: &str, broker: &str) {
    let api = FakeApi::start();
    Publisher::open(by).send(0, 10);
    let mut agent = start(&subscription(broker, &api.url()));
    api.wait_ids(SOON, 10);
    agent.stop().assert_all_delivered(10);
    api.assert_exactly_once(0..10);
}

#[test]
fn users_passwords_and_vhosts_may_be_encoded() {
    let vhost = shared().vhost("a/b c@ö%");
    shared().user("q@site/1:x", "p@ss/w:rd#?%;é", "a/b c@ö%");
    let port = shared().amqp_port();
    let user = "q%40site%2F1%3Ax";
    let password = "p%40ss%2Fw%3Ard%23%3F%25%3B%C3%A9";
    let name = "a%2Fb%20c%40%C3%B6%25";
    let broker = format!("amqp://{user}:{password}@127.0.0.1:{port}/{name}");
    deliver(&broker, &broker);
    assert_eq!(vhost.depth(QUEUE), Depth::default());
}

#[test]
fn the_default_vhost_has_many_spellings() {
    let port = shared().amqp_port();
    let host = format!("{USER}:{PASSWORD}@127.0.0.1:{port}");
    let by = format!("amqp://{host}/%2f");
    for broker in [
        format!("amqp://{host}"),
        format!("amqp://{host}/"),
        format!("amqp://{host}//"),
        format!("pyamqp://{host}/%2F"),
        format!("AMQP://{host}//?heartbeat=10&connection_attempts=3"),
    ] {
        deliver(&by, &broker);
    }
}

#[test]
fn an_ipv6_address_stands_in_brackets() {
    let Ok(listener) = TcpListener::bind("[::1]:0") else {
        // A machine without IPv6 has nothing to test here.
        return;
    };
    let wire = FaultProxy::on(listener, shared().amqp_port());
    let vhost = shared().vhost("six");
    let broker = format!("amqp://{USER}:{PASSWORD}@[::1]:{}/six", wire.port());
    deliver(&vhost.url(), &broker);
    assert_eq!(wire.connections(), 1);
}

#[test]
fn a_failover_list_goes_round_between_nodes() {
    let (first, second) = (Rabbit::start(), shared());
    let (one, two) = (first.vhost("round"), second.vhost("round"));
    let api = FakeApi::start();
    // Port 1 is nobody's.
    let dead = format!("amqp://{USER}:{PASSWORD}@127.0.0.1:1/round");
    for strategy in ["round-robin", "shuffle"] {
        first.heal();
        let start_at = api.ids();
        let brokers = format!("{};{dead};{}", one.url(), two.url());
        let changes = json!({"broker": brokers, "failover_strategy": strategy});
        let mut agent = start(&with(subscription(&one.url(), &api.url()), &changes));
        let on = || (one.consumers(QUEUE), two.consumers(QUEUE));
        wait_until(SOON, "it consumes somewhere", || on() != (0, 0));
        if strategy == "round-robin" {
            assert_eq!(on(), (1, 0), "the first comes first");
        }
        Publisher::open(&one.url()).send(start_at, 10);
        Publisher::open(&two.url()).send(start_at + 10, 10);
        // Whichever it is on now, the first goes: what the second has is delivered in the end.
        if on() == (1, 0) {
            api.wait_ids(SOON, start_at + 10);
            first.kill9();
        }
        wait_until(SOON, "it consumes from the second", || {
            two.consumers(QUEUE) == 1
        });
        wait_until(SOON, "and has all of it", || {
            api.events_by_id()
                .contains_key(&support::publisher::uuid(start_at + 19))
        });
        agent.stop().assert_balanced();
        first.heal();
        one.purge(QUEUE);
    }
}

/// Publishes to both, and looks at what comes as whom.
fn deliver_two(setup: Setup, api: &FakeApi, hosts: [&str; 2], key: &str) {
    for (number, host) in hosts.into_iter().enumerate() {
        Publisher::open(host).send(number * 50, 50);
    }
    let mut agent = setup.start();
    api.wait_ids(SOON, 100);
    agent.sigterm();
    assert_eq!(agent.wait_exit(SOON), 0);
    for name in ["leek-qa", "leek-prod"] {
        agent.ledger(name).assert_all_delivered(50);
    }
    for post in api.posts() {
        let header = |name: &str| post.headers.get(name).map(String::as_str);
        assert_eq!(header("x-leek-org-name"), Some("mono"));
        assert_eq!(header("x-leek-app-name"), Some("leek"));
        assert_eq!(header("x-leek-app-key"), Some(key));
        let app_env = header("x-leek-app-env").expect("an environment");
        assert!(post.documents.iter().all(|one| one["app_env"] == app_env));
    }
    api.assert_exactly_once(0..100);
    for secret in [PASSWORD, key] {
        assert!(!agent.text().contains(secret), "a secret is in the log");
    }
}

#[test]
fn leeks_example_runs_standalone_with_one_key_for_all() {
    let (qa, prod) = (shared().vhost("sa-qa"), shared().vhost("sa-prod"));
    let api = FakeApi::start();
    let list = json!([
        readme_entry(&qa.url(), "qa"),
        readme_entry(&prod.url(), "prod")
    ]);
    let setup = Setup::new(&[])
        .env("LEEK_AGENT_SUBSCRIPTIONS", &list.to_string())
        .env("LEEK_ENABLE_AGENT", "true")
        .env("LEEK_ENABLE_API", "false")
        .env("LEEK_AGENT_API_URL", &api.url())
        .env("LEEK_AGENT_APP_KEY", "not-for-the-log");
    deliver_two(setup, &api, [&qa.url(), &prod.url()], "not-for-the-log");
}

#[test]
fn leeks_example_runs_locally_as_it_is() {
    let (qa, prod) = (shared().vhost("local-qa"), shared().vhost("local-prod"));
    // The local agent knows one address only; whoever else tests there is waited for.
    let listener = poll(SOON, || {
        TcpListener::bind((Ipv4Addr::UNSPECIFIED, 5000)).ok()
    });
    let api = FakeApi::start_on(listener.expect("port 5000 is free"), None);
    let list = json!([
        readme_entry(&qa.url(), "qa"),
        readme_entry(&prod.url(), "prod")
    ]);
    let setup = Setup::new(&[])
        .env("LEEK_AGENT_SUBSCRIPTIONS", &list.to_string())
        .env("LEEK_ENABLE_AGENT", "true")
        .env("LEEK_ENABLE_API", "true")
        .env("LEEK_API_ENABLE_AUTH", "false")
        .env("LEEK_AGENT_API_SECRET", "local-secret-not-shown")
        // What a proxy has to say is not for the container's own API.
        .env("http_proxy", "http://127.0.0.1:1");
    deliver_two(
        setup,
        &api,
        [&qa.url(), &prod.url()],
        "local-secret-not-shown",
    );
}

#[test]
fn two_queues_of_one_vhost_each_get_everything() {
    let vhost = shared().vhost("one-host");
    let api = FakeApi::start();
    let list = [
        readme_entry(&vhost.url(), "qa"),
        with(
            readme_entry(&vhost.url(), "prod"),
            &json!({"queue": "leek.fanout.prod"}),
        ),
    ];
    let list = json!(list.map(|one| with(one, &json!({"api_url": api.url(), "app_key": "k"}))));
    let mut agent = Setup::new(&[])
        .env("LEEK_AGENT_SUBSCRIPTIONS", &list.to_string())
        .start();
    wait_until(SOON, "both consume", || {
        vhost.consumers(QUEUE) == 1 && vhost.consumers("leek.fanout.prod") == 1
    });
    Publisher::connect(&vhost.url()).send(0, 50);
    wait_until(SOON, "both have delivered", || {
        api.events_by_id().values().sum::<u64>() == 100
    });
    agent.sigterm();
    assert_eq!(agent.wait_exit(SOON), 0);
    for name in ["leek-qa", "leek-prod"] {
        agent.ledger(name).assert_all_delivered(50);
    }
}
