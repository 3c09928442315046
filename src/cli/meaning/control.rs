//! The meaning of what was typed to have the running agent tell or do something.

use std::path::PathBuf;

use super::Meaning;
use crate::cli::layers::Origin;
use crate::cli::typed::TypedStatus;
use crate::cli::typed::control::{TypedSubscriptions, TypedSubscriptionsCommand, TypedTop};
use crate::cli::{CheckOptions, Command};
use crate::command::{order, status, subscriptions, top};
use crate::config::Occasion;
use crate::config::fault::{Fault, quoted};

/// Where systemd's unit has the running agent's socket.
const CONTROL_SOCKET: &str = "/run/leek-agent/control";

const COUNT_EXPECTED: &str = "expected a whole number from 1 on";

impl Meaning<'_> {
    pub(super) fn status(&mut self, typed: &TypedStatus) -> Command {
        Command::Status(status::Options {
            socket: self.agents_socket(),
            json: self.layers.switch("json", typed.json),
        })
    }

    pub(super) fn top(&mut self, typed: TypedTop) -> Command {
        let interval = self.duration("interval", typed.interval);
        let at_least_one = |text: &str| text.parse().ok().filter(|count| *count > 0);
        let count = self
            .layers
            .parsed("count", typed.count, COUNT_EXPECTED, at_least_one);
        Command::Top(top::Options {
            socket: self.agents_socket(),
            json: self.layers.switch("json", typed.json),
            interval: interval.unwrap_or(top::INTERVAL),
            count,
        })
    }

    pub(super) fn order(&mut self, order: order::Order, json: bool) -> Command {
        Command::Order(order::Options {
            socket: self.agents_socket(),
            order,
            json: self.layers.switch("json", json),
        })
    }

    /// Without an agent, a change reads the configuration that one would read.
    pub(super) fn subscriptions(&mut self, typed: TypedSubscriptions) -> Option<Command> {
        if self.occasion == Occasion::Reload {
            let leek = self.leek_environment();
            let (config, place) = self.configuration(leek)?;
            let offline = true;
            return Some(Command::Check(CheckOptions {
                config,
                place,
                offline,
            }));
        }
        let (order, json) = match typed.command {
            TypedSubscriptionsCommand::List(list) => (subscriptions::Order::List, list.json),
            TypedSubscriptionsCommand::Add(add) => {
                (subscriptions::Order::Add(add.file.into()), add.json)
            }
            TypedSubscriptionsCommand::Remove(remove) => {
                let name = self
                    .names("subscriptions remove", vec![remove.name])?
                    .pop()?;
                (subscriptions::Order::Remove(name), remove.json)
            }
        };
        let place = self.place().map(|(place, _)| place);
        Some(Command::Subscriptions(subscriptions::Options {
            socket: self.agents_socket(),
            order,
            json: self.layers.switch("json", json),
            place,
        }))
    }

    /// Names of subscriptions behind a command.
    pub(super) fn names(&mut self, command: &str, names: Vec<String>) -> Option<Vec<String>> {
        let wrong = names.iter().find(|name| !order::is_name(name));
        if let Some(name) = wrong {
            let fault = Fault::new(command, quoted(name), order::NAME_EXPECTED);
            self.layers.report(Origin::Typed, &fault);
            return None;
        }
        Some(names)
    }

    fn agents_socket(&mut self) -> PathBuf {
        let socket = self.control_socket.take();
        let socket = self.path("control-socket", socket);
        socket.unwrap_or_else(|| CONTROL_SOCKET.into())
    }
}
