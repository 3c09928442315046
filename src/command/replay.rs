//! `leek-agent replay`: sends the documents of quarantine files to the API once more, and says what
//! became of them. The files are only read. The API keys documents by their id, so that sending one
//! twice changes nothing.

mod lines;
mod queue;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use self::lines::{Found, Lines};
use self::queue::Queue;
use crate::config::{Config, Subscription};
use crate::pipeline::verdict::plain;
use crate::store::line::{self, Line};

/// Unknown subscriptions that are told by name; with more, the file is none of ours.
const MAX_UNKNOWN: usize = 100;

/// What the command line says.
#[derive(Debug)]
pub struct Options {
    pub config: Config,
    pub files: Vec<PathBuf>,
}

/// How it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    AllStored,
    /// Some were refused again, or could not be sent.
    SomeLeft,
    /// An API took nothing, or nothing more.
    Unavailable,
}

/// Why nothing was sent.
#[derive(Debug)]
pub enum ReplayError {
    /// `FILE: expected …`
    File(String),
    /// A subscription's uploader does not start.
    Uploader(io::Error),
}

/// Sends every line of every file; `tell` gets the report line by line.
pub fn run(options: &Options, tell: &mut dyn FnMut(&str)) -> Result<Outcome, ReplayError> {
    let files = options.files.iter().map(|path| open(path));
    let files: Vec<File> = files.collect::<Result<_, _>>()?;
    let mut replay = Replay {
        subscriptions: &options.config.subscriptions,
        queues: BTreeMap::new(),
        unknown: BTreeMap::new(),
        skipped: 0,
        tell,
    };
    for (file, path) in files.into_iter().zip(&options.files) {
        replay.send(file, &path.display().to_string())?;
    }
    Ok(replay.finish())
}

fn open(path: &Path) -> Result<File, ReplayError> {
    let opened = File::open(path).and_then(|file| match file.metadata()?.is_dir() {
        true => Err(io::ErrorKind::IsADirectory.into()),
        false => Ok(file),
    });
    opened.map_err(|error| {
        let reason = error.to_string().to_lowercase();
        let reason = reason.split(" (os error").next().unwrap_or_default();
        let path = path.display();
        ReplayError::File(format!(
            "{path}: expected a quarantine file that can be read: {reason}"
        ))
    })
}

struct Replay<'a> {
    subscriptions: &'a [Subscription],
    /// By the subscription's name.
    queues: BTreeMap<&'a str, Queue>,
    /// Documents of subscriptions that are not configured.
    unknown: BTreeMap<String, u64>,
    /// Lines that are no documents.
    skipped: u64,
    tell: &'a mut dyn FnMut(&str),
}

impl Replay<'_> {
    fn send(&mut self, file: File, name: &str) -> Result<(), ReplayError> {
        let mut lines = Lines::new(file);
        loop {
            let place = format!("{name}:{}", lines.number() + 1);
            match lines.next() {
                Ok(Found::End) => return Ok(()),
                Ok(Found::Line(text)) => match line::read(text) {
                    Ok(line) => self.document(&line)?,
                    Err(reason) => self.skip(&place, &reason),
                },
                Ok(Found::TooLong) => {
                    self.skip(&place, "longer than any line of a quarantine file")
                }
                Err(error) => {
                    self.skip(&place, &format!("not readable from here on: {error}"));
                    return Ok(());
                }
            }
        }
    }

    fn skip(&mut self, place: &str, reason: &str) {
        self.skipped += 1;
        (self.tell)(&format!("{place}: skipped: {reason}"));
    }

    fn document(&mut self, line: &Line<'_>) -> Result<(), ReplayError> {
        let named = |one: &&Subscription| one.name == line.subscription;
        let Some(subscription) = self.subscriptions.iter().find(named) else {
            self.count_unknown(&line.subscription);
            return Ok(());
        };
        if !self.queues.contains_key(subscription.name.as_str()) {
            let queue = Queue::start(subscription).map_err(ReplayError::Uploader)?;
            self.queues.insert(&subscription.name, queue);
        }
        if let Some(queue) = self.queues.get_mut(subscription.name.as_str()) {
            queue.push(line, self.tell);
        }
        Ok(())
    }

    fn count_unknown(&mut self, name: &str) {
        let name = plain(name);
        let is_new = !self.unknown.contains_key(&name);
        let name = match is_new && self.unknown.len() >= MAX_UNKNOWN {
            true => "others".to_owned(),
            false => name,
        };
        *self.unknown.entry(name).or_default() += 1;
    }

    /// Sends what waits, and sums up.
    fn finish(mut self) -> Outcome {
        let mut outcome = match self.skipped {
            0 => Outcome::AllStored,
            _ => Outcome::SomeLeft,
        };
        for queue in self.queues.values_mut() {
            outcome = outcome.max(queue.finish(self.tell));
        }
        for (name, documents) in &self.unknown {
            let text =
                format!("{name}: {documents} not sent: no subscription of that name is configured");
            (self.tell)(&text);
            outcome = outcome.max(Outcome::SomeLeft);
        }
        if self.skipped > 0 {
            (self.tell)(&format!("lines skipped: {}", self.skipped));
        }
        outcome
    }
}
