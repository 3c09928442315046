//! zsh: specifications for `_arguments`.

use argh::{CommandInfoWithArgs, FlagInfo, PositionalInfo};

use super::{
    Node, Value, brief, default_flags, nodes, own_flags, short, value, value_is_optional,
    value_name,
};
use crate::cli::options::Path;

pub fn script(program: &CommandInfoWithArgs) -> String {
    let nodes = nodes(program);
    let every = program.flags.iter().map(specs).collect::<String>();
    let default = default_flags(program).into_iter().map(specs).collect();
    let groups = nodes.iter().filter(|node| !node.path.below().is_empty());
    let groups = groups.map(|node| group(node.path, &nodes, own_specs(node)));
    format!(
        r#"#compdef leek-agent
# zsh completion for leek-agent, as `leek-agent completions zsh` prints it.

_leek_agent_every=({every}
)

{}{}
# Loaded from a folder of functions, or sourced.
if [[ $funcstack[1] == _leek-agent ]]; then
    _leek_agent "$@"
else
    compdef _leek_agent leek-agent
fi
"#,
        groups.collect::<String>(),
        group(Path::ROOT, &nodes, default),
    )
}

/// A function for the words directly below `path`, whose own options are `specs`.
fn group(path: Path, nodes: &[Node<'_>], specs: String) -> String {
    let below = path.below();
    let members = nodes.iter().filter(|node| below.contains(&node.path));
    let (names, cases): (String, String) = members.map(|node| (name(node), case(node))).unzip();
    format!(
        r#"{}() {{
    local curcontext=$curcontext state line
    local -a commands
    local -A opt_args
    commands=({names}
    )
    _arguments -C $_leek_agent_every{specs} \
        '1:command:->command' \
        '*::word:->words' && return
    case $state in
        command) _describe command commands ;;
        words)
            case $line[1] in
{cases}            esac
            ;;
    esac
}}

"#,
        function(path),
        specs = specs.replace('\n', " \\\n"),
    )
}

/// The name of a group's function.
fn function(path: Path) -> String {
    let words = std::iter::once("_leek_agent").chain(path.words());
    words.collect::<Vec<_>>().join("_")
}

fn own_specs(node: &Node<'_>) -> String {
    own_flags(node.command).into_iter().map(specs).collect()
}

/// Each spelling of an option on a line of its own; one excludes the other.
fn specs(flag: &FlagInfo<'static>) -> String {
    let text = escaped(brief(flag.description));
    let value = match value_name(flag) {
        None => String::new(),
        Some(name) => {
            let colon = if value_is_optional(flag) { "::" } else { ":" };
            format!("{colon}{}:{}", escaped(name), action(value(name)))
        }
    };
    let (to_letter, to_long) = match value_name(flag) {
        None => ("", ""),
        Some(_) => ("+", "="),
    };
    let long = flag.long;
    match short(flag) {
        None => format!("\n        '{long}{to_long}[{text}]{value}'"),
        Some(letter) => format!(
            "\n        '({long})-{letter}{to_letter}[{text}]{value}'\
             \n        '(-{letter}){long}{to_long}[{text}]{value}'"
        ),
    }
}

fn action(value: Value) -> String {
    match value {
        Value::File => "_files".into(),
        Value::Folder => "_files -/".into(),
        Value::OneOf(words) => format!("({words})"),
        Value::Free => " ".into(),
    }
}

fn name(node: &Node<'_>) -> String {
    let text = escaped(brief(node.command.description));
    format!("\n        '{}:{text}'", node.path.word())
}

/// What follows the word of a group or a command.
fn case(node: &Node<'_>) -> String {
    let word = node.path.word();
    if !node.path.below().is_empty() {
        return format!("                {word}) {} ;;\n", function(node.path));
    }
    let own = node.flags.iter().copied().map(specs);
    let words = node.command.positionals.iter().filter_map(positional);
    let specs: String = own.chain(words).collect();
    let specs = specs.replace("\n        ", " \\\n                    ");
    format!("                {word}) _arguments $_leek_agent_every{specs} ;;\n")
}

/// Of what only the user knows nothing is said: a message in its place keeps zsh from inserting
/// options.
fn positional(word: &PositionalInfo<'_>) -> Option<String> {
    match value(word.name) {
        Value::Free => None,
        value => Some(format!("\n        '*:{}:{}'", word.name, action(value))),
    }
}

/// For a text within single quotes that brackets and colons end.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for letter in text.chars() {
        match letter {
            '\'' => out.push_str(r"'\''"),
            '[' | ']' | ':' | '\\' => out.extend(['\\', letter]),
            other => out.push(other),
        }
    }
    out
}
