//! The state as Prometheus reads it: its text format, version 0.0.4.

use std::fmt::{Display, Write};

use super::status::{Status, SubscriptionStatus};
use super::traffic::{BUCKETS, RESULTS};

/// A whole scrape. The only labels without a fixed set of values are subscriptions' names.
pub fn text(status: &Status) -> String {
    let mut page = Page::default();
    page.process(status);
    page.events(&status.subscriptions);
    page.state(&status.subscriptions);
    page.uploads(&status.subscriptions);
    page.0
}

#[derive(Default)]
struct Page(String);

impl Page {
    fn process(&mut self, status: &Status) {
        self.family(
            "leek_agent_build_info",
            "gauge",
            "The running version; always 1.",
        );
        self.sample("leek_agent_build_info", &[("version", status.version)], 1);
        self.family(
            "leek_agent_start_time_seconds",
            "gauge",
            "When the agent started, in seconds since 1970.",
        );
        let start = status.started_ms as f64 / 1000.0;
        self.sample("leek_agent_start_time_seconds", &[], start);
        if let Some(bytes) = status.rss_bytes {
            self.family(
                "leek_agent_resident_memory_bytes",
                "gauge",
                "Memory in use.",
            );
            self.sample("leek_agent_resident_memory_bytes", &[], bytes);
        }
        self.family(
            "leek_agent_longest_loop_pause_seconds",
            "gauge",
            "The longest pause of the event loop, without what the machine gave to others.",
        );
        let pause = status.longest_own_pause_seconds;
        self.sample("leek_agent_longest_loop_pause_seconds", &[], pause);
    }

    fn events(&mut self, subscriptions: &[SubscriptionStatus]) {
        type Figure = fn(&SubscriptionStatus) -> u64;
        let counters: [(&str, &str, Figure); 7] = [
            // Those that went back to the broker were taken, too: a counter never falls.
            (
                "received",
                "taken from the broker; an event that comes again counts again",
                |one| one.events.received + one.events.returned,
            ),
            ("delivered", "stored by the API", |one| one.events.delivered),
            ("invalid", "that were no events, or had no meaning", |one| {
                one.events.invalid
            }),
            (
                "filtered",
                "that were not to leave the site, or that Leek has no state for",
                |one| one.events.filtered,
            ),
            ("quarantined", "that the API refused for good", |one| {
                one.events.quarantined
            }),
            ("dropped", "given up for want of room", |one| {
                one.events.dropped
            }),
            (
                "returned",
                "handed back to the broker, which delivers them again",
                |one| one.events.returned,
            ),
        ];
        for (name, meaning, figure) in counters {
            let name = format!("leek_agent_events_{name}_total");
            self.each(
                &name,
                "counter",
                &format!("Events {meaning}."),
                subscriptions,
                figure,
            );
        }
        self.each(
            "leek_agent_events_pending",
            "gauge",
            "Events taken and not yet settled.",
            subscriptions,
            |one| one.events.pending,
        );
    }

    fn state(&mut self, subscriptions: &[SubscriptionStatus]) {
        self.each(
            "leek_agent_broker_up",
            "gauge",
            "1 while the broker delivers.",
            subscriptions,
            |one| u64::from(one.broker.is_well),
        );
        self.each(
            "leek_agent_api_up",
            "gauge",
            "1 while the API takes batches.",
            subscriptions,
            |one| u64::from(one.api.is_well),
        );
        self.each(
            "leek_agent_paused",
            "gauge",
            "1 where somebody asked to consume nothing.",
            subscriptions,
            |one| u64::from(one.state == "paused"),
        );
        self.each(
            "leek_agent_batch_bytes",
            "gauge",
            "Bytes of the batch that is being filled.",
            subscriptions,
            |one| one.batch.bytes as u64,
        );
        self.each(
            "leek_agent_broker_connects_total",
            "counter",
            "Connections to brokers that were tried.",
            subscriptions,
            |one| one.uploads.connects,
        );
        self.each(
            "leek_agent_buffer_used_bytes",
            "gauge",
            "Bytes of messages that are not decoded yet.",
            subscriptions,
            |one| one.buffer.used_bytes,
        );
        self.each(
            "leek_agent_buffer_size_bytes",
            "gauge",
            "Bytes that may be in use so.",
            subscriptions,
            |one| one.buffer.size_bytes,
        );
        self.each(
            "leek_agent_quarantine_lost_documents",
            "gauge",
            "Refused documents that are in no file.",
            subscriptions,
            |one| one.quarantine.lost,
        );
        self.each(
            "leek_agent_quarantine_evicted_documents_total",
            "counter",
            "Refused documents that were removed again, oldest first.",
            subscriptions,
            |one| one.quarantine.evicted,
        );
        let spooling: Vec<_> = subscriptions
            .iter()
            .filter_map(|one| Some((one, one.spool.as_ref()?)))
            .collect();
        if spooling.is_empty() {
            return;
        }
        self.family(
            "leek_agent_spool_events",
            "gauge",
            "Events that wait on disk.",
        );
        for (one, spool) in &spooling {
            self.sample(
                "leek_agent_spool_events",
                &[("subscription", &one.name)],
                spool.events,
            );
        }
        let name = "leek_agent_spool_written_bytes_total";
        self.family(name, "counter", "Bytes written to the disk.");
        for (one, spool) in &spooling {
            self.sample(name, &[("subscription", &one.name)], spool.bytes_written);
        }
    }

    fn uploads(&mut self, subscriptions: &[SubscriptionStatus]) {
        self.each(
            "leek_agent_uploads_in_flight",
            "gauge",
            "Posts that are not answered yet.",
            subscriptions,
            |one| one.uploads.in_flight,
        );
        self.each(
            "leek_agent_posted_bytes_total",
            "counter",
            "Bytes of the bodies of answered posts.",
            subscriptions,
            |one| one.uploads.bytes,
        );
        self.family(
            "leek_agent_posts_total",
            "counter",
            "Answered posts, by what came of them.",
        );
        for one in subscriptions {
            for (result, count) in RESULTS.iter().zip(one.uploads.traffic.posts) {
                let labels = [("subscription", one.name.as_str()), ("result", result)];
                self.sample("leek_agent_posts_total", &labels, count);
            }
        }
        self.durations(subscriptions);
    }

    fn durations(&mut self, subscriptions: &[SubscriptionStatus]) {
        let name = "leek_agent_post_duration_seconds";
        self.family(name, "histogram", "Time from a post to its answer.");
        for one in subscriptions {
            let traffic = &one.uploads.traffic;
            let subscription = ("subscription", one.name.as_str());
            let bounds = BUCKETS
                .iter()
                .map(f64::to_string)
                .chain(["+Inf".to_owned()]);
            let mut sum = 0;
            for (bound, count) in bounds.zip(traffic.durations) {
                sum += count;
                let labels = [subscription, ("le", bound.as_str())];
                self.sample(&format!("{name}_bucket"), &labels, sum);
            }
            let seconds = traffic.duration.as_secs_f64();
            self.sample(&format!("{name}_sum"), &[subscription], seconds);
            self.sample(&format!("{name}_count"), &[subscription], sum);
        }
    }

    /// One sample for each subscription.
    fn each<N: Display>(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        subscriptions: &[SubscriptionStatus],
        figure: impl Fn(&SubscriptionStatus) -> N,
    ) {
        self.family(name, kind, help);
        for one in subscriptions {
            self.sample(name, &[("subscription", &one.name)], figure(one));
        }
    }

    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// Label values are versions, fixed words and names of lower-case letters: nothing to escape.
    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(name);
        for (place, (label, text)) in labels.iter().enumerate() {
            let before = if place == 0 { '{' } else { ',' };
            let _ = write!(self.0, "{before}{label}=\"{text}\"");
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.0, "{end} {value}");
    }
}
