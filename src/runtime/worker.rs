//! One subscription at work: its pipeline, its broker connection, its uploaders, its disk.
//!
//! It carries inputs to the pipeline and the pipeline's outputs to the shells, and decides nothing.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::{Registry, Token};

mod life;
mod seen;

use self::life::Life;
use self::seen::Seen;
use super::Reporter;
use super::tell::{tell, tell_ledger, tell_ready};
use crate::clock;
use crate::config::Subscription;
use crate::delivery::{Delivery, Epoch, Guarantee, Payload};
use crate::pipeline::batch::BatchId;
use crate::pipeline::report::Report;
use crate::pipeline::{Input, Output, Pipeline};
use crate::source::{Event, Message, News, Purpose, Source, Ties};
use crate::store::{self, Disk};
use crate::upload::{self, Endpoint, Job, PostBody, Uploader};

/// Messages taken from the receiver, and steps of the pipeline, in one turn of one subscription, so
/// that it neither reads nor decodes only. A turn ends before if its share of time is over.
const MESSAGES_PER_TURN: usize = 256;
const STEPS_PER_TURN: usize = 512;

/// The same of what no broker keeps. It is always read faster than it is decoded: the server cuts a
/// subscriber that leaves too much lying about, and what is lost with that is not even counted.
const OWED_PER_TURN: usize = 4096;

/// Steps of the pipeline after a turn that read as much as it may: few while the ring has room for
/// what comes next, more when it must drop the oldest, so that some are still delivered.
const STEPS_WITH_ROOM: usize = 64;
const STEPS_IN_A_FLOOD: usize = 256;

/// Quarters of a turn's time in which messages may be taken; the pipeline has the rest.
const READING_QUARTERS: u32 = 3;

/// What came of the first try at broker and API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    Pending,
    Well,
    Failed,
}

/// See the module's text.
pub struct Worker {
    subscription: Subscription,
    reporter: Reporter,
    life: Life,
    pipeline: Pipeline,
    source: Source,
    uploader: Uploader,
    disk: Disk,
    guarantee: Guarantee,
    /// Half of the ring: below it, there is room.
    ring_half: usize,
    /// Taken off the receiver when the ring was full.
    held: Option<(Epoch, Message)>,
    broker_attempt: Attempt,
    api_attempt: Attempt,
    stopped: bool,
    /// For those who look.
    seen: Seen,
}

impl Worker {
    pub fn new(
        subscription: &Subscription,
        reporter: Reporter,
        (registry, token): (Registry, Token),
        now: Instant,
    ) -> io::Result<Self> {
        let uploader = uploader(subscription, &reporter)?;
        let writes = reporter.clone();
        let disk = Disk::new(subscription, move |report| writes.disk(report));
        let listener = reporter.clone();
        let ties = Ties {
            bell: reporter.messenger.bell.clone(),
            notify: Arc::new(move |news| listener.source(news)),
            registry,
            token,
        };
        Ok(Worker {
            subscription: subscription.clone(),
            reporter,
            life: Life::Working,
            pipeline: Pipeline::new(subscription, now, fastrand::u64(..)),
            source: Source::new(subscription, Purpose::Consume, ties),
            uploader,
            disk,
            guarantee: subscription.guarantee(),
            ring_half: subscription.buffer_bytes / 2,
            held: None,
            broker_attempt: Attempt::Pending,
            api_attempt: Attempt::Pending,
            stopped: false,
            seen: Seen::default(),
        })
    }

    /// Pending until both sides were tried, failed if either did.
    pub fn attempt(&self) -> Attempt {
        match (self.broker_attempt, self.api_attempt) {
            (Attempt::Well, Attempt::Well) => Attempt::Well,
            (Attempt::Pending, _) | (_, Attempt::Pending) => Attempt::Pending,
            _ => Attempt::Failed,
        }
    }

    pub fn name(&self) -> &str {
        &self.subscription.name
    }

    pub fn subscription(&self) -> &Subscription {
        &self.subscription
    }

    /// Posts where `new` says from now on, at once. Posts under way are answered as they would be.
    pub fn change_api(&mut self, new: &Subscription, now: Instant) -> io::Result<()> {
        self.uploader = uploader(new, &self.reporter)?;
        self.subscription = new.clone();
        self.seen.api_error = None;
        self.input(Input::ApiChanged, now);
        Ok(())
    }

    /// Asked to consume nothing.
    pub fn is_paused(&self) -> bool {
        self.pipeline.is_paused()
    }

    pub fn is_well(&self) -> bool {
        self.pipeline.is_well()
    }

    pub fn owes(&self) -> bool {
        self.pipeline.owes()
    }

    pub fn tell_ledger(&self) {
        tell_ledger(
            self.name(),
            self.pipeline.ledger(),
            self.pipeline.pending_events(),
            self.pipeline.spooled_events(),
        );
    }

    pub fn input(&mut self, input: Input, now: Instant) {
        self.pipeline.handle_input(input, now);
    }

    /// Carries what another thread brought to the source.
    pub fn source_news(&mut self, news: News, now: Instant) {
        if let Some((epoch, event)) = self.source.handle(news, now) {
            self.source_event(epoch, event, now);
        }
    }

    /// The poll saw something on the source's socket.
    pub fn wake_source(&mut self) {
        self.source.wake();
    }

    /// Carries an event of the broker connection to the pipeline.
    fn source_event(&mut self, epoch: Epoch, event: Event, now: Instant) {
        let input = match event {
            Event::Ready { notes } => {
                tell_ready(self.name(), &notes);
                self.broker_attempt = first(self.broker_attempt, Attempt::Well);
                Input::SourceUp(epoch)
            }
            Event::QueueLength(messages) => Input::QueueLength { epoch, messages },
            Event::Down { reason, heard } => Input::SourceDown {
                epoch,
                reason,
                heard,
            },
        };
        self.input(input, now);
    }

    /// Carries an upload's report to the pipeline.
    pub fn upload_report(&mut self, report: upload::Report, now: Instant) {
        let input = match report {
            upload::Report::Probed(answer) => {
                let attempt = if answer.is_ok() {
                    Attempt::Well
                } else {
                    Attempt::Failed
                };
                self.api_attempt = first(self.api_attempt, attempt);
                Input::Probed(answer)
            }
            upload::Report::Posted { id, verdict } => {
                self.seen.answered(id, &verdict, now);
                Input::Uploaded {
                    batch: BatchId(id),
                    verdict,
                }
            }
        };
        self.input(input, now);
    }

    /// Carries the disk's report to the pipeline.
    pub fn disk_report(&mut self, report: store::Report, now: Instant) {
        let input = match report {
            store::Report::Quarantined { write, written } => Input::Quarantined { write, written },
            store::Report::Spool(answer) => Input::Spool(answer),
        };
        self.input(input, now);
    }

    /// One turn of about `share`, and never much longer; answers when the next one is due at the
    /// latest.
    pub fn turn(&mut self, share: Duration) -> Option<Instant> {
        let now = clock::monotonic();
        self.pass_deadlines(now);
        self.source.handle_timeout(now);
        let steps = self.take_messages(now, now + share / 4 * READING_QUARTERS);
        while let Some((epoch, event)) = self.source.next_event() {
            self.source_event(epoch, event, now);
        }
        let wait = self.pump(steps, now + share);
        let delivered = self.pipeline.ledger().delivered;
        self.seen.traffic.rate.note(delivered, now);
        [wait, self.source.deadline(), self.life_deadline(now)]
            .into_iter()
            .flatten()
            .min()
    }

    /// True where the next turn would find something without any event.
    pub fn has_work(&mut self, now: Instant) -> bool {
        match &self.held {
            None => self.source.has_next(now),
            // No further message is taken, yet a connection that ends must be noticed.
            Some((_, message)) => {
                let bytes = message.body.as_ref().map_or(0, Vec::len);
                self.pipeline.has_room(bytes) || self.source.has_ended(now)
            }
        }
    }

    fn messages_per_turn(&self) -> usize {
        match self.guarantee {
            Guarantee::BrokerKeeps => MESSAGES_PER_TURN,
            Guarantee::AgentOwes => OWED_PER_TURN,
        }
    }

    /// After a turn that left messages behind.
    fn steps_meanwhile(&self) -> usize {
        match self.guarantee {
            Guarantee::BrokerKeeps => STEPS_PER_TURN,
            Guarantee::AgentOwes if self.pipeline.ring_used() < self.ring_half => STEPS_WITH_ROOM,
            Guarantee::AgentOwes => STEPS_IN_A_FLOOD,
        }
    }

    /// Answers how many steps the pipeline may take then.
    fn take_messages(&mut self, now: Instant, until: Instant) -> usize {
        for _ in 0..self.messages_per_turn() {
            if clock::monotonic() >= until {
                break;
            }
            let Some((epoch, message)) = self.held.take().or_else(|| self.source.next(now)) else {
                return STEPS_PER_TURN;
            };
            let payload = match &message.body {
                Ok(body) => Payload::Json(body),
                Err(reason) => Payload::Unreadable(reason),
            };
            let bytes = message.body.as_ref().map_or(0, Vec::len);
            log::trace!(subscription = self.subscription.name.as_str(), delivery_tag = message.tag.0, bytes = bytes; "message received");
            let delivery = Delivery {
                epoch,
                tag: message.tag,
                payload,
            };
            if self.pipeline.deliver(&delivery, now).is_err() {
                self.held = Some((epoch, message));
                return STEPS_PER_TURN;
            }
        }
        self.steps_meanwhile()
    }

    /// Carries out what the pipeline wants until it waits, or until others must have their turn.
    fn pump(&mut self, steps: usize, until: Instant) -> Option<Instant> {
        let mut now = clock::now();
        for _ in 0..steps {
            match self.pipeline.poll_output(now) {
                Output::Wait(Some(next)) if next <= now.instant => {}
                Output::Wait(next) => return next,
                output => self.carry_out(output, now.instant),
            }
            now = clock::now();
            if now.instant >= until {
                break;
            }
        }
        Some(now.instant)
    }

    fn carry_out(&mut self, output: Output, now: Instant) {
        match output {
            Output::Connect { epoch, broker } => {
                self.seen.broker = broker;
                self.seen.traffic.connects += 1;
                self.source
                    .connect(epoch, &self.subscription.brokers[broker], now);
            }
            Output::Abandon { .. } => self.source.abandon(),
            Output::Consume { .. } => self.source.consume(),
            Output::CountQueue { .. } => self.source.count_queue(),
            Output::Settle { epoch, through } => self.source.settle(epoch, through),
            Output::Close { .. } => self.source.close(now),
            Output::Probe => self.uploader.submit(Job::Probe),
            Output::Upload {
                batch,
                body,
                documents,
            } => {
                let bytes = body.slice_len(documents.clone());
                self.seen.posts.push((batch.0, bytes, now));
                self.uploader.submit(Job::Post {
                    id: batch.0,
                    body: PostBody::new(body, documents),
                });
            }
            Output::Quarantine { write, documents } => {
                self.disk
                    .submit(store::Job::Quarantine { write, documents });
            }
            Output::Spool(order) => self.disk.submit(store::Job::Spool(order)),
            Output::Report(report) => self.report(&report),
            Output::Stopped => self.stopped = true,
            Output::Wait(_) => {}
        }
    }

    fn report(&mut self, report: &Report) {
        // A further broker of the list is tried before the first attempt counts as failed.
        if matches!(report, Report::SourceLost { retry_in, .. } if !retry_in.is_zero()) {
            self.broker_attempt = first(self.broker_attempt, Attempt::Failed);
        }
        match report {
            Report::SourceLost { reason, .. } => self.seen.broker_error = Some(reason.clone()),
            Report::ApiHeld { verdict, .. } => {
                self.seen.api_error = verdict.reason().map(str::to_owned)
            }
            _ => {}
        }
        tell(&self.subscription.name, report);
    }
}

fn uploader(subscription: &Subscription, reporter: &Reporter) -> io::Result<Uploader> {
    let uploads = reporter.clone();
    let threads = subscription.concurrency_pool_size;
    Uploader::start(&Endpoint::of(subscription), threads, move |report| {
        uploads.upload(report);
    })
}

/// The first attempt's outcome stands.
fn first(known: Attempt, new: Attempt) -> Attempt {
    if known == Attempt::Pending {
        new
    } else {
        known
    }
}
