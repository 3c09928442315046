//! What a running agent can be told to do: how it is asked for, and how it is answered.
//!
//! Two shapes of the same: paths of its own, and those under which Leek's API controls its local agent
//! (`/v1/agent/…`), so that what manages the one can manage the other.

use std::fmt;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::status::Status;
use crate::http::{Request, Response};

/// One thing to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Consume nothing, deliver what is here. Without names: all.
    Pause(Vec<String>),
    /// Consume again. Without names: all.
    Resume(Vec<String>),
    /// Read the configuration again and apply the difference.
    Reload,
    /// Reload, then resume all: what Leek means by start and restart.
    Restart,
    /// Pause all: what Leek means by stop, since the agent goes on answering.
    Rest,
    /// Stop as after SIGTERM; answered when it has stopped.
    Stop,
    /// Add a subscription to the file and apply it.
    Add(Map<String, Value>),
    /// Take the subscription of that name out of the file and apply that.
    Remove(String),
}

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Those that were paused or resumed.
    Switched(Vec<String>),
    Applied(Changes),
    /// Leek's kind of control: it is answered with how the agent is now.
    Controlled,
    /// As it was stored, without its secrets.
    Added(Value),
    Removed,
    Stopped(Delivery),
}

/// Whether a stop left something undelivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Delivery {
    Delivered,
    Undelivered,
}

/// What a new configuration changed, by the subscriptions' names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Changes {
    pub added: Vec<String>,
    pub changed: Vec<String>,
    pub removed: Vec<String>,
    pub unchanged: usize,
}

/// Why nothing was done. The texts say for a human what is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The request itself.
    NotUnderstood(String),
    /// Leek's headers, or what they stand for, are missing.
    HeadersMissing,
    /// Without any subscription there is nothing to start.
    NoSubscriptions,
    /// The broker takes neither user nor password.
    AccessRefused(String),
    UnknownSubscription(String),
    Exists(String),
    /// The subscriptions stand where nobody can change them.
    NotChangeable(String),
    /// The configuration is at fault; a line a fault.
    Configuration(String),
    /// The file cannot be written.
    NotWritten(String),
    BrokerUnreachable(String),
    /// The agent does not take orders now: it stops, or drains.
    NotNow(&'static str),
}

impl Action {
    /// What a request other than GET asks for; `None`: nothing known.
    pub fn of(request: &Request) -> Option<Result<Action, Refusal>> {
        let (method, path) = (request.method.as_str(), request.path());
        Some(match (method, path) {
            ("POST", "/v1/pause") => Ok(Action::Pause(names(request))),
            ("POST", "/v1/resume") => Ok(Action::Resume(names(request))),
            ("POST", "/v1/reload") => Ok(Action::Reload),
            ("POST", "/v1/stop") => Ok(Action::Stop),
            ("POST", "/v1/agent/control") => Ok(Action::Restart),
            ("DELETE", "/v1/agent/control") => Ok(Action::Rest),
            ("POST", "/v1/agent/subscriptions") => subscription(request).map(Action::Add),
            ("DELETE", _) => {
                let name = path.strip_prefix("/v1/agent/subscriptions/")?;
                Ok(Action::Remove(name.to_owned()))
            }
            _ => return None,
        })
    }
}

/// The values of `subscription=` in the query. Names are lower-case letters and `-`: nothing in them is
/// ever encoded.
fn names(request: &Request) -> Vec<String> {
    let query = request
        .target
        .split_once('?')
        .map_or("", |(_, query)| query);
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let named = pairs.filter(|(key, _)| *key == "subscription");
    named.map(|(_, name)| name.to_owned()).collect()
}

/// The body's object. Leek's page names application and organisation in headers.
fn subscription(request: &Request) -> Result<Map<String, Value>, Refusal> {
    let body = serde_json::from_slice(&request.body);
    let Ok(Value::Object(mut keys)) = body else {
        let expected = "the body: expected a JSON object with the subscription's keys";
        return Err(Refusal::NotUnderstood(expected.to_owned()));
    };
    for (key, header) in [
        ("app_name", "x-leek-app-name"),
        ("org_name", "x-leek-org-name"),
    ] {
        let is_given = keys.get(key).is_some_and(|value| !value.is_null());
        if let (false, Some(value)) = (is_given, request.header(header)) {
            keys.insert(key.to_owned(), value.into());
        }
    }
    match keys.get("app_name").unwrap_or(&Value::Null) {
        Value::Null => Err(Refusal::HeadersMissing),
        _ => Ok(keys),
    }
}

/// Answers what was done; `status` is asked for where it is part of the answer.
pub fn told(outcome: &Result<Outcome, Refusal>, status: impl FnOnce() -> Status) -> Response {
    let body = match outcome {
        Ok(Outcome::Switched(names)) => json!({ "subscriptions": names }),
        Ok(Outcome::Applied(changes)) => json!(changes),
        Ok(Outcome::Controlled) => process(&status()),
        Ok(Outcome::Added(subscription)) => subscription.clone(),
        Ok(Outcome::Removed) => json!({ "Deleted": true }),
        Ok(Outcome::Stopped(delivery)) => json!({ "stopped": delivery }),
        Err(refusal) => return refusal.response(),
    };
    Response::json(200, body.to_string())
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (_, message, reason) = self.parts();
        write!(f, "{message}: {reason}")
    }
}

impl Refusal {
    /// Leek's form of an error; its code begins with the status.
    pub fn response(&self) -> Response {
        let (code, message, reason) = self.parts();
        let status = code[..3].parse().unwrap_or(500);
        let error = json!({"error": {"code": code, "message": message, "reason": reason}});
        Response::json(status, error.to_string())
    }

    /// Leek's code where it has one, what happened, and what is behind it.
    fn parts(&self) -> (&'static str, &'static str, &str) {
        match self {
            Refusal::HeadersMissing => (
                "400001",
                "the subscription names no application",
                "expected app_name in the body, or the header x-leek-app-name",
            ),
            Refusal::NotUnderstood(why) => ("400002", "the request is not understood", why),
            Refusal::NoSubscriptions => ("400003", "there are no subscriptions", "add one first"),
            Refusal::AccessRefused(why) => ("401004", "the broker refuses access", why),
            Refusal::UnknownSubscription(name) => {
                ("404003", "there is no subscription of that name", name)
            }
            Refusal::NotChangeable(why) => ("409001", "the subscriptions cannot be changed", why),
            Refusal::Exists(name) => ("412002", "a subscription of that name exists", name),
            Refusal::Configuration(faults) => (
                "422001",
                "the configuration is at fault, nothing was changed",
                faults,
            ),
            Refusal::NotWritten(why) => (
                "500002",
                "the subscriptions file cannot be written, nothing was changed",
                why,
            ),
            Refusal::BrokerUnreachable(why) => ("503002", "the broker is not reachable", why),
            Refusal::NotNow(why) => ("503003", "the agent takes no orders now", why),
        }
    }
}

/// The agent as supervisor, under which Leek runs its own, describes a process.
pub fn process(status: &Status) -> Value {
    let mut states = status.subscriptions.iter().map(|one| one.state);
    let is_resting = !status.subscriptions.is_empty() && states.all(|state| state == "paused");
    let (state, name) = match status.state {
        "starting" => (10, "STARTING"),
        "stopping" => (40, "STOPPING"),
        _ if is_resting => (0, "STOPPED"),
        _ => (20, "RUNNING"),
    };
    let start = status.started_ms / 1000;
    #[allow(clippy::cast_possible_truncation)]
    let uptime = status.uptime_seconds as i64;
    let (hours, minutes, seconds) = (uptime / 3600, uptime / 60 % 60, uptime % 60);
    json!({
        "name": "agent",
        "group": "agent",
        "description": format!("pid {}, uptime {hours}:{minutes:02}:{seconds:02}", status.pid),
        "start": start,
        "stop": 0,
        "now": start + uptime,
        "state": state,
        "statename": name,
        "spawnerr": "",
        "exitstatus": 0,
        "logfile": "",
        "stdout_logfile": "",
        "stderr_logfile": "",
        "pid": status.pid,
        "type": status.kind,
    })
}
