//! A subscription's spool: a folder of append-only segments, oldest first, of bounded size.
//!
//! It blocks, and belongs on the disk thread. It survives a power cut at any byte: what was written
//! before is read back, a torn rest is cut off and counted, and whatever it finds it goes on. What is
//! written, and when, is not its business (`pipeline::spool` decides).
//!
//! ```text
//!   shop-qa-00000007.spool    shop-qa-00000008.spool    shop-qa-00000009.spool
//!   ├─ delivered ─┼─ read ────┼─────── to be read ──────┼─ to be read ─┤ ◄── appended
//! ```
//!
//! A segment goes when all of its batches are delivered, or when it is the oldest and room is needed.

mod failure;
mod folder;
pub mod record;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

pub use self::failure::Failure;
use self::failure::fails;
use self::folder::{End, Folder, Scan};
use self::record::{Draft, HEADER, Kind, MAGIC, Reader};
use crate::document::Body;
use crate::pipeline::spool::{Figures, Kept, RecordId};

/// A full spool gives up a sixteenth at a time: little is lost, and there are few files.
const SEGMENTS: u64 = 16;

/// A smaller segment would be little more than one batch.
const SEGMENT_MIN: u64 = 256 * 1024;

/// A disk may recover from an error; after this many in a row the rest of a segment is given up, so
/// that what lies behind a bad spot is still delivered.
const READ_TRIES: u32 = 3;

/// See the module's text.
#[derive(Debug)]
pub struct Spool {
    folder: Folder,
    max_bytes: u64,
    segments: VecDeque<Segment>,
    /// The last segment, while it can be appended to.
    tail: Option<File>,
    next_segment: u64,
    next_id: u64,
    last_read: Option<RecordId>,
    failed_reads: u32,
    figures: Figures,
}

#[derive(Debug)]
struct Segment {
    number: u64,
    /// Bytes that are good.
    length: u64,
    /// Up to here it was read.
    read: u64,
    /// Events behind that.
    unread: u64,
    /// The newest batch in it.
    last: Option<RecordId>,
}

impl Segment {
    fn is_done(&self, through: RecordId) -> bool {
        self.unread == 0 && self.last <= Some(through)
    }
}

/// When the disk must have what is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flush {
    Now,
    Later,
}

impl Spool {
    /// Opens the spool called `name` in `folder`, which is made if it does not exist, and reads what
    /// is there.
    pub fn open(folder: &Path, name: &str, max_bytes: u64) -> Result<Spool, Failure> {
        let mut spool = Spool {
            folder: Folder::open(folder, name)?,
            max_bytes,
            segments: VecDeque::new(),
            tail: None,
            next_segment: 1,
            next_id: 1,
            last_read: None,
            failed_reads: 0,
            figures: Figures::default(),
        };
        spool.recover()?;
        Ok(spool)
    }

    /// Events that wait to be read.
    pub fn unread(&self) -> u64 {
        self.segments.iter().map(|segment| segment.unread).sum()
    }

    pub fn figures(&self) -> Figures {
        self.figures
    }

    /// Appends those documents of `body`, and returns when the disk has them. A batch that is also
    /// kept in memory will not be read; all before it must have been.
    pub fn append(
        &mut self,
        body: &Body,
        documents: &[usize],
        kept: Kept,
    ) -> Result<RecordId, Failure> {
        let id = RecordId(self.next_id);
        let too_large = || Failure::too_large(body.bytes().len() as u64, self.max_bytes);
        let draft = Draft::batch(id, body, documents).ok_or_else(too_large)?;
        let need = draft.size() + MAGIC.len() as u64;
        if need > self.max_bytes {
            return Err(too_large());
        }
        while self.bytes() + need > self.max_bytes {
            self.remove_oldest()?;
        }
        let events = u64::from(draft.events());
        self.write(draft, Flush::Now)?;
        self.next_id += 1;
        let segment = self.segments.back_mut().expect("it was written to one");
        segment.last = Some(id);
        match kept {
            Kept::OnDiskOnly => segment.unread += events,
            Kept::InMemoryToo => segment.read = segment.length,
        }
        Ok(id)
    }

    /// The oldest batch that was not read yet.
    pub fn read(&mut self) -> Result<Option<(RecordId, Body)>, Failure> {
        while let Some(index) = self.segments.iter().position(|one| one.unread > 0) {
            match self.read_from(index) {
                Ok((id, body)) => {
                    self.failed_reads = 0;
                    self.last_read = Some(id);
                    return Ok(Some((id, body)));
                }
                Err(error) => {
                    self.failed_reads += 1;
                    let is_damaged = error.kind() == io::ErrorKind::InvalidData;
                    if !is_damaged && self.failed_reads < READ_TRIES {
                        let path = self.folder.path(self.segments[index].number);
                        return Err(fails(&path)(error));
                    }
                    self.failed_reads = 0;
                    self.give_up_rest(index);
                }
            }
        }
        Ok(None)
    }

    /// Everything up to and including `through` was delivered: forgets it. A mark that the disk does not get
    /// costs duplicates after the next start, so that no failure is told.
    pub fn forget(&mut self, through: RecordId) {
        let is_done = |one: &Segment| one.is_done(through);
        while self.segments.front().is_some_and(is_done) {
            if self.remove_oldest().is_err() {
                return;
            }
        }
        let is_begun = self
            .segments
            .front()
            .is_some_and(|one| one.read > MAGIC.len() as u64);
        let fits = self.bytes() + HEADER as u64 <= self.max_bytes;
        if is_begun && fits && self.tail.is_some() {
            let _ = self.append_to_tail(Draft::done(through), Flush::Later);
        }
    }

    /// Bytes of all segments.
    fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.length).sum()
    }

    // --- writing

    /// Writes to the last segment, or to a new one where that is full or cannot be written to.
    fn write(&mut self, draft: Draft, flush: Flush) -> Result<(), Failure> {
        let segment_bytes = (self.max_bytes / SEGMENTS).max(SEGMENT_MIN);
        let is_full = |one: &Segment| one.length + draft.size() > segment_bytes;
        if self.tail.is_none() || self.segments.back().is_none_or(is_full) {
            self.begin_segment()?;
        }
        self.append_to_tail(draft, flush)
    }

    fn begin_segment(&mut self) -> Result<(), Failure> {
        let number = self.next_segment;
        self.next_segment += 1;
        self.tail = Some(self.folder.create(number)?);
        self.figures.written += MAGIC.len() as u64;
        self.segments.push_back(Segment {
            number,
            length: MAGIC.len() as u64,
            read: MAGIC.len() as u64,
            unread: 0,
            last: None,
        });
        Ok(())
    }

    fn append_to_tail(&mut self, draft: Draft, flush: Flush) -> Result<(), Failure> {
        let (Some(file), Some(segment)) = (&mut self.tail, self.segments.back_mut()) else {
            return Ok(());
        };
        let bytes = draft.seal(segment.number);
        let written = file.write_all(&bytes).and_then(|()| match flush {
            Flush::Now => file.sync_data(),
            Flush::Later => Ok(()),
        });
        if let Err(error) = written {
            let failure = fails(&self.folder.path(segment.number))(error);
            self.take_back();
            return Err(failure);
        }
        segment.length += bytes.len() as u64;
        self.figures.written += bytes.len() as u64;
        Ok(())
    }

    /// Cuts off what a failed write left. A segment that cannot be cut is not appended to again.
    fn take_back(&mut self) {
        let length = self.segments.back().map_or(0, |segment| segment.length);
        self.tail.take_if(|file| file.set_len(length).is_err());
    }

    fn remove_oldest(&mut self) -> Result<(), Failure> {
        if let Some(oldest) = self.segments.front() {
            self.folder.remove(oldest.number)?;
            self.figures.lost += oldest.unread;
            self.segments.pop_front();
        }
        if self.segments.is_empty() {
            self.tail = None;
        }
        Ok(())
    }

    // --- reading

    fn read_from(&mut self, index: usize) -> io::Result<(RecordId, Body)> {
        let segment = &mut self.segments[index];
        let mut file = File::open(self.folder.path(segment.number))?;
        file.seek(SeekFrom::Start(segment.read))?;
        let mut reader = Reader::resume(file, segment.number, segment.read);
        while let Some(record) = reader.read_next()? {
            if record.kind == Kind::Batch {
                let (id, events) = (record.id, u64::from(record.events));
                let body = record::body(record.payload).ok_or(io::ErrorKind::InvalidData)?;
                segment.read = reader.position();
                segment.unread = segment.unread.saturating_sub(events);
                return Ok((id, body));
            }
        }
        Err(io::ErrorKind::InvalidData.into())
    }

    /// What is left of a segment cannot be read: what lies behind it still can.
    fn give_up_rest(&mut self, index: usize) {
        let segment = &mut self.segments[index];
        self.figures.lost += std::mem::take(&mut segment.unread);
        self.figures.torn += segment.length - segment.read;
        segment.read = segment.length;
        segment.last = self.last_read;
        if index + 1 == self.segments.len() {
            self.tail = None;
        }
    }

    // --- what the last run left

    fn recover(&mut self) -> Result<(), Failure> {
        let mut scans = Vec::new();
        for number in self.folder.numbers()? {
            let scan = self.folder.scan(number, None)?;
            self.figures.torn += scan.torn;
            let newest = scan.last.max(scan.done).map_or(0, |id| id.0);
            self.next_id = self.next_id.max(newest + 1);
            self.next_segment = number + 1;
            scans.push((number, scan));
        }
        let done = scans.iter().filter_map(|(_, scan)| scan.done).max();
        for (number, scan) in scans {
            self.keep_undone(number, scan, done)?;
        }
        Ok(())
    }

    /// What was delivered before is not read again. The last segment is gone on with if it is sound.
    fn keep_undone(
        &mut self,
        number: u64,
        scan: Scan,
        done: Option<RecordId>,
    ) -> Result<(), Failure> {
        self.tail = None;
        if scan.last <= done {
            return self.folder.remove(number);
        }
        let rest = match scan.first <= done {
            true => self.folder.scan(number, done)?,
            false => scan,
        };
        self.segments.push_back(Segment {
            number,
            length: rest.good,
            read: rest.begins,
            unread: rest.events,
            last: rest.last,
        });
        if rest.end == End::Clean {
            self.tail = Some(self.folder.append(number, rest.good)?);
        }
        Ok(())
    }
}
