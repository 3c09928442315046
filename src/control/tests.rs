//! The interface as a client sees it, without sockets.

use super::action::{Changes, Delivery, Outcome, Refusal, told};
use super::status::{
    BatchStatus, Buffer, Events, QuarantineStatus, RateStatus, SideStatus, SpoolStatus,
    SubscriptionStatus, Uploads,
};
use super::traffic::Traffic;
use super::*;
use crate::clock;
use crate::http::{Connection, Limits};
use serde_json::{Value, json};

fn side(address: &str, error: Option<&str>) -> SideStatus {
    SideStatus::new(address.into(), error.map(str::to_owned))
}

fn subscription(name: &str, broker_error: Option<&str>) -> SubscriptionStatus {
    let traffic = Traffic::default();
    SubscriptionStatus {
        name: name.into(),
        state: "running",
        broker: side("amqp://leek@rabbit:5672/", broker_error),
        api: side("https://leek", None),
        events: Events {
            received: 10,
            delivered: 7,
            invalid: 1,
            filtered: 1,
            quarantined: 0,
            dropped: 0,
            pending: 1,
            returned: 5,
        },
        buffer: Buffer {
            used_bytes: 100,
            size_bytes: 1000,
        },
        batch: BatchStatus {
            documents: 3,
            bytes: 900,
            max_bytes: 1_048_576,
        },
        rate: RateStatus::of(&traffic),
        uploads: Uploads {
            in_flight: 1,
            at_most: 2,
            posts: 0,
            stored: 0,
            bytes: 0,
            connects: 3,
            traffic,
        },
        quarantine: QuarantineStatus {
            lost: 0,
            evicted: 0,
        },
        spool: Some(SpoolStatus {
            events: 9,
            bytes_written: 12,
            torn_bytes: 0,
        }),
    }
}

fn status(broker_error: Option<&str>) -> Status {
    Status {
        version: "1.2.3",
        kind: "standalone",
        state: "running",
        pid: 7,
        started: "2026-01-01T00:00:00Z".into(),
        started_ms: 1_767_225_600_500,
        uptime_seconds: 5.0,
        rss_bytes: Some(4096),
        longest_pause_seconds: 0.002,
        longest_own_pause_seconds: 0.001,
        role: "reader",
        subscriptions_from: "subs.json".into(),
        is_changeable: true,
        listed: [json!({"name": "shop-qa", "broker": "amqp://leek:********@rabbit"})].into(),
        subscriptions: vec![
            subscription("shop-qa", None),
            subscription("till-qa", broker_error),
        ],
    }
}

/// The request as it would be parsed from the wire.
fn request(text: &str) -> Request {
    let now = clock::monotonic();
    let mut connection = Connection::new(Limits::with_body(1000), now);
    connection.handle_input(text.as_bytes(), now);
    connection.poll_request().expect("a request")
}

/// The answer of a request with which nothing is to be done.
fn response(reply: Reply) -> Response {
    match reply {
        Reply::Now(response) => response,
        Reply::After(action) => panic!("{action:?}"),
    }
}

fn get(path: &str, broker_error: Option<&str>) -> (u16, String) {
    let request = request(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    let guard = Guard::default();
    let response = response(answer(&request, Door::Socket, &guard, || {
        status(broker_error)
    }));
    let body = String::from_utf8(response.body).expect("UTF-8");
    (response.status, body)
}

/// What a request with these headers and that body comes to.
fn send(door: Door, first: &str, headers: &[&str], body: &str) -> Reply {
    let guard = Guard {
        hosts: Hosts::default(),
        token: Some(Secret::new("open-sesame")),
    };
    let headers: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    let length = body.len();
    let text = format!(
        "{first} HTTP/1.1\r\nHost: localhost:9464\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    );
    answer(&request(&text), door, &guard, || status(None))
}

fn action(first: &str, headers: &[&str], body: &str) -> Action {
    match send(Door::Socket, first, headers, body) {
        Reply::After(action) => action,
        Reply::Now(response) => panic!("{response:?}"),
    }
}

#[test]
fn it_is_healthy_while_it_answers_and_ready_while_both_sides_are_well() {
    let down = Some("connection refused: is the broker running?");
    assert_eq!(get("/healthz", down), (200, "ok\n".into()));
    assert_eq!(get("/readyz", None), (200, "ready\n".into()));
    let line =
        "till-qa: broker amqp://leek@rabbit:5672/: connection refused: is the broker running?\n";
    assert_eq!(get("/readyz", down), (503, line.into()));
}

#[test]
fn the_status_has_what_it_promises() {
    let (code, body) = get("/v1/status?pretty", Some("gone"));
    let status: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!((code, &status["type"]), (200, &"standalone".into()));
    let one = &status["subscriptions"][1];
    assert_eq!(one["broker"]["reason"], "gone");
    assert_eq!(one["events"]["pending"], 1);
    assert_eq!(one["spool"]["events"], 9);
    assert_eq!(one["rate"]["delivered"].as_array().map(Vec::len), Some(90));
}

#[test]
fn metrics_have_a_family_once_and_a_sample_for_each_subscription() {
    let (code, text) = get("/metrics", None);
    assert_eq!(code, 200);
    let families: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .collect();
    let mut unique = families.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), families.len());
    for line in [
        "leek_agent_build_info{version=\"1.2.3\"} 1",
        "leek_agent_start_time_seconds 1767225600.5",
        "leek_agent_events_received_total{subscription=\"till-qa\"} 15",
        "leek_agent_events_pending{subscription=\"shop-qa\"} 1",
        "leek_agent_paused{subscription=\"shop-qa\"} 0",
        "leek_agent_batch_bytes{subscription=\"shop-qa\"} 900",
        "leek_agent_spool_events{subscription=\"shop-qa\"} 9",
        "leek_agent_posts_total{subscription=\"shop-qa\",result=\"not_leek\"} 0",
        "leek_agent_post_duration_seconds_bucket{subscription=\"shop-qa\",le=\"0.025\"} 0",
        "leek_agent_post_duration_seconds_bucket{subscription=\"shop-qa\",le=\"+Inf\"} 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}:\n{text}");
    }
}

#[test]
fn the_page_is_light_and_needs_nothing_from_elsewhere() {
    let (code, page) = get("/", None);
    assert_eq!(code, 200);
    assert!(page.len() < 40_000, "{} bytes", page.len());
    // What names namespaces and shows what a broker's address looks like loads nothing.
    let loading = page
        .replace("http://www.w3.org/", "")
        .replace("amqp://", "");
    for outside in ["http:", "https:", "//", "@import", "url("] {
        assert!(!loading.contains(outside), "{outside}");
    }
    let sets_html = [
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
    ];
    assert!(sets_html.iter().all(|way| !page.contains(way)));
}

#[test]
fn only_known_paths_and_methods_are_answered() {
    assert_eq!(get("/metrics/", None).0, 404);
    let refused = response(send(Door::Socket, "POST /v1/status", &[], ""));
    assert_eq!(refused.status, 405);
    assert!(refused.headers.contains(&("Allow", "GET, HEAD".into())));
    assert_eq!(
        response(send(Door::Socket, "POST /v1/nothing", &[], "")).status,
        404
    );
    assert_eq!(get("/v1/pause", None).0, 404, "looking changes nothing");
}

#[test]
fn the_host_must_be_known() {
    let guard = Guard {
        hosts: Hosts::parse("gateway"),
        token: None,
    };
    for (host, code) in [
        ("gateway:1", 200),
        ("127.0.0.1", 200),
        ("evil.example", 403),
    ] {
        let request = request(&format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        // Also at the socket, to which a browser may be led through a tunnel.
        for door in [Door::Tcp, Door::Socket] {
            let response = response(answer(&request, door, &guard, || status(None)));
            assert_eq!(response.status, code, "{host}");
            let is_cors = |(name, _): &(&str, String)| name.starts_with("Access-Control");
            assert!(!response.headers.iter().any(is_cors));
        }
    }
}

#[test]
fn over_tcp_only_who_shows_the_token_changes_something() {
    let pause = |door, headers: &[&str]| send(door, "POST /v1/pause", headers, "");
    let token = "Authorization: Bearer open-sesame";
    assert!(matches!(pause(Door::Socket, &[]), Reply::After(_)));
    assert!(matches!(pause(Door::Tcp, &[token]), Reply::After(_)));
    for headers in [
        &[][..],
        &["Authorization: Bearer open-sesam"],
        &["Authorization: Bearer"],
        &["Authorization: Basic open-sesame"],
    ] {
        let refused = response(pause(Door::Tcp, headers));
        assert_eq!(refused.status, 401, "{headers:?}");
        let challenge = ("WWW-Authenticate", "Bearer".to_owned());
        assert!(refused.headers.contains(&challenge));
    }
    let wrong = &["Authorization: Bearer no"];
    assert_eq!(
        response(send(Door::Tcp, "GET /v1/status", wrong, "")).status,
        401
    );
    for (door, headers, role) in [
        (Door::Tcp, &[][..], "reader"),
        (Door::Tcp, &[token], "operator"),
        (Door::Socket, &[], "operator"),
    ] {
        let status = response(send(door, "GET /v1/status", headers, "")).body;
        let status: Value = serde_json::from_slice(&status).expect("JSON");
        assert_eq!(status["role"], role);
    }
}

#[test]
fn without_a_token_tcp_is_for_looking() {
    for token in [None, Some(Secret::new(""))] {
        let guard = Guard {
            hosts: Hosts::default(),
            token,
        };
        for header in ["X: y", "Authorization: Bearer "] {
            let text = format!("POST /v1/stop HTTP/1.1\r\nHost: localhost\r\n{header}\r\n\r\n");
            let refused = response(answer(&request(&text), Door::Tcp, &guard, || status(None)));
            assert!(matches!(refused.status, 401 | 403), "{refused:?}");
        }
    }
}

#[test]
fn pages_of_other_sites_change_nothing() {
    for (origin, is_ours) in [
        ("http://localhost:9464", true),
        ("http://localhost:80", false),
        ("https://evil.example", false),
        ("null", false),
    ] {
        let header = format!("Origin: {origin}");
        let reply = send(Door::Socket, "POST /v1/stop", &[&header], "");
        assert_eq!(
            matches!(reply, Reply::After(Action::Stop)),
            is_ours,
            "{origin}"
        );
        if let Reply::Now(refused) = reply {
            assert_eq!(refused.status, 403);
        }
    }
}

#[test]
fn each_request_for_a_change_is_understood() {
    for (first, expected) in [
        ("POST /v1/pause", Action::Pause(vec![])),
        (
            "POST /v1/pause?subscription=a-b&subscription=c-d",
            Action::Pause(vec!["a-b".into(), "c-d".into()]),
        ),
        ("POST /v1/resume", Action::Resume(vec![])),
        ("POST /v1/reload", Action::Reload),
        ("POST /v1/stop", Action::Stop),
        ("POST /v1/agent/control", Action::Restart),
        ("DELETE /v1/agent/control", Action::Rest),
        (
            "DELETE /v1/agent/subscriptions/shop-qa",
            Action::Remove("shop-qa".into()),
        ),
    ] {
        assert_eq!(action(first, &[], ""), expected, "{first}");
    }
}

#[test]
fn a_subscription_is_taken_as_leeks_page_sends_it() {
    let path = "POST /v1/agent/subscriptions";
    let headers = ["x-leek-app-name: shop", "x-leek-org-name: mono"];
    let body = r#"{"broker": "amqp://h", "app_env": "qa"}"#;
    let Action::Add(keys) = action(path, &headers, body) else {
        panic!("not added");
    };
    let expected =
        json!({"broker": "amqp://h", "app_env": "qa", "app_name": "shop", "org_name": "mono"});
    assert_eq!(Value::Object(keys), expected);
    for (body, code) in [
        (body, "400001"),
        ("[]", "400002"),
        ("{", "400002"),
        ("", "400002"),
    ] {
        let refused = response(send(Door::Socket, path, &[], body));
        let error: Value = serde_json::from_slice(&refused.body).expect("JSON");
        assert_eq!(
            (refused.status, &error["error"]["code"]),
            (400, &code.into())
        );
    }
}

#[test]
fn what_was_done_is_told_and_what_was_not_has_leeks_codes() {
    let tell = |outcome| {
        let response = told(&outcome, || status(None));
        let body: Value = serde_json::from_slice(&response.body).expect("JSON");
        (response.status, body)
    };
    let changes = Changes {
        added: vec!["a-b".into()],
        unchanged: 2,
        ..Changes::default()
    };
    for (outcome, body) in [
        (
            Outcome::Switched(vec!["a-b".into()]),
            json!({"subscriptions": ["a-b"]}),
        ),
        (
            Outcome::Applied(changes),
            json!({"added": ["a-b"], "changed": [], "removed": [], "unchanged": 2}),
        ),
        (Outcome::Removed, json!({"Deleted": true})),
        (
            Outcome::Stopped(Delivery::Undelivered),
            json!({"stopped": "undelivered"}),
        ),
    ] {
        assert_eq!(tell(Ok(outcome)), (200, body));
    }
    let text = || "why".to_owned();
    for (refusal, code) in [
        (Refusal::HeadersMissing, "400001"),
        (Refusal::NoSubscriptions, "400003"),
        (Refusal::AccessRefused(text()), "401004"),
        (Refusal::UnknownSubscription(text()), "404003"),
        (Refusal::NotChangeable(text()), "409001"),
        (Refusal::Exists(text()), "412002"),
        (Refusal::Configuration(text()), "422001"),
        (Refusal::NotWritten(text()), "500002"),
        (Refusal::BrokerUnreachable(text()), "503002"),
        (Refusal::NotNow("why"), "503003"),
    ] {
        let (status, body) = tell(Err(refusal));
        assert_eq!(body["error"]["code"], code);
        assert_eq!(status.to_string(), code[..3]);
        assert!(
            body["error"]["reason"]
                .as_str()
                .is_some_and(|reason| !reason.is_empty())
        );
    }
}

#[test]
fn leek_sees_a_process_as_supervisor_describes_one() {
    let (code, body) = get("/v1/agent/control", None);
    let process: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(code, 200);
    assert_eq!(process["type"], "standalone");
    assert_eq!(
        (&process["state"], &process["statename"]),
        (&20.into(), &"RUNNING".into())
    );
    assert_eq!(process["description"], "pid 7, uptime 0:00:05");
    assert_eq!(process["start"], 1_767_225_600);
    assert_eq!(process["now"], 1_767_225_605);
    let keys = "description exitstatus group logfile name now pid spawnerr start state statename \
                stderr_logfile stdout_logfile stop type";
    let found: Vec<_> = process
        .as_object()
        .expect("an object")
        .keys()
        .cloned()
        .collect();
    assert_eq!(found, keys.split_whitespace().collect::<Vec<_>>());

    let mut resting = status(None);
    for one in &mut resting.subscriptions {
        one.state = "paused";
    }
    assert_eq!(action::process(&resting)["statename"], "STOPPED");
    let (_, listed) = get("/v1/agent/subscriptions", None);
    let listed: Value = serde_json::from_str(&listed).expect("JSON");
    assert_eq!(listed[0]["name"], "shop-qa");
}
