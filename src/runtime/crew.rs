//! The workers, and how they come and go while the agent runs: of a new list the difference is
//! applied, and whoever it does not concern is not touched.

use std::io;
use std::time::{Duration, Instant};

use mio::{Registry, Token};

use super::worker::Worker;
use super::{Messenger, Reporter, SOURCES};
use crate::config::Subscription;
use crate::control::action::Changes;
use crate::pipeline::Input;

/// A worker that could not start, for want of memory for its threads, is tried again after this.
const RETRY: Duration = Duration::from_secs(10);

/// A worker's number. None is given twice: news for a worker that is gone reaches nobody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkerId(usize);

impl WorkerId {
    /// The token of its source's socket.
    fn token(self) -> Token {
        Token(SOURCES + self.0)
    }

    /// Whose token that is, if it is a worker's.
    pub fn of(token: Token) -> Option<WorkerId> {
        token.0.checked_sub(SOURCES).map(WorkerId)
    }
}

/// What workers are made with.
struct Ties {
    registry: Registry,
    messenger: Messenger,
}

/// The place of one subscription, by name: its worker, and what is to come after it.
struct Seat {
    name: String,
    worker: Option<(WorkerId, Worker)>,
    /// Takes the seat once it is vacant. Without one a vacant seat goes.
    next: Option<Subscription>,
    /// The next worker consumes nothing at first.
    is_paused: bool,
    /// When to try again to fill it.
    retry_at: Option<Instant>,
}

/// See the module's text.
pub struct Crew {
    ties: Ties,
    seats: Vec<Seat>,
    next_id: usize,
}

impl Crew {
    pub fn new(registry: Registry, messenger: Messenger) -> Self {
        Crew {
            ties: Ties {
                registry,
                messenger,
            },
            seats: Vec::new(),
            next_id: 0,
        }
    }

    pub fn get_mut(&mut self, id: WorkerId) -> Option<&mut Worker> {
        let mut workers = self
            .seats
            .iter_mut()
            .filter_map(|seat| seat.worker.as_mut());
        let (_, worker) = workers.find(|(known, _)| *known == id)?;
        Some(worker)
    }

    /// In the order in which they came.
    pub fn iter(&self) -> impl Iterator<Item = &Worker> + Clone {
        let workers = self.seats.iter().filter_map(|seat| seat.worker.as_ref());
        workers.map(|(_, worker)| worker)
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Worker> {
        let workers = self
            .seats
            .iter_mut()
            .filter_map(|seat| seat.worker.as_mut());
        workers.map(|(_, worker)| worker)
    }

    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Makes the seats those that `wanted` asks for; [`fill`](Self::fill) puts workers there. Who has to
    /// go delivers what is in hand first, for at most `timeout`.
    pub fn apply(&mut self, wanted: &[Subscription], timeout: Duration, now: Instant) -> Changes {
        let mut changes = Changes::default();
        for seat in &mut self.seats {
            let new = wanted.iter().find(|new| new.name == seat.name);
            seat.apply(new, timeout, now, &mut changes);
        }
        for new in wanted {
            if self.seats.iter().all(|seat| seat.name != new.name) {
                changes.added.push(new.name.clone());
                self.seats.push(Seat::for_next(new));
            }
        }
        changes
    }

    /// Lets go who is done, and puts workers on vacant seats. Answers the first that could not start;
    /// it is tried again later.
    pub fn fill(&mut self, now: Instant) -> io::Result<()> {
        let mut result = Ok(());
        for seat in &mut self.seats {
            seat.let_go(now);
            let due = seat.retry_at.is_none_or(|at| now >= at);
            let (None, Some(next), true) = (&seat.worker, &seat.next, due) else {
                continue;
            };
            let id = WorkerId(self.next_id);
            match self.ties.worker(id, next, now) {
                Ok(mut worker) => {
                    if seat.is_paused {
                        worker.input(Input::Pause, now);
                    }
                    seat.worker = Some((id, worker));
                    seat.next = None;
                    seat.retry_at = None;
                    self.next_id += 1;
                }
                Err(error) => {
                    seat.retry_at = Some(now + RETRY);
                    result = result.and(Err(error));
                }
            }
        }
        self.seats
            .retain(|seat| seat.worker.is_some() || seat.next.is_some());
        result
    }

    /// Nobody comes after who is here.
    pub fn close(&mut self) {
        for seat in &mut self.seats {
            seat.next = None;
        }
    }

    /// When `fill` is to be called again.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        let due = |seat: &Seat| match seat.is_done(now) {
            true => Some(now),
            false => seat.retry_at,
        };
        self.seats.iter().filter_map(due).min()
    }
}

impl Ties {
    fn worker(
        &self,
        id: WorkerId,
        subscription: &Subscription,
        now: Instant,
    ) -> io::Result<Worker> {
        let reporter = Reporter {
            worker: id,
            messenger: self.messenger.clone(),
        };
        let place = (self.registry.try_clone()?, id.token());
        Worker::new(subscription, reporter, place, now)
    }
}

impl Seat {
    fn for_next(next: &Subscription) -> Seat {
        Seat {
            name: next.name.clone(),
            worker: None,
            next: Some(next.clone()),
            is_paused: false,
            retry_at: None,
        }
    }

    /// What this seat's subscription is, or will be as soon as it is vacant.
    fn wanted(&self) -> Option<&Subscription> {
        let staying = self.worker.as_ref().map(|(_, worker)| worker);
        let staying = staying.filter(|worker| !worker.is_ending());
        self.next.as_ref().or(staying.map(Worker::subscription))
    }

    fn apply(
        &mut self,
        new: Option<&Subscription>,
        timeout: Duration,
        now: Instant,
        changes: &mut Changes,
    ) {
        let name = self.name.clone();
        match (self.wanted(), new) {
            (None, None) => {}
            (Some(old), Some(new)) if old == new => changes.unchanged += 1,
            (Some(_), Some(new)) => {
                changes.changed.push(name);
                self.change(new, timeout, now);
            }
            (None, Some(new)) => {
                changes.added.push(name);
                self.next = Some(new.clone());
            }
            (Some(_), None) => {
                changes.removed.push(name);
                self.next = None;
                self.dismiss(timeout, now);
            }
        }
    }

    /// Where only the API is another, the worker goes on with all that it holds.
    fn change(&mut self, new: &Subscription, timeout: Duration, now: Instant) {
        if let Some((_, worker)) = &mut self.worker
            && !worker.is_ending()
            && worker.subscription().with_api_of(new) == *new
            && worker.change_api(new, now).is_ok()
        {
            return;
        }
        self.next = Some(new.clone());
        self.dismiss(timeout, now);
    }

    fn dismiss(&mut self, timeout: Duration, now: Instant) {
        if let Some((_, worker)) = &mut self.worker
            && !worker.is_ending()
        {
            self.is_paused = worker.is_paused();
            worker.stop(timeout, now);
        }
    }

    /// Its worker was to end and has ended.
    fn is_done(&self, now: Instant) -> bool {
        let worker = self.worker.as_ref().map(|(_, worker)| worker);
        worker.is_some_and(|worker| worker.is_ending() && worker.is_over(now))
    }

    fn let_go(&mut self, now: Instant) {
        if self.is_done(now)
            && let Some((_, mut worker)) = self.worker.take()
        {
            worker.abandon();
            worker.tell_ledger();
        }
    }
}
