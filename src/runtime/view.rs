//! The agent's state for those who ask, collected when they do.

use std::fs;
use std::sync::Arc;
use std::time::Instant;

use super::listeners::Ticket;
use super::worker::Worker;
use super::{Phase, Runtime};
use crate::config::{Mode, Place};
use crate::control::action::{self, Outcome, Refusal};
use crate::control::status::Status;
use crate::logging::timestamp;

impl Runtime {
    /// Answers those who ask how the agent is, HAProxy among them, and does what they ask for.
    pub(super) fn answer(&mut self, now: Instant) {
        let mut servers = std::mem::take(&mut self.servers);
        let orders = servers.turn(self.poll.registry(), || self.status(now), now);
        self.servers = servers;
        let status = self.responders.needs_status(now).then(|| self.status(now));
        self.responders
            .turn(self.poll.registry(), status.as_ref(), now);
        for (ticket, action) in orders {
            self.obey(ticket, action, now);
        }
    }

    pub(super) fn respond(
        &mut self,
        ticket: Ticket,
        outcome: &Result<Outcome, Refusal>,
        now: Instant,
    ) {
        let response = action::told(outcome, || self.status(now));
        self.servers.respond(ticket, &response, now);
    }

    fn status(&self, now: Instant) -> Status {
        let started = self.started;
        Status {
            version: env!("CARGO_PKG_VERSION"),
            kind: match self.desk.mode {
                Mode::Local => "local",
                Mode::Standalone => "standalone",
            },
            state: match self.phase {
                Phase::Starting => "starting",
                Phase::Running => "running",
                Phase::Stopping => "stopping",
            },
            pid: std::process::id(),
            started: timestamp::rfc3339(started.wall_ms),
            started_ms: started.wall_ms,
            uptime_seconds: now.saturating_duration_since(started.instant).as_secs_f64(),
            rss_bytes: resident_bytes(),
            longest_pause_seconds: self.pauses.longest().as_secs_f64(),
            longest_own_pause_seconds: self.pauses.longest_own().as_secs_f64(),
            role: "reader",
            subscriptions_from: self.desk.place.to_string(),
            is_changeable: matches!(self.desk.place, Place::File(_)),
            subscriptions: self.crew.iter().map(Worker::status).collect(),
            listed: Arc::clone(&self.desk.listed),
        }
    }
}

/// The memory of this process, as Linux counts it. What looks like a file is made up in memory:
/// nothing waits for a disk.
fn resident_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_takes_some_memory() {
        let bytes = resident_bytes().expect("Linux");
        assert!((1 << 20..1 << 32).contains(&bytes), "{bytes}");
    }
}
