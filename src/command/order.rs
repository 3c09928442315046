//! `leek-agent pause`, `resume`, `reload` and `stop`: what the running agent is told to do.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::ask::{self, Call, Fault};

/// What the agent was to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    pub socket: PathBuf,
    pub order: Order,
    /// The answer as it comes, in place of words.
    pub json: bool,
}

/// One thing to do. Names are checked: see [`is_name`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Without names: all subscriptions.
    Pause(Vec<String>),
    /// Without names: all subscriptions.
    Resume(Vec<String>),
    Reload,
    Stop,
}

/// It is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    pub text: String,
    /// False where the agent stopped with events that are not delivered.
    pub all_delivered: bool,
}

/// What a subscription's name looks like; nothing in it has a meaning in a URL.
pub const NAME_EXPECTED: &str = "expected a subscription's name such as shop-prod";

/// True for what may be a subscription's name.
pub fn is_name(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_lowercase() || byte == b'-';
    !text.is_empty() && text.bytes().all(is_part)
}

/// Tells the agent, and waits until it is done.
pub fn run(options: &Options) -> Result<Done, Fault> {
    let answer = options.order.give(&options.socket)?;
    Ok(Done {
        text: match options.json {
            true => format!("{answer}\n"),
            false => options.order.words(&answer),
        },
        all_delivered: answer["stopped"] != "undelivered",
    })
}

impl Order {
    fn give(&self, socket: &Path) -> Result<Value, Fault> {
        let (path, patience) = match self {
            Order::Pause(names) => (named("/v1/pause", names), ask::AT_ONCE),
            Order::Resume(names) => (named("/v1/resume", names), ask::AT_ONCE),
            Order::Reload => ("/v1/reload".to_owned(), ask::A_CHANGE),
            Order::Stop => ("/v1/stop".to_owned(), ask::A_STOP),
        };
        let call = Call {
            method: "POST",
            path: &path,
            body: b"",
            patience,
        };
        ask::ask(socket, &call)
    }

    fn words(&self, answer: &Value) -> String {
        match self {
            Order::Pause(_) => format!("paused: {}\n", switched(answer)),
            Order::Resume(_) => format!("resumed: {}\n", switched(answer)),
            Order::Reload => format!("applied: {}\n", changes(answer)),
            Order::Stop if answer["stopped"] == "undelivered" => {
                "stopped: not all events were delivered: RabbitMQ or the spool has the rest\n"
                    .into()
            }
            Order::Stop => "stopped: everything that it took is delivered\n".into(),
        }
    }
}

fn named(path: &str, names: &[String]) -> String {
    let pairs: Vec<String> = names
        .iter()
        .map(|name| format!("subscription={name}"))
        .collect();
    format!("{path}?{}", pairs.join("&"))
}

fn switched(answer: &Value) -> String {
    let names = names(&answer["subscriptions"]);
    match names.is_empty() {
        true => "nothing: there are no subscriptions".to_owned(),
        false => names.join(", "),
    }
}

/// What changed, and how much did not.
fn changes(answer: &Value) -> String {
    let kinds = ["added", "changed", "removed"].into_iter();
    let changed = kinds.filter_map(|kind| {
        let names = names(&answer[kind]);
        (!names.is_empty()).then(|| format!("{} {kind} ({})", names.len(), names.join(", ")))
    });
    let unchanged = format!("{} unchanged", answer["unchanged"].as_u64().unwrap_or(0));
    changed.chain([unchanged]).collect::<Vec<_>>().join(", ")
}

fn names(list: &Value) -> Vec<&str> {
    let names = list.as_array().into_iter().flatten();
    names.filter_map(Value::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn answers_are_plain_words() {
        for (order, answer, expected) in [
            (
                Order::Pause(Vec::new()),
                json!({"subscriptions": ["shop-prod", "till-qa"]}),
                "paused: shop-prod, till-qa\n",
            ),
            (
                Order::Resume(Vec::new()),
                json!({"subscriptions": []}),
                "resumed: nothing: there are no subscriptions\n",
            ),
            (
                Order::Reload,
                json!({"added": ["a-qa"], "changed": ["b-qa", "c-qa"], "removed": [], "unchanged": 2}),
                "applied: 1 added (a-qa), 2 changed (b-qa, c-qa), 2 unchanged\n",
            ),
            (
                Order::Reload,
                json!({"added": [], "changed": [], "removed": [], "unchanged": 1}),
                "applied: 1 unchanged\n",
            ),
            (
                Order::Stop,
                json!({"stopped": "delivered"}),
                "stopped: everything that it took is delivered\n",
            ),
        ] {
            assert_eq!(order.words(&answer), expected);
        }
    }

    #[test]
    fn names_stand_in_the_query() {
        let names = ["shop-prod", "till-qa"].map(str::to_owned);
        let path = named("/v1/pause", &names);
        assert_eq!(
            path,
            "/v1/pause?subscription=shop-prod&subscription=till-qa"
        );
        for name in ["", "Shop", "a b", "a&b", "a/b", "a\r\nb"] {
            assert!(!is_name(name), "{name}");
        }
        assert!(is_name("shop-prod"));
    }
}
