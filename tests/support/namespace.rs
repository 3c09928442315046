//! A machine of the test's own for what wants to be pid 1, or to have `/etc` and `/dev` for itself: mount
//! and process namespaces over a temporary folder. Needs root; what runs in it dies with its first process.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use super::keeper::lock;

/// Run in the folder, in the new namespaces. Much writes to `/dev/log`, which many a build machine lacks,
/// and `/dev` is no place to add one.
pub const MOUNTS: &str = r#"
set -e
PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount --bind etc /etc
mount --rbind bin /usr/local/bin
mount -t tmpfs tmpfs /run
mount --rbind /dev olddev
mount -t tmpfs tmpfs /dev
for name in null zero full random urandom tty ptmx; do
    touch "/dev/$name"
    mount --bind "olddev/$name" "/dev/$name"
done
mkdir /dev/pts /dev/shm
ln -s "$PWD/log" /dev/log
"#;

/// Accounts, and what the C library and PAM read; the certificates of a large `/etc` are not copied.
const ETC: [&str; 17] = [
    "passwd",
    "group",
    "shadow",
    "gshadow",
    "nsswitch.conf",
    "hosts",
    "resolv.conf",
    "login.defs",
    "environment",
    "default",
    "localtime",
    "machine-id",
    "pam.conf",
    "pam.d",
    "security",
    "ld.so.cache",
    "alternatives",
];

/// True for root.
pub fn is_root() -> bool {
    // SAFETY: geteuid(2) only answers.
    (unsafe { libc::geteuid() }) == 0
}

/// Makes the folders that [`MOUNTS`] mounts.
pub fn prepare(folder: &Path) {
    for name in ["etc", "bin", "olddev"] {
        fs::create_dir_all(folder.join(name)).expect("writable");
    }
    for name in ETC {
        let copied = Command::new("cp")
            .arg("-aL")
            .arg(Path::new("/etc").join(name))
            .arg(folder.join("etc"))
            .stderr(Stdio::null())
            .status();
        // What a machine does not have, nobody there misses.
        copied.expect("cp starts");
    }
}

/// The first child of a process: the first process of the namespace that `unshare` made.
pub fn first_child(pid: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

/// Runs a command line where the process `init` is, among its processes.
pub fn inside(init: u32, line: &str) -> Output {
    Command::new("nsenter")
        .args(["-m", "-p", "-t", &init.to_string()])
        .args(["sh", "-c", line])
        .stdin(Stdio::null())
        .output()
        .expect("nsenter starts")
}

/// Collects what is written to the namespace's `/dev/log`.
pub fn syslog(folder: &Path) -> Arc<Mutex<Vec<String>>> {
    let socket = UnixDatagram::bind(folder.join("log")).expect("a socket");
    let lines = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&lines);
    std::thread::spawn(move || {
        let mut bytes = [0; 8192];
        while let Ok(length) = socket.recv(&mut bytes) {
            lock(&heard).push(String::from_utf8_lossy(&bytes[..length]).into_owned());
        }
    });
    lines
}
