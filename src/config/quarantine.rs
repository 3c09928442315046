//! Where the documents that the API refuses are kept, and how many of them. Pure: whether that place
//! can be written is found out when there is something to write.

use std::path::{Path, PathBuf};

use super::environment::Env;

/// Where systemd made a directory for this service's state; several are separated by colons.
const STATE_DIRECTORY: &str = "STATE_DIRECTORY";
const STATE_DIRECTORY_ELSEWHERE: &str = "/var/lib/leek-agent";
const FOLDER: &str = "quarantine";

/// MB of each subscription: some 10,000 refused documents, little on the smallest flash.
pub const MAX_MB_DEFAULT: u64 = 16;
/// Somebody must read all of it one day.
const MAX_MB_MOST: u64 = 1024;
pub const MAX_MB_EXPECTED: &str = "expected 0 to 1024 megabytes; 0 keeps nothing";
const MIB: u64 = 1_048_576;

/// The quarantine files of each subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantine {
    pub dir: PathBuf,
    /// All files of one subscription together.
    pub max_bytes: u64,
}

impl Quarantine {
    /// `None` where nothing is to be kept.
    pub fn new(dir: PathBuf, max_mb: u64) -> Option<Self> {
        (max_mb > 0).then(|| Quarantine {
            dir,
            max_bytes: max_mb * MIB,
        })
    }
}

/// A whole number of megabytes within the bounds.
pub fn parse_max_mb(text: &str) -> Option<u64> {
    text.parse().ok().filter(|mb| *mb <= MAX_MB_MOST)
}

/// The directory where none is named.
pub fn default_dir(env: &Env) -> PathBuf {
    let listed = env.get(STATE_DIRECTORY).unwrap_or_default();
    let first = listed.split(':').find(|path| !path.is_empty());
    Path::new(first.unwrap_or(STATE_DIRECTORY_ELSEWHERE)).join(FOLDER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systemd_says_where_state_belongs() {
        for (variable, expected) in [
            ("", "/var/lib/leek-agent/quarantine"),
            ("/var/lib/leek", "/var/lib/leek/quarantine"),
            ("/srv/a:/srv/b", "/srv/a/quarantine"),
        ] {
            let env = [(STATE_DIRECTORY, variable)].into_iter().collect();
            assert_eq!(default_dir(&env), Path::new(expected));
        }
        let nothing: [(&str, &str); 0] = [];
        assert_eq!(
            default_dir(&nothing.into_iter().collect()),
            Path::new("/var/lib/leek-agent/quarantine")
        );
    }

    #[test]
    fn megabytes_have_bounds_and_nought_keeps_nothing() {
        for (text, expected) in [
            ("0", Some(0)),
            ("16", Some(16)),
            ("1024", Some(1024)),
            ("1025", None),
            ("-1", None),
            ("1.5", None),
        ] {
            assert_eq!(parse_max_mb(text), expected, "{text}");
        }
        assert_eq!(Quarantine::new("d".into(), 0), None);
        let quarantine = Quarantine::new("d".into(), 2).unwrap();
        assert_eq!(quarantine.max_bytes, 2 * 1024 * 1024);
    }
}
