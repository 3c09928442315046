//! HTTP requests to others by ureq: how a connection comes about, how long it may take, and why none
//! did. What is asked, and what an answer means, is left to those who ask.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ureq::config::{AutoHeaderValue, ConfigBuilder};
use ureq::http::{HeaderValue, Uri};
use ureq::typestate::AgentScope;
use ureq::{Agent, config::Config};

use self::lookup::Lookups;
use crate::tls::ClientTls;

pub mod failure;
mod lookup;
mod transport;

/// The stack of a thread that makes requests. A TLS handshake with a chain of RSA-4096 certificates
/// and a request take between 144 and 160 KiB in a debug build on x86-64 (an optimised one takes
/// less); half as much again is left for other chains and targets.
pub const STACK_SIZE: usize = 256 * 1024;

/// ureq's buffer for what is read, one for each connection: an answer's head must fit into it, and
/// those of APIs are a few hundred bytes.
const INPUT_BUFFER: usize = 16 * 1024;

/// ureq's buffer for what is sent, one for each connection: the body is copied through it.
const OUTPUT_BUFFER: usize = 16 * 1024;

/// How long a request may take.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// Until the connection stands, TLS included.
    pub connect: Duration,
    /// The whole request, from the lookup of the name to the last byte of the answer.
    pub request: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts {
            connect: Duration::from_secs(10),
            request: Duration::from_secs(30),
        }
    }
}

/// Where people look when a request fails.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// The key of the address.
    pub address: &'static str,
    /// The key of what TLS needs.
    pub tls: &'static str,
    /// What to look at where a connection is closed too early.
    pub closed: &'static str,
    /// The variable that names the proxy on the way: what fails in front of it is not the address's
    /// fault.
    pub proxy: Option<&'static str>,
}

/// For so many threads. Nothing of it comes from the environment: what there is to know was
/// configured.
pub fn config(threads: usize, timeouts: Timeouts) -> ConfigBuilder<AgentScope> {
    Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(None)
        .user_agent(concat!("leek-agent/", env!("CARGO_PKG_VERSION")))
        .accept_encoding(AutoHeaderValue::None)
        .timeout_connect(Some(timeouts.connect))
        .timeout_global(Some(timeouts.request))
        .input_buffer_size(INPUT_BUFFER)
        .output_buffer_size(OUTPUT_BUFFER)
        .max_response_header_size(INPUT_BUFFER)
        .max_idle_connections(threads)
        .max_idle_connections_per_host(threads)
}

/// Goes in TLS (https) or not (http), through the proxy of `config`.
pub fn agent(config: Config, threads: usize, tls: Option<&ClientTls>) -> Agent {
    transport::agent(config, Lookups::new(threads), tls)
}

/// Hands http requests for `origin` (`http://host:port`) to a proxy.
pub fn forwarding_agent(config: Config, threads: usize, origin: String, proxy: Uri) -> Agent {
    transport::forwarding_agent(config, Lookups::new(threads), origin, proxy)
}

/// The value of header `name`, which hides itself when it is shown.
pub fn secret_header(name: &str, text: &str) -> io::Result<HeaderValue> {
    let mut value = HeaderValue::from_str(text).map_err(|_| {
        let expected = format!("{name}: expected visible ascii characters");
        io::Error::new(io::ErrorKind::InvalidInput, expected)
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// The same for `USER:PASSWORD`, in HTTP's basic authentication.
pub fn basic_header(name: &str, login: &str) -> io::Result<HeaderValue> {
    secret_header(name, &format!("Basic {}", BASE64_STANDARD.encode(login)))
}

/// Makes a request, whatever happens: a panic inside it (in ureq, in TLS) is told as its reason.
pub fn guarded<T>(request: impl FnOnce() -> T) -> Result<T, String> {
    // Nothing of ours is left half done: ureq's agent gives a broken connection up.
    catch_unwind(AssertUnwindSafe(request)).map_err(|panic| failure::panicked(&*panic))
}
