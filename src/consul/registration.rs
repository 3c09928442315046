//! The agent as a service in Consul: which request is due, and what its answer means.
//!
//! ```text
//!  service ──► checks, one by one ──► told again and again, each well before its ttl ──► deregistered
//!     ▲                                     │
//!     └──── Consul does not know a check ◄──┘        (it was restarted, or somebody cleaned up)
//! ```
//!
//! One request is under way at a time. After one that failed nothing is asked for a while, longer each
//! time; what had been done is taken as done until Consul says otherwise. Pure: time comes in, requests
//! go out, and nobody waits for an answer.

use std::time::{Duration, Instant};

use super::definition::{Check, Kind, SUBSCRIPTION_PREFIX, Service, State};
use super::health::{Vitals, Watch};
use super::request::{Answer, Request};
use crate::pipeline::backoff::Backoff;
use crate::pipeline::verdict::plain;

/// A check is told so many times within its ttl: two may be lost.
const TOLD_PER_TTL: u32 = 3;

/// What changes all the time is told no more often than this.
const SETTLE: Duration = Duration::from_secs(1);

/// As what to register, and when to say what.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    pub service: Service,
    pub ttl: Duration,
    pub critical_after: Duration,
    pub deregister_critical_after: Option<Duration>,
    /// The user's own.
    pub checks: Vec<Check>,
}

/// Something that people want to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// The service stands in Consul.
    Registered,
    /// Consul did not know a check any more: everything is registered anew.
    Forgotten { reason: String },
    /// There was no answer, or one that may be better the next time.
    Failed { reason: String, retry_in: Duration },
    /// Somebody must do something.
    Refused { reason: String, retry_in: Duration },
    /// Consul does not take one of the user's checks; the others are not touched by that.
    CheckRefused { id: String, reason: String },
}

/// A check, and how far it is.
#[derive(Debug)]
struct Entry {
    check: Check,
    subject: Subject,
    standing: Standing,
    /// What was told last, and when.
    told: Option<(State, Instant)>,
}

/// What a check is about.
#[derive(Debug)]
enum Subject {
    /// That the loop turns.
    Process,
    Subscription {
        name: String,
        watch: Watch,
    },
    /// Something of the user's, which Consul looks at.
    Theirs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Missing,
    Registered,
    /// Not asked for again until everything is registered anew.
    Refused,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The service is to be registered.
    Missing,
    Registered,
    /// The service is to be deregistered.
    Leaving,
    Gone,
}

/// What may be due; checks by their place among the entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    Service,
    /// The first check that is not wanted any more.
    Remove,
    Check(usize),
    Tell(usize, State),
    Leave,
}

/// What is under way; checks by their ids, since entries come and go meanwhile.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Service,
    Remove(String),
    Check(String),
    Tell(String, State),
    Leave,
}

/// See the module's text.
#[derive(Debug)]
pub struct Registration {
    settings: Settings,
    phase: Phase,
    /// The process, the subscriptions, and what is the user's.
    entries: Vec<Entry>,
    /// Checks of subscriptions that are gone.
    unwanted: Vec<String>,
    asked: Option<Step>,
    /// Nothing is asked before.
    not_before: Instant,
    backoff: Backoff,
}

impl Registration {
    /// `seed` makes the draws of the backoff repeatable.
    pub fn new(settings: Settings, now: Instant, seed: u64) -> Self {
        let process = Check {
            notes: Some("leek-agent runs".to_owned()),
            ..renewed(&settings, &settings.service.id, &settings.service.name)
        };
        let entry = |check, subject| Entry {
            check,
            subject,
            standing: Standing::Missing,
            told: None,
        };
        let theirs = settings.checks.iter().cloned();
        let entries = std::iter::once(entry(process, Subject::Process))
            .chain(theirs.map(|check| entry(check, Subject::Theirs)));
        Registration {
            entries: entries.collect(),
            settings,
            phase: Phase::Missing,
            unwanted: Vec::new(),
            asked: None,
            not_before: now,
            backoff: Backoff::new(seed),
        }
    }

    /// How each subscription is; those that come or go are followed.
    pub fn look<'a>(&mut self, seen: impl Iterator<Item = (&'a str, Vitals)>, now: Instant) {
        // Behind that of the process.
        let mut place = 1;
        for (name, vitals) in seen {
            self.bring_to(place, name);
            if let Subject::Subscription { watch, .. } = &mut self.entries[place].subject {
                watch.look(vitals, now);
            }
            place += 1;
        }
        while self.entries.get(place).is_some_and(Entry::is_subscription) {
            let gone = self.entries.remove(place);
            if gone.standing == Standing::Registered {
                self.unwanted.push(gone.check.id);
            }
        }
    }

    /// Has the entry of that subscription at that place; it is nearly always there.
    fn bring_to(&mut self, place: usize, name: &str) {
        let is_it = |entry: &Entry| match &entry.subject {
            Subject::Subscription { name: known, .. } => known == name,
            _ => false,
        };
        if self.entries.get(place).is_some_and(is_it) {
            return;
        }
        match self.entries.iter().position(is_it) {
            Some(found) => self.entries.swap(found, place),
            None => {
                let id = format!("{SUBSCRIPTION_PREFIX}{name}");
                self.unwanted.retain(|unwanted| *unwanted != id);
                let entry = Entry {
                    check: renewed(&self.settings, &id, &format!("leek-agent {name}")),
                    subject: Subject::Subscription {
                        name: name.to_owned(),
                        watch: Watch::default(),
                    },
                    standing: Standing::Missing,
                    told: None,
                };
                self.entries.insert(place, entry);
            }
        }
    }

    /// Deregisters the service, unless Consul does not answer anyway.
    pub fn leave(&mut self, now: Instant) {
        let is_there = self.phase == Phase::Registered || self.asked == Some(Step::Service);
        self.phase = match is_there && self.not_before <= now {
            true => Phase::Leaving,
            false => Phase::Gone,
        };
    }

    /// True where there is nothing to wait for at the end.
    pub fn is_gone(&self) -> bool {
        self.phase == Phase::Gone
    }

    /// When the next request is due, or the state of something changes by itself.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        if matches!(self.phase, Phase::Gone) {
            return None;
        }
        let critical_after = self.settings.critical_after;
        let turns = self
            .entries
            .iter()
            .filter_map(|entry| match &entry.subject {
                Subject::Subscription { watch, .. } => watch.deadline(critical_after, now),
                _ => None,
            });
        let next = match self.asked {
            None => self.next(now).map(|(due, _)| due),
            Some(_) => None,
        };
        turns.chain(next).min()
    }

    /// The request that is due, which is then under way. `reasons` has a line for each side of a
    /// subscription that is not well.
    pub fn poll_request<R: Iterator<Item = String>>(
        &mut self,
        reasons: impl Fn(&str) -> R,
        now: Instant,
    ) -> Option<Request> {
        if self.asked.is_some() {
            return None;
        }
        let (at, due) = self.next(now)?;
        if at > now {
            return None;
        }
        let (step, request) = self.request(due, reasons, now);
        self.asked = Some(step);
        Some(request)
    }

    fn next(&self, now: Instant) -> Option<(Instant, Due)> {
        let (at, due) = match self.phase {
            Phase::Gone => return None,
            Phase::Leaving => (now, Due::Leave),
            Phase::Missing => (now, Due::Service),
            Phase::Registered => self.next_of_checks(now)?,
        };
        Some((at.max(self.not_before), due))
    }

    fn next_of_checks(&self, now: Instant) -> Option<(Instant, Due)> {
        if !self.unwanted.is_empty() {
            return Some((now, Due::Remove));
        }
        let is_missing = |entry: &Entry| entry.standing == Standing::Missing;
        if let Some(place) = self.entries.iter().position(is_missing) {
            return Some((now, Due::Check(place)));
        }
        let told = self.entries.iter().enumerate();
        let told = told.filter_map(|(place, entry)| {
            let state = self.state(entry, now)?;
            let at = match entry.told {
                None => now,
                Some((told, at)) if told != state => at + SETTLE,
                Some((_, at)) => at + self.settings.ttl / TOLD_PER_TTL,
            };
            Some((at, Due::Tell(place, state)))
        });
        told.min_by_key(|(at, _)| *at)
    }

    fn request<R: Iterator<Item = String>>(
        &self,
        due: Due,
        reasons: impl Fn(&str) -> R,
        now: Instant,
    ) -> (Step, Request) {
        let service = &self.settings.service;
        let with_state = |entry: &Entry| Check {
            status: self.state(entry, now),
            ..entry.check.clone()
        };
        match due {
            Due::Service => {
                let process = self.entries.first().map(with_state);
                let request = Request::register_service(service, process.as_slice());
                (Step::Service, request)
            }
            Due::Remove => {
                let id = self.unwanted[0].clone();
                let request = Request::deregister_check(&id);
                (Step::Remove(id), request)
            }
            Due::Check(place) => {
                let check = with_state(&self.entries[place]);
                let request = Request::register_check(&check, Some(&service.id));
                (Step::Check(check.id), request)
            }
            Due::Tell(place, state) => {
                let entry = &self.entries[place];
                let (id, text) = (&entry.check.id, self.text(entry, reasons, now));
                let request = Request::update(id, state, &text);
                (Step::Tell(id.clone(), state), request)
            }
            Due::Leave => (Step::Leave, Request::deregister_service(&service.id)),
        }
    }

    fn text<R: Iterator<Item = String>>(
        &self,
        entry: &Entry,
        reasons: impl Fn(&str) -> R,
        now: Instant,
    ) -> String {
        if let Subject::Subscription { name, watch } = &entry.subject {
            return watch.text(reasons(name));
        }
        let subscriptions = self.entries.iter().filter(|entry| entry.is_subscription());
        let states = subscriptions.filter_map(|entry| self.state(entry, now));
        let (passing, others): (Vec<State>, Vec<State>) =
            states.partition(|state| *state == State::Passing);
        let (well, all) = (passing.len(), passing.len() + others.len());
        let version = env!("CARGO_PKG_VERSION");
        format!("leek-agent {version}: {well} of {all} subscriptions passing")
    }

    fn entry(&self, id: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.check.id == id)
    }

    fn entry_mut(&mut self, id: &str) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.check.id == id)
    }

    /// What came of the request that is under way; `Err` says why there is no answer.
    pub fn answered(&mut self, answer: Result<Answer, String>, now: Instant) -> Option<News> {
        let step = self.asked.take()?;
        if step == Step::Leave {
            self.phase = Phase::Gone;
            return None;
        }
        let news = match answer {
            Ok(answer) if answer.status == 200 => self.done(step, now),
            Ok(answer) => self.refused(step, &answer, now),
            Err(reason) => Some(self.failed(reason, now)),
        };
        // Nobody waits at the end for one that does not answer.
        if self.phase == Phase::Leaving && self.not_before > now {
            self.phase = Phase::Gone;
        }
        news
    }

    fn done(&mut self, step: Step, now: Instant) -> Option<News> {
        match step {
            Step::Service => {
                // Of what it had before, nothing is left.
                for entry in &mut self.entries {
                    entry.standing = Standing::Missing;
                    entry.told = None;
                }
                self.entries[0].standing = Standing::Registered;
                self.unwanted.clear();
                if self.phase == Phase::Missing {
                    self.phase = Phase::Registered;
                }
                return Some(News::Registered);
            }
            Step::Remove(id) => self.unwanted.retain(|unwanted| *unwanted != id),
            Step::Check(id) => match self.entry_mut(&id) {
                Some(entry) => entry.standing = Standing::Registered,
                // Its subscription went meanwhile.
                None => self.unwanted.push(id),
            },
            Step::Tell(id, state) => {
                self.backoff.reset();
                if let Some(entry) = self.entry_mut(&id) {
                    entry.told = Some((state, now));
                }
            }
            Step::Leave => {}
        }
        None
    }

    fn refused(&mut self, step: Step, answer: &Answer, now: Instant) -> Option<News> {
        let said = plain(&String::from_utf8_lossy(&answer.body));
        let reason = format!("{}: {said}", answer.status);
        match (step, answer.status) {
            (_, 401 | 403) => {
                let retry_in = self.backoff.slow_delay();
                self.not_before = now + retry_in;
                let mend = match answer.status {
                    401 => "acls are disabled in consul: leave the token out, or enable them",
                    _ => {
                        "the token may not do this: give it service:write for the service, and for the node agent:read"
                    }
                };
                let reason = format!("{reason}: {mend}");
                Some(News::Refused { reason, retry_in })
            }
            // It is gone already.
            (Step::Remove(id), 404 | 500) => {
                self.unwanted.retain(|unwanted| *unwanted != id);
                None
            }
            (Step::Check(id), _) if self.is_theirs(&id) => {
                if let Some(entry) = self.entry_mut(&id) {
                    entry.standing = Standing::Refused;
                }
                Some(News::CheckRefused { id, reason })
            }
            // No such check, no such service.
            (Step::Tell(..) | Step::Check(_), 404 | 500) => {
                self.not_before = now + self.backoff.next_delay();
                if self.phase == Phase::Registered {
                    self.phase = Phase::Missing;
                }
                Some(News::Forgotten { reason })
            }
            _ => Some(self.failed(reason, now)),
        }
    }

    /// How it is; `None` for what Consul looks at.
    fn state(&self, entry: &Entry, now: Instant) -> Option<State> {
        match &entry.subject {
            Subject::Process => Some(State::Passing),
            Subject::Subscription { watch, .. } => {
                Some(watch.state(self.settings.critical_after, now))
            }
            Subject::Theirs => None,
        }
    }

    fn is_theirs(&self, id: &str) -> bool {
        self.entry(id)
            .is_some_and(|entry| matches!(entry.subject, Subject::Theirs))
    }

    fn failed(&mut self, reason: String, now: Instant) -> News {
        let retry_in = self.backoff.next_delay();
        self.not_before = now + retry_in;
        News::Failed { reason, retry_in }
    }
}

impl Entry {
    fn is_subscription(&self) -> bool {
        matches!(self.subject, Subject::Subscription { .. })
    }
}

/// A check that is ours to tell about.
fn renewed(settings: &Settings, id: &str, name: &str) -> Check {
    Check {
        id: id.to_owned(),
        name: name.to_owned(),
        notes: None,
        kind: Kind::Ttl(settings.ttl),
        deregister_critical_after: settings.deregister_critical_after,
        status: None,
    }
}

#[cfg(test)]
mod tests;
