//! zsh: specifications for `_arguments`.

use argh::{CommandInfoWithArgs, FlagInfo, PositionalInfo};

use super::{
    Value, brief, commands, default_flags, own_flags, short, value, value_is_optional, value_name,
};

pub fn script(program: &CommandInfoWithArgs) -> String {
    let every = program.flags.iter().map(specs).collect::<String>();
    let default = default_flags(program).into_iter().map(specs);
    format!(
        r#"#compdef leek-agent
# zsh completion for leek-agent, as `leek-agent completions zsh` prints it.

_leek_agent() {{
    local curcontext=$curcontext state line
    local -a every commands
    local -A opt_args
    every=({every}
    )
    commands=({names}
    )
    _arguments -C $every{default} \
        '1:command:->command' \
        '*::word:->words' && return
    case $state in
        command) _describe command commands ;;
        words)
            case $line[1] in
{commands}            esac
            ;;
    esac
}}

# Loaded from a folder of functions, or sourced.
if [[ $funcstack[1] == _leek-agent ]]; then
    _leek_agent "$@"
else
    compdef _leek_agent leek-agent
fi
"#,
        default = default.collect::<String>().replace('\n', " \\\n"),
        names = commands(program).map(name).collect::<String>(),
        commands = commands(program).map(command).collect::<String>(),
    )
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

fn name(command: &CommandInfoWithArgs) -> String {
    let text = escaped(brief(command.description));
    format!("\n        '{}:{text}'", command.name)
}

fn command(command: &CommandInfoWithArgs) -> String {
    let own = own_flags(command).into_iter().map(specs);
    let words = command.positionals.iter().map(positional);
    let specs: String = own.chain(words).collect();
    let specs = specs.replace("\n        ", " \\\n                    ");
    format!(
        "                {}) _arguments $every{specs} ;;\n",
        command.name
    )
}

fn positional(word: &PositionalInfo<'_>) -> String {
    format!("\n        '*:{}:{}'", word.name, action(value(word.name)))
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
