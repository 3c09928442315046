//! What real shells and man make of what `leek-agent completions` and `leek-agent man` print for them.

use std::fs;
use std::process::{Command, Output};

use tempfile::TempDir;

/// bash as it is when the tab key was pressed behind the last argument.
const BASH: &str = r#"
source "$1"; shift
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
complete -p leek-agent >/dev/null && _leek_agent
printf '%s\n' "${COMPREPLY[@]}"
"#;

/// A line and a tab on a terminal of zsh's own; succeeds once the expected line stands there.
const ZSH: &str = r#"
zmodload zsh/zpty
zpty -b shell zsh -f -i
zpty -w shell "PROMPT= ; autoload -Uz compinit; compinit -D -u; source $1; bindkey '^I' complete-word; print REA''DY"
zpty -r shell seen '*READY*' || exit 3
zpty -w -n shell "$2"$'\t'
zpty -r shell seen "*$3*"
"#;

fn output(command: &mut Command) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().expect("scripts/setup installs it");
    let (stdout, stderr) = (
        String::from_utf8_lossy(&stdout),
        String::from_utf8_lossy(&stderr),
    );
    assert!(
        status.success() && stderr.is_empty(),
        "{command:?}: {status}\n{stdout}\n{stderr}"
    );
    stdout.into_owned()
}

fn agent(args: &[&str]) -> String {
    output(Command::new(env!("CARGO_BIN_EXE_leek-agent")).args(args))
}

/// A folder with a few files, and in it the completions of a shell.
fn folder(shell: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("script"), agent(&["completions", shell])).expect("writable");
    fs::write(folder.path().join("subs one.json"), "").expect("writable");
    fs::create_dir(folder.path().join("subs-old")).expect("writable");
    folder
}

#[test]
fn bash_completes() {
    let folder = folder("bash");
    for (words, expected) in [
        (&["chec"][..], &["check"][..]),
        (&["--dr"], &["--drain"]),
        (&["check", "--off"], &["--offline"]),
        (&["check", "--dr"], &[""]),
        (&["--log-format", ""], &["json", "text"]),
        (&["--log-format", "=", "t"], &["text"]),
        (&["--log-format", "="], &["json", "text"]),
        (&["--config", "subs"], &["subs one.json", "subs-old"]),
        (&["--quarantine-dir", "subs"], &["subs-old"]),
        (&["@", "subs o"], &["subs one.json"]),
        (&["replay", "subs o"], &["subs one.json"]),
        (&["--lock", "check", "--dr"], &["--drain"]),
        (&["-t", "check", "--off"], &["--offline"]),
        (&["completions", ""], &["bash", "fish", "zsh"]),
        (&["man", ""], &[""]),
        (&["consul", "chec"], &["check", "checks"]),
        (&["consul", "check", "re"], &["register"]),
        (&["consul", "service", ""], &["deregister", "register"]),
        (&["consul", "service", "register", "--po"], &["--port"]),
        (&["consul", "check", "register", "--po"], &[""]),
        (
            &["consul", "check", "pass", "--consul-a"],
            &["--consul-address"],
        ),
        (&["check", "--note"], &[""]),
    ] {
        let mut bash = Command::new("bash");
        bash.args(["--norc", "-c", BASH, "bash", "./script", "leek-agent"]);
        let found = output(bash.args(words).current_dir(folder.path()));
        let mut found: Vec<&str> = found.trim_end_matches('\n').split('\n').collect();
        found.sort_unstable();
        assert_eq!(found, expected, "{words:?}");
    }
}

#[test]
fn zsh_completes() {
    let folder = folder("zsh");
    for (line, expected) in [
        ("leek-agent chec", "leek-agent check"),
        ("leek-agent --dr", "leek-agent --drain"),
        ("leek-agent check --off", "leek-agent check --offline"),
        ("leek-agent --log-format=t", "leek-agent --log-format=text"),
        (
            "leek-agent replay subs\\ o",
            "leek-agent replay subs\\\\ one.json",
        ),
        ("leek-agent completions f", "leek-agent completions fish"),
        ("leek-agent consul memb", "leek-agent consul members"),
        (
            "leek-agent consul service reg",
            "leek-agent consul service register",
        ),
        (
            "leek-agent consul service register --po",
            "leek-agent consul service register --port",
        ),
        (
            "leek-agent consul members --consul-a",
            "leek-agent consul members --consul-address",
        ),
    ] {
        // It waits for the line for as long as it takes; `timeout` is the deadline.
        let mut zsh = Command::new("timeout");
        zsh.args([
            "30", "zsh", "-f", "-c", ZSH, "zsh", "./script", line, expected,
        ]);
        output(zsh.env("TERM", "dumb").current_dir(folder.path()));
    }
}

#[test]
fn fish_completes() {
    let folder = folder("fish");
    for (line, expected) in [
        ("leek-agent chec", "check"),
        ("leek-agent --dr", "--drain"),
        ("leek-agent check --off", "--offline"),
        ("leek-agent check --dr", ""),
        ("leek-agent --log-format ", "json text"),
        ("leek-agent --quarantine-dir subs", "subs-old/"),
        ("leek-agent replay subs-", "subs-old/"),
        ("leek-agent completions ", "bash fish zsh"),
        ("leek-agent consul chec", "check checks"),
        ("leek-agent consul check re", "register"),
        ("leek-agent consul service register --po", "--port"),
        ("leek-agent consul check register --po", ""),
        (
            "leek-agent consul check pass --consul-a",
            "--consul-address",
        ),
        (
            "leek-agent --log-level check consul ser",
            "service services",
        ),
    ] {
        let mut fish = Command::new("fish");
        let complete = format!("source script; complete -C '{line}'");
        let found = output(
            fish.args(["--no-config", "-c", &complete])
                .env("HOME", folder.path())
                .current_dir(folder.path()),
        );
        // The words only, not what they are for.
        let words = found.lines().filter_map(|line| line.split('\t').next());
        assert_eq!(words.collect::<Vec<_>>().join(" "), expected, "{line}");
    }
}

#[test]
fn man_has_nothing_to_complain_of() {
    let folder = tempfile::tempdir().expect("a folder");
    let page = folder.path().join("leek-agent.1");
    fs::write(&page, agent(&["man"])).expect("writable");
    let complaints = output(
        Command::new("mandoc")
            .args(["-T", "lint", "-W", "warning"])
            .arg(&page),
    );
    assert_eq!(complaints, "");
    let shown = output(Command::new("mandoc").args(["-T", "ascii"]).arg(&page));
    assert!(shown.contains("In a package: /usr/share/doc"), "{shown}");
}

#[test]
fn what_the_program_says_of_itself_needs_no_configuration() {
    let mut agent = Command::new(env!("CARGO_BIN_EXE_leek-agent"));
    let page = output(agent.arg("man").env("LEEK_AGENT_CONFIG", "/no/such"));
    assert!(page.starts_with(".TH LEEK\\-AGENT 1 "), "{page}");
}
