//! Files that a person wrote: read whole, but never more than a bound, and with a reason in a
//! technician's words where that fails.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// No file that the agent reads at start is larger; keeps a name such as /dev/zero harmless.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// The file's bytes, or what was expected of it.
pub fn read(path: &Path) -> Result<Vec<u8>, String> {
    read_bounded(path).map_err(|error| expected(&error))
}

/// The file's text, or what was expected of it.
pub fn read_text(path: &Path) -> Result<String, String> {
    String::from_utf8(read(path)?).map_err(|_| "expected a file of UTF-8 text".to_owned())
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn expected(error: &io::Error) -> String {
    let reason = error.to_string();
    let reason = reason.split(" (os error").next().unwrap_or_default();
    format!(
        "expected a file that can be read: {}",
        reason.to_lowercase()
    )
}
