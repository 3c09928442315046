//! fish: one `complete` a word.

use argh::{CommandInfoWithArgs, FlagInfo};

use super::{
    Value, brief, command_names, commands, own_flags, short, value, value_is_optional, value_name,
};
use crate::cli::options::DEFAULT_COMMAND;

pub fn script(program: &CommandInfoWithArgs) -> String {
    let every = program.flags.iter().map(|flag| option("", flag));
    let own = commands(program).flat_map(|command| {
        let condition = condition(command.name);
        let flags = own_flags(command).into_iter();
        flags.map(move |flag| option(&condition, flag))
    });
    format!(
        "# fish completion for leek-agent, as `leek-agent completions fish` prints it.\n\
         complete -c leek-agent -f\n{}{}{}{}",
        every.collect::<String>(),
        commands(program).map(name).collect::<String>(),
        own.collect::<String>(),
        commands(program).map(words).collect::<String>(),
    )
}

/// True, as fish asks it, where the options of `command` may stand: the default one's without any, too.
fn condition(command: &str) -> String {
    if command != DEFAULT_COMMAND {
        return format!(" -n '__fish_seen_subcommand_from {command}'");
    }
    let names = command_names();
    let others: Vec<&str> = names.split(' ').filter(|name| *name != command).collect();
    format!(" -n 'not __fish_seen_subcommand_from {}'", others.join(" "))
}

fn option(condition: &str, flag: &FlagInfo<'static>) -> String {
    let short = short(flag).map_or(String::new(), |letter| format!(" -s {letter}"));
    let value = match value_name(flag).map(value) {
        None => String::new(),
        Some(_) if value_is_optional(flag) => String::new(),
        Some(value) => action(value),
    };
    let long = flag.long.trim_start_matches('-');
    let text = quoted(brief(flag.description));
    format!("complete -c leek-agent{condition}{short} -l {long}{value} -d {text}\n")
}

fn action(value: Value) -> String {
    match value {
        Value::File => " -r -F".into(),
        Value::Folder => " -x -a '(__fish_complete_directories)'".into(),
        Value::OneOf(words) => format!(" -x -a '{words}'"),
        Value::Free => " -x".into(),
    }
}

fn name(command: &CommandInfoWithArgs) -> String {
    let text = quoted(brief(command.description));
    let none = format!("not __fish_seen_subcommand_from {}", command_names());
    format!(
        "complete -c leek-agent -n '{none}' -a {} -d {text}\n",
        command.name
    )
}

/// What stands behind a command.
fn words(command: &CommandInfoWithArgs) -> String {
    let condition = condition(command.name);
    let words = command.positionals.iter();
    words
        .map(|word| {
            format!(
                "complete -c leek-agent{condition}{}\n",
                action(value(word.name))
            )
        })
        .collect()
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}
