//! The disk: a thread in which files are written, so that a flush of 200 ms on an SD card, or a disk
//! that hangs, never pauses the event loop.
//!
//! As with the uploaders a job goes in, a report comes out, and the pipeline decides. There is one
//! thread a subscription, started with its first job: where nothing is ever written there is none.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use self::quarantine::QuarantineFiles;
use crate::clock;
use crate::config::Subscription;
use crate::pipeline::quarantine::{Refused, WriteId, Written};

pub mod line;
pub mod quarantine;
pub mod spool;

/// Jobs that may be outstanding: one of each kind.
const JOBS: usize = 1;

/// The thread's stack; what it writes lies on the heap.
const STACK_SIZE: usize = 128 * 1024;

/// One thing to do.
#[derive(Debug)]
pub enum Job {
    /// Append these documents to the quarantine files.
    Quarantine {
        write: WriteId,
        documents: Vec<Refused>,
    },
}

/// What became of a [`Job`]: exactly one for each.
#[derive(Debug, PartialEq, Eq)]
pub enum Report {
    Quarantined { write: WriteId, written: Written },
}

/// A subscription's files, behind their thread. Dropped, it lets the thread end with the job in
/// hand, and waits for nothing.
pub struct Disk {
    /// `None` until there is something to do.
    jobs: Option<Sender<Job>>,
    files: Files,
    notify: Arc<dyn Fn(Report) + Send + Sync>,
}

/// All files of one subscription.
#[derive(Debug, Clone)]
struct Files {
    quarantine: Option<QuarantineFiles>,
}

impl Disk {
    /// Touches nothing yet; `notify` is called with each report.
    pub fn new(
        subscription: &Subscription,
        notify: impl Fn(Report) + Send + Sync + 'static,
    ) -> Self {
        let quarantine = subscription.quarantine.as_ref();
        let quarantine = quarantine.map(|place| QuarantineFiles::new(place, &subscription.name));
        Disk::of(Files { quarantine }, notify)
    }

    fn of(files: Files, notify: impl Fn(Report) + Send + Sync + 'static) -> Self {
        Disk {
            jobs: None,
            files,
            notify: Arc::new(notify),
        }
    }

    /// Hands a job over; never blocks. A job that cannot be handed over is reported at once, as one
    /// that failed.
    pub fn submit(&mut self, job: Job) {
        let jobs = match &self.jobs {
            Some(jobs) => jobs,
            None => match self.start() {
                Ok(jobs) => self.jobs.insert(jobs),
                Err(error) => {
                    let reason = format!("no thread for the disk: {error}");
                    return (self.notify)(job.failure(&reason));
                }
            },
        };
        if let Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) = jobs.try_send(job) {
            (self.notify)(job.failure("the disk is busy: more jobs than one of a kind"));
        }
    }

    fn start(&self) -> std::io::Result<Sender<Job>> {
        let (jobs, queue): (_, Receiver<Job>) = bounded(JOBS);
        let (files, notify) = (self.files.clone(), Arc::clone(&self.notify));
        thread::Builder::new()
            .name("leek-disk".to_owned())
            .stack_size(STACK_SIZE)
            .spawn(move || queue.iter().for_each(|job| notify(files.guarded(job))))?;
        Ok(jobs)
    }
}

impl Job {
    /// The report of a job of which nothing was done.
    fn failure(&self, reason: &str) -> Report {
        match self {
            Job::Quarantine { write, documents } => Report::Quarantined {
                write: *write,
                written: Written {
                    lost: documents.len() as u64,
                    reason: Some(reason.to_owned()),
                    ..Written::default()
                },
            },
        }
    }
}

impl Files {
    fn guarded(&self, job: Job) -> Report {
        let panicked = job.failure("a bug in leek-agent: writing panicked");
        // Nothing of ours is left half done: each job looks at the files anew.
        catch_unwind(AssertUnwindSafe(|| self.carry_out(job))).unwrap_or(panicked)
    }

    fn carry_out(&self, job: Job) -> Report {
        match job {
            Job::Quarantine { write, documents } => {
                let written = match &self.quarantine {
                    Some(files) => files.append(&documents, clock::wall_ms()),
                    None => Written::default(),
                };
                Report::Quarantined { write, written }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;
    use crate::config::quarantine::Quarantine;
    use crate::document::Body;
    use crate::pipeline::quarantine::Cause;

    const SOON: Duration = Duration::from_secs(30);

    fn job(write: u64) -> Job {
        let refused = Refused {
            body: Arc::new(Body::of([&br#"{"id": "a"}"#[..]])),
            document: 0,
            cause: Cause::Named,
            answer: String::new(),
        };
        Job::Quarantine {
            write: WriteId(write),
            documents: vec![refused],
        }
    }

    #[test]
    fn jobs_are_reported_one_by_one() {
        let folder = tempfile::tempdir().unwrap();
        let place = Quarantine::new(folder.path().join("q"), 1).unwrap();
        let (sender, reports) = channel();
        let files = Files {
            quarantine: Some(QuarantineFiles::new(&place, "shop-qa")),
        };
        let mut disk = Disk::of(files, move |report| sender.send(report).unwrap());
        assert!(
            disk.jobs.is_none(),
            "no thread before there is something to write"
        );
        for number in 0..3 {
            disk.submit(job(number));
            let Report::Quarantined { write, written } = reports.recv_timeout(SOON).unwrap();
            assert_eq!((write, written.kept, written.lost), (WriteId(number), 1, 0));
        }
        let lines = std::fs::read_to_string(place.dir.join("shop-qa-000001.jsonl")).unwrap();
        assert_eq!(lines.lines().count(), 3);
    }

    #[test]
    fn a_busy_disk_takes_no_second_job() {
        let (release, held) = channel::<()>();
        let held = std::sync::Mutex::new(held);
        let (sender, reports) = channel();
        let files = Files { quarantine: None };
        let mut disk = Disk::of(files, move |report| {
            let Report::Quarantined { write, ref written } = report;
            if written.lost == 0 {
                held.lock().unwrap().recv().unwrap();
            }
            let _ = sender.send(write);
        });
        disk.submit(job(1));
        // The thread holds the first, the queue the second; the third is reported at once.
        let mut number = 2;
        let refused = loop {
            disk.submit(job(number));
            if let Ok(write) = reports.try_recv() {
                break write;
            }
            number += 1;
        };
        assert_eq!(refused, WriteId(number));
        assert!(number <= 3, "{number}");
        release.send(()).unwrap();
        release.send(()).unwrap();
        assert_eq!(reports.recv_timeout(SOON), Ok(WriteId(1)));
    }
}
