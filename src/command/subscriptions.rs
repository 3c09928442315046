//! `leek-agent subscriptions list|add|remove`: through the agent that runs, else in the file that it
//! will read.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::ask::{self, Call, Fault, Refused};
use super::table::aligned;
use crate::cli::Recipe;
use crate::config::Place;
use crate::control::action::Refusal;
use crate::reconfigure::{self, Change, Ready};
use crate::small_file;

/// What `subscriptions` was asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    pub socket: PathBuf,
    pub order: Order,
    /// The answer as it comes, in place of words.
    pub json: bool,
    /// Where they stand if no agent runs; `None` where nobody said.
    pub place: Option<Place>,
}

/// One thing to do with them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    List,
    /// The JSON object in this file; `-` is standard input.
    Add(PathBuf),
    /// By its name, which [`super::order::is_name`] has checked.
    Remove(String),
}

/// A file of one subscription is far smaller; so is what the agent takes over its socket.
const MAX_INPUT: u64 = 64 * 1024;

/// Who does it.
enum Keeper<'a> {
    /// The agent at this socket.
    Agent(&'a Path),
    /// This program, since no agent runs.
    Itself(&'a Recipe, &'a Place),
}

/// Carries it out: what there is to print.
pub fn run(options: &Options, recipe: &Recipe) -> Result<String, Fault> {
    let added = match &options.order {
        Order::Add(path) => Some(object(path)?),
        Order::List | Order::Remove(_) => None,
    };
    let status = match ask::get(&options.socket, "/v1/status") {
        Ok(status) => Some(status),
        Err(Fault::Nobody(why)) if options.place.is_none() => {
            let advice = "or name the file of subscriptions: --subscriptions FILE";
            return Err(Fault::Nobody(format!("{why} {advice}")));
        }
        Err(Fault::Nobody(_)) => None,
        Err(fault) => return Err(fault),
    };
    let keeper = match (&status, &options.place) {
        (None, Some(place)) => Keeper::Itself(recipe, place),
        _ => Keeper::Agent(&options.socket),
    };
    let answer = match (&options.order, added) {
        (Order::Remove(name), _) => keeper.remove(name)?,
        (_, Some(keys)) => keeper.add(keys)?,
        (_, None) => with_states(keeper.list()?, status.as_ref()),
    };
    Ok(match options.json {
        true => format!("{answer}\n"),
        false => words(&options.order, &answer, &keeper),
    })
}

impl Keeper<'_> {
    fn list(&self) -> Result<Value, Fault> {
        match self {
            Keeper::Agent(socket) => ask::get(socket, "/v1/agent/subscriptions"),
            Keeper::Itself(recipe, _) => {
                let (config, _) = recipe
                    .reread(None)
                    .map_err(|faults| refused(&Refusal::Configuration(faults)))?;
                Ok(config.shown.into())
            }
        }
    }

    fn add(&self, keys: Map<String, Value>) -> Result<Value, Fault> {
        match self {
            Keeper::Agent(socket) => {
                let body = Value::from(keys).to_string();
                change(socket, "POST", "/v1/agent/subscriptions", body.as_bytes())
            }
            Keeper::Itself(recipe, place) => {
                let name = reconfigure::name(&keys);
                let ready = carry_out(recipe, place, &Change::Add(keys))?;
                let mut shown = ready.config.shown.into_iter();
                Ok(shown.find(|one| one["name"] == *name).unwrap_or_default())
            }
        }
    }

    fn remove(&self, name: &str) -> Result<Value, Fault> {
        match self {
            Keeper::Agent(socket) => {
                let path = format!("/v1/agent/subscriptions/{name}");
                change(socket, "DELETE", &path, b"")
            }
            Keeper::Itself(recipe, place) => {
                carry_out(recipe, place, &Change::Remove(name.to_owned()))?;
                Ok(json!({ "Deleted": true }))
            }
        }
    }
}

fn change(socket: &Path, method: &str, path: &str, body: &[u8]) -> Result<Value, Fault> {
    let call = Call {
        method,
        path,
        body,
        patience: ask::A_CHANGE,
    };
    ask::ask(socket, &call)
}

fn carry_out(recipe: &Recipe, place: &Place, change: &Change) -> Result<Ready, Fault> {
    reconfigure::carry_out(recipe, place.clone(), change).map_err(|refusal| refused(&refusal))
}

fn refused(refusal: &Refusal) -> Fault {
    match ask::told(&refusal.response()) {
        Err(fault) => fault,
        Ok(answer) => Fault::NoAnswer(answer.to_string()),
    }
}

/// The keys of a subscription.
fn object(path: &Path) -> Result<Map<String, Value>, Fault> {
    let fault = |why: String| {
        let code = "400".to_owned();
        let why = format!("{}: {why}", path.display());
        Fault::Refused(Refused { code, why })
    };
    let text = match path == Path::new("-") {
        false => small_file::read_text(path),
        true => from_stdin().map_err(|error| error.to_string()),
    };
    match serde_json::from_str(&text.map_err(fault)?) {
        Ok(Value::Object(keys)) => Ok(keys),
        Ok(_) => Err(fault("expected one JSON object: {…}, not a list".into())),
        Err(error) => Err(fault(format!("not JSON: {error}"))),
    }
}

fn from_stdin() -> io::Result<String> {
    let mut text = String::new();
    io::stdin().take(MAX_INPUT).read_to_string(&mut text)?;
    Ok(text)
}

/// Each with the `state` that it is in.
fn with_states(mut list: Value, status: Option<&Value>) -> Value {
    for one in list.as_array_mut().into_iter().flatten() {
        let live = status
            .and_then(|status| status["subscriptions"].as_array())
            .and_then(|known| known.iter().find(|known| known["name"] == one["name"]));
        one["state"] = live.map_or("not running".into(), |live| live["state"].clone());
    }
    list
}

fn words(order: &Order, answer: &Value, keeper: &Keeper<'_>) -> String {
    let done = match order {
        Order::List => return table(answer),
        Order::Add(_) => format!("added: {}", answer["name"].as_str().unwrap_or("?")),
        Order::Remove(name) => format!("removed: {name}"),
    };
    let how = match (keeper, order) {
        (Keeper::Itself(_, place), _) => {
            format!("{place} is changed: the agent's next start uses it, none runs now")
        }
        (Keeper::Agent(_), Order::Remove(_)) => {
            "the running agent delivers what it has of it, and takes no more".to_owned()
        }
        (Keeper::Agent(_), _) => "the running agent uses it from now on".to_owned(),
    };
    format!("{done}: {how}\n")
}

fn table(list: &Value) -> String {
    let text = |one: &Value, key: &str| one[key].as_str().unwrap_or("-").to_owned();
    let mut rows = vec![["SUBSCRIPTION", "STATE", "BROKER", "API"].map(str::to_owned)];
    let entries = list.as_array().into_iter().flatten();
    rows.extend(
        entries.map(|one| ["name", "state", "broker", "api_url"].map(|key| text(one, key))),
    );
    aligned(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_tells_the_state_of_each() {
        let list = json!([
            {"name": "shop-qa", "broker": "amqp://u@h", "api_url": "http://leek"},
            {"name": "till-qa", "broker": "redis://h"},
        ]);
        let status = json!({"subscriptions": [{"name": "shop-qa", "state": "paused"}]});
        let expected = "\
SUBSCRIPTION  STATE        BROKER      API
shop-qa       paused       amqp://u@h  http://leek
till-qa       not running  redis://h   -
";
        assert_eq!(table(&with_states(list, Some(&status))), expected);
    }

    #[test]
    fn one_object_is_one_subscription() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("new.json");
        for (text, expected) in [("[]", "expected one JSON object"), ("{", "not JSON: EOF")] {
            std::fs::write(&path, text).expect("written");
            let fault = object(&path).unwrap_err().to_string();
            assert!(fault.contains(expected), "{fault}");
        }
        let fault = object(Path::new("/nowhere")).unwrap_err();
        assert!(
            fault.to_string().starts_with("/nowhere: expected a file"),
            "{fault}"
        );
    }
}
