//! The environment, as a plain map so that tests need no process, and the variables that this agent
//! shares with Leek.

use std::collections::BTreeMap;

use super::Mode;
use super::fault::{Fault, quoted};
use crate::secret::Secret;

/// The API's address where agent and API share a container, whatever a subscription says.
pub const LOCAL_API_URL: &str = "http://0.0.0.0:5000";
/// The organisation of a Leek that runs without authentication.
pub const ORG_WITHOUT_AUTH: &str = "mono";

const ENABLE_AGENT: &str = "LEEK_ENABLE_AGENT";
const ENABLE_API: &str = "LEEK_ENABLE_API";
const ENABLE_AUTH: &str = "LEEK_API_ENABLE_AUTH";
const API_SECRET: &str = "LEEK_AGENT_API_SECRET";

/// Environment variables; an empty one counts as not set, as compose files leave them.
#[derive(Clone, Default)]
pub struct Env(BTreeMap<String, String>);

impl Env {
    /// The variables of this process. Text that is not UTF-8 is read as far as it goes.
    pub fn of_process() -> Self {
        std::env::vars_os()
            .map(|(name, value)| {
                let text = |os: std::ffi::OsString| os.to_string_lossy().into_owned();
                (text(name), text(value))
            })
            .collect()
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Env {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let pairs = pairs.into_iter();
        Env(pairs
            .map(|(name, value)| (name.into(), value.into()))
            .collect())
    }
}

/// What Leek's variables ask of the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeekEnvironment {
    /// `LEEK_ENABLE_AGENT` is false: nothing is to be done.
    pub disabled: bool,
    pub mode: Mode,
    /// The one organisation, where Leek runs without authentication.
    pub org_name: Option<String>,
    /// The local agent's key.
    pub api_secret: Option<Secret>,
}

impl LeekEnvironment {
    /// Reads Leek's variables; those that are not understood are reported and count as not set.
    /// The agent is local only where both parts are switched on by name.
    pub fn read(env: &Env, faults: &mut Vec<Fault>) -> Self {
        let agent = switch(env, ENABLE_AGENT, faults);
        let api = switch(env, ENABLE_API, faults);
        let auth = switch(env, ENABLE_AUTH, faults);
        let local = agent == Some(true) && api == Some(true);
        LeekEnvironment {
            disabled: agent == Some(false),
            mode: if local { Mode::Local } else { Mode::Standalone },
            org_name: (auth == Some(false)).then(|| ORG_WITHOUT_AUTH.into()),
            api_secret: env.get(API_SECRET).map(Secret::new),
        }
    }

    /// The local agent's key, which must be a header's value.
    pub fn local_key(&self) -> Result<Secret, Fault> {
        let expected = "expected the secret that Leek's API shares with its agent, since \
                        LEEK_ENABLE_API and LEEK_ENABLE_AGENT are both true";
        match &self.api_secret {
            None => Err(Fault::new(API_SECRET, "missing", expected)),
            Some(key) if !is_header_text(key.expose()) => Err(Fault::new(
                API_SECRET,
                super::fault::HIDDEN,
                HEADER_EXPECTED,
            )),
            Some(key) => Ok(key.clone()),
        }
    }
}

/// What [`is_header_text`] takes, in words.
pub const HEADER_EXPECTED: &str =
    "expected printable ASCII without blanks around it, since it is sent as an HTTP header";

/// True for what can stand in an HTTP header and arrives there unchanged.
pub fn is_header_text(text: &str) -> bool {
    let printable = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    printable && !text.is_empty() && text.trim() == text
}

/// `true` or `false` in the spellings that environments use.
pub fn parse_switch(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}

fn switch(env: &Env, name: &str, faults: &mut Vec<Fault>) -> Option<bool> {
    let text = env.get(name)?;
    let value = parse_switch(text);
    if value.is_none() {
        faults.push(Fault::new(name, quoted(text), "expected true or false"));
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> (LeekEnvironment, Vec<String>) {
        let mut faults = Vec::new();
        let env = pairs.iter().copied().collect();
        let leek = LeekEnvironment::read(&env, &mut faults);
        (leek, faults.iter().map(Fault::to_string).collect())
    }

    #[test]
    fn local_takes_both_switches() {
        for (agent, api, mode) in [
            ("true", "true", Mode::Local),
            ("True", "1", Mode::Local),
            ("true", "false", Mode::Standalone),
            ("true", "", Mode::Standalone),
            ("", "true", Mode::Standalone),
        ] {
            let (leek, faults) = read(&[(ENABLE_AGENT, agent), (ENABLE_API, api)]);
            assert_eq!((leek.mode, leek.disabled, faults.len()), (mode, false, 0));
        }
        assert!(read(&[(ENABLE_AGENT, "false")]).0.disabled);
        assert!(!read(&[]).0.disabled);
    }

    #[test]
    fn no_authentication_means_one_organisation() {
        assert_eq!(
            read(&[(ENABLE_AUTH, "false")]).0.org_name.as_deref(),
            Some("mono")
        );
        assert_eq!(read(&[(ENABLE_AUTH, "true")]).0.org_name, None);
        assert_eq!(
            read(&[(ENABLE_AUTH, "maybe")]).1,
            ["LEEK_API_ENABLE_AUTH: \"maybe\": expected true or false"]
        );
    }

    #[test]
    fn the_local_key_is_needed_and_hidden() {
        let missing = read(&[]).0.local_key().expect_err("missing").to_string();
        assert!(
            missing.starts_with("LEEK_AGENT_API_SECRET: missing: expected"),
            "{missing}"
        );
        let broken = read(&[(API_SECRET, "hun\nter2")])
            .0
            .local_key()
            .expect_err("broken");
        assert!(!broken.to_string().contains("ter2"), "{broken}");
        let (leek, _) = read(&[(API_SECRET, "hunter2")]);
        assert!(!format!("{leek:?}").contains("hunter2"));
        assert_eq!(
            leek.local_key().map(|key| key.expose().to_owned()),
            Ok("hunter2".into())
        );
    }
}
