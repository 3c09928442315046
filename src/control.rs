//! What a running agent answers to those who look at it (contract C9): requests in, responses out.
//!
//! Pure: the sockets are `server`'s, the facts are `runtime`'s. Whoever reaches it may read; nothing
//! is changed here.

mod host;
mod metrics;
pub mod status;
pub mod traffic;

use std::net::SocketAddr;
use std::path::PathBuf;

pub use self::host::Hosts;
use self::status::Status;
use crate::http::{Request, Response};

/// Where to listen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    /// The unix socket's file.
    pub socket: Option<PathBuf>,
    pub tcp: Option<SocketAddr>,
    /// Under which names TCP clients may ask.
    pub hosts: Hosts,
}

/// How a request came in.
#[derive(Debug, Clone, Copy)]
pub enum Door<'a> {
    /// The unix socket: its file's mode says who may.
    Socket,
    /// TCP, under one of these names.
    Tcp(&'a Hosts),
}

/// The page to look at: it asks for the status and shows it.
const OVERVIEW: &str = include_str!("control/page.html");

/// It may do what it does, and nothing else, whatever a broker's error text says.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
                      connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Page {
    Overview,
    Health,
    Readiness,
    Metrics,
    Status,
}

impl Page {
    fn at(path: &str) -> Option<Page> {
        Some(match path {
            "/" => Page::Overview,
            "/healthz" => Page::Health,
            "/readyz" => Page::Readiness,
            "/metrics" => Page::Metrics,
            "/v1/status" => Page::Status,
            _ => return None,
        })
    }
}

/// Answers one request; `status` is asked for where it is needed.
pub fn answer(request: &Request, door: Door<'_>, status: impl FnOnce() -> Status) -> Response {
    if let Door::Tcp(hosts) = door
        && !hosts.know(request.header("host"))
    {
        return Response::text(
            403,
            "Host: not a name of this agent: use its IP address, or name the host in --listen-hosts",
        );
    }
    let Some(page) = Page::at(request.path()) else {
        return Response::text(404, "expected /, /healthz, /readyz, /metrics or /v1/status");
    };
    if !matches!(request.method.as_str(), "GET" | "HEAD") {
        return Response::text(405, "expected GET").with_header("Allow", "GET, HEAD");
    }
    let response = match page {
        Page::Overview => Response::new(200, "text/html; charset=utf-8", OVERVIEW.into())
            .with_header("Content-Security-Policy", POLICY)
            .with_header("Referrer-Policy", "no-referrer"),
        Page::Health => Response::text(200, "ok"),
        Page::Readiness => readiness(&status()),
        Page::Metrics => Response::new(
            200,
            "text/plain; version=0.0.4; charset=utf-8",
            metrics::text(&status()).into_bytes(),
        ),
        Page::Status => Response::json(200, status().to_json()),
    };
    response
        .with_header("Cache-Control", "no-store")
        .with_header("X-Content-Type-Options", "nosniff")
}

/// Every subscription consumes and its API answers; else a line for each side that does not.
fn readiness(status: &Status) -> Response {
    let unwell: Vec<String> = status.unwell().collect();
    match unwell.is_empty() {
        true => Response::text(200, "ready"),
        false => Response::text(503, &unwell.join("\n")),
    }
}

#[cfg(test)]
mod tests;
