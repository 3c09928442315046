//! The binary: arguments → configuration → command → exit code.

use std::io::{self, BufReader, Write};
use std::process::ExitCode;
use std::sync::Arc;

use leek_agent::cli::{CheckOptions, Command, Invocation, Outcome, Recipe, RunOptions};
use leek_agent::command::ask::Fault;
use leek_agent::command::replay::{self, ReplayError};
use leek_agent::command::top::TopError;
use leek_agent::command::{
    check, consul, import_herald, order, sink, status, subscriptions, top, transform,
};
use leek_agent::config::environment::Env;
use leek_agent::exit::Exit;
use leek_agent::lock::{Lock, LockError};
use leek_agent::notify::Notifier;
use leek_agent::runtime::{self, CheckListeners, Ended, Listeners};
use leek_agent::{logging, process_title};

/// Memory that one thread asks for and another frees goes back to where it came from.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    let exit = std::panic::catch_unwind(start).unwrap_or(Exit::Software);
    logging::finish();
    exit.into()
}

fn start() -> Exit {
    let args = std::env::args_os().skip(1).collect();
    process_title::hide_keys();
    let recipe = Arc::new(Recipe::new(args, Env::of_process()));
    match recipe.read() {
        Ok(Outcome::Run(invocation)) => carry_out(*invocation, recipe),
        Ok(Outcome::Print(text)) => print(&text),
        Ok(Outcome::Disabled(settings)) => done_or_bug(logging::init(settings).map(|()| {
            log::info!("not started: LEEK_ENABLE_AGENT is false");
        })),
        Err(error) => {
            complain(&error.to_string());
            error.exit()
        }
    }
}

fn carry_out(invocation: Invocation, recipe: Arc<Recipe>) -> Exit {
    if let Command::Transform(options) = &invocation.command {
        return run_transform(options);
    }
    if let Err(error) = logging::init(invocation.logging) {
        return done_or_bug(Err(error));
    }
    match invocation.command {
        Command::Run(options) => run(options, recipe),
        Command::Check(options) if options.offline => {
            print(&check::describe(&options.config, &options.place))
        }
        Command::Check(options) => run_check(&options),
        Command::Sink(options) => done_or_bug(sink::run(options)),
        Command::Replay(options) => run_replay(&options),
        Command::Status(options) => run_status(&options),
        Command::Top(options) => run_top(&options),
        Command::Order(options) => run_order(&options),
        Command::Subscriptions(options) => run_subscriptions(&options, &recipe),
        Command::Consul(options) => run_consul(&options),
        Command::ImportHerald(options) => run_import_herald(&options),
        Command::Transform(_) => Exit::Done,
    }
}

fn run(options: RunOptions, recipe: Arc<Recipe>) -> Exit {
    let _lock = match options.lock.as_deref().map(Lock::take).transpose() {
        Ok(lock) => lock,
        Err(LockError::Held { pid }) => {
            log::info!(pid = pid.unwrap_or(0); "another instance holds the lock: nothing to do");
            return Exit::Done;
        }
        Err(LockError::Io(error)) => {
            log::error!(reason:% = error; "lock file not usable: check --lock");
            return Exit::Config;
        }
    };
    let listeners = match Listeners::open(&options.places) {
        Ok(listeners) => listeners,
        Err(reason) => {
            log::error!(reason = reason.as_str(); "cannot listen: nobody could ask how the agent is");
            return Exit::Config;
        }
    };
    let checks = match CheckListeners::open(&options.config.agent_check) {
        Ok(checks) => checks,
        Err(reason) => {
            log::error!(reason = reason.as_str(); "cannot listen: haproxy could not ask");
            return Exit::Config;
        }
    };
    let settings = runtime::Settings {
        drain: options.drain,
        run_for: options.run_for,
        strict: options.strict,
    };
    let notifier = Notifier::from_env(recipe.env(), std::process::id());
    let order = runtime::Order {
        config: options.config,
        place: options.place,
        recipe,
        settings,
        notifier,
        listeners,
        checks,
    };
    match runtime::run(order) {
        Ok(Ended::Delivered) => Exit::Done,
        Ok(Ended::Undelivered) => Exit::Undelivered,
        Ok(Ended::Unavailable) => Exit::Unavailable,
        Err(error) => {
            log::error!(reason:% = error; "the event loop failed");
            Exit::Software
        }
    }
}

fn run_check(options: &CheckOptions) -> Exit {
    let findings = match check::run(&options.config) {
        Ok(findings) => findings,
        Err(error) => return done_or_bug(Err(error)),
    };
    let lines: String = findings
        .iter()
        .map(|finding| format!("{finding}\n"))
        .collect();
    print(&lines);
    if findings.iter().all(|finding| finding.result.is_ok()) {
        Exit::Done
    } else {
        Exit::Unavailable
    }
}

fn run_replay(options: &replay::Options) -> Exit {
    let mut tell = |line: &str| {
        print(&format!("{line}\n"));
    };
    match replay::run(options, &mut tell) {
        Ok(replay::Outcome::AllStored) => Exit::Done,
        Ok(replay::Outcome::SomeLeft) => Exit::Undelivered,
        Ok(replay::Outcome::Unavailable) => Exit::Unavailable,
        Err(ReplayError::File(reason)) => {
            complain(&reason);
            Exit::Usage
        }
        Err(ReplayError::Uploader(error)) => done_or_bug(Err(error)),
    }
}

fn run_status(options: &status::Options) -> Exit {
    match status::run(options) {
        Ok(shown) => {
            print(&shown.text);
            if shown.is_well {
                Exit::Done
            } else {
                Exit::Unavailable
            }
        }
        Err(fault) => refused(&fault),
    }
}

fn run_top(options: &top::Options) -> Exit {
    match top::run(options) {
        Ok(()) => Exit::Done,
        Err(TopError::Agent(fault)) => refused(&fault),
        Err(TopError::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Done,
        Err(TopError::Io(error)) => done_or_bug(Err(error)),
    }
}

fn run_order(options: &order::Options) -> Exit {
    match order::run(options) {
        Ok(done) => {
            print(&done.text);
            if done.all_delivered {
                Exit::Done
            } else {
                Exit::Undelivered
            }
        }
        Err(fault) => refused(&fault),
    }
}

fn run_subscriptions(options: &subscriptions::Options, recipe: &Recipe) -> Exit {
    match subscriptions::run(options, recipe) {
        Ok(text) => print(&text),
        Err(fault) => refused(&fault),
    }
}

/// Tells why the agent did not do it. Its codes begin with the status of the answer.
fn refused(fault: &Fault) -> Exit {
    complain(&fault.to_string());
    let Fault::Refused(refused) = fault else {
        return Exit::Unavailable;
    };
    match refused.code.as_bytes() {
        // A folder that it may not write to is no bug.
        b"500002" | [b'4', b'2', b'2', ..] => Exit::Config,
        // The broker refuses access.
        [b'4', b'0', b'1', ..] | [b'5', b'0', b'3', ..] => Exit::Unavailable,
        [b'4', ..] => Exit::Usage,
        _ => Exit::Software,
    }
}

fn run_consul(options: &consul::Options) -> Exit {
    match consul::run(options) {
        Ok(text) => print(&text),
        Err(reason) => {
            complain(&reason);
            Exit::Unavailable
        }
    }
}

fn run_import_herald(options: &import_herald::Options) -> Exit {
    match import_herald::run(options) {
        Ok(imported) => {
            imported.notes.iter().for_each(|note| complain(note));
            print(&imported.text)
        }
        Err(report) => {
            complain(&report.to_string());
            Exit::Config
        }
    }
}

fn run_transform(options: &transform::Options) -> Exit {
    let (input, output) = (
        BufReader::new(io::stdin()),
        io::BufWriter::new(io::stdout().lock()),
    );
    match transform::run(input, output, io::stderr(), options) {
        Ok(_) => Exit::Done,
        // A reader that went away, as `head` does, is no fault.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Done,
        Err(error) => done_or_bug(Err(error)),
    }
}

fn done_or_bug(result: Result<(), impl std::fmt::Display>) -> Exit {
    match result {
        Ok(()) => Exit::Done,
        Err(error) => {
            complain(&error.to_string());
            Exit::Software
        }
    }
}

/// A reader that went away is no fault.
fn print(text: &str) -> Exit {
    let _ = io::stdout().write_all(text.as_bytes());
    Exit::Done
}

/// Nobody to tell where stderr is closed; the exit code says enough.
fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "leek-agent: {text}");
}
