//! Sources → [`Config`]: brings together the subscriptions' text, Leek's environment and the values
//! for all subscriptions. Knows nothing of options and their precedence; that is `cli`'s.

use std::cell::RefCell;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::agent_check::Responder;
use super::consul::Consul;
use super::environment::{HEADER_EXPECTED, LeekEnvironment, is_header_text};
use super::fault::{Fault, Report};
use super::proxy::Proxies;
use super::quarantine::Quarantine;
use super::{Config, Mode, check, raw, shown};
use crate::secret::Secret;
use crate::small_file;
use crate::tls::{ClientTls, TlsError, TlsSettings};

const NO_SUBSCRIPTIONS: [&str; 5] = [
    "no subscriptions: which broker is to be read, and where is Leek? Write to a file, say leek.json:",
    r#"[{"broker": "amqp://USER:PASSWORD@HOST:5672/VHOST", "api_url": "https://LEEK", "app_key": "KEY", "org_name": "ORG", "app_name": "shop", "app_env": "prod"}]"#,
    "try it, without taking a single event: leek-agent check --subscriptions leek.json",
    "then start: leek-agent --subscriptions leek.json",
    "all other ways, LEEK_AGENT_SUBSCRIPTIONS among them: leek-agent --help, and the README",
];

/// Where a configuration comes from.
#[derive(Debug, Clone)]
pub struct Sources {
    /// The list of subscriptions, if there is one.
    pub list: Option<Listed>,
    pub leek: LeekEnvironment,
    /// For subscriptions without a key of their own.
    pub app_key: Option<Secret>,
    /// For subscriptions without an address of their own; checked already.
    pub api_url: Option<String>,
    pub shutdown_timeout: Duration,
    /// `SSL_CERT_FILE`.
    pub ssl_cert_file: Option<PathBuf>,
    pub proxies: Proxies,
    /// Where refused documents are kept; `None` for nowhere.
    pub quarantine: Option<Quarantine>,
    pub occasion: Occasion,
    /// As what the agent stands in Consul, if it does.
    pub consul: Option<Consul>,
    /// Checked already.
    pub agent_check: Vec<Responder>,
}

/// When a configuration is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// An agent that starts without subscriptions is one that was not configured.
    Start,
    /// One that runs may lose its last subscription and wait for the next.
    Reload,
}

/// Where a list of subscriptions stands. Displays as messages name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// An environment variable, which nobody can change while the agent runs.
    Variable(&'static str),
    File(PathBuf),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Variable(name) => f.write_str(name),
            Place::File(path) => path.display().fmt(f),
        }
    }
}

/// The text of a list and the place it was read from. Holds secrets, hence no `Debug` of the text.
#[derive(Clone)]
pub struct Listed {
    pub place: Place,
    pub text: String,
}

impl std::fmt::Debug for Listed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listed")
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

/// Checks everything; whatever is wrong goes into `report`.
pub fn load(sources: &Sources, report: &mut Report) -> Option<Config> {
    let app_key = match sources.leek.mode {
        Mode::Standalone => sources.app_key.clone(),
        Mode::Local => sources
            .leek
            .local_key()
            .map_err(|fault| report.push(&fault))
            .ok(),
    };
    let Some(listed) = &sources.list else {
        report.advise(&NO_SUBSCRIPTIONS);
        return None;
    };
    let place = listed.place.to_string();
    let list = raw::list(&place, &listed.text)
        .map_err(|fault| report.push(&fault))
        .ok()?;
    if list.is_empty() && sources.occasion == Occasion::Start {
        let expected = "expected at least one subscription";
        report.push(&Fault::new(&place, "an empty list", expected));
    }
    let opened = RefCell::default();
    let given = check::Given {
        mode: sources.leek.mode,
        org_name: sources.leek.org_name.clone(),
        app_key,
        api_url: sources.api_url.clone(),
        read_key: &read_key_file,
        open_tls: &|settings| open_once(&opened, settings),
        ssl_cert_file: sources.ssl_cert_file.clone(),
        proxies: &sources.proxies,
        quarantine: sources.quarantine.clone(),
    };
    let subscriptions = check::subscriptions(&list, &given)
        .map_err(|faults| report.push_section(&place, &faults))
        .ok()?;
    let named = subscriptions.iter().zip(&list);
    let shown = named.map(|(one, written)| shown::subscription(&one.name, written));
    let shown = shown.collect();
    report.is_empty().then_some(Config {
        subscriptions,
        shown,
        mode: sources.leek.mode,
        shutdown_timeout: sources.shutdown_timeout,
        consul: sources.consul.clone(),
        agent_check: sources.agent_check.clone(),
    })
}

/// What was opened, with the settings it came from.
type Opened = Vec<(TlsSettings, Result<ClientTls, TlsError>)>;

/// Subscriptions with the same settings share what comes of them: a system's certificates take some
/// 150 KB.
fn open_once(opened: &RefCell<Opened>, settings: &TlsSettings) -> Result<ClientTls, TlsError> {
    let mut opened = opened.borrow_mut();
    if let Some((_, result)) = opened.iter().find(|(known, _)| known == settings) {
        return result.clone();
    }
    let result = ClientTls::open(settings);
    opened.push((settings.clone(), result.clone()));
    result
}

/// Reads an application key from a file; the newline that editors leave at its end is taken off.
pub fn read_key_file(path: &str) -> Result<Secret, String> {
    let text = small_file::read_text(Path::new(path))?;
    let key = text.trim_end_matches(['\r', '\n']);
    if key.is_empty() {
        return Err("expected a key in the file, it is empty".into());
    }
    if !is_header_text(key) {
        return Err(HEADER_EXPECTED.replace("expected", "expected in the file"));
    }
    Ok(Secret::new(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_files_lose_their_last_newline() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        let name = path.to_str().expect("UTF-8");
        for (text, expected) in [
            ("k1\n", Ok("k1")),
            ("k1\r\n", Ok("k1")),
            ("k1", Ok("k1")),
            ("\n", Err("expected a key in the file, it is empty")),
        ] {
            std::fs::write(&path, text).expect("written");
            let key = read_key_file(name).map(|key| key.expose().to_owned());
            assert_eq!(key.as_deref().map_err(String::as_str), expected);
        }
        std::fs::write(&path, "two\nlines").expect("written");
        let reason = read_key_file(name).expect_err("two lines");
        assert!(
            reason.contains("printable ASCII") && !reason.contains("lines"),
            "{reason}"
        );
        let reason = read_key_file("/no/such").expect_err("no file");
        assert!(reason.contains("no such file"), "{reason}");
    }

    #[test]
    fn debug_shows_no_subscription_text() {
        let listed = Listed {
            place: Place::File("subs.json".into()),
            text: "hunter2".into(),
        };
        assert!(!format!("{listed:?}").contains("hunter2"));
    }
}
