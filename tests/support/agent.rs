//! The agent's own binary in a fresh folder with a clean environment, and what it says.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use leek_agent::cli::{self, Outcome, Recipe};
use leek_agent::config::Subscription;
use leek_agent::config::environment::Env;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::disk::{quarantine_files, quarantine_lines};
use super::keeper::{Group, keep_folder, lock};
use super::wait::poll;

/// Longer than anything but a deadlock takes on two busy cores.
pub const SOON: Duration = Duration::from_secs(30);

/// Where in its folder an agent keeps what the API refuses.
pub const QUARANTINE: &str = "quarantine";

/// Names another build of the same agent that is to be tested: a release, or one for ARM.
const OTHER_BINARY: &str = "LEEK_AGENT_TEST_BINARY";

/// True where the agent is not the one that is shipped.
pub fn is_debug_build() -> bool {
    std::env::var_os(OTHER_BINARY).is_none()
}

/// No turn of the event loop may take longer, in milliseconds.
pub const PAUSE_MS: f64 = 50.0;

/// A subscription with Leek's defaults, but a window that does not make tests wait.
pub fn subscription(broker: &str, api_url: &str) -> Value {
    json!({
        "broker": broker,
        "exchange": "celeryev",
        "queue": "leek.fanout",
        "routing_key": "#",
        "org_name": "mono",
        "app_name": "shop",
        "app_env": "qa",
        "app_key": "not-for-the-log",
        "api_url": api_url,
        "prefetch_count": 1000,
        "batch_max_window_in_seconds": 0.5,
    })
}

/// An entry of the list in Leek's own README.
pub fn readme_entry(broker: &str, app_env: &str) -> Value {
    json!({
        "broker": broker,
        "broker_management_url": "http://localhost:15672",
        "backend": null,
        "exchange": "celeryev",
        "queue": "leek.fanout",
        "routing_key": "#",
        "org_name": "mono",
        "app_name": "leek",
        "app_env": app_env,
        "prefetch_count": 1000,
        "concurrency_pool_size": 2,
        "batch_max_size_in_mb": 1,
        "batch_max_number_of_messages": 1000,
        "batch_max_window_in_seconds": 5,
    })
}

/// `subscription` with some keys set otherwise.
pub fn with(mut subscription: Value, changes: &Value) -> Value {
    for (key, value) in changes.as_object().expect("an object") {
        subscription[key] = value.clone();
    }
    subscription
}

/// A subscription as the agent itself would read it.
pub fn configured(subscription: &Value) -> Subscription {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("subscriptions.json");
    fs::write(&path, json!([subscription]).to_string()).expect("writable");
    let words = ["run".into(), "--subscriptions".into(), path.into()];
    let parsed = Recipe::new(words.into(), Env::of_process()).read();
    let Ok(Outcome::Run(invocation)) = parsed else {
        panic!("{parsed:?}");
    };
    match invocation.command {
        cli::Command::Run(options) => options.config.subscriptions[0].clone(),
        other => panic!("{other:?}"),
    }
}

/// A folder with a subscriptions file, and the command line to come.
pub struct Setup {
    folder: TempDir,
    args: Vec<String>,
    env: Vec<(String, String)>,
    stdout: Stdout,
    /// The binary, and before it what runs it.
    program: Vec<OsString>,
    /// What runs before it in a mount namespace of its own.
    mounts: Option<String>,
    network: Network,
}

/// Which networks it reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Network {
    This,
    /// A namespace of its own, in which nothing is set up.
    Nothing,
}

/// Who reads what the agent prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stdout {
    Read,
    /// Nobody, until [`Agent::read_on`].
    Unread,
}

impl Setup {
    /// Writes `subscriptions` to a fresh folder.
    pub fn new(subscriptions: &[Value]) -> Setup {
        let folder = tempfile::tempdir().expect("a temporary folder");
        keep_folder(folder.path());
        let text = Value::from(subscriptions).to_string();
        fs::write(folder.path().join("subscriptions.json"), text).expect("the folder is writable");
        let binary = std::env::var_os(OTHER_BINARY);
        let binary = binary.unwrap_or_else(|| env!("CARGO_BIN_EXE_leek-agent").into());
        Setup {
            folder,
            program: vec![binary],
            args: Vec::new(),
            env: Vec::new(),
            stdout: Stdout::Read,
            mounts: None,
            network: Network::This,
        }
    }

    /// Runs in a mount namespace of its own, in which this shell script has run before, in the fresh
    /// folder.
    pub fn mounting(mut self, script: &str) -> Setup {
        self.mounts = Some(script.to_owned());
        self
    }

    /// Runs in namespaces of its own without a network, as on a gateway whose line is down.
    pub fn without_network(mut self) -> Setup {
        self.network = Network::Nothing;
        self.mounting("true")
    }

    /// Another build of the agent, with what runs it on this machine.
    pub fn program(mut self, words: &[OsString]) -> Setup {
        self.program = words.to_vec();
        self
    }

    /// Nobody reads its standard output, until [`Agent::read_on`].
    pub fn unread(mut self) -> Setup {
        self.stdout = Stdout::Unread;
        self
    }

    /// Puts a file into the fresh folder.
    pub fn file(self, name: &str, text: &str) -> Setup {
        fs::write(self.folder.path().join(name), text).expect("the folder is writable");
        self
    }

    /// Words of the command line; `FOLDER` in them stands for the fresh folder.
    pub fn args(mut self, args: &[&str]) -> Setup {
        let folder = self.folder.path().display().to_string();
        self.args
            .extend(args.iter().map(|word| word.replace("FOLDER", &folder)));
        self
    }

    /// A variable of the otherwise empty environment.
    pub fn env(mut self, name: &str, value: &str) -> Setup {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts the agent.
    pub fn start(self) -> Agent {
        let (program, words) = self.program.split_first().expect("a program");
        let mut command = match &self.mounts {
            None => Command::new(program),
            Some(script) => in_namespace(script, self.network, program),
        };
        command
            .args(words)
            .env_clear()
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .current_dir(self.folder.path())
            .args(["--subscriptions", "subscriptions.json"])
            .args(["--log-format", "json"])
            .args(["--quarantine-dir", QUARANTINE])
            .args(&self.args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut group = Group::spawn(&mut command);
        let stdout = group.child().stdout.take().expect("stdout is piped");
        let stderr = group.child().stderr.take().expect("stderr is piped");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let mut agent = Agent {
            readers: vec![collect(stderr, &lines)],
            unread: Some(stdout),
            group,
            lines,
            folder: self.folder,
        };
        if self.stdout == Stdout::Read {
            agent.read_on();
        }
        agent
    }

    /// Runs to the end within [`SOON`].
    pub fn run(self) -> (i32, Agent) {
        let mut agent = self.start();
        let code = agent.wait_exit(SOON);
        (code, agent)
    }
}

/// A command line to which the agent's words may be added; the agent takes the process over.
fn in_namespace(script: &str, network: Network, binary: &OsStr) -> Command {
    let mut command = Command::new("unshare");
    if network == Network::Nothing {
        command.arg("--net");
    }
    let path = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";
    let script = format!("set -e; {path}; {script}; exec \"$0\" \"$@\"");
    command.args(["-rm", "sh", "-c", &script]).arg(binary);
    command
}

/// Starts an agent with one subscription and waits until it consumes.
pub fn start(subscription: &Value) -> Agent {
    let agent = Setup::new(std::slice::from_ref(subscription)).start();
    agent.wait_started();
    agent
}

fn collect(pipe: impl Read + Send + 'static, lines: &Arc<Mutex<Vec<String>>>) -> Reader {
    let lines = Arc::clone(lines);
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            lock(&lines).push(line);
        }
    })
}

type Reader = std::thread::JoinHandle<()>;

/// A running agent. Dropping it kills it, and in a failed test shows its log.
pub struct Agent {
    group: Group,
    lines: Arc<Mutex<Vec<String>>>,
    readers: Vec<Reader>,
    unread: Option<ChildStdout>,
    folder: TempDir,
}

impl Agent {
    /// Reads its standard output from now on.
    pub fn read_on(&mut self) {
        if let Some(stdout) = self.unread.take() {
            self.readers.push(collect(stdout, &self.lines));
        }
    }

    /// Its working folder.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    pub fn pid(&self) -> u32 {
        self.group.pid()
    }

    /// Everything it printed.
    pub fn text(&self) -> String {
        lock(&self.lines).join("\n")
    }

    /// The log entries so far.
    pub fn log(&self) -> Vec<Value> {
        let lines = lock(&self.lines);
        let entries = lines.iter();
        entries
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// Waits for the first log entry that `wanted` accepts.
    #[track_caller]
    pub fn wait_for_log(
        &self,
        limit: Duration,
        what: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> Value {
        let found = poll(limit, || self.log().into_iter().find(|entry| wanted(entry)));
        found.unwrap_or_else(|| panic!("not logged within {limit:?}: {what}"))
    }

    /// Waits until every subscription was attempted.
    #[track_caller]
    pub fn wait_started(&self) {
        self.wait_for_log(SOON, "leek-agent started", |entry| {
            entry["message"] == "leek-agent started"
        });
    }

    /// Waits for a warning or an error that has one of `words` in it.
    #[track_caller]
    pub fn wait_complaint(&self, limit: Duration, words: &[&str]) -> Value {
        let what = format!("a warning or error with one of {words:?}");
        self.wait_for_log(limit, &what, |entry| is_complaint(entry, words))
    }

    /// True until it ends.
    pub fn runs(&mut self) -> bool {
        self.group.try_wait().is_none()
    }

    /// Asks it to stop.
    pub fn sigterm(&self) {
        self.group.signal(libc::SIGTERM);
    }

    /// Asks it to read its configuration again.
    pub fn sighup(&self) {
        self.group.signal(libc::SIGHUP);
    }

    /// Freezes it: nothing of it turns any more, its event loop least of all.
    pub fn sigstop(&self) {
        self.group.signal(libc::SIGSTOP);
    }

    /// Ends [`Agent::sigstop`].
    pub fn sigcont(&self) {
        self.group.signal(libc::SIGCONT);
    }

    /// Kills it as the kernel would when memory is short.
    pub fn kill9(&mut self) {
        self.group.kill();
    }

    /// Waits for its end and gives the exit code; all that it printed is then in.
    #[track_caller]
    pub fn wait_exit(&mut self, limit: Duration) -> i32 {
        let Some(code) = self.group.wait(limit) else {
            panic!("the agent still runs after {limit:?}");
        };
        for reader in self.readers.drain(..) {
            reader.join().expect("the reader only reads");
        }
        code
    }

    /// Asks it to stop, expects exit 0, and gives the balanced ledger of its one subscription.
    #[track_caller]
    pub fn stop(&mut self) -> Ledger {
        self.end();
        self.ledger("shop-qa")
    }

    /// Stops it in order, whatever its subscriptions are called.
    #[track_caller]
    pub fn end(&mut self) {
        self.sigterm();
        assert_eq!(self.wait_exit(SOON), 0, "exit code after SIGTERM");
    }

    /// The ledger that it printed at its end for `subscription`, which must balance.
    #[track_caller]
    pub fn ledger(&self, subscription: &str) -> Ledger {
        let log = self.log();
        let entry = log
            .iter()
            .rev()
            .find(|entry| entry["message"] == "ledger" && entry["subscription"] == subscription);
        let Some(entry) = entry else {
            panic!("no ledger of {subscription} in the log");
        };
        let ledger = Ledger::parse(entry);
        ledger.assert_balanced();
        ledger
    }

    /// The event loop's longest pause in milliseconds, which it printed at its end; without the time
    /// that a busy machine gave to others.
    #[track_caller]
    pub fn longest_pause_ms(&self) -> f64 {
        let log = self.log();
        let mut stopped = log
            .iter()
            .filter(|entry| entry["message"] == "leek-agent stopped");
        let pause = stopped
            .next()
            .and_then(|entry| entry["longest_own_pause_ms"].as_f64());
        pause.expect("a stopped agent tells its longest pause")
    }

    /// The quarantine files of all subscriptions, the newest one of each last.
    pub fn quarantine_files(&self) -> Vec<PathBuf> {
        quarantine_files(&self.folder().join(QUARANTINE))
    }

    /// The lines of its quarantine files.
    pub fn quarantined(&self) -> Vec<Value> {
        quarantine_lines(&self.folder().join(QUARANTINE))
    }

    /// The names of its threads, sorted.
    pub fn threads(&self) -> Vec<String> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid())).expect("the agent runs");
        let names = tasks.flatten().map(|task| task.path().join("comm"));
        let names = names.filter_map(|path| fs::read_to_string(path).ok());
        let mut names: Vec<String> = names.map(|name| name.trim().to_owned()).collect();
        names.sort();
        names
    }

    /// How often its threads went to sleep so far, and so how often they woke up.
    pub fn sleeps(&self) -> u64 {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid())).expect("the agent runs");
        let status = tasks.flatten().map(|task| task.path().join("status"));
        let status = status.filter_map(|path| fs::read_to_string(path).ok());
        status
            .map(|status| field(&status, "voluntary_ctxt_switches:"))
            .sum()
    }

    /// Resident memory in KiB.
    pub fn rss_kib(&self) -> u64 {
        self.proc_status("VmRSS:")
    }

    /// What of its resident memory is not read from files.
    pub fn data_kib(&self) -> u64 {
        self.proc_status("RssAnon:")
    }

    /// The highest resident memory so far in KiB.
    pub fn peak_rss_kib(&self) -> u64 {
        self.proc_status("VmHWM:")
    }

    /// What it has of all that could grow.
    pub fn footprint(&self) -> Footprint {
        let descriptors = fs::read_dir(format!("/proc/{}/fd", self.pid()));
        Footprint {
            threads: self.proc_status("Threads:") as usize,
            descriptors: descriptors.expect("the agent runs").count(),
            rss_kib: self.rss_kib(),
        }
    }

    /// CPU time used so far, user and system.
    pub fn cpu_seconds(&self) -> f64 {
        let stat = self.proc("stat");
        // The name of the program, in parentheses, may hold blanks; behind it they only separate.
        let (_, fields) = stat.rsplit_once(')').expect("a name in parentheses");
        let ticks: f64 = fields
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(|field| field.parse::<f64>().expect("a count"))
            .sum();
        // SAFETY: sysconf(3) takes a number and gives one.
        ticks / unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64
    }

    fn proc_status(&self, key: &str) -> u64 {
        field(&self.proc("status"), key)
    }

    fn proc(&self, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{file}", self.pid())).expect("the agent runs")
    }
}

/// A number in a `status` file of /proc.
fn field(status: &str, key: &str) -> u64 {
    let line = status.lines().find(|line| line.starts_with(key));
    let value = line.and_then(|line| line.split_whitespace().nth(1));
    value.expect("the kernel tells").parse().expect("a number")
}

/// What a process holds.
#[derive(Debug, Clone, Copy)]
pub struct Footprint {
    pub threads: usize,
    pub descriptors: usize,
    pub rss_kib: u64,
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.group.kill();
        if std::thread::panicking() {
            eprintln!("--- log of agent {} ---\n{}", self.pid(), self.text());
        }
    }
}

/// When a log entry was written, in milliseconds since some day; good for differences.
pub fn time_ms(entry: &Value) -> f64 {
    let text = entry["time"].as_str().expect("a time");
    let numbers = text
        .split(['-', 'T', ':', 'Z'])
        .filter(|part| !part.is_empty());
    let numbers: Vec<f64> = numbers
        .map(|part| part.parse().expect("a number"))
        .collect();
    let [year, month, day, hour, minute, second] = numbers[..] else {
        panic!("{text}");
    };
    // Months as if all were the longest: at the end of a shorter one a difference is too large.
    let days = (year * 12.0 + month) * 31.0 + day;
    (((days * 24.0 + hour) * 60.0 + minute) * 60.0 + second) * 1000.0
}

/// True for a warning or error that has one of `words` in it, in whatever case.
pub fn is_complaint(entry: &Value, words: &[&str]) -> bool {
    let level = entry["level"].as_str().unwrap_or("").to_lowercase();
    let text = entry.to_string().to_lowercase();
    matches!(level.as_str(), "warn" | "error") && words.iter().any(|word| text.contains(word))
}

/// What became of the events of a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ledger {
    pub received: u64,
    pub delivered: u64,
    pub invalid: u64,
    pub filtered: u64,
    pub quarantined: u64,
    pub dropped: u64,
    pub pending: u64,
    pub returned: u64,
    pub repaired: u64,
    pub quarantine_lost: u64,
    pub quarantine_evicted: u64,
    pub spooled: u64,
    pub spool_bytes_written: u64,
    pub spool_torn_bytes: u64,
}

impl Ledger {
    fn parse(entry: &Value) -> Ledger {
        let field = |name: &str| -> u64 {
            let value = &entry[name];
            value
                .as_u64()
                .unwrap_or_else(|| panic!("{name} is {value} in {entry}"))
        };
        Ledger {
            received: field("received"),
            delivered: field("delivered"),
            invalid: field("invalid"),
            filtered: field("filtered"),
            quarantined: field("quarantined"),
            dropped: field("dropped"),
            pending: field("pending"),
            // Not part of the balance; what is absent is nought.
            returned: entry["returned"].as_u64().unwrap_or(0),
            repaired: entry["repaired"].as_u64().unwrap_or(0),
            quarantine_lost: entry["quarantine_lost"].as_u64().unwrap_or(0),
            quarantine_evicted: entry["quarantine_evicted"].as_u64().unwrap_or(0),
            spooled: entry["spooled"].as_u64().unwrap_or(0),
            spool_bytes_written: entry["spool_bytes_written"].as_u64().unwrap_or(0),
            spool_torn_bytes: entry["spool_torn_bytes"].as_u64().unwrap_or(0),
        }
    }

    /// Every event that was received is accounted for.
    #[track_caller]
    pub fn assert_balanced(&self) {
        let Ledger {
            delivered,
            invalid,
            filtered,
            quarantined,
            dropped,
            pending,
            ..
        } = *self;
        let sum = delivered + invalid + filtered + quarantined + dropped + pending;
        assert_eq!(self.received, sum, "the ledger does not balance: {self:?}");
    }

    /// `count` events came and every one was delivered.
    #[track_caller]
    pub fn assert_all_delivered(&self, count: usize) {
        let count = count as u64;
        assert_eq!((self.received, self.delivered), (count, count), "{self:?}");
    }
}
