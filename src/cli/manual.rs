//! The manual page, leek-agent(1), made of what the definitions in `typed` say about themselves. Only
//! what no definition knows is written here: files, and variables that belong to others.

use argh::{CommandInfoWithArgs, FlagInfo, Optionality};

use super::completions::{Node, all_flags, nodes, own_flags, short, value_is_optional, value_name};
use super::options::{self, Path};
use crate::logging::rfc3339;
use crate::release::{RELEASED_MS, VERSION};

/// Variables that are no option of ours.
const VARIABLES: [(&str, &str); 10] = [
    (
        "LEEK_AGENT_SUBSCRIPTIONS",
        "the JSON list of subscriptions itself, as Leek passes it; it comes before any file",
    ),
    (
        "LEEK_AGENT_API_SECRET",
        "the application key of a local agent, one that runs beside Leek's own API",
    ),
    ("LEEK_ENABLE_AGENT", "false: do not run, exit 0"),
    (
        "LEEK_ENABLE_API",
        "true, and LEEK_ENABLE_AGENT true: the agent is local and posts to http://0.0.0.0:5000",
    ),
    (
        "LEEK_API_ENABLE_AUTH",
        "false: every subscription belongs to the organisation \"mono\"",
    ),
    (
        "HTTPS_PROXY, HTTP_PROXY, NO_PROXY",
        "the proxy on the way to the API, and the hosts that need none",
    ),
    (
        "SSL_CERT_FILE",
        "certificates to trust in place of the system's",
    ),
    (
        "CONSUL_HTTP_ADDR, CONSUL_HTTP_TOKEN",
        "Consul's own: its address and token, for consul where no option of ours says otherwise",
    ),
    (
        "STATE_DIRECTORY",
        "set by systemd: where refused documents are kept",
    ),
    (
        "NOTIFY_SOCKET, WATCHDOG_USEC",
        "set by systemd: where to tell how the agent is, and how often",
    ),
];

const FILES: [(&str, &str); 3] = [
    (
        "/etc/leek-agent/leek-agent.json",
        "options, a JSON object; what the service of the package reads. Root's alone",
    ),
    (
        "/etc/leek-agent/subscriptions.json",
        "the list of subscriptions that it names. It may hold passwords and keys: root's alone",
    ),
    (
        "/var/lib/leek-agent/quarantine",
        "documents that the API refused, a JSON line each",
    ),
];

/// The page in man's language.
pub fn page(program: &CommandInfoWithArgs) -> String {
    let date = rfc3339(RELEASED_MS);
    let (name, more) = program.description.split_once(". ").unwrap_or_default();
    let sections = [
        ("NAME", format!("leek\\-agent \\- {}\n", text(&lower(name)))),
        ("SYNOPSIS", synopsis(program)),
        ("DESCRIPTION", description(more, program)),
        ("COMMANDS", nodes(program).iter().map(command).collect()),
        (
            "OPTIONS",
            format!("Every command takes these.\n{}", list(program.flags)),
        ),
        ("ENVIRONMENT", environment(program)),
        ("FILES", pairs(&FILES)),
        ("EXIT STATUS", exit_status(program)),
        ("EXAMPLES", examples(program)),
        ("SEE ALSO", SEE_ALSO.into()),
    ];
    let body: String = sections
        .iter()
        .map(|(title, body)| format!(".SH {title}\n{body}"))
        .collect();
    let date = &date[..10];
    format!(".TH LEEK\\-AGENT 1 {date} \"leek\\-agent {VERSION}\" \"User Commands\"\n{body}")
}

const SEE_ALSO: &str = ".BR systemctl (1),\n.BR journalctl (1),\n.BR celery (1)\n.PP\n\
     In a package: /usr/share/doc/leek\\-agent/README.md.gz. Leek: https://github.com/kodless/leek\n";

/// A line for each command; the options of its groups stand with them.
fn synopsis(program: &CommandInfoWithArgs) -> String {
    let line = |node: &Node<'_>| {
        let name = match bold(node.path.as_str()) {
            name if node.path == Path::DEFAULT => format!("[{name}]"),
            name => name,
        };
        let flags = own_flags(node.command)
            .into_iter()
            .map(|flag| format!(" [{}]", typed(flag)));
        let words = node.command.positionals.iter().map(|word| {
            let more = match word.optionality {
                Optionality::Repeating | Optionality::Greedy => "...",
                Optionality::Required | Optionality::Optional => "",
            };
            format!(" \\fI{}\\fR{more}", word.name)
        });
        let rest: String = flags.chain(words).collect();
        format!("\\fBleek\\-agent\\fR [\\fIOPTIONS\\fR] {name}{rest}\n")
    };
    let nodes = nodes(program);
    let commands = nodes.iter().filter(|node| node.path.below().is_empty());
    let lines: Vec<String> = commands.map(line).collect();
    lines.join(".br\n")
}

fn description(more: &str, program: &CommandInfoWithArgs) -> String {
    let notes = program
        .notes
        .iter()
        .map(|note| format!(".PP\n{}\n", text(note)));
    format!("{}\n{}", text(more), notes.collect::<String>())
}

/// A command's notes point to its help text's neighbours, which stand on the same page here.
fn command(node: &Node<'_>) -> String {
    let command = node.command;
    let own: String = own_flags(command).into_iter().map(option).collect();
    let words = command.positionals.iter().map(|word| {
        format!(
            ".TP\n\\fI{}\\fR\n{}\n",
            text(word.name),
            text(word.description)
        )
    });
    let (name, about) = (text(node.path.as_str()), text(command.description));
    format!(".SS {name}\n{about}\n{own}{}", words.collect::<String>())
}

fn list(flags: &'static [FlagInfo<'static>]) -> String {
    flags.iter().map(option).collect()
}

fn option(flag: &FlagInfo<'static>) -> String {
    let short = short(flag).map_or(String::new(), |letter| format!("\\fB\\-{letter}\\fR, "));
    format!(".TP\n{short}{}\n{}\n", typed(flag), text(flag.description))
}

/// An option as one types it.
fn typed(flag: &FlagInfo<'static>) -> String {
    let long = bold(flag.long);
    match value_name(flag) {
        None => long,
        Some(name) if value_is_optional(flag) => format!("{long} [\\fI{}\\fR]", text(name)),
        Some(name) => format!("{long} \\fI{}\\fR", text(name)),
    }
}

/// A variable for each option, named after it.
fn environment(program: &CommandInfoWithArgs) -> String {
    let flags = all_flags(program).into_iter();
    let names = flags.map(|flag| flag.long.trim_start_matches('-'));
    let lines = names
        .filter(|long| options::is_configurable(long))
        .map(|long| {
            let variable = options::variable(long);
            format!(".TP\n{}\n{}\n", bold(&variable), bold(&format!("--{long}")))
        });
    format!("{}{}", lines.collect::<String>(), pairs(&VARIABLES))
}

fn exit_status(program: &CommandInfoWithArgs) -> String {
    let done = "stopped as asked, or another instance holds the lock";
    let codes = program.error_codes.iter();
    let codes = codes.map(|error| (error.code, error.description));
    let lines = std::iter::once((0, done)).chain(codes);
    lines
        .map(|(code, about)| format!(".TP\n{code}\n{}\n", text(about)))
        .collect()
}

/// The first line of an example says what it is for.
fn examples(program: &CommandInfoWithArgs) -> String {
    let example = |example: &&str| {
        let (about, line) = example.split_once('\n').unwrap_or_default();
        let line = line.replace("{command_name}", "leek-agent");
        let about = text(about.trim_end_matches(':'));
        format!(".TP\n{about}:\n{}\n", bold(line.trim()))
    };
    program.examples.iter().map(example).collect()
}

fn pairs(pairs: &[(&str, &str)]) -> String {
    let line = |(name, about): &(&str, &str)| format!(".TP\n{}\n{}\n", bold(name), text(about));
    pairs.iter().map(line).collect()
}

fn bold(name: &str) -> String {
    format!("\\fB{}\\fR", text(name))
}

fn lower(sentence: &str) -> String {
    let mut letters = sentence.chars();
    let first = letters.next().map(|letter| letter.to_ascii_lowercase());
    first.into_iter().chain(letters).collect()
}

/// Running text on one line. No word of ours may be taken for one of man's: a hyphen is a minus sign
/// as it is typed, and a full stop or a quote does not begin a line.
fn text(plain: &str) -> String {
    let words: Vec<&str> = plain.split_whitespace().collect();
    let line = words.join(" ").replace('\\', "\\e").replace('-', "\\-");
    if line.starts_with(['.', '\'']) {
        return format!("\\&{line}");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::typed::described;

    #[test]
    fn the_page_tells_all() {
        let page = page(&described());
        for spec in options::OPTIONS {
            let long = format!("\\-\\-{}\\fR", spec.long.replace('-', "\\-"));
            assert!(page.contains(&long), "--{}", spec.long);
            let variable = format!("\n\\fB{}\\fR\n", options::variable(spec.long));
            let expected = options::is_configurable(spec.long);
            assert_eq!(page.contains(&variable), expected, "{variable}");
        }
        for name in options::COMMANDS {
            let name = name.replace('-', "\\-");
            assert!(page.contains(&format!("\n.SS {name}\n")), "{name}");
        }
        for code in ["0", "64", "69", "70", "75", "78"] {
            assert!(page.contains(&format!(".TP\n{code}\n")), "{code}");
        }
        assert!(page.contains("\\fB\\-t\\fR, \\fB\\-\\-app\\-key\\fR [\\fIKEY\\fR]\n"));
        assert!(page.contains("[\\fIOPTIONS\\fR] [\\fBrun\\fR] [\\fB\\-\\-drain\\fR]"));
        assert!(page.contains("\\fBreplay\\fR \\fIFILE\\fR...\n"));
    }

    #[test]
    fn plain_text_stays_plain() {
        assert_eq!(text("a\n  b"), "a b");
        assert_eq!(text(".TH \\x --y"), "\\&.TH \\ex \\-\\-y");
        assert_eq!(lower("Moves it"), "moves it");
    }
}
