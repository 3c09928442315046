//! fish: one `complete` a word.

use argh::{CommandInfoWithArgs, FlagInfo};

use super::{
    Node, Value, all_flags, brief, nodes, own_flags, short, spellings, value, value_is_optional,
    value_name,
};
use crate::cli::options::Path;

pub fn script(program: &CommandInfoWithArgs) -> String {
    let nodes = nodes(program);
    let every = program.flags.iter().map(|flag| option("", flag));
    let own = nodes.iter().flat_map(|node| {
        let condition = inside(node.path);
        let flags = own_flags(node.command).into_iter();
        flags.map(move |flag| option(&condition, flag))
    });
    let names = nodes.iter().map(name).collect::<String>();
    let words = nodes.iter().map(words).collect::<String>();
    format!(
        "# fish completion for leek-agent, as `leek-agent completions fish` prints it.\n\n\
         {}\ncomplete -c leek-agent -f\n{}{names}{}{words}",
        where_one_is(program, &nodes),
        every.collect::<String>(),
        own.collect::<String>(),
    )
}

/// Functions that find the command before the cursor, be it of several words.
fn where_one_is(program: &CommandInfoWithArgs, nodes: &[Node<'_>]) -> String {
    let takers = all_flags(program).into_iter();
    let takers = takers.filter(|flag| value_name(flag).is_some() && !value_is_optional(flag));
    let takers: Vec<String> = takers.flat_map(spellings).collect();
    let paths: Vec<String> = nodes
        .iter()
        .map(|node| quoted(node.path.as_str()))
        .collect();
    format!(
        r#"function __leek_agent_command
    set -l command ''
    set -l skip ''
    for word in (commandline -opc)[2..]
        if test -n "$skip"
            set skip ''
        else if contains -- $word {takers}
            set skip 1
        else
            set -l longer (string trim -- "$command $word")
            if contains -- $longer {paths}
                set command $longer
            end
        end
    end
    echo $command
end

function __leek_agent_at
    set -l command (__leek_agent_command)
    test "$command" = "$argv[1]"
end

function __leek_agent_in
    set -l command (__leek_agent_command)
    string match -q -- "$argv[1] *" "$command "
end
"#,
        takers = takers.join(" "),
        paths = paths.join(" "),
    )
}

/// True, as fish asks it, behind this very word.
fn at(path: Path) -> String {
    format!(" -n '__leek_agent_at \"{}\"'", path.as_str())
}

/// True, as fish asks it, where the options of `path` may stand: the default one's without any, too.
fn inside(path: Path) -> String {
    let path_in = format!("__leek_agent_in \"{}\"", path.as_str());
    match path == Path::DEFAULT {
        true => format!(" -n '__leek_agent_at \"\"; or {path_in}'"),
        false => format!(" -n '{path_in}'"),
    }
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

fn name(node: &Node<'_>) -> String {
    let lineage = node.path.lineage();
    let above = lineage[lineage.len() - 2];
    let text = quoted(brief(node.command.description));
    let (at, word) = (at(above), node.path.word());
    format!("complete -c leek-agent{at} -a {word} -d {text}\n")
}

/// What stands behind a command.
fn words(node: &Node<'_>) -> String {
    let words = node.command.positionals.iter();
    words
        .map(|word| {
            let action = action(value(word.name));
            format!("complete -c leek-agent{}{action}\n", at(node.path))
        })
        .collect()
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}
