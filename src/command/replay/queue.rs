//! The documents of one subscription: collected into batches, posted in the order of their lines.

use std::collections::HashSet;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use super::Outcome;
use crate::config::{BatchLimits, Subscription};
use crate::document::Body;
use crate::pipeline::resend::{Next, Resend, Tally};
use crate::pipeline::verdict::{RefusedDocument, Verdict, plain};
use crate::store::line::Line;
use crate::upload::{Endpoint, Job, PostBody, Report, Uploader};

/// Writes a line of the report.
type Tell<'a> = &'a mut dyn FnMut(&str);

/// See the module's text.
pub struct Queue {
    name: String,
    limits: BatchLimits,
    uploader: Uploader,
    verdicts: Receiver<Verdict>,
    resend: Resend,
    /// The batch that is not sent yet.
    open: Vec<Vec<u8>>,
    /// Bytes of the open batch as a POST body.
    bytes: usize,
    /// The ids in the open batch.
    ids: HashSet<Vec<u8>>,
    /// Lines so far.
    documents: u64,
    /// Nothing more can be stored.
    stopped: bool,
}

impl Queue {
    pub fn start(subscription: &Subscription) -> io::Result<Self> {
        let (sender, verdicts) = channel();
        let uploader = Uploader::start(&Endpoint::of(subscription), 1, move |report| {
            if let Report::Posted { verdict, .. } = report {
                // The queue is gone only when the command ends.
                let _ = sender.send(verdict);
            }
        })?;
        Ok(Queue {
            name: subscription.name.clone(),
            limits: subscription.batch,
            uploader,
            verdicts,
            resend: Resend::new(fastrand::u64(..)),
            open: Vec::new(),
            bytes: 0,
            ids: HashSet::new(),
            documents: 0,
            stopped: false,
        })
    }

    /// Takes a document; sends what is open where there is no room for it. Of two documents with one
    /// id the later line must arrive later, which only two batches ensure.
    pub fn push(&mut self, line: &Line<'_>, tell: Tell<'_>) {
        self.documents += 1;
        if self.stopped {
            return;
        }
        // A batch's brackets, or what stands between two documents.
        let bytes = line.document.len() + 2;
        let is_full = self.open.len() >= self.limits.max_messages
            || self.bytes + bytes > self.limits.max_bytes;
        if is_full || self.ids.contains(line.id) {
            self.send(tell);
        }
        self.ids.insert(line.id.to_vec());
        self.open.push(line.document.to_vec());
        self.bytes += bytes;
    }

    /// Sends what is open, and sums up.
    pub fn finish(&mut self, tell: Tell<'_>) -> Outcome {
        self.send(tell);
        let Tally { stored, refused } = self.resend.tally();
        let (name, documents) = (&self.name, self.documents);
        let left = documents - stored - refused;
        tell(&format!(
            "{name}: {stored} of {documents} documents stored, {refused} refused again, {left} not sent"
        ));
        match (self.stopped, stored == documents) {
            (true, _) => Outcome::Unavailable,
            (false, false) => Outcome::SomeLeft,
            (false, true) => Outcome::AllStored,
        }
    }

    fn send(&mut self, tell: Tell<'_>) {
        let body = Body::of(self.open.iter().map(Vec::as_slice));
        self.open.clear();
        self.ids.clear();
        self.bytes = 0;
        if self.stopped || body.documents() == 0 {
            return;
        }
        self.resend.take(body);
        while let Some((body, documents)) = self.resend.next_post() {
            let verdict = self.post(body, documents);
            let next = self.resend.answered(verdict);
            self.tell_refused(tell);
            match next {
                Next::Post => {}
                Next::After(delay, reason) => self.wait(delay, &reason, tell),
                Next::Stop(reason) => {
                    self.stopped = true;
                    return tell(&format!("{}: stopped: {reason}", self.name));
                }
            }
        }
    }

    fn post(&self, body: Arc<Body>, documents: Range<usize>) -> Verdict {
        let body = PostBody::new(body, documents);
        self.uploader.submit(Job::Post { id: 0, body });
        self.verdicts.recv().unwrap_or_else(|_| Verdict::Unwell {
            status: None,
            reason: "a bug in leek-agent: the uploader is gone".to_owned(),
            retry_after: None,
        })
    }

    fn tell_refused(&mut self, tell: Tell<'_>) {
        for RefusedDocument { id, reason } in self.resend.take_refused() {
            let (name, id) = (&self.name, plain(&id));
            tell(&format!("{name}: {id}: refused again: {reason}"));
        }
    }

    fn wait(&self, delay: Duration, reason: &str, tell: Tell<'_>) {
        let seconds = delay.as_secs_f64();
        let name = &self.name;
        tell(&format!(
            "{name}: the api is not well: {reason}: trying again in {seconds:.1} s"
        ));
        // Nothing is on its way, so nothing comes: the time passes.
        let _ = self.verdicts.recv_timeout(delay);
    }
}
