//! The image that configs/Dockerfile describes, made without Docker: its files are copied into an empty
//! folder, and the agent runs with that for a root. Needs root and the static binary of a release.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// A broker by name and an API by address: nothing here answers for either.
const LIST: &str = r#"[{"broker": "amqp://u:p@rabbit.invalid/", "org_name": "o", "app_name": "a",
    "app_env": "b", "app_key": "k", "api_url": "https://127.0.0.1:1"}]"#;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The instructions of the Dockerfile as words, `${TARGET}` filled in.
fn instructions(target: &str) -> Vec<Vec<String>> {
    let text = fs::read_to_string(root().join("configs/Dockerfile")).expect("a Dockerfile");
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let filled = lines.map(|line| line.replace("${TARGET}", target));
    filled
        .map(|line| line.split(' ').map(str::to_owned).collect())
        .collect()
}

/// The arguments of the instructions of a kind.
fn all<'a>(instructions: &'a [Vec<String>], kind: &str) -> Vec<&'a [String]> {
    let kind = instructions.iter().filter(|words| words[0] == kind);
    kind.map(|words| &words[1..]).collect()
}

/// The target that runs on this machine without a libc.
fn target() -> String {
    format!("{}-unknown-linux-musl", std::env::consts::ARCH)
}

/// An image's files in a folder; `None`, with the reason printed, where there can be none.
fn image(target: &str) -> Option<TempDir> {
    let binary = root().join(format!("dist/leek-agent-{target}"));
    if !binary.exists() {
        println!("skipped: scripts/build-release makes {}", binary.display());
        return None;
    }
    let id = Command::new("id").arg("-u").output().expect("id");
    if id.stdout != b"0\n" {
        println!("skipped: only root may have another root");
        return None;
    }
    let image = tempfile::tempdir().expect("a folder");
    // The image's user is nobody, who may not look into a folder of root's own.
    let open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(image.path(), open).expect("writable");
    for copy in all(&instructions(target), "COPY") {
        let to = image.path().join(copy[1].trim_start_matches('/'));
        fs::copy(root().join(&copy[0]), to).expect("a file that exists");
    }
    Some(image)
}

/// The agent in the image, with the image's user and entry point.
fn run(image: &TempDir, target: &str, args: &[&str]) -> Output {
    let instructions = instructions(target);
    let entry = all(&instructions, "ENTRYPOINT")[0][0].trim_matches(['[', ']', '"']);
    let user = &all(&instructions, "USER")[0][0];
    let mut chroot = Command::new("/usr/sbin/chroot");
    chroot.arg(format!("--userspec={user}")).arg(image.path());
    chroot.arg(entry).args(args).env_clear();
    let output = chroot.env("LEEK_AGENT_SUBSCRIPTIONS", LIST).output();
    output.expect("chroot")
}

#[test]
fn the_image_is_the_binary() {
    let instructions = instructions("TARGET");
    assert_eq!(all(&instructions, "FROM"), [["scratch"]]);
    assert_eq!(all(&instructions, "USER"), [["65534:65534"]]);
    assert_eq!(all(&instructions, "ENTRYPOINT"), [["[\"/leek-agent\"]"]]);
    let copied = all(&instructions, "COPY");
    let expected = [
        ["LICENSE", "/LICENSE"],
        ["dist/leek-agent-TARGET", "/leek-agent"],
    ];
    assert_eq!(copied, expected);
    let ignored: PathBuf = root().join(".dockerignore");
    let ignored = fs::read_to_string(ignored).expect("a file");
    for let_through in ["!LICENSE", "!dist/leek-agent-*-linux-*"] {
        assert!(ignored.lines().any(|line| line == let_through), "{ignored}");
    }
}

#[test]
fn the_agent_needs_nothing_else_in_its_image() {
    let target = target();
    let Some(image) = image(&target) else { return };
    let said = run(&image, &target, &["--version"]);
    let version = format!("leek-agent {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(String::from_utf8_lossy(&said.stdout), version);

    let said = run(&image, &target, &["check"]);
    let text = String::from_utf8_lossy(&said.stdout);
    assert_eq!(said.status.code(), Some(69), "{text}");
    // Without a name server's address, and without certificates beside its own.
    let lines: Vec<&str> = text.lines().collect();
    let [broker, api] = lines[..] else {
        panic!("{text}")
    };
    assert!(
        broker.contains("rabbit.invalid") && broker.contains("name"),
        "{broker}"
    );
    assert!(api.contains("connection refused: nothing listens"), "{api}");
}
