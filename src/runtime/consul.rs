//! Consul beside the loop: what is seen of the workers goes in, requests go out to a thread of their
//! own. The loop waits for none of them but at its end, and then for a second at most.

use std::time::{Duration, Instant};

use super::worker::Worker;
use super::{Messenger, Notice};
use crate::config::consul::Consul as Section;
use crate::consul::client::{Answered, Courier};
use crate::consul::registration::{News, Registration, Settings};

/// What a stop may be held up by until Consul has taken the service out: on the same machine that
/// takes milliseconds.
const LEAVE_GRACE: Duration = Duration::from_secs(1);

/// What is told to Consul, if anything. Of two sections one after the other, as a reload brings them, the
/// first is done before the second begins.
pub struct Consul {
    messenger: Messenger,
    /// The section that counts.
    section: Option<Section>,
    /// It is to begin once nobody is there.
    is_due: bool,
    membership: Option<Membership>,
    /// How many there were: answers to one that is gone reach nobody.
    memberships: usize,
}

/// One service, from its registration to its end.
struct Membership {
    number: usize,
    registration: Registration,
    courier: Courier,
    /// Set once it ends: until then Consul may answer.
    leaves_until: Option<Instant>,
}

impl Consul {
    pub fn new(messenger: Messenger) -> Self {
        Consul {
            messenger,
            section: None,
            is_due: false,
            membership: None,
            memberships: 0,
        }
    }

    /// From now on this section counts.
    pub fn apply(&mut self, section: Option<Section>, now: Instant) {
        if self.section == section {
            return;
        }
        self.is_due = section.is_some();
        self.section = section;
        if let Some(membership) = &mut self.membership {
            membership.leave(now);
        }
    }

    /// The agent stops.
    pub fn leave(&mut self, now: Instant) {
        self.apply(None, now);
    }

    /// Nobody waits for it any more.
    pub fn abandon(&mut self) {
        self.membership = None;
    }

    /// True while the end of the agent is to wait for it.
    pub fn is_leaving(&self, now: Instant) -> bool {
        let membership = self.membership.as_ref();
        membership.is_some_and(|membership| !membership.is_over(now))
    }

    /// Looks at the workers, and sends what is due; answers when to turn again at the latest.
    pub fn turn<'a>(
        &mut self,
        workers: impl Iterator<Item = &'a Worker> + Clone,
        now: Instant,
    ) -> Option<Instant> {
        if self.membership.as_ref().is_some_and(|one| one.is_over(now)) {
            self.membership = None;
        }
        if self.is_due && self.membership.is_none() {
            self.is_due = false;
            self.begin(now);
        }
        self.membership.as_mut()?.turn(workers, now)
    }

    fn begin(&mut self, now: Instant) {
        let Some(section) = &self.section else {
            return;
        };
        self.memberships += 1;
        let (number, messenger) = (self.memberships, self.messenger.clone());
        let courier = Courier::start(&section.endpoint, move |answer| {
            messenger.send(Notice::Consul { number, answer });
        });
        match courier {
            Ok(courier) => {
                self.membership = Some(Membership {
                    number,
                    registration: Registration::new(settings(section), now, fastrand::u64(..)),
                    courier,
                    leaves_until: None,
                });
            }
            Err(error) => {
                log::error!(reason:% = error; "consul is told nothing: no thread for it");
            }
        }
    }

    /// A request was answered, or was not.
    pub fn answered(&mut self, number: usize, answer: Answered, now: Instant) {
        let membership = self.membership.as_mut();
        if let Some(membership) = membership.filter(|one| one.number == number) {
            membership.answered(answer, now);
        }
    }
}

impl Membership {
    fn turn<'a>(
        &mut self,
        workers: impl Iterator<Item = &'a Worker> + Clone,
        now: Instant,
    ) -> Option<Instant> {
        let seen = workers.clone();
        let seen = seen.map(|worker| (worker.name(), worker.vitals()));
        self.registration.look(seen, now);
        let reasons = |name: &str| {
            let worker = workers.clone().find(|worker| worker.name() == name);
            worker.into_iter().flat_map(Worker::complaints)
        };
        if let Some(request) = self.registration.poll_request(reasons, now)
            && self.courier.submit(request).is_err()
        {
            self.answered(Err("the last request is still under way".to_owned()), now);
        }
        let next = self.registration.deadline(now);
        next.into_iter().chain(self.leaves_until).min()
    }

    fn answered(&mut self, answer: Answered, now: Instant) {
        if let Some(news) = self.registration.answered(answer, now) {
            tell(&news);
        }
    }

    fn leave(&mut self, now: Instant) {
        if self.leaves_until.is_none() {
            self.leaves_until = Some(now + LEAVE_GRACE);
            self.registration.leave(now);
        }
    }

    /// It has left, or the time for that is over.
    fn is_over(&self, now: Instant) -> bool {
        let is_late = |until| now >= until;
        self.leaves_until
            .is_some_and(|until| self.registration.is_gone() || is_late(until))
    }
}

fn settings(section: &Section) -> Settings {
    Settings {
        service: section.service.clone(),
        ttl: section.ttl,
        critical_after: section.critical_after,
        deregister_critical_after: section.deregister_critical_after,
        checks: section.checks.clone(),
    }
}

fn tell(news: &News) {
    let seconds = |duration: &Duration| duration.as_secs();
    match news {
        News::Registered => log::info!("registered in consul"),
        News::Forgotten { reason } => {
            log::warn!(reason = reason.as_str(); "consul does not know this agent any more: registering again");
        }
        News::Failed { reason, retry_in } => {
            log::warn!(reason = reason.as_str(), retry_in_s = seconds(retry_in); "consul not told how this agent is");
        }
        News::Refused { reason, retry_in } => {
            log::error!(reason = reason.as_str(), retry_in_s = seconds(retry_in); "consul refuses this agent");
        }
        News::CheckRefused { id, reason } => {
            log::error!(check = id.as_str(), reason = reason.as_str(); "consul refuses a check: mend it under checks of the consul section");
        }
    }
}
