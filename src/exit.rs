//! The exit codes that scripts and supervisors rely on (sysexits.h). Only `main` picks one.

use std::process::ExitCode;

/// How the program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Stopped as asked, or another instance holds the lock.
    Done = 0,
    /// The command line cannot be understood, or the running agent cannot do what it says.
    Usage = 64,
    /// A broker or an API that was asked for is not there (`check`, `--strict`), or the running agent is
    /// not.
    Unavailable = 69,
    /// A bug in this program.
    Software = 70,
    /// Stopped with events in hand that the API has not stored.
    Undelivered = 75,
    /// The configuration is at fault.
    Config = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}
