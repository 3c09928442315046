//! Disks that are full, read-only or hang, for real, and what an agent has put on them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

use super::agent::is_debug_build;
use super::keeper::keep_folder;

/// All quarantine files of a directory, the newest one of each subscription last.
pub fn quarantine_files(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    paths
}

/// Their lines in this order. A line that was torn by a kill is left out.
pub fn quarantine_lines(dir: &Path) -> Vec<Value> {
    let paths = quarantine_files(dir);
    let texts = paths.iter().map(fs::read_to_string);
    let text: String = texts.map(|text| text.expect("UTF-8") + "\n").collect();
    text.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

/// False, with the reason printed, where this kernel gives nobody a mount namespace of their own.
pub fn can_mount() -> bool {
    let tried = Command::new("unshare")
        .args(["-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"])
        .output();
    match tried {
        Ok(Output { status, .. }) if status.success() => true,
        Ok(Output { stderr, .. }) => {
            println!("skipped: no mount: {}", String::from_utf8_lossy(&stderr));
            false
        }
        Err(error) => {
            println!("skipped: no unshare: {error}");
            false
        }
    }
}

/// What a process sees at `path`, whatever is mounted there for it alone.
pub fn seen_by(pid: u32, path: &Path) -> PathBuf {
    let below_root = path.strip_prefix("/").expect("an absolute path");
    Path::new("/proc")
        .join(pid.to_string())
        .join("root")
        .join(below_root)
}

/// A library which, loaded before the system's own, lets every flush hang for as long as a file
/// exists.
pub struct HangingFlush {
    folder: TempDir,
}

const HANGING_FLUSH: &str = r#"
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>
int fdatasync(int fd) {
    while (access(getenv("HANG_WHILE"), F_OK) == 0) usleep(10000);
    return syscall(SYS_fdatasync, fd);
}
"#;

impl HangingFlush {
    /// `None`, with the reason printed, where it cannot be made.
    pub fn build() -> Option<HangingFlush> {
        if !is_debug_build() {
            println!("skipped: a static binary loads no library");
            return None;
        }
        let folder = tempfile::tempdir().expect("a temporary folder");
        keep_folder(folder.path());
        let source = folder.path().join("hang.c");
        fs::write(&source, HANGING_FLUSH).expect("written");
        fs::write(folder.path().join("hang"), "").expect("written");
        let flush = HangingFlush { folder };
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-o"])
            .args([&flush.library(), &source])
            .status();
        let built = built.is_ok_and(|status| status.success());
        if !built {
            println!("skipped: no C compiler");
        }
        built.then_some(flush)
    }

    fn library(&self) -> PathBuf {
        self.folder.path().join("hang.so")
    }

    /// The environment of a process whose flushes hang.
    pub fn env(&self) -> [(&'static str, String); 2] {
        [
            ("LD_PRELOAD", self.library().display().to_string()),
            ("HANG_WHILE", self.hang().display().to_string()),
        ]
    }

    fn hang(&self) -> PathBuf {
        self.folder.path().join("hang")
    }

    /// Flushes no longer hang, those under way included.
    pub fn heal(&self) {
        fs::remove_file(self.hang()).expect("it hung until now");
    }
}
