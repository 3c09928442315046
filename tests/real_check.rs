//! What `leek-agent check` tells somebody who has just put the agent onto a gateway: one line for the
//! broker and one for the API of each subscription, each failure with what to do about it. Failures of
//! TLS, of a proxy and of Redis have tests of their own beside what works.

mod support;

use serde_json::{Value, json};
use support::agent::{Setup, subscription, with};
use support::api::{Answer, FakeApi, error};
use support::certs::{Authority, Order};
use support::disk::can_mount;
use support::rabbitmq::{PASSWORD, USER, Vhost, shared};

/// A subscription that `check` finds well.
struct Parts {
    vhost: Vhost<'static>,
    api: FakeApi,
    subscription: Value,
}

fn parts(name: &str) -> Parts {
    let vhost = shared().vhost(name);
    let api = FakeApi::start();
    let subscription = subscription(&vhost.url(), &api.url());
    Parts {
        vhost,
        api,
        subscription,
    }
}

/// What stands behind the address on the line of that side.
#[track_caller]
fn finding(setup: Setup, side: &str) -> (i32, String) {
    let (code, agent) = setup.args(&["check"]).run();
    let text = agent.text();
    for secret in [PASSWORD, "not-for-the-log"] {
        assert!(!text.contains(secret), "{text}");
    }
    let lines: Vec<_> = text.lines().collect();
    let [broker, api] = lines[..] else {
        panic!("expected a line for each side: {text}");
    };
    let line = if side == "broker" { broker } else { api };
    let start = format!("shop-qa: {side} ");
    let rest = line.strip_prefix(&start);
    let (_, finding) = rest
        .and_then(|rest| rest.split_once(": "))
        .unwrap_or_else(|| panic!("{start}ADDRESS: …, not {line}"));
    (code, finding.to_owned())
}

/// What it says of a side that fails.
#[track_caller]
fn failure(setup: Setup, side: &str) -> String {
    let (code, finding) = finding(setup, side);
    assert_eq!(code, 69, "{finding}");
    let reason = finding.strip_prefix("failed: ");
    reason.unwrap_or_else(|| panic!("{finding}")).to_owned()
}

#[test]
fn each_side_of_a_subscription_has_a_line() {
    let parts = parts("well");
    for side in ["broker", "api"] {
        let setup = Setup::new(std::slice::from_ref(&parts.subscription));
        assert_eq!(finding(setup, side), (0, "ok".to_owned()));
    }
}

#[test]
fn what_is_wrong_with_the_broker_is_told_with_what_to_do() {
    let parts = parts("brokers");
    let rabbit = shared();
    let brokers = [
        rabbit.url_as(USER, "wrong", &parts.vhost.name),
        rabbit.url_as(USER, PASSWORD, "nowhere"),
        format!("amqp://{USER}:{PASSWORD}@127.0.0.1:1/x"),
        format!("amqp://{USER}:{PASSWORD}@rabbit.invalid/x"),
        parts.api.url().replace("http://", "amqp://"),
    ];
    let said = brokers.map(|url| {
        let changes = json!({ "broker": url });
        failure(
            Setup::new(&[with(parts.subscription.clone(), &changes)]),
            "broker",
        )
    });
    assert_eq!(
        said,
        [
            "access refused: the broker took neither user nor password: check both in the broker URL",
            "NOT_ALLOWED - vhost nowhere not found (530): check the vhost in the broker URL and the user's permission for it",
            "127.0.0.1:1: Connection refused (os error 111): nothing listens there: is the broker running, is the port right?",
            "rabbit.invalid: name not found: failed to lookup address information: Name or service not known: check the broker's host name and the DNS",
            "the broker took the connection but did not greet in time: is this RabbitMQ's port for AMQP, and not the one of its web page?",
        ]
    );
}

#[test]
fn what_is_wrong_with_the_api_is_told_with_what_to_do() {
    let parts = parts("apis");
    let answers = [
        Answer::wrong_key(),
        error(404, "404001", "No such app"),
        Answer::unavailable(),
        Answer::html(404, "<h1>Not Found</h1>"),
        Answer::captive_portal(),
        Answer::html(200, "<h1>Welcome</h1>"),
        Answer::html(502, "<h1>Bad Gateway</h1>"),
        Answer::Close,
    ];
    let said = answers.map(|answer| {
        parts.api.health(answer);
        failure(Setup::new(std::slice::from_ref(&parts.subscription)), "api")
    });
    assert_eq!(
        said,
        [
            "401: 401001: Wrong application key; expected the application's key: check app_key",
            "404: 404001: No such app; the application does not exist: check org_name and app_name, or create it in Leek",
            "503: 503001: Elasticsearch is unavailable; the API, what is behind it or a proxy on the way is not well: nothing to do on this gateway",
            "404: <h1>Not Found</h1>; this is not the Leek API's own 404: check the path prefix in api_url",
            "302: <html>Please sign in</html>; redirects are not followed: api_url must be the API's final address, and no captive portal in between",
            "200: <h1>Welcome</h1>; a web page instead of the Leek API: a captive portal, a proxy, or a wrong api_url",
            "502: <h1>Bad Gateway</h1>; the API, what is behind it or a proxy on the way is not well: nothing to do on this gateway",
            "connection closed before the answer was complete: check that api_url is the Leek API's; if only large batches fail, a proxy limits their size",
        ]
    );
}

#[test]
fn what_is_wrong_with_a_certificate_is_told_with_what_to_do() {
    let parts = parts("certificates");
    let (known, other) = (Authority::new("known"), Authority::new("other"));
    let expired = known.sign(&Order {
        name: "expired",
        hosts: &["localhost"],
        years: (2020, 2021),
    });
    let said = [other.server("other"), expired].map(|pair| {
        let api = FakeApi::start_tls(&pair, None);
        let changes = json!({"api_url": api.url(), "api_tls": {"ca_file": known.ca()}});
        failure(
            Setup::new(&[with(parts.subscription.clone(), &changes)]),
            "api",
        )
    });
    // The clock's own date follows.
    let said = said
        .each_ref()
        .map(|text| text.split("; the gateway's clock says").next());
    assert_eq!(
        said.map(Option::unwrap_or_default),
        [
            "tls: the certificate is not from an authority that is trusted here: if it is your own, set api_tls.ca_file to its CA's certificate",
            "tls: the certificate expired on 2021-12-31: renew it",
        ]
    );
}

/// A network namespace of its own has no route to anywhere.
#[test]
fn a_gateway_without_a_route_is_told_so() {
    if !can_mount() {
        return;
    }
    let far = subscription("amqp://192.0.2.1/x", "https://192.0.2.1");
    let said = ["broker", "api"].map(|side| {
        let setup = Setup::new(std::slice::from_ref(&far)).without_network();
        failure(setup, side)
    });
    assert_eq!(
        said,
        [
            "192.0.2.1:5672: Network is unreachable (os error 101): no route: is the network up?",
            "no route to the host in api_url: check the gateway's network",
        ]
    );
}
