//! Another wall clock for one process, by libfaketime. Deadlines go by a clock that stays.

use std::fs;
use std::path::{Path, PathBuf};

use super::agent::{Agent, Setup};

/// The library of that name, where Debian puts it.
pub fn faketime(library: &str) -> PathBuf {
    let folders = fs::read_dir("/usr/lib").expect("a folder").flatten();
    let mut found = folders.map(|folder| folder.path().join("faketime").join(library));
    found
        .find(|path| path.exists())
        .expect("libfaketime: scripts/setup installs it")
}

/// The file that holds what the clock says, in the agent's folder.
const CLOCK: &str = "clock";

/// Gives the agent a clock that says what libfaketime makes of `says`. For a static agent under qemu
/// it is qemu that is given it, and hands it on.
pub fn with_clock(setup: Setup, says: &str) -> Setup {
    setup
        .file(CLOCK, says)
        .env(
            "LD_PRELOAD",
            &faketime("libfaketimeMT.so.1").display().to_string(),
        )
        .env("FAKETIME_TIMESTAMP_FILE", CLOCK)
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .env("TZ", "UTC")
}

/// The file to give to [`jump`].
pub fn clock_of(agent: &Agent) -> PathBuf {
    agent.folder().join(CLOCK)
}

/// Sets the clock.
pub fn jump(clock: &Path, to: &str) {
    // In one piece: the agent reads it at any time.
    let new = clock.with_extension("new");
    fs::write(&new, to).expect("writable");
    fs::rename(&new, clock).expect("writable");
}
