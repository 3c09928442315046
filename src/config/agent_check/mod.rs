//! `agent_check: […]` of a configuration file: where HAProxy may ask, and by what it is answered.
//! Names and meanings are Herald's, so that its configuration files need no thought.

mod rules;
mod source;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::fault::{kind, quoted, shown};
use super::raw::{Faulty, Fields};
use crate::agent_check::cache::Timing;
use crate::agent_check::{Answer, PORT, Rules};
use crate::nearest::nearest;
use crate::secret::Secret;
use crate::tls::{ClientTls, TlsError};

/// One place that HAProxy asks at.
#[derive(Debug, Clone, PartialEq)]
pub struct Responder {
    pub address: SocketAddr,
    /// At least one; what they answer is combined.
    pub plugins: Vec<Plugin>,
}

/// One source, and what its words mean.
#[derive(Debug, Clone, PartialEq)]
pub struct Plugin {
    pub name: String,
    pub source: Source,
    pub rules: Arc<Rules>,
    pub timing: Timing,
}

/// Who is asked.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    Http(Http),
    /// A regular file.
    File(PathBuf),
    /// This agent.
    Own {
        /// What is said as long as it is paused; `None` where pausing says nothing.
        paused: Option<Answer>,
    },
}

/// What an http source is asked with.
#[derive(Debug, Clone, PartialEq)]
pub struct Http {
    /// Without user and password.
    pub url: String,
    /// `user:password`, for basic authentication.
    pub login: Option<Secret>,
    pub timeout: Duration,
    /// Set where the URL is https.
    pub tls: Option<ClientTls>,
}

const RESPONDER_KEYS: [&str; 4] = ["name", "bind", "port", "plugins"];
const PLUGIN_KEYS: [&str; 17] = [
    "name",
    "source",
    "url",
    "ca_file",
    "timeout",
    "file_path",
    "paused_response",
    "is_json",
    "interval",
    "staleness_interval",
    "staleness_response",
    "default_response",
    "thresholds",
    "thresholds_metric",
    "patterns",
    "patterns_metric",
    "stop_timeout",
];

/// Responders, and plugins of one: each has a thread.
const PLUGINS_MAX: usize = 16;

/// A day: longer intervals are a slip.
const SECONDS_MAX: f64 = 86_400.0;

/// Reads the certificates of an https source: those of a file, or those that all trust.
pub type Open<'a> = &'a dyn Fn(Option<PathBuf>) -> Result<ClientTls, TlsError>;

/// Reads one item of the list.
pub fn responder(fields: &mut Fields<'_>, open: Open<'_>) -> Result<Responder, Faulty> {
    unknown_keys(fields, &RESPONDER_KEYS);
    let bind = bind(fields);
    let port = fields.whole("port", 1..=65_535, "1 to 65535");
    let plugins = plugins(fields, open);
    let port = port?.map_or(PORT, |port| u16::try_from(port).unwrap_or(PORT));
    Ok(Responder {
        address: SocketAddr::new(bind?, port),
        plugins: plugins?,
    })
}

fn unknown_keys(fields: &mut Fields<'_>, known: &[&'static str]) {
    for key in fields.names().filter(|key| !known.contains(key)) {
        let nearest = nearest(key, known.iter().copied()).expect("there are known keys");
        fields.fault(key, "unknown key", &format!("did you mean {nearest}?"));
    }
}

fn bind(fields: &mut Fields<'_>) -> Result<IpAddr, Faulty> {
    let expected = "expected an IP address of this machine such as 0.0.0.0";
    match fields.text("bind", expected)? {
        None => Ok(Ipv4Addr::UNSPECIFIED.into()),
        Some(text) => text
            .parse()
            .map_err(|_| fields.fault("bind", quoted(text), expected)),
    }
}

fn plugins(fields: &mut Fields<'_>, open: Open<'_>) -> Result<Vec<Plugin>, Faulty> {
    let expected = format!("expected a list of 1 to {PLUGINS_MAX} plugins");
    let list = match fields.get("plugins") {
        Some(Value::Array(list)) if (1..=PLUGINS_MAX).contains(&list.len()) => list,
        found => {
            let found = found.map_or("missing".to_owned(), shown);
            return Err(fields.fault("plugins", found, &expected));
        }
    };
    let mut plugins = Vec::new();
    for (index, value) in list.iter().enumerate() {
        let place = format!("plugins[{index}]");
        plugins.push(within(fields, &place, value, |inner| {
            plugin(inner, index, open)
        }));
    }
    plugins.into_iter().collect()
}

/// Reads an object that stands inside.
fn within<T>(
    fields: &mut Fields<'_>,
    place: &str,
    value: &Value,
    read: impl FnOnce(&mut Fields<'_>) -> Result<T, Faulty>,
) -> Result<T, Faulty> {
    let Value::Object(keys) = value else {
        return Err(fields.fault(place, kind(value), "expected an object"));
    };
    let mut inner = Fields::new(fields.place_of(place), keys);
    let read = read(&mut inner);
    let is_clean = inner.faults.is_empty();
    fields.faults.append(&mut inner.faults);
    if is_clean { read } else { Err(Faulty) }
}

/// Every key is read before the first `?`, so that none hides another's fault.
fn plugin(fields: &mut Fields<'_>, index: usize, open: Open<'_>) -> Result<Plugin, Faulty> {
    unknown_keys(fields, &PLUGIN_KEYS);
    let name = fields.text("name", "expected a text");
    let source = source::read(fields, open);
    let is_json = fields.flag("is_json");
    let interval = seconds(fields, "interval");
    let staleness = seconds(fields, "staleness_interval");
    let stale = answer(fields, "staleness_response");
    let default = answer(fields, "default_response");
    let (patterns_metric, thresholds_metric) = (
        rules::metric(fields, "patterns_metric"),
        rules::metric(fields, "thresholds_metric"),
    );
    let patterns = rules::list(fields, "patterns", rules::pattern);
    let thresholds = rules::list(fields, "thresholds", rules::threshold);
    let (source, patterns, thresholds) = (source?, patterns?, thresholds?);
    let is_own = matches!(source, Source::Own { .. });
    let says_when_paused = matches!(source, Source::Own { paused: Some(_) });
    if patterns.is_empty() && thresholds.is_empty() && !says_when_paused {
        return Err(fields.fault(
            "thresholds",
            "missing",
            "expected thresholds, patterns or both",
        ));
    }
    Ok(Plugin {
        name: name?.map_or_else(|| format!("plugins[{index}]"), str::to_owned),
        source,
        rules: Arc::new(Rules {
            is_json: is_json?.unwrap_or(is_own),
            patterns_metric: patterns_metric?,
            patterns,
            thresholds_metric: thresholds_metric?,
            thresholds,
            default: default?.unwrap_or_default(),
        }),
        timing: Timing {
            interval: interval?,
            staleness: Some(staleness?).filter(|it| !it.is_zero()),
            stale: stale?.unwrap_or_default(),
        },
    })
}

/// An answer that HAProxy understands.
fn answer(fields: &mut Fields<'_>, key: &str) -> Result<Option<Answer>, Faulty> {
    let Some(text) = fields.text(key, "expected an answer such as down or 50%")? else {
        return Ok(None);
    };
    Answer::parse(text)
        .map(Some)
        .map_err(|expected| fields.fault(key, quoted(text), &expected))
}

/// Seconds, 0 where the key is absent.
fn seconds(fields: &mut Fields<'_>, key: &str) -> Result<Duration, Faulty> {
    let Some(value) = fields.get(key) else {
        return Ok(Duration::ZERO);
    };
    match value.as_f64() {
        Some(number) if (0.0..=SECONDS_MAX).contains(&number) => {
            Ok(Duration::from_secs_f64(number))
        }
        _ => Err(fields.fault(key, shown(value), "expected seconds, 0 to 86400")),
    }
}

#[cfg(test)]
mod tests;
