//! `leek-agent status`: how the running agent is, asked over its control socket.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::Value;

use super::ask::{self, Fault};
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

/// Asks the agent.
pub fn run(options: &Options) -> Result<Shown, Fault> {
    let status = ask::get(&options.socket, "/v1/status")?;
    let text = match options.json {
        true => format!("{status}\n"),
        false => table(&status),
    };
    Ok(Shown {
        text,
        is_well: unwell(&status).next().is_none(),
    })
}

pub(super) const COLUMNS: [&str; 9] = [
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
    let mut rows = vec![COLUMNS.map(str::to_owned)];
    rows.extend(subscriptions(status).map(row));
    format!(
        "{}\n{}{}",
        heading(status),
        aligned(&rows),
        complaints(status)
    )
}

/// Which agent answers, and how long it has been running.
pub(super) fn heading(status: &Value) -> String {
    let word = |key| status[key].as_str().unwrap_or("?");
    let megabytes = status["rss_bytes"].as_f64().unwrap_or(0.0) / 1e6;
    format!(
        "leek-agent {}, {}: {} since {}, pid {}, {megabytes:.1} MB\n",
        word("version"),
        word("type"),
        word("state"),
        word("started"),
        status["pid"],
    )
}

/// What is wrong, below the table.
pub(super) fn complaints(status: &Value) -> String {
    let mut text = String::new();
    let mut separator = "\n";
    for line in unwell(status) {
        let _ = writeln!(text, "{separator}{line}");
        separator = "";
    }
    text
}

pub(super) fn subscriptions(status: &Value) -> impl Iterator<Item = &Value> {
    status["subscriptions"].as_array().into_iter().flatten()
}

pub(super) fn row(one: &Value) -> [String; COLUMNS.len()] {
    let well = |side: &str, good: &str| match one[side]["is_well"].as_bool() {
        Some(true) => good.to_owned(),
        _ => "down".to_owned(),
    };
    // One that is paused or stopping does not consume because it is not to.
    let broker = match one["state"].as_str() {
        Some(state @ ("paused" | "stopping")) => state.to_owned(),
        _ => well("broker", "consuming"),
    };
    let events = |key| one["events"][key].to_string();
    let [used, size] = ["used_bytes", "size_bytes"].map(|key| one["buffer"][key].as_u64());
    let percent = used.unwrap_or(0) * 100 / size.unwrap_or(0).max(1);
    [
        one["name"].as_str().unwrap_or("?").to_owned(),
        broker,
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
        let one = |name: &str, state: &str, error: Value| {
            json!({
                "name": name, "state": state, "broker": side(error), "api": side(Value::Null),
                "events": {"delivered": 1234, "pending": 5, "invalid": 0, "quarantined": 2, "dropped": 0},
                "buffer": {"used_bytes": 250, "size_bytes": 1000},
            })
        };
        let status = json!({
            "version": "1.2.3", "type": "standalone", "state": "running", "started": "2026-01-01T00:00:00Z",
            "pid": 7, "rss_bytes": 5_300_000,
            "subscriptions": [
                one("shop-qa", "running", Value::Null),
                one("till-prod", "running", "refused: mend it".into()),
                one("till-qa", "paused", "paused: as asked".into()),
            ],
        });
        let expected = "\
leek-agent 1.2.3, standalone: running since 2026-01-01T00:00:00Z, pid 7, 5.3 MB

SUBSCRIPTION  BROKER     API   DELIVERED  PENDING  INVALID  REFUSED  DROPPED  BUFFER
shop-qa       consuming  well  1234       5        0        2        0        25%
till-prod     down       well  1234       5        0        2        0        25%
till-qa       paused     well  1234       5        0        2        0        25%

till-prod: broker A: refused: mend it
till-qa: broker A: paused: as asked
";
        assert_eq!(table(&status), expected);
    }
}
