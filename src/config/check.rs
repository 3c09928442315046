//! Subscriptions as written → subscriptions as meant: every range, default and rule of the
//! configuration, all faults at once. Pure but for the key files, whose reader is handed in.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::environment::{HEADER_EXPECTED, LOCAL_API_URL, is_header_text};
use super::fault::{Fault, kind, quoted};
use super::proxy::{Proxies, Proxy};
use super::quarantine::Quarantine;
use super::raw::{Faulty, Fields, Read};
use super::redis::{self, RedisOptions};
use super::{
    AmqpBroker, BatchLimits, Broker, FailoverStrategy, Login, Mode, RedisPlace, Subscription,
    policy, spool, tls, url,
};
use crate::document::Validation;
use crate::nearest::nearest;
use crate::secret::Secret;
use crate::tls::ClientTls;

/// Keys that mean something to this version, or to Leek's API.
const KEYS: [&str; 28] = [
    "broker",
    "backend",
    "broker_management_url",
    "exchange",
    "queue",
    "routing_key",
    "org_name",
    "app_name",
    "app_env",
    "app_key",
    "app_key_file",
    "api_url",
    "prefetch_count",
    "concurrency_pool_size",
    "batch_max_size_in_mb",
    "batch_max_number_of_messages",
    "batch_max_window_in_seconds",
    "buffer_max_size_in_mb",
    "failover_strategy",
    "validation",
    "tls",
    "api_tls",
    "include",
    "exclude",
    "keep_events",
    "redact",
    "redis",
    "spool",
];

const PREFETCH_DEFAULT: u32 = 1000;
const PREFETCH_MAX: u32 = 10_000;
/// MB of the ring: minutes of an ordinary site's events, small beside a gateway's memory.
const BUFFER_DEFAULT: u32 = 16;
const MIB: u32 = 1_048_576;
/// A batch window never rounds down to nothing.
const WINDOW_MIN: Duration = Duration::from_millis(1);
/// AMQP names are short strings.
const AMQP_NAME_MAX: usize = 255;

/// What the subscriptions are read against: the agent's place and the values for all of them.
pub struct Given<'a> {
    pub mode: Mode,
    /// Overrules every subscription's (Leek without authentication).
    pub org_name: Option<String>,
    /// The local agent's key, or the key for subscriptions without one of their own.
    pub app_key: Option<Secret>,
    /// For subscriptions without one of their own; checked already.
    pub api_url: Option<String>,
    /// Reads a key file, or says why not.
    pub read_key: &'a dyn Fn(&str) -> Result<Secret, String>,
    /// Reads the files of `tls` and `api_tls`.
    pub open_tls: tls::Open<'a>,
    /// Certificates to trust where no `ca_file` is given.
    pub ssl_cert_file: Option<PathBuf>,
    pub proxies: &'a Proxies,
    /// The same place for all of them.
    pub quarantine: Option<Quarantine>,
}

/// Checks a list of subscriptions; the faults come in the list's order.
pub fn subscriptions(list: &[Value], given: &Given<'_>) -> Result<Vec<Subscription>, Vec<Fault>> {
    let mut faults = Vec::new();
    let mut names = BTreeMap::new();
    let mut checked = Vec::new();
    for (index, value) in list.iter().enumerate() {
        let place = format!("subscriptions[{index}]");
        let Value::Object(keys) = value else {
            faults.push(Fault::new(place, kind(value), "expected an object"));
            continue;
        };
        let mut fields = Fields::new(place, keys);
        unknown_keys(&mut fields);
        let subscription = subscription(&mut fields, given);
        unique_name(&mut fields, index, &mut names);
        faults.append(&mut fields.faults);
        checked.extend(subscription);
    }
    if faults.is_empty() {
        Ok(checked)
    } else {
        Err(faults)
    }
}

/// Every key is read before the first `?`, so that none hides another's fault.
fn subscription(fields: &mut Fields<'_>, given: &Given<'_>) -> Result<Subscription, Faulty> {
    let brokers = brokers(fields);
    let exchange = amqp_name(fields, "exchange", "celeryev");
    let queue = amqp_name(fields, "queue", "leek.fanout");
    let routing_key = amqp_name(fields, "routing_key", "#");
    let org_name = org_name(fields, given);
    let app_name = lower_case(fields, "app_name");
    let app_env = lower_case(fields, "app_env");
    let app_key = app_key(fields, given);
    let api_url = api_url(fields, given);
    let tls = broker_tls(fields, brokers.as_deref().ok(), given);
    let api_tls = api_tls(fields, api_url.as_deref().ok(), given);
    let proxy = proxy(fields, api_url.as_deref().ok(), given);
    let prefetch = prefetch_count(fields);
    let pool = fields.whole("concurrency_pool_size", 1..=20, "1 to 20");
    let batch = batch_limits(fields, prefetch);
    let buffer = fields.whole("buffer_max_size_in_mb", 1..=256, "1 to 256");
    let failover = failover_strategy(fields);
    let validation = validation(fields);
    let policy = policy::read(fields);
    let redis = redis_options(fields, brokers.as_deref());
    let spool = spool::spool(fields, brokers.as_deref().ok(), batch.as_ref().ok());

    let (app_name, app_env, tls) = (app_name?, app_env?, tls?);
    Ok(Subscription {
        name: format!("{app_name}-{app_env}"),
        brokers: named(brokers?, tls.as_ref()),
        tls,
        failover: failover?.unwrap_or(FailoverStrategy::RoundRobin),
        exchange: exchange?,
        queue: queue?,
        routing_key: routing_key?,
        org_name: org_name?,
        app_name,
        app_env,
        app_key: app_key?,
        api_url: api_url?,
        api_tls: api_tls?,
        proxy: proxy?,
        prefetch_count: u16::try_from(prefetch?).expect("prefetch_count is at most 10000"),
        concurrency_pool_size: pool?.unwrap_or(1) as usize,
        batch: batch?,
        buffer_bytes: (buffer?.unwrap_or(BUFFER_DEFAULT) * MIB) as usize,
        validation: validation?.unwrap_or_default(),
        policy: policy?,
        redis: redis?,
        quarantine: given.quarantine.clone(),
        spool: spool?,
    })
}

fn unknown_keys(fields: &mut Fields<'_>) {
    for key in fields.names() {
        if !KEYS.contains(&key) {
            let known = nearest(key, KEYS);
            let hint = format!("did you mean {}?", known.expect("there are known keys"));
            fields.fault(key, "unknown key", &hint);
        }
    }
}

/// A name is taken by the first subscription that carries it.
fn unique_name(fields: &mut Fields<'_>, index: usize, names: &mut BTreeMap<String, usize>) {
    let text = |key| fields.get(key).and_then(Value::as_str);
    let (Some(app_name), Some(app_env)) = (text("app_name"), text("app_env")) else {
        return;
    };
    let name = format!("{app_name}-{app_env}");
    let first = *names.entry(name.clone()).or_insert(index);
    if first != index {
        let expected = format!(
            "expected a name of its own, subscriptions[{first}] has the same app_name and app_env"
        );
        fields.fault("app_name", quoted(&name), &expected);
    }
}

fn brokers(fields: &mut Fields<'_>) -> Result<Vec<Broker>, Faulty> {
    let expected = "expected a broker's URL";
    let Some(text) = fields.secret("broker", expected)? else {
        return Err(fields.fault("broker", "missing", expected));
    };
    url::brokers(text).map_err(|faults| {
        for fault in faults {
            fields.fault("broker", fault.found, &fault.expected);
        }
        Faulty
    })
}

/// Options that mean nothing to the broker are a mistake, and sentinels need a master's name.
fn redis_options(
    fields: &mut Fields<'_>,
    brokers: Result<&[Broker], &Faulty>,
) -> Result<RedisOptions, Faulty> {
    let options = match fields.object("redis")? {
        None => RedisOptions::default(),
        Some(_) if matches!(brokers, Ok([Broker::Amqp(_), ..])) => {
            return Err(fields.fault("redis", "an object", "expected only beside a Redis broker"));
        }
        Some(mut inner) => {
            let options = redis::options(&mut inner);
            fields.faults.append(&mut inner.faults);
            options?
        }
    };
    let sentinels = |broker: &Broker| match broker {
        Broker::Redis(broker) => matches!(broker.place, RedisPlace::Sentinels(_)),
        Broker::Amqp(_) => false,
    };
    let needed = brokers.is_ok_and(|brokers| brokers.iter().any(sentinels));
    if needed && options.master_name.is_empty() {
        let expected = "expected the name under which the sentinels know the master";
        return Err(fields.fault("redis.master_name", "missing", expected));
    }
    Ok(options)
}

fn amqp_name(fields: &mut Fields<'_>, key: &str, default: &str) -> Result<String, Faulty> {
    let expected = "expected 1 to 255 bytes without control characters";
    let accept = |text: &str| {
        (1..=AMQP_NAME_MAX).contains(&text.len()) && !text.chars().any(char::is_control)
    };
    let text = fields.text_where(key, expected, accept)?;
    Ok(text.unwrap_or(default).into())
}

fn org_name(fields: &mut Fields<'_>, given: &Given<'_>) -> Result<String, Faulty> {
    if let Some(forced) = &given.org_name {
        return Ok(forced.clone());
    }
    match fields.text_where("org_name", HEADER_EXPECTED, is_header_text)? {
        Some(text) => Ok(text.into()),
        None => Err(fields.fault("org_name", "missing", "expected the organisation's name")),
    }
}

fn lower_case(fields: &mut Fields<'_>, key: &str) -> Result<String, Faulty> {
    let expected = "expected lower-case letters only";
    let accept =
        |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase());
    match fields.text_where(key, expected, accept)? {
        Some(text) => Ok(text.into()),
        None => Err(fields.fault(key, "missing", expected)),
    }
}

/// A local agent's key is Leek's; elsewhere the subscription's own comes before the one for all.
fn app_key(fields: &mut Fields<'_>, given: &Given<'_>) -> Result<Secret, Faulty> {
    if given.mode == Mode::Local {
        return given.app_key.clone().ok_or(Faulty);
    }
    let own = own_app_key(fields, given)?;
    own.or_else(|| given.app_key.clone()).ok_or_else(|| {
        let expected = "expected app_key or app_key_file here, or --app-key for all subscriptions";
        fields.fault("app_key", "missing", expected)
    })
}

fn own_app_key(fields: &mut Fields<'_>, given: &Given<'_>) -> Read<Secret> {
    let key = fields.secret_where("app_key", HEADER_EXPECTED, is_header_text);
    let file = fields.text("app_key_file", "expected a file's name");
    match (key?, file?) {
        (None, None) => Ok(None),
        (Some(key), None) => Ok(Some(Secret::new(key))),
        (None, Some(file)) => (given.read_key)(file)
            .map(Some)
            .map_err(|reason| fields.fault("app_key_file", quoted(file), &reason)),
        (Some(_), Some(_)) => Err(fields.fault(
            "app_key_file",
            "app_key is given too",
            "expected one of them",
        )),
    }
}

fn api_url(fields: &mut Fields<'_>, given: &Given<'_>) -> Result<String, Faulty> {
    if given.mode == Mode::Local {
        return Ok(LOCAL_API_URL.into());
    }
    match (
        fields.secret("api_url", "expected an http or https URL")?,
        &given.api_url,
    ) {
        (Some(own), _) => {
            url::api(own).map_err(|fault| fields.fault("api_url", fault.found, &fault.expected))
        }
        (None, Some(common)) => Ok(common.clone()),
        (None, None) => {
            let expected = "expected an http or https URL here, or --api-url for all subscriptions";
            Err(fields.fault("api_url", "missing", expected))
        }
    }
}

fn broker_tls(
    fields: &mut Fields<'_>,
    brokers: Option<&[Broker]>,
    given: &Given<'_>,
) -> Read<ClientTls> {
    let side = tls::Side {
        key: "tls",
        is_used: brokers.map(|brokers| brokers.iter().any(Broker::uses_tls)),
        expected: "expected a broker that begins with amqps:// or rediss://: others are not encrypted",
        ssl_cert_file: given.ssl_cert_file.clone(),
        open: given.open_tls,
    };
    let tls = tls::side(fields, &side)?;
    let has_certificate = tls.as_ref().is_some_and(ClientTls::has_certificate);
    let lacks = |broker: &Broker| match broker {
        Broker::Amqp(broker) => {
            broker.login == Login::Certificate && !(broker.tls && has_certificate)
        }
        Broker::Redis(_) => false,
    };
    if brokers.is_some_and(|brokers| brokers.iter().any(lacks)) {
        let expected = "expected amqps:// and tls.cert_file with it";
        return Err(fields.fault("broker", "auth_mechanism=external", expected));
    }
    Ok(tls)
}

/// A URL that names nobody lets the client certificate speak, where there is one.
fn named(brokers: Vec<Broker>, tls: Option<&ClientTls>) -> Vec<Broker> {
    let has_certificate = tls.is_some_and(ClientTls::has_certificate);
    let login = |broker: &AmqpBroker| match broker.login {
        Login::Either if broker.tls && has_certificate => Login::Certificate,
        Login::Either => Login::Password,
        known => known,
    };
    let named = |broker| match broker {
        Broker::Amqp(broker) => Broker::Amqp(AmqpBroker {
            login: login(&broker),
            ..broker
        }),
        redis => redis,
    };
    brokers.into_iter().map(named).collect()
}

/// A local agent's address is plain HTTP, whatever the subscription says.
fn api_tls(fields: &mut Fields<'_>, api_url: Option<&str>, given: &Given<'_>) -> Read<ClientTls> {
    if given.mode == Mode::Local {
        return Ok(None);
    }
    let side = tls::Side {
        key: "api_tls",
        is_used: api_url.map(|url| url.starts_with("https://")),
        expected: "expected an api_url that begins with https://, since http:// is not encrypted",
        ssl_cert_file: given.ssl_cert_file.clone(),
        open: given.open_tls,
    };
    tls::side(fields, &side)
}

/// A local agent's API is in the same container: no proxy stands between.
fn proxy(fields: &mut Fields<'_>, api_url: Option<&str>, given: &Given<'_>) -> Read<Proxy> {
    match api_url {
        Some(url) if given.mode != Mode::Local => given
            .proxies
            .for_url(url)
            .map_err(|reason| fields.fault_plain("api_url", &reason)),
        _ => Ok(None),
    }
}

fn prefetch_count(fields: &mut Fields<'_>) -> Result<u32, Faulty> {
    let count = fields.whole("prefetch_count", 1000..=PREFETCH_MAX, "1000 to 10000")?;
    Ok(count.unwrap_or(PREFETCH_DEFAULT))
}

/// More messages than the broker hands out would never fill a batch, hence the bound; where
/// prefetch_count itself is at fault, its largest value stands in.
fn batch_limits(
    fields: &mut Fields<'_>,
    prefetch: Result<u32, Faulty>,
) -> Result<BatchLimits, Faulty> {
    let most = prefetch.unwrap_or(PREFETCH_MAX);
    let range = format!("1 to {most} (prefetch_count)");
    let size = fields.fraction("batch_max_size_in_mb", 10);
    let messages = fields.whole("batch_max_number_of_messages", 1..=most, &range);
    let window = fields.fraction("batch_max_window_in_seconds", 20);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let max_bytes = (size?.unwrap_or(1.0) * f64::from(MIB)).ceil() as usize;
    Ok(BatchLimits {
        max_bytes,
        max_messages: messages?.unwrap_or(most) as usize,
        window: Duration::from_secs_f64(window?.unwrap_or(5.0)).max(WINDOW_MIN),
    })
}

fn failover_strategy(fields: &mut Fields<'_>) -> Read<FailoverStrategy> {
    let choices = [
        ("round-robin", FailoverStrategy::RoundRobin),
        ("shuffle", FailoverStrategy::Shuffle),
    ];
    fields.choice("failover_strategy", &choices)
}

fn validation(fields: &mut Fields<'_>) -> Read<Validation> {
    let choices = [
        ("tolerant", Validation::Tolerant),
        ("strict", Validation::Strict),
    ];
    fields.choice("validation", &choices)
}
