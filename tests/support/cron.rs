//! Debian's cron with a crontab of the test's own, in mount and process namespaces of its own: the
//! machine's crontabs are out of its sight, and nothing that it starts outlives it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::faketime::faketime;
use super::keeper::{Group, keep_folder, lock};
use super::namespace::{self, MOUNTS, first_child, inside, is_root, syslog};
use super::wait::poll;

/// Six of the minutes that cron knows: for cron itself, and not for what it starts, the clock runs six
/// times as fast.
pub const MINUTES: Duration = Duration::from_secs(60);

/// What comes before cron in its namespaces, after the mounts that others need, too.
const CRON: &str = r#"
mount -t tmpfs tmpfs /var/spool/cron
mkdir -p /var/spool/cron/crontabs
exec env LD_PRELOAD="$1" FAKETIME='+0 x6' cron -f -L 7
"#;

/// A running cron. Dropping it kills it and all jobs.
pub struct Cron {
    group: Group,
    folder: TempDir,
    syslog: Arc<Mutex<Vec<String>>>,
}

/// False, with the reason printed, where cron cannot be had to itself.
pub fn can_run() -> bool {
    // In a user namespace cron may not set the groups of a job, and gives it up.
    let can = is_root() && has_namespaces();
    if !can {
        println!("skipped: cron needs root and namespaces of its own");
    }
    can
}

fn has_namespaces() -> bool {
    let tried = Command::new("unshare").args(["-mpf", "true"]).status();
    tried.is_ok_and(|status| status.success())
}

impl Cron {
    /// Starts cron with these crontabs of `/etc/cron.d`, for an agent with these subscriptions.
    pub fn start(crontabs: &[(&str, &str)], subscriptions: &[Value]) -> Cron {
        let folder = tempfile::tempdir().expect("a temporary folder");
        keep_folder(folder.path());
        prepare(folder.path(), crontabs, subscriptions);
        let syslog = syslog(folder.path());
        let group = Group::spawn(
            Command::new("unshare")
                .args(["-mpf", "--kill-child", "--mount-proc"])
                .args(["sh", "-c", &format!("{MOUNTS}{CRON}"), "sh"])
                .arg(faketime("libfaketime.so.1"))
                .current_dir(folder.path())
                .stdin(Stdio::null()),
        );
        Cron {
            group,
            folder,
            syslog,
        }
    }

    /// The texts in syslog so far, with the name of who wrote them in front.
    pub fn syslog(&self) -> Vec<String> {
        lock(&self.syslog).clone()
    }

    /// How many lines of syslog have all of `words` in them.
    pub fn count(&self, words: &[&str]) -> usize {
        let has_all = |line: &&String| words.iter().all(|word| line.contains(word));
        self.syslog().iter().filter(has_all).count()
    }

    /// Waits until `count` lines of syslog have all of `words` in them.
    #[track_caller]
    pub fn wait_count(&self, limit: Duration, words: &[&str], count: usize) {
        let reached = poll(limit, || (self.count(words) >= count).then_some(()));
        assert!(reached.is_some(), "not {count} times {words:?}");
    }

    /// What became of the agents that were started, in order: `started`, `ended CODE`.
    pub fn runs(&self) -> Vec<String> {
        let text = fs::read_to_string(self.folder.path().join("runs")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// What the agent's lock file says, which is there whether anybody holds it or not.
    pub fn lock_file(&self) -> String {
        let path = format!("/proc/{}/root/run/leek-agent.lock", self.init());
        let text = fs::read_to_string(path).unwrap_or_default();
        text.trim().to_owned()
    }

    /// Runs a command line among cron's processes, whose numbers are other ones there.
    #[track_caller]
    pub fn inside(&self, line: &str) {
        let done = inside(self.init(), line).status;
        assert!(done.success(), "{line}: {done}");
    }

    /// The process id of cron itself.
    fn init(&self) -> u32 {
        first_child(self.group.pid()).expect("cron runs")
    }
}

impl Drop for Cron {
    fn drop(&mut self) {
        self.group.kill();
        if std::thread::panicking() {
            eprintln!("--- syslog ---\n{}", self.syslog().join("\n"));
            eprintln!("--- runs ---\n{}", self.runs().join("\n"));
        }
    }
}

fn prepare(folder: &Path, crontabs: &[(&str, &str)], subscriptions: &[Value]) {
    let path = |name: &str| -> PathBuf { folder.join(name) };
    namespace::prepare(folder);
    for name in ["etc/cron.d", "etc/leek-agent"] {
        fs::create_dir_all(path(name)).expect("writable");
    }
    for (name, text) in crontabs {
        fs::write(path("etc/cron.d").join(name), text).expect("writable");
    }
    let config = json!({
        "subscriptions": "/etc/leek-agent/subscriptions.json",
        "quarantine_dir": path("quarantine"),
    });
    fs::write(path("etc/leek-agent/leek-agent.json"), config.to_string()).expect("writable");
    let list = Value::from(subscriptions).to_string();
    fs::write(path("etc/leek-agent/subscriptions.json"), list).expect("writable");
    write_witness(&path("bin/leek-agent"), &path("runs"));
}

/// The agent under its own name, and a note of every run of it.
fn write_witness(path: &Path, runs: &Path) {
    let (agent, runs) = (env!("CARGO_BIN_EXE_leek-agent"), runs.display());
    let text = format!(
        "#!/bin/sh\necho started >>{runs}\n{agent} \"$@\"\ncode=$?\necho ended $code >>{runs}\nexit $code\n"
    );
    fs::write(path, text).expect("writable");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("ours");
}
