//! What is wrong with a spool's disk, and what to do about it.

use std::fmt;
use std::io;
use std::path::Path;

use crate::lock::LockError;

/// Why an operation failed, for a human.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure(String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Failure {
    /// Another agent writes here; two of them would spoil each other's files.
    pub(super) fn locked(path: &Path, error: LockError) -> Failure {
        match error {
            LockError::Io(error) => fails(path)(error),
            LockError::Held { pid } => Failure(format!(
                "{}: held by process {}: give each agent a spool.dir of its own",
                path.display(),
                pid.map_or_else(|| "unknown".to_owned(), |pid| pid.to_string()),
            )),
        }
    }

    pub(super) fn too_large(found: u64, most: u64) -> Failure {
        Failure(format!(
            "a batch of {found} bytes: expected at most {most}: raise spool.max_mb"
        ))
    }
}

/// Makes a failure of an error that concerns `path`.
pub(super) fn fails(path: &Path) -> impl Fn(io::Error) -> Failure {
    let path = path.display().to_string();
    move |error| Failure(format!("{path}: {error}: {}", advice(&error)))
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free some space or lower spool.max_mb"
        }
        io::ErrorKind::ReadOnlyFilesystem => "mount it writable or choose another spool.dir",
        io::ErrorKind::PermissionDenied => "let the agent's user write there",
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            "a file is in the way: choose another spool.dir"
        }
        io::ErrorKind::NotFound => "somebody removed it: restart the agent",
        _ => "check the disk",
    }
}
