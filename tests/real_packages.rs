//! The Debian packages: judged by lintian, and installed, upgraded, removed and purged in a small Debian
//! of their own. What needs root, a mirror or a release's static binaries is skipped without, and says so.

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, OnceLock};

use support::keeper::{keep_folder, lock};
use tempfile::TempDir;

const TARGETS: [(&str, &str); 3] = [
    ("armhf", "armv7-unknown-linux-musleabihf"),
    ("arm64", "aarch64-unknown-linux-musl"),
    ("amd64", "x86_64-unknown-linux-musl"),
];

/// Stands for a running systemd: says what it was asked.
const SYSTEMCTL: &str = "#!/bin/sh\necho \"$*\" >>/systemctl.log\n";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What a command printed; panics with all of it where the command failed.
fn output(command: &mut Command) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().expect("scripts/setup installs it");
    let text = [stdout, stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(status.success(), "{command:?}: {status}\n{text}");
    text
}

/// The binary that `scripts/build-release` made for an architecture, if it did.
fn released(arch: &str) -> Option<PathBuf> {
    let (_, target) = TARGETS.iter().find(|(name, _)| *name == arch)?;
    let path = root().join(format!("dist/leek-agent-{target}"));
    path.exists().then_some(path)
}

/// A folder of binaries as `scripts/build-release` leaves them, and the packages made of them.
struct Dist {
    folder: TempDir,
    /// This machine's architecture.
    arch: String,
    /// Packed already: tests share what takes seconds to make.
    packed: Mutex<Vec<PathBuf>>,
}

fn shared() -> &'static Dist {
    static DIST: OnceLock<Dist> = OnceLock::new();
    DIST.get_or_init(Dist::new)
}

impl Dist {
    /// With the binary of this test run for this machine: what is packed does not matter here.
    fn new() -> Dist {
        let folder = tempfile::tempdir().expect("a folder");
        keep_folder(folder.path());
        let arch = output(Command::new("dpkg").arg("--print-architecture"));
        let arch = arch.trim().to_owned();
        let packed = Mutex::default();
        let dist = Dist {
            folder,
            arch,
            packed,
        };
        let ours = Path::new(env!("CARGO_BIN_EXE_leek-agent"));
        let target = dist.binary(&dist.arch);
        output(Command::new("strip").arg("-o").arg(target).arg(ours));
        dist
    }

    fn binary(&self, arch: &str) -> PathBuf {
        let (_, target) = TARGETS
            .iter()
            .find(|(name, _)| *name == arch)
            .expect("an architecture that there are packages for");
        self.folder.path().join(format!("leek-agent-{target}"))
    }

    fn package(&self, arch: &str, revision: &str) -> PathBuf {
        let version = env!("CARGO_PKG_VERSION");
        let name = format!("leek-agent_{version}-{revision}_{arch}.deb");
        let path = self.folder.path().join(name);
        let mut packed = lock(&self.packed);
        if !packed.contains(&path) {
            self.pack(arch, revision);
            packed.push(path.clone());
        }
        path
    }

    fn pack(&self, arch: &str, revision: &str) {
        let script = root().join("scripts/package");
        let mut package = Command::new(script);
        package.args(["--revision", revision, arch]);
        output(package.env("LEEK_AGENT_DIST", self.folder.path()));
    }
}

/// A small Debian in a folder.
struct Debian {
    folder: TempDir,
}

impl Debian {
    /// `None`, with the reason printed, where there can be none.
    fn new() -> Option<Debian> {
        if output(Command::new("id").arg("-u")).trim() != "0" {
            println!("skipped: packages are installed by root only");
            return None;
        }
        let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let tar = cache.or(home)?.join("leek-agent/debian-12.tar");
        let script = root().join("scripts/parts/debian-root");
        let made = Command::new(script).arg(&tar).output().expect("bash");
        if !made.status.success() {
            let why = String::from_utf8_lossy(&made.stderr);
            println!("skipped: no small Debian is to be had here: {why}");
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder");
        keep_folder(folder.path());
        output(
            Command::new("tar")
                .arg("-xf")
                .arg(tar)
                .arg("-C")
                .arg(folder.path()),
        );
        Some(Debian { folder })
    }

    fn path(&self, inside: &str) -> PathBuf {
        self.folder.path().join(inside)
    }

    fn run(&self, words: &[&str]) -> String {
        let mut chroot = Command::new("chroot");
        chroot.arg(self.folder.path()).args(words).env_clear();
        chroot.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        output(chroot.env("DEBIAN_FRONTEND", "noninteractive"))
    }

    fn install(&self, package: &Path) -> String {
        fs::copy(package, self.path("package.deb")).expect("writable");
        self.run(&["dpkg", "--force-unsafe-io", "--install", "/package.deb"])
    }

    fn boot_systemd(&self) {
        fs::create_dir_all(self.path("run/systemd/system")).expect("writable");
        let systemctl = self.path("usr/bin/systemctl");
        fs::write(&systemctl, SYSTEMCTL).expect("writable");
        fs::set_permissions(&systemctl, fs::Permissions::from_mode(0o755)).expect("writable");
    }

    /// What systemd was asked since the last look, besides to read its units again, which it always is.
    fn asked(&self) -> Vec<String> {
        let log = self.path("systemctl.log");
        let asked = fs::read_to_string(&log).unwrap_or_default();
        let _ = fs::remove_file(log);
        let (reloads, others): (Vec<&str>, Vec<&str>) = asked
            .lines()
            .partition(|line| line.ends_with("daemon-reload"));
        assert!(!reloads.is_empty(), "{asked}");
        others.into_iter().map(str::to_owned).collect()
    }

    fn mode(&self, inside: &str) -> u32 {
        let meta = fs::metadata(self.path(inside)).expect(inside);
        meta.permissions().mode() & 0o7777
    }

    /// As an operator does: a configuration, the service enabled, and what the service then leaves.
    fn operate(&self) {
        fs::write(self.path(CONFIG), OWN).expect("writable");
        fs::write(self.path("etc/leek-agent/app.key"), "secret").expect("writable");
        let wants = self.path("etc/systemd/system/multi-user.target.wants");
        fs::create_dir_all(&wants).expect("writable");
        symlink(
            "/lib/systemd/system/leek-agent.service",
            wants.join("leek-agent.service"),
        )
        .expect("writable");
        let state = "var/lib/private/leek-agent/quarantine";
        fs::create_dir_all(self.path(state)).expect("writable");
        symlink("private/leek-agent", self.path("var/lib/leek-agent")).expect("writable");
    }

    fn config(&self) -> String {
        fs::read_to_string(self.path(CONFIG)).expect("a configuration")
    }
}

const CONFIG: &str = "etc/leek-agent/subscriptions.json";
const OWN: &str = "[]\n";

#[test]
fn a_package_comes_and_goes_beside_systemd() {
    let Some(debian) = Debian::new() else { return };
    let dist = shared();
    debian.boot_systemd();
    let said = debian.install(&dist.package(&dist.arch, "1"));
    assert!(
        said.contains("edit /etc/leek-agent/subscriptions.json"),
        "{said}"
    );
    // Neither enabled nor started with an example for a configuration.
    assert_eq!(debian.asked(), [""; 0]);
    assert_eq!(debian.mode("etc/leek-agent"), 0o700);
    assert_eq!(debian.mode(CONFIG), 0o600);
    debian.run(&["leek-agent", "--version"]);
    let json = "/etc/leek-agent/leek-agent.json";
    debian.run(&["leek-agent", "check", "--offline", "--config", json]);

    debian.operate();
    debian.install(&dist.package(&dist.arch, "2"));
    assert_eq!(debian.asked(), ["try-restart leek-agent.service"]);
    assert_eq!(debian.config(), OWN);
    assert_eq!(debian.mode(CONFIG), 0o600);

    debian.run(&["dpkg", "--remove", "leek-agent"]);
    assert_eq!(debian.asked(), ["stop leek-agent.service"]);
    assert_eq!(debian.config(), OWN);
    assert!(
        debian
            .path("var/lib/leek-agent/../leek-agent/quarantine")
            .exists()
    );
    assert!(!debian.path("usr/bin/leek-agent").exists());

    debian.install(&dist.package(&dist.arch, "2"));
    assert_eq!(debian.config(), OWN);
    debian.run(&["dpkg", "--purge", "leek-agent"]);
    assert_nothing_left(&debian);
}

#[test]
fn a_package_comes_and_goes_without_systemd() {
    let Some(debian) = Debian::new() else { return };
    let dist = shared();
    debian.install(&dist.package(&dist.arch, "1"));
    debian.operate();
    debian.install(&dist.package(&dist.arch, "2"));
    assert_eq!(debian.config(), OWN);
    debian.run(&["dpkg", "--remove", "leek-agent"]);
    debian.run(&["dpkg", "--purge", "leek-agent"]);
    assert_nothing_left(&debian);
}

fn assert_nothing_left(debian: &Debian) {
    let left = debian.run(&["find", "/", "-name", "*leek*agent*"]);
    assert_eq!(left, "");
}

#[test]
fn lintian_has_nothing_to_complain_of() {
    let dist = shared();
    let package = dist.package(&dist.arch, "1");
    let mut lintian = Command::new("lintian");
    // What is packed here is no release.
    lintian.args(["--suppress-tags", "undeclared-elf-prerequisites"]);
    lintian.args(["--allow-root", "--fail-on", "error,warning"]);
    output(lintian.arg(package));
}

#[test]
fn the_same_commit_gives_the_same_package() {
    let dist = shared();
    let path = dist.package(&dist.arch, "4");
    let first = fs::read(&path).expect("a package");
    fs::remove_file(&path).expect("writable");
    dist.pack(&dist.arch, "4");
    assert!(first == fs::read(&path).expect("a package"));
}

#[test]
fn every_architecture_has_the_same_files() {
    let dist = shared();
    let package = dist.package(&dist.arch, "1");
    let (_, expected) = described(&package);
    for path in [
        "./usr/bin/leek-agent",
        "./lib/systemd/system/leek-agent.service",
        "./etc/leek-agent/leek-agent.json",
        "./usr/share/man/man1/leek-agent.1.gz",
        "./usr/share/bash-completion/completions/leek-agent",
        "./usr/share/zsh/vendor-completions/_leek-agent",
        "./usr/share/fish/vendor_completions.d/leek-agent.fish",
    ] {
        assert!(expected.iter().any(|found| found == path), "{path}");
    }
    for (arch, _) in TARGETS {
        let Some(binary) = released(arch) else {
            println!("{arch} skipped: scripts/build-release makes its binary");
            continue;
        };
        fs::copy(binary, dist.binary(arch)).expect("writable");
        let found = described(&dist.package(arch, "3"));
        assert_eq!(found, (arch.to_owned(), expected.clone()));
    }
}

/// A package's architecture and its files.
fn described(package: &Path) -> (String, Vec<String>) {
    let field = |arg| {
        output(
            Command::new("dpkg-deb")
                .arg("--field")
                .arg(package)
                .arg(arg),
        )
    };
    let contents = output(Command::new("dpkg-deb").arg("--contents").arg(package));
    let names = contents
        .lines()
        .filter_map(|line| line.split(' ').next_back());
    let arch = field("Architecture").trim().to_owned();
    (arch, names.map(str::to_owned).collect())
}

#[test]
fn a_missing_binary_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut package = Command::new(root().join("scripts/package"));
    package.arg("armhf").env("LEEK_AGENT_DIST", folder.path());
    let Output { status, stderr, .. } = package.output().expect("bash");
    let said = String::from_utf8_lossy(&stderr);
    assert_eq!(status.code(), Some(69), "{said}");
    let hint = "is missing: scripts/build-release armv7-unknown-linux-musleabihf";
    assert!(said.contains(hint), "{said}");
}
