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
    /// Commands, or groups of them; empty for those that every command takes.
    pub commands: &'static [&'static str],
}

/// The command that is meant where none is named.
pub const DEFAULT_COMMAND: &str = "run";
/// Every command that does something. One of several words stands below a group, `consul check` say,
/// which does nothing by itself; what is above it is found by [`Path`].
pub const COMMANDS: [&str; 29] = [
    "run",
    "check",
    "transform",
    "sink",
    "replay",
    "status",
    "top",
    "reload",
    "pause",
    "resume",
    "stop",
    "subscriptions list",
    "subscriptions add",
    "subscriptions remove",
    "consul check register",
    "consul check deregister",
    "consul check pass",
    "consul check warn",
    "consul check fail",
    "consul service register",
    "consul service deregister",
    "consul checks",
    "consul services",
    "consul members",
    "consul join",
    "consul force-leave",
    "import-herald",
    "man",
    "completions",
];
/// The commands behind which words of their own stand.
const TAKES_WORDS: [&str; 16] = [
    "replay",
    "import-herald",
    "pause",
    "resume",
    "subscriptions add",
    "subscriptions remove",
    "completions",
    "consul check register",
    "consul check deregister",
    "consul check pass",
    "consul check warn",
    "consul check fail",
    "consul service register",
    "consul service deregister",
    "consul join",
    "consul force-leave",
];

/// What registers a check: by itself, or with its service.
const REGISTER: &[&str] = &["consul check register", "consul service register"];

pub const OPTIONS: [OptionSpec; 47] = [
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
    own("control-token", Takes::Value, &["run"]),
    own("control-token-file", Takes::Value, &["run"]),
    own("out", Takes::Value, &["sink"]),
    own(
        "json",
        Takes::Nothing,
        &[
            "status",
            "top",
            "reload",
            "pause",
            "resume",
            "stop",
            "subscriptions list",
            "subscriptions add",
            "subscriptions remove",
            "consul checks",
            "consul services",
            "consul members",
        ],
    ),
    own("consul-address", Takes::Value, &["consul"]),
    own("consul-token", Takes::Value, &["consul"]),
    own("consul-token-file", Takes::Value, &["consul"]),
    own("consul-datacenter", Takes::Value, &["consul"]),
    own("id", Takes::Value, REGISTER),
    own("ttl", Takes::Value, REGISTER),
    own("http", Takes::Value, REGISTER),
    own("tcp", Takes::Value, REGISTER),
    own("args", Takes::Value, REGISTER),
    own("count", Takes::Value, &["top"]),
    own(
        "interval",
        Takes::Value,
        &["top", "consul check register", "consul service register"],
    ),
    own("deregister-critical-after", Takes::Value, REGISTER),
    own("notes", Takes::Value, &["consul check register"]),
    own("service-id", Takes::Value, &["consul check register"]),
    own("address", Takes::Value, &["consul service register"]),
    own("port", Takes::Value, &["consul service register"]),
    own("tags", Takes::Value, &["consul service register"]),
    own("meta", Takes::Value, &["consul service register"]),
    own(
        "note",
        Takes::Value,
        &[
            "consul check pass",
            "consul check warn",
            "consul check fail",
        ],
    ),
    own(
        "wan",
        Takes::Nothing,
        &["consul members", "consul join", "consul force-leave"],
    ),
    own("prune", Takes::Nothing, &["consul force-leave"]),
];

/// What only a configuration file can say: an object or a list under each of these keys.
pub const SECTIONS: [&str; 2] = ["consul", "agent_check"];

/// A command or a group of commands: its words, separated by blanks. The root, above all of them, has
/// none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Path(&'static str);

impl Path {
    pub const ROOT: Path = Path("");
    pub const DEFAULT: Path = Path(DEFAULT_COMMAND);

    pub fn as_str(self) -> &'static str {
        self.0
    }

    pub fn words(self) -> impl Iterator<Item = &'static str> {
        self.0.split_whitespace()
    }

    /// What stands directly below it, in the table's order; nothing below a command.
    pub fn below(self) -> Vec<Path> {
        let mut below: Vec<Path> = Vec::new();
        for command in COMMANDS.into_iter().filter(|one| *one != self.0) {
            let Some(rest) = inside(command, self.0) else {
                continue;
            };
            let word = rest.split(' ').next().unwrap_or_default();
            let path = Path(&command[..command.len() - rest.len() + word.len()]);
            if !below.contains(&path) {
                below.push(path);
            }
        }
        below
    }

    /// The one below it whose last word this is.
    pub fn at(self, word: &str) -> Option<Path> {
        self.below().into_iter().find(|path| path.word() == word)
    }

    /// Its last word.
    pub fn word(self) -> &'static str {
        self.words().last().unwrap_or_default()
    }

    /// True where words of its own stand behind it.
    pub fn takes_words(self) -> bool {
        TAKES_WORDS.contains(&self.0)
    }

    /// The root, the groups that it stands in, and itself.
    pub fn lineage(self) -> Vec<Path> {
        let mut lineage = vec![Path::ROOT];
        let ends = self.0.match_indices(' ').map(|(end, _)| end);
        lineage.extend(ends.map(|end| Path(&self.0[..end])));
        lineage.extend((self != Path::ROOT).then_some(self));
        lineage
    }
}

/// What is left of a path inside of `group`.
fn inside<'a>(path: &'a str, group: &str) -> Option<&'a str> {
    match group {
        "" => Some(path),
        group => path.strip_prefix(group)?.strip_prefix(' '),
    }
}

impl OptionSpec {
    const fn with_short(mut self, short: char) -> Self {
        self.short = Some(short);
        self
    }

    /// The command, or the group that it stands in, behind which `command` takes this option; `None`
    /// where it does not.
    pub fn owner(&self, command: Path) -> Option<Path> {
        let owns = |path: &Path| match path.0 {
            "" => self.commands.is_empty(),
            path => self.commands.contains(&path),
        };
        command.lineage().into_iter().find(owns)
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

/// True for options whose value nobody may see.
pub fn is_secret(long: &str) -> bool {
    ["app-key", "control-token", "consul-token"].contains(&long)
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

    #[test]
    fn commands_stand_in_groups() {
        let below = |path: Path| -> Vec<&str> {
            let below = path.below().into_iter();
            below.map(Path::as_str).collect()
        };
        let consul = Path::ROOT.at("consul").expect("a group");
        let service = consul.at("service").expect("a group");
        let register = service.at("register").expect("a command");
        assert!(below(Path::ROOT).contains(&"consul") && below(Path::ROOT).contains(&"run"));
        assert_eq!(
            below(service),
            ["consul service register", "consul service deregister"]
        );
        assert_eq!(below(register), [""; 0]);
        assert_eq!(Path::ROOT.at("service"), None);
        assert_eq!(register.lineage(), [Path::ROOT, consul, service, register]);
        let owner = |long, path| by_long(long).and_then(|spec| spec.owner(path));
        assert_eq!(owner("log-level", register), Some(Path::ROOT));
        assert_eq!(owner("consul-address", register), Some(consul));
        assert_eq!(owner("port", register), Some(register));
        assert_eq!(owner("port", Path::DEFAULT), None);
    }

    #[test]
    fn what_belongs_somewhere_belongs_to_something() {
        let exists = |path: &str| path.split(' ').try_fold(Path::ROOT, Path::at).is_some();
        for path in TAKES_WORDS {
            assert!(COMMANDS.contains(&path), "{path}");
        }
        for spec in &OPTIONS {
            for path in spec.commands {
                assert!(exists(path), "--{}: {path}", spec.long);
            }
        }
    }
}
