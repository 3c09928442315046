//! What a running agent answers to those who look at it and those who change it (contract C9):
//! requests in, responses and actions out.
//!
//! Pure: the sockets are `server`'s, the facts and the deeds are `runtime`'s. Whoever reaches it may
//! read; who may change something, [`Door`] says.

pub mod action;
mod host;
mod metrics;
pub mod status;
pub mod traffic;

use std::net::SocketAddr;
use std::path::PathBuf;

use subtle::ConstantTimeEq;

use self::action::Action;
pub use self::host::Hosts;
use self::host::is_same_site;
use self::status::Status;
use crate::http::{Request, Response};
use crate::secret::Secret;

/// Where to listen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    /// The unix socket's file.
    pub socket: Option<PathBuf>,
    pub tcp: Option<SocketAddr>,
    /// Who is let in by which.
    pub guard: Guard,
}

/// What requests are checked against.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Guard {
    /// Under which names it may be asked.
    pub hosts: Hosts,
    /// Who shows this over TCP may change things; without one nobody may.
    pub token: Option<Secret>,
}

/// How a request came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// The unix socket: its file's mode says who may, and they may all.
    Socket,
    Tcp,
}

/// What somebody may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Reader,
    Operator,
}

/// What comes of a request.
#[derive(Debug)]
pub enum Reply {
    Now(Response),
    /// To be done, and answered with [`action::told`] then.
    After(Action),
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
    Process,
    Subscriptions,
}

impl Page {
    fn at(path: &str) -> Option<Page> {
        Some(match path {
            "/" => Page::Overview,
            "/healthz" => Page::Health,
            "/readyz" => Page::Readiness,
            "/metrics" => Page::Metrics,
            "/v1/status" => Page::Status,
            "/v1/agent/control" => Page::Process,
            "/v1/agent/subscriptions" => Page::Subscriptions,
            _ => return None,
        })
    }
}

/// Takes one request; `status` is asked for where it is needed.
pub fn answer(
    request: &Request,
    door: Door,
    guard: &Guard,
    status: impl FnOnce() -> Status,
) -> Reply {
    if !guard.hosts.know(request.header("host")) {
        return Reply::Now(Response::text(
            403,
            "Host: not a name of this agent: use its IP address, or name the host in --listen-hosts",
        ));
    }
    let role = match guard.role(request, door) {
        Ok(role) => role,
        Err(response) => return Reply::Now(response),
    };
    if matches!(request.method.as_str(), "GET" | "HEAD") {
        return Reply::Now(read(request, role, status));
    }
    match Action::of(request) {
        None => Reply::Now(unknown(request)),
        Some(_) if !is_same_site(request) => Reply::Now(Response::text(
            403,
            "Origin: a page of another site asks: only this agent's own page may change something",
        )),
        Some(_) if role == Role::Reader => Reply::Now(guard.asks_for_token()),
        Some(Ok(action)) => Reply::After(action),
        Some(Err(refusal)) => Reply::Now(refusal.response()),
    }
}

impl Guard {
    /// A token that is shown must be right, also where none is needed: who has a wrong one learns it.
    fn role(&self, request: &Request, door: Door) -> Result<Role, Response> {
        if door == Door::Socket {
            return Ok(Role::Operator);
        }
        let Some(shown) = request.header("authorization") else {
            return Ok(Role::Reader);
        };
        let shown = shown.strip_prefix("Bearer ").unwrap_or_default().trim();
        let expected = self.token.as_ref().filter(|token| !token.is_empty());
        let is_right = expected.is_some_and(|token| {
            let (expected, shown) = (token.expose().as_bytes(), shown.as_bytes());
            bool::from(expected.ct_eq(shown))
        });
        match is_right {
            true => Ok(Role::Operator),
            false => Err(unauthorized(
                "Authorization: not the control token of this agent",
            )),
        }
    }

    fn asks_for_token(&self) -> Response {
        match self.token {
            Some(_) => unauthorized("Authorization: expected Bearer and the control token"),
            None => Response::text(
                403,
                "read-only: this agent has no --control-token: set one, or use its control socket",
            ),
        }
    }
}

fn unauthorized(text: &str) -> Response {
    Response::text(401, text).with_header("WWW-Authenticate", "Bearer")
}

/// Nothing is there, or not for that method.
fn unknown(request: &Request) -> Response {
    match Page::at(request.path()) {
        Some(_) => Response::text(405, "expected GET").with_header("Allow", "GET, HEAD"),
        None => Response::text(
            404,
            "expected /, /healthz, /readyz, /metrics, /v1/status, /v1/agent/control or \
             /v1/agent/subscriptions; or POST to /v1/pause, /v1/resume, /v1/reload or /v1/stop",
        ),
    }
}

fn read(request: &Request, role: Role, status: impl FnOnce() -> Status) -> Response {
    let Some(page) = Page::at(request.path()) else {
        return unknown(request);
    };
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
        Page::Status => {
            let mut status = status();
            status.role = match role {
                Role::Reader => "reader",
                Role::Operator => "operator",
            };
            Response::json(200, status.to_json())
        }
        Page::Process => Response::json(200, action::process(&status()).to_string()),
        Page::Subscriptions => Response::json(
            200,
            serde_json::to_vec(&*status().listed).expect("plain data"),
        ),
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
