//! The event loop: owns the poll, every pipeline, and everything that pipelines ask for.
//!
//! One turn: take what happened, let every pipeline say what to do, do it, sleep until the nearest
//! deadline. Nothing here blocks but the sleep.

mod consul;
mod cpu_wait;
mod crew;
mod listeners;
mod orders;
mod pauses;
mod responders;
mod tell;
mod view;
mod worker;

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token, Waker};

use self::consul::Consul;
use self::cpu_wait::CpuWait;
use self::crew::{Crew, WorkerId};
pub use self::listeners::Listeners;
use self::listeners::Servers;
use self::orders::Desk;
use self::pauses::{Pauses, milliseconds};
pub use self::responders::CheckListeners;
use self::responders::Responders;
use self::worker::{Attempt, Worker};
use crate::cli::Recipe;
use crate::clock::{self, Now};
use crate::config::{Config, Place};
use crate::consul::client::Answered;
use crate::control::action::Refusal;
use crate::logging;
use crate::notify::Notifier;
use crate::pipeline::Input;
use crate::reconfigure::Ready;
use crate::signal::Signals;
use crate::source::News;
use crate::source::bell::Bell;
use crate::{store, upload};

const WAKE: Token = Token(0);
const STOP: Token = Token(1);
const RELOAD: Token = Token(2);
/// The sources' sockets have the numbers from here on, one for each worker that there ever was. Below,
/// the control interface has its own.
const SOURCES: usize = 1 << 24;

/// Events that one sleep can end with; further ones end the next.
const EVENTS: usize = 64;

/// What one turn of the loop may take, shared by all subscriptions: well below what is a long pause,
/// since the last step of each may take longer than what is left of its share.
const TURN: Duration = Duration::from_millis(20);

/// How a run is to end, and when to refuse to begin.
#[derive(Debug, Clone, Copy, Default)]
pub struct Settings {
    /// Stop once the queues are empty and everything is delivered.
    pub drain: bool,
    /// Stop gracefully after that long.
    pub run_for: Option<Duration>,
    /// Give up at the start if any broker or API is not well.
    pub strict: bool,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Stopped as asked, nothing owed.
    Delivered,
    /// Stopped with events that are not delivered; a broker that keeps them still has them.
    Undelivered,
    /// With `strict`: a broker or an API was not well at the start.
    Unavailable,
}

/// Something that happened on another thread.
enum Notice {
    Source {
        worker: WorkerId,
        news: News,
    },
    Upload {
        worker: WorkerId,
        report: upload::Report,
    },
    Disk {
        worker: WorkerId,
        report: store::Report,
    },
    Reconfigured(Box<Result<Ready, Refusal>>),
    Consul {
        number: usize,
        answer: Answered,
    },
}

/// How far the run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Starting,
    Running,
    Stopping,
}

struct Runtime {
    poll: Poll,
    bell: Bell,
    signals: Signals,
    notices: Receiver<Notice>,
    crew: Crew,
    phase: Phase,
    pauses: Pauses,
    cpu_wait: CpuWait,
    settings: Settings,
    shutdown_timeout: Duration,
    end_at: Option<Instant>,
    /// A first attempt at a broker or an API had failed when the agent had started.
    unwell_at_start: bool,
    /// Something was not well when the agent was told to stop.
    unwell_at_stop: bool,
    notifier: Notifier,
    /// Which subscriptions were well when that was last told.
    told_well: Vec<(String, bool)>,
    servers: Servers,
    responders: Responders,
    messenger: Messenger,
    desk: Desk,
    consul: Consul,
    started: Now,
}

/// What a run is made of.
pub struct Order {
    pub config: Config,
    /// Where the subscriptions were read from.
    pub place: Place,
    /// How to read all that again.
    pub recipe: Arc<Recipe>,
    pub settings: Settings,
    pub notifier: Notifier,
    pub listeners: Listeners,
    pub checks: CheckListeners,
}

/// Consumes and delivers until told to stop. Logs how it went.
pub fn run(order: Order) -> io::Result<Ended> {
    let mut runtime = Runtime::new(order, clock::now())?;
    let ended = runtime.turn_until_ended()?;
    runtime.tell_stopped(ended, clock::monotonic());
    for worker in runtime.crew.iter() {
        worker.tell_ledger();
    }
    let longest = milliseconds(runtime.pauses.longest());
    let longest_own = milliseconds(runtime.pauses.longest_own());
    log::info!(ended:? = ended, longest_pause_ms = longest, longest_own_pause_ms = longest_own; "leek-agent stopped");
    Ok(ended)
}

impl Runtime {
    fn new(order: Order, started: Now) -> io::Result<Self> {
        let (config, settings) = (order.config, order.settings);
        let now = started.instant;
        let poll = Poll::new()?;
        let bell = Bell::new(Arc::new(Waker::new(poll.registry(), WAKE)?));
        let signals = Signals::listen(poll.registry(), STOP, RELOAD)?;
        let (sender, notices) = channel();
        let messenger = Messenger {
            sender,
            bell: bell.clone(),
        };
        let mut crew = Crew::new(poll.registry().try_clone()?, messenger.clone());
        crew.apply(&config.subscriptions, config.shutdown_timeout, now);
        crew.fill(now)?;
        let mut consul = Consul::new(messenger.clone());
        consul.apply(config.consul.clone(), now);
        Ok(Runtime {
            consul,
            servers: Servers::new(order.listeners, poll.registry())?,
            responders: Responders::new(order.checks, poll.registry(), &bell, now)?,
            messenger,
            poll,
            bell,
            signals,
            notices,
            crew,
            phase: Phase::Starting,
            pauses: Pauses::default(),
            cpu_wait: CpuWait::of_this_thread(),
            settings,
            shutdown_timeout: config.shutdown_timeout,
            end_at: settings.run_for.map(|length| now + length),
            unwell_at_start: false,
            unwell_at_stop: false,
            notifier: order.notifier,
            told_well: Vec::new(),
            desk: Desk::new(order.recipe, &config, order.place),
            started,
        })
    }

    fn turn_until_ended(&mut self) -> io::Result<Ended> {
        let mut events = Events::with_capacity(EVENTS);
        if self.settings.drain {
            let now = clock::monotonic();
            for worker in self.crew.iter_mut() {
                worker.input(Input::Drain, now);
            }
        }
        loop {
            let now = clock::monotonic();
            self.pauses.wake(now);
            self.cpu_wait.mark(now);
            let wait = self.turn(now);
            if let Some(ended) = self.ended(now) {
                self.end_pause(clock::monotonic());
                return Ok(ended);
            }
            self.sleep(&mut events, wait)?;
        }
    }

    /// Does all there is to do; answers when to turn again at the latest.
    fn turn(&mut self, now: Instant) -> Option<Instant> {
        self.take_signals(now);
        self.take_notices(now);
        self.pass_deadline(now);
        self.relieve(now);
        let share = TURN / u32::try_from(self.crew.len()).unwrap_or(u32::MAX).max(1);
        let workers = self.crew.iter_mut();
        let worker_waits: Vec<_> = workers.map(|worker| worker.turn(share)).collect();
        self.tell_started();
        self.tell_health();
        self.notifier.handle_timeout(now);
        self.answer(now);
        let (end, crew) = match self.phase {
            Phase::Stopping => (None, None),
            Phase::Starting | Phase::Running => (self.end_at, self.crew.deadline(now)),
        };
        if self.how_it_ends(now).is_some() {
            self.consul.leave(now);
        }
        let consul = self.consul.turn(self.crew.iter(), now);
        let log = logging::flush(now);
        worker_waits
            .into_iter()
            .chain([end, crew, consul, log, self.notifier.deadline()])
            .chain([self.servers.deadline(now), self.responders.deadline(now)])
            .flatten()
            .min()
    }

    fn sleep(&mut self, events: &mut Events, wait: Option<Instant>) -> io::Result<()> {
        self.bell.arm();
        let now = clock::monotonic();
        // What came before the bell was armed has rung for nobody.
        let is_late = self.take_notices(now) > 0 || self.responders.has_news();
        let has_work = |worker: &mut Worker| worker.has_work(now);
        let timeout = match is_late || self.crew.iter_mut().any(has_work) {
            true => Some(Duration::ZERO),
            false => wait.map(|until| until.saturating_duration_since(now)),
        };
        self.end_pause(clock::monotonic());
        match self.poll.poll(events, timeout) {
            Ok(()) => self.wake_sources(events),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn end_pause(&mut self, now: Instant) {
        if let Some(pause) = self.pauses.sleep(now, || self.cpu_wait.since_mark()) {
            let (length, waited) = (milliseconds(pause.length), milliseconds(pause.cpu_wait));
            log::warn!(pause_ms = length, cpu_wait_ms = waited; "event loop held up");
        }
    }

    fn wake_sources(&mut self, events: &Events) {
        for event in events {
            self.servers.wake(event);
            self.responders.wake(event);
            let worker = WorkerId::of(event.token());
            if let Some(worker) = worker.and_then(|id| self.crew.get_mut(id)) {
                worker.wake_source();
            }
        }
    }

    /// Answers how many there were.
    fn take_notices(&mut self, now: Instant) -> usize {
        let mut count = 0;
        while let Ok(notice) = self.notices.try_recv() {
            count += 1;
            self.take_notice(notice, now);
        }
        count
    }

    /// What comes for a worker that is gone finds nobody.
    fn take_notice(&mut self, notice: Notice, now: Instant) {
        match notice {
            Notice::Source { worker, news } => {
                if let Some(worker) = self.crew.get_mut(worker) {
                    worker.source_news(news, now);
                }
            }
            Notice::Upload { worker, report } => {
                if let Some(worker) = self.crew.get_mut(worker) {
                    worker.upload_report(report, now);
                }
            }
            Notice::Disk { worker, report } => {
                if let Some(worker) = self.crew.get_mut(worker) {
                    worker.disk_report(report, now);
                }
            }
            Notice::Reconfigured(result) => self.reconfigured(*result, now),
            Notice::Consul { number, answer } => self.consul.answered(number, answer, now),
        }
    }

    fn take_signals(&mut self, now: Instant) {
        if self.signals.reloads() > 0 {
            self.reload(now);
        }
        for _ in 0..self.signals.stops() {
            match self.phase {
                Phase::Starting | Phase::Running => self.stop(now, "signal"),
                Phase::Stopping => {
                    self.consul.abandon();
                    for worker in self.crew.iter_mut() {
                        worker.end_at_once(now);
                    }
                }
            }
        }
    }

    fn pass_deadline(&mut self, now: Instant) {
        if self.phase != Phase::Stopping && self.end_at.is_some_and(|end| now >= end) {
            self.stop(now, "time is over");
        }
    }

    fn stop(&mut self, now: Instant, cause: &str) {
        log::info!(cause = cause; "stopping");
        self.notifier.stopping();
        self.unwell_at_stop = self.crew.iter().any(|worker| !worker.is_well());
        self.crew.close();
        self.consul.leave(now);
        for worker in self.crew.iter_mut() {
            worker.stop(self.shutdown_timeout, now);
        }
        self.phase = Phase::Stopping;
    }

    /// Lets go the workers that are done and starts those that come after them. Who stops with the agent
    /// stays: how it ended counts.
    fn relieve(&mut self, now: Instant) {
        if self.phase == Phase::Stopping {
            return;
        }
        if let Err(error) = self.crew.fill(now) {
            log::error!(reason:% = error; "subscription not started: tried again soon");
        }
    }

    /// Once every subscription was attempted, whatever came of it.
    fn tell_started(&mut self) {
        let attempted = self
            .crew
            .iter()
            .all(|worker| worker.attempt() != Attempt::Pending);
        if self.phase == Phase::Starting && attempted {
            self.phase = Phase::Running;
            let failed = self
                .crew
                .iter()
                .filter(|worker| worker.attempt() == Attempt::Failed)
                .count();
            self.unwell_at_start = failed > 0;
            let version = env!("CARGO_PKG_VERSION");
            log::info!(version = version, subscriptions = self.crew.len(), unavailable = failed; "leek-agent started");
            self.notifier.ready();
        }
    }

    /// Tells the service manager which subscriptions are well, if that has changed.
    fn tell_health(&mut self) {
        let health = self.crew.iter().map(|one| (one.name(), one.is_well()));
        let told = self.told_well.iter();
        if health
            .clone()
            .eq(told.map(|(name, is_well)| (name.as_str(), *is_well)))
        {
            return;
        }
        self.told_well = health
            .map(|(name, is_well)| (name.to_owned(), is_well))
            .collect();
        let well = self
            .told_well
            .iter()
            .filter(|(_, is_well)| *is_well)
            .count();
        let mut status = format!("{well} of {} subscriptions well", self.told_well.len());
        let unwell = self.told_well.iter().filter(|(_, is_well)| !is_well);
        for (place, (name, _)) in unwell.enumerate() {
            status += if place == 0 { "; not: " } else { ", " };
            status += name;
        }
        self.notifier.status(&status);
    }

    /// Consul may hold the end up for a moment.
    fn ended(&self, now: Instant) -> Option<Ended> {
        let ended = self.how_it_ends(now);
        ended.filter(|_| !self.consul.is_leaving(now))
    }

    fn how_it_ends(&self, now: Instant) -> Option<Ended> {
        if self.settings.strict && self.unwell_at_start {
            return Some(Ended::Unavailable);
        }
        let is_to_end = self.phase == Phase::Stopping || self.settings.drain;
        let is_over = is_to_end && self.crew.iter().all(|worker| worker.is_over(now));
        is_over.then(|| self.outcome())
    }

    /// A drain that was cut short while something was not well has not done its work, even if
    /// nothing was in hand.
    fn outcome(&self) -> Ended {
        let owed = self.crew.iter().any(Worker::owes);
        match owed || (self.settings.drain && self.unwell_at_stop) {
            true => Ended::Undelivered,
            false => Ended::Delivered,
        }
    }
}

/// How other threads reach the loop.
#[derive(Clone)]
struct Messenger {
    sender: Sender<Notice>,
    bell: Bell,
}

impl Messenger {
    fn send(&self, notice: Notice) {
        // The loop is gone only when the process ends.
        let _ = self.sender.send(notice);
        self.bell.ring();
    }
}

/// How the threads of one subscription do.
#[derive(Clone)]
struct Reporter {
    worker: WorkerId,
    messenger: Messenger,
}

impl Reporter {
    fn source(&self, news: News) {
        self.messenger.send(Notice::Source {
            worker: self.worker,
            news,
        });
    }

    fn upload(&self, report: upload::Report) {
        self.messenger.send(Notice::Upload {
            worker: self.worker,
            report,
        });
    }

    fn disk(&self, report: store::Report) {
        self.messenger.send(Notice::Disk {
            worker: self.worker,
            report,
        });
    }
}
