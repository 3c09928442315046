//! What was typed, together with environment and files, as commands with their options. Collects
//! every fault before it gives up.

mod consul;
mod control;
mod secrets;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::arrange::Arranged;
use super::completions::Shell;
use super::layers::{Found, Layers, Origin};
use super::typed::{
    Typed, TypedCheck, TypedCommand, TypedImportHerald, TypedReplay, TypedRun, TypedSink,
    TypedTransform,
};
use super::{CheckOptions, Command, Invocation, Outcome, RunOptions, StartError, manual, typed};
use crate::command::{import_herald, order, replay, sink, transform};
use crate::config::agent_check::{self, Responder};
use crate::config::environment::{Env, LeekEnvironment};
use crate::config::fault::{Fault, quoted};
use crate::config::proxy::Proxies;
use crate::config::quarantine::{self, Quarantine};
use crate::config::raw::Fields;
use crate::config::{self, Config, Listed, Mode, Occasion, Place, Sources, url};
use crate::control::{Guard, Hosts, Places};
use crate::document::Validation;
use crate::duration;
use crate::logging;
use crate::secret::Secret;
use crate::small_file;
use crate::tls::{ClientTls, TlsSettings};

/// The list itself, as Leek passes it.
const SUBSCRIPTIONS: &str = "LEEK_AGENT_SUBSCRIPTIONS";
/// Certificates to trust in place of the system's, as OpenSSL reads it.
const SSL_CERT_FILE: &str = "SSL_CERT_FILE";
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);
const APP_ENV: &str = "qa";

const LEVEL_EXPECTED: &str = "expected error, warn, info, debug or trace";
const LISTEN_EXPECTED: &str = "expected an address and a port such as 127.0.0.1:5000";
const FORMAT_EXPECTED: &str = "expected json or text";

/// Asks for the application key.
pub type Ask<'a> = &'a dyn Fn() -> Result<Secret, String>;

/// What a command line is read with.
pub struct Reading<'a> {
    pub env: &'a Env,
    pub ask: Ask<'a>,
    pub occasion: Occasion,
    /// In place of the list that environment or file have.
    pub list: Option<Listed>,
}

/// Gives a typed command line its meaning.
pub fn of(typed: Typed, arranged: &Arranged, reading: Reading<'_>) -> Result<Outcome, StartError> {
    let env = reading.env;
    let mut layers = Layers::new(&arranged.options, env);
    layers.read_config_file(typed.config);
    let logging = logging_settings(&mut layers, typed.log_level, typed.log_format);
    let mut meaning = Meaning {
        layers,
        env,
        subscriptions: typed.subscriptions,
        api_url: typed.api_url,
        app_key: typed.app_key,
        app_key_file: typed.app_key_file,
        shutdown_timeout: typed.shutdown_timeout,
        quarantine_dir: typed.quarantine_dir,
        quarantine_max_mb: typed.quarantine_max_mb,
        control_socket: typed.control_socket,
        ask: arranged.asks_for_key().then_some(reading.ask),
        occasion: reading.occasion,
        list: reading.list,
    };
    let outcome = meaning.outcome(typed.command, logging);
    let (usage, config) = (meaning.layers.usage, meaning.layers.config);
    match outcome {
        // A slip of the fingers comes first: exit 64 says that the command line is to be mended.
        _ if !usage.is_empty() => Err(StartError::Usage(usage.to_string())),
        // What the program says about itself needs no configuration.
        Some(Outcome::Print(text)) => Ok(Outcome::Print(text)),
        Some(outcome) if config.is_empty() => Ok(outcome),
        _ => Err(StartError::Config(config)),
    }
}

fn logging_settings(
    layers: &mut Layers<'_>,
    level: Option<String>,
    format: Option<String>,
) -> logging::Settings {
    let level = layers.parsed("log-level", level, LEVEL_EXPECTED, logging::parse_level);
    let format = layers.parsed(
        "log-format",
        format,
        FORMAT_EXPECTED,
        logging::Format::parse,
    );
    logging::Settings {
        level: level.unwrap_or(log::LevelFilter::Info),
        format: format.unwrap_or_default(),
    }
}

/// What every command is understood from: the options that all of them share, and the places that
/// options come from. `None` from one of its functions means that a fault is reported.
struct Meaning<'a> {
    layers: Layers<'a>,
    env: &'a Env,
    subscriptions: Option<String>,
    api_url: Option<String>,
    app_key: Option<String>,
    app_key_file: Option<String>,
    shutdown_timeout: Option<String>,
    quarantine_dir: Option<String>,
    quarantine_max_mb: Option<String>,
    control_socket: Option<String>,
    /// Set where the key is to be asked for.
    ask: Option<Ask<'a>>,
    occasion: Occasion,
    /// In place of what environment or file have.
    list: Option<Listed>,
}

impl Meaning<'_> {
    fn outcome(&mut self, command: TypedCommand, logging: logging::Settings) -> Option<Outcome> {
        let command = match command {
            TypedCommand::Run(run) => {
                let leek = self.leek_environment();
                if leek.disabled {
                    return Some(Outcome::Disabled(logging));
                }
                self.run(run, leek)
            }
            TypedCommand::Check(check) => self.check(&check),
            TypedCommand::Transform(transform) => Some(self.transform(transform)),
            TypedCommand::Sink(sink) => self.sink(sink),
            TypedCommand::Replay(replay) => self.replay(replay),
            TypedCommand::Status(status) => Some(self.status(&status)),
            TypedCommand::Top(top) => Some(self.top(top)),
            TypedCommand::Reload(reload) => Some(self.order(order::Order::Reload, reload.json)),
            TypedCommand::Stop(stop) => Some(self.order(order::Order::Stop, stop.json)),
            TypedCommand::Pause(pause) => {
                let names = self.names("pause", pause.names)?;
                Some(self.order(order::Order::Pause(names), pause.json))
            }
            TypedCommand::Resume(resume) => {
                let names = self.names("resume", resume.names)?;
                Some(self.order(order::Order::Resume(names), resume.json))
            }
            TypedCommand::Subscriptions(typed) => self.subscriptions(typed),
            TypedCommand::Consul(consul) => self.consul(consul),
            TypedCommand::ImportHerald(import) => self.import_herald(import),
            TypedCommand::Man(_) => {
                return Some(Outcome::Print(manual::page(&typed::described())));
            }
            TypedCommand::Completions(asked) => {
                let shell = self.shell(asked.shell)?;
                return Some(Outcome::Print(shell.completions(&typed::described())));
            }
        };
        let command = command?;
        Some(Outcome::Run(Box::new(Invocation { command, logging })))
    }

    fn run(&mut self, typed: TypedRun, leek: LeekEnvironment) -> Option<Command> {
        let drain = self.layers.switch("drain", typed.drain);
        let run_for = self.duration("for", typed.run_for);
        let lock = self.path("lock", typed.lock);
        let strict = self.layers.switch("strict", typed.strict);
        let token = [typed.control_token, typed.control_token_file];
        let token = self.secret(["control-token", "control-token-file"], token);
        let places = self.places(typed.listen, typed.listen_hosts, token);
        let (config, place) = self.configuration(leek)?;
        Some(Command::Run(RunOptions {
            config,
            place,
            drain,
            run_for,
            lock,
            strict,
            places,
        }))
    }

    /// Where the running agent can be asked.
    fn places(
        &mut self,
        listen: Option<String>,
        hosts: Option<String>,
        token: Option<Secret>,
    ) -> Places {
        let socket = self.control_socket.take();
        let socket = self.path("control-socket", socket);
        let runtime = self.env.get("RUNTIME_DIRECTORY").map(PathBuf::from);
        let tcp = self
            .layers
            .parsed("listen", listen, LISTEN_EXPECTED, |text| text.parse().ok());
        let hosts = self.layers.text("listen-hosts", hosts);
        Places {
            socket: socket.or(runtime.map(|folder| folder.join("control"))),
            tcp,
            guard: Guard {
                hosts: hosts.map_or_else(Hosts::default, |found| Hosts::parse(&found.text)),
                token,
            },
        }
    }

    fn check(&mut self, typed: &TypedCheck) -> Option<Command> {
        let offline = self.layers.switch("offline", typed.offline);
        let leek = self.leek_environment();
        let (config, place) = self.configuration(leek)?;
        Some(Command::Check(CheckOptions {
            config,
            place,
            offline,
        }))
    }

    fn transform(&mut self, typed: TypedTransform) -> Command {
        let app_env = self.layers.text("app-env", typed.app_env);
        let now_ms =
            self.layers
                .parsed("now-ms", typed.now_ms, "expected a whole number", |text| {
                    text.parse().ok()
                });
        let strict = self.layers.switch("strict", typed.strict);
        Command::Transform(transform::Options {
            app_env: app_env.map_or(APP_ENV.into(), |found| found.text),
            now_ms,
            validation: if strict {
                Validation::Strict
            } else {
                Validation::Tolerant
            },
        })
    }

    fn sink(&mut self, typed: TypedSink) -> Option<Command> {
        let out = self.path("out", typed.out);
        let listen = self.listen(typed.listen);
        let app_key = self.app_key();
        Some(Command::Sink(sink::Options {
            listen: listen?,
            out,
            app_key,
        }))
    }

    fn replay(&mut self, typed: TypedReplay) -> Option<Command> {
        if typed.files.is_empty() {
            let expected = "expected the quarantine files to send again";
            let fault = Fault::new("replay", "no file", expected);
            self.layers.report(Origin::Typed, &fault);
        }
        let leek = self.leek_environment();
        let (config, _) = self.configuration(leek)?;
        let files = typed.files.into_iter().map(PathBuf::from).collect();
        Some(Command::Replay(replay::Options { config, files }))
    }

    fn import_herald(&mut self, typed: TypedImportHerald) -> Option<Command> {
        let Some(file) = typed.file else {
            let fault = Fault::new("import-herald", "no file", "expected Herald's YAML file");
            self.layers.report(Origin::Typed, &fault);
            return None;
        };
        let file = file.into();
        Some(Command::ImportHerald(import_herald::Options { file }))
    }

    fn shell(&mut self, typed: Option<String>) -> Option<Shell> {
        let name = typed.as_deref().unwrap_or_default();
        let shell = Shell::named(name);
        if shell.is_none() {
            let fault = Fault::new("completions", quoted(name), Shell::EXPECTED);
            self.layers.report(Origin::Typed, &fault);
        }
        shell
    }

    fn listen(&mut self, typed: Option<String>) -> Option<SocketAddr> {
        let Some(found) = self.layers.text("listen", typed) else {
            let fault = Fault::new("--listen", "missing", LISTEN_EXPECTED);
            self.layers.report(Origin::Typed, &fault);
            return None;
        };
        let address = found.text.parse().ok();
        if address.is_none() {
            self.layers.fault(&found, LISTEN_EXPECTED);
        }
        address
    }

    fn duration(&mut self, long: &str, typed: Option<String>) -> Option<Duration> {
        self.layers
            .parsed(long, typed, duration::EXPECTED, duration::parse)
    }

    fn path(&mut self, long: &str, typed: Option<String>) -> Option<PathBuf> {
        self.layers.text(long, typed).map(|found| found.text.into())
    }

    fn leek_environment(&mut self) -> LeekEnvironment {
        let mut faults = Vec::new();
        let leek = LeekEnvironment::read(self.env, &mut faults);
        for fault in &faults {
            self.layers.config.push(fault);
        }
        leek
    }

    /// The configuration and the place that the subscriptions come from.
    fn configuration(&mut self, leek: LeekEnvironment) -> Option<(Config, Place)> {
        let timeout = self.shutdown_timeout.take();
        let timeout = self.duration("shutdown-timeout", timeout);
        let quarantine = self.quarantine();
        let api_url = self.api_url();
        let consul = self.consul_section();
        let agent_check = self.agent_check();
        let list = self.list()?;
        let app_key = match leek.mode {
            Mode::Standalone => self.app_key(),
            Mode::Local => None,
        };
        let place = list.as_ref().map(|listed| listed.place.clone());
        let sources = Sources {
            list,
            leek,
            app_key,
            api_url,
            shutdown_timeout: timeout.unwrap_or(SHUTDOWN_TIMEOUT),
            ssl_cert_file: self.ssl_cert_file(),
            proxies: Proxies::read(self.env),
            quarantine,
            consul: consul?,
            occasion: self.occasion,
            agent_check,
        };
        let config = config::load(&sources, &mut self.layers.config)?;
        Some((config, place?))
    }

    /// Where HAProxy may ask; faults are reported.
    fn agent_check(&mut self) -> Vec<Responder> {
        let ssl_cert_file = self.ssl_cert_file();
        let open = |ca_file| {
            ClientTls::open(&TlsSettings {
                ca_file,
                ssl_cert_file: ssl_cert_file.clone(),
                ..TlsSettings::default()
            })
        };
        let read = |fields: &mut Fields<'_>| agent_check::responder(fields, &open);
        let responders = self.layers.list("agent_check", read);
        responders.ok().flatten().unwrap_or_default()
    }

    fn ssl_cert_file(&self) -> Option<PathBuf> {
        self.env.get(SSL_CERT_FILE).map(PathBuf::from)
    }

    /// Where refused documents are kept; `None` for nowhere.
    fn quarantine(&mut self) -> Option<Quarantine> {
        let (dir, max_mb) = (self.quarantine_dir.take(), self.quarantine_max_mb.take());
        let dir = self.path("quarantine-dir", dir);
        let dir = dir.unwrap_or_else(|| quarantine::default_dir(self.env));
        let max_mb = self.layers.parsed(
            "quarantine-max-mb",
            max_mb,
            quarantine::MAX_MB_EXPECTED,
            quarantine::parse_max_mb,
        );
        Quarantine::new(dir, max_mb.unwrap_or(quarantine::MAX_MB_DEFAULT))
    }

    /// The address for subscriptions that name none.
    fn api_url(&mut self) -> Option<String> {
        let typed = self.api_url.take();
        let found = self.layers.text("api-url", typed)?;
        url::api(&found.text)
            .map_err(|fault| {
                let fault = Fault::new(&found.place, fault.found, fault.expected);
                self.layers.report(found.origin, &fault);
            })
            .ok()
    }

    /// The subscriptions' text: Leek's variable wins over a file. `Some(None)`: there is none.
    fn list(&mut self) -> Option<Option<Listed>> {
        if let Some(listed) = self.list.take() {
            return Some(Some(listed));
        }
        let Some((place, found)) = self.place() else {
            return Some(None);
        };
        let path = match &place {
            Place::Variable(_) => {
                let text = found.text;
                return Some(Some(Listed { place, text }));
            }
            Place::File(path) => path,
        };
        match small_file::read_text(path) {
            Ok(text) => Some(Some(Listed { place, text })),
            Err(expected) => {
                let fault = Fault::new(found.place, quoted(&found.text), expected);
                self.layers.config.push(&fault);
                None
            }
        }
    }

    /// Where the subscriptions stand, and the text that says so.
    fn place(&mut self) -> Option<(Place, Found)> {
        if let Some(text) = self.env.get(SUBSCRIPTIONS) {
            let found = Found {
                text: text.into(),
                place: SUBSCRIPTIONS.into(),
                origin: Origin::Configured,
            };
            return Some((Place::Variable(SUBSCRIPTIONS), found));
        }
        let typed = self.subscriptions.take();
        let found = self.layers.text("subscriptions", typed)?;
        Some((Place::File(found.text.as_str().into()), found))
    }
}
