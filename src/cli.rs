//! Command line, environment and `--config` file → what the program is to do.
//!
//! What was typed stays apart from what it means: `at_file` and `arrange` put the words in order,
//! `typed` reads them with argh, `layers` adds environment and file, and here the values get their
//! meaning. Nothing is printed and nothing exits; `main` does both.

mod arrange;
mod at_file;
mod completions;
mod layers;
mod manual;
mod meaning;
pub mod options;
mod typed;

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use crate::command::{
    consul, import_herald, order, replay, sink, status, subscriptions, top, transform,
};
use crate::config::environment::Env;
use crate::config::fault::Report;
use crate::config::{Config, Listed, Occasion, Place};
use crate::control::Places;
use crate::exit::Exit;
use crate::logging;
use crate::release::VERSION;
use crate::secret::Secret;

use meaning::Reading;

pub use arrange::{is_value, option};

/// What to do, and how to log meanwhile.
#[derive(Debug)]
pub struct Invocation {
    pub command: Command,
    pub logging: logging::Settings,
}

/// The commands.
#[derive(Debug)]
pub enum Command {
    Run(RunOptions),
    Check(CheckOptions),
    Transform(transform::Options),
    Sink(sink::Options),
    Replay(replay::Options),
    Status(status::Options),
    Top(top::Options),
    Order(order::Options),
    Subscriptions(subscriptions::Options),
    Consul(consul::Options),
    ImportHerald(import_herald::Options),
}

/// Consume and deliver.
#[derive(Debug)]
pub struct RunOptions {
    pub config: Config,
    /// Where the subscriptions were read from.
    pub place: Place,
    /// Stop once the queues are empty and everything is delivered.
    pub drain: bool,
    /// Stop gracefully after that long.
    pub run_for: Option<Duration>,
    /// Single instance: held while running.
    pub lock: Option<PathBuf>,
    /// Exit at start if anything is unhealthy.
    pub strict: bool,
    /// Where it can be asked how it is.
    pub places: Places,
}

/// Validate, then test brokers and APIs.
#[derive(Debug)]
pub struct CheckOptions {
    pub config: Config,
    /// Where the subscriptions were read from.
    pub place: Place,
    /// Validate only.
    pub offline: bool,
}

/// What a command line comes to.
#[derive(Debug)]
pub enum Outcome {
    Run(Box<Invocation>),
    /// `--help`, `--version`, `man`, `completions`: print, exit 0.
    Print(String),
    /// `LEEK_ENABLE_AGENT` is false: log so, exit 0.
    Disabled(logging::Settings),
}

/// Why the program cannot start. Displays as the lines to print.
#[derive(Debug, PartialEq, Eq)]
pub enum StartError {
    /// What was typed is not understood.
    Usage(String),
    /// Environment or files are at fault.
    Config(Report),
}

impl StartError {
    /// The exit code that tells the two apart.
    pub fn exit(&self) -> Exit {
        match self {
            StartError::Usage(_) => Exit::Usage,
            StartError::Config(_) => Exit::Config,
        }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Usage(line) => write!(f, "{line} (see leek-agent --help)"),
            StartError::Config(report) => report.fmt(f),
        }
    }
}

/// What the program was started with, to be understood at the start and again at each reload. Holds
/// secrets, hence no `Debug`.
pub struct Recipe {
    args: Vec<OsString>,
    env: Env,
    /// What was typed where `--app-key` stood without a value.
    asked: OnceLock<Result<Secret, String>>,
}

impl Recipe {
    /// `args` are without the program's name.
    pub fn new(args: Vec<OsString>, env: Env) -> Self {
        Recipe {
            args,
            env,
            asked: OnceLock::new(),
        }
    }

    pub fn env(&self) -> &Env {
        &self.env
    }

    /// Understands the command line. Reads the files that it names; asks on the terminal where
    /// `--app-key` stands without a value.
    pub fn read(&self) -> Result<Outcome, StartError> {
        self.read_on(Occasion::Start, None)
    }

    /// Reads the configuration of an agent that runs, or would run, again, with `list` where that is not
    /// yet what its file has. The fault says for a human what is to be mended.
    pub fn reread(&self, list: Option<Listed>) -> Result<(Config, Place), String> {
        match self.read_on(Occasion::Reload, list) {
            Ok(Outcome::Run(invocation)) => match invocation.command {
                Command::Run(options) => Ok((options.config, options.place)),
                // What changes the file where no agent runs is read as what checks it.
                Command::Check(options) => Ok((options.config, options.place)),
                _ => Err("no running agent's command line".to_owned()),
            },
            Ok(Outcome::Disabled(_)) => Err("LEEK_ENABLE_AGENT is false".to_owned()),
            Ok(Outcome::Print(_)) => Err("no running agent's command line".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn read_on(&self, occasion: Occasion, list: Option<Listed>) -> Result<Outcome, StartError> {
        let ask = || self.asked.get_or_init(ask_for_key).clone();
        let reading = Reading {
            env: &self.env,
            ask: &ask,
            occasion,
            list,
        };
        understand(&self.args, reading)
    }
}

fn understand(args: &[OsString], reading: Reading<'_>) -> Result<Outcome, StartError> {
    let words = at_file::expand(args).map_err(StartError::Usage)?;
    let arranged = arrange::arrange(words).map_err(StartError::Usage)?;
    if arranged.has("version") && !arranged.has("help") {
        return Ok(Outcome::Print(format!("leek-agent {VERSION}\n")));
    }
    match typed::read(&arranged.argv()) {
        Ok(typed) => meaning::of(typed, &arranged, reading),
        Err(exit) if exit.status.is_ok() => Ok(Outcome::Print(exit.output)),
        Err(exit) => Err(StartError::Usage(exit.output.trim_end().into())),
    }
}

fn ask_for_key() -> Result<Secret, String> {
    rpassword::prompt_password("application key: ")
        .map(Secret::new)
        .map_err(|_| {
            "--app-key: no terminal to ask on: expected --app-key KEY, --app-key-file FILE or \
             LEEK_AGENT_APP_KEY"
                .into()
        })
}

#[cfg(test)]
mod tests;
