//! What was typed to have the running agent do something.

use argh::{ArgsInfo, FromArgs};

/// Show again and again how the running agent is, and what it delivers in a second.
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(
    subcommand,
    name = "top",
    note = "Options that every command takes: leek-agent --help"
)]
pub struct TypedTop {
    /// from one look to the next (default: 2s)
    #[argh(option, arg_name = "DURATION")]
    pub interval: Option<String>,
    /// end after so many looks (default: when interrupted)
    #[argh(option, arg_name = "N")]
    pub count: Option<String>,
    /// print the whole state as a line of JSON each time
    #[argh(switch)]
    pub json: bool,
}

/// Have the running agent read its configuration again and apply what changed. A fault in it changes
/// nothing.
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(
    subcommand,
    name = "reload",
    note = "Options that every command takes: leek-agent --help"
)]
pub struct TypedReload {
    /// print the answer as JSON
    #[argh(switch)]
    pub json: bool,
}

/// Have subscriptions of the running agent take no more and deliver what they have.
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(
    subcommand,
    name = "pause",
    note = "Options that every command takes: leek-agent --help"
)]
pub struct TypedPause {
    /// which ones, such as shop-prod (default: all)
    #[argh(positional, arg_name = "NAME")]
    pub names: Vec<String>,
    /// print the answer as JSON
    #[argh(switch)]
    pub json: bool,
}

/// Have paused subscriptions of the running agent go on.
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(
    subcommand,
    name = "resume",
    note = "Options that every command takes: leek-agent --help"
)]
pub struct TypedResume {
    /// which ones, such as shop-prod (default: all)
    #[argh(positional, arg_name = "NAME")]
    pub names: Vec<String>,
    /// print the answer as JSON
    #[argh(switch)]
    pub json: bool,
}

/// Stop the running agent and wait until it has; exit 75 if events are left that are not delivered.
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(
    subcommand,
    name = "stop",
    note = "Options that every command takes: leek-agent --help"
)]
pub struct TypedStop {
    /// print the answer as JSON
    #[argh(switch)]
    pub json: bool,
}

/// List, add and remove subscriptions: of the running agent, else in the --subscriptions file.
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(
    subcommand,
    name = "subscriptions",
    note = "Options that every command takes: leek-agent --help"
)]
pub struct TypedSubscriptions {
    #[argh(subcommand)]
    pub command: TypedSubscriptionsCommand,
}

#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand)]
pub enum TypedSubscriptionsCommand {
    List(TypedList),
    Add(TypedAdd),
    Remove(TypedRemove),
}

/// List the subscriptions and how each is.
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "list")]
pub struct TypedList {
    /// print them as JSON, without secrets
    #[argh(switch)]
    pub json: bool,
}

/// Add a subscription, once its broker was found to let it in.
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "add")]
pub struct TypedAdd {
    /// file with the subscription, a JSON object; - is standard input
    #[argh(positional, arg_name = "FILE")]
    pub file: String,
    /// print it as it is stored, without secrets
    #[argh(switch)]
    pub json: bool,
}

/// Remove a subscription. What was taken of it is delivered.
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "remove")]
pub struct TypedRemove {
    /// its name, such as shop-prod
    #[argh(positional, arg_name = "NAME")]
    pub name: String,
    /// print the answer as JSON
    #[argh(switch)]
    pub json: bool,
}
