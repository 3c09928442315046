//! Consul's agent API: what is asked with which verb at which path. Path parts and values are
//! encoded, a token never is among them: that is the client's to send, in a header.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::definition::{Check, Service, State};

/// Stays as it is in a path or a query (RFC 3986, unreserved).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Consul enforces these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Get,
    Put,
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub method: Method,
    /// Path and query.
    pub target: String,
    pub body: Option<String>,
}

/// What Consul said to one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

impl Request {
    fn new(method: Method, operation: &str) -> Self {
        Request {
            method,
            target: format!("/v1/agent/{operation}"),
            body: None,
        }
    }

    fn put(operation: &str) -> Self {
        Request::new(Method::Put, operation)
    }

    /// Adds a part to the path.
    fn part(mut self, text: &str) -> Self {
        self.target.push('/');
        self.target += &encoded(text);
        self
    }

    fn body(mut self, value: &Value) -> Self {
        self.body = Some(value.to_string());
        self
    }

    /// Adds `name` or `name=value` to the query.
    fn with(mut self, name: &str, value: Option<&str>) -> Self {
        self.target
            .push(if self.target.contains('?') { '&' } else { '?' });
        self.target += name;
        if let Some(value) = value {
            self.target.push('=');
            self.target += &encoded(value);
        }
        self
    }

    /// Asks for that in another datacenter.
    pub fn in_datacenter(self, datacenter: Option<&str>) -> Self {
        match datacenter {
            Some(name) => self.with("dc", Some(name)),
            None => self,
        }
    }

    pub fn checks() -> Self {
        Request::new(Method::Get, "checks")
    }

    pub fn services() -> Self {
        Request::new(Method::Get, "services")
    }

    /// The nodes of this datacenter, or the servers of all.
    pub fn members(scope: Scope) -> Self {
        scope.of(Request::new(Method::Get, "members"))
    }

    pub fn join(address: &str, scope: Scope) -> Self {
        scope.of(Request::put("join").part(address))
    }

    pub fn force_leave(node: &str, left: Left, scope: Scope) -> Self {
        let request = Request::put("force-leave").part(node);
        scope.of(match left {
            Left::Known => request,
            Left::Pruned => request.with("prune", None),
        })
    }

    /// Registers a check, of a service where it names one.
    pub fn register_check(check: &Check, service: Option<&str>) -> Self {
        Request::put("check/register").body(&check.alone(service))
    }

    pub fn deregister_check(id: &str) -> Self {
        Request::put("check/deregister").part(id)
    }

    /// Says how what a TTL check watches is, by the verb of its state.
    pub fn tell(id: &str, state: State, note: Option<&str>) -> Self {
        let verb = match state {
            State::Passing => "check/pass",
            State::Warning => "check/warn",
            State::Critical => "check/fail",
        };
        let request = Request::put(verb).part(id);
        match note {
            Some(note) => request.with("note", Some(note)),
            None => request,
        }
    }

    /// Says the same, with a text of any length.
    pub fn update(id: &str, state: State, output: &str) -> Self {
        let request = Request::put("check/update").part(id);
        request.body(&json!({"Status": state.name(), "Output": output}))
    }

    /// Registers a service with exactly these checks: what it had before goes.
    pub fn register_service(service: &Service, checks: &[Check]) -> Self {
        Request::put("service/register")
            .with("replace-existing-checks", None)
            .body(&service.with(checks))
    }

    /// Its checks go too.
    pub fn deregister_service(id: &str) -> Self {
        Request::put("service/deregister").part(id)
    }
}

/// Whom `members`, `join` and `force-leave` are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The nodes of this datacenter.
    Lan,
    /// The servers of all datacenters.
    Wan,
}

impl Scope {
    fn of(self, request: Request) -> Request {
        match self {
            Scope::Lan => request,
            Scope::Wan => request.with("wan", Some("1")),
        }
    }
}

/// What remains of a node that left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    Known,
    Pruned,
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_has_the_verb_and_path_of_today() {
        use Method::{Get, Put};
        let note = Some("50 % & more");
        for (request, method, target) in [
            (Request::checks(), Get, "checks"),
            (Request::services(), Get, "services"),
            (Request::members(Scope::Lan), Get, "members"),
            (Request::members(Scope::Wan), Get, "members?wan=1"),
            (Request::join("h:8301", Scope::Lan), Put, "join/h%3A8301"),
            (Request::join("::1", Scope::Wan), Put, "join/%3A%3A1?wan=1"),
            (
                Request::force_leave("n.1", Left::Known, Scope::Lan),
                Put,
                "force-leave/n.1",
            ),
            (
                Request::force_leave("n", Left::Pruned, Scope::Wan),
                Put,
                "force-leave/n?prune&wan=1",
            ),
            (
                Request::deregister_check("a/b c"),
                Put,
                "check/deregister/a%2Fb%20c",
            ),
            (
                Request::deregister_service("é?#"),
                Put,
                "service/deregister/%C3%A9%3F%23",
            ),
            (
                Request::tell("leek-agent:shop-qa", State::Passing, None),
                Put,
                "check/pass/leek-agent%3Ashop-qa",
            ),
            (
                Request::tell("i", State::Warning, note),
                Put,
                "check/warn/i?note=50%20%25%20%26%20more",
            ),
            (
                Request::tell("i", State::Critical, note).in_datacenter(Some("dc 1")),
                Put,
                "check/fail/i?note=50%20%25%20%26%20more&dc=dc%201",
            ),
            (
                Request::checks().in_datacenter(Some("d")),
                Get,
                "checks?dc=d",
            ),
        ] {
            let expected = format!("/v1/agent/{target}");
            assert_eq!((request.method, request.target), (method, expected));
            assert_eq!(request.body, None, "{target}");
        }
        let update = Request::update("i", State::Warning, "a \"b\"");
        assert_eq!(update.target, "/v1/agent/check/update/i");
        let body: Value = serde_json::from_str(&update.body.unwrap()).unwrap();
        assert_eq!(body, json!({"Status": "warning", "Output": "a \"b\""}));
    }
}
