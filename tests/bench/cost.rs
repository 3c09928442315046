//! What a process spent on a number of events.

use std::time::Instant;

use leek_agent::clock;
use serde_json::{Value, json};

/// What was spent, and on how much.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    pub events: usize,
    /// In the middle nine tenths: neither the start nor the window of the last batch.
    pub events_per_second: f64,
    pub cpu_seconds: f64,
    pub peak_rss_kib: u64,
}

impl Cost {
    pub fn cpu_per_100_000(&self) -> f64 {
        self.cpu_seconds / self.events as f64 * 100_000.0
    }

    pub fn peak_rss_mb(&self) -> f64 {
        self.peak_rss_kib as f64 * 1024.0 / 1e6
    }

    /// What this process has spent by now.
    pub fn own(events: usize, events_per_second: f64) -> Cost {
        // SAFETY: zeros are a valid rusage, and getrusage(2) fills the one it is given.
        let usage = unsafe {
            let mut usage: libc::rusage = std::mem::zeroed();
            libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
            usage
        };
        let seconds_of = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
        Cost {
            events,
            events_per_second,
            cpu_seconds: seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime),
            peak_rss_kib: u64::try_from(usage.ru_maxrss).unwrap_or(0),
        }
    }

    pub fn to_json(self) -> Value {
        json!({
            "events": self.events, "events_per_second": self.events_per_second,
            "cpu_seconds": self.cpu_seconds, "peak_rss_kib": self.peak_rss_kib,
        })
    }

    pub fn from_json(value: &Value) -> Option<Cost> {
        Some(Cost {
            events: usize::try_from(value["events"].as_u64()?).ok()?,
            // JSON has no infinity.
            events_per_second: value["events_per_second"].as_f64().unwrap_or(f64::INFINITY),
            cpu_seconds: value["cpu_seconds"].as_f64()?,
            peak_rss_kib: value["peak_rss_kib"].as_u64()?,
        })
    }
}

/// Tells a rate from what was done until when.
#[derive(Debug, Default)]
pub struct Pace {
    total: usize,
    first: Option<(usize, Instant)>,
    last: Option<(usize, Instant)>,
}

impl Pace {
    /// `total` is all that will be done.
    pub fn of(total: usize) -> Pace {
        Pace {
            total,
            ..Pace::default()
        }
    }

    /// So many are done by now.
    pub fn note(&mut self, done: usize) {
        let (early, late) = (self.total / 20, self.total - self.total / 20);
        if (early..=late).contains(&done) {
            let now = (done, clock::monotonic());
            self.first.get_or_insert(now);
            self.last = Some(now);
        }
    }

    /// Things done in a second; infinite where all were done between two looks.
    pub fn per_second(&self) -> f64 {
        match (self.first, self.last) {
            (Some((first, begun)), Some((last, ended))) if last > first => {
                (last - first) as f64 / (ended - begun).as_secs_f64()
            }
            _ => f64::INFINITY,
        }
    }
}
