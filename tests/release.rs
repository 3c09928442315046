//! `scripts/release`: what it writes, what it refuses, what it cuts out, and what it leaves in dist/. In
//! place of the builds stand scripts that take no time.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// What the script looks at.
const FILES: [&str; 7] = [
    ".gitignore",
    "Cargo.toml",
    "Cargo.lock",
    "CHANGELOG.md",
    "src/release.rs",
    "tests/fuzz/Cargo.lock",
    "scripts/release",
];

const CHANGELOG: &str = "# Changelog\n\n## Unreleased\n\n### Added\n- News.\n\n\
    ## 0.0.1 - 2020-01-02\n\n- Old news.\n";

/// Stands for `scripts/build-release`: one program that runs here, one that does not, and their parts list.
const BUILD: &str = "#!/bin/sh
mkdir -p dist && cd dist
printf '#!/bin/sh\\nexit 1\\n' >leek-agent-armv7-unknown-linux-musleabihf
printf '#!/bin/sh\\necho the page of $1\\n' >leek-agent-x86_64-unknown-linux-musl
echo '{}' >leek-agent.cdx.json
chmod +x leek-agent-*-linux-*
";

/// Stands for `scripts/package`.
const PACKAGE: &str = "#!/bin/sh\necho deb >dist/leek-agent_98.7.6-1_armhf.deb\n";

/// A repository with those files alone.
struct Repository {
    folder: TempDir,
}

impl Repository {
    fn new() -> Repository {
        let folder = tempfile::tempdir().expect("a folder");
        let repository = Repository { folder };
        for file in FILES {
            let from = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
            let to = repository.path(file);
            fs::create_dir_all(to.parent().expect("a folder")).expect("writable");
            fs::copy(from, to).expect("writable");
        }
        fs::write(repository.path("CHANGELOG.md"), CHANGELOG).expect("writable");
        repository.git(&["init", "--quiet"]);
        repository.commit();
        repository
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    fn script(&self, file: &str, text: &str) {
        fs::write(self.path(file), text).expect("writable");
        let executable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(self.path(file), executable).expect("writable");
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.path(file)).expect(file)
    }

    fn change(&self, file: &str, from: &str, to: &str) {
        let text = self.read(file);
        assert!(text.contains(from), "{file}: {text}");
        fs::write(self.path(file), text.replace(from, to)).expect("writable");
    }

    fn git(&self, words: &[&str]) {
        let mut git = Command::new("git");
        git.args(["-c", "user.name=test", "-c", "user.email=test@example.org"]);
        let done = git.args(words).current_dir(self.folder.path()).status();
        assert!(done.expect("git").success(), "git {words:?}");
    }

    fn commit(&self) {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--message", "all"]);
    }

    /// Exit code and what was printed.
    fn release(&self, words: &[&str]) -> (i32, String) {
        let mut release = Command::new(self.path("scripts/release"));
        let done = release.args(words).output().expect("bash");
        let text = [done.stdout, done.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        (done.status.code().expect("it ended by itself"), text)
    }

    fn refuses(&self, words: &[&str], why: &str) {
        let (code, text) = self.release(words);
        assert_eq!(code, 65, "{text}");
        assert!(text.contains(why), "{text}");
    }
}

#[test]
fn a_prepared_version_passes_and_its_notes_are_cut_out() {
    let repository = Repository::new();
    let (code, text) = repository.release(&["prepare", "98.7.6"]);
    assert_eq!(code, 0, "{text}");
    for file in ["Cargo.toml", "Cargo.lock", "tests/fuzz/Cargo.lock"] {
        let text = repository.read(file);
        let mut lines = text
            .lines()
            .skip_while(|line| *line != "name = \"leek-agent\"");
        assert_eq!(lines.nth(1), Some("version = \"98.7.6\""), "{file}");
    }
    let changelog = repository.read("CHANGELOG.md");
    assert!(
        changelog.contains("\n## Unreleased\n\n## 98.7.6 - 2"),
        "{changelog}"
    );
    repository.refuses(&["check", "98.7.6"], "not committed");

    repository.commit();
    let (code, notes) = repository.release(&["check", "98.7.6"]);
    assert_eq!(code, 0, "{notes}");
    assert_eq!(notes, "# leek-agent 98.7.6\n\n### Added\n- News.\n");
    let (_, again) = repository.release(&["check", "98.7.6"]);
    assert_eq!(again, notes);
}

#[test]
fn everything_is_in_dist_and_summed_up() {
    let repository = Repository::new();
    repository.script("scripts/build-release", BUILD);
    repository.script("scripts/package", PACKAGE);
    repository.release(&["prepare", "98.7.6"]);
    repository.commit();
    let mut sums = Vec::new();
    for _ in 0..2 {
        let (code, text) = repository.release(&["98.7.6"]);
        assert_eq!(code, 0, "{text}");
        sums.push(repository.read("dist/SHA256SUMS"));
        // Of an older release, say.
        fs::write(repository.path("dist/leek-agent_0.0.1-1_armhf.deb"), "").expect("writable");
    }
    assert_eq!(sums[0], sums[1]);
    let names = sums[0]
        .lines()
        .filter_map(|line| line.split(' ').next_back());
    let expected = [
        "RELEASE-NOTES.md",
        "leek-agent-armv7-unknown-linux-musleabihf",
        "leek-agent-x86_64-unknown-linux-musl",
        "leek-agent.1",
        "leek-agent.cdx.json",
        "leek-agent_98.7.6-1_armhf.deb",
    ];
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    assert_eq!(names, expected);
    assert_eq!(repository.read("dist/leek-agent.1"), "the page of man\n");
    let notes = repository.read("dist/RELEASE-NOTES.md");
    assert!(
        notes.starts_with("# leek-agent 98.7.6\n\n### Added"),
        "{notes}"
    );
    let mut check = Command::new("sha256sum");
    check.args(["--check", "--quiet", "SHA256SUMS"]);
    let checked = check.current_dir(repository.path("dist")).status();
    assert!(checked.expect("coreutils").success());
}

#[test]
fn what_is_not_ready_is_refused() {
    let repository = Repository::new();
    repository.refuses(&["98.7.6"], "scripts/release prepare 98.7.6");
    repository.refuses(&["prepare", "0.0.1"], "a section for 0.0.1 already");
    repository.release(&["prepare", "98.7.6"]);
    repository.commit();
    repository.refuses(&["prepare", "98.7.7"], "nothing below Unreleased");
    repository.refuses(&["check", "98.7.7"], "Cargo.toml says 98.7.6");

    repository.change("CHANGELOG.md", "## 98.7.6 - 2", "## 98.7.6 2");
    repository.commit();
    repository.refuses(&["98.7.6"], "no line \"## 98.7.6 - YYYY-MM-DD\"");
    repository.change("CHANGELOG.md", "## 98.7.6 2", "## 98.7.6 - 3");
    repository.commit();
    repository.refuses(&["98.7.6"], "RELEASED_MS in src/release.rs is not 3");
    repository.change("CHANGELOG.md", "### Added\n- News.\n", "");
    repository.commit();
    repository.refuses(&["98.7.6"], "nothing below 98.7.6");
}

#[test]
fn a_version_has_three_numbers() {
    let repository = Repository::new();
    for words in [
        &[][..],
        &["1.2"],
        &["v1.2.3"],
        &["check"],
        &["1.2.3", "4.5.6"],
    ] {
        let (code, text) = repository.release(words);
        assert_eq!(code, 64, "{words:?}: {text}");
    }
}
