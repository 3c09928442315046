//! The one table of options: names, what they take, and which command they belong to. The order of
//! words, environment variables, configuration keys and suggestions all follow from it.

use crate::nearest::nearest;

/// What follows an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    Nothing,
    Value,
    /// A value, or nothing: then it is asked for on the terminal.
    ValueOrPrompt,
}

/// One option.
#[derive(Debug, PartialEq, Eq)]
pub struct OptionSpec {
    /// Without the dashes.
    pub long: &'static str,
    pub short: Option<char>,
    pub takes: Takes,
    /// Empty for those that every command takes.
    pub commands: &'static [&'static str],
}

/// The command that is meant where none is named.
pub const DEFAULT_COMMAND: &str = "run";
pub const COMMANDS: [&str; 8] = [
    "run",
    "check",
    "transform",
    "sink",
    "replay",
    "status",
    "man",
    "completions",
];
/// The commands behind which words of their own stand.
pub const TAKES_WORDS: [&str; 2] = ["replay", "completions"];

pub const OPTIONS: [OptionSpec; 24] = [
    global("subscriptions", Takes::Value),
    global("config", Takes::Value),
    global("api-url", Takes::Value).with_short('u'),
    global("app-key", Takes::ValueOrPrompt).with_short('t'),
    global("app-key-file", Takes::Value),
    global("log-level", Takes::Value),
    global("log-format", Takes::Value),
    global("shutdown-timeout", Takes::Value),
    global("quarantine-dir", Takes::Value),
    global("quarantine-max-mb", Takes::Value),
    global("control-socket", Takes::Value),
    global("help", Takes::Nothing).with_short('h'),
    global("version", Takes::Nothing).with_short('V'),
    own("drain", Takes::Nothing, &["run"]),
    own("for", Takes::Value, &["run"]),
    own("lock", Takes::Value, &["run"]),
    own("strict", Takes::Nothing, &["run", "transform"]),
    own("offline", Takes::Nothing, &["check"]),
    own("app-env", Takes::Value, &["transform"]),
    own("now-ms", Takes::Value, &["transform"]),
    own("listen", Takes::Value, &["run", "sink"]),
    own("listen-hosts", Takes::Value, &["run"]),
    own("out", Takes::Value, &["sink"]),
    own("json", Takes::Nothing, &["status"]),
];

/// What only a configuration file can say: an object or a list under each of these keys.
pub const SECTIONS: [&str; 2] = ["consul", "agent_check"];

impl OptionSpec {
    const fn with_short(mut self, short: char) -> Self {
        self.short = Some(short);
        self
    }

    /// True where `command` takes this option.
    pub fn belongs_to(&self, command: &str) -> bool {
        self.commands.is_empty() || self.commands.contains(&command)
    }
}

const fn global(long: &'static str, takes: Takes) -> OptionSpec {
    own(long, takes, &[])
}

const fn own(long: &'static str, takes: Takes, commands: &'static [&'static str]) -> OptionSpec {
    OptionSpec {
        long,
        short: None,
        takes,
        commands,
    }
}

/// The option of that long name.
pub fn by_long(long: &str) -> Option<&'static OptionSpec> {
    OPTIONS.iter().find(|spec| spec.long == long)
}

/// The option of that letter.
pub fn by_short(short: char) -> Option<&'static OptionSpec> {
    OPTIONS.iter().find(|spec| spec.short == Some(short))
}

/// The long name closest to a mistyped one.
pub fn nearest_long(typed: &str) -> &'static str {
    nearest(typed, OPTIONS.iter().map(|spec| spec.long)).expect("there are options")
}

/// The environment variable of an option. `LEEK_AGENT_SUBSCRIPTIONS` is Leek's own and holds the
/// list itself, so the file's name stands in another.
pub fn variable(long: &str) -> String {
    if long == "subscriptions" {
        return "LEEK_AGENT_SUBSCRIPTIONS_FILE".into();
    }
    format!("LEEK_AGENT_{}", key(long).to_uppercase())
}

/// The key of an option in a configuration file.
pub fn key(long: &str) -> String {
    long.replace('-', "_")
}

/// True for options that have a variable: what only prints something has none.
pub fn is_configurable(long: &str) -> bool {
    !["help", "version"].contains(&long)
}

/// True for options that a configuration file can carry.
pub fn is_key(long: &str) -> bool {
    long != "config" && is_configurable(long)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_from_the_table() {
        assert_eq!(variable("app-key-file"), "LEEK_AGENT_APP_KEY_FILE");
        assert_eq!(variable("for"), "LEEK_AGENT_FOR");
        assert_eq!(variable("subscriptions"), "LEEK_AGENT_SUBSCRIPTIONS_FILE");
        assert_eq!(key("now-ms"), "now_ms");
        assert_eq!(nearest_long("darin"), "drain");
        assert_eq!(by_short('u').map(|spec| spec.long), Some("api-url"));
    }
}
