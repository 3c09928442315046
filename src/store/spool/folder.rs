//! The folder that a spool's segments lie in: their names, their making and removal, and who may
//! use it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufReader, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::failure::{Failure, fails};
use super::record::{Kind, MAGIC, Reader, Record};
use crate::lock::Lock;
use crate::pipeline::spool::RecordId;

/// Events are for nobody else's eyes.
const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;

/// A folder as far as it belongs to one spool; nobody else uses those files while this lives.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// The spool's name, which the names of its files begin with.
    name: String,
    _lock: Lock,
}

/// What is in a segment.
#[derive(Debug)]
pub struct Scan {
    /// Bytes of whole records.
    pub good: u64,
    /// Bytes behind them.
    pub torn: u64,
    pub end: End,
    /// The oldest and the newest batch.
    pub first: Option<RecordId>,
    pub last: Option<RecordId>,
    /// The newest mark of what was delivered.
    pub done: Option<RecordId>,
    /// Where the first batch behind those to be skipped begins, and the events from there on.
    pub begins: u64,
    pub events: u64,
}

/// What a segment's good part is followed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Nothing: what was torn is cut off.
    Clean,
    /// Something that the disk cannot read now, and that is left alone.
    Unreadable,
}

impl Folder {
    /// Makes the folder if it does not exist, and takes it.
    pub fn open(path: &Path, name: &str) -> Result<Folder, Failure> {
        make(path).map_err(fails(path))?;
        let lock = path.join(format!("{name}.lock"));
        let mut options = OpenOptions::new();
        let made = options
            .append(true)
            .create(true)
            .mode(FILE_MODE)
            .open(&lock);
        made.map_err(fails(&lock))?;
        Ok(Folder {
            path: path.to_owned(),
            name: name.to_owned(),
            _lock: Lock::take(&lock).map_err(|error| Failure::locked(&lock, error))?,
        })
    }

    /// Where the segment of that number is.
    pub fn path(&self, number: u64) -> PathBuf {
        self.path.join(format!("{}-{number:08}.spool", self.name))
    }

    /// The numbers of all segments that are there, the oldest first.
    pub fn numbers(&self) -> Result<Vec<u64>, Failure> {
        let entries = fs::read_dir(&self.path).and_then(Iterator::collect);
        let entries: Vec<fs::DirEntry> = entries.map_err(fails(&self.path))?;
        let names = entries.iter().map(fs::DirEntry::file_name);
        let numbers = names.filter_map(|name| self.number(name.to_str()?));
        let mut numbers: Vec<u64> = numbers.collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn number(&self, file: &str) -> Option<u64> {
        let number = file.strip_prefix(&self.name)?.strip_prefix('-')?;
        number.strip_suffix(".spool")?.parse().ok()
    }

    /// A new segment without records, which a power cut leaves in the folder.
    pub fn create(&self, number: u64) -> Result<File, Failure> {
        let path = self.path(number);
        let mut options = OpenOptions::new();
        options.append(true).create_new(true).mode(FILE_MODE);
        let mut file = options.open(&path).map_err(fails(&path))?;
        let begun = file
            .write_all(&MAGIC)
            .and_then(|()| sync_folder(&self.path));
        if let Err(error) = begun {
            let _ = fs::remove_file(&path);
            return Err(fails(&path)(error));
        }
        Ok(file)
    }

    /// A segment to go on with behind its first `good` bytes.
    pub fn append(&self, number: u64, good: u64) -> Result<File, Failure> {
        let path = self.path(number);
        let file = OpenOptions::new().append(true).open(&path);
        let cut = file.and_then(|file| file.set_len(good).map(|()| file));
        cut.map_err(fails(&path))
    }

    /// Removes a segment; one that is gone already is as good.
    pub fn remove(&self, number: u64) -> Result<(), Failure> {
        let path = self.path(number);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(fails(&path)(error)),
            _ => Ok(()),
        }
    }

    /// Reads a segment through and cuts off what is not whole. Batches up to and including `skip`
    /// are none of the events.
    pub fn scan(&self, number: u64, skip: Option<RecordId>) -> Result<Scan, Failure> {
        let path = self.path(number);
        let file = File::open(&path).map_err(fails(&path))?;
        let length = file.metadata().map_err(fails(&path))?.len();
        let mut reader = Reader::new(BufReader::new(file), number);
        let mut scan = Scan::new();
        loop {
            match reader.read_next() {
                Ok(Some(record)) => scan.count(&record, skip),
                Ok(None) => break,
                Err(_) => {
                    scan.end = End::Unreadable;
                    break;
                }
            }
            if scan.events == 0 {
                scan.begins = reader.position();
            }
        }
        scan.good = reader.position();
        scan.torn = length.saturating_sub(scan.good);
        if scan.torn > 0 && scan.end == End::Clean {
            self.append(number, scan.good)?;
        }
        Ok(scan)
    }
}

impl Scan {
    fn new() -> Scan {
        Scan {
            good: 0,
            torn: 0,
            end: End::Clean,
            first: None,
            last: None,
            done: None,
            begins: 0,
            events: 0,
        }
    }

    fn count(&mut self, record: &Record<'_>, skip: Option<RecordId>) {
        let id = Some(record.id);
        match record.kind {
            Kind::Done => self.done = self.done.max(id),
            Kind::Batch => {
                self.first = self.first.or(id);
                self.last = id;
                if id > skip {
                    self.events += u64::from(record.events);
                }
            }
        }
    }
}

fn make(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(FOLDER_MODE).create(path)?;
    let parent = path.parent().unwrap_or(path);
    match parent.as_os_str().is_empty() {
        true => sync_folder(Path::new(".")),
        false => sync_folder(parent),
    }
}

/// Until then a power cut may forget which files a folder has.
fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
