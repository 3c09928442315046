//! How the pipeline's reports read in the log (contract C10): error = someone must act,
//! warn = degraded, info = life cycle, debug = per batch.

use crate::pipeline::ledger::Ledger;
use crate::pipeline::report::Report;
use crate::pipeline::verdict::Verdict;

/// Logs one report of a subscription.
pub fn tell(name: &str, report: &Report) {
    match report {
        Report::Invalid { tag, reason } => {
            log::warn!(subscription = name, delivery_tag = tag.0, reason = reason.as_str(); "event invalid: skipped");
        }
        Report::Filtered { tag, event_type } => {
            log::debug!(subscription = name, delivery_tag = tag.0, event_type = event_type.as_str(); "event type without a Leek state: skipped");
        }
        Report::Withheld(count) => {
            log::debug!(subscription = name, count = *count; "events kept on the site");
        }
        Report::Repaired(repairs) => {
            for (kind, count) in repairs.iter() {
                log::debug!(subscription = name, repair = kind, count = count; "events repaired");
            }
        }
        Report::SourceLost { reason, retry_in } => {
            log::warn!(subscription = name, reason = reason.as_str(), retry_in_ms = retry_in.as_millis() as u64; "broker not connected");
        }
        Report::SourceBack { blind } => {
            log::warn!(subscription = name, blind_ms = blind.as_millis() as u64; "reconnected: events published meanwhile are lost");
        }
        Report::Dropped { events } => {
            log::warn!(subscription = name, events = *events; "buffer is full: oldest events dropped");
        }
        Report::ApiWell => log::info!(subscription = name; "api is well"),
        Report::ApiHeld { verdict, retry_in } => {
            tell_held(name, verdict, retry_in.as_millis() as u64)
        }
        Report::Stored { documents, events } => {
            log::debug!(subscription = name, documents = *documents, events = *events; "batch stored");
        }
        Report::Halved { documents, reason } => {
            log::warn!(subscription = name, documents = *documents, reason = reason.as_str(); "batch refused: sending it again in halves");
        }
        Report::Quarantined {
            id,
            events,
            cause,
            answer,
        } => {
            log::error!(subscription = name, id = id.as_str(), events = *events, reason = cause.as_str(), answer = answer.as_str(); "document refused by the api: given up");
        }
        Report::Kept {
            documents,
            removed,
            file,
        } => {
            log::info!(subscription = name, documents = *documents, file = file.as_str(); "refused documents kept");
            if *removed > 0 {
                log::warn!(subscription = name, documents = *removed; "quarantine is full: oldest documents removed");
            }
        }
        Report::NotKept { documents, reason } => {
            log::error!(subscription = name, documents = *documents, reason = reason.as_str(); "refused documents not kept");
        }
        Report::SpoolOpened { events } => {
            log::info!(subscription = name, events = *events; "spool opened");
        }
        Report::SpoolInUse => {
            log::info!(subscription = name; "events go to the spool");
        }
        Report::Spooled { events } => {
            log::debug!(subscription = name, events = *events; "batch spooled");
        }
        Report::SpoolFailed { reason, retry_in } => {
            let retry_in_ms = retry_in.map(|delay| delay.as_millis() as u64);
            log::error!(subscription = name, reason = reason.as_str(), retry_in_ms = retry_in_ms; "spool not usable: going on in memory");
        }
        Report::SpoolWell => log::info!(subscription = name; "spool is usable again"),
        Report::SpoolDropped { events } => {
            log::warn!(subscription = name, events = *events; "spool is full or damaged: oldest events dropped");
        }
        Report::SpoolTorn { bytes } => {
            log::warn!(subscription = name, bytes = *bytes; "spool: what a power cut or a bad disk left unreadable was cut off");
        }
        Report::Omitted(count) => {
            log::warn!(subscription = name, count = *count; "further reports omitted");
        }
    }
}

/// What only a person can mend is an error; what may heal by itself is a warning.
fn tell_held(name: &str, verdict: &Verdict, retry_in_ms: u64) {
    match verdict {
        Verdict::Misconfigured { reason, .. } | Verdict::NotLeek { reason, .. } => {
            log::error!(subscription = name, reason = reason.as_str(), retry_in_ms = retry_in_ms; "api refuses this agent: holding all events");
        }
        Verdict::Unwell { reason, .. } | Verdict::Refused { reason, .. } => {
            log::warn!(subscription = name, reason = reason.as_str(), retry_in_ms = retry_in_ms; "api is not well: holding all events");
        }
        Verdict::Stored | Verdict::Partial { .. } => {
            log::warn!(subscription = name, retry_in_ms = retry_in_ms; "api answered a probe as if it were a batch: holding all events");
        }
    }
}

/// Logs that the broker connection stands.
pub fn tell_ready(name: &str, notes: &[String]) {
    for note in notes {
        log::warn!(subscription = name, reason = note.as_str(); "declaration clashes with what exists");
    }
    log::info!(subscription = name; "broker connected");
}

/// Logs the ledger's balance; of what is pending, the spool has so much on disk.
pub fn tell_ledger(name: &str, ledger: &Ledger, pending: u64, spooled: u64) {
    log::info!(
        subscription = name,
        received = ledger.received,
        delivered = ledger.delivered,
        invalid = ledger.invalid,
        filtered = ledger.filtered,
        quarantined = ledger.quarantined,
        dropped = ledger.dropped,
        pending = pending,
        returned = ledger.returned,
        repaired = ledger.repaired,
        quarantine_lost = ledger.quarantine_lost,
        quarantine_evicted = ledger.quarantine_evicted,
        spooled = spooled,
        spool_bytes_written = ledger.spool_bytes_written,
        spool_torn_bytes = ledger.spool_torn_bytes;
        "ledger"
    );
}
