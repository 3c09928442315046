//! bash: a function that looks at the word before the cursor and at the command.

use std::fmt::Write;

use argh::{CommandInfoWithArgs, FlagInfo};

use super::{
    Value, all_flags, command_names, commands, default_flags, own_flags, spellings, value,
    value_is_optional, value_name,
};

pub fn script(program: &CommandInfoWithArgs) -> String {
    let takers: Vec<&FlagInfo<'_>> = all_flags(program)
        .into_iter()
        // A value that may be left out is not in the way of the next word.
        .filter(|flag| value_name(flag).is_some() && !value_is_optional(flag))
        .collect();
    let names = command_names();
    let every = words(&program.flags.iter().collect::<Vec<_>>());
    format!(
        r#"# bash completion for leek-agent, as `leek-agent completions bash` prints it.

_leek_agent_files() {{
    mapfile -t COMPREPLY < <(compgen "$1" -- "$2")
    compopt -o filenames 2>/dev/null
}}

_leek_agent() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD - 1]}}
    local command='' skip='' files='' words='' word
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
            {either}) command=$word; break ;;
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
        either = names.replace(' ', " | "),
        values = values(&takers),
        default = words(&default_flags(program)),
        commands = commands(program).map(command).collect::<String>(),
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

fn command(command: &CommandInfoWithArgs) -> String {
    let mut does = Vec::new();
    let own = own_flags(command);
    if !own.is_empty() {
        does.push(format!("options+=' {}'", words(&own)));
    }
    for word in command.positionals {
        match value(word.name) {
            Value::OneOf(words) => does.push(format!("words='{words}'")),
            _ => does.push("files=1".into()),
        }
    }
    let does = if does.is_empty() {
        ":".into()
    } else {
        does.join(" ")
    };
    format!("        {}) {does} ;;\n", command.name)
}
