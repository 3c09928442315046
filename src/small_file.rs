//! Files that a person wrote: read whole, but never more than a bound, and with a reason in a
//! technician's words where that fails; replaced whole or not at all.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
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

/// Puts `bytes` in the place of a file, so that at any moment, also after a power cut, the name leads
/// to either the old or the new content. Mode and owner are kept.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let old = fs::metadata(path)?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let new_path = folder.join(format!(".{name}.{}", std::process::id()));
    let written = write_new(&new_path, &old, bytes).and_then(|()| fs::rename(&new_path, path));
    if written.is_err() {
        // Nothing of it is left, if there was anything.
        let _ = fs::remove_file(&new_path);
        return written;
    }
    File::open(folder)?.sync_all()
}

fn write_new(path: &Path, like: &Metadata, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    let (own, wanted) = (file.metadata()?, (like.uid(), like.gid()));
    if (own.uid(), own.gid()) != wanted {
        fchown(&file, Some(wanted.0), Some(wanted.1))?;
    }
    file.set_permissions(like.permissions())?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_keeps_its_mode() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("list.json");
        fs::write(&path, "old, and longer than the new").expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("ours");
        let before = fs::metadata(&path).expect("there").ino();
        replace(&path, b"new").expect("replaced");
        assert_eq!(fs::read(&path).expect("there"), b"new");
        let after = fs::metadata(&path).expect("there");
        assert_eq!(after.permissions().mode() & 0o777, 0o640);
        assert_ne!(after.ino(), before, "another file, moved to its place");
        assert_eq!(fs::read_dir(folder.path()).expect("there").count(), 1);
    }

    #[test]
    fn what_cannot_be_replaced_stays_as_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("list.json");
        assert!(replace(&path, b"new").is_err(), "there is none");
        // A rename onto a folder fails, after the new file was written.
        fs::create_dir(&path).expect("made");
        assert!(replace(&path, b"new").is_err());
        assert_eq!(fs::read_dir(folder.path()).expect("there").count(), 1);
    }
}
