//! The init script for OpenWrt, sourced as `rc.common` would, with stubs that print what procd would be
//! told.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/configs/leek-agent.procd");

/// What OpenWrt's `procd.sh` offers, as far as it is used: each call is a line.
const STUBS: &str = r#"
set -u
say() { for word in "$@"; do printf '[%s]' "$word"; done; echo; }
procd_open_instance() { say open; }
procd_set_param() { say "$@"; }
procd_close_instance() { say close; }
"#;

/// Starts the service with the real agent, where the script has these files for its configuration.
fn start_service(config: &Path, subscriptions: &Path) -> Output {
    let program = env!("CARGO_BIN_EXE_leek-agent");
    let script = format!(
        "{STUBS}. {SCRIPT}\nPROGRAM='{program}' CONFIG='{}' SUBSCRIPTIONS='{}'\nstart_service",
        config.display(),
        subscriptions.display()
    );
    Command::new("sh")
        .args(["-c", &script])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .output()
        .expect("sh starts")
}

fn write(folder: &Path, prefetch_count: u32) -> [std::path::PathBuf; 2] {
    // A blank in the name: words must stay whole on their way to procd.
    let paths = ["leek agent.json", "subscriptions.json"].map(|name| folder.join(name));
    fs::write(&paths[0], r#"{"log_level": "info"}"#).expect("writable");
    let list = format!(
        r#"[{{"broker": "redis://127.0.0.1:1/0", "org_name": "mono", "app_name": "shop", "app_env": "qa",
             "app_key": "k", "api_url": "http://127.0.0.1:1", "prefetch_count": {prefetch_count}}}]"#
    );
    fs::write(&paths[1], list).expect("writable");
    paths
}

#[test]
fn procd_is_told_what_to_run_and_how() {
    let folder = tempfile::tempdir().expect("a folder");
    let [config, subscriptions] = write(folder.path(), 1000);
    let output = start_service(&config, &subscriptions);
    let (program, config) = (env!("CARGO_BIN_EXE_leek-agent"), config.display());
    let subscriptions = subscriptions.display();
    let expected = format!(
        "[open]\n\
         [command][{program}][--config][{config}][--subscriptions][{subscriptions}]\n\
         [respawn][3600][5][0]\n\
         [term_timeout][20]\n\
         [file][{config}][{subscriptions}]\n\
         [stdout][1]\n\
         [stderr][1]\n\
         [close]\n"
    );
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(output.status.success());
}

#[test]
fn a_wrong_configuration_is_told_and_not_handed_to_procd() {
    let folder = tempfile::tempdir().expect("a folder");
    let [config, subscriptions] = write(folder.path(), 5);
    let output = start_service(&config, &subscriptions);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        told.contains("prefetch_count: 5: expected 1000 to 10000"),
        "{told}"
    );
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn rc_common_finds_its_settings() {
    let script =
        format!("{STUBS}. {SCRIPT}\nsay $USE_PROCD $START $STOP $PROGRAM $CONFIG $SUBSCRIPTIONS");
    let output = Command::new("sh").args(["-c", &script]).output();
    let output = output.expect("sh starts");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "[1][95][10][/usr/bin/leek-agent][/etc/leek-agent/leek-agent.json][/etc/leek-agent/subscriptions.json]\n"
    );
    let text = fs::read_to_string(SCRIPT).expect("the script");
    assert!(
        text.starts_with("#!/bin/sh /etc/rc.common\n"),
        "the interpreter"
    );
}
