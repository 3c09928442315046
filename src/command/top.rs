//! `leek-agent top`: the running agent's state again and again, with what it delivers in a second.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::ask::{self, Fault};
use super::status::{self, COLUMNS};
use super::table::aligned;
use crate::signal::Interrupt;

/// What `top` was asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    pub socket: PathBuf,
    /// A line of JSON each time, in place of a table.
    pub json: bool,
    /// From one look to the next.
    pub interval: Duration,
    /// How many looks; without it, until it is interrupted.
    pub count: Option<u64>,
}

/// How often it looks in its default.
pub const INTERVAL: Duration = Duration::from_secs(2);

/// Why it ended before it should.
#[derive(Debug)]
pub enum TopError {
    Agent(Fault),
    /// Signals cannot be listened to, or nobody reads what is printed.
    Io(io::Error),
}

/// Looks until it is interrupted, or as often as it is to.
pub fn run(options: &Options) -> Result<(), TopError> {
    let mut interrupt = Interrupt::listen().map_err(TopError::Io)?;
    let screen = Screen::of(options);
    let mut before = Value::Null;
    let mut looks = 0;
    loop {
        let now = ask::get(&options.socket, "/v1/status").map_err(TopError::Agent)?;
        screen.show(&before, &now, looks).map_err(TopError::Io)?;
        before = now;
        looks += 1;
        if options.count == Some(looks) || interrupt.comes_within(options.interval) {
            return Ok(());
        }
    }
}

/// How a look is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Screen {
    /// In place of the one before.
    Terminal,
    /// Below the one before.
    Tables,
    Json,
}

/// The terminal itself cuts lines that are too wide, for as long as a table is written. A line that is
/// placed below its last row takes the place of that row, so that nothing scrolls out at the top.
const BEGIN: &str = "\x1b[?7l";
const END: &str = "\x1b[J\x1b[?7h";
const CLEAR: &str = "\x1b[2J";
const END_OF_LINE: &str = "\x1b[K";

impl Screen {
    fn of(options: &Options) -> Screen {
        match io::stdout().is_terminal() {
            _ if options.json => Screen::Json,
            true => Screen::Terminal,
            false => Screen::Tables,
        }
    }

    fn show(self, before: &Value, now: &Value, looks: u64) -> io::Result<()> {
        let text = self.text(before, now, looks);
        // At once: no interrupt finds half of it on the terminal.
        let mut stdout = io::stdout();
        stdout.write_all(text.as_bytes())?;
        stdout.flush()
    }

    fn text(self, before: &Value, now: &Value, looks: u64) -> String {
        match self {
            Screen::Json => format!("{now}\n"),
            Screen::Tables if looks == 0 => table(before, now),
            Screen::Tables => format!("\n{}", table(before, now)),
            Screen::Terminal => {
                let clear = if looks == 0 { CLEAR } else { "" };
                let table = table(before, now);
                // With the empty one behind the last newline: there the shell goes on afterwards.
                let lines = (1..).zip(table.split('\n'));
                let lines = lines.map(|(row, line)| format!("\x1b[{row}H{line}{END_OF_LINE}"));
                format!("{clear}{BEGIN}{}{END}", lines.collect::<String>())
            }
        }
    }
}

/// As `status` has it, with a column between `API` and `DELIVERED`.
fn table(before: &Value, now: &Value) -> String {
    let mut rows = vec![with_rate(COLUMNS.map(str::to_owned), "EVENTS/S".to_owned())];
    rows.extend(status::subscriptions(now).map(|one| {
        let rate = rate(before, now, one).map(|rate| format!("{rate:.1}"));
        with_rate(status::row(one), rate.unwrap_or_else(|| "-".to_owned()))
    }));
    format!(
        "{}\n{}{}",
        status::heading(now),
        aligned(&rows),
        status::complaints(now)
    )
}

fn with_rate(row: [String; COLUMNS.len()], rate: String) -> [String; COLUMNS.len() + 1] {
    let (sides, counts) = row.split_at(3);
    let cells = [sides, &[rate], counts].concat();
    cells.try_into().expect("one more")
}

/// What `one` delivered in a second since the last look, by the agent's own clock. `None` where there
/// is nothing to compare with: it was another run, or another subscription.
fn rate(before: &Value, now: &Value, one: &Value) -> Option<f64> {
    if before["started_ms"] != now["started_ms"] || before["pid"] != now["pid"] {
        return None;
    }
    let seconds = now["uptime_seconds"].as_f64()? - before["uptime_seconds"].as_f64()?;
    let known = status::subscriptions(before).find(|other| other["name"] == one["name"])?;
    let delivered = |one: &Value| one["events"]["delivered"].as_u64();
    let count = delivered(one)?.checked_sub(delivered(known)?)?;
    #[allow(clippy::cast_precision_loss)] // Nobody counts so far.
    (seconds > 0.0).then(|| count as f64 / seconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn state(pid: u32, uptime: f64, delivered: &[(&str, u64)]) -> Value {
        let subscriptions: Vec<Value> = delivered
            .iter()
            .map(|(name, count)| {
                json!({
                    "name": name, "state": "running",
                    "broker": {"is_well": true}, "api": {"is_well": true},
                    "events": {"delivered": count, "pending": 0, "invalid": 0, "quarantined": 0, "dropped": 0},
                    "buffer": {"used_bytes": 0, "size_bytes": 1000},
                })
            })
            .collect();
        json!({
            "version": "1", "type": "standalone", "state": "running", "started": "T", "started_ms": 1,
            "pid": pid, "rss_bytes": 1_000_000, "uptime_seconds": uptime, "subscriptions": subscriptions,
        })
    }

    #[test]
    fn a_rate_is_the_difference_of_two_looks() {
        let before = state(7, 10.0, &[("a-qa", 100), ("b-qa", 500)]);
        let now = state(7, 14.0, &[("a-qa", 150), ("b-qa", 3), ("c-qa", 9)]);
        let expected = "\
leek-agent 1, standalone: running since T, pid 7, 1.0 MB

SUBSCRIPTION  BROKER     API   EVENTS/S  DELIVERED  PENDING  INVALID  REFUSED  DROPPED  BUFFER
a-qa          consuming  well  12.5      150        0        0        0        0        0%
b-qa          consuming  well  -         3          0        0        0        0        0%
c-qa          consuming  well  -         9          0        0        0        0        0%
";
        assert_eq!(table(&before, &now), expected);
        let other_run = state(8, 14.0, &[("a-qa", 150)]);
        let one = &other_run["subscriptions"][0];
        assert_eq!(rate(&before, &other_run, one), None);
        assert_eq!(rate(&Value::Null, &now, &now["subscriptions"][0]), None);
        assert_eq!(rate(&now, &now, &now["subscriptions"][0]), None);
    }

    #[test]
    fn a_terminal_is_left_as_it_was() {
        let now = state(7, 14.0, &[("a-qa", 150)]);
        for looks in [0, 1] {
            let text = Screen::Terminal.text(&Value::Null, &now, looks);
            assert_eq!(text.contains(CLEAR), looks == 0);
            assert!(
                text.ends_with(&format!("\x1b[5H{END_OF_LINE}{END}")),
                "{text:?}"
            );
            assert!(text.contains("\x1b[1Hleek-agent 1, "), "{text:?}");
            assert!(text.contains("\x1b[4Ha-qa "), "{text:?}");
            assert!(!text.contains('\n'), "it would scroll: {text:?}");
        }
        let table = Screen::Tables.text(&Value::Null, &now, 1);
        assert!(table.starts_with("\nleek-agent"), "{table:?}");
        assert!(!table.contains('\x1b'), "{table:?}");
    }
}
