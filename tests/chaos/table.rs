//! The table that a run ends with, in Markdown.

use std::collections::BTreeMap;

use crate::chaos::outcome::{Allowed, Outcome};
use crate::chaos::trial::Report;

const HEAD: &str = "\
| fault | broker | runs | events sent | delivered | duplicates | counted | allowed loss | lost | longest pause | peak RSS | took |
| --- | --- | ---: | ---: | ---: | ---: | ---: | --- | ---: | ---: | ---: | ---: |
";

const NOTES: &str = "
delivered: different events that the API stored. duplicates: stored once more, mostly because an answer was lost.
counted: invalid, filtered, quarantined or dropped in the ledgers of agents that were stopped, and of Redis what was
pending and in no spool; what is redelivered counts again. allowed loss (contract C7): `unheard` was published on Redis
while the agent was not connected, or was lost with the connection before it reached the agent's socket; `killed` was in
the memory of an agent that was killed, where Redis keeps nothing; `damaged` had bits turned over on the wire. longest
pause: of the event loop, without the time that the machine gave to others. took: the longest run.
";

/// A line for each row, whatever the number of its runs.
pub fn table(reports: &[Report]) -> String {
    let mut lines: BTreeMap<(String, &str), Outcome> = BTreeMap::new();
    for report in reports {
        if let Some(outcome) = &report.outcome {
            let row = &report.trial.row;
            let key = (row.name.replace('_', " "), row.broker());
            lines.entry(key).or_default().add(outcome);
        }
    }
    let mut all = Outcome::default();
    let mut text = HEAD.to_owned();
    for ((fault, broker), outcome) in &lines {
        all.add(outcome);
        text += &line(fault, broker, outcome);
    }
    text + &line("all", "", &all) + NOTES
}

fn line(fault: &str, broker: &str, outcome: &Outcome) -> String {
    let Outcome {
        sent,
        delivered,
        duplicates,
        counted,
        lost,
        runs,
        ..
    } = outcome;
    let pause = outcome
        .pause_ms
        .map_or("unknown".to_owned(), |pause| format!("{pause:.1} ms"));
    let rss = outcome.peak_rss_kib as f64 / 1024.0;
    let took = outcome.took.as_secs_f64();
    let allowed = allowed(outcome.allowed);
    format!(
        "| {fault} | {broker} | {runs} | {sent} | {delivered} | {duplicates} | {counted} | {allowed} | {lost} \
         | {pause} | {rss:.1} MiB | {took:.0} s |\n"
    )
}

fn allowed(allowed: Allowed) -> String {
    let parts = [
        (allowed.unheard, "unheard"),
        (allowed.killed, "killed"),
        (allowed.damaged, "damaged"),
    ];
    let parts: Vec<String> = parts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    match parts.is_empty() {
        true => "0".to_owned(),
        false => parts.join(", "),
    }
}

impl Outcome {
    /// Takes another run of the same row in.
    fn add(&mut self, other: &Outcome) {
        self.sent += other.sent;
        self.delivered += other.delivered;
        self.duplicates += other.duplicates;
        self.counted += other.counted;
        self.allowed.unheard += other.allowed.unheard;
        self.allowed.killed += other.allowed.killed;
        self.allowed.damaged += other.allowed.damaged;
        self.lost += other.lost;
        self.pause_ms = [self.pause_ms, other.pause_ms]
            .into_iter()
            .flatten()
            .reduce(f64::max);
        self.peak_rss_kib = self.peak_rss_kib.max(other.peak_rss_kib);
        self.took = self.took.max(other.took);
        self.runs += other.runs;
    }
}
