//! How a pipeline rests and how it ends: paused, drained, stopped, or given up.
//!
//! ```text
//!  running ── pause ──► paused ── resume ──► running
//!
//!  running ── drain ──► draining ── queue empty, all settled ─┐
//!     │                    │                                  ▼
//!     └─────── stop ───────┴──► stopping ── all settled ──► closing ── closed ──► stopped
//!                                  ├──────── given up ────────▲
//!                                  └─ given up ──► saving ────┘ saved, or given up again
//! ```
//!
//! Behind a broker that keeps nothing, stopping hangs up first and then delivers what was heard;
//! where there is a spool, what could not be delivered is saved.

use std::time::{Duration, Instant};

use super::{Output, Pipeline};
use crate::delivery::{Epoch, Guarantee};

/// A drain asks the broker for the queue's length once nothing has arrived for this long.
pub(super) const DRAIN_QUIET: Duration = Duration::from_millis(200);

/// How far the pipeline is from its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Running,
    /// Nothing is consumed. The connection is closed once what it brought is settled.
    Paused,
    Draining(Drain),
    /// No further delivery is taken.
    Stopping,
    /// Nothing more is posted; what is left goes to disk.
    Saving,
    /// Everything is settled or given up; the connection closes.
    Closing,
    Stopped,
}

/// What a drain knows of the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Drain {
    /// Not known to be empty; ask at that time.
    AskAt(Instant),
    Asked,
    Empty,
}

impl Pipeline {
    pub(super) fn queue_length(&mut self, epoch: Epoch, messages: u64, now: Instant) {
        if epoch != self.link.epoch() || self.mode != Mode::Draining(Drain::Asked) {
            return;
        }
        self.mode = Mode::Draining(match messages {
            0 => Drain::Empty,
            _ => Drain::AskAt(now + DRAIN_QUIET),
        });
    }

    pub(super) fn drain(&mut self, now: Instant) {
        if self.mode == Mode::Running {
            self.mode = Mode::Draining(Drain::AskAt(now + DRAIN_QUIET));
        }
    }

    /// Forgets what a drain knew of the queue, and asks at that time.
    pub(super) fn ask_queue_at(&mut self, at: Instant) {
        if let Mode::Draining(drain) = &mut self.mode {
            *drain = Drain::AskAt(at);
        }
    }

    /// A drain ends by itself and is not paused.
    pub(super) fn pause(&mut self) {
        if self.mode != Mode::Running {
            return;
        }
        self.mode = Mode::Paused;
        if self.guarantee == Guarantee::AgentOwes {
            self.close_link();
        }
    }

    /// What a connection brought during the pause was not taken, and no later ack may cover it: it goes
    /// on with a new one.
    pub(super) fn resume(&mut self) {
        if self.mode == Mode::Paused {
            self.mode = Mode::Running;
            self.close_link();
        }
    }

    /// Asked to consume nothing.
    pub fn is_paused(&self) -> bool {
        self.mode == Mode::Paused
    }

    pub(super) fn stop(&mut self, now: Instant) {
        if !matches!(self.mode, Mode::Running | Mode::Paused | Mode::Draining(_)) {
            return;
        }
        self.mode = Mode::Stopping;
        self.gate.hurry(now);
        self.hurry_spool();
        if self.guarantee == Guarantee::AgentOwes {
            // There is nothing to ack later: stop listening, then deliver what was heard.
            self.close_link();
        }
    }

    /// Closes, after saving what can be saved.
    pub(super) fn give_up(&mut self) {
        if self.mode == Mode::Stopping && self.can_save() {
            self.mode = Mode::Saving;
            self.hurry_spool();
        } else if !matches!(self.mode, Mode::Closing | Mode::Stopped) {
            self.abandon();
        }
    }

    /// Closes at once. What waits in the ring has nobody else who keeps it: it is dropped.
    fn abandon(&mut self) {
        if self.guarantee == Guarantee::AgentOwes {
            self.go_on_unwritten("the agent had to stop");
            while self.intake.drop_oldest(&mut self.ledger, &mut self.reports) {}
        }
        self.close();
    }

    /// What is left goes to disk.
    pub fn is_saving(&self) -> bool {
        self.mode == Mode::Saving
    }

    fn close(&mut self) {
        if matches!(self.mode, Mode::Closing | Mode::Stopped) {
            return;
        }
        self.mode = Mode::Closing;
        self.close_link();
    }

    fn close_link(&mut self) {
        self.outbox.extend(self.link.close().map(Output::from));
    }

    /// Nothing that was taken is unsettled.
    fn is_settled(&self) -> bool {
        self.batches.is_empty()
            && self.orphans.is_empty()
            && !self.intake.has_open_batch()
            && !self.intake.has_backlog()
            && self.is_spool_settled()
    }

    /// Nothing more can be done for what is left: the disk has it, and the API is out, or the disk
    /// does not give back what it has.
    fn is_left_to_disk(&self) -> bool {
        let is_futile = !self.gate.is_open() || self.is_spool_down();
        is_futile && self.in_flight() == 0 && self.is_saved()
    }

    /// Nothing more will be taken.
    fn is_deaf(&self) -> bool {
        self.guarantee == Guarantee::BrokerKeeps || self.link.is_closed()
    }

    /// A drained queue ends the run; of a broker that keeps nothing, the last words are taken.
    fn stop_listening(&mut self, now: Instant) {
        match self.guarantee {
            Guarantee::BrokerKeeps => self.close(),
            Guarantee::AgentOwes => self.stop(now),
        }
    }

    pub(super) fn finish(&mut self, now: Instant) {
        match self.mode {
            Mode::Draining(Drain::AskAt(at))
                if now >= at && self.link.is_consuming() && !self.intake.has_backlog() =>
            {
                self.mode = Mode::Draining(Drain::Asked);
                self.outbox.push_back(Output::CountQueue {
                    epoch: self.link.epoch(),
                });
            }
            Mode::Draining(Drain::Empty) if self.is_settled() => self.stop_listening(now),
            Mode::Paused if self.is_settled() => self.close_link(),
            Mode::Stopping if self.is_deaf() && (self.is_settled() || self.is_left_to_disk()) => {
                self.close();
            }
            Mode::Saving if self.is_saved() => self.close(),
            Mode::Saving if self.is_spool_down() => self.abandon(),
            _ => {}
        }
        if self.mode == Mode::Closing && self.link.is_closed() {
            self.mode = Mode::Stopped;
            self.outbox.push_back(Output::Stopped);
        }
    }
}
