//! Checks and services as Consul takes them, and what is refused before it is sent: Consul itself
//! takes some of it, and then does not do what was meant.

use std::time::Duration;

use serde_json::{Map, Value, json};

/// The ids of the checks of subscriptions begin with it.
pub const SUBSCRIPTION_PREFIX: &str = "leek-agent:";

/// What a check looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Nothing: whoever registered it says how it is, within that time.
    Ttl(Duration),
    /// An address that must answer 2xx; 429 is a warning.
    Http { url: String, interval: Duration },
    /// A host and port that must take a connection.
    Tcp { place: String, interval: Duration },
    /// A program with its arguments, that must exit with 0; 1 is a warning.
    Args {
        words: Vec<String>,
        interval: Duration,
    },
}

/// A check that is to be registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    pub id: String,
    pub name: String,
    pub notes: Option<String>,
    pub kind: Kind,
    /// Its service goes when it was critical for that long.
    pub deregister_critical_after: Option<Duration>,
    /// How it is until the first look; critical where nothing is said.
    pub status: Option<State>,
}

/// A service that is to be registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    pub id: String,
    pub name: String,
    pub address: Option<String>,
    pub port: Option<u16>,
    pub tags: Vec<String>,
    pub meta: Vec<(String, String)>,
}

/// How something is, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    Passing,
    Warning,
    Critical,
}

impl State {
    /// As Consul has it.
    pub fn name(self) -> &'static str {
        match self {
            State::Passing => "passing",
            State::Warning => "warning",
            State::Critical => "critical",
        }
    }
}

/// The shortest that Consul keeps to.
const DEREGISTER_MIN: Duration = Duration::from_secs(60);

/// One thing that is not sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The key that is at fault.
    pub key: &'static str,
    pub found: String,
    pub expected: &'static str,
}

/// What was said of a check, each word for itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Means {
    pub ttl: Option<Duration>,
    pub http: Option<String>,
    pub tcp: Option<String>,
    pub args: Option<Vec<String>>,
    pub interval: Option<Duration>,
}

impl Means {
    /// The kind of check that is meant; `None` where nothing was said.
    pub fn kind(self) -> Result<Option<Kind>, Refusal> {
        let named = [
            ("ttl", self.ttl.is_some()),
            ("http", self.http.is_some()),
            ("tcp", self.tcp.is_some()),
            ("args", self.args.is_some()),
        ];
        let named = named.into_iter().filter(|(_, is_named)| *is_named);
        let named: Vec<&'static str> = named.map(|(name, _)| name).collect();
        if let [first, second, ..] = named[..] {
            return Err(Refusal {
                key: second,
                found: format!("{first} is given too"),
                expected: "expected one of ttl, http, tcp and args",
            });
        }
        let name = named.first().copied();
        match (name, self.interval) {
            (None, None) => return Ok(None),
            (None | Some("ttl"), Some(_)) => {
                return Err(refusal(
                    "interval",
                    "given",
                    "expected it beside http, tcp or args only",
                ));
            }
            (Some("ttl"), None) | (Some(_), Some(_)) => {}
            (Some(_), None) => {
                return Err(refusal(
                    "interval",
                    "missing",
                    "expected how often to look, such as 10s",
                ));
            }
        }
        self.one_kind().map(Some)
    }

    /// Of exactly one kind, and its interval where it has one.
    fn one_kind(self) -> Result<Kind, Refusal> {
        let interval = self.interval.unwrap_or_default();
        match (self.ttl, self.http, self.tcp, self.args) {
            (Some(ttl), ..) if ttl.is_zero() => {
                Err(refusal("ttl", "0", "expected a time over 0, such as 30s"))
            }
            (Some(ttl), ..) => Ok(Kind::Ttl(ttl)),
            _ if interval.is_zero() => Err(refusal(
                "interval",
                "0",
                "expected a time over 0, such as 10s",
            )),
            (_, Some(url), ..) if is_web(&url) => Ok(Kind::Http { url, interval }),
            (_, Some(_), ..) => Err(refusal("http", "no url", "expected http://… or https://…")),
            (_, _, Some(place), _) if is_place(&place) => Ok(Kind::Tcp { place, interval }),
            (_, _, Some(_), _) => Err(refusal("tcp", "no port", "expected HOST:PORT")),
            (_, _, _, words) => match words.unwrap_or_default() {
                words if words.is_empty() => Err(refusal(
                    "args",
                    "empty",
                    "expected a program and its arguments",
                )),
                words => Ok(Kind::Args { words, interval }),
            },
        }
    }
}

/// After how long a critical service may go.
pub fn deregister_after(after: Duration) -> Result<Duration, Refusal> {
    match after < DEREGISTER_MIN {
        true => Err(refusal(
            "deregister_critical_after",
            &go(after),
            "expected 1m or more: Consul looks no more often",
        )),
        false => Ok(after),
    }
}

fn refusal(key: &'static str, found: &str, expected: &'static str) -> Refusal {
    Refusal {
        key,
        found: found.to_owned(),
        expected,
    }
}

fn is_web(url: &str) -> bool {
    ["http://", "https://"].iter().any(|scheme| {
        url.strip_prefix(scheme)
            .is_some_and(|rest| !rest.is_empty())
    })
}

fn is_place(text: &str) -> bool {
    let split = text.rsplit_once(':');
    split.is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

/// A duration as Go writes it.
fn go(duration: Duration) -> String {
    match duration.subsec_millis() {
        0 => format!("{}s", duration.as_secs()),
        _ => format!("{}ms", duration.as_millis()),
    }
}

impl Check {
    /// What a check says by itself; `service` is the id of the one that it is about.
    pub fn alone(&self, service: Option<&str>) -> Value {
        let mut keys = self.keys();
        keys.insert("ID".into(), self.id.as_str().into());
        keys.extend(service.map(|id| ("ServiceID".into(), id.into())));
        Value::Object(keys)
    }

    /// What it says within its service.
    fn within(&self) -> Value {
        let mut keys = self.keys();
        keys.insert("CheckID".into(), self.id.as_str().into());
        Value::Object(keys)
    }

    fn keys(&self) -> Map<String, Value> {
        let mut keys = Map::new();
        let mut put = |key: &str, value: Value| keys.insert(key.into(), value);
        put("Name", self.name.as_str().into());
        let interval = match &self.kind {
            Kind::Ttl(ttl) => {
                put("TTL", go(*ttl).into());
                None
            }
            Kind::Http { url, interval } => {
                put("HTTP", url.as_str().into());
                Some(interval)
            }
            Kind::Tcp { place, interval } => {
                put("TCP", place.as_str().into());
                Some(interval)
            }
            Kind::Args { words, interval } => {
                put("Args", words.clone().into());
                Some(interval)
            }
        };
        let optional = [
            ("Interval", interval.map(|interval| go(*interval))),
            ("Notes", self.notes.clone()),
            (
                "DeregisterCriticalServiceAfter",
                self.deregister_critical_after.map(go),
            ),
            ("Status", self.status.map(|state| state.name().to_owned())),
        ];
        for (key, text) in optional {
            if let Some(text) = text {
                put(key, text.into());
            }
        }
        keys
    }
}

impl Service {
    /// What it says, its checks with it.
    pub fn with(&self, checks: &[Check]) -> Value {
        let meta = self.meta.iter();
        let meta = meta.map(|(key, value)| (key.clone(), Value::from(value.as_str())));
        let mut service = json!({
            "ID": self.id,
            "Name": self.name,
            "Tags": self.tags,
            "Meta": meta.collect::<Map<_, _>>(),
            "Checks": checks.iter().map(Check::within).collect::<Vec<_>>(),
        });
        if let Some(address) = &self.address {
            service["Address"] = address.as_str().into();
        }
        if let Some(port) = self.port {
            service["Port"] = port.into();
        }
        service
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn check(kind: Kind) -> Check {
        Check {
            id: "i".into(),
            name: "n".into(),
            notes: None,
            kind,
            deregister_critical_after: None,
            status: None,
        }
    }

    #[test]
    fn what_consul_would_misunderstand_is_refused() {
        let http = || Some("http://h".to_owned());
        let words = || Some(vec!["true".to_owned()]);
        let none = Means::default;
        let (ttl, interval) = (Some(S), Some(S));
        for (means, key, found) in [
            (
                Means {
                    http: http(),
                    ..none()
                },
                "interval",
                "missing",
            ),
            (
                Means {
                    args: words(),
                    ..none()
                },
                "interval",
                "missing",
            ),
            (
                Means {
                    ttl,
                    http: http(),
                    ..none()
                },
                "http",
                "ttl is given too",
            ),
            (
                Means {
                    ttl,
                    args: words(),
                    ..none()
                },
                "args",
                "ttl is given too",
            ),
            (
                Means {
                    http: http(),
                    args: words(),
                    interval,
                    ..none()
                },
                "args",
                "http is given too",
            ),
            (
                Means {
                    ttl,
                    interval,
                    ..none()
                },
                "interval",
                "given",
            ),
            (Means { interval, ..none() }, "interval", "given"),
            (
                Means {
                    ttl: Some(Duration::ZERO),
                    ..none()
                },
                "ttl",
                "0",
            ),
            (
                Means {
                    http: Some("h".into()),
                    interval,
                    ..none()
                },
                "http",
                "no url",
            ),
            (
                Means {
                    tcp: Some("h".into()),
                    interval,
                    ..none()
                },
                "tcp",
                "no port",
            ),
            (
                Means {
                    args: Some(vec![]),
                    interval,
                    ..none()
                },
                "args",
                "empty",
            ),
        ] {
            let refusal = means.clone().kind().expect_err("refused");
            assert_eq!(
                (refusal.key, refusal.found.as_str()),
                (key, found),
                "{means:?}"
            );
        }
        assert_eq!(none().kind(), Ok(None));
        assert!(deregister_after(59 * S).is_err() && deregister_after(60 * S).is_ok());
    }

    #[test]
    fn checks_are_of_one_kind_and_durations_are_gos() {
        let interval = Duration::from_millis(1500);
        for (kind, expected) in [
            (Kind::Ttl(30 * S), json!({"TTL": "30s"})),
            (
                Kind::Http {
                    url: "http://h".into(),
                    interval,
                },
                json!({"HTTP": "http://h", "Interval": "1500ms"}),
            ),
            (
                Kind::Tcp {
                    place: "h:1".into(),
                    interval: 60 * S,
                },
                json!({"TCP": "h:1", "Interval": "60s"}),
            ),
            (
                Kind::Args {
                    words: vec!["a".into(), "b c".into()],
                    interval: S,
                },
                json!({"Args": ["a", "b c"], "Interval": "1s"}),
            ),
        ] {
            let mut expected = expected;
            expected["ID"] = "i".into();
            expected["Name"] = "n".into();
            assert_eq!(check(kind.clone()).alone(None), expected);
            expected["ServiceID"] = "s".into();
            assert_eq!(check(kind).alone(Some("s")), expected);
        }
    }

    #[test]
    fn a_service_brings_its_checks() {
        let service = Service {
            id: "s".into(),
            name: "web".into(),
            address: Some("10.0.0.1".into()),
            port: Some(80),
            tags: vec!["a".into()],
            meta: vec![("k".into(), "v".into())],
        };
        let check = Check {
            notes: Some("text".into()),
            deregister_critical_after: Some(60 * S),
            status: Some(State::Warning),
            ..check(Kind::Ttl(S))
        };
        let expected = json!({
            "ID": "s", "Name": "web", "Address": "10.0.0.1", "Port": 80, "Tags": ["a"],
            "Meta": {"k": "v"},
            "Checks": [{"CheckID": "i", "Name": "n", "TTL": "1s", "Notes": "text",
                "DeregisterCriticalServiceAfter": "60s", "Status": "warning"}],
        });
        assert_eq!(service.with(&[check]), expected);
    }
}
