//! The command line: that of an ordinary test binary, as far as `cargo test` and people use it,
//! and two options for a long run.

/// How much of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// Every row once, the same each time.
    Short,
    /// Rows in any order with drawn durations, again and again, for so many minutes.
    Long { minutes: u64 },
    /// One row of a long run again, drawn from the seed that failed.
    Once,
}

#[derive(Debug)]
pub struct Options {
    pub length: Length,
    /// `None`: the short run has its own, a long one draws one.
    pub seed: Option<u64>,
    pub list: bool,
    filters: Vec<String>,
    skips: Vec<String>,
    exact: bool,
    ignored_only: bool,
}

/// Options of a test binary that have a value and mean nothing here: every row is a process of its
/// own, and all of them print.
const WITH_VALUE: [&str; 6] = [
    "--test-threads",
    "--format",
    "--color",
    "--logfile",
    "--shuffle-seed",
    "-Z",
];

impl Options {
    pub fn parse(words: impl IntoIterator<Item = String>) -> Result<Options, String> {
        let mut options = Options {
            length: Length::Short,
            seed: None,
            list: false,
            filters: Vec::new(),
            skips: Vec::new(),
            exact: false,
            ignored_only: false,
        };
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            let (name, mut value) = match word.split_once('=') {
                Some((name, value)) if word.starts_with('-') => (name, Some(value.to_owned())),
                _ => (word.as_str(), None),
            };
            let mut value = || value.take().or_else(|| words.next());
            match name {
                "--minutes" => {
                    let minutes = number(name, value())?;
                    options.length = Length::Long { minutes };
                }
                "--row" => {
                    options.length = Length::Once;
                    options.exact = true;
                    options.filters.extend(value());
                }
                "--seed" => options.seed = Some(number(name, value())?),
                "--skip" => options.skips.extend(value()),
                "--list" => options.list = true,
                "--exact" => options.exact = true,
                "--ignored" => options.ignored_only = true,
                _ if WITH_VALUE.contains(&name) => drop(value()),
                _ if name.starts_with('-') => {}
                _ => options.filters.push(word),
            }
        }
        Ok(options)
    }

    /// Whether the row of that name was asked for.
    pub fn wants(&self, name: &str) -> bool {
        let fits = |filter: &String| match self.exact {
            true => name == filter,
            false => name.contains(filter.as_str()),
        };
        !self.ignored_only
            && (self.filters.is_empty() || self.filters.iter().any(fits))
            && !self.skips.iter().any(fits)
    }
}

/// In decimal, or in hexadecimal behind `0x`.
fn number(name: &str, value: Option<String>) -> Result<u64, String> {
    let value = value.unwrap_or_default();
    let parsed = match value.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => value.parse(),
    };
    parsed.map_err(|_| format!("{name}: {value:?}: expected a number"))
}
