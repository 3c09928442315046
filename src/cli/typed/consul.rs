//! What was typed behind `leek-agent consul`.

use argh::{ArgsInfo, FromArgs};

/// Ask the Consul agent on this machine, or tell it something: its checks, services and members.
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(
    subcommand,
    name = "consul",
    note = "Options that every command takes: leek-agent --help"
)]
pub struct Typed {
    /// where Consul is (default: address in the consul section of the --config file, else
    /// http://127.0.0.1:8500)
    #[argh(option, arg_name = "URL")]
    pub consul_address: Option<String>,
    /// token to show; better in a file, or in LEEK_AGENT_CONSUL_TOKEN
    #[argh(option, arg_name = "KEY")]
    pub consul_token: Option<String>,
    /// file with the token
    #[argh(option, arg_name = "FILE")]
    pub consul_token_file: Option<String>,
    /// datacenter to ask in (default: Consul's own)
    #[argh(option, arg_name = "NAME")]
    pub consul_datacenter: Option<String>,
    #[argh(subcommand)]
    pub command: TypedConsul,
}

#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand)]
pub enum TypedConsul {
    Check(TypedCheck),
    Service(TypedService),
    Checks(TypedChecks),
    Services(TypedServices),
    Members(TypedMembers),
    Join(TypedJoin),
    ForceLeave(TypedForceLeave),
}

/// Register and deregister checks, and say how what they watch is.
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "check")]
pub struct TypedCheck {
    #[argh(subcommand)]
    pub command: TypedCheckCommand,
}

#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand)]
pub enum TypedCheckCommand {
    Register(TypedCheckRegister),
    Deregister(TypedCheckDeregister),
    Pass(TypedPass),
    Warn(TypedWarn),
    Fail(TypedFail),
}

/// Register a check of one kind: --ttl, --http, --tcp or --args.
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "register")]
pub struct TypedCheckRegister {
    /// the check's name
    #[argh(positional, arg_name = "NAME")]
    pub name: String,
    /// its id (default: its name)
    #[argh(option, arg_name = "NAME")]
    pub id: Option<String>,
    /// what it is for, for people
    #[argh(option, arg_name = "TEXT")]
    pub notes: Option<String>,
    /// id of the service that it is about (default: the node)
    #[argh(option, arg_name = "NAME")]
    pub service_id: Option<String>,
    /// it turns critical when nobody says pass within that time
    #[argh(option, arg_name = "DURATION")]
    pub ttl: Option<String>,
    /// address that must answer 2xx
    #[argh(option, arg_name = "URL")]
    pub http: Option<String>,
    /// host and port that must take a connection
    #[argh(option, arg_name = "A:P")]
    pub tcp: Option<String>,
    /// program and arguments, quoted as for a shell, that must exit with 0
    #[argh(option, arg_name = "TEXT")]
    pub args: Option<String>,
    /// how often Consul looks
    #[argh(option, arg_name = "DURATION")]
    pub interval: Option<String>,
    /// deregister its service when it was critical for that long, at least 1m
    #[argh(option, arg_name = "DURATION")]
    pub deregister_critical_after: Option<String>,
}

/// Deregister a check.
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "deregister")]
pub struct TypedCheckDeregister {
    /// the check's id
    #[argh(positional, arg_name = "NAME")]
    pub id: String,
}

/// Say that what a TTL check watches is well.
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "pass")]
pub struct TypedPass {
    /// the check's id
    #[argh(positional, arg_name = "NAME")]
    pub id: String,
    /// what to tell people about it
    #[argh(option, arg_name = "TEXT")]
    pub note: Option<String>,
}

/// Say that what a TTL check watches is not quite well.
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "warn")]
pub struct TypedWarn {
    /// the check's id
    #[argh(positional, arg_name = "NAME")]
    pub id: String,
    /// what to tell people about it
    #[argh(option, arg_name = "TEXT")]
    pub note: Option<String>,
}

/// Say that what a TTL check watches has failed.
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "fail")]
pub struct TypedFail {
    /// the check's id
    #[argh(positional, arg_name = "NAME")]
    pub id: String,
    /// what to tell people about it
    #[argh(option, arg_name = "TEXT")]
    pub note: Option<String>,
}

/// Register and deregister services.
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "service")]
pub struct TypedService {
    #[argh(subcommand)]
    pub command: TypedServiceCommand,
}

#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand)]
#[allow(clippy::large_enum_variant)] // As all that was typed.
pub enum TypedServiceCommand {
    Register(TypedServiceRegister),
    Deregister(TypedServiceDeregister),
}

/// Register a service, and with --ttl, --http, --tcp or --args a check of it.
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "register")]
pub struct TypedServiceRegister {
    /// the service's name
    #[argh(positional, arg_name = "NAME")]
    pub name: String,
    /// its id (default: its name)
    #[argh(option, arg_name = "NAME")]
    pub id: Option<String>,
    /// where it is (default: the node's address)
    #[argh(option, arg_name = "HOST")]
    pub address: Option<String>,
    /// the port it listens on
    #[argh(option, arg_name = "N")]
    pub port: Option<String>,
    /// its tags, separated by commas
    #[argh(option, arg_name = "NAMES")]
    pub tags: Option<String>,
    /// KEY=VALUE, several separated by commas
    #[argh(option, arg_name = "TEXT")]
    pub meta: Option<String>,
    /// it turns critical when nobody says pass within that time
    #[argh(option, arg_name = "DURATION")]
    pub ttl: Option<String>,
    /// address that must answer 2xx
    #[argh(option, arg_name = "URL")]
    pub http: Option<String>,
    /// host and port that must take a connection
    #[argh(option, arg_name = "A:P")]
    pub tcp: Option<String>,
    /// program and arguments, quoted as for a shell, that must exit with 0
    #[argh(option, arg_name = "TEXT")]
    pub args: Option<String>,
    /// how often Consul looks
    #[argh(option, arg_name = "DURATION")]
    pub interval: Option<String>,
    /// deregister it when its check was critical for that long, at least 1m
    #[argh(option, arg_name = "DURATION")]
    pub deregister_critical_after: Option<String>,
}

/// Deregister a service, and its checks with it.
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "deregister")]
pub struct TypedServiceDeregister {
    /// the service's id
    #[argh(positional, arg_name = "NAME")]
    pub id: String,
}

/// List the checks that Consul's agent on this node knows.
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "checks")]
pub struct TypedChecks {
    /// print the answer as JSON
    #[argh(switch)]
    pub json: bool,
}

/// List the services that Consul's agent on this node knows.
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "services")]
pub struct TypedServices {
    /// print the answer as JSON
    #[argh(switch)]
    pub json: bool,
}

/// List the nodes that Consul's agent on this node sees.
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "members")]
pub struct TypedMembers {
    /// print the answer as JSON
    #[argh(switch)]
    pub json: bool,
    /// the servers of all datacenters
    #[argh(switch)]
    pub wan: bool,
}

/// Have Consul's agent on this node join others.
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "join")]
pub struct TypedJoin {
    /// address of a node among them
    #[argh(positional, arg_name = "HOST")]
    pub address: String,
    /// as a server, the servers of other datacenters
    #[argh(switch)]
    pub wan: bool,
}

/// Say that a node that failed will not come back.
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "force-leave")]
pub struct TypedForceLeave {
    /// the node's name
    #[argh(positional, arg_name = "NAME")]
    pub node: String,
    /// forget it altogether
    #[argh(switch)]
    pub prune: bool,
    /// among the servers of all datacenters
    #[argh(switch)]
    pub wan: bool,
}
