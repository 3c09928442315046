//! The heart of a subscription: what arrives becomes batches, what the API answers settles them.
//!
//! Sans-IO: inputs and `now` in, outputs to carry out until the pipeline says `Wait`. It opens no
//! socket, reads no clock, starts no thread and cannot fail; `tests/sim.rs` runs weeks of it in
//! seconds.
//!
//! ```text
//!   deliver ──► ring ──► intake (decode, merge) ──► batches ──► Upload ─► … ─► Uploaded
//!                                                      │
//!                                                      └──► Settle, in order
//! ```
//!
//! What a lost connection means depends on who keeps the messages ([`Guarantee`]): a broker that
//! does delivers them again, so everything not on its way to the API is forgotten; else the agent
//! owes them, forgets nothing, and there is nobody to settle with.

pub mod backoff;
pub mod batch;
mod ending;
pub mod gate;
pub mod intake;
mod io;
pub mod ledger;
pub mod link;
pub mod quarantine;
pub mod report;
pub mod resend;
pub mod ring;
mod settle;
pub mod spool;
pub mod suspicion;
mod turns;
pub mod verdict;
mod witness;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use self::batch::{Batch, BatchId};
use self::ending::{DRAIN_QUIET, Drain, Mode};
use self::gate::{Gate, Pace, Waiting};
use self::intake::{Intake, Step};
pub use self::io::{Input, Output};
use self::ledger::Ledger;
use self::link::{Link, LinkAction, Loss};
use self::quarantine::Quarantine;
use self::report::{Report, Reports};
use self::ring::Full;
use self::spool::Spooling;
use self::suspicion::PostNumber;
use self::turns::Post;
use self::verdict::Verdict;
use self::witness::Witness;
use crate::clock::Now;
use crate::config::Subscription;
use crate::delivery::{Delivery, Epoch, Guarantee};

/// See the module's text.
pub struct Pipeline {
    guarantee: Guarantee,
    link: Link,
    gate: Gate,
    intake: Intake,
    /// In the order of their messages; settled from the front.
    batches: VecDeque<Batch>,
    /// In flight when their connection was lost: settled for the ledger, never acked.
    orphans: Vec<Batch>,
    quarantine: Quarantine,
    uploads: usize,
    /// A batch has at most so many bytes, unless it is one document.
    batch_bytes: usize,
    ledger: Ledger,
    reports: Reports,
    outbox: VecDeque<Output>,
    mode: Mode,
    spool: Option<Spooling>,
    next_batch: u64,
    /// The last post, and the newest that was stored.
    last_post: PostNumber,
    newest_stored: PostNumber,
    witness: Witness,
    /// Since when nothing can have been heard of what the broker does not keep.
    blind_since: Option<Instant>,
}

impl Pipeline {
    /// A pipeline that starts at `now`. `seed` makes its backoff repeatable.
    pub fn new(subscription: &Subscription, now: Instant, seed: u64) -> Self {
        let guarantee = subscription.guarantee();
        Pipeline {
            guarantee,
            link: Link::new(subscription.brokers.len(), subscription.failover, now, seed),
            gate: Gate::new(now, seed.wrapping_add(1)),
            intake: Intake::new(subscription, guarantee),
            batches: VecDeque::new(),
            orphans: Vec::new(),
            quarantine: Quarantine::new(subscription.quarantine.is_some()),
            uploads: subscription.concurrency_pool_size,
            batch_bytes: subscription.batch.max_bytes,
            ledger: Ledger::default(),
            reports: Reports::default(),
            outbox: VecDeque::new(),
            mode: Mode::Running,
            spool: Spooling::new(subscription, seed.wrapping_add(2)),
            next_batch: 0,
            last_post: PostNumber::default(),
            newest_stored: PostNumber::default(),
            witness: Witness::default(),
            blind_since: None,
        }
    }

    /// The counters; they balance with [`Pipeline::pending_events`].
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Events taken and not yet settled.
    pub fn pending_events(&self) -> u64 {
        let sealed = self
            .batches
            .iter()
            .chain(&self.orphans)
            .map(Batch::pending_events)
            .sum::<u64>();
        sealed + self.intake.pending_events() + self.unread_events()
    }

    /// Something is not settled: what is pending, and what the quarantine file does not have yet.
    pub fn owes(&self) -> bool {
        self.pending_events() > 0 || self.quarantine.is_awaited()
    }

    /// Bytes of the ring in use.
    pub fn ring_used(&self) -> usize {
        self.intake.ring_used()
    }

    /// Documents in the batch that is being filled, and the bytes that its body has by now.
    pub fn open_batch(&self) -> (usize, usize) {
        (self.intake.open_documents(), self.intake.open_bytes())
    }

    /// The broker delivers and the API takes.
    pub fn is_well(&self) -> bool {
        self.link.is_consuming() && self.gate.is_open()
    }

    /// The broker delivers.
    pub fn is_consuming(&self) -> bool {
        self.link.is_consuming()
    }

    /// The broker would deliver, if it were asked to.
    pub fn is_connected(&self) -> bool {
        self.link.is_ready()
    }

    /// The API takes batches, as far as is known.
    pub fn is_api_well(&self) -> bool {
        self.gate.is_open()
    }

    /// True while deliveries of that connection are taken. What the agent owes is taken to the
    /// connection's very end: it was read off the socket before that closed.
    pub fn takes_deliveries(&self, epoch: Epoch) -> bool {
        let wanted = match self.guarantee {
            Guarantee::BrokerKeeps => {
                matches!(self.mode, Mode::Running | Mode::Draining(_)) && self.link.is_consuming()
            }
            Guarantee::AgentOwes => {
                !matches!(self.mode, Mode::Closing | Mode::Stopped)
                    && (self.link.is_consuming() || self.link.is_closing())
            }
        };
        wanted && self.link.epoch() == epoch
    }

    /// A delivery of that length would be taken.
    pub fn has_room(&self, body_len: usize) -> bool {
        self.intake.has_room(body_len)
    }

    /// Takes one delivery; `Full` means to offer it again after the next output. A delivery of a
    /// past connection is dropped: its broker delivers it again.
    pub fn deliver(&mut self, delivery: &Delivery<'_>, now: Instant) -> Result<(), Full> {
        if !self.takes_deliveries(delivery.epoch) {
            return Ok(());
        }
        self.intake
            .push(delivery, &mut self.ledger, &mut self.reports)?;
        if let Mode::Draining(drain) = &mut self.mode {
            *drain = Drain::AskAt(now + DRAIN_QUIET);
        }
        Ok(())
    }

    /// Takes note of what happened outside.
    pub fn handle_input(&mut self, input: Input, now: Instant) {
        match input {
            Input::SourceUp(epoch) => self.source_up(epoch, now),
            Input::SourceDown {
                epoch,
                reason,
                heard,
            } => self.source_down(epoch, reason, heard, now),
            Input::QueueLength { epoch, messages } => self.queue_length(epoch, messages, now),
            Input::Probed(answer) => self.probed(answer, now),
            Input::Uploaded { batch, verdict } => self.uploaded(batch, verdict, now),
            Input::Quarantined { write, written } => self.quarantined(write, written),
            Input::Spool(answer) => self.spool_answered(answer, now),
            Input::ApiChanged => self.gate.renew(now),
            Input::Drain => self.drain(now),
            Input::Pause => self.pause(),
            Input::Resume => self.resume(),
            Input::Stop => self.stop(now),
            Input::GiveUp => self.give_up(),
        }
    }

    /// The next thing to do. Call until it says `Wait`; then again at the time it names, or after
    /// an input or a delivery.
    pub fn poll_output(&mut self, now: Now) -> Output {
        if let Some(output) = self.next_output() {
            return output;
        }
        let step = self.decode(now);
        self.connect(now.instant);
        self.upload(now.instant);
        self.write_refused(now.instant);
        self.spool(now.instant);
        self.finish(now.instant);
        if let Some(output) = self.next_output() {
            return output;
        }
        Output::Wait(match step {
            Step::Progress => Some(now.instant),
            Step::Idle | Step::Sealed => self.deadline(now.instant),
        })
    }

    fn next_output(&mut self) -> Option<Output> {
        self.outbox
            .pop_front()
            .or_else(|| self.reports.pop().map(Output::Report))
    }

    fn decode(&mut self, now: Now) -> Step {
        self.intake.step(now, &mut self.ledger, &mut self.reports)
    }

    /// When time alone changes something. A deadline that has passed, yet changed nothing, waits
    /// for an input.
    fn deadline(&self, now: Instant) -> Option<Instant> {
        let drain = match self.mode {
            Mode::Draining(Drain::AskAt(at)) => Some(at),
            Mode::Closing | Mode::Stopped => return None,
            _ => None,
        };
        let deadlines = [
            self.link.deadline(),
            self.gate.deadline(),
            self.intake.window_end(),
            self.quarantine.deadline(),
            self.spool_deadline(),
            drain,
        ];
        deadlines
            .into_iter()
            .flatten()
            .filter(|deadline| *deadline > now)
            .min()
    }

    // --- the broker's side

    fn connect(&mut self, now: Instant) {
        if !matches!(self.mode, Mode::Running | Mode::Draining(_)) {
            return;
        }
        self.link.reopen(now);
        if let Some(action) = self.link.poll(now) {
            self.outbox.push_back(action.into());
            if let LinkAction::Abandon { epoch } = action {
                let reason = format!("not set up within {} s", link::SET_UP_DEADLINE.as_secs());
                self.source_down(epoch, reason, None, now);
            }
        }
        let wanted = self.gate.is_open() || self.guarantee == Guarantee::AgentOwes;
        if wanted && self.link.is_ready() {
            self.link.consumes();
            self.outbox.push_back(Output::Consume {
                epoch: self.link.epoch(),
            });
            self.ask_queue_at(now + DRAIN_QUIET);
        }
    }

    fn source_up(&mut self, epoch: Epoch, now: Instant) {
        if self.link.came_up(epoch, now)
            && let Some(since) = self.blind_since.take()
        {
            let blind = now.saturating_duration_since(since);
            self.reports.push(Report::SourceBack { blind });
        }
    }

    fn source_down(&mut self, epoch: Epoch, reason: String, heard: Option<Instant>, now: Instant) {
        let was_up = self.link.is_consuming() || self.link.is_ready();
        match self.link.went_down(epoch, now) {
            Loss::Past => return,
            Loss::Closed => {}
            Loss::RetryIn(retry_in) => self.reports.push(Report::SourceLost { reason, retry_in }),
        }
        match self.guarantee {
            Guarantee::BrokerKeeps => self.forget(now),
            Guarantee::AgentOwes if was_up => self.blind_since = Some(heard.unwrap_or(now)),
            Guarantee::AgentOwes => {}
        }
    }

    /// Whatever the lost connection delivered and is not on its way to the API goes back to the
    /// broker, which delivers it again.
    fn forget(&mut self, now: Instant) {
        if matches!(self.mode, Mode::Closing) {
            // What is pending now stays pending: the agent stops without having delivered it.
            return;
        }
        let returned = self.intake.forget();
        self.ledger.hand_back(returned);
        self.quarantine.forget_waiting();
        for batch in std::mem::take(&mut self.batches) {
            self.orphan(batch);
        }
        self.ask_queue_at(now);
    }

    fn orphan(&mut self, mut batch: Batch) {
        self.ledger.hand_back(batch.hand_back_waiting());
        if batch.is_in_flight() {
            self.orphans.push(batch);
        }
    }

    // --- the API's side

    fn upload(&mut self, now: Instant) {
        if matches!(self.mode, Mode::Saving | Mode::Closing | Mode::Stopped) {
            return;
        }
        self.probe(now);
        loop {
            self.seal_if_due(now);
            let Some(next) = self.next_post(now) else {
                return;
            };
            if !self.gate.take_post(now) {
                return;
            }
            let upload = self.start_post(next);
            self.outbox.extend(upload);
        }
    }

    fn start_post(&mut self, next: Post) -> Option<Output> {
        self.last_post.0 += 1;
        if let Post::Batch(index) = next {
            let batch = &mut self.batches[index];
            let documents = batch.start(self.last_post)?;
            let body = Arc::clone(&batch.body);
            let batch = batch.id;
            return Some(Output::Upload {
                batch,
                body,
                documents,
            });
        }
        let batch = self.new_batch_id();
        let body = self.witness.start(batch, self.last_post)?;
        let documents = 0..body.documents();
        Some(Output::Upload {
            batch,
            body,
            documents,
        })
    }

    fn probe(&mut self, now: Instant) {
        if self.in_flight() >= self.uploads {
            return;
        }
        let has_batch = self.intake.has_open_batch()
            || self.batches.iter().any(Batch::is_waiting)
            || self.disk_comes_first();
        let waiting = match has_batch {
            true => Waiting::Batch,
            false => Waiting::Nothing,
        };
        if self.gate.take_probe(now, waiting) {
            self.outbox.push_back(Output::Probe);
        }
    }

    /// Seals the open batch when it is full, unless one is ready already; earlier, when its time
    /// is over and it can go out, or to disk, at once.
    fn seal_if_due(&mut self, now: Instant) {
        let spills = self.is_spilling(now);
        let room = match spills {
            true => self.has_room_to_write(),
            false => self.crowd(self.batches.iter()) + self.orphans.len() <= self.uploads,
        };
        let posts = self.in_flight() < self.uploads && self.gate.would_take_post(now);
        let goes_out = spills || (posts && !self.disk_comes_first());
        let due = self.intake.is_full() || (self.time_is_over(now) && goes_out);
        if due
            && room
            && let Some(sealed) = self.intake.seal()
        {
            let id = self.new_batch_id();
            self.batches
                .push_back(Batch::new(id, sealed.through, sealed.body));
            self.settle_if_done();
        }
    }

    fn new_batch_id(&mut self) -> BatchId {
        let id = BatchId(self.next_batch);
        self.next_batch += 1;
        id
    }

    /// The open batch waits for nothing more: its window has passed, or no more will come.
    fn time_is_over(&self, now: Instant) -> bool {
        let window_passed = self.intake.window_end().is_some_and(|end| now >= end);
        let last = match self.mode {
            Mode::Paused | Mode::Draining(Drain::Empty) | Mode::Stopping | Mode::Saving => {
                !self.intake.has_backlog()
            }
            _ => false,
        };
        window_passed || last
    }

    fn probed(&mut self, answer: Result<(), Verdict>, now: Instant) {
        match answer {
            Ok(()) => self.api_answered(),
            Err(verdict) => {
                let retry_in = self.gate.probe_failed(pace(&verdict), now);
                self.reports.push(Report::ApiHeld { verdict, retry_in });
            }
        }
    }

    fn api_answered(&mut self) {
        if self.gate.answered() {
            self.reports.push(Report::ApiWell);
        }
    }
}

/// How soon to try again after an answer that stored nothing.
fn pace(verdict: &Verdict) -> Pace {
    match verdict {
        Verdict::Misconfigured { .. } => Pace::Slow,
        Verdict::Unwell {
            retry_after: Some(asked),
            ..
        } => Pace::After(*asked),
        _ => Pace::Backoff,
    }
}

#[cfg(test)]
mod tests;
