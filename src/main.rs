//! The binary: arguments → configuration → command → exit code.

use std::io::Write;
use std::process::ExitCode;

use leek_agent::cli::{self, CheckOptions, Command, Invocation, Outcome};
use leek_agent::config::environment::Env;
use leek_agent::exit::Exit;
use leek_agent::{logging, process_title};

fn main() -> ExitCode {
    std::panic::catch_unwind(start)
        .unwrap_or(Exit::Software)
        .into()
}

fn start() -> Exit {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    process_title::hide_keys();
    match cli::parse(&args, &Env::of_process()) {
        Ok(Outcome::Run(invocation)) => run(*invocation),
        Ok(Outcome::Print(text)) => print(&text),
        Ok(Outcome::Disabled(settings)) => {
            logging::init(settings);
            log::info!("not started: LEEK_ENABLE_AGENT is false");
            Exit::Done
        }
        Err(error) => {
            // Nobody to tell where stderr is closed; the exit code says enough.
            let _ = writeln!(std::io::stderr(), "{error}");
            error.exit()
        }
    }
}

fn run(invocation: Invocation) -> Exit {
    logging::init(invocation.logging);
    match invocation.command {
        Command::Check(options) if options.offline => print(&offline_check(&options)),
        Command::Run(_) | Command::Check(_) | Command::Transform(_) | Command::Sink(_) => {
            log::error!("this command is not part of this version");
            Exit::Software
        }
    }
}

/// What `check --offline` has to say once the configuration is read: nothing is wrong.
fn offline_check(options: &CheckOptions) -> String {
    let subscriptions = &options.config.subscriptions;
    let noun = if subscriptions.len() == 1 {
        "subscription"
    } else {
        "subscriptions"
    };
    let mut text = format!(
        "configuration ok: {} {noun} from {}\n",
        subscriptions.len(),
        options.source
    );
    for subscription in subscriptions {
        let brokers: Vec<String> = subscription
            .brokers
            .iter()
            .map(ToString::to_string)
            .collect();
        text += &format!(
            "{}: {} -> {}\n",
            subscription.name,
            brokers.join(";"),
            subscription.api_url
        );
    }
    text
}

/// A reader that went away, as `head` does, is no fault.
fn print(text: &str) -> Exit {
    let _ = std::io::stdout().write_all(text.as_bytes());
    Exit::Done
}
