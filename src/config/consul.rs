//! The `consul` section of the `--config` file: where Consul is, and as what the agent stands in it.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::environment::{HEADER_EXPECTED, is_header_text};
use super::fault::{kind, quoted, shown};
use super::raw::{Faulty, Fields, Read};
use super::{read_key_file, tls, url};
use crate::consul::definition::{self, Check, Means, Refusal, SUBSCRIPTION_PREFIX, Service};
use crate::duration;
use crate::nearest::nearest;
use crate::secret::Secret;
use crate::tls::ClientTls;

/// The section.
#[derive(Debug, Clone, PartialEq)]
pub struct Consul {
    pub endpoint: Endpoint,
    /// As what the agent stands in Consul.
    pub service: Service,
    /// Its checks turn critical when they are not renewed within that time.
    pub ttl: Duration,
    /// For how long a broker or an API may be down before its check is critical.
    pub critical_after: Duration,
    pub deregister_critical_after: Option<Duration>,
    /// The user's own, which Consul carries out.
    pub checks: Vec<Check>,
}

/// Where Consul is and how it is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Endpoint {
    /// `http://` or `https://`, without a trailing slash.
    pub address: String,
    pub token: Option<Secret>,
    pub datacenter: Option<String>,
    /// For an https address.
    pub tls: Option<ClientTls>,
}

/// Where a Consul that was not told otherwise listens.
pub const ADDRESS: &str = "http://127.0.0.1:8500";

const NAME: &str = "leek-agent";
const TTL: Duration = Duration::from_secs(30);
/// A shorter one would be missed by a loaded machine.
const TTL_MIN: Duration = Duration::from_secs(5);
const CRITICAL_AFTER: Duration = Duration::from_secs(60);

const KEYS: [&str; 10] = [
    "address",
    "token",
    "token_file",
    "datacenter",
    "tls",
    "service",
    "ttl",
    "critical_after",
    "deregister_critical_after",
    "checks",
];
const SERVICE_KEYS: [&str; 6] = ["name", "id", "address", "port", "tags", "meta"];
const CHECK_KEYS: [&str; 9] = [
    "id",
    "name",
    "notes",
    "ttl",
    "http",
    "tcp",
    "args",
    "interval",
    "deregister_critical_after",
];

/// What the section is read with.
pub struct Given<'a> {
    /// Reads the files of `tls`.
    pub open_tls: tls::Open<'a>,
    /// Certificates to trust where no `ca_file` is given.
    pub ssl_cert_file: Option<PathBuf>,
}

/// Reads the section. Every key is read before the first `?`, so that none hides another's fault.
pub fn read(fields: &mut Fields<'_>, given: &Given<'_>) -> Result<Consul, Faulty> {
    unknown_keys(fields, &KEYS);
    let endpoint = endpoint(fields, given);
    let service = service(fields);
    let ttl = time(fields, "ttl");
    let critical_after = time(fields, "critical_after");
    let after = deregister_after(fields);
    let checks = checks(fields, service.as_ref().ok());
    let ttl = match ttl? {
        Some(ttl) if ttl < TTL_MIN => {
            return Err(fields.fault("ttl", format!("{ttl:?}"), "expected 5s or more"));
        }
        ttl => ttl.unwrap_or(TTL),
    };
    Ok(Consul {
        endpoint: endpoint?,
        service: service?,
        ttl,
        critical_after: critical_after?.unwrap_or(CRITICAL_AFTER),
        deregister_critical_after: after?,
        checks: checks?,
    })
}

fn unknown_keys(fields: &mut Fields<'_>, keys: &[&'static str]) {
    for key in fields.names().filter(|key| !keys.contains(key)) {
        let known = nearest(key, keys.iter().copied()).expect("there are known keys");
        fields.fault(key, "unknown key", &format!("did you mean {known}?"));
    }
}

fn endpoint(fields: &mut Fields<'_>, given: &Given<'_>) -> Result<Endpoint, Faulty> {
    let address = address(fields);
    let token = token(fields);
    let datacenter = name(fields, "datacenter");
    let side = tls::Side {
        key: "tls",
        is_used: address.as_ref().ok().map(|url| url.starts_with("https:")),
        expected: "expected only beside an https address",
        ssl_cert_file: given.ssl_cert_file.clone(),
        open: given.open_tls,
    };
    let tls = tls::side(fields, &side);
    Ok(Endpoint {
        address: address?,
        token: token?,
        datacenter: datacenter?,
        tls: tls?,
    })
}

fn address(fields: &mut Fields<'_>) -> Result<String, Faulty> {
    match fields.secret("address", "expected Consul's URL")? {
        None => Ok(ADDRESS.to_owned()),
        Some(text) => {
            url::api(text).map_err(|fault| fields.fault("address", fault.found, &fault.expected))
        }
    }
}

fn token(fields: &mut Fields<'_>) -> Read<Secret> {
    let token = fields.secret_where("token", HEADER_EXPECTED, is_header_text);
    let file = fields.text("token_file", "expected a file's name");
    match (token?, file?) {
        (Some(_), Some(_)) => {
            let expected = "expected one of them";
            Err(fields.fault("token_file", "a token is given too", expected))
        }
        (token, None) => Ok(token.map(Secret::new)),
        (None, Some(path)) => read_key_file(path)
            .map(Some)
            .map_err(|reason| fields.fault("token_file", quoted(path), &reason)),
    }
}

fn service(fields: &mut Fields<'_>) -> Result<Service, Faulty> {
    let mut inner = match fields.object("service")? {
        None => return Ok(named(NAME)),
        Some(inner) => inner,
    };
    let service = service_keys(&mut inner);
    fields.faults.append(&mut inner.faults);
    service
}

fn named(name: &str) -> Service {
    Service {
        id: name.to_owned(),
        name: name.to_owned(),
        address: None,
        port: None,
        tags: Vec::new(),
        meta: Vec::new(),
    }
}

fn service_keys(inner: &mut Fields<'_>) -> Result<Service, Faulty> {
    unknown_keys(inner, &SERVICE_KEYS);
    let service_name = name(inner, "name");
    let id = name(inner, "id");
    let address = name(inner, "address");
    let port = inner.whole("port", 1..=65535, "1 to 65535");
    let tags = inner.list_of("tags", "tags", |tag| Ok(tag.to_owned()));
    let meta = meta(inner);
    let service_name = service_name?.unwrap_or_else(|| NAME.to_owned());
    Ok(Service {
        id: id?.unwrap_or_else(|| service_name.clone()),
        name: service_name,
        address: address?,
        port: port?.and_then(|port| u16::try_from(port).ok()),
        tags: tags?.unwrap_or_default(),
        meta: meta?,
    })
}

fn meta(inner: &mut Fields<'_>) -> Result<Vec<(String, String)>, Faulty> {
    let Some(mut keys) = inner.object("meta")? else {
        return Ok(Vec::new());
    };
    let mut meta = Vec::new();
    for key in keys.names() {
        if let Ok(Some(text)) = keys.text(key, "expected a string") {
            meta.push((key.to_owned(), text.to_owned()));
        }
    }
    inner.faults.append(&mut keys.faults);
    Ok(meta)
}

fn checks(fields: &mut Fields<'_>, service: Option<&Service>) -> Result<Vec<Check>, Faulty> {
    let list = match fields.get("checks") {
        None => return Ok(Vec::new()),
        Some(Value::Array(list)) => list,
        Some(other) => {
            return Err(fields.fault("checks", shown(other), "expected a list of checks"));
        }
    };
    let mut checks: Vec<Check> = Vec::new();
    for (index, value) in list.iter().enumerate() {
        let place = format!("checks[{index}]");
        let Value::Object(keys) = value else {
            fields.fault(&place, kind(value), "expected an object");
            continue;
        };
        let mut inner = Fields::new(fields.place_of(&place), keys);
        let check = check(&mut inner);
        if let Ok(check) = &check
            && let Some(expected) = holder(&check.id, service, &checks)
        {
            inner.fault("id", quoted(&check.id), expected);
        }
        fields.faults.append(&mut inner.faults);
        checks.extend(check);
    }
    Ok(checks)
}

/// Who has that id already.
fn holder(id: &str, service: Option<&Service>, checks: &[Check]) -> Option<&'static str> {
    let is_own = service.is_some_and(|service| service.id == id);
    if is_own || id.starts_with(SUBSCRIPTION_PREFIX) {
        return Some("expected another id: a check of the agent's own has it");
    }
    let is_taken = checks.iter().any(|known| known.id == id);
    is_taken.then_some("expected an id of its own, by default its name")
}

fn check(inner: &mut Fields<'_>) -> Result<Check, Faulty> {
    unknown_keys(inner, &CHECK_KEYS);
    let check_name = name(inner, "name");
    let id = name(inner, "id");
    let notes = inner.text("notes", "expected a string");
    let ttl = time(inner, "ttl");
    let http = inner.text("http", "expected a URL");
    let tcp = inner.text("tcp", "expected HOST:PORT");
    let args = inner.list_of("args", "strings", |word| Ok(word.to_owned()));
    let interval = time(inner, "interval");
    let after = deregister_after(inner);
    let means = Means {
        ttl: ttl?,
        http: http?.map(str::to_owned),
        tcp: tcp?.map(str::to_owned),
        args: args?,
        interval: interval?,
    };
    let is_ttl = means.ttl.is_some();
    let kind = means.kind().map_err(|refusal| refused(inner, &refusal))?;
    let Some(kind) = kind.filter(|_| !is_ttl) else {
        let (key, found) = if is_ttl {
            ("ttl", "given")
        } else {
            ("http", "missing")
        };
        let expected = "expected http, tcp or args, and interval: who would renew a ttl?";
        return Err(inner.fault(key, found, expected));
    };
    let Some(check_name) = check_name? else {
        return Err(inner.fault("name", "missing", "expected a name"));
    };
    Ok(Check {
        id: id?.unwrap_or_else(|| check_name.clone()),
        name: check_name,
        notes: notes?.map(str::to_owned),
        kind,
        deregister_critical_after: after?,
        status: None,
    })
}

fn deregister_after(fields: &mut Fields<'_>) -> Read<Duration> {
    let after = time(fields, "deregister_critical_after")?;
    let after = after.map(definition::deregister_after).transpose();
    after.map_err(|refusal| refused(fields, &refusal))
}

fn refused(fields: &mut Fields<'_>, refusal: &Refusal) -> Faulty {
    fields.fault(refusal.key, &refusal.found, refusal.expected)
}

fn name(fields: &mut Fields<'_>, key: &str) -> Read<String> {
    let expected = "expected a name";
    let text = fields.text_where(key, expected, |text| !text.trim().is_empty())?;
    Ok(text.map(str::to_owned))
}

fn time(fields: &mut Fields<'_>, key: &str) -> Read<Duration> {
    let text = fields.text_where(key, duration::EXPECTED, |text| {
        duration::parse(text).is_some()
    })?;
    Ok(text.and_then(duration::parse))
}
