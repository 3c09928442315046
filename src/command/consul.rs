//! `leek-agent consul`: asks the Consul agent on this machine, or tells it something.

use serde_json::Value;

use super::table::aligned;
use crate::config::consul::Endpoint;
use crate::consul::client::Client;
use crate::consul::request::{Answer, Request, Scope};
use crate::pipeline::verdict::plain;

/// What `consul` was asked to do.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    pub endpoint: Endpoint,
    pub order: Order,
}

/// One request, and what becomes of its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Nothing is printed where it is done.
    Do(Request),
    Show {
        list: List,
        /// The answer as it comes, in place of a table.
        json: bool,
    },
}

/// What Consul has lists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum List {
    Checks,
    Services,
    Members(Scope),
}

/// Carries it out: what there is to print, or for a human what is wrong and what to do.
pub fn run(options: &Options) -> Result<String, String> {
    let address = &options.endpoint.address;
    let told = |reason: String| format!("{address}: {reason}");
    let client = Client::new(&options.endpoint).map_err(|error| told(error.to_string()))?;
    let request = match &options.order {
        Order::Do(request) => request.clone(),
        Order::Show { list, .. } => list.request(),
    };
    let answer = client.ask(request).map_err(told)?;
    if answer.status != 200 {
        return Err(told(refusal(&answer)));
    }
    let Order::Show { list, json } = options.order else {
        return Ok(String::new());
    };
    let shown = serde_json::from_slice(&answer.body)
        .ok()
        .and_then(|value| match json {
            true => Some(format!("{value}\n")),
            false => list.table(&value),
        });
    shown.ok_or_else(|| told("the answer is not Consul's: check the address".to_owned()))
}

/// What an answer other than 200 means, and what to do.
fn refusal(answer: &Answer) -> String {
    let said = plain(&String::from_utf8_lossy(&answer.body));
    let mend = match answer.status {
        401 => "ACLs are disabled there: leave the token out, or enable them",
        403 => "forbidden: give a token that may do this, see --consul-token-file",
        404 => "nothing there has that id, or the address is not Consul's",
        405 => "not that way: Consul 1.0 or newer is expected at the address",
        _ => "Consul refuses",
    };
    format!("{}: {mend}: {said}", answer.status)
}

impl List {
    fn request(self) -> Request {
        match self {
            List::Checks => Request::checks(),
            List::Services => Request::services(),
            List::Members(scope) => Request::members(scope),
        }
    }

    /// `None` where the answer has another shape.
    fn table(self, answer: &Value) -> Option<String> {
        Some(match self {
            List::Checks => aligned(&rows(
                ["CHECK", "STATUS", "SERVICE", "OUTPUT"],
                answer.as_object()?.values(),
                |one| {
                    [
                        text(one, "CheckID"),
                        text(one, "Status"),
                        text(one, "ServiceID"),
                        plain(&text(one, "Output")),
                    ]
                },
            )),
            List::Services => aligned(&rows(
                ["SERVICE", "NAME", "ADDRESS", "PORT", "TAGS"],
                answer.as_object()?.values(),
                |one| {
                    [
                        text(one, "ID"),
                        text(one, "Service"),
                        text(one, "Address"),
                        text(one, "Port"),
                        tags(one),
                    ]
                },
            )),
            List::Members(_) => aligned(&rows(
                ["NODE", "ADDRESS", "PORT", "STATUS", "ROLE"],
                answer.as_array()?.iter(),
                |one| {
                    [
                        text(one, "Name"),
                        text(one, "Addr"),
                        text(one, "Port"),
                        member_status(one),
                        text(&one["Tags"], "role"),
                    ]
                },
            )),
        })
    }
}

fn rows<'a, const N: usize>(
    head: [&str; N],
    entries: impl Iterator<Item = &'a Value>,
    row: impl Fn(&Value) -> [String; N],
) -> Vec<[String; N]> {
    let head = std::iter::once(head.map(str::to_owned));
    head.chain(entries.map(row)).collect()
}

/// A string or a number; nothing of what is not there.
fn text(one: &Value, key: &str) -> String {
    match &one[key] {
        Value::String(text) => plain(text),
        Value::Number(number) => number.to_string(),
        _ => String::new(),
    }
}

fn tags(service: &Value) -> String {
    let tags = service["Tags"].as_array().into_iter().flatten();
    let tags: Vec<&str> = tags.filter_map(Value::as_str).collect();
    plain(&tags.join(","))
}

/// Serf's numbers.
fn member_status(member: &Value) -> String {
    let status = match member["Status"].as_u64() {
        Some(1) => "alive",
        Some(2) => "leaving",
        Some(3) => "left",
        Some(4) => "failed",
        _ => "unknown",
    };
    status.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn lists_are_tables() {
        let checks = json!({
            "web": {"CheckID": "web", "Status": "critical", "ServiceID": "", "Output": "a\nb"},
            "leek-agent:shop-qa": {"CheckID": "leek-agent:shop-qa", "Status": "passing",
                "ServiceID": "leek-agent", "Output": ""},
        });
        let expected = "\
CHECK               STATUS    SERVICE     OUTPUT
leek-agent:shop-qa  passing   leek-agent
web                 critical              a b
";
        assert_eq!(List::Checks.table(&checks).as_deref(), Some(expected));
        let services = json!({"w": {"ID": "w", "Service": "web", "Address": "h", "Port": 80, "Tags": ["a", "b"]}});
        let expected = "\
SERVICE  NAME  ADDRESS  PORT  TAGS
w        web   h        80    a,b
";
        assert_eq!(List::Services.table(&services).as_deref(), Some(expected));
        let members = json!([{"Name": "n", "Addr": "10.0.0.1", "Port": 8301, "Status": 4, "Tags": {"role": "node"}}]);
        let expected = "\
NODE  ADDRESS   PORT  STATUS  ROLE
n     10.0.0.1  8301  failed  node
";
        let list = List::Members(Scope::Lan);
        assert_eq!(list.table(&members).as_deref(), Some(expected));
        assert_eq!(list.table(&services), None);
        assert_eq!(List::Checks.table(&members), None);
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        for (status, words) in [
            (401, "ACLs are disabled"),
            (403, "forbidden: give a token"),
            (500, "500: Consul refuses: no \u{fffd}"),
        ] {
            let body = b"no \xff".to_vec();
            let told = refusal(&Answer { status, body });
            assert!(told.contains(words), "{told}");
        }
    }
}
