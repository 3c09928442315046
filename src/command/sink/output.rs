//! Where the sink's documents go: standard output, or the end of a file.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use super::SinkError;

/// Arguments and results of tasks are in the file: they are for its owner's eyes.
const MODE: u32 = 0o600;

pub(super) enum Output {
    Printed,
    Appended(File),
}

impl Output {
    /// Opens the file for appending, creating it if need be.
    pub fn open(path: Option<PathBuf>) -> Result<Self, SinkError> {
        let Some(path) = path else {
            return Ok(Output::Printed);
        };
        let mut options = OpenOptions::new();
        match options.append(true).create(true).mode(MODE).open(&path) {
            Ok(file) => Ok(Output::Appended(file)),
            Err(error) => Err(SinkError::Open(path, error)),
        }
    }

    /// Writes a batch at once.
    pub fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        match self {
            Output::Printed => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(lines)?;
                stdout.flush()
            }
            Output::Appended(file) => append(file, lines),
        }
    }
}

/// A batch that does not fit (a full disk) leaves no half line behind: it will be sent again.
fn append(file: &mut File, lines: &[u8]) -> io::Result<()> {
    let length = file.metadata()?.len();
    file.write_all(lines).inspect_err(|_| {
        // Best effort: what is no regular file cannot be cut.
        let _ = file.set_len(length);
    })
}
