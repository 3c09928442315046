//! For how long the event loop's thread was ready to run and had no processor, as Linux counts it:
//! what tells an overloaded machine from a fault of ours.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

/// Three numbers: time on a processor, time waiting for one, both in nanoseconds, and time slices.
const PATH: &str = "/proc/thread-self/schedstat";

/// Three numbers of at most 20 digits.
const LINE_MAX: usize = 64;

/// How old a mark may be: reading the figure costs a microsecond or two, too much for each turn of a
/// busy loop. What was waited before the turn, within this, is counted as if it were in it.
const MARK_EVERY: Duration = Duration::from_millis(5);

/// See the module's text. Where the kernel does not count, nothing was waited.
pub struct CpuWait {
    file: Option<File>,
    marked_at: Option<Instant>,
    mark: Duration,
}

impl CpuWait {
    /// For the thread that calls it.
    pub fn of_this_thread() -> Self {
        CpuWait {
            file: File::open(PATH).ok(),
            marked_at: None,
            mark: Duration::ZERO,
        }
    }

    /// A turn begins.
    pub fn mark(&mut self, now: Instant) {
        let is_fresh = |at: Instant| now.saturating_duration_since(at) < MARK_EVERY;
        if !self.marked_at.is_some_and(is_fresh) {
            self.mark = self.total();
            self.marked_at = Some(now);
        }
    }

    /// What was waited since then.
    pub fn since_mark(&self) -> Duration {
        self.total().saturating_sub(self.mark)
    }

    fn total(&self) -> Duration {
        let mut line = [0; LINE_MAX];
        let read = self.file.as_ref().map(|file| file.read_at(&mut line, 0));
        let length = read.and_then(Result::ok).unwrap_or(0);
        waited(&line[..length])
    }
}

fn waited(line: &[u8]) -> Duration {
    let text = std::str::from_utf8(line).unwrap_or_default();
    let waited = text.split_ascii_whitespace().nth(1);
    Duration::from_nanos(waited.and_then(|waited| waited.parse().ok()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_number_is_the_wait() {
        assert_eq!(waited(b"1200 3441997 1\n"), Duration::from_nanos(3_441_997));
        for broken in ["", "12", "12 x 3", "\u{e9}"] {
            assert_eq!(waited(broken.as_bytes()), Duration::ZERO, "{broken:?}");
        }
    }

    #[test]
    fn without_the_kernels_count_nothing_was_waited() {
        let mut wait = CpuWait {
            file: None,
            ..CpuWait::of_this_thread()
        };
        wait.mark(crate::clock::monotonic());
        assert_eq!(wait.since_mark(), Duration::ZERO);
    }
}
