//! A real systemd as pid 1, in namespaces and a control group of its own, with one service: the agent, by the
//! unit in configs/. It touches nothing of the machine's own systemd, if there is one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::keeper::{Group, keep_folder};
use super::namespace::{self, MOUNTS, first_child, inside, is_root};
use super::wait::{poll, wait_until};

const SYSTEMD: &str = "/lib/systemd/systemd";

/// A control group of the machine's, before the namespaces: systemd owns what is below it.
const CGROUP: &str = r#"
set -e
mount -t cgroup2 cgroup2 cgroup
mkdir "cgroup/$1"
echo $$ >"cgroup/$1/cgroup.procs"
exec unshare -pfCiu --kill-child --mount-proc sh -c "$2" sh "$3"
"#;

/// What a container's manager does before it starts systemd, which then leaves the kernel alone.
const SYSTEM: &str = r#"
umount -l cgroup
umount -lR /sys/fs/cgroup || true
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
mount --bind varlib /var/lib
touch bin/leek-agent
mount --bind "$1" /usr/local/bin/leek-agent
mount --make-rshared /
export container=test SYSTEMD_UNIT_PATH="$PWD/units"
exec /lib/systemd/systemd --system --unit=multi-user.target
"#;

/// What the unit waits for, and where it is wanted; a machine would have much more in them.
const TARGETS: [&str; 5] = [
    "sysinit",
    "basic",
    "shutdown",
    "network-online",
    "multi-user",
];

/// Where services are, for systemctl.
const SERVICE: &str = "leek-agent.service";

/// A running systemd. Dropping it kills it and the agent.
pub struct Booted {
    group: Group,
    folder: TempDir,
    cgroup: String,
}

/// False, with the reason printed, where no systemd can be booted.
pub fn can_boot() -> bool {
    let probe = "mount -t cgroup2 cgroup2 /mnt && test -w /mnt/cgroup.procs";
    let tried = Command::new("unshare")
        .args(["-mpfC", "sh", "-c", probe])
        .stderr(Stdio::null())
        .status();
    let can =
        is_root() && Path::new(SYSTEMD).exists() && tried.is_ok_and(|status| status.success());
    if !can {
        println!("skipped: needs systemd, root, namespaces and control groups (version 2)");
    }
    can
}

impl Booted {
    /// Boots, with this text of the unit and these lines to follow it, and starts no service.
    pub fn boot(unit: &str, more: &str) -> Booted {
        let folder = tempfile::tempdir().expect("a temporary folder");
        keep_folder(folder.path());
        let path = |name: &str| -> PathBuf { folder.path().join(name) };
        namespace::prepare(folder.path());
        let drop_in = format!("units/{SERVICE}.d");
        for name in ["cgroup", "varlib", "etc/leek-agent", "units", &drop_in] {
            fs::create_dir_all(path(name)).expect("writable");
        }
        for target in TARGETS {
            let text = "[Unit]\nDefaultDependencies=no\n";
            fs::write(path(&format!("units/{target}.target")), text).expect("writable");
        }
        fs::write(path("units").join(SERVICE), unit).expect("writable");
        let log = path("agent.log");
        let log = format!("[Service]\nStandardOutput=append:{}\n", log.display());
        let text = format!("{log}StandardError=inherit\n{more}");
        fs::write(path(&drop_in).join("test.conf"), text).expect("writable");
        let cgroup = format!("leek-agent-test-{}", fastrand::u64(..));
        let group = Group::spawn(
            Command::new("unshare")
                .args(["-m", "sh", "-c", CGROUP, "sh", &cgroup])
                .arg(format!("{MOUNTS}{SYSTEM}"))
                .arg(env!("CARGO_BIN_EXE_leek-agent"))
                .current_dir(folder.path())
                .stdin(Stdio::null())
                .stdout(Stdio::null()),
        );
        let booted = Booted {
            group,
            folder,
            cgroup,
        };
        wait_until(Duration::from_secs(30), "systemd is up", || {
            booted.systemctl("is-active multi-user.target") == "active"
        });
        booted
    }

    /// Writes a file of the configuration, for root's eyes only.
    pub fn configure(&self, name: &str, text: &str) {
        let path = self.folder.path().join("etc/leek-agent").join(name);
        fs::write(&path, text).expect("writable");
        let root_only = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(path, root_only).expect("ours");
    }

    /// Writes both files of the configuration.
    pub fn configure_all(&self, subscriptions: &[Value]) {
        let config = json!({"subscriptions": "/etc/leek-agent/subscriptions.json"});
        self.configure("leek-agent.json", &config.to_string());
        self.configure(
            "subscriptions.json",
            &Value::from(subscriptions).to_string(),
        );
    }

    /// What `systemctl` prints.
    pub fn systemctl(&self, args: &str) -> String {
        let Some(init) = first_child(self.group.pid()) else {
            return String::new();
        };
        let output = inside(init, &format!("systemctl {args}"));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// A property of the service, such as `ActiveState`.
    pub fn show(&self, property: &str) -> String {
        self.systemctl(&format!("show --property={property} --value {SERVICE}"))
    }

    /// Waits until a property of the service has that value.
    #[track_caller]
    pub fn wait_show(&self, limit: Duration, property: &str, value: &str) {
        let reached = poll(limit, || (self.show(property) == value).then_some(()));
        let found = || self.systemctl(&format!("show {SERVICE}"));
        assert!(reached.is_some(), "{property} is not {value}:\n{}", found());
    }

    /// Sends a signal to the agent.
    pub fn signal(&self, name: &str) {
        let init = first_child(self.group.pid()).expect("systemd runs");
        let pid = self.show("MainPID");
        let done = inside(init, &format!("kill -{name} {pid}"));
        assert!(done.status.success(), "{done:?}");
    }

    /// The lines of the agent's `/proc/…/status` that begin with one of `keys`.
    pub fn status_lines(&self, keys: &[&str]) -> Vec<String> {
        let init = first_child(self.group.pid()).expect("systemd runs");
        let output = inside(init, &format!("cat /proc/{}/status", self.show("MainPID")));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let wanted = |line: &&str| keys.iter().any(|key| line.starts_with(key));
        text.lines().filter(wanted).map(str::to_owned).collect()
    }

    /// What all runs of the agent printed.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("agent.log")).unwrap_or_default()
    }

    /// The service's folder for what it keeps.
    pub fn state(&self) -> PathBuf {
        self.folder.path().join("varlib/private/leek-agent")
    }
}

impl Drop for Booted {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "--- status ---\n{}",
                self.systemctl(&format!("status {SERVICE}"))
            );
            eprintln!("--- log ---\n{}", self.log());
        }
        self.group.kill();
        let (folder, cgroup) = (self.folder.path().join("cgroup"), &self.cgroup);
        let folder = folder.display();
        let line = format!(
            "mount -t cgroup2 cgroup2 {folder} && find {folder}/{cgroup} -depth -type d -exec rmdir {{}} +"
        );
        let removed = || {
            Command::new("unshare")
                .args(["-m", "sh", "-c", &line])
                .output()
        };
        // Its last processes may still be on their way out.
        poll(Duration::from_secs(10), || {
            removed().ok()?.status.success().then_some(())
        });
    }
}
