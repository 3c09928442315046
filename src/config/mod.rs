//! What the agent was told to do, checked: every value here is within its documented range.
//!
//! `raw` reads the files key by key, `check` turns them into this and reports all faults at once,
//! `load` brings files, environment and values for all subscriptions together.

pub mod agent_check;
pub mod check;
pub mod consul;
pub mod environment;
pub mod fault;
mod load;
mod policy;
pub mod proxy;
pub mod quarantine;
pub mod raw;
pub mod redis;
mod shown;
pub mod spool;
mod tls;
pub mod url;

pub use load::{Listed, Occasion, Place, Sources, load, read_key_file};

use std::time::Duration;

use serde_json::Value;

use self::proxy::Proxy;
use self::quarantine::Quarantine;
use self::redis::RedisOptions;
use self::spool::Spool;
use crate::delivery::Guarantee;
use crate::document::{Policy, Validation};
use crate::secret::Secret;
use crate::tls::ClientTls;

/// Everything a running agent needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// At least one at the start; names are unique.
    pub subscriptions: Vec<Subscription>,
    /// The same as they are written, fit to be shown to people: without secrets, with their names.
    pub shown: Vec<Value>,
    /// How Leek's environment places this agent.
    pub mode: Mode,
    /// How long a stop waits for uploads under way.
    pub shutdown_timeout: Duration,
    /// As what the agent stands in Consul, if it does.
    pub consul: Option<consul::Consul>,
    /// Where HAProxy may ask, and what it is told.
    pub agent_check: Vec<agent_check::Responder>,
}

/// Where the agent stands as Leek sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// In Leek's own container, beside its API.
    Local,
    /// Anywhere else.
    Standalone,
}

/// One broker's events on their way to one application of Leek.
#[derive(Debug, Clone, PartialEq)]
pub struct Subscription {
    /// `app_name-app_env`, unique.
    pub name: String,
    /// Tried in turn (failover); never empty.
    pub brokers: Vec<Broker>,
    pub failover: FailoverStrategy,
    /// For those brokers that are spoken to in TLS.
    pub tls: Option<ClientTls>,
    pub exchange: String,
    pub queue: String,
    /// AMQP topic pattern.
    pub routing_key: String,
    pub org_name: String,
    pub app_name: String,
    pub app_env: String,
    pub app_key: Secret,
    /// `http://` or `https://`, path prefix kept, without a trailing slash.
    pub api_url: String,
    /// Set where `api_url` is https.
    pub api_tls: Option<ClientTls>,
    /// What the API is reached through.
    pub proxy: Option<Proxy>,
    /// Unacknowledged messages the broker may have under way: 1000 to 10000.
    pub prefetch_count: u16,
    /// Uploads in flight at once: 1 to 20.
    pub concurrency_pool_size: usize,
    pub batch: BatchLimits,
    /// The ring's size in bytes.
    pub buffer_bytes: usize,
    pub validation: Validation,
    /// What may leave the site.
    pub policy: Policy,
    /// Only a Redis broker's concern.
    pub redis: RedisOptions,
    /// Where refused documents are kept; `None` for nowhere.
    pub quarantine: Option<Quarantine>,
    /// Where what cannot be delivered waits; only beside a broker that keeps nothing.
    pub spool: Option<Spool>,
}

impl Subscription {
    /// This one, with `other`'s API and as whom it posts there.
    pub fn with_api_of(&self, other: &Subscription) -> Subscription {
        Subscription {
            org_name: other.org_name.clone(),
            app_key: other.app_key.clone(),
            api_url: other.api_url.clone(),
            api_tls: other.api_tls.clone(),
            proxy: other.proxy.clone(),
            ..self.clone()
        }
    }

    /// Who keeps this subscription's messages: its brokers are all of one kind.
    pub fn guarantee(&self) -> Guarantee {
        match self.brokers.first() {
            Some(Broker::Redis(_)) => Guarantee::AgentOwes,
            Some(Broker::Amqp(_)) | None => Guarantee::BrokerKeeps,
        }
    }
}

/// A batch is sealed by whichever comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// Bytes of the POST body.
    pub max_bytes: usize,
    /// Broker messages.
    pub max_messages: usize,
    /// Time since the batch's first message.
    pub window: Duration,
}

/// In which order the brokers of a failover list are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailoverStrategy {
    RoundRobin,
    Shuffle,
}

/// One broker's address and credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Broker {
    Amqp(AmqpBroker),
    Redis(RedisBroker),
}

/// `amqp://user:password@host:port/vhost`, percent-decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AmqpBroker {
    /// A name, an IPv4 address, or an IPv6 address without its brackets.
    pub host: String,
    pub port: u16,
    pub user: String,
    pub password: Secret,
    pub vhost: String,
    /// `amqps://`.
    pub tls: bool,
    pub login: Login,
}

/// How a RabbitMQ learns who we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Login {
    /// By user and password, guest's where the URL leaves them out.
    Password,
    /// By the client certificate (SASL EXTERNAL).
    Certificate,
    /// The URL names nobody: by the certificate if there is one, else as guest.
    Either,
}

impl Broker {
    /// True if the connection is encrypted.
    pub fn uses_tls(&self) -> bool {
        match self {
            Broker::Amqp(broker) => broker.tls,
            Broker::Redis(broker) => broker.tls,
        }
    }
}

/// `redis://user:password@host:port/db` and its relatives, percent-decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisBroker {
    pub place: RedisPlace,
    pub user: Option<String>,
    pub password: Option<Secret>,
    pub db: u32,
    /// `rediss://`.
    pub tls: bool,
}

/// Where a Redis server is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedisPlace {
    Tcp(HostPort),
    /// The path of its socket.
    Unix(String),
    /// These know; never empty.
    Sentinels(Vec<HostPort>),
}

/// A name, an IPv4 address, or an IPv6 address without its brackets; and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    pub host: String,
    pub port: u16,
}
