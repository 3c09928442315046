//! `redis: {…}` of a subscription: the transport options that Celery's side was given, and the
//! channels that follow from them.

use super::fault::{Fault, shown};
use super::raw::{Faulty, Fields, Read};
use crate::nearest::nearest;
use crate::secret::Secret;

/// kombu's prefix of a fanout channel, where none is set.
const FANOUT_PREFIX: &str = "/{db}.";

/// kombu's transport options, as far as a subscriber needs them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisOptions {
    pub global_keyprefix: String,
    /// `{db}` in it stands for the database's number; empty for `fanout_prefix: false`.
    pub fanout_prefix: String,
    pub fanout_patterns: bool,
    /// Never empty beside sentinels.
    pub master_name: String,
    /// For the sentinels themselves.
    pub sentinel_user: Option<String>,
    pub sentinel_password: Option<Secret>,
}

impl Default for RedisOptions {
    fn default() -> Self {
        RedisOptions {
            global_keyprefix: String::new(),
            fanout_prefix: FANOUT_PREFIX.into(),
            fanout_patterns: true,
            master_name: String::new(),
            sentinel_user: None,
            sentinel_password: None,
        }
    }
}

const KEYS: [&str; 5] = [
    "global_keyprefix",
    "fanout_prefix",
    "fanout_patterns",
    "master_name",
    "sentinel_kwargs",
];
const SENTINEL_KEYS: [&str; 2] = ["username", "password"];

/// Options of kombu and redis-py that do not concern a subscriber: the same object may be given to
/// Celery and to the agent.
const IGNORED: [&str; 29] = [
    "ack_emulation",
    "body_encoding",
    "client_name",
    "confirm_publish",
    "health_check_interval",
    "interval_max",
    "interval_start",
    "interval_step",
    "max_connections",
    "max_retries",
    "min_other_sentinels",
    "polling_interval",
    "priority_steps",
    "protocol",
    "queue_order_strategy",
    "retry_on_timeout",
    "sentinel_fanout_compat",
    "sep",
    "socket_connect_timeout",
    "socket_keepalive",
    "socket_keepalive_options",
    "socket_timeout",
    "supports_fanout",
    "unacked_index_key",
    "unacked_key",
    "unacked_mutex_expire",
    "unacked_mutex_key",
    "unacked_restore_limit",
    "visibility_timeout",
];

/// Reads the object's keys.
pub fn options(fields: &mut Fields<'_>) -> Result<RedisOptions, Faulty> {
    known(fields, &KEYS, &IGNORED);
    let defaults = RedisOptions::default();
    let global_keyprefix = fields.text("global_keyprefix", "expected a string");
    let fanout_prefix = fanout_prefix(fields);
    let fanout_patterns = fields.flag("fanout_patterns");
    let master_name = fields.text("master_name", "expected a string");
    let credentials = sentinel_kwargs(fields);
    let (sentinel_user, sentinel_password) = credentials?;
    Ok(RedisOptions {
        global_keyprefix: global_keyprefix?.unwrap_or_default().into(),
        fanout_prefix: fanout_prefix?.unwrap_or(defaults.fanout_prefix),
        fanout_patterns: fanout_patterns?.unwrap_or(true),
        master_name: master_name?.unwrap_or_default().into(),
        sentinel_user,
        sentinel_password,
    })
}

fn known(fields: &mut Fields<'_>, keys: &[&str], ignored: &[&str]) {
    for key in fields.names() {
        if keys.contains(&key) || ignored.contains(&key) {
            continue;
        }
        let known = nearest(key, keys.iter().copied()).expect("there are known keys");
        fields.fault(key, "unknown key", &format!("did you mean {known}?"));
    }
}

/// `true` is kombu's own, `false` none at all.
fn fanout_prefix(fields: &mut Fields<'_>) -> Read<String> {
    let key = "fanout_prefix";
    match fields.get(key) {
        None => Ok(None),
        Some(serde_json::Value::Bool(true)) => Ok(Some(FANOUT_PREFIX.into())),
        Some(serde_json::Value::Bool(false)) => Ok(Some(String::new())),
        Some(serde_json::Value::String(prefix)) => Ok(Some(prefix.clone())),
        Some(other) => Err(fields.fault(key, shown(other), "expected true, false or a string")),
    }
}

fn sentinel_kwargs(fields: &mut Fields<'_>) -> Result<(Option<String>, Option<Secret>), Faulty> {
    let Some(mut inner) = fields.object("sentinel_kwargs")? else {
        return Ok((None, None));
    };
    known(&mut inner, &SENTINEL_KEYS, &IGNORED);
    let user = inner.text("username", "expected a string");
    let password = inner.secret("password", "expected a string");
    let faults: Vec<Fault> = std::mem::take(&mut inner.faults);
    fields.faults.extend(faults);
    Ok((user?.map(Into::into), password?.map(Secret::new)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(object: &Value) -> (Result<RedisOptions, Faulty>, String) {
        let keys = object.as_object().expect("an object");
        let mut fields = Fields::new("s[0].redis".into(), keys);
        let options = options(&mut fields);
        let lines: Vec<String> = fields.faults.iter().map(Fault::to_string).collect();
        (options, lines.join("\n"))
    }

    #[test]
    fn takes_the_options_that_celery_was_given() {
        let (options, faults) = read(&json!({
            "global_keyprefix": "shop:", "fanout_prefix": false, "fanout_patterns": false,
            "master_name": "m", "sentinel_kwargs": {"username": "u", "password": "p"},
            "visibility_timeout": 3600, "socket_keepalive": true,
        }));
        assert_eq!(faults, "");
        let options = options.expect("no faults");
        assert_eq!(options.global_keyprefix, "shop:");
        assert_eq!(options.fanout_prefix, "");
        assert!(!options.fanout_patterns);
        assert_eq!(options.master_name, "m");
        assert_eq!(options.sentinel_user.as_deref(), Some("u"));
        assert_eq!(options.sentinel_password, Some(Secret::new("p")));
        assert_eq!(read(&json!({})).0, Ok(RedisOptions::default()));
        let (explicit, _) = read(&json!({"fanout_prefix": true}));
        assert_eq!(explicit, Ok(RedisOptions::default()));
    }

    #[test]
    fn says_what_is_wrong_and_hides_passwords() {
        for (object, expected) in [
            (
                json!({"fanout_prefx": 1}),
                "s[0].redis.fanout_prefx: unknown key: did you mean fanout_prefix?",
            ),
            (
                json!({"fanout_prefix": 1}),
                "s[0].redis.fanout_prefix: 1: expected true, false or a string",
            ),
            (
                json!({"fanout_patterns": "no"}),
                "s[0].redis.fanout_patterns: \"no\": expected true or false",
            ),
            (
                json!({"sentinel_kwargs": {"passwrd": "hunter2"}}),
                "s[0].redis.sentinel_kwargs.passwrd: unknown key: did you mean password?",
            ),
            (
                json!({"sentinel_kwargs": {"password": 4711}}),
                "s[0].redis.sentinel_kwargs.password: a number: expected a string",
            ),
        ] {
            assert_eq!(read(&object).1, expected);
        }
    }
}
