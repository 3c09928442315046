//! The interface as a client sees it, without sockets.

use super::status::{
    Buffer, Events, QuarantineStatus, RateStatus, SideStatus, SpoolStatus, SubscriptionStatus,
    Uploads,
};
use super::traffic::Traffic;
use super::*;
use crate::clock;
use crate::http::{Connection, Limits};

fn side(address: &str, error: Option<&str>) -> SideStatus {
    SideStatus::new(address.into(), error.map(str::to_owned))
}

fn subscription(name: &str, broker_error: Option<&str>) -> SubscriptionStatus {
    let traffic = Traffic::default();
    SubscriptionStatus {
        name: name.into(),
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
        subscriptions: vec![
            subscription("shop-qa", None),
            subscription("till-qa", broker_error),
        ],
    }
}

/// The request as it would be parsed from the wire.
fn request(text: &str) -> Request {
    let now = clock::monotonic();
    let mut connection = Connection::new(Limits::with_body(0), now);
    connection.handle_input(text.as_bytes(), now);
    connection.poll_request().expect("a request")
}

fn get(path: &str, broker_error: Option<&str>) -> (u16, String) {
    let request = request(&format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
    let response = answer(&request, Door::Socket, || status(broker_error));
    let body = String::from_utf8(response.body).expect("UTF-8");
    (response.status, body)
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
    let without_namespaces = page.replace("http://www.w3.org/", "");
    for outside in ["http:", "https:", "//", "@import", "url("] {
        assert!(!without_namespaces.contains(outside), "{outside}");
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
fn only_known_paths_and_reading_methods_are_answered() {
    assert_eq!(get("/metrics/", None).0, 404);
    let post = request("POST /v1/status HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
    let response = answer(&post, Door::Socket, || status(None));
    assert_eq!(response.status, 405);
    assert!(response.headers.contains(&("Allow", "GET, HEAD".into())));
}

#[test]
fn over_tcp_the_host_must_be_known() {
    let hosts = Hosts::parse("gateway");
    for (host, code) in [
        ("gateway:1", 200),
        ("127.0.0.1", 200),
        ("evil.example", 403),
    ] {
        let request = request(&format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        let response = answer(&request, Door::Tcp(&hosts), || status(None));
        assert_eq!(response.status, code, "{host}");
        let is_cors = |(name, _): &(&str, String)| name.starts_with("Access-Control");
        assert!(!response.headers.iter().any(is_cors));
    }
}
