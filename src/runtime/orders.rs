//! What people tell the running agent to do, and what comes of it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::listeners::Ticket;
use super::{Ended, Notice, Phase, Runtime};
use crate::cli::Recipe;
use crate::config::{Config, Mode, Place};
use crate::control::action::{Action, Changes, Delivery, Outcome, Refusal};
use crate::pipeline::Input;
use crate::reconfigure::{self, Change, Ready};

/// Changes that wait for the one under way: more than there are connections to ask by.
const MAX_WAITING: usize = 32;

const STOPPING: Refusal = Refusal::NotNow("the agent stops");
const DRAINING: Refusal = Refusal::NotNow("the agent drains the queues and ends by itself");
const CROWDED: Refusal = Refusal::NotNow("too many changes wait already");

/// The configuration that is applied, and how it is changed.
pub struct Desk {
    recipe: Arc<Recipe>,
    pub place: Place,
    pub mode: Mode,
    /// Shared with every status that is made of it.
    pub listed: Arc<[serde_json::Value]>,
    waiting: VecDeque<Errand>,
    /// Its thread is at work.
    under_way: Option<Errand>,
    /// Who asked for the stop.
    stops: Vec<Ticket>,
}

/// A change, and who asked for it.
struct Errand {
    change: Change,
    purpose: Purpose,
    /// None where a signal asked.
    ticket: Option<Ticket>,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq)]
enum Purpose {
    Reload,
    /// All are resumed after it.
    Restart,
    Add {
        name: String,
    },
    Remove,
}

impl Desk {
    pub fn new(recipe: Arc<Recipe>, config: &Config, place: Place) -> Self {
        Desk {
            recipe,
            place,
            mode: config.mode,
            listed: config.shown.as_slice().into(),
            waiting: VecDeque::new(),
            under_way: None,
            stops: Vec::new(),
        }
    }
}

impl Runtime {
    /// Carries out what was asked for over the control interface.
    pub(super) fn obey(&mut self, ticket: Ticket, action: Action, now: Instant) {
        let change = |change, purpose| Errand {
            change,
            purpose,
            ticket: Some(ticket),
        };
        let errand = match action {
            Action::Pause(names) => {
                let outcome = self.switch(&names, || Input::Pause, now);
                return self.respond(ticket, &outcome.map(Outcome::Switched), now);
            }
            Action::Resume(names) => {
                let outcome = self.switch(&names, || Input::Resume, now);
                return self.respond(ticket, &outcome.map(Outcome::Switched), now);
            }
            Action::Rest => {
                let outcome = self.switch(&[], || Input::Pause, now);
                return self.respond(ticket, &outcome.map(|_| Outcome::Controlled), now);
            }
            Action::Stop => return self.stop_for(ticket, now),
            Action::Reload => change(Change::Reload, Purpose::Reload),
            Action::Restart => change(Change::Reload, Purpose::Restart),
            Action::Remove(name) => change(Change::Remove(name), Purpose::Remove),
            Action::Add(keys) => {
                let name = reconfigure::name(&keys);
                change(Change::Add(keys), Purpose::Add { name })
            }
        };
        self.send_for(errand, now);
    }

    /// Reads the configuration again, as a signal asks.
    pub(super) fn reload(&mut self, now: Instant) {
        let errand = Errand {
            change: Change::Reload,
            purpose: Purpose::Reload,
            ticket: None,
        };
        self.send_for(errand, now);
    }

    /// Pauses or resumes those named, or all; answers whom.
    fn switch(
        &mut self,
        names: &[String],
        input: impl Fn() -> Input,
        now: Instant,
    ) -> Result<Vec<String>, Refusal> {
        self.takes_orders()?;
        let is_known = |name: &&String| self.crew.iter().any(|one| one.name() == name.as_str());
        if let Some(unknown) = names.iter().find(|name| !is_known(name)) {
            return Err(Refusal::UnknownSubscription(unknown.clone()));
        }
        let mut switched = Vec::new();
        for worker in self.crew.iter_mut() {
            if names.is_empty() || names.iter().any(|name| name == worker.name()) {
                worker.input(input(), now);
                let state = if worker.is_paused() {
                    "paused"
                } else {
                    "resumed"
                };
                log::info!(subscription = worker.name(); "{state} by request");
                switched.push(worker.name().to_owned());
            }
        }
        Ok(switched)
    }

    fn takes_orders(&self) -> Result<(), Refusal> {
        match self.phase {
            Phase::Stopping => Err(STOPPING),
            _ if self.settings.drain => Err(DRAINING),
            Phase::Starting | Phase::Running => Ok(()),
        }
    }

    fn stop_for(&mut self, ticket: Ticket, now: Instant) {
        if self.phase != Phase::Stopping {
            self.stop(now, "request");
        }
        self.desk.stops.push(ticket);
    }

    /// Tells those who asked for the stop how it ended.
    pub(super) fn tell_stopped(&mut self, ended: Ended, now: Instant) {
        let delivery = match ended {
            Ended::Undelivered => Delivery::Undelivered,
            Ended::Delivered | Ended::Unavailable => Delivery::Delivered,
        };
        for ticket in std::mem::take(&mut self.desk.stops) {
            self.respond(ticket, &Ok(Outcome::Stopped(delivery)), now);
        }
    }

    /// One change at a time: each is made upon what the one before left.
    fn send_for(&mut self, errand: Errand, now: Instant) {
        let refusal = match self.takes_orders() {
            Ok(()) if self.desk.waiting.len() >= MAX_WAITING => Err(CROWDED),
            other => other,
        };
        match refusal {
            Ok(()) => self.desk.waiting.push_back(errand),
            Err(refusal) => return self.conclude(&errand, Err(refusal), now),
        }
        self.begin_change(now);
    }

    fn begin_change(&mut self, now: Instant) {
        if self.desk.under_way.is_some() {
            return;
        }
        let Some(errand) = self.desk.waiting.pop_front() else {
            return;
        };
        let messenger = self.messenger.clone();
        let recipe = Arc::clone(&self.desk.recipe);
        let (place, change) = (self.desk.place.clone(), errand.change.clone());
        let started = reconfigure::start(recipe, place, change, move |result| {
            messenger.send(Notice::Reconfigured(Box::new(result)));
        });
        match started {
            Ok(()) => self.desk.under_way = Some(errand),
            Err(error) => {
                let why = format!("no thread for it: {error}");
                self.conclude(&errand, Err(Refusal::Configuration(why)), now);
                self.begin_change(now);
            }
        }
    }

    /// The change under way has come to its end.
    pub(super) fn reconfigured(&mut self, result: Result<Ready, Refusal>, now: Instant) {
        if let Some(errand) = self.desk.under_way.take() {
            let result = self.takes_orders().and(result);
            let outcome = result.and_then(|ready| {
                let changes = self.apply(ready, now);
                self.outcome_of(&errand.purpose, changes, now)
            });
            self.conclude(&errand, outcome, now);
        }
        self.begin_change(now);
    }

    fn apply(&mut self, ready: Ready, now: Instant) -> Changes {
        self.shutdown_timeout = ready.config.shutdown_timeout;
        self.desk.place = ready.place;
        self.desk.listed = ready.config.shown.into();
        self.consul.apply(ready.config.consul, now);
        let changes = self
            .crew
            .apply(&ready.config.subscriptions, self.shutdown_timeout, now);
        self.responders
            .apply(&ready.config.agent_check, self.poll.registry(), now);
        tell_changes(&changes);
        if ready.config.subscriptions.is_empty() {
            log::warn!("no subscriptions are left: nothing is consumed until one is added");
        }
        changes
    }

    fn outcome_of(
        &mut self,
        purpose: &Purpose,
        changes: Changes,
        now: Instant,
    ) -> Result<Outcome, Refusal> {
        Ok(match purpose {
            Purpose::Reload => Outcome::Applied(changes),
            Purpose::Remove => Outcome::Removed,
            Purpose::Restart if self.desk.listed.is_empty() => {
                return Err(Refusal::NoSubscriptions);
            }
            Purpose::Restart => {
                self.switch(&[], || Input::Resume, now)?;
                Outcome::Controlled
            }
            Purpose::Add { name } => {
                let mut listed = self.desk.listed.iter();
                let stored = listed.find(|one| one["name"] == name.as_str());
                Outcome::Added(stored.cloned().unwrap_or_default())
            }
        })
    }

    /// Answers who asked; a signal is answered in the log.
    fn conclude(&mut self, errand: &Errand, outcome: Result<Outcome, Refusal>, now: Instant) {
        if let Err(refusal) = &outcome {
            log::error!(reason = refusal.to_string(); "not changed: the agent goes on as it was");
        }
        if let Some(ticket) = errand.ticket {
            self.respond(ticket, &outcome, now);
        }
    }
}

fn tell_changes(changes: &Changes) {
    log::info!(
        added = changes.added.join(" "),
        changed = changes.changed.join(" "),
        removed = changes.removed.join(" "),
        unchanged = changes.unchanged;
        "configuration applied"
    );
}
