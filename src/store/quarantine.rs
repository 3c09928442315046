//! The quarantine files of one subscription: what the API refused, for a person to look at and for
//! `leek-agent replay` to send again.
//!
//! `DIR/shop-prod-000001.jsonl` and so on: one refused document a line, the newest at the end of the
//! last file. Nothing is remembered between two writes: each looks at the directory anew, so files
//! and directory may vanish, be cut or be replaced at any time.

use std::collections::VecDeque;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::config::quarantine::Quarantine;
use crate::logging::timestamp::rfc3339;
use crate::pipeline::quarantine::{Refused, Written};
use crate::store::line;

/// Files that the bound is divided into. The oldest is removed as a whole, so at least 7/8 of the
/// bound are kept.
const FILES: u64 = 8;

/// Where one subscription's files lie.
#[derive(Debug, Clone)]
pub struct QuarantineFiles {
    dir: PathBuf,
    max_bytes: u64,
    subscription: String,
}

impl QuarantineFiles {
    pub fn new(place: &Quarantine, subscription: &str) -> Self {
        QuarantineFiles {
            dir: place.dir.clone(),
            max_bytes: place.max_bytes,
            subscription: subscription.to_owned(),
        }
    }

    /// Appends the documents in their order, and answers once they would survive a power cut. What
    /// the disk does not take is counted with the reason.
    pub fn append(&self, documents: &[Refused], wall_ms: i64) -> Written {
        let mut writer = Writer::new(self);
        let stamp = rfc3339(wall_ms);
        let mut line = Vec::new();
        for (index, refused) in documents.iter().enumerate() {
            line.clear();
            line::write(&mut line, &stamp, &self.subscription, refused);
            if line.len() as u64 > self.max_bytes {
                writer.lose(1, self.too_large(line.len()));
            } else if let Err(error) = writer.append(&line) {
                writer.lose((documents.len() - index) as u64, self.failed(&error));
                break;
            }
        }
        if let Err(error) = writer.flush() {
            writer.lose(0, self.failed(&error));
        }
        writer.written
    }

    fn path(&self, number: u64) -> PathBuf {
        let name = format!("{}-{number:06}.jsonl", self.subscription);
        self.dir.join(name)
    }

    /// The number of one of this subscription's files.
    fn number(&self, name: &str) -> Option<u64> {
        let rest = name.strip_prefix(&self.subscription)?.strip_prefix('-')?;
        let digits = rest.strip_suffix(".jsonl")?;
        let all_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
        all_digits.then(|| digits.parse().ok()).flatten()
    }

    /// The files that are there, oldest first.
    fn list(&self) -> io::Result<VecDeque<Known>> {
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.make_dir()?;
                return Ok(VecDeque::new());
            }
            Err(error) => return Err(error),
        };
        let mut files = Vec::new();
        for entry in entries {
            let entry = entry?;
            let number = entry
                .file_name()
                .to_str()
                .and_then(|name| self.number(name));
            // A link or a device of that name is none of ours; what vanishes meanwhile is gone.
            if let (Some(number), Ok(metadata)) = (number, entry.metadata())
                && metadata.is_file()
            {
                let bytes = metadata.len();
                files.push(Known { number, bytes });
            }
        }
        files.sort_unstable_by_key(|file| file.number);
        Ok(files.into())
    }

    fn make_dir(&self) -> io::Result<()> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.dir)?;
        match self.dir.parent() {
            Some(parent) if parent != Path::new("") => sync_dir(parent),
            _ => sync_dir(Path::new(".")),
        }
    }

    fn failed(&self, error: &io::Error) -> String {
        use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem, StorageFull};
        let mend = match error.kind() {
            PermissionDenied | ReadOnlyFilesystem => {
                ": name a directory that the agent may write with --quarantine-dir, or keep none with --quarantine-max-mb 0"
            }
            StorageFull | io::ErrorKind::QuotaExceeded => ": free space on its disk",
            _ => ": check --quarantine-dir and its disk",
        };
        let text = error.to_string();
        let text = text.split(" (os error").next().unwrap_or_default();
        format!("{}: {}{mend}", self.dir.display(), text.to_lowercase())
    }

    fn too_large(&self, bytes: usize) -> String {
        format!(
            "a document of {bytes} bytes: expected at most {}: raise --quarantine-max-mb",
            self.max_bytes
        )
    }
}

/// A file that is there.
#[derive(Debug)]
struct Known {
    number: u64,
    bytes: u64,
}

/// The files while one job is carried out.
struct Writer<'a> {
    place: &'a QuarantineFiles,
    files: VecDeque<Known>,
    /// The last of `files`.
    open: Option<File>,
    /// Documents in the open file that a power cut would take.
    unsynced: u64,
    written: Written,
}

impl<'a> Writer<'a> {
    fn new(place: &'a QuarantineFiles) -> Self {
        Writer {
            place,
            files: VecDeque::new(),
            open: None,
            unsynced: 0,
            written: Written::default(),
        }
    }

    fn lose(&mut self, documents: u64, reason: String) {
        self.written.lost += documents;
        self.written.reason = Some(reason);
    }

    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        if self.open.is_none() {
            self.files = self.place.list()?;
        }
        let length = line.len() as u64;
        let is_full =
            |file: &Known| file.bytes > 0 && file.bytes + length > self.place.max_bytes / FILES;
        match self.files.back() {
            None => self.start_file(1)?,
            Some(last) if is_full(last) => {
                let next = last.number + 1;
                self.flush()?;
                self.start_file(next)?;
            }
            Some(_) if self.open.is_none() => self.open_last()?,
            Some(_) => {}
        }
        self.make_room(length)?;
        self.write(line)?;
        self.unsynced += 1;
        Ok(())
    }

    /// Starts the file of that number, or of a later one where something else has the name.
    fn start_file(&mut self, first: u64) -> io::Result<()> {
        let mut number = first;
        let file = loop {
            let mut options = OpenOptions::new();
            options.append(true).create_new(true).mode(0o600);
            match options.open(self.place.path(number)) {
                Err(error)
                    if error.kind() == io::ErrorKind::AlreadyExists && number < first + FILES =>
                {
                    number += 1;
                }
                opened => break opened?,
            }
        };
        sync_dir(&self.place.dir)?;
        self.files.push_back(Known { number, bytes: 0 });
        self.use_file(file, number);
        Ok(())
    }

    /// A power cut may have torn the last line: what comes next begins on a line of its own.
    fn open_last(&mut self) -> io::Result<()> {
        let Some(last) = self.files.back_mut() else {
            return Ok(());
        };
        let path = self.place.path(last.number);
        let mut file = OpenOptions::new().read(true).append(true).open(path)?;
        last.bytes = file.seek(SeekFrom::End(0))?;
        let mut end = [b'\n'];
        if last.bytes > 0 {
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut end)?;
        }
        let number = last.number;
        self.use_file(file, number);
        match end {
            [b'\n'] => Ok(()),
            _ => self.write(b"\n"),
        }
    }

    fn use_file(&mut self, file: File, number: u64) {
        self.open = Some(file);
        self.written.file = Some(self.place.path(number).display().to_string());
    }

    /// Removes the oldest files until so many bytes more are within the bound. The open one stays.
    fn make_room(&mut self, bytes: u64) -> io::Result<()> {
        let total = |files: &VecDeque<Known>| files.iter().map(|file| file.bytes).sum::<u64>();
        while self.files.len() > 1 && total(&self.files) + bytes > self.place.max_bytes {
            let oldest = self.place.path(self.files[0].number);
            let documents = count_lines(&oldest).unwrap_or(0);
            match fs::remove_file(&oldest) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => self.written.evicted += documents,
            }
            self.files.pop_front();
        }
        Ok(())
    }

    /// Writes all of it to the open file, or nothing.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (Some(file), Some(known)) = (&mut self.open, self.files.back_mut()) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        if let Err(error) = file.write_all(bytes) {
            // A disk that is full may have taken a part. If that cannot be undone either, the next
            // write starts on a new line.
            let _ = file.set_len(known.bytes);
            return Err(error);
        }
        known.bytes += bytes.len() as u64;
        Ok(())
    }

    /// What the open file got is on the disk afterwards, or lost.
    fn flush(&mut self) -> io::Result<()> {
        let documents = std::mem::take(&mut self.unsynced);
        let Some(file) = self.open.take() else {
            return Ok(());
        };
        let synced = file.sync_data();
        match synced {
            Ok(()) => self.written.kept += documents,
            Err(_) => self.written.lost += documents,
        }
        synced
    }
}

fn count_lines(path: &Path) -> io::Result<u64> {
    let mut file = File::open(path)?;
    let mut piece = [0; 8192];
    let mut lines = 0;
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(lines),
            length => {
                lines += piece[..length]
                    .iter()
                    .filter(|&&byte| byte == b'\n')
                    .count() as u64
            }
        }
    }
}

/// A new name in a directory survives a power cut only once the directory is flushed, too. Not every
/// directory may be read, and not every file system can do it: there the name is kept as it is.
fn sync_dir(dir: &Path) -> io::Result<()> {
    use io::ErrorKind::{InvalidInput, PermissionDenied};
    match File::open(dir).and_then(|dir| dir.sync_all()) {
        Err(error) if !matches!(error.kind(), InvalidInput | PermissionDenied) => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::sync::Arc;

    use serde_json::Value;
    use tempfile::TempDir;

    use super::*;
    use crate::document::Body;
    use crate::pipeline::quarantine::Cause;

    const NOW_MS: i64 = 1_700_000_000_123;

    /// A gateway's disk, and the files of one subscription on it.
    struct Bench {
        folder: TempDir,
        files: QuarantineFiles,
    }

    impl Bench {
        fn new(max_bytes: u64) -> Bench {
            let folder = tempfile::tempdir().unwrap();
            let dir = folder.path().join("state/quarantine");
            let place = Quarantine { dir, max_bytes };
            let files = QuarantineFiles::new(&place, "shop-qa");
            Bench { folder, files }
        }

        fn append(&self, documents: &[Refused]) -> Written {
            self.files.append(documents, NOW_MS)
        }

        fn dir(&self) -> &Path {
            &self.files.dir
        }

        fn sizes(&self) -> Vec<(String, u64)> {
            let files = self.files.list().unwrap().into_iter();
            let name = |path: PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
            files
                .map(|file| (name(self.files.path(file.number)), file.bytes))
                .collect()
        }

        fn lines(&self) -> Vec<String> {
            let paths = self
                .sizes()
                .into_iter()
                .map(|(name, _)| self.dir().join(name));
            let texts = paths.map(|path| fs::read_to_string(path).unwrap());
            texts
                .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
                .collect()
        }

        /// The ids of all documents, oldest first.
        fn ids(&self) -> Vec<String> {
            let values = self.lines().into_iter().map(|line| {
                let value: Value = serde_json::from_str(&line).unwrap();
                value["document"]["id"].as_str().unwrap().to_owned()
            });
            values.collect()
        }
    }

    fn refused(document: &str) -> Refused {
        Refused {
            body: Arc::new(Body::of([document.as_bytes()])),
            document: 0,
            cause: Cause::Alone,
            answer: "422: \"no\"".into(),
        }
    }

    fn task(number: usize, filling: usize) -> Refused {
        let args = "x".repeat(filling);
        refused(&format!(r#"{{"id": "task-{number}", "args": "{args}"}}"#))
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn documents_are_kept_in_their_order() {
        let bench = Bench::new(100_000);
        let written = bench.append(&[task(2, 0), task(1, 0)]);
        let file = bench.dir().join("shop-qa-000001.jsonl");
        let expected = Written {
            kept: 2,
            file: Some(file.display().to_string()),
            ..Written::default()
        };
        assert_eq!(written, expected);
        assert_eq!(bench.append(&[task(3, 0)]).kept, 1);
        assert_eq!(bench.ids(), ["task-2", "task-1", "task-3"]);
        let first = &bench.lines()[0];
        let stamp = "{\"time\": \"2023-11-14T22:13:20.123Z\", \"subscription\": \"shop-qa\", ";
        assert!(first.starts_with(stamp), "{first}");
    }

    #[test]
    fn files_are_for_the_agent_alone() {
        let bench = Bench::new(100_000);
        bench.append(&[task(1, 0)]);
        assert_eq!(mode(&bench.folder.path().join("state")), 0o700);
        assert_eq!(mode(bench.dir()), 0o700);
        assert_eq!(mode(&bench.dir().join("shop-qa-000001.jsonl")), 0o600);
    }

    #[test]
    fn the_bound_holds_and_the_oldest_go_first() {
        const MAX: u64 = 8_000;
        let bench = Bench::new(MAX);
        let (mut sent, mut evicted) = (0, 0);
        for round in 0..60 {
            let documents: Vec<_> = (0..=round % 7).map(|part| task(sent + part, 90)).collect();
            sent += documents.len();
            let written = bench.append(&documents);
            assert_eq!((written.kept, written.lost), (documents.len() as u64, 0));
            evicted += written.evicted;
            let total: u64 = bench.sizes().iter().map(|(_, bytes)| bytes).sum();
            assert!(total <= MAX, "{:?}", bench.sizes());
        }
        let expected: Vec<_> = (evicted as usize..sent)
            .map(|number| format!("task-{number}"))
            .collect();
        assert_eq!(bench.ids(), expected);
        let total: u64 = bench.sizes().iter().map(|(_, bytes)| bytes).sum();
        assert!(
            evicted > 50 && total >= MAX / 2,
            "{evicted}, {:?}",
            bench.sizes()
        );
        assert!(
            bench.sizes().len() as u64 <= FILES + 1,
            "{:?}",
            bench.sizes()
        );
    }

    #[test]
    fn one_job_may_fill_all_files() {
        let bench = Bench::new(8_000);
        let documents: Vec<_> = (0..100).map(|number| task(number, 200)).collect();
        let written = bench.append(&documents);
        assert_eq!((written.kept, written.lost), (100, 0));
        assert_eq!(bench.ids().len() as u64, 100 - written.evicted);
        assert_eq!(bench.ids().last().unwrap(), "task-99");
    }

    #[test]
    fn a_document_beyond_the_bound_is_not_kept_and_a_large_one_is() {
        let bench = Bench::new(8_000);
        let written = bench.append(&[task(1, 10), task(2, 9_000), task(3, 5_000), task(4, 10)]);
        assert_eq!((written.kept, written.lost), (3, 1));
        let reason = written.reason.unwrap();
        assert!(
            reason.contains("expected at most 8000: raise --quarantine-max-mb"),
            "{reason}"
        );
        assert_eq!(bench.ids(), ["task-1", "task-3", "task-4"]);
    }

    #[test]
    fn a_torn_line_harms_none_behind_it() {
        let bench = Bench::new(100_000);
        bench.append(&[task(1, 0), task(2, 0)]);
        let path = bench.dir().join("shop-qa-000001.jsonl");
        let bytes = fs::metadata(&path).unwrap().len();
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(bytes - 10).unwrap();
        assert_eq!(bench.append(&[task(3, 0)]).kept, 1);
        let lines = bench.lines();
        assert_eq!(lines.len(), 3);
        assert!(serde_json::from_str::<Value>(&lines[1]).is_err());
        assert!(lines[2].contains("task-3") && lines[0].contains("task-1"));
    }

    #[test]
    fn files_and_directory_may_vanish_at_any_time() {
        let bench = Bench::new(100_000);
        assert_eq!(bench.append(&[task(1, 0)]).kept, 1);
        fs::remove_file(bench.dir().join("shop-qa-000001.jsonl")).unwrap();
        assert_eq!(bench.append(&[task(2, 0)]).kept, 1);
        fs::remove_dir_all(bench.dir()).unwrap();
        assert_eq!(bench.append(&[task(3, 0)]).kept, 1);
        assert_eq!(bench.ids(), ["task-3"]);
    }

    #[test]
    fn what_is_none_of_ours_is_not_touched() {
        let bench = Bench::new(2_000);
        bench.append(&[task(1, 0)]);
        let names = [
            "shop-qaa-000001.jsonl",
            "shop-qa-x.jsonl",
            "shop-qa-000009.json",
        ];
        for name in names {
            fs::write(bench.dir().join(name), "mine").unwrap();
        }
        for number in 2..50 {
            assert_eq!(bench.append(&[task(number, 100)]).kept, 1);
        }
        for name in names {
            assert_eq!(fs::read_to_string(bench.dir().join(name)).unwrap(), "mine");
        }
    }

    #[test]
    fn a_link_is_not_followed() {
        let bench = Bench::new(8_000);
        bench.append(&[task(0, 100)]);
        let elsewhere = bench.folder.path().join("elsewhere");
        fs::write(&elsewhere, "mine").unwrap();
        symlink(&elsewhere, bench.dir().join("shop-qa-000002.jsonl")).unwrap();
        for number in 1..20 {
            assert_eq!(bench.append(&[task(number, 100)]).kept, 1);
        }
        assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "mine");
        assert_eq!(bench.ids().len(), 20);
    }

    #[test]
    fn a_disk_that_fails_is_told_with_a_remedy() {
        let bench = Bench::new(2_000);
        fs::write(bench.folder.path().join("state"), "a file").unwrap();
        let written = bench.append(&[task(1, 0), task(2, 0)]);
        assert_eq!((written.kept, written.lost), (0, 2));
        let reason = written.reason.unwrap();
        assert!(
            reason.ends_with(
                "state/quarantine: not a directory: check --quarantine-dir and its disk"
            ),
            "{reason}"
        );
    }
}
