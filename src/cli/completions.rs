//! Completions for the shells, made of what the definitions in `typed` say about themselves, so that
//! there is no list to keep by hand. What words, options and values there are is found here; each shell
//! has a file of its own for how it wants to be told.

mod bash;
mod fish;
mod zsh;

use argh::{CommandInfoWithArgs, FlagInfo, FlagInfoKind};

use super::options::{self, Path};

/// The shells that there are completions for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl Shell {
    pub const EXPECTED: &str = "expected bash, zsh or fish";

    pub fn named(name: &str) -> Option<Self> {
        match name {
            "bash" => Some(Shell::Bash),
            "zsh" => Some(Shell::Zsh),
            "fish" => Some(Shell::Fish),
            _ => None,
        }
    }

    /// The script for this shell.
    pub fn completions(self, program: &CommandInfoWithArgs) -> String {
        match self {
            Shell::Bash => bash::script(program),
            Shell::Zsh => zsh::script(program),
            Shell::Fish => fish::script(program),
        }
    }
}

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value {
    File,
    Folder,
    /// One of these words.
    OneOf(&'static str),
    /// Only the user knows.
    Free,
}

/// By the name that the help text has for it.
fn value(name: &str) -> Value {
    match name {
        "FILE" => Value::File,
        "DIR" => Value::Folder,
        "LEVEL" => Value::OneOf("error warn info debug trace"),
        "FORMAT" => Value::OneOf("json text"),
        "SHELL" => Value::OneOf("bash zsh fish"),
        _ => Value::Free,
    }
}

/// The name of an option's value; `None` for a switch.
pub fn value_name(flag: &FlagInfo<'static>) -> Option<&'static str> {
    match flag.kind {
        FlagInfoKind::Switch => None,
        FlagInfoKind::Option { arg_name } => Some(arg_name),
    }
}

/// The options that stand behind this very word: `--help` is everyone's.
pub fn own_flags(command: &CommandInfoWithArgs) -> Vec<&'static FlagInfo<'static>> {
    let flags = command.flags.iter();
    flags.filter(|flag| flag.long != "--help").collect()
}

/// A command, or a group of them, and what it says about itself.
pub struct Node<'a> {
    pub path: Path,
    pub command: &'a CommandInfoWithArgs,
    /// The options of the groups that it stands in, and its own.
    pub flags: Vec<&'static FlagInfo<'static>>,
}

/// All groups and commands: each group before what is in it, as the help lists them.
pub fn nodes<'a>(program: &'a CommandInfoWithArgs) -> Vec<Node<'a>> {
    let mut nodes = Vec::new();
    add_nodes(&mut nodes, Path::ROOT, program, &[]);
    nodes
}

fn add_nodes<'a>(
    nodes: &mut Vec<Node<'a>>,
    group: Path,
    commands: &'a CommandInfoWithArgs,
    flags: &[&'static FlagInfo<'static>],
) {
    for entry in &commands.commands {
        let command = &entry.command;
        let path = group.at(command.name).expect("it is in the table");
        let flags = [flags, &own_flags(command)].concat();
        nodes.push(Node {
            path,
            command,
            flags: flags.clone(),
        });
        add_nodes(nodes, path, command, &flags);
    }
}

/// What stands before the command, or without one: for the program and for the command that it then
/// carries out.
fn default_flags(program: &CommandInfoWithArgs) -> Vec<&'static FlagInfo<'static>> {
    let nodes = nodes(program).into_iter();
    let mut default = nodes.filter(|node| node.path == Path::DEFAULT);
    default.next().map(|node| node.flags).unwrap_or_default()
}

/// All options of all commands, each once.
pub fn all_flags(program: &CommandInfoWithArgs) -> Vec<&'static FlagInfo<'static>> {
    let own = nodes(program).into_iter().flat_map(|node| node.flags);
    let mut all: Vec<&FlagInfo<'_>> = Vec::new();
    for flag in program.flags.iter().chain(own) {
        if !all.iter().any(|known| known.long == flag.long) {
            all.push(flag);
        }
    }
    all
}

/// The letter of an option; argh does not know that of `--help`.
pub fn short(flag: &FlagInfo<'_>) -> Option<char> {
    options::by_long(flag.long.trim_start_matches('-')).and_then(|spec| spec.short)
}

/// `-u` and `--api-url`.
fn spellings(flag: &FlagInfo<'_>) -> impl Iterator<Item = String> {
    let short = short(flag).map(|letter| format!("-{letter}"));
    short.into_iter().chain([flag.long.to_owned()])
}

/// True where the value may be left out.
pub fn value_is_optional(flag: &FlagInfo<'_>) -> bool {
    let spec = options::by_long(flag.long.trim_start_matches('-'));
    spec.is_some_and(|spec| spec.takes == options::Takes::ValueOrPrompt)
}

/// As much of a description as fits beside a word on a terminal.
fn brief(description: &str) -> &str {
    let end = [". ", "; ", " (", ", to "]
        .into_iter()
        .filter_map(|mark| description.find(mark));
    description[..end.min().unwrap_or(description.len())].trim_end_matches('.')
}

/// The words that stand directly below.
fn words_below(path: Path) -> String {
    let words: Vec<&str> = path.below().into_iter().map(Path::word).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::typed::described;
    use crate::logging::{Format, parse_level};

    #[test]
    fn values_are_those_that_the_program_takes() {
        let words = |name| match value(name) {
            Value::OneOf(words) => words.split(' '),
            other => panic!("{name}: {other:?}"),
        };
        assert!(words("LEVEL").all(|word| parse_level(word).is_some()));
        assert!(words("FORMAT").all(|word| Format::parse(word).is_some()));
        assert!(words("SHELL").all(|word| Shell::named(word).is_some()));
        let known = [
            "KEY", "TOKEN", "URL", "DURATION", "N", "NAME", "NAMES", "A:P", "HOST", "TEXT",
        ];
        for flag in all_flags(&described()) {
            let free = |name| value(name) == Value::Free && !known.contains(&name);
            assert!(
                !value_name(flag).is_some_and(free),
                "{}: say what it is",
                flag.long
            );
        }
    }

    #[test]
    fn descriptions_are_cut_where_a_thought_ends() {
        assert_eq!(
            brief("Validate, then test. Consumes nothing."),
            "Validate, then test"
        );
        assert_eq!(brief("json or text (default: json)"), "json or text");
        assert_eq!(brief("key; without a value"), "key");
        assert_eq!(brief("Print it."), "Print it");
    }

    #[test]
    fn every_word_is_in_every_script() {
        let program = described();
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = shell.completions(&program);
            for name in options::COMMANDS
                .iter()
                .flat_map(|command| command.split(' '))
            {
                assert!(script.contains(name), "{shell:?}: {name}");
            }
            for spec in options::OPTIONS {
                assert!(script.contains(spec.long), "{shell:?}: {}", spec.long);
            }
        }
    }
}
