//! Another clock for one process.

use std::fs;
use std::path::PathBuf;

/// The library of that name, where Debian puts it.
pub fn faketime(library: &str) -> PathBuf {
    let folders = fs::read_dir("/usr/lib").expect("a folder").flatten();
    let mut found = folders.map(|folder| folder.path().join("faketime").join(library));
    found
        .find(|path| path.exists())
        .expect("libfaketime: scripts/setup installs it")
}
