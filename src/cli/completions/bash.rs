//! bash: a function that looks at the word before the cursor and at the command.

use std::fmt::Write;

use argh::{CommandInfoWithArgs, FlagInfo};

use super::{
    Node, Value, all_flags, default_flags, nodes, spellings, value, value_is_optional, value_name,
    words_below,
};
use crate::cli::options::Path;

pub fn script(program: &CommandInfoWithArgs) -> String {
    let takers: Vec<&FlagInfo<'_>> = all_flags(program)
        .into_iter()
        // A value that may be left out is not in the way of the next word.
        .filter(|flag| value_name(flag).is_some() && !value_is_optional(flag))
        .collect();
    let nodes = nodes(program);
    let paths: Vec<String> = nodes.iter().map(|node| pattern(node.path)).collect();
    let every = words(&program.flags.iter().collect::<Vec<_>>());
    format!(
        r#"# bash completion for leek-agent, as `leek-agent completions bash` prints it.

_leek_agent_files() {{
    mapfile -t COMPREPLY < <(compgen "$1" -- "$2")
    compopt -o filenames 2>/dev/null
}}

_leek_agent() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD - 1]}}
    local command='' longer='' skip='' files='' words='' word
    local options='{every}'

    # bash takes --option=VALUE and @FILE apart at these characters.
    case $current in
        =) current='' ;;
        @) previous=@ current='' ;;
        *) if [[ $previous == = ]]; then previous=${{COMP_WORDS[COMP_CWORD - 2]}}; fi ;;
    esac
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        if [[ $word == = ]]; then continue; fi
        if [[ $skip ]]; then skip=''; continue; fi
        case $word in
            {takers}) skip=1 ;;
        esac
        longer=${{command:+$command }}$word
        case $longer in
            {paths}) command=$longer ;;
        esac
    done
    case $previous in
        @) _leek_agent_files -f "$current"; return ;;
{values}    esac
    case $command in
        '') words='{names}' options+=' {default}' ;;
{commands}    esac
    if [[ $current == -* ]]; then
        words=$options
    elif [[ $files ]]; then
        _leek_agent_files -f "$current"
        return
    fi
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}}

complete -F _leek_agent leek-agent
"#,
        takers = alternatives(&takers),
        names = words_below(Path::ROOT),
        paths = paths.join(" | "),
        values = values(&takers),
        default = words(&default_flags(program)),
        commands = nodes.iter().map(command).collect::<String>(),
    )
}

fn alternatives(flags: &[&FlagInfo<'_>]) -> String {
    let all: Vec<String> = flags.iter().flat_map(|flag| spellings(flag)).collect();
    all.join(" | ")
}

fn words(flags: &[&FlagInfo<'_>]) -> String {
    let longs: Vec<&str> = flags.iter().map(|flag| flag.long).collect();
    longs.join(" ")
}

/// What stands behind an option.
fn values(takers: &[&FlagInfo<'static>]) -> String {
    let mut lines = String::new();
    for flag in takers {
        let action = match value(value_name(flag).unwrap_or_default()) {
            Value::File => r#"_leek_agent_files -f "$current"; return"#.into(),
            Value::Folder => r#"_leek_agent_files -d "$current"; return"#.into(),
            Value::OneOf(words) => {
                format!(r#"mapfile -t COMPREPLY < <(compgen -W '{words}' -- "$current"); return"#)
            }
            Value::Free => "return".to_owned(),
        };
        let _ = writeln!(lines, "        {}) {action} ;;", alternatives(&[flag]));
    }
    lines
}

/// For bash's `case`.
fn pattern(path: Path) -> String {
    path.as_str().replace(' ', "\\ ")
}

fn command(node: &Node<'_>) -> String {
    let mut does = Vec::new();
    if !node.flags.is_empty() {
        does.push(format!("options+=' {}'", words(&node.flags)));
    }
    let below = words_below(node.path);
    if !below.is_empty() {
        does.push(format!("words='{below}'"));
    }
    for word in node.command.positionals {
        match value(word.name) {
            Value::OneOf(words) => does.push(format!("words='{words}'")),
            Value::File | Value::Folder => does.push("files=1".into()),
            Value::Free => {}
        }
    }
    let does = if does.is_empty() {
        ":".into()
    } else {
        does.join(" ")
    };
    format!("        {}) {does} ;;\n", pattern(node.path))
}
