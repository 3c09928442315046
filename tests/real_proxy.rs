//! The agent behind a real HTTP proxy (tinyproxy): http and https APIs, with and without a login,
//! and what a technician reads when the proxy is in the way.

mod support;

use serde_json::{Value, json};
use support::agent::{SOON, Setup, is_complaint, subscription, with};
use support::api::FakeApi;
use support::certs::Authority;
use support::proxy::{PROXY_PASSWORD, PROXY_PASSWORD_PLAIN, Proxy};
use support::publisher::Publisher;
use support::rabbitmq::{PASSWORD, Vhost, shared};

/// Neither may show up in what the agent says; the last is user and password as the header has them.
const SECRETS: [&str; 5] = [
    PROXY_PASSWORD,
    PROXY_PASSWORD_PLAIN,
    PASSWORD,
    "not-for-the-log",
    "Z2F0ZS13YXk6dHVsaXAtYW5kLXRlYQ",
];

fn assert_no_secret(text: &str) {
    for secret in SECRETS {
        assert!(!text.contains(secret), "{secret} is shown: {text}");
    }
}

/// Delivers 100 events with this environment, all that can be logged logged.
#[track_caller]
fn deliver(vhost: &Vhost<'_>, subscription: &Value, api: &FakeApi, env: &[(&str, &str)]) {
    Publisher::open(&vhost.url()).send(0, 100);
    let setup = Setup::new(std::slice::from_ref(subscription)).args(&["--log-level", "trace"]);
    let setup = env
        .iter()
        .fold(setup, |setup, (name, value)| setup.env(name, value));
    let mut agent = setup.start();
    api.wait_ids(SOON, 100);
    agent.stop().assert_all_delivered(100);
    api.assert_exactly_once(0..100);
    assert_no_secret(&agent.text());
}

/// What `check` says with this environment.
fn check(subscription: &Value, env: &[(&str, &str)]) -> (i32, String) {
    let setup = Setup::new(std::slice::from_ref(subscription)).args(&["check"]);
    let setup = env
        .iter()
        .fold(setup, |setup, (name, value)| setup.env(name, value));
    let (code, agent) = setup.run();
    assert_no_secret(&agent.text());
    (code, agent.text())
}

#[track_caller]
fn assert_says(subscription: &Value, env: &[(&str, &str)], words: &[&str]) {
    let (code, text) = check(subscription, env);
    assert_eq!(code, 69, "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is not in: {text}");
    }
}

#[test]
fn an_http_api_is_asked_for_with_its_whole_address() {
    let vhost = shared().vhost("http");
    let api = FakeApi::start();
    let proxy = Proxy::with_login(&[]);
    let url = format!("{}/behind/a/prefix", api.url());
    let subscription = subscription(&vhost.url(), &url);
    let env = proxy.url_with_login();
    deliver(&vhost, &subscription, &api, &[("HTTP_PROXY", &env)]);
    let log = proxy.log();
    let asked = format!("POST {url}/v1/events/process HTTP/1.1");
    assert!(log.contains(&asked), "{log}");
    assert!(!log.contains(": CONNECT "), "{log}");
    let post = &api.posts()[0];
    assert_eq!(post.path, "/behind/a/prefix/v1/events/process");
    let host = format!("127.0.0.1:{}", api.port());
    assert_eq!(post.headers.get("host"), Some(&host));
    assert!(
        !post.headers.contains_key("proxy-authorization"),
        "{post:?}"
    );
}

#[test]
fn an_https_api_is_reached_by_connect_with_its_own_authority() {
    let vhost = shared().vhost("https");
    let authority = Authority::new("site");
    let server = authority.server("api");
    let api = FakeApi::start_tls(&server, Some(&authority));
    let client = authority.client("gateway");
    let proxy = Proxy::with_login(&[api.port()]);
    let changes = json!({"api_tls": {
        "ca_file": authority.ca(), "cert_file": client.cert, "key_file": client.key,
    }});
    let subscription = with(subscription(&vhost.url(), &api.url()), &changes);
    let env = proxy.url_with_login();
    deliver(&vhost, &subscription, &api, &[("https_proxy", &env)]);
    let log = proxy.log();
    let asked = format!("CONNECT localhost:{} HTTP/1.1", api.port());
    assert!(log.contains(&asked), "{log}");
    assert!(!log.contains("POST"), "{log}");
    let post = &api.posts()[0];
    assert!(
        !post.headers.contains_key("proxy-authorization"),
        "{post:?}"
    );

    // Verified all the same.
    let other = Authority::new("other");
    let changes = json!({"api_tls": {"ca_file": other.ca()}});
    let words = ["set api_tls.ca_file", "by proxy http://127.0.0.1:"];
    assert_says(
        &with(subscription, &changes),
        &[("HTTPS_PROXY", &env)],
        &words,
    );
}

#[test]
fn a_login_that_is_missing_or_wrong_is_said() {
    let vhost = shared().vhost("login");
    let authority = Authority::new("site");
    let https = FakeApi::start_tls(&authority.server("api"), None);
    let http = FakeApi::start();
    let proxy = Proxy::with_login(&[https.port()]);
    let plain = subscription(&vhost.url(), &http.url());
    let changes = json!({"api_url": https.url(), "api_tls": {"ca_file": authority.ca()}});
    let encrypted = with(plain.clone(), &changes);
    let wrong = proxy.url_with_login().replace(PROXY_PASSWORD, "planted");
    // tinyproxy says 407 where there is no login and 401 of a wrong one.
    let mend = "http://USER:PASSWORD@HOST:PORT";
    for (url, status, http_mend) in [
        (proxy.url(), "407", mend),
        (wrong, "401", "user and password of the proxy"),
    ] {
        assert_says(&plain, &[("HTTP_PROXY", &url)], &[status, http_mend]);
        assert_says(&encrypted, &[("HTTPS_PROXY", &url)], &[status, mend]);
        let (_, text) = check(&plain, &[("HTTP_PROXY", &url)]);
        assert!(!text.contains("planted"), "{text}");
    }
    // Somebody must act: the running agent says so as an error, and goes on trying.
    let setup = Setup::new(&[encrypted]).env("HTTPS_PROXY", &proxy.url());
    let mut agent = setup.args(&["run", "--for", "2s"]).start();
    let told = agent.wait_complaint(SOON, &["407"]);
    assert_eq!(told["level"], "error", "{told}");
    agent.wait_exit(SOON);
    agent.ledger("shop-qa").assert_all_delivered(0);
}

#[test]
fn what_the_proxy_cannot_or_will_not_do_is_said() {
    let vhost = shared().vhost("refused");
    let authority = Authority::new("site");
    let https = FakeApi::start_tls(&authority.server("api"), None);
    let changes = json!({"api_tls": {"ca_file": authority.ca()}});
    let encrypted = with(subscription(&vhost.url(), &https.url()), &changes);
    // Not to this port.
    let strict = Proxy::open(&[]);
    let words = ["the proxy refused: 403", "allow CONNECT"];
    assert_says(&encrypted, &[("HTTPS_PROXY", &strict.url())], &words);
    // Nobody listens behind it, or nobody is the proxy.
    let dead = with(
        encrypted.clone(),
        &json!({"api_url": "https://localhost:1"}),
    );
    let proxy = Proxy::open(&[1]);
    assert_says(
        &dead,
        &[("HTTPS_PROXY", &proxy.url())],
        &["the proxy refused: 50", "cannot reach"],
    );
    let nobody = [("HTTPS_PROXY", "http://127.0.0.1:1")];
    assert_says(&encrypted, &nobody, &["connection refused", "HTTPS_PROXY"]);
    let unknown = [("https_proxy", "http://no-such-proxy.invalid:3128")];
    assert_says(&encrypted, &unknown, &["name not resolved", "https_proxy"]);
    let broken = [("HTTPS_PROXY", "http://u:hunter2@h:x")];
    let (code, text) = check(&encrypted, &broken);
    assert_eq!(code, 78, "{text}");
    assert!(
        text.contains("HTTPS_PROXY") && !text.contains("hunter2"),
        "{text}"
    );
}

#[test]
fn no_proxy_goes_straight() {
    let vhost = shared().vhost("direct");
    let api = FakeApi::start();
    let subscription = subscription(&vhost.url(), &api.url());
    let env = [
        ("HTTP_PROXY", "http://127.0.0.1:1"),
        ("NO_PROXY", "example.com,127.0.0.0/8"),
    ];
    deliver(&vhost, &subscription, &api, &env);
}

#[test]
fn a_proxy_that_dies_is_only_waited_for() {
    let vhost = shared().vhost("dies");
    let api = FakeApi::start();
    let proxy = Proxy::open(&[]);
    let setup = Setup::new(&[subscription(&vhost.url(), &api.url())]);
    let mut agent = setup.env("http_proxy", &proxy.url()).start();
    let mut publisher = Publisher::open(&vhost.url());
    publisher.send(0, 10);
    api.wait_ids(SOON, 10);
    let proxy = proxy.restart_after(|| {
        publisher.send(10, 10);
        agent.wait_for_log(SOON, "that the API is held", |entry| {
            is_complaint(entry, &["http_proxy"])
        });
    });
    api.wait_ids(SOON, 20);
    agent.stop().assert_all_delivered(20);
    api.assert_exactly_once(0..20);
    drop(proxy);
}
