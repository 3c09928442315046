//! Imports go one way, `runtime → shells → core`, and the core is sans-IO: it names no client
//! library, no socket, no thread, no file and no clock. Unit tests inside the sources are exempt.
//!
//! The check reads the sources as text: it knows `use` trees, relative paths and paths in code,
//! and no macros. It is a fence for the absent-minded, not a proof.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// Files below `src` (a folder with all that is in it, or the start of a file's name) and the
/// paths that they must not name.
struct Rule {
    files: &'static [&'static str],
    never: &'static [&'static str],
    why: &'static str,
}

const CORE: &[&str] = &[
    "agent_check",
    "herald",
    "pipeline",
    "document",
    "python",
    "json",
    "bytes",
    "event",
    // The pure parts of the Redis source; its `mod.rs` and `transport.rs` are the shell.
    "source/redis/channels",
    "source/redis/envelope",
    "source/redis/failure",
    "source/redis/inbox",
    "source/redis/resp",
    "source/redis/sentinel",
    "source/redis/session",
    // What the spool writes, as bytes; `store/spool.rs` and the folder are the shell.
    "store/spool/record",
    // What is asked of Consul; `consul/client.rs` is the shell.
    "consul/definition",
    "consul/health",
    "consul/registration",
    "consul/request",
];

const RULES: &[Rule] = &[
    Rule {
        files: CORE,
        never: &[
            "mio",
            "mio_06",
            "amiquip",
            "ureq",
            "argh",
            "httparse",
            "crossbeam_channel",
            "rustls",
            "webpki_roots",
            "socket2",
        ],
        why: "the core is handed bytes and hands out actions; libraries belong to the shells",
    },
    Rule {
        files: CORE,
        never: &[
            "std::net",
            "std::thread",
            "std::fs",
            "std::process",
            "std::env",
            "std::os",
        ],
        why: "the core does no I/O, so that the simulator can run it",
    },
    Rule {
        files: CORE,
        never: &[
            "std::time::Instant::now",
            "std::time::SystemTime",
            "Instant::now",
            "SystemTime",
            // The type that carries both clocks' readings is welcome.
            "crate::clock::now",
            "crate::clock::monotonic",
            "crate::clock::wall_ms",
            "clock::now",
            "clock::monotonic",
            "clock::wall_ms",
        ],
        why: "time comes in as an argument; only src/clock.rs reads a clock",
    },
    Rule {
        files: CORE,
        never: &[
            "crate::runtime",
            "crate::source::amqp",
            "crate::tls",
            "crate::source::resolve",
            "crate::source::redis::transport",
            "crate::upload",
            "crate::store",
            "crate::notify",
            "crate::cli",
            "crate::command",
        ],
        why: "imports go runtime → shells → core, never back",
    },
    Rule {
        files: &["tls"],
        never: &[
            "std::net",
            "mio",
            "mio_06",
            "amiquip",
            "ureq",
            "crate::config",
            "crate::source",
            "crate::upload",
            "crate::runtime",
        ],
        why: "TLS knows files and certificates; sockets belong to those who connect",
    },
    Rule {
        files: &["control"],
        never: &[
            "mio",
            "httparse",
            "std::fs",
            "std::io",
            "std::thread",
            "std::process",
            "std::env",
            "crate::clock::now",
            "crate::clock::monotonic",
            "crate::server",
            "crate::source",
            "crate::upload",
            "crate::store",
            "crate::runtime",
        ],
        why: "it makes answers of facts: sockets are the server's, facts the loop's",
    },
    Rule {
        files: &["server"],
        never: &[
            "crate::control",
            "crate::command",
            "crate::source",
            "crate::upload",
            "crate::store",
            "crate::runtime",
        ],
        why: "it serves anybody's requests and knows nobody's",
    },
    Rule {
        files: &["config"],
        never: &["rustls", "ureq", "amiquip", "mio"],
        why: "configuration is values: whoever connects makes something of them",
    },
    Rule {
        files: &["source"],
        never: &["crate::upload", "crate::store", "crate::runtime"],
        why: "shells do not know each other, nor who runs them",
    },
    Rule {
        files: &["outbound", "consul"],
        never: &[
            "mio",
            "amiquip",
            "crate::source",
            "crate::upload",
            "crate::store",
            "crate::command",
            "crate::runtime",
        ],
        why: "what several stand on knows none of them",
    },
    Rule {
        files: &["upload"],
        never: &["crate::source", "crate::store", "crate::runtime"],
        why: "shells do not know each other, nor who runs them",
    },
    Rule {
        files: &["store"],
        never: &[
            "std::net",
            "mio",
            "ureq",
            "amiquip",
            "crate::source",
            "crate::upload",
            "crate::runtime",
        ],
        why: "shells do not know each other, nor who runs them",
    },
];

#[test]
fn imports_go_one_way() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut broken = String::new();
    for file in sources(&root) {
        let name = file
            .strip_prefix(&root)
            .expect("below the root")
            .display()
            .to_string();
        let text = fs::read_to_string(&file).expect("sources are UTF-8");
        let paths = paths(&code_of(&text), &module_of(&name));
        for (rule, path) in violations(&name, &paths) {
            let _ = writeln!(broken, "src/{name} names {path}: {}", rule.why);
        }
    }
    assert!(broken.is_empty(), "\n{broken}");
}

fn violations<'a>(file: &str, paths: &'a [String]) -> Vec<(&'static Rule, &'a str)> {
    let applies = |rule: &&Rule| rule.files.iter().any(|prefix| is_in(file, prefix));
    let rules = RULES.iter().filter(applies);
    rules
        .flat_map(|rule| {
            let named = paths
                .iter()
                .filter(|path| rule.never.iter().any(|word| starts(path, word)));
            named.map(move |path| (rule, path.as_str()))
        })
        .collect()
}

/// `pipeline` covers pipeline.rs and pipeline/…; `json` also json_text.rs.
fn is_in(file: &str, prefix: &str) -> bool {
    file.starts_with(prefix)
}

/// True if `path` is `prefix` or something below it.
fn starts(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder of sources");
    let mut found = Vec::new();
    for path in entries.map(|entry| entry.expect("an entry").path()) {
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|kind| kind == "rs") && !path.ends_with("tests.rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// `pipeline/verdict/mod.rs` → `crate::pipeline::verdict`.
fn module_of(file: &str) -> Vec<String> {
    let stem = file.trim_end_matches(".rs");
    let parts = stem
        .split('/')
        .filter(|part| !["mod", "lib", "main"].contains(part));
    ["crate"]
        .into_iter()
        .chain(parts)
        .map(str::to_owned)
        .collect()
}

/// The text without comments and without the unit tests, which by convention come last.
fn code_of(text: &str) -> String {
    let before_tests = text.split("#[cfg(test)]\nmod ").next().unwrap_or(text);
    let lines = before_tests.lines();
    lines
        .map(|line| line.split("//").next().unwrap_or(line))
        .collect::<Vec<_>>()
        .join("\n")
}

/// Every path that `code` names: those that it imports, and those of two or more parts elsewhere.
fn paths(code: &str, module: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = code;
    while let Some(start) = next_use(rest) {
        let (before, from) = rest.split_at(start);
        inline_paths(before, &mut found);
        let (tree, after) = from[4..].split_once(';').unwrap_or((&from[4..], ""));
        expand("", tree, &mut found);
        rest = after;
    }
    inline_paths(rest, &mut found);
    found.iter().map(|path| absolute(path, module)).collect()
}

/// Where the next `use ` statement begins.
fn next_use(code: &str) -> Option<usize> {
    let at_start = |at: &usize| !code[..*at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
    code.match_indices("use ").map(|(at, _)| at).find(at_start)
}

/// `a::{b, c::{d, e}}` → `a::b`, `a::c::d`, `a::c::e`.
fn expand(prefix: &str, tree: &str, found: &mut Vec<String>) {
    let Some((head, inner)) = tree.split_once('{') else {
        let name = tree.split(" as ").next().unwrap_or(tree);
        found.push(format!("{prefix}{}", name.trim()));
        return;
    };
    let inner = inner.rsplit_once('}').map_or(inner, |(inner, _)| inner);
    let prefix = format!("{prefix}{}", head.trim());
    let (mut depth, mut start) = (0, 0);
    for (at, c) in inner.char_indices().chain([(inner.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                if !inner[start..at].trim().is_empty() {
                    expand(&prefix, &inner[start..at], found);
                }
                start = at + 1;
            }
            _ => {}
        }
    }
}

fn inline_paths(code: &str, found: &mut Vec<String>) {
    let words = code.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
    let paths = words
        .map(|word| word.trim_matches(':'))
        .filter(|word| word.contains("::"));
    found.extend(paths.map(str::to_owned));
}

/// Resolves `self` and `super` from `module`.
fn absolute(path: &str, module: &[String]) -> String {
    let mut base = module;
    let mut rest = path;
    let mut relative = false;
    loop {
        if let Some(after) = rest.strip_prefix("self::") {
            rest = after;
        } else if let Some(after) = rest.strip_prefix("super::") {
            base = &base[..base.len().saturating_sub(1)];
            rest = after;
        } else {
            break;
        }
        relative = true;
    }
    if relative {
        format!("{}::{rest}", base.join("::"))
    } else {
        path.to_owned()
    }
}

// ── The check checked ──────────────────────────────────────────────────────────────────────────

#[track_caller]
fn check(file: &str, code: &str, expect: &[&str]) {
    let paths = paths(&code_of(code), &module_of(file));
    let named: Vec<&str> = violations(file, &paths)
        .iter()
        .map(|(_, path)| *path)
        .collect();
    assert_eq!(named, expect);
}

#[test]
fn what_is_forbidden_is_seen() {
    check("pipeline/mod.rs", "use mio::Poll;", &["mio::Poll"]);
    check(
        "event.rs",
        "use std::{fmt, fs::{self, File}};",
        &["std::fs::self", "std::fs::File"],
    );
    check(
        "python/parse.rs",
        "let t = std::time::Instant::now();",
        &["std::time::Instant::now"],
    );
    check(
        "json.rs",
        "fn f() -> Instant { Instant::now() }",
        &["Instant::now"],
    );
    check(
        "source/redis/session.rs",
        "use super::transport::Transport; use mio::Token;",
        &["mio::Token", "crate::source::redis::transport::Transport"],
    );
    check(
        "document/mod.rs",
        "use super::upload::Task;",
        &["crate::upload::Task"],
    );
    check(
        "document/merge.rs",
        "super::super::runtime::run()",
        &["crate::runtime::run"],
    );
    check(
        "source/amqp.rs",
        "pub use crate::upload as up;",
        &["crate::upload"],
    );
}

#[test]
fn what_is_allowed_is_left_alone() {
    check(
        "pipeline/mod.rs",
        "use std::time::{Duration, Instant};",
        &[],
    );
    check(
        "pipeline/mod.rs",
        "use crate::source::Delivery; // not mio::Poll",
        &[],
    );
    check("upload.rs", "use std::thread; use ureq::Agent;", &[]);
    check(
        "event.rs",
        "fn f() {}\n#[cfg(test)]\nmod tests {\n    use std::fs;\n}",
        &[],
    );
    check("document/mod.rs", "let mio = 1; f(mio);", &[]);
    check(
        "source/amqp.rs",
        "use amiquip::Connection; use std::net::TcpStream;",
        &[],
    );
}
