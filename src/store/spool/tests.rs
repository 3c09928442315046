//! A spool on a real folder, with power cuts, damage, bounds and restarts.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use tempfile::TempDir;

use super::*;

const NAME: &str = "shop-qa";
const ROOMY: u64 = 64 * 1024 * 1024;

/// Files' names and bytes.
type Files = BTreeMap<String, Vec<u8>>;

struct Bench {
    folder: TempDir,
}

impl Bench {
    /// In memory where the system has such a folder: there are thousands of flushes.
    fn new() -> Bench {
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        Bench {
            folder: folder.unwrap(),
        }
    }

    fn with(files: &Files) -> Bench {
        let bench = Bench::new();
        for (name, bytes) in files {
            fs::write(bench.folder.path().join(name), bytes).unwrap();
        }
        bench
    }

    fn open(&self, max_bytes: u64) -> Spool {
        Spool::open(self.folder.path(), NAME, max_bytes).unwrap()
    }

    fn segments(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.folder.path()).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        let mut paths: Vec<_> = paths
            .filter(|path| path.extension().unwrap() == "spool")
            .collect();
        paths.sort();
        paths
    }

    fn files(&self) -> Files {
        let paths = self.segments();
        let file = |path: &PathBuf| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, fs::read(path).unwrap())
        };
        paths.iter().map(file).collect()
    }
}

/// A batch of one document of two events, with its number in it and so many bytes of filling.
fn batch(number: u64, filling: usize) -> Body {
    let text = format!(
        "{{\"id\": \"task-{number}\", \"x\": \"{}\"}}",
        "x".repeat(filling)
    );
    Body::rebuild(&[(2, text.as_bytes())])
}

fn put(spool: &mut Spool, number: u64, filling: usize) -> RecordId {
    let body = batch(number, filling);
    spool.append(&body, &[0], Kept::OnDiskOnly).unwrap()
}

/// The numbers of all batches that are still to be read.
fn take_all(spool: &mut Spool) -> Vec<u64> {
    let mut found = Vec::new();
    while let Some((_, body)) = spool.read().unwrap() {
        let id = body.id(0);
        found.push(id.strip_prefix("task-").unwrap().parse().unwrap());
    }
    assert_eq!(spool.unread(), 0);
    found
}

fn up_to(most: u64) -> Vec<u64> {
    (0..most).collect()
}

#[test]
fn batches_are_read_in_their_order_also_by_the_next_run() {
    let bench = Bench::new();
    let mut spool = bench.open(ROOMY);
    for number in 0..5 {
        put(&mut spool, number, 10);
    }
    assert_eq!(spool.unread(), 10);
    assert_eq!(spool.read().unwrap().unwrap().0, RecordId(1));
    drop(spool);
    let mut spool = bench.open(ROOMY);
    assert_eq!(
        spool.unread(),
        10,
        "what was read, but not delivered, is owed"
    );
    put(&mut spool, 5, 10);
    assert_eq!(take_all(&mut spool), up_to(6));
}

#[test]
fn only_waiting_documents_are_written() {
    let bench = Bench::new();
    let mut spool = bench.open(ROOMY);
    let texts: Vec<String> = (0..4).map(|n| format!("{{\"id\": \"{n}\"}}")).collect();
    let documents: Vec<_> = texts.iter().map(|text| (3, text.as_bytes())).collect();
    let body = Body::rebuild(&documents);
    spool.append(&body, &[3, 0, 1], Kept::OnDiskOnly).unwrap();
    let (_, read) = spool.read().unwrap().unwrap();
    assert_eq!(read.bytes(), br#"[{"id": "3"}, {"id": "0"}, {"id": "1"}]"#);
    assert_eq!(read.events(0..3), 9);
}

#[test]
fn what_was_delivered_does_not_come_again() {
    let bench = Bench::new();
    let mut spool = bench.open(ROOMY);
    let ids: Vec<_> = (0..5).map(|number| put(&mut spool, number, 10)).collect();
    for _ in 0..3 {
        spool.read().unwrap();
    }
    spool.forget(ids[1]);
    drop(spool);
    let mut spool = bench.open(ROOMY);
    assert_eq!(spool.unread(), 6);
    assert_eq!(put(&mut spool, 5, 10), RecordId(6), "no id is given twice");
    assert_eq!(take_all(&mut spool), [2, 3, 4, 5]);
    spool.forget(RecordId(6));
    assert!(
        bench.segments().is_empty(),
        "nothing is kept of what is done"
    );
    put(&mut spool, 6, 10);
    drop(spool);
    assert_eq!(take_all(&mut bench.open(ROOMY)), [6]);
}

#[test]
fn a_batch_that_stays_in_memory_is_for_the_next_run() {
    let bench = Bench::new();
    let mut spool = bench.open(ROOMY);
    let first = spool
        .append(&batch(0, 10), &[0], Kept::InMemoryToo)
        .unwrap();
    put(&mut spool, 1, 10);
    assert_eq!(take_all(&mut spool), [1]);
    spool.forget(first);
    drop(spool);
    assert_eq!(take_all(&mut bench.open(ROOMY)), [1]);
    assert_eq!(take_all(&mut bench.open(ROOMY)), [1]);
}

/// Segments as small as they get: each batch of this filling has two of them in it.
const HALF: usize = SEGMENT_MIN as usize / 2 - 200;

#[test]
fn a_full_spool_gives_up_its_oldest_and_counts_them() {
    let bench = Bench::new();
    let most = 5 * SEGMENT_MIN;
    let mut spool = bench.open(most);
    for number in 0..40 {
        put(&mut spool, number, HALF);
        let on_disk: usize = bench.files().values().map(Vec::len).sum();
        assert!(on_disk as u64 <= most, "{on_disk} bytes");
    }
    let lost = spool.figures().lost;
    let left = take_all(&mut spool);
    assert_eq!(left.len() as u64 * 2 + lost, 80);
    assert!((8..=10).contains(&left.len()), "{left:?}");
    assert_eq!(left, up_to(40)[40 - left.len()..]);
}

#[test]
fn what_was_read_is_not_lost_when_its_segment_goes() {
    let bench = Bench::new();
    let mut spool = bench.open(2 * SEGMENT_MIN);
    put(&mut spool, 0, HALF);
    put(&mut spool, 1, HALF);
    spool.read().unwrap();
    for number in 2..6 {
        put(&mut spool, number, HALF);
    }
    assert_eq!(spool.figures().lost, 2, "batch 0 is in memory, 1 is lost");
}

#[test]
fn a_batch_larger_than_the_spool_is_refused_with_what_to_do() {
    let bench = Bench::new();
    let mut spool = bench.open(1000);
    put(&mut spool, 0, 10);
    let refused = spool.append(&batch(1, 1000), &[0], Kept::OnDiskOnly);
    let text = refused.unwrap_err().to_string();
    assert!(text.contains("raise spool.max_mb"), "{text}");
    assert_eq!(take_all(&mut spool), [0], "and costs nothing");
}

#[test]
fn nobody_else_can_read_it_and_no_second_agent_can_use_it() {
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("a/b");
    let mut spool = Spool::open(&folder, NAME, ROOMY).unwrap();
    put(&mut spool, 0, 10);
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(folder.clone()), 0o700);
    for entry in fs::read_dir(&folder).unwrap() {
        assert_eq!(mode(entry.unwrap().path()), 0o600);
    }
    let text = Spool::open(&folder, NAME, ROOMY).unwrap_err().to_string();
    let pid = std::process::id().to_string();
    assert!(
        text.contains(&pid) && text.contains("spool.dir of its own"),
        "{text}"
    );
    Spool::open(&folder, "shop-prod", ROOMY).expect("another subscription's files are others");
}

#[test]
fn a_folder_that_cannot_be_is_told() {
    let bench = Bench::new();
    let file = bench.folder.path().join("file");
    fs::write(&file, "").unwrap();
    let text = Spool::open(&file.join("x"), NAME, ROOMY)
        .unwrap_err()
        .to_string();
    assert!(text.contains("choose another spool.dir"), "{text}");
}

// ── Power cuts and damage ──────────────────────────────────────────────────────────────────────

/// Two segments: the first is full, the second has batches and a mark. And for each batch the
/// length of the folder's bytes with which it is whole.
fn written() -> (Files, Vec<usize>) {
    let bench = Bench::new();
    let mut spool = bench.open(ROOMY / 100);
    let mut whole = Vec::new();
    let mut segments_before = 0;
    for (number, filling) in [30, 200_000, 100_000, 30, 20, 30].into_iter().enumerate() {
        let number = number as u64;
        if number == 5 {
            spool.read().unwrap();
            spool.forget(RecordId(1));
        }
        put(&mut spool, number, filling);
        segments_before = segments_before.max(bench.segments().len());
        whole.push(bench.files().values().map(Vec::len).sum());
    }
    assert_eq!(segments_before, 2);
    (bench.files(), whole)
}

/// The files as they are when only the first `length` bytes of the folder were written.
fn cut(files: &Files, length: usize) -> Files {
    let mut left = length;
    let mut cut = Files::new();
    for (name, bytes) in files {
        if left == 0 {
            break;
        }
        let here = left.min(bytes.len());
        cut.insert(name.clone(), bytes[..here].to_vec());
        left -= here;
    }
    cut
}

/// Lengths worth trying: all of them, but for the inside of large fillings.
fn cuts(files: &Files) -> impl Iterator<Item = usize> {
    let all = files.values().flatten().copied().collect::<Vec<u8>>();
    let dull = move |at: &usize| {
        let around = all.get(at.saturating_sub(20)..(at + 20).min(all.len()));
        around.is_some_and(|bytes| bytes.iter().all(|byte| *byte == b'x'))
    };
    let total: usize = files.values().map(Vec::len).sum();
    (0..=total).filter(move |at| !dull(at) || at % 5000 == 0)
}

#[test]
fn after_a_power_cut_at_any_byte_the_good_part_is_read_and_the_spool_goes_on() {
    let (files, whole) = written();
    for length in cuts(&files) {
        let bench = Bench::with(&cut(&files, length));
        let good = whole.iter().filter(|end| **end <= length).count() as u64;
        let mut spool = bench.open(ROOMY / 100);
        let torn = spool.figures().torn;
        let on_disk: usize = bench.files().values().map(Vec::len).sum();
        let magic_only = (length - on_disk) as u64 - torn;
        assert!(
            magic_only <= MAGIC.len() as u64,
            "cut at {length}: all that is cut off is counted"
        );
        let next = put(&mut spool, 77, 10);
        assert!(next.0 > good, "cut at {length}: no id is given twice");
        drop(spool);
        let mut spool = bench.open(ROOMY / 100);
        assert_eq!(
            spool.figures().torn,
            0,
            "cut at {length}: it is cut off once"
        );
        let mut expected = up_to(good);
        // The mark lies between the last two batches.
        if length >= whole[4] + HEADER {
            expected.remove(0);
        }
        expected.push(77);
        assert_eq!(take_all(&mut spool), expected, "cut at {length}");
    }
}

#[test]
fn a_flipped_bit_costs_the_rest_of_its_segment_only() {
    let (files, _) = written();
    let (first, second) = (files.keys().next().unwrap(), files.keys().nth(1).unwrap());
    let in_first = 2;
    for name in [first, second] {
        let only = Files::from([(name.clone(), files[name].clone())]);
        for at in cuts(&only).filter(|at| *at < files[name].len()) {
            let mut damaged = files.clone();
            damaged.get_mut(name).unwrap()[at] ^= 1 << (at % 8);
            let bench = Bench::with(&damaged);
            let mut spool = bench.open(ROOMY / 100);
            assert!(spool.figures().torn > 0, "{name}, byte {at}");
            put(&mut spool, 77, 10);
            let found = take_all(&mut spool);
            let (of_first, of_second): (Vec<_>, Vec<_>) =
                found.iter().partition(|number| **number < in_first);
            if name == first {
                assert_eq!(of_second, [2, 3, 4, 5, 77], "byte {at}");
                assert!([0, 1].ends_with(&of_first) || of_first == [0] || of_first.is_empty());
            } else {
                assert!(
                    [0, 1].ends_with(&of_first) && !of_first.is_empty(),
                    "byte {at}"
                );
                let (last, before) = of_second.split_last().unwrap();
                assert_eq!(*last, 77);
                assert!(
                    before
                        .iter()
                        .zip(2..)
                        .all(|(found, expected)| *found == expected)
                );
            }
        }
    }
}

#[test]
fn damage_that_comes_while_it_runs_is_counted_and_passed() {
    let bench = Bench::new();
    let mut spool = bench.open(16 * SEGMENT_MIN);
    for number in 0..6 {
        put(&mut spool, number, HALF);
    }
    spool.read().unwrap();
    let segments = bench.segments();
    let mut bytes = fs::read(&segments[0]).unwrap();
    let middle = bytes.len() * 3 / 4;
    bytes[middle] ^= 1;
    fs::write(&segments[0], &bytes).unwrap();
    fs::remove_file(&segments[1]).unwrap();
    for _ in 1..READ_TRIES {
        let text = spool.read().unwrap_err().to_string();
        assert!(text.contains("somebody removed it"), "{text}");
    }
    assert_eq!(take_all(&mut spool), [4, 5]);
    assert_eq!(
        spool.figures().lost,
        6,
        "batch 1 is damaged, 2 and 3 are gone"
    );
    spool.forget(RecordId(6));
    assert!(bench.segments().is_empty());
}

#[test]
fn foreign_files_are_left_alone() {
    let files: Files = [
        ("shop-qa-x.spool", "text"),
        ("shop-prod-00000001.spool", "text"),
        ("shop-qa-00000001.txt", "text"),
        ("shop-qa-00000004.spool", "not a segment"),
    ]
    .map(|(name, text)| (name.to_owned(), text.into()))
    .into();
    let bench = Bench::with(&files);
    let spool = bench.open(ROOMY);
    assert_eq!((spool.unread(), spool.figures().torn), (0, 13));
    assert!(bench.folder.path().join("shop-qa-00000001.txt").exists());
    assert!(bench.folder.path().join("shop-qa-x.spool").exists());
    assert!(
        bench
            .folder
            .path()
            .join("shop-prod-00000001.spool")
            .exists()
    );
    assert!(!bench.folder.path().join("shop-qa-00000004.spool").exists());
}
