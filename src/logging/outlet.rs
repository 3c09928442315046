//! The way out: entries wait here, in bounded memory, for the thread that writes them.
//!
//! Whoever logs never waits for whoever reads: a pipe that nobody empties, a terminal that was
//! halted, or a slow disk holds up this thread only. What finds no room is counted, and the count is
//! written where the gap is.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// What may wait: a thousand entries, or the half minute of a supervisor that restarts its log
/// collector. As much again may be on its way out.
const BACKLOG_MAX: usize = 256 * 1024;

/// The thread formats one short line and calls write(2).
const STACK_SIZE: usize = 64 * 1024;

/// See the module's text.
pub struct Outlet {
    backlog: Mutex<Backlog>,
    changed: Condvar,
}

#[derive(Default)]
struct Backlog {
    bytes: Vec<u8>,
    /// Entries that found no room behind `bytes`.
    dropped: u64,
    /// The thread is at what was taken out last.
    writing: bool,
}

impl Backlog {
    fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.dropped == 0
    }
}

impl Outlet {
    /// Starts the thread that writes to `sink`. `gap` words the line for entries that were dropped.
    pub fn start(
        sink: impl Write + Send + 'static,
        gap: impl Fn(u64) -> String + Send + 'static,
    ) -> io::Result<Arc<Self>> {
        let outlet = Arc::new(Outlet {
            backlog: Mutex::default(),
            changed: Condvar::new(),
        });
        let writer = Arc::clone(&outlet);
        thread::Builder::new()
            .name("leek-log".to_owned())
            .stack_size(STACK_SIZE)
            .spawn(move || writer.write_out(sink, gap))?;
        Ok(outlet)
    }

    /// Leaves whole lines to be written.
    pub fn push(&self, lines: &[u8]) {
        let mut backlog = self.lock();
        if backlog.bytes.len() + lines.len() > BACKLOG_MAX {
            backlog.dropped += 1;
        } else {
            backlog.bytes.extend_from_slice(lines);
        }
        drop(backlog);
        self.changed.notify_all();
    }

    /// Waits until all is written, or until `limit` is over.
    pub fn finish(&self, limit: Duration) {
        let busy = |backlog: &mut Backlog| !backlog.is_empty() || backlog.writing;
        // Either way there is nothing more to do.
        let _ = self.changed.wait_timeout_while(self.lock(), limit, busy);
    }

    fn lock(&self) -> MutexGuard<'_, Backlog> {
        self.backlog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_out(&self, mut sink: impl Write, gap: impl Fn(u64) -> String) {
        loop {
            let (bytes, dropped) = self.take();
            // A closed stdout must not stop the agent.
            let _ = sink.write_all(&bytes);
            if dropped > 0 {
                let _ = writeln!(sink, "{}", gap(dropped));
            }
            let _ = sink.flush();
        }
    }

    /// Waits for something to write; what was taken before is written.
    fn take(&self) -> (Vec<u8>, u64) {
        let mut backlog = self.lock();
        backlog.writing = false;
        self.changed.notify_all();
        let mut backlog = self
            .changed
            .wait_while(backlog, |backlog| backlog.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
        backlog.writing = true;
        let dropped = std::mem::take(&mut backlog.dropped);
        (std::mem::take(&mut backlog.bytes), dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, Sender, channel};

    /// Longer than anything but a deadlock takes.
    const LIMIT: Duration = Duration::from_secs(30);

    /// Hands over what is written, each time it may.
    struct Gate {
        may: Receiver<()>,
        written: Sender<Vec<u8>>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.may
                .recv()
                .map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
            let _ = self.written.send(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn gated() -> (Arc<Outlet>, Sender<()>, Receiver<Vec<u8>>) {
        let (open, may) = channel();
        let (written, lines) = channel();
        let outlet = Outlet::start(Gate { may, written }, |count| format!("{count} dropped"));
        (outlet.unwrap(), open, lines)
    }

    #[test]
    fn whoever_logs_does_not_wait_and_the_gap_is_told_in_its_place() {
        let (outlet, open, lines) = gated();
        outlet.push(b"first\n");
        // The thread has it, and hangs.
        while !outlet.lock().writing {
            thread::yield_now();
        }
        let entry = [&[b'x'; 1023][..], b"\n"].concat();
        let fit = BACKLOG_MAX / entry.len();
        for _ in 0..fit + 7 {
            outlet.push(&entry);
        }
        for _ in 0..3 {
            open.send(()).unwrap();
        }
        assert_eq!(lines.recv_timeout(LIMIT).unwrap(), b"first\n");
        assert_eq!(lines.recv_timeout(LIMIT).unwrap().len(), fit * entry.len());
        assert_eq!(lines.recv_timeout(LIMIT).unwrap(), b"7 dropped");
        drop(open);
        outlet.finish(LIMIT);
    }

    #[test]
    fn the_end_waits_for_what_is_being_written_and_no_longer_than_its_limit() {
        let (outlet, open, lines) = gated();
        outlet.push(b"last words\n");
        outlet.finish(Duration::from_millis(1));
        assert!(lines.try_recv().is_err(), "nothing may be written yet");
        open.send(()).unwrap();
        outlet.finish(LIMIT);
        assert_eq!(lines.try_recv().unwrap(), b"last words\n");
    }

    #[test]
    fn a_reader_that_went_away_stops_nothing() {
        let (outlet, open, lines) = gated();
        drop((open, lines));
        for _ in 0..3 {
            outlet.push(b"to nobody\n");
            outlet.finish(LIMIT);
            assert!(outlet.lock().is_empty());
        }
    }
}
