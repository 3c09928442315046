//! `leek-agent status`: how the running agent is, asked over its control socket.

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::table::aligned;
use crate::control::status::unwell_line;

/// What `status` was asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    pub socket: PathBuf,
    /// The answer as it comes, in place of a table.
    pub json: bool,
}

/// What there is to print, and whether all is well.
#[derive(Debug, PartialEq, Eq)]
pub struct Shown {
    pub text: String,
    pub is_well: bool,
}

/// An agent's loop pauses for milliseconds: one that takes this long hangs.
const DEADLINE: Duration = Duration::from_secs(5);

/// Far more than the largest configuration's status.
const MAX_ANSWER: u64 = 4 * 1024 * 1024;

/// Asks the agent; the fault says for a human what is wrong and what to do.
pub fn run(options: &Options) -> Result<Shown, String> {
    let body = ask(&options.socket, "/v1/status").map_err(|error| {
        let path = options.socket.display();
        format!("{path}: {error}: does the agent run, with this --control-socket, and may this user open it?")
    })?;
    let status: Value = serde_json::from_slice(&body)
        .map_err(|error| format!("{}: not a status: {error}", options.socket.display()))?;
    let is_well = unwell(&status).next().is_none();
    let text = match options.json {
        true => format!("{status}\n"),
        false => table(&status),
    };
    Ok(Shown { text, is_well })
}

/// The body of the answer to a GET.
fn ask(socket: &Path, path: &str) -> io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.set_write_timeout(Some(DEADLINE))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer)?;
    let wrong = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    let mut headers = [httparse::EMPTY_HEADER; 16];
    let mut head = httparse::Response::new(&mut headers);
    match (head.parse(&answer), head.code) {
        (Ok(httparse::Status::Complete(length)), Some(200)) => Ok(answer.split_off(length)),
        (Ok(httparse::Status::Complete(_)), Some(code)) => Err(wrong(format!("answered {code}"))),
        _ => Err(wrong("no answer of an agent".to_owned())),
    }
}

const COLUMNS: [&str; 9] = [
    "SUBSCRIPTION",
    "BROKER",
    "API",
    "DELIVERED",
    "PENDING",
    "INVALID",
    "REFUSED",
    "DROPPED",
    "BUFFER",
];

fn table(status: &Value) -> String {
    let word = |key| status[key].as_str().unwrap_or("?");
    let megabytes = status["rss_bytes"].as_f64().unwrap_or(0.0) / 1e6;
    let mut text = format!(
        "leek-agent {}, {}: {} since {}, pid {}, {megabytes:.1} MB\n\n",
        word("version"),
        word("type"),
        word("state"),
        word("started"),
        status["pid"],
    );
    let mut rows = vec![COLUMNS.map(str::to_owned)];
    rows.extend(subscriptions(status).map(row));
    text += &aligned(&rows);
    let mut separator = "\n";
    for line in unwell(status) {
        let _ = writeln!(text, "{separator}{line}");
        separator = "";
    }
    text
}

fn subscriptions(status: &Value) -> impl Iterator<Item = &Value> {
    status["subscriptions"].as_array().into_iter().flatten()
}

fn row(one: &Value) -> [String; COLUMNS.len()] {
    let well = |side: &str, good: &str| match one[side]["is_well"].as_bool() {
        Some(true) => good.to_owned(),
        _ => "down".to_owned(),
    };
    let events = |key| one["events"][key].to_string();
    let [used, size] = ["used_bytes", "size_bytes"].map(|key| one["buffer"][key].as_u64());
    let percent = used.unwrap_or(0) * 100 / size.unwrap_or(0).max(1);
    [
        one["name"].as_str().unwrap_or("?").to_owned(),
        well("broker", "consuming"),
        well("api", "well"),
        events("delivered"),
        events("pending"),
        events("invalid"),
        events("quarantined"),
        events("dropped"),
        format!("{percent}%"),
    ]
}

/// A line for each side that is not well.
fn unwell(status: &Value) -> impl Iterator<Item = String> {
    subscriptions(status).flat_map(|one| {
        let down = ["broker", "api"]
            .into_iter()
            .filter(|side| one[side]["is_well"] != true);
        down.map(|side| {
            let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
            let [address, reason] = ["address", "reason"].map(|key| text(&one[side][key]));
            unwell_line(&text(&one["name"]), side, &address, &reason)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_table_has_a_line_for_each_subscription_and_says_what_is_wrong() {
        let side =
            |error: Value| json!({"address": "A", "is_well": error.is_null(), "reason": error});
        let one = |name: &str, error: Value| {
            json!({
                "name": name, "broker": side(error), "api": side(Value::Null),
                "events": {"delivered": 1234, "pending": 5, "invalid": 0, "quarantined": 2, "dropped": 0},
                "buffer": {"used_bytes": 250, "size_bytes": 1000},
            })
        };
        let status = json!({
            "version": "1.2.3", "type": "standalone", "state": "running", "started": "2026-01-01T00:00:00Z",
            "pid": 7, "rss_bytes": 5_300_000,
            "subscriptions": [one("shop-qa", Value::Null), one("till-prod", "refused: mend it".into())],
        });
        let expected = "\
leek-agent 1.2.3, standalone: running since 2026-01-01T00:00:00Z, pid 7, 5.3 MB

SUBSCRIPTION  BROKER     API   DELIVERED  PENDING  INVALID  REFUSED  DROPPED  BUFFER
shop-qa       consuming  well  1234       5        0        2        0        25%
till-prod     down       well  1234       5        0        2        0        25%

till-prod: broker A: refused: mend it
";
        assert_eq!(table(&status), expected);
    }

    #[test]
    fn where_nobody_listens_it_says_so() {
        let socket = PathBuf::from("/nowhere/control");
        let refused = run(&Options {
            socket,
            json: false,
        });
        let text = refused.unwrap_err();
        assert!(text.starts_with("/nowhere/control: "), "{text}");
        assert!(text.contains("does the agent run"), "{text}");
    }
}
