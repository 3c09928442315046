//! Redis addresses, as kombu writes them: `redis://`, `redis+socket://`, and the `sentinel://` list,
//! whose URLs name one broker together.

use std::fmt;

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::{
    STRAY_AT, bracketed, cut_before, decoded, decoded_password, host_and_port, or_default,
};
use crate::config::{HostPort, RedisBroker, RedisPlace};
use crate::secret::Secret;

const REDIS_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

const DB_EXPECTED: &str = "expected a database's number behind the host";

/// What the parts of a URL say, whatever its scheme.
struct Parts<'a> {
    user: Option<String>,
    password: Option<Secret>,
    address: &'a str,
    path: &'a str,
    query: &'a str,
}

fn parts(rest: &str) -> Result<Parts<'_>, String> {
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    let (credentials, address) = authority.rsplit_once('@').unwrap_or(("", authority));
    let tail = cut_before(tail, '#').0;
    let (path, query) = cut_before(tail, '?');
    if path.contains('@') || query.contains('@') {
        return Err(STRAY_AT.into());
    }
    let (user, password) = cut_before(credentials, ':');
    let password = decoded_password(password.strip_prefix(':').unwrap_or(password))?;
    let user = decoded("user", user)?;
    Ok(Parts {
        user: (!user.is_empty()).then_some(user),
        password: (!password.is_empty()).then(|| Secret::new(password)),
        address,
        path,
        query: query.strip_prefix('?').unwrap_or(query),
    })
}

/// What follows `redis://` or `rediss://`. A query such as `?ssl_cert_reqs=none` is redis-py's and
/// means nothing here: certificates are always verified.
pub fn tcp(rest: &str, tls: bool) -> Result<RedisBroker, String> {
    let parts = parts(rest)?;
    let (host, port) = host_and_port(parts.address)?;
    let db = database(parts.path, parts.query)?;
    let place = RedisPlace::Tcp(HostPort {
        host: or_default(host, "localhost"),
        port: port.unwrap_or(REDIS_PORT),
    });
    Ok(RedisBroker {
        tls,
        ..broker(parts, place, db.unwrap_or(0))
    })
}

/// What follows `redis+socket://`.
pub fn socket(rest: &str) -> Result<RedisBroker, String> {
    let parts = parts(rest)?;
    let expected = "expected redis+socket:///PATH?virtual_host=DB with the socket's absolute path";
    let path = percent_decode_str(parts.path)
        .decode_utf8()
        .map_err(|_| expected)?;
    if !parts.address.is_empty() || path.len() < 2 || path.contains('\0') {
        return Err(expected.into());
    }
    let place = RedisPlace::Unix(path.into_owned());
    let db = database("", parts.query)?;
    Ok(broker(parts, place, db.unwrap_or(0)))
}

fn broker(parts: Parts<'_>, place: RedisPlace, db: u32) -> RedisBroker {
    RedisBroker {
        place,
        user: parts.user,
        password: parts.password,
        db,
        tls: false,
    }
}

/// What follows `sentinel://` in one URL of the list: a sentinel, and the master's credentials and
/// database where it names them.
pub struct SentinelUrl {
    sentinel: HostPort,
    user: Option<String>,
    password: Option<Secret>,
    db: Option<u32>,
}

pub fn sentinel(rest: &str) -> Result<SentinelUrl, String> {
    let parts = parts(rest)?;
    let (host, port) = host_and_port(parts.address)?;
    Ok(SentinelUrl {
        sentinel: HostPort {
            host: or_default(host, "localhost"),
            port: port.unwrap_or(SENTINEL_PORT),
        },
        db: database(parts.path, parts.query)?,
        user: parts.user,
        password: parts.password,
    })
}

/// One broker of all sentinels. Credentials and database may stand in any of the URLs, but only
/// once, or alike.
pub fn join(urls: Vec<SentinelUrl>) -> Result<RedisBroker, String> {
    let (mut user, mut password, mut db) = (None, None, None);
    let mut sentinels = Vec::new();
    for url in urls {
        let alike = agree(&mut user, url.user)
            && agree(&mut password, url.password)
            && agree(&mut db, url.db);
        if !alike {
            let expected = "expected the same user, password and database in all sentinel URLs: \
                            they are the master's (the sentinels' own stand in redis.sentinel_kwargs)";
            return Err(expected.into());
        }
        sentinels.push(url.sentinel);
    }
    Ok(RedisBroker {
        place: RedisPlace::Sentinels(sentinels),
        user,
        password,
        db: db.unwrap_or(0),
        tls: false,
    })
}

/// False where both are named and differ.
fn agree<T: PartialEq>(known: &mut Option<T>, new: Option<T>) -> bool {
    match (known.as_ref(), new) {
        (Some(known), Some(new)) => *known == new,
        (_, None) => true,
        (None, new) => {
            *known = new;
            true
        }
    }
}

/// `/3`, `//3`, `?virtual_host=3` or `?db=3`; a query comes before the path, as in kombu.
fn database(path: &str, query: &str) -> Result<Option<u32>, String> {
    let values = query.split('&').filter_map(|item| item.split_once('='));
    let named = values
        .rev()
        .find(|(name, _)| matches!(*name, "virtual_host" | "db"))
        .map(|(_, value)| value);
    let text = percent_decode_str(named.unwrap_or(path))
        .decode_utf8()
        .map_err(|_| DB_EXPECTED)?;
    let number = text.trim_start_matches('/');
    if number.is_empty() {
        return Ok(None);
    }
    let digits = number.bytes().all(|byte| byte.is_ascii_digit());
    let number = number.parse().ok().filter(|_| digits);
    number.map(Some).ok_or_else(|| DB_EXPECTED.into())
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", bracketed(&self.host), self.port)
    }
}

/// The address as logs show it: never the password.
impl fmt::Display for RedisBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = self.user.as_ref().map_or(String::new(), |user| {
            format!("{}@", utf8_percent_encode(user, NON_ALPHANUMERIC))
        });
        match &self.place {
            RedisPlace::Tcp(address) => {
                let scheme = if self.tls { "rediss" } else { "redis" };
                write!(f, "{scheme}://{user}{address}/{}", self.db)
            }
            RedisPlace::Unix(path) => {
                write!(f, "redis+socket://{user}{path}?virtual_host={}", self.db)
            }
            RedisPlace::Sentinels(sentinels) => {
                let urls: Vec<_> = sentinels
                    .iter()
                    .map(|address| format!("sentinel://{user}{address}"))
                    .collect();
                write!(f, "{}/{}", urls.join(";"), self.db)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Broker;
    use crate::config::url::brokers;

    #[track_caller]
    fn check(text: &str, shown: &str, password: &str) {
        match brokers(text).as_deref() {
            Ok([Broker::Redis(broker)]) => {
                assert_eq!(broker.to_string(), shown, "{text}");
                let found = broker.password.as_ref().map_or("", Secret::expose);
                assert_eq!(found, password, "{text}");
            }
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn reads_what_kombu_reads() {
        check("redis://", "redis://localhost:6379/0", "");
        check("redis://h", "redis://h:6379/0", "");
        check("redis://h/", "redis://h:6379/0", "");
        check("redis://h//3", "redis://h:6379/3", "");
        check("redis://h:6380/15", "redis://h:6380/15", "");
        check("REDIS://:p%40ss%2F@h/1", "redis://h:6379/1", "p@ss/");
        check("redis://u:p@q@[::1]:7/2", "redis://u@[::1]:7/2", "p@q");
        check("redis://u@h", "redis://u@h:6379/0", "");
        check(
            "rediss://:pw@h:6380/1?ssl_cert_reqs=none",
            "rediss://h:6380/1",
            "pw",
        );
        check("redis://h?virtual_host=4", "redis://h:6379/4", "");
        check("redis://h/2?db=5&x=1", "redis://h:6379/5", "");
        check("redis://h/0?virtual_host=/6", "redis://h:6379/6", "");
    }

    #[test]
    fn reads_sockets() {
        let shown = "redis+socket:///run/redis.sock?virtual_host=3";
        check("redis+socket:///run/redis.sock?virtual_host=3", shown, "");
        check(
            "redis+socket://:pw@/run/redis.sock?virtual_host=3",
            shown,
            "pw",
        );
        check(
            "redis+socket:///run/my%20redis",
            "redis+socket:///run/my redis?virtual_host=0",
            "",
        );
    }

    #[test]
    fn sentinels_are_one_broker() {
        check(
            "sentinel://a:1;sentinel://:pw@b;sentinel://c:3/2",
            "sentinel://a:1;sentinel://b:26379;sentinel://c:3/2",
            "pw",
        );
        check(
            "sentinel://u:pw@a/2;sentinel://u:pw@b/2",
            "sentinel://u@a:26379;sentinel://u@b:26379/2",
            "pw",
        );
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, expected) in [
            ("redis://h/x", DB_EXPECTED),
            ("redis://h/-1", DB_EXPECTED),
            ("redis://h/+1", DB_EXPECTED),
            ("redis://h?db=1.5", DB_EXPECTED),
            ("redis://h/99999999999", DB_EXPECTED),
            ("redis://h:x", "expected a port"),
            ("redis://u:p/w@h", "expected no \"@\" behind the host"),
            ("redis+socket://run/redis", "expected redis+socket:///PATH"),
            ("redis+socket://", "expected redis+socket:///PATH"),
            ("sentinel://a/1;sentinel://b/2", "expected the same user"),
            ("sentinel://a;redis://b", "expected brokers of one kind"),
            ("redis://a;amqp://b", "expected brokers of one kind"),
        ] {
            let faults = brokers(text).expect_err(text);
            assert!(
                faults[0].expected.starts_with(expected),
                "{text}: {faults:?}"
            );
        }
        let list = brokers("redis://a;redis+socket:///b").expect("both are Redis");
        assert_eq!(list.len(), 2);
    }

    #[test]
    fn no_broken_address_shows_its_password() {
        for text in [
            "redis://:hunter2@h/x",
            "redis://u:hunt@er/hunter2@h",
            "redis://hunter2:x",
            "redis+socket://:hunter2@",
            "redis+socket:///p?password=hunter2&db=x",
            "sentinel://:hunter2@a;sentinel://:x@b",
            "sentinel://:hunter2@a;redis://b",
            "redis://:hunter2@a;amqp://:hunter2@b",
        ] {
            let faults = format!("{:?}", brokers(text).expect_err(text));
            // A user's name is no secret; here it stands where a password was forgotten.
            let shown = faults.replace("redis://hunter2:", "");
            assert!(!shown.contains("hunter2"), "{text}: {faults}");
        }
    }
}
