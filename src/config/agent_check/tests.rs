//! Responders as written: what they come to, and every fault with its place.

use serde_json::json;

use super::*;
use crate::config::fault::Fault;

fn read(value: &Value) -> (Result<Responder, Faulty>, String) {
    let keys = value.as_object().expect("an object");
    let mut fields = Fields::new("agent_check[0]".into(), keys);
    let open = |_: Option<PathBuf>| ClientTls::open(&crate::tls::TlsSettings::default());
    let responder = responder(&mut fields, &open);
    let lines: Vec<String> = fields.faults.iter().map(Fault::to_string).collect();
    (responder, lines.join("\n"))
}

/// The faults of a plugin, with a source and rules unless it brings its own.
#[track_caller]
fn faults(changes: Value, expect: &str) {
    let mut plugin =
        json!({"source": "file", "file_path": "/run/load", "thresholds": [{"pct": 8}]});
    let members = plugin.as_object_mut().expect("an object");
    members.extend(changes.as_object().expect("an object").clone());
    members.retain(|_, value| *value != json!("gone"));
    let (_, lines) = read(&json!({"plugins": [plugin]}));
    assert_eq!(lines.replace("agent_check[0].plugins[0]", "p"), expect);
}

fn plugin(value: Value) -> Plugin {
    let (responder, faults) = read(&json!({"plugins": [value]}));
    assert_eq!(faults, "");
    responder.expect("no faults").plugins.remove(0)
}

#[test]
fn everything_that_herald_knows_is_read() {
    let plugin = plugin(json!({
        "name": "myservice_plugin", "source": "http",
        "url": "http://guest:p%40ss@localhost:8081/health?deep=1#top",
        "is_json": true, "stop_timeout": 60, "interval": 30, "staleness_interval": 120,
        "staleness_response": "noop", "default_response": "up",
        "patterns_metric": "r['health']",
        "patterns": [{"ready": ".*healthy.*"}, {"down # sick": ".*sick.*"}],
        "thresholds_metric": "r['n'] * 2",
        "thresholds": [{"drain": ">7000"}, {"down": 0}, {"pct": 7000, "min_threshold_response": 1}],
    }));
    let Source::Http(http) = &plugin.source else {
        panic!("{:?}", plugin.source);
    };
    assert_eq!(http.url, "http://localhost:8081/health?deep=1");
    assert_eq!(http.login.as_ref().map(Secret::expose), Some("guest:p@ss"));
    assert_eq!(http.timeout, Duration::from_secs(10));
    assert!(!format!("{plugin:?}").contains("p@ss"));
    assert_eq!(plugin.timing.interval, Duration::from_secs(30));
    assert_eq!(plugin.timing.staleness, Some(Duration::from_secs(120)));
    assert_eq!(plugin.timing.stale, Answer::NOTHING);
    let judge = |said: &str| {
        plugin
            .rules
            .judge(said.as_bytes())
            .map(|answer| answer.to_string())
    };
    assert_eq!(
        judge(r#"{"health": "so healthy", "n": 1750}"#).as_deref(),
        Ok("ready 50%")
    );
    assert_eq!(
        judge(r#"{"health": "sick", "n": 3501}"#).as_deref(),
        Ok("down drain # sick")
    );
    assert_eq!(judge(r#"{"health": "?", "n": 0}"#).as_deref(), Ok("down"));
}

#[test]
fn what_is_left_out_is_as_in_herald() {
    let (responder, faults) = read(&json!({"plugins": [
        {"source": "file", "file_path": "/run/load", "patterns": [{"up": "up"}]},
        {"source": "self", "thresholds_metric": "r['lag']", "thresholds": [{"drain": ">= 10"}]},
    ]}));
    assert_eq!(faults, "");
    let responder = responder.expect("no faults");
    assert_eq!(responder.address.to_string(), "0.0.0.0:5555");
    let [file, own] = &responder.plugins[..] else {
        panic!("two plugins");
    };
    assert!(!file.rules.is_json && own.rules.is_json);
    assert_eq!(file.timing.interval, Duration::ZERO);
    assert_eq!(file.timing.staleness, None);
    assert_eq!(file.rules.default, Answer::NOTHING);
    assert_eq!(
        (file.name.as_str(), own.name.as_str()),
        ("plugins[0]", "plugins[1]")
    );
}

#[test]
fn every_fault_of_a_responder_is_told() {
    let (responder, lines) = read(&json!({
        "bind": "localhost", "port": 0, "plugin": [], "plugins": [7, {"source": "ftp"}, {}],
    }));
    assert!(responder.is_err());
    let expected = [
        "agent_check[0].plugin: unknown key: did you mean plugins?",
        "agent_check[0].bind: \"localhost\": expected an IP address of this machine such as 0.0.0.0",
        "agent_check[0].port: 0: expected 1 to 65535",
        "agent_check[0].plugins[0]: a number: expected an object",
        "agent_check[0].plugins[1].source: \"ftp\": expected http, file or self",
        "agent_check[0].plugins[2].source: missing: expected http, file or self",
    ];
    assert_eq!(lines.lines().collect::<Vec<_>>(), expected);
    for (plugins, found) in [(json!([]), "a list"), (json!({}), "an object")] {
        let (_, lines) = read(&json!({"plugins": plugins}));
        assert_eq!(
            lines,
            format!("agent_check[0].plugins: {found}: expected a list of 1 to 16 plugins")
        );
    }
}

#[test]
fn every_fault_of_a_plugin_is_told() {
    faults(
        json!({"intervall": 5}),
        "p.intervall: unknown key: did you mean interval?",
    );
    faults(
        json!({"interval": -1}),
        "p.interval: -1: expected seconds, 0 to 86400",
    );
    faults(
        json!({"interval": "5"}),
        "p.interval: \"5\": expected seconds, 0 to 86400",
    );
    faults(
        json!({"thresholds": "gone"}),
        "p.thresholds: missing: expected thresholds, patterns or both",
    );
    faults(
        json!({"default_response": "failed"}),
        "p.default_response: \"failed\": expected up, down, stopped or fail, ready, drain or maint, \
         N%, maxconn:N, # and a description, or noop",
    );
    faults(
        json!({"thresholds_metric": "r['a'] +", "patterns_metric": "import os"}),
        "p.patterns_metric: \"import os\": at 1: \"import\": expected r or one of int, float, str, abs, \
         round, min, max, len\np.thresholds_metric: \"r['a'] +\": expected more at its end",
    );
    faults(
        json!({"thresholds": [{"drain": "=>7"}, {}, {"up": 1, "down": 2}, {"dwon": 1}, {"pct": 0},
            {"pct": 5, "min_threshold_respons": 1}, 5]}),
        "p.thresholds[0].drain: \"=>7\": expected a number, with !, <, <=, >, >= or = before it where it is not to be equal\n\
         p.thresholds[1]: expected one action and its condition such as {\"drain\": \">7000\"}\n\
         p.thresholds[2]: expected one action and its condition such as {\"drain\": \">7000\"}\n\
         p.thresholds[3].dwon: \"dwon\": expected up, down, stopped or fail, ready, drain or maint, N%, maxconn:N, # and a description, or noop\n\
         p.thresholds[4].pct: 0: expected a number over 0: the value that leaves nothing\n\
         p.thresholds[5].min_threshold_respons: unknown key: did you mean min_threshold_response?\n\
         p.thresholds[6]: a number: expected an object",
    );
    faults(
        json!({"patterns": [{"up": 5}]}),
        "p.patterns[0].up: 5: expected a regular expression",
    );
    faults(
        json!({"patterns": [{"up": "("}]}),
        "p.patterns[0].up: \"(\": expected a regular expression: found open group without closing ')'",
    );
}

#[test]
fn a_source_has_its_own_keys() {
    faults(
        json!({"file_path": ""}),
        "p.file_path: \"\": expected a file's name",
    );
    faults(
        json!({"source": "http", "url": "http://h/"}),
        "p.file_path: given: expected only beside \"source\": \"file\"",
    );
    faults(
        json!({"paused_response": "drain"}),
        "p.paused_response: given: expected only beside \"source\": \"self\"",
    );
    for (url, expected) in [
        (json!("ftp://h"), "p.url: expected an http or https URL"),
        (
            json!("localhost:80"),
            "p.url: expected an http or https URL",
        ),
        (
            json!("http:///path"),
            "p.url: expected an http or https URL",
        ),
        (
            json!("http://u:hunter2@h:99999"),
            "p.url: expected a port from 1 to 65535",
        ),
        (
            json!("http://h/a b"),
            "p.url: expected ASCII letters, digits and signs without blanks",
        ),
        (json!(5), "p.url: a number: expected an http or https URL"),
    ] {
        faults(
            json!({"source": "http", "file_path": "gone", "url": url}),
            expected,
        );
    }
    faults(
        json!({"source": "http", "file_path": "gone", "url": "http://h", "ca_file": "/ca.pem"}),
        "p.ca_file: \"/ca.pem\": expected a URL that begins with https://, since http:// is not encrypted",
    );
}
