//! The agent's page in a real browser: what a technician sees on a phone.
//!
//! `LEEK_AGENT_TEST_SHOTS=FOLDER` keeps pictures of it, light and dark.

mod support;

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::json;
use support::agent::{Agent, SOON, Setup, subscription, with};
use support::api::{Answer, FakeApi};
use support::publisher::Publisher;
use support::rabbitmq::{free_port, shared};
use support::wait::{poll, wait_until};

/// Chromium on this page, in the size of a phone.
fn browse(url: &str, options: &[&str]) -> Output {
    let home = tempfile::tempdir().expect("a folder");
    Command::new("chromium")
        .env("HOME", home.path())
        .args([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
        ])
        .args(["--no-first-run", "--no-proxy-server", "--hide-scrollbars"])
        .args(["--window-size=400,1100", "--virtual-time-budget=4000"])
        .arg(format!("--user-data-dir={}", home.path().display()))
        .args(options)
        .arg(url)
        .output()
        .expect("chromium is installed")
}

/// The page once its script has asked and shown.
fn dom(url: &str) -> String {
    let shown = poll(Duration::from_secs(90), || {
        let output = browse(url, &["--dump-dom"]);
        let dom = String::from_utf8_lossy(&output.stdout).into_owned();
        dom.contains("<section>").then_some(dom)
    });
    shown.expect("a browser shows it")
}

fn keep_pictures(url: &str) {
    let Some(folder) = std::env::var_os("LEEK_AGENT_TEST_SHOTS") else {
        return;
    };
    for (name, options) in [("light", &[][..]), ("dark", &["--force-dark-mode"])] {
        let file = Path::new(&folder).join(format!("{name}.png"));
        let shot = format!("--screenshot={}", file.display());
        browse(url, &[&[shot.as_str()], options].concat());
    }
}

/// One subscription that is well, and one whose API answers with a script.
fn agent(port: u16) -> (Agent, FakeApi, FakeApi) {
    let vhost = shared().vhost("page");
    let (good, bad) = (FakeApi::start(), FakeApi::start());
    let script = "<script>document.title = 'taken over'</script><img src=x onerror=alert(1)>";
    bad.health(Answer::Raw {
        status: 503,
        header: ("content-type", "text/plain".to_owned()),
        body: script.to_owned(),
    });
    let well = subscription(&vhost.url(), &good.url());
    let unwell = with(
        subscription(&vhost.url(), &bad.url()),
        &json!({"app_name": "till", "queue": "another"}),
    );
    let listen = format!("127.0.0.1:{port}");
    let agent = Setup::new(&[well, unwell])
        .args(&["--listen", &listen])
        .start();
    agent.wait_started();
    Publisher::open(&vhost.url()).send(0, 1234);
    good.wait_ids(SOON, 1234);
    (agent, good, bad)
}

#[test]
fn the_page_shows_each_subscription_and_what_is_wrong() {
    let port = free_port();
    let (mut agent, _good, _bad) = agent(port);
    let url = format!("http://127.0.0.1:{port}/");
    let dom = dom(&url);
    keep_pictures(&url);
    assert!(
        dom.contains("<title>1/2 well – leek-agent</title>"),
        "{dom}"
    );
    for shown in [
        "<h2>shop-qa</h2>",
        "<h2>till-qa</h2>",
        "broker consuming",
        "API well",
        "API down",
        "<dd>1,234</dd>",
        // As text, and not as what it says.
        "&lt;script&gt;document.title",
        "delivered: up to ",
        "nothing delivered",
        "connected: waits until the API is well",
    ] {
        assert!(dom.contains(shown), "{shown}: {dom}");
    }
    assert!(dom.contains("<rect "), "no plot: {dom}");
    wait_until(SOON, "the agent stops", || {
        agent.sigterm();
        !agent.runs()
    });
}
