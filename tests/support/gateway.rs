//! The binaries that gateways get, and the processors to run them on: qemu's, where they are not ours.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// Further targets to test, by name, separated by blanks; they are built first.
const MORE: &str = "LEEK_AGENT_TEST_TARGETS";

/// A kind of gateway.
#[derive(Debug)]
pub struct Target {
    /// As `scripts/build-release` takes it.
    pub name: &'static str,
    triple: &'static str,
    /// As `readelf` names it.
    pub machine: &'static str,
    /// What runs its programs here, with the least processor that the target is for.
    emulator: &'static [&'static str],
    binary: OnceLock<PathBuf>,
}

static TARGETS: [Target; 4] = [
    Target {
        name: "armv7",
        triple: "armv7-unknown-linux-musleabihf",
        machine: "ARM",
        emulator: &["qemu-arm", "-cpu", "cortex-a7"],
        binary: OnceLock::new(),
    },
    Target {
        name: "aarch64",
        triple: "aarch64-unknown-linux-musl",
        machine: "AArch64",
        emulator: &["qemu-aarch64", "-cpu", "cortex-a53"],
        binary: OnceLock::new(),
    },
    Target {
        name: "armv6",
        triple: "arm-unknown-linux-musleabihf",
        machine: "ARM",
        emulator: &["qemu-arm", "-cpu", "arm1176"],
        binary: OnceLock::new(),
    },
    Target {
        name: "x86_64",
        triple: "x86_64-unknown-linux-musl",
        machine: "Advanced Micro Devices X86-64",
        emulator: &[],
        binary: OnceLock::new(),
    },
];

/// What is tested always, and what [`MORE`] asks for.
pub fn targets() -> impl Iterator<Item = &'static Target> {
    let more = std::env::var(MORE).unwrap_or_default();
    let (always, others) = TARGETS.split_at(2);
    let wanted = move |target: &&Target| more.split_whitespace().any(|name| name == target.name);
    always.iter().chain(others.iter().filter(wanted))
}

impl Target {
    /// 32 bits, as on the smallest gateways.
    pub fn is_small(&self) -> bool {
        self.machine == "ARM"
    }

    /// The binary of this very source, built where that is still to be done.
    pub fn binary(&self) -> &PathBuf {
        self.binary.get_or_init(|| {
            let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
            let mut build = Command::new(root.join("scripts/build-release"));
            let built = build.arg(self.name).status().expect("bash is here");
            assert!(built.success(), "{build:?}: {built}");
            root.join(format!("dist/leek-agent-{}", self.triple))
        })
    }

    /// The words that start it here.
    pub fn program(&self) -> Vec<OsString> {
        let mut words: Vec<OsString> = self.emulator.iter().map(Into::into).collect();
        words.push(self.binary().into());
        words
    }

    /// The same as a command with an empty environment.
    pub fn command(&self) -> Command {
        let words = self.program();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).env_clear();
        command
    }
}
