//! The real binary, started in a fresh folder with a clean environment. On failure everything is
//! shown: arguments, environment, exit code and both outputs.

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;

const LIST: &str = r#"[{"broker": "amqp://leek:hunter2@rabbit:5673/shop", "org_name": "org",
    "app_name": "shop", "app_env": "qa", "app_key": "hunter2", "api_url": "https://leek/api/"}]"#;
/// As [`LIST`], without key and address of its own.
const BARE_LIST: &str = r#"[{"broker": "amqp://leek:hunter2@rabbit:5673/shop", "org_name": "org",
    "app_name": "shop", "app_env": "qa"}]"#;

/// A gateway with nothing on it but a folder.
struct Gateway {
    folder: TempDir,
    env: Vec<(&'static str, OsString)>,
}

/// What a run gave.
struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
    how: String,
}

impl Gateway {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Gateway {
            folder,
            env: Vec::new(),
        }
    }

    fn file(self, name: &str, text: &str) -> Self {
        fs::write(self.path(name), text).expect("written");
        self
    }

    fn env(mut self, name: &'static str, value: &str) -> Self {
        self.env.push((name, value.into()));
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The command, not started, in a session without a terminal.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("setsid");
        command
            .arg("--wait")
            .arg(env!("CARGO_BIN_EXE_leek-agent"))
            .args(args)
            .env_clear()
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        command
    }

    fn run(&self, args: &[&str]) -> Ran {
        let output = self.command(args).output().expect("started");
        let ran = Ran {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("UTF-8"),
            how: format!("leek-agent {args:?} with {:?}", self.env),
        };
        for text in [&ran.stdout, &ran.stderr] {
            assert!(!text.contains("hunter2"), "a secret shows: {}", ran.all());
        }
        ran
    }
}

impl Ran {
    fn all(&self) -> String {
        let Ran {
            code,
            stdout,
            stderr,
            how,
        } = self;
        format!("{how}\nexit code: {code:?}\n--- stdout\n{stdout}--- stderr\n{stderr}---")
    }

    fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}", self.all());
        self
    }

    fn prints(self, text: &str) -> Self {
        assert!(
            self.stdout.contains(text),
            "expected {text:?} on stdout\n{}",
            self.all()
        );
        self
    }

    fn complains(self, text: &str) -> Self {
        assert!(
            self.stderr.contains(text),
            "expected {text:?} on stderr\n{}",
            self.all()
        );
        self
    }

    fn complains_in_one_line(self, text: &str) -> Self {
        assert_eq!(self.stderr.lines().count(), 1, "{}", self.all());
        assert_eq!(
            self.stderr.matches("leek-agent: ").count(),
            1,
            "{}",
            self.all()
        );
        assert_eq!(self.stdout, "", "{}", self.all());
        self.complains(text)
    }
}

// Command line

#[test]
fn version_and_help_need_no_configuration() {
    let gateway = Gateway::new();
    let ran = gateway.run(&["--version"]).exits(0);
    assert_eq!(ran.stdout, "leek-agent 0.1.0\n");
    gateway.run(&["-V"]).exits(0).prints("leek-agent 0.1.0");
    gateway
        .run(&["--help"])
        .exits(0)
        .prints("--shutdown-timeout")
        .prints("Error codes:");
    for command in [
        "run",
        "check",
        "transform",
        "sink",
        "replay",
        "import-herald",
    ] {
        let usage = format!("Usage: leek-agent {command}");
        gateway.run(&[command, "--help"]).exits(0).prints(&usage);
        gateway.run(&["--help", command]).exits(0).prints(&usage);
    }
}

#[test]
fn without_a_configuration_five_lines_say_what_to_do() {
    let ran = Gateway::new().run(&[]).exits(78);
    let lines: Vec<_> = ran.stderr.lines().collect();
    assert_eq!(lines.len(), 5, "{}", ran.all());
    assert!(lines[0].starts_with("leek-agent: no subscriptions"));
    // What it shows can be taken as it is.
    let gateway = Gateway::new().file("leek.json", lines[1]);
    gateway
        .run(&["check", "--subscriptions", "leek.json", "--offline"])
        .exits(0)
        .prints("shop-prod");
}

#[test]
fn usage_faults_exit_64_with_one_line() {
    let gateway = Gateway::new().file("subs.json", LIST);
    for (args, line) in [
        (
            &["--darin"][..],
            "unknown option --darin: did you mean --drain?",
        ),
        (&["chekc"], "unknown command \"chekc\": did you mean check?"),
        (
            &["check", "--drain"],
            "--drain belongs to run, not to check",
        ),
        (&["--for"], "--for: expected a value after it"),
        (
            &["--subscriptions", "subs.json", "--for", "soon"],
            "--for: \"soon\": expected a duration such as 50s",
        ),
        (
            &["sink"],
            "--listen: missing: expected an address and a port",
        ),
        (
            &["sink", "--listen", "here"],
            "--listen: \"here\": expected an address and a port",
        ),
        (
            &["replay", "--subscriptions", "subs.json"],
            "replay: no file: expected the quarantine files to send again",
        ),
        (
            &[
                "replay",
                "--subscriptions",
                "subs.json",
                "subs.json",
                "/no/such",
            ],
            "/no/such: expected a quarantine file that can be read: no such file",
        ),
        (
            &["replay", "--subscriptions", "subs.json", "/"],
            "/: expected a quarantine file that can be read: is a directory",
        ),
        (
            &["replay", "--drain", "subs.json"],
            "--drain belongs to run, not to replay",
        ),
        (
            &[
                "--quarantine-max-mb",
                "2000",
                "--subscriptions",
                "subs.json",
            ],
            "--quarantine-max-mb: \"2000\": expected 0 to 1024 megabytes; 0 keeps nothing",
        ),
        (
            &["transform", "--now-ms", "noon"],
            "--now-ms: \"noon\": expected a whole number",
        ),
        (
            &["--app-kye=hunter2"],
            "unknown option --app-kye: did you mean --app-key?",
        ),
        (
            &["@/no/such"],
            "@/no/such: expected a file that can be read: no such file",
        ),
        (
            &["-u", "https://u:hunter2@h", "--subscriptions", "subs.json"],
            "--api-url: https://u:********@h: expected",
        ),
    ] {
        gateway.run(args).exits(64).complains_in_one_line(line);
    }
}

#[test]
fn options_stand_anywhere_and_in_files() {
    let gateway = Gateway::new()
        .file("subs.json", BARE_LIST)
        .file("key", "hunter2\n")
        .file(
            "options",
            "# for every gateway\n--subscriptions 'subs.json'\n-u=https://leek/\\\napi\n",
        );
    for args in [
        &["check", "--offline", "@options", "-t", "hunter2"][..],
        &["@options", "--app-key=hunter2", "--offline", "check"],
        &["--app-key-file", "key", "@options", "check", "--offline"],
        &[
            "check",
            "@options",
            "--offline",
            "-thunter2",
            "--log-level",
            "WARNING",
        ],
    ] {
        let ran = gateway.run(args).exits(0);
        let expected = "configuration ok: 1 subscription from subs.json\n\
                        shop-qa: amqp://leek@rabbit:5673/shop -> https://leek/api\n";
        assert_eq!(ran.stdout, expected, "{}", ran.all());
    }
}

#[test]
fn faults_in_option_files_name_file_and_line() {
    let gateway = Gateway::new()
        .file("typo", "--offline\n\n--darin\n")
        .file("nested", "--offline\n@other\n")
        .file("open", "--lock 'x\n")
        .file("value", "\n--log-level loud\n");
    let run = |file| gateway.run(&["check", file]).exits(64);
    run("@typo").complains_in_one_line("typo:3: unknown option --darin");
    run("@nested").complains_in_one_line("nested:2: an @FILE inside an @FILE is not read");
    run("@open").complains_in_one_line("open:1: a quote is not closed");
    run("@value").complains("value:2: --log-level: \"loud\": expected error, warn");
}

#[test]
fn a_bare_key_needs_a_terminal() {
    let gateway = Gateway::new().file("subs.json", BARE_LIST);
    let args = ["--subscriptions", "subs.json", "-u", "https://leek", "-t"];
    gateway
        .run(&args)
        .exits(64)
        .complains_in_one_line("--app-key: no terminal to ask on");
}

#[test]
fn a_typed_key_leaves_the_process_title() {
    let gateway = Gateway::new();
    let fifo = gateway.path("options");
    let made = Command::new("mkfifo").arg(&fifo).status().expect("mkfifo");
    assert!(made.success());
    let mut child = Command::new(env!("CARGO_BIN_EXE_leek-agent"))
        .args(["-t", "hunter2", "--version", "@options"])
        .current_dir(gateway.folder.path())
        .env_clear()
        .stdout(Stdio::null())
        .spawn()
        .expect("started");
    // Opens only once the agent reads its options, which it does after it hid the key.
    let mut options = fs::OpenOptions::new()
        .write(true)
        .open(&fifo)
        .expect("opened");
    let title = fs::read(format!("/proc/{}/cmdline", child.id())).expect("a title");
    options.write_all(b"--offline").expect("written");
    drop(options);
    child.wait().expect("ended");
    let title = String::from_utf8(title).expect("UTF-8").replace('\0', " ");
    assert!(
        title.ends_with(" -t ******* --version @options "),
        "{title}"
    );
}

// Environment and precedence

#[test]
fn the_list_may_stand_in_the_environment() {
    let gateway = Gateway::new()
        .file("subs.json", "not read")
        .env("LEEK_AGENT_SUBSCRIPTIONS", LIST);
    let ran = gateway.run(&["check", "--offline", "--subscriptions", "subs.json"]);
    ran.exits(0)
        .prints("1 subscription from LEEK_AGENT_SUBSCRIPTIONS\n");
}

#[test]
fn every_option_has_a_variable() {
    let gateway = Gateway::new()
        .file("subs.json", BARE_LIST)
        .env("LEEK_AGENT_SUBSCRIPTIONS_FILE", "subs.json")
        .env("LEEK_AGENT_API_URL", "https://leek")
        .env("LEEK_AGENT_APP_KEY", "hunter2")
        .env("LEEK_AGENT_OFFLINE", "true");
    gateway
        .run(&["check"])
        .exits(0)
        .prints("shop-qa: amqp://leek@rabbit:5673/shop -> https://leek\n");
}

#[test]
fn command_line_then_environment_then_file() {
    let file = r#"{"subscriptions": "subs.json", "app_key": "hunter2", "offline": true, "api_url": "http://file"}"#;
    let gateway = Gateway::new()
        .file("subs.json", BARE_LIST)
        .file("agent.json", file);
    let check = ["check", "--config", "agent.json"];
    gateway.run(&check).exits(0).prints("-> http://file\n");
    let gateway = gateway.env("LEEK_AGENT_API_URL", "http://environment");
    gateway
        .run(&check)
        .exits(0)
        .prints("-> http://environment\n");
    let typed = ["check", "--config", "agent.json", "-u", "http://typed"];
    gateway.run(&typed).exits(0).prints("-> http://typed\n");
}

#[test]
fn faults_name_the_place_and_exit_78() {
    let file = r#"{"log_levle": "info", "log_format": "xml", "shutdown_timeout": [], "app_key": "hunter2\n"}"#;
    let gateway = Gateway::new()
        .file("agent.json", file)
        .file("subs.json", BARE_LIST)
        .env("LEEK_AGENT_CONFIG", "agent.json")
        .env("LEEK_AGENT_LOG_LEVEL", "loud")
        .env("LEEK_AGENT_FOR", "soon")
        .env("LEEK_AGENT_DRAIN", "perhaps");
    let ran = gateway.run(&["--subscriptions", "subs.json"]).exits(78);
    for line in [
        "agent.json: log_levle: unknown key: did you mean log_level?\n",
        "LEEK_AGENT_LOG_LEVEL: \"loud\": expected error, warn, info, debug or trace\n",
        "agent.json: log_format: \"xml\": expected json or text\n",
        "LEEK_AGENT_DRAIN: \"perhaps\": expected true or false\n",
        "LEEK_AGENT_FOR: \"soon\": expected a duration such as 50s, 5m, 1h30m or 500ms\n",
        "agent.json: shutdown_timeout: a list: expected a string, a number or true or false\n",
        "agent.json: app_key: (hidden): expected printable ASCII",
        "subs.json: 2 faults\nsubscriptions[0].app_key: missing: expected",
    ] {
        assert!(
            ran.stderr.contains(line),
            "expected {line:?}\n{}",
            ran.all()
        );
    }
}

#[test]
fn unreadable_files_exit_78() {
    let gateway = Gateway::new()
        .file("list.json", "[1]")
        .file("broken.json", "{\"lock\":");
    let run = |args: &[&str]| gateway.run(args).exits(78);
    run(&["--subscriptions", "no.json"]).complains_in_one_line(
        "--subscriptions: \"no.json\": expected a file that can be read: no such file",
    );
    run(&["--config", "no.json"])
        .complains("--config: \"no.json\": expected a file that can be read");
    run(&["--config", "list.json"])
        .complains("list.json: a list: expected a JSON object of options");
    run(&["--config", "broken.json"]).complains("broken.json:1:8: not JSON: EOF while parsing");
    run(&["--subscriptions", "broken.json"])
        .complains("broken.json:1:8: not JSON: EOF while parsing");
}

// Environment shared with Leek

#[test]
fn a_disabled_agent_says_so_and_is_done() {
    let gateway = Gateway::new().env("LEEK_ENABLE_AGENT", "false");
    let ran = gateway
        .run(&[])
        .exits(0)
        .prints("LEEK_ENABLE_AGENT is false");
    let entry: serde_json::Value = serde_json::from_str(&ran.stdout).expect("a JSON line");
    assert_eq!(entry["level"], "info");
    let ran = gateway.run(&["--log-format", "text"]).exits(0);
    assert!(ran.stdout.contains("Z INFO  not started"), "{}", ran.all());
}

#[test]
fn a_local_agent_needs_leeks_secret() {
    let gateway = Gateway::new()
        .env("LEEK_AGENT_SUBSCRIPTIONS", BARE_LIST)
        .env("LEEK_ENABLE_AGENT", "true")
        .env("LEEK_ENABLE_API", "true");
    let check = ["check", "--offline"];
    gateway
        .run(&check)
        .exits(78)
        .complains_in_one_line("LEEK_AGENT_API_SECRET: missing");
    let gateway = gateway.env("LEEK_AGENT_API_SECRET", "hunter2");
    gateway
        .run(&check)
        .exits(0)
        .prints("-> http://0.0.0.0:5000\n");
}

// Herald

#[test]
fn heralds_file_becomes_a_section_that_is_taken_as_it_is() {
    let herald = "bind: 127.0.0.1\nport: 5556\nplugins:\n- name: api\n  herald_plugin_name: herald_file\n  \
                  file_path: /run/load\n  is_json: yes\n  thresholds_metric: \"r['load']\"\n  thresholds:\n  - pct: 8\n";
    let gateway = Gateway::new()
        .file("herald.yml", herald)
        .file("subs.json", BARE_LIST)
        .env("LEEK_AGENT_APP_KEY", "k")
        .env("LEEK_AGENT_API_URL", "http://leek");
    let ran = gateway.run(&["import-herald", "herald.yml"]).exits(0);
    assert!(
        ran.stderr.contains("interval 0: each check asks"),
        "{}",
        ran.all()
    );
    let gateway = gateway.file("agent.json", &ran.stdout);
    let check = [
        "check",
        "--offline",
        "--config",
        "agent.json",
        "--subscriptions",
        "subs.json",
    ];
    gateway
        .run(&check)
        .exits(0)
        .prints("agent check 127.0.0.1:5556: api\n");
}

#[test]
fn a_check_names_the_consul_that_is_told() {
    let config = r#"{"subscriptions": "subs.json", "consul": {"service": {"name": "edge"}}}"#;
    Gateway::new()
        .file("subs.json", BARE_LIST)
        .file("agent.json", config)
        .env("LEEK_AGENT_APP_KEY", "k")
        .env("LEEK_AGENT_API_URL", "http://leek")
        .run(&["check", "--offline", "--config", "agent.json"])
        .exits(0)
        .prints("consul http://127.0.0.1:8500: edge\n");
}

#[test]
fn heralds_file_at_fault_exits_78() {
    let gateway = Gateway::new().file("herald.yml", "port: 1\nplugins: !x 7000\n");
    let run = |args: &[&str]| gateway.run(args);
    run(&["import-herald", "herald.yml"])
        .exits(78)
        .complains_in_one_line("herald.yml:2: expected quotes around it");
    run(&["import-herald", "no.yml"])
        .exits(78)
        .complains_in_one_line("import-herald: \"no.yml\": expected a file that can be read");
    run(&["import-herald"])
        .exits(64)
        .complains_in_one_line("import-herald: no file: expected Herald's YAML file");
}
