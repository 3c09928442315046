//! Changes of a running agent's configuration: reads it again, or edits the file of subscriptions.
//!
//! Files, certificates and a broker's answer take their time: each change has a thread of its own,
//! which ends with it and holds no state. What comes of it is applied by the event loop.

mod edit;

pub use edit::name;

use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::thread;

use serde_json::{Map, Value};

use crate::cli::Recipe;
use crate::command::check;
use crate::config::{Config, Listed, Place, Subscription};
use crate::control::action::Refusal;
use crate::small_file;

/// How reasons begin where a broker knows neither user nor password: [`crate::source`] words them so.
const ACCESS_REFUSED: &str = "access refused";

/// What is to be changed.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// What the files say now is to be applied.
    Reload,
    /// A further subscription, once its broker was found to let us in.
    Add(Map<String, Value>),
    /// The subscription of that name goes.
    Remove(String),
}

/// A configuration to apply; the file, where it had to be changed, is written.
#[derive(Debug)]
pub struct Ready {
    pub config: Config,
    pub place: Place,
}

/// Carries out one change of the list at `place`; `notify` is called once, from another thread.
pub fn start(
    recipe: Arc<Recipe>,
    place: Place,
    change: Change,
    notify: impl FnOnce(Result<Ready, Refusal>) + Send + 'static,
) -> io::Result<()> {
    let carry_out = move || {
        let result = catch_unwind(AssertUnwindSafe(|| carry_out(&recipe, place, &change)));
        let bug = "leek-agent failed on it: this is a bug";
        notify(result.unwrap_or_else(|_| Err(Refusal::Configuration(bug.to_owned()))));
    };
    let thread = thread::Builder::new().name("leek-config".to_owned());
    thread.spawn(carry_out).map(drop)
}

/// Carries out one change, on this thread.
pub fn carry_out(recipe: &Recipe, place: Place, change: &Change) -> Result<Ready, Refusal> {
    match change {
        Change::Reload => read(recipe, None),
        Change::Add(keys) => {
            let name = edit::name(keys);
            let add = |text: &str| edit::added(text, keys);
            edit(recipe, place, add, |config| verify(config, &name))
        }
        Change::Remove(name) => {
            let remove = |text: &str| edit::removed(text, name);
            edit(recipe, place, remove, |_| Ok(()))
        }
    }
}

fn read(recipe: &Recipe, list: Option<Listed>) -> Result<Ready, Refusal> {
    let (config, place) = recipe.reread(list).map_err(Refusal::Configuration)?;
    Ok(Ready { config, place })
}

/// Writes the text that `change` makes of the list, if the configuration with it is sound and `accept`
/// has nothing against it.
fn edit(
    recipe: &Recipe,
    place: Place,
    change: impl FnOnce(&str) -> Result<String, Refusal>,
    accept: impl FnOnce(&Config) -> Result<(), Refusal>,
) -> Result<Ready, Refusal> {
    let path = match &place {
        Place::File(path) => path.clone(),
        Place::Variable(name) => {
            let why = format!(
                "they stand in the variable {name}: change it there, and restart the agent"
            );
            return Err(Refusal::NotChangeable(why));
        }
    };
    let shown = path.display();
    let text = small_file::read_text(&path)
        .map_err(|expected| Refusal::Configuration(format!("{shown}: {expected}")))?;
    let text = change(&text)?;
    let list = Listed {
        place,
        text: text.clone(),
    };
    let ready = read(recipe, Some(list))?;
    accept(&ready.config)?;
    replace(&path, &text).map_err(|error| {
        Refusal::NotWritten(format!(
            "{shown}: {error}: may the agent write to its folder?"
        ))
    })?;
    Ok(ready)
}

/// Where links lead, the file itself is replaced.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    small_file::replace(&fs::canonicalize(path)?, text.as_bytes())
}

/// The broker of the subscription of that name is reachable and lets us in: any one of a failover list.
fn verify(config: &Config, name: &str) -> Result<(), Refusal> {
    let Some(subscription) = config.subscriptions.iter().find(|one| one.name == name) else {
        return Ok(());
    };
    let reasons = unreachable(subscription)?;
    match reasons {
        Some(reason) if reason.contains(ACCESS_REFUSED) => Err(Refusal::AccessRefused(reason)),
        Some(reason) => Err(Refusal::BrokerUnreachable(reason)),
        None => Ok(()),
    }
}

/// Why none of its brokers can be reached, where that is so.
fn unreachable(subscription: &Subscription) -> Result<Option<String>, Refusal> {
    let findings = check::brokers(subscription)
        .map_err(|error| Refusal::BrokerUnreachable(format!("not tried: {error}")))?;
    let mut reasons = Vec::new();
    for finding in findings {
        match finding.result {
            Ok(()) => return Ok(None),
            Err(reason) => reasons.push(format!("{}: {reason}", finding.address)),
        }
    }
    Ok(Some(reasons.join("\n")))
}
