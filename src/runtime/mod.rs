//! The event loop: owns the poll, every pipeline, and everything that pipelines ask for.
//!
//! One turn: take what happened, let every pipeline say what to do, do it, sleep until the nearest
//! deadline. Nothing here blocks but the sleep.

mod cpu_wait;
mod listeners;
mod pauses;
mod tell;
mod view;
mod worker;

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token, Waker};

use self::cpu_wait::CpuWait;
pub use self::listeners::Listeners;
use self::listeners::Servers;
use self::pauses::{Pauses, milliseconds};
use self::worker::{Attempt, Worker};
use crate::clock::{self, Now};
use crate::config::{Config, Mode};
use crate::logging;
use crate::notify::Notifier;
use crate::pipeline::Input;
use crate::signal::Signals;
use crate::source::News;
use crate::source::bell::Bell;
use crate::{store, upload};

const WAKE: Token = Token(0);
const STOP: Token = Token(1);
const RELOAD: Token = Token(2);
/// The sources' sockets have the numbers from here on, one for each subscription.
const SOURCES: usize = 3;

/// Events that one sleep can end with; further ones end the next.
const EVENTS: usize = 64;

/// What one turn of the loop may take, shared by all subscriptions: well below what is a long pause,
/// since the last step of each may take longer than what is left of its share.
const TURN: Duration = Duration::from_millis(20);

/// What connections get for an orderly close after the time for a stop is over.
const CLOSE_GRACE: Duration = Duration::from_secs(1);

/// What spools get for what could not be delivered in time: at the worst a ring of 256 MB, which a
/// slow card takes in that time only in part; what is more is dropped and counted.
const SAVE_GRACE: Duration = Duration::from_secs(5);

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
        subscription: usize,
        news: News,
    },
    Upload {
        subscription: usize,
        report: upload::Report,
    },
    Disk {
        subscription: usize,
        report: store::Report,
    },
}

/// How far the run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Starting,
    Running,
    /// Until then uploads may finish.
    Stopping {
        until: Instant,
    },
    /// Until then spools may write what was not delivered.
    Saving {
        until: Instant,
    },
    /// Until then connections may close.
    Closing {
        until: Instant,
    },
}

struct Runtime {
    poll: Poll,
    bell: Bell,
    signals: Signals,
    notices: Receiver<Notice>,
    workers: Vec<Worker>,
    phase: Phase,
    pauses: Pauses,
    cpu_wait: CpuWait,
    settings: Settings,
    shutdown_timeout: Duration,
    end_at: Option<Instant>,
    /// Something was not well when the agent was told to stop.
    unwell_at_stop: bool,
    notifier: Notifier,
    /// Which subscriptions were well when that was last told.
    told_well: Vec<bool>,
    servers: Servers,
    mode: Mode,
    started: Now,
}

/// Consumes and delivers until told to stop. Logs how it went.
pub fn run(
    config: &Config,
    settings: Settings,
    notifier: Notifier,
    listeners: Listeners,
) -> io::Result<Ended> {
    let mut runtime = Runtime::new(config, settings, notifier, listeners, clock::now())?;
    let ended = runtime.turn_until_ended()?;
    for worker in &runtime.workers {
        worker.tell_ledger();
    }
    let longest = milliseconds(runtime.pauses.longest());
    let longest_own = milliseconds(runtime.pauses.longest_own());
    log::info!(ended:? = ended, longest_pause_ms = longest, longest_own_pause_ms = longest_own; "leek-agent stopped");
    Ok(ended)
}

impl Runtime {
    fn new(
        config: &Config,
        settings: Settings,
        notifier: Notifier,
        listeners: Listeners,
        started: Now,
    ) -> io::Result<Self> {
        let now = started.instant;
        let poll = Poll::new()?;
        let bell = Bell::new(Arc::new(Waker::new(poll.registry(), WAKE)?));
        let signals = Signals::listen(poll.registry(), STOP, RELOAD)?;
        let (sender, notices) = channel();
        let workers = config.subscriptions.iter().enumerate();
        let workers = workers
            .map(|(index, subscription)| {
                let reporter = Reporter {
                    index,
                    sender: sender.clone(),
                    bell: bell.clone(),
                };
                let place = (poll.registry().try_clone()?, Token(SOURCES + index));
                Worker::new(subscription, reporter, place, now)
            })
            .collect::<io::Result<Vec<_>>>()?;
        Ok(Runtime {
            servers: Servers::new(listeners, poll.registry())?,
            poll,
            bell,
            signals,
            notices,
            workers,
            phase: Phase::Starting,
            pauses: Pauses::default(),
            cpu_wait: CpuWait::of_this_thread(),
            settings,
            shutdown_timeout: config.shutdown_timeout,
            end_at: settings.run_for.map(|length| now + length),
            unwell_at_stop: false,
            notifier,
            told_well: Vec::new(),
            mode: config.mode,
            started,
        })
    }

    fn turn_until_ended(&mut self) -> io::Result<Ended> {
        let mut events = Events::with_capacity(EVENTS);
        if self.settings.drain {
            self.tell_all(clock::monotonic(), || Input::Drain);
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
        self.pass_deadlines(now);
        let share = TURN / u32::try_from(self.workers.len()).unwrap_or(u32::MAX).max(1);
        let workers = self.workers.iter_mut();
        let worker_waits: Vec<_> = workers.map(|worker| worker.turn(share)).collect();
        self.tell_started();
        self.tell_health();
        self.notifier.handle_timeout(now);
        self.answer(now);
        let phase_wait = match self.phase {
            Phase::Stopping { until } | Phase::Saving { until } | Phase::Closing { until } => {
                Some(until)
            }
            Phase::Starting | Phase::Running => self.end_at,
        };
        let log_wait = logging::flush(now);
        worker_waits
            .into_iter()
            .chain([phase_wait, log_wait, self.notifier.deadline()])
            .chain([self.servers.deadline(now)])
            .flatten()
            .min()
    }

    fn sleep(&mut self, events: &mut Events, wait: Option<Instant>) -> io::Result<()> {
        self.bell.arm();
        let now = clock::monotonic();
        // What came before the bell was armed has rung for nobody.
        let is_late = self.take_notices(now) > 0;
        let has_work = |worker: &mut Worker| worker.has_work(now);
        let timeout = match is_late || self.workers.iter_mut().any(has_work) {
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
            let index = event.token().0.checked_sub(SOURCES);
            if let Some(worker) = index.and_then(|index| self.workers.get_mut(index)) {
                worker.wake_source();
            }
        }
    }

    /// Answers how many there were.
    fn take_notices(&mut self, now: Instant) -> usize {
        let mut count = 0;
        while let Ok(notice) = self.notices.try_recv() {
            count += 1;
            match notice {
                Notice::Source { subscription, news } => {
                    self.workers[subscription].source_news(news, now)
                }
                Notice::Upload {
                    subscription,
                    report,
                } => self.workers[subscription].upload_report(report, now),
                Notice::Disk {
                    subscription,
                    report,
                } => self.workers[subscription].disk_report(report, now),
            }
        }
        count
    }

    fn take_signals(&mut self, now: Instant) {
        if self.signals.reloads() > 0 {
            log::warn!(
                "SIGHUP: reload is not supported yet by this version: restart the agent instead"
            );
        }
        for _ in 0..self.signals.stops() {
            match self.phase {
                Phase::Starting | Phase::Running => self.stop(now, "signal"),
                Phase::Stopping { .. } | Phase::Saving { .. } | Phase::Closing { .. } => {
                    self.phase = Phase::Closing { until: now }
                }
            }
        }
    }

    fn pass_deadlines(&mut self, now: Instant) {
        match self.phase {
            Phase::Starting | Phase::Running if self.end_at.is_some_and(|end| now >= end) => {
                self.stop(now, "time is over")
            }
            Phase::Stopping { until } if now >= until => {
                self.tell_all(now, || Input::GiveUp);
                self.phase = Phase::Saving {
                    until: now + SAVE_GRACE,
                };
                self.pass_deadlines(now);
            }
            Phase::Saving { until } if now >= until || !self.is_saving() => {
                self.tell_all(now, || Input::GiveUp);
                self.phase = Phase::Closing {
                    until: now + CLOSE_GRACE,
                };
            }
            _ => {}
        }
    }

    fn is_saving(&self) -> bool {
        self.workers.iter().any(Worker::is_saving)
    }

    fn stop(&mut self, now: Instant, cause: &str) {
        log::info!(cause = cause; "stopping");
        self.notifier.stopping();
        self.unwell_at_stop = self.workers.iter().any(|worker| !worker.is_well());
        self.tell_all(now, || Input::Stop);
        self.phase = Phase::Stopping {
            until: now + self.shutdown_timeout,
        };
    }

    fn tell_all(&mut self, now: Instant, input: impl Fn() -> Input) {
        for worker in &mut self.workers {
            worker.input(input(), now);
        }
    }

    /// Once every subscription was attempted, whatever came of it.
    fn tell_started(&mut self) {
        let attempted = self
            .workers
            .iter()
            .all(|worker| worker.attempt() != Attempt::Pending);
        if self.phase == Phase::Starting && attempted {
            self.phase = Phase::Running;
            let failed = self
                .workers
                .iter()
                .filter(|worker| worker.attempt() == Attempt::Failed)
                .count();
            let version = env!("CARGO_PKG_VERSION");
            log::info!(version = version, subscriptions = self.workers.len(), unavailable = failed; "leek-agent started");
            self.notifier.ready();
        }
    }

    /// Tells the service manager which subscriptions are well, if that has changed.
    fn tell_health(&mut self) {
        let is_well = self.workers.iter().map(Worker::is_well);
        if is_well.clone().eq(self.told_well.iter().copied()) {
            return;
        }
        self.told_well = is_well.collect();
        let well = self.told_well.iter().filter(|is_well| **is_well).count();
        let mut status = format!("{well} of {} subscriptions well", self.workers.len());
        let unwell = self.workers.iter().filter(|worker| !worker.is_well());
        for (place, worker) in unwell.enumerate() {
            status += if place == 0 { "; not: " } else { ", " };
            status += worker.name();
        }
        self.notifier.status(&status);
    }

    fn ended(&self, now: Instant) -> Option<Ended> {
        let failed = |worker: &Worker| worker.attempt() == Attempt::Failed;
        if self.settings.strict && self.phase == Phase::Running && self.workers.iter().any(failed) {
            return Some(Ended::Unavailable);
        }
        let all_stopped = self.workers.iter().all(Worker::is_stopped);
        let overdue = matches!(self.phase, Phase::Closing { until } if now >= until);
        (all_stopped || overdue).then(|| self.outcome())
    }

    /// A drain that was cut short while something was not well has not done its work, even if
    /// nothing was in hand.
    fn outcome(&self) -> Ended {
        let owed = self.workers.iter().any(Worker::owes);
        match owed || (self.settings.drain && self.unwell_at_stop) {
            true => Ended::Undelivered,
            false => Ended::Delivered,
        }
    }
}

/// How the threads of one subscription reach the loop.
#[derive(Clone)]
struct Reporter {
    index: usize,
    sender: Sender<Notice>,
    bell: Bell,
}

impl Reporter {
    fn source(&self, news: News) {
        self.send(Notice::Source {
            subscription: self.index,
            news,
        });
    }

    fn upload(&self, report: upload::Report) {
        self.send(Notice::Upload {
            subscription: self.index,
            report,
        });
    }

    fn disk(&self, report: store::Report) {
        self.send(Notice::Disk {
            subscription: self.index,
            report,
        });
    }

    fn send(&self, notice: Notice) {
        // The loop is gone only when the process ends.
        let _ = self.sender.send(notice);
        self.bell.ring();
    }
}
