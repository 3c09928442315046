//! What was typed, option by option, as argh reads it: text only. What it means, and what
//! environment and files add, is `meaning`'s. The doc comments are the help texts.

use argh::{ArgsInfo, CommandInfoWithArgs, EarlyExit, FromArgs};

pub mod consul;
pub mod control;

/// Moves Celery events from message brokers to the Leek API. Without a command it runs.
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(
    note = "Options stand before or after the command; @FILE is replaced by the options in that\n  \
file. Every option has an environment variable: LEEK_AGENT_ and its name in upper case,\n  \
such as LEEK_AGENT_LOG_LEVEL. The command line comes before the environment, the\n  \
environment before the --config file. Two variables are special:\n  \
LEEK_AGENT_SUBSCRIPTIONS holds the JSON list itself and comes before any file,\n  \
LEEK_AGENT_SUBSCRIPTIONS_FILE stands for --subscriptions.",
    example = "check the configuration without touching any broker:\n  \
{command_name} check --offline --subscriptions subs.json",
    example = "stop taking events while the broker is upgraded, then go on:\n  \
{command_name} pause shop-prod; {command_name} resume shop-prod",
    example = "send again what the API refused before it was mended:\n  \
{command_name} replay /var/lib/leek-agent/quarantine/shop-prod-*.jsonl",
    example = "empty the queues once, from cron:\n  \
{command_name} --subscriptions subs.json --drain --for 5m --lock /run/leek-agent.lock",
    error_code(
        64,
        "the command line is not understood, or the running agent cannot do what it says"
    ),
    error_code(
        69,
        "a needed broker or API is unavailable (check, --strict, replay, subscriptions add), or the \
         running agent is (status, top, reload, pause, resume, stop, subscriptions), or Consul is or \
         refuses (consul)"
    ),
    error_code(70, "a bug in leek-agent"),
    error_code(75, "stopped with events or documents that are not delivered"),
    error_code(78, "the configuration is at fault")
)]
pub struct Typed {
    /// file with the JSON list of subscriptions
    #[argh(option, arg_name = "FILE")]
    pub subscriptions: Option<String>,
    /// file with a JSON object of options, named as here with _ for -
    #[argh(option, arg_name = "FILE")]
    pub config: Option<String>,
    /// address of the Leek API for subscriptions that name none
    #[argh(option, short = 'u', arg_name = "URL")]
    pub api_url: Option<String>,
    /// application key for subscriptions that name none; without a value it is asked for
    #[argh(option, short = 't', arg_name = "KEY")]
    pub app_key: Option<String>,
    /// file with the application key
    #[argh(option, arg_name = "FILE")]
    pub app_key_file: Option<String>,
    /// error, warn, info, debug or trace (default: info)
    #[argh(option, arg_name = "LEVEL")]
    pub log_level: Option<String>,
    /// json or text (default: json)
    #[argh(option, arg_name = "FORMAT")]
    pub log_format: Option<String>,
    /// how long a stop waits for uploads under way (default: 10s)
    #[argh(option, arg_name = "DURATION")]
    pub shutdown_timeout: Option<String>,
    /// where documents that the API refuses are kept (default: quarantine in $STATE_DIRECTORY,
    /// else in /var/lib/leek-agent); made when there is one to keep
    #[argh(option, arg_name = "DIR")]
    pub quarantine_dir: Option<String>,
    /// megabytes of them kept for each subscription, the oldest go first; 0 keeps none (default: 16)
    #[argh(option, arg_name = "N")]
    pub quarantine_max_mb: Option<String>,
    /// the running agent's unix socket (default: control in $RUNTIME_DIRECTORY, else none; commands
    /// that speak to the agent do so at /run/leek-agent/control)
    #[argh(option, arg_name = "FILE")]
    pub control_socket: Option<String>,
    /// print the version
    #[argh(switch, short = 'V')]
    #[allow(dead_code)] // Answered before argh reads the line; here for the help text.
    pub version: bool,
    #[argh(subcommand)]
    pub command: TypedCommand,
}

#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand)]
#[allow(clippy::large_enum_variant)] // There is one of it, for a moment.
pub enum TypedCommand {
    Run(TypedRun),
    Check(TypedCheck),
    Transform(TypedTransform),
    Sink(TypedSink),
    Replay(TypedReplay),
    Status(TypedStatus),
    Top(control::TypedTop),
    Reload(control::TypedReload),
    Pause(control::TypedPause),
    Resume(control::TypedResume),
    Stop(control::TypedStop),
    Subscriptions(control::TypedSubscriptions),
    Consul(consul::Typed),
    ImportHerald(TypedImportHerald),
    Man(TypedMan),
    Completions(TypedCompletions),
}

/// Consume and deliver until told to stop. This is the default command.
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(
    subcommand,
    name = "run",
    note = "Options that every command takes: leek-agent --help"
)]
pub struct TypedRun {
    /// stop once the queues are empty and everything is delivered
    #[argh(switch)]
    pub drain: bool,
    /// stop gracefully after that long, such as 50s or 1h30m
    #[argh(option, long = "for", arg_name = "DURATION")]
    pub run_for: Option<String>,
    /// run only while no other instance holds this file; otherwise exit 0
    #[argh(option, arg_name = "FILE")]
    pub lock: Option<String>,
    /// exit 69 at start if any broker or API is unhealthy
    #[argh(switch)]
    pub strict: bool,
    /// address and port where its state and metrics can be read, such as 0.0.0.0:9464 (default: none)
    #[argh(option, arg_name = "A:P")]
    pub listen: Option<String>,
    /// names under which it may be asked there, separated by commas, beside IP addresses
    #[argh(option, arg_name = "NAMES")]
    pub listen_hosts: Option<String>,
    /// what who asks there must show to change something (default: nobody may)
    #[argh(option, arg_name = "TOKEN")]
    pub control_token: Option<String>,
    /// file with the control token
    #[argh(option, arg_name = "FILE")]
    pub control_token_file: Option<String>,
}

/// Validate the configuration, then test every broker and API. Consumes nothing.
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(
    subcommand,
    name = "check",
    note = "Options that every command takes: leek-agent --help"
)]
pub struct TypedCheck {
    /// validate only, touch no network
    #[argh(switch)]
    pub offline: bool,
}

/// Turn JSON lines on stdin into Leek documents on stdout. A line is one batch: an event, or a list
/// of message bodies, each an event or a list of events.
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(
    subcommand,
    name = "transform",
    note = "Options that every command takes: leek-agent --help"
)]
pub struct TypedTransform {
    /// the environment in the documents (default: qa)
    #[argh(option, arg_name = "NAME")]
    pub app_env: Option<String>,
    /// the value of updated_at in milliseconds (default: the clock)
    #[argh(option, arg_name = "N")]
    pub now_ms: Option<String>,
    /// exactly as Leek's own agent, mend nothing
    #[argh(switch)]
    pub strict: bool,
}

/// Stand in for the Leek API, to commission a gateway with: check the headers, answer as the API
/// does, print the documents as JSON lines.
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(
    subcommand,
    name = "sink",
    note = "Options that every command takes: leek-agent --help"
)]
pub struct TypedSink {
    /// address and port to listen on, such as 127.0.0.1:5000
    #[argh(option, arg_name = "A:P")]
    pub listen: Option<String>,
    /// append the documents to this file instead of printing them
    #[argh(option, arg_name = "FILE")]
    pub out: Option<String>,
}

/// Send the documents of quarantine files to the API again, and say what became of them. The files
/// are not changed; sending a document twice does no harm.
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(
    subcommand,
    name = "replay",
    note = "Options that every command takes: leek-agent --help"
)]
pub struct TypedReplay {
    /// quarantine files, oldest first
    #[argh(positional, arg_name = "FILE")]
    pub files: Vec<String>,
}

/// Show how the running agent is, and what is wrong; exit 69 if something is, or if none runs.
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(
    subcommand,
    name = "status",
    note = "Options that every command takes: leek-agent --help"
)]
pub struct TypedStatus {
    /// print the whole state as JSON
    #[argh(switch)]
    pub json: bool,
}

/// Turn the configuration of Herald, an agent for HAProxy, into a section for the --config file, and
/// print it.
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "import-herald")]
pub struct TypedImportHerald {
    /// herald's YAML file
    #[argh(positional, arg_name = "FILE")]
    pub file: Option<String>,
}

/// Print the manual page, for man(1).
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "man")]
pub struct TypedMan {}

/// Print what a shell needs to complete command lines of leek-agent.
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "completions")]
pub struct TypedCompletions {
    /// bash, zsh or fish
    #[argh(positional, arg_name = "SHELL")]
    pub shell: Option<String>,
}

/// What the definitions above say about themselves: what manual page and completions are made of.
pub fn described() -> CommandInfoWithArgs {
    Typed::get_args_info()
}

/// Reads words that `arrange` put in order.
pub fn read(argv: &[String]) -> Result<Typed, EarlyExit> {
    let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
    Typed::from_args(&["leek-agent"], &argv)
}
