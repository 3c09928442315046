//! `leek-agent import-herald FILE`: Herald's configuration as a section of ours.

use std::path::PathBuf;

use crate::config::fault::{Fault, Report, quoted};
use crate::herald;
use crate::small_file;
use crate::tls::{ClientTls, TlsSettings};

/// What was asked for.
#[derive(Debug)]
pub struct Options {
    pub file: PathBuf,
}

/// What comes of a file.
#[derive(Debug)]
pub struct Imported {
    /// JSON, with its end of line.
    pub text: String,
    /// A line each, for people.
    pub notes: Vec<String>,
}

/// Reads and converts; the report says what is at fault.
pub fn run(options: &Options) -> Result<Imported, Report> {
    let name = options.file.display().to_string();
    let mut report = Report::default();
    let text = small_file::read_text(&options.file).map_err(|expected| {
        report.push(&Fault::new("import-herald", quoted(&name), expected));
        report.clone()
    })?;
    let open = |_| ClientTls::open(&TlsSettings::default());
    let imported = herald::import(&name, &text, &open).map_err(|faults| {
        faults.iter().for_each(|fault| report.push(fault));
        report
    })?;
    let text = serde_json::to_string_pretty(&imported.config).expect("plain data");
    Ok(Imported {
        text: text + "\n",
        notes: imported.notes,
    })
}
