//! What was typed behind `leek-agent consul`, as a request that can be sent. What Consul would
//! misunderstand is refused here.

use super::Meaning;
use crate::cli::layers::{Found, Origin};
use crate::cli::typed::consul::{
    Typed, TypedCheckCommand, TypedCheckRegister, TypedConsul, TypedServiceCommand,
    TypedServiceRegister,
};
use crate::cli::{Command, at_file};
use crate::command::consul::{List, Options, Order};
use crate::config::consul::{self, Consul, Endpoint, Given};
use crate::config::environment::{HEADER_EXPECTED, is_header_text};
use crate::config::fault::{Fault, HIDDEN};
use crate::config::url;
use crate::consul::definition::{self, Check, Kind, Means, Refusal, Service, State};
use crate::consul::request::{Left, Request, Scope};
use crate::secret::Secret;
use crate::tls::{ClientTls, TlsSettings};

/// Consul's own variables.
const HTTP_ADDR: &str = "CONSUL_HTTP_ADDR";
const HTTP_TOKEN: &str = "CONSUL_HTTP_TOKEN";

impl Meaning<'_> {
    pub(super) fn consul(&mut self, typed: Typed) -> Option<Command> {
        let section = self.consul_section();
        let address = self.consul_address(typed.consul_address);
        let token = self.consul_token([typed.consul_token, typed.consul_token_file]);
        let datacenter = self
            .layers
            .text("consul-datacenter", typed.consul_datacenter);
        let order = self.consul_order(typed.command);
        let section = section?.map(|section| section.endpoint);
        let address = address?;
        let found = section.unwrap_or_else(|| Endpoint {
            address: consul::ADDRESS.to_owned(),
            token: None,
            datacenter: None,
            tls: None,
        });
        let address = address.unwrap_or(found.address);
        let endpoint = Endpoint {
            tls: self.consul_tls(&address, found.tls)?,
            address,
            token: token.or(found.token),
            datacenter: datacenter.map(|found| found.text).or(found.datacenter),
        };
        let order = order?;
        Some(Command::Consul(Options { endpoint, order }))
    }

    /// `Some(None)`: there is none.
    pub(super) fn consul_section(&mut self) -> Option<Option<Consul>> {
        let given = Given {
            open_tls: &ClientTls::open,
            ssl_cert_file: self.ssl_cert_file(),
        };
        let read = self
            .layers
            .object("consul", |fields| consul::read(fields, &given));
        read.ok()
    }

    /// Certificates are opened for an address that the section does not have, too.
    fn consul_tls(&mut self, address: &str, tls: Option<ClientTls>) -> Option<Option<ClientTls>> {
        if tls.is_some() || !address.starts_with("https:") {
            return Some(tls);
        }
        let settings = TlsSettings {
            ssl_cert_file: self.ssl_cert_file(),
            ..TlsSettings::default()
        };
        ClientTls::open(&settings)
            .map(Some)
            .map_err(|error| {
                self.layers
                    .config
                    .push(&Fault::plain("consul", error.to_string()))
            })
            .ok()
    }

    /// `Some(None)`: neither options nor environment say.
    fn consul_address(&mut self, typed: Option<String>) -> Option<Option<String>> {
        let long = "consul-address";
        let found = self.layers.typed_text(long, typed);
        let found = found.or_else(|| self.layers.variable(long));
        let found = found.or_else(|| self.http_addr());
        let Some(found) = found.or_else(|| self.layers.file_text(long)) else {
            return Some(None);
        };
        url::api(&found.text)
            .map(Some)
            .map_err(|fault| {
                let fault = Fault::new(&found.place, fault.found, fault.expected);
                self.layers.report(found.origin, &fault);
            })
            .ok()
    }

    /// Where Consul's own commands look, which take an address without a scheme.
    fn http_addr(&self) -> Option<Found> {
        let text = self.env.get(HTTP_ADDR)?;
        let scheme = if text.contains("://") { "" } else { "http://" };
        Some(Found {
            text: format!("{scheme}{text}"),
            place: HTTP_ADDR.to_owned(),
            origin: Origin::Configured,
        })
    }

    /// What is at fault is reported, and no token then.
    fn consul_token(&mut self, typed: [Option<String>; 2]) -> Option<Secret> {
        let own = self.secret(["consul-token", "consul-token-file"], typed);
        own.or_else(|| {
            let text = self.env.get(HTTP_TOKEN)?;
            if !is_header_text(text) {
                let fault = Fault::new(HTTP_TOKEN, HIDDEN, HEADER_EXPECTED);
                self.layers.config.push(&fault);
            }
            Some(Secret::new(text))
        })
    }

    fn consul_order(&mut self, command: TypedConsul) -> Option<Order> {
        let wan = |is_wan| if is_wan { Scope::Wan } else { Scope::Lan };
        let request = match command {
            TypedConsul::Checks(typed) => return Some(self.show(List::Checks, typed.json)),
            TypedConsul::Services(typed) => return Some(self.show(List::Services, typed.json)),
            TypedConsul::Members(typed) => {
                let scope = wan(self.layers.switch("wan", typed.wan));
                return Some(self.show(List::Members(scope), typed.json));
            }
            TypedConsul::Join(typed) => {
                let scope = wan(self.layers.switch("wan", typed.wan));
                Request::join(&self.named("HOST", typed.address)?, scope)
            }
            TypedConsul::ForceLeave(typed) => {
                let scope = wan(self.layers.switch("wan", typed.wan));
                let left = match self.layers.switch("prune", typed.prune) {
                    true => Left::Pruned,
                    false => Left::Known,
                };
                Request::force_leave(&self.named("NAME", typed.node)?, left, scope)
            }
            TypedConsul::Check(typed) => self.consul_check(typed.command)?,
            TypedConsul::Service(typed) => match typed.command {
                TypedServiceCommand::Register(typed) => self.register_service(typed)?,
                TypedServiceCommand::Deregister(typed) => {
                    Request::deregister_service(&self.named("NAME", typed.id)?)
                }
            },
        };
        Some(Order::Do(request))
    }

    fn show(&mut self, list: List, typed: bool) -> Order {
        let json = self.layers.switch("json", typed);
        Order::Show { list, json }
    }

    fn consul_check(&mut self, command: TypedCheckCommand) -> Option<Request> {
        let (state, id, note) = match command {
            TypedCheckCommand::Register(typed) => return self.register_check(typed),
            TypedCheckCommand::Deregister(typed) => {
                let id = self.named("NAME", typed.id)?;
                return Some(Request::deregister_check(&id));
            }
            TypedCheckCommand::Pass(typed) => (State::Passing, typed.id, typed.note),
            TypedCheckCommand::Warn(typed) => (State::Warning, typed.id, typed.note),
            TypedCheckCommand::Fail(typed) => (State::Critical, typed.id, typed.note),
        };
        let note = self.layers.text("note", note).map(|found| found.text);
        let id = self.named("NAME", id)?;
        Some(Request::tell(&id, state, note.as_deref()))
    }

    fn register_check(&mut self, typed: TypedCheckRegister) -> Option<Request> {
        let name = self.named("NAME", typed.name);
        let id = self.layers.text("id", typed.id).map(|found| found.text);
        let notes = self.layers.text("notes", typed.notes);
        let service = self.layers.text("service-id", typed.service_id);
        let after = self.deregister_after(typed.deregister_critical_after);
        let kind = self.kind(Words {
            ttl: typed.ttl,
            http: typed.http,
            tcp: typed.tcp,
            args: typed.args,
            interval: typed.interval,
        })?;
        let Some(kind) = kind else {
            let expected = "expected one of --ttl, --http, --tcp and --args";
            self.refuse("consul check register", "no kind of check", expected);
            return None;
        };
        let name = name?;
        let check = Check {
            id: id.unwrap_or_else(|| name.clone()),
            name,
            notes: notes.map(|found| found.text),
            kind,
            deregister_critical_after: after?,
            status: None,
        };
        let service = service.map(|found| found.text);
        Some(Request::register_check(&check, service.as_deref()))
    }

    fn register_service(&mut self, typed: TypedServiceRegister) -> Option<Request> {
        let name = self.named("NAME", typed.name);
        let id = self.layers.text("id", typed.id).map(|found| found.text);
        let address = self.layers.text("address", typed.address);
        let port = self.port(typed.port);
        let tags = self.layers.text("tags", typed.tags);
        let meta = self.meta(typed.meta);
        let after = self.deregister_after(typed.deregister_critical_after);
        let kind = self.kind(Words {
            ttl: typed.ttl,
            http: typed.http,
            tcp: typed.tcp,
            args: typed.args,
            interval: typed.interval,
        })?;
        let (name, after) = (name?, after?);
        if kind.is_none() && after.is_some() {
            let expected = "expected it beside --ttl, --http, --tcp or --args only";
            self.refuse("--deregister-critical-after", "given", expected);
            return None;
        }
        let service = Service {
            id: id.unwrap_or_else(|| name.clone()),
            name: name.clone(),
            address: address.map(|found| found.text),
            port: port?,
            tags: tags.map_or_else(Vec::new, |found| {
                found
                    .text
                    .split(',')
                    .map(|tag| tag.trim().to_owned())
                    .collect()
            }),
            meta: meta?,
        };
        let check = kind.map(|kind| Check {
            id: format!("service:{}", service.id),
            name,
            notes: None,
            kind,
            deregister_critical_after: after,
            status: None,
        });
        let checks: Vec<Check> = check.into_iter().collect();
        Some(Request::register_service(&service, &checks))
    }

    fn refuse(&mut self, place: &str, found: &str, expected: &str) {
        let fault = Fault::new(place, found, expected);
        self.layers.report(Origin::Typed, &fault);
    }

    /// A word behind the command.
    fn named(&mut self, place: &str, word: String) -> Option<String> {
        if word.trim().is_empty() {
            self.refuse(place, "empty", "expected a name");
            return None;
        }
        Some(word)
    }

    /// `Some(None)`: nothing was said of a check.
    fn kind(&mut self, words: Words) -> Option<Option<Kind>> {
        let means = Means {
            ttl: self.duration("ttl", words.ttl),
            http: self.layers.text("http", words.http).map(|found| found.text),
            tcp: self.layers.text("tcp", words.tcp).map(|found| found.text),
            args: self.layers.parsed(
                "args",
                words.args,
                "expected words, every quote closed",
                at_file::words,
            ),
            interval: self.duration("interval", words.interval),
        };
        // What could not be read must not count as not said.
        if !self.layers.usage.is_empty() || !self.layers.config.is_empty() {
            return None;
        }
        means.kind().map_err(|refusal| self.refused(&refusal)).ok()
    }

    /// `Some(None)`: never.
    fn deregister_after(&mut self, typed: Option<String>) -> Option<Option<std::time::Duration>> {
        let after = self.duration("deregister-critical-after", typed);
        let after = after.map(definition::deregister_after).transpose();
        after.map_err(|refusal| self.refused(&refusal)).ok()
    }

    fn refused(&mut self, refusal: &Refusal) {
        let place = format!("--{}", refusal.key.replace('_', "-"));
        self.refuse(&place, &refusal.found, refusal.expected);
    }

    fn port(&mut self, typed: Option<String>) -> Option<Option<u16>> {
        let Some(found) = self.layers.text("port", typed) else {
            return Some(None);
        };
        let port = found.text.parse().ok().filter(|port| *port > 0);
        if port.is_none() {
            self.layers.fault(&found, "expected 1 to 65535");
        }
        port.map(Some)
    }

    fn meta(&mut self, typed: Option<String>) -> Option<Vec<(String, String)>> {
        let Some(found) = self.layers.text("meta", typed) else {
            return Some(Vec::new());
        };
        let pairs = found.text.split(',').map(|pair| {
            let (key, value) = pair.trim().split_once('=')?;
            (!key.is_empty()).then(|| (key.to_owned(), value.to_owned()))
        });
        let meta: Option<Vec<_>> = pairs.collect();
        if meta.is_none() {
            self.layers
                .fault(&found, "expected KEY=VALUE, several separated by commas");
        }
        meta
    }
}

/// What was typed of a check.
struct Words {
    ttl: Option<String>,
    http: Option<String>,
    tcp: Option<String>,
    args: Option<String>,
    interval: Option<String>,
}
