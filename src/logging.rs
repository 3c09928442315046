//! Logs: one line an entry on stdout, JSON or text, repeats held back and counted. Logging never
//! waits for stdout: a thread of its own writes there.
//!
//! Entries are written with the `log` macros and their key-value fields:
//! `log::warn!(subscription = name, reason; "broker connection lost")`. The field `subscription`
//! has a place of its own; keep messages constant and put what varies into fields, since repeats
//! are told by their message. Meaning of the levels: error = someone must act; warn = degraded;
//! info = life cycle; debug = per batch; trace = per event.

mod entry;
mod outlet;
mod rate_limit;
pub(crate) mod timestamp;

use std::io::{self, Write};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use log::LevelFilter;

use crate::clock;
use entry::Entry;
use outlet::Outlet;
use rate_limit::{Key, RateLimit, Verdict};

pub use timestamp::rfc3339;

/// Other crates are heard from `warn` on. Two are capped at `error`: amiquip's warnings print whole
/// AMQP frames, hence what brokers put there, and whatever it knows also reaches us as an error
/// with a meaning; ureq's print what servers sent.
const OTHER_CRATES: LevelFilter = LevelFilter::Warn;
const CAPPED_CRATES: [&str; 3] = ["amiquip", "ureq", "ureq_proto"];

/// What the last entries get to reach a stdout that may not be read any more.
const FINISH_TIMEOUT: Duration = Duration::from_secs(1);

/// How to log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    pub level: LevelFilter,
    pub format: Format,
}

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    #[default]
    Json,
    Text,
}

impl Format {
    pub fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "json" => Some(Format::Json),
            "text" => Some(Format::Text),
            _ => None,
        }
    }
}

/// A level by our name or by Leek's, which are Python's: Leek and we share `LEEK_AGENT_LOG_LEVEL`.
pub fn parse_level(text: &str) -> Option<LevelFilter> {
    match text.to_ascii_lowercase().as_str() {
        "error" | "critical" | "fatal" => Some(LevelFilter::Error),
        "warn" | "warning" => Some(LevelFilter::Warn),
        "info" => Some(LevelFilter::Info),
        "debug" => Some(LevelFilter::Debug),
        "trace" | "notset" => Some(LevelFilter::Trace),
        _ => None,
    }
}

/// What is held back, and how lines look: one for the process, as the `log` crate's logger is.
struct State {
    limit: Mutex<RateLimit>,
    format: Format,
}

static STATE: OnceLock<State> = OnceLock::new();
static OUTLET: OnceLock<Arc<Outlet>> = OnceLock::new();

/// Starts logging to stdout. Later calls change nothing.
pub fn init(settings: Settings) -> io::Result<()> {
    let limit = Mutex::new(RateLimit::default());
    let format = settings.format;
    if STATE.set(State { limit, format }).is_err() {
        return Ok(());
    }
    let gap = move |count| Entry::of_gap(count, clock::wall_ms()).line(format);
    let outlet = Outlet::start(io::stdout(), gap)?;
    let outlet = OUTLET.get_or_init(|| outlet);
    let mut builder = env_logger::Builder::new();
    builder
        .filter_level(settings.level.min(OTHER_CRATES))
        .filter_module("leek_agent", settings.level)
        .target(env_logger::Target::Pipe(Box::new(ToOutlet(Arc::clone(
            outlet,
        )))))
        .format(|out, record| {
            STATE.get().map_or(Ok(()), |state| {
                state.write(out, record, clock::monotonic(), clock::wall_ms())
            })
        });
    for name in CAPPED_CRATES {
        builder.filter_module(name, LevelFilter::Error);
    }
    // Fails only where a logger is set already, which a second start within one process may meet.
    let _ = builder.try_init();
    Ok(())
}

/// Where env_logger writes; it writes an entry in one piece.
struct ToOutlet(Arc<Outlet>);

impl Write for ToOutlet {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        self.0.push(lines);
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes the counts of repeats whose window has ended, and tells when the next one does: the event
/// loop calls this when it wakes and sleeps no longer than that.
pub fn flush(now: Instant) -> Option<Instant> {
    let state = STATE.get()?;
    let mut limit = state.limit.lock().unwrap_or_else(PoisonError::into_inner);
    push_counts(limit.expired(now), state.format);
    limit.deadline()
}

/// Writes all counts of repeats, before the program ends, and gives them and all other entries some
/// time to be read.
pub fn finish() {
    let Some(state) = STATE.get() else { return };
    let mut limit = state.limit.lock().unwrap_or_else(PoisonError::into_inner);
    push_counts(limit.drain(), state.format);
    drop(limit);
    if let Some(outlet) = OUTLET.get() {
        outlet.finish(FINISH_TIMEOUT);
    }
}

fn push_counts(counts: Vec<(Key, u64)>, format: Format) {
    let Some(outlet) = OUTLET.get() else { return };
    for (key, held_back) in counts {
        let line = Entry::of_key(&key, clock::wall_ms(), held_back).line(format);
        outlet.push(format!("{line}\n").as_bytes());
    }
}

impl State {
    /// Writes a record unless it is one repeat too many, after the counts that are due.
    fn write(
        &self,
        out: &mut impl Write,
        record: &log::Record<'_>,
        now: Instant,
        wall_ms: i64,
    ) -> io::Result<()> {
        let mut entry = Entry::of_record(record, wall_ms);
        let mut limit = self.limit.lock().unwrap_or_else(PoisonError::into_inner);
        // Before the counts that are due, so that this message carries its own.
        let verdict = match record.level() {
            log::Level::Debug | log::Level::Trace => Verdict::Pass { held_back: 0 },
            _ => limit.check(key(record, &entry), now),
        };
        for (key, held_back) in limit.expired(now) {
            let line = Entry::of_key(&key, wall_ms, held_back).line(self.format);
            writeln!(out, "{line}")?;
        }
        match verdict {
            Verdict::HoldBack => Ok(()),
            Verdict::Pass { held_back } => {
                entry.held_back = held_back;
                writeln!(out, "{}", entry.line(self.format))
            }
        }
    }
}

/// Repeats come from one line of code about one subscription, whatever their fields say. A message
/// with arguments is told by its place in the source instead of its text.
fn key(record: &log::Record<'_>, entry: &Entry) -> Key {
    let place = || {
        (
            record.file().unwrap_or_default().into(),
            record.line().unwrap_or_default(),
        )
    };
    Key {
        level: record.level(),
        target: record.target().into(),
        place: record.args().as_str().is_none().then(place),
        message: record.args().as_str().map_or_else(String::new, Into::into),
        subscription: entry.subscription.clone(),
    }
}

#[cfg(test)]
mod tests;
