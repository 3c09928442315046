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
use self::spool::Spool;
use crate::clock;
use crate::config::Subscription;
use crate::config::spool::Spool as SpoolPlace;
use crate::pipeline::quarantine::{Refused, WriteId, Written};
use crate::pipeline::spool::{Answer, Order, Outcome};

pub mod line;
pub mod quarantine;
pub mod spool;

/// Jobs that may be outstanding: one of each kind.
const JOBS: usize = 2;

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
    /// Do something with the spool.
    Spool(Order),
}

/// What became of a [`Job`]: exactly one for each.
#[derive(Debug)]
pub enum Report {
    Quarantined { write: WriteId, written: Written },
    Spool(Answer),
}

/// A subscription's files, behind their thread. Dropped, it lets the thread end with the job in
/// hand, and waits for nothing.
pub struct Disk {
    /// `None` until there is something to do.
    jobs: Option<Sender<Job>>,
    files: Files,
    notify: Arc<dyn Fn(Report) + Send + Sync>,
}

/// Where the files of one subscription are.
#[derive(Debug, Clone)]
struct Files {
    quarantine: Option<QuarantineFiles>,
    /// The spool's place and name.
    spool: Option<(SpoolPlace, String)>,
}

/// What the thread works with.
#[derive(Debug)]
struct Writer {
    files: Files,
    spool: Option<Spool>,
}

impl Disk {
    /// Touches nothing yet; `notify` is called with each report.
    pub fn new(
        subscription: &Subscription,
        notify: impl Fn(Report) + Send + Sync + 'static,
    ) -> Self {
        let quarantine = subscription.quarantine.as_ref();
        let quarantine = quarantine.map(|place| QuarantineFiles::new(place, &subscription.name));
        let spool = subscription.spool.clone();
        let spool = spool.map(|place| (place, subscription.name.clone()));
        Disk::of(Files { quarantine, spool }, notify)
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
        let notify = Arc::clone(&self.notify);
        let mut writer = Writer {
            files: self.files.clone(),
            spool: None,
        };
        thread::Builder::new()
            .name("leek-disk".to_owned())
            .stack_size(STACK_SIZE)
            .spawn(move || queue.iter().for_each(|job| notify(writer.guarded(job))))?;
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
            Job::Spool(_) => Report::Spool(Answer {
                outcome: Err(reason.to_owned()),
                figures: None,
            }),
        }
    }
}

impl Writer {
    fn guarded(&mut self, job: Job) -> Report {
        let panicked = job.failure("a bug in leek-agent: writing panicked");
        // Nothing of ours is left half done: the quarantine looks at its files anew with each job,
        // the spool changes what it knows of its files after them.
        catch_unwind(AssertUnwindSafe(|| self.carry_out(job))).unwrap_or(panicked)
    }

    fn carry_out(&mut self, job: Job) -> Report {
        match job {
            Job::Quarantine { write, documents } => {
                let written = match &self.files.quarantine {
                    Some(files) => files.append(&documents, clock::wall_ms()),
                    None => Written::default(),
                };
                Report::Quarantined { write, written }
            }
            Job::Spool(order) => {
                let outcome = self.spool(order);
                let figures = self.spool.as_ref().map(Spool::figures);
                Report::Spool(Answer { outcome, figures })
            }
        }
    }

    fn spool(&mut self, order: Order) -> Result<Outcome, String> {
        if self.spool.is_none() {
            let place = self.files.spool.as_ref();
            let (place, name) = place.ok_or("a bug in leek-agent: there is no spool")?;
            let opened = Spool::open(&place.dir, name, place.max_bytes);
            self.spool = Some(opened.map_err(|failure| failure.to_string())?);
        }
        let spool = self.spool.as_mut().expect("it was opened");
        let outcome = match order {
            Order::Open => Ok(Outcome::Opened {
                events: spool.unread(),
            }),
            Order::Write {
                body,
                documents,
                kept,
            } => spool.append(&body, &documents, kept).map(Outcome::Written),
            Order::Read => spool.read().map(Outcome::Read),
            Order::Forget { through } => {
                spool.forget(through);
                Ok(Outcome::Forgotten)
            }
        };
        outcome.map_err(|failure| failure.to_string())
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
            spool: None,
        };
        let mut disk = Disk::of(files, move |report| sender.send(report).unwrap());
        assert!(
            disk.jobs.is_none(),
            "no thread before there is something to write"
        );
        for number in 0..3 {
            disk.submit(job(number));
            let report = reports.recv_timeout(SOON).unwrap();
            let Report::Quarantined { write, written } = report else {
                panic!("{report:?}");
            };
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
        let files = Files {
            quarantine: None,
            spool: None,
        };
        let mut disk = Disk::of(files, move |report| {
            let Report::Quarantined { write, ref written } = report else {
                panic!("{report:?}");
            };
            if written.lost == 0 {
                let _ = held.lock().unwrap().recv();
            }
            let _ = sender.send(write);
        });
        disk.submit(job(1));
        // The thread holds the first, the queue as many as it may; the next is reported at once.
        let mut number = 2;
        let refused = loop {
            disk.submit(job(number));
            if let Ok(write) = reports.try_recv() {
                break write;
            }
            number += 1;
        };
        assert_eq!(refused, WriteId(number));
        assert!(number <= 2 + JOBS as u64, "{number}");
        drop(release);
        assert_eq!(reports.recv_timeout(SOON), Ok(WriteId(1)));
    }
}
