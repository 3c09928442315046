//! The agent's page in a real browser: what a technician sees and does on a phone.
//!
//! `LEEK_AGENT_TEST_SHOTS=FOLDER` keeps pictures of it.

mod support;

use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};
use support::agent::{Agent, SOON, Setup, subscription, with};
use support::api::{Answer, FakeApi};
use support::keeper::keep_folder;
use support::publisher::{Publisher, uuid};
use support::rabbitmq::{Vhost, free_port, shared};
use support::redis::Redis;
use support::wait::wait_until;
use support::webdriver::{Browser, Theme};

const TOKEN: &str = "open-sesame";
const SCRIPT: &str = "<script>document.title = 'taken over'</script><img src=x onerror=\"document.title = 'taken over'\">";
/// A phone's.
const WIDTH: u32 = 390;
const HEIGHT: u32 = 844;

/// An agent that can be asked on a port, and controlled by whoever knows the token.
struct Site {
    vhost: Vhost<'static>,
    api: FakeApi,
    agent: Agent,
    url: String,
}

impl Site {
    /// With the subscription shop-qa and further ones.
    fn start(name: &str, further: impl Fn(&Value) -> Vec<Value>) -> Site {
        Site::placed(name, further, |setup, _| setup)
    }

    /// `place` may put the list elsewhere than into a file.
    fn placed(
        name: &str,
        further: impl Fn(&Value) -> Vec<Value>,
        place: impl Fn(Setup, &str) -> Setup,
    ) -> Site {
        let vhost = shared().vhost(name);
        let api = FakeApi::start();
        let shop = subscription(&vhost.url(), &api.url());
        let subscriptions = [vec![shop.clone()], further(&shop)].concat();
        let listen = format!("127.0.0.1:{}", free_port());
        let setup = Setup::new(&subscriptions);
        let agent = place(setup, &Value::from(subscriptions).to_string())
            .args(&["--listen", &listen, "--control-token", TOKEN])
            .args(&["--control-socket", "FOLDER/control"])
            .start();
        agent.wait_started();
        let url = format!("http://{listen}/");
        Site {
            vhost,
            api,
            agent,
            url,
        }
    }

    fn state(&self, name: &str) -> Option<String> {
        let socket = self.agent.folder().join("control");
        let output = Command::new(env!("CARGO_BIN_EXE_leek-agent"))
            .env_clear()
            .args(["status", "--json", "--control-socket"])
            .arg(socket)
            .output()
            .expect("started");
        let status: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let mut all = status["subscriptions"].as_array().expect("a list").iter();
        let one = all.find(|one| one["name"] == name)?;
        one["state"].as_str().map(str::to_owned)
    }

    #[track_caller]
    fn wait_state(&self, name: &str, state: Option<&str>) {
        wait_until(SOON, &format!("{name} is {state:?}"), || {
            self.state(name).as_deref() == state
        });
    }

    /// Opens the page and shows the token.
    fn enter(&self, browser: &Browser) {
        browser.open(&self.url);
        browser.click("#enter summary");
        browser.write("#enter input", TOKEN);
        browser.click("#enter button");
        browser.wait_text("section button", "Pause");
    }
}

fn keep_picture(browser: &Browser, name: &str) {
    if let Some(folder) = std::env::var_os("LEEK_AGENT_TEST_SHOTS") {
        browser.picture(&PathBuf::from(folder).join(format!("{name}.png")));
    }
}

/// Everything that changes something.
const CONTROLS: &str = "#all button, section button, #add, #leave";

#[test]
fn the_page_shows_each_subscription_and_what_is_wrong() {
    let bad = FakeApi::start();
    bad.health(Answer::Raw {
        status: 503,
        header: ("content-type", "text/plain".to_owned()),
        body: SCRIPT.to_owned(),
    });
    let site = Site::start("page", |shop| {
        let changes = json!({"app_name": "till", "queue": "another", "api_url": bad.url()});
        vec![with(shop.clone(), &changes)]
    });
    Publisher::open(&site.vhost.url()).send(0, 1234);
    site.api.wait_ids(SOON, 1234);
    for (theme, name, width) in [
        (Theme::Light, "light", WIDTH),
        (Theme::Dark, "dark", WIDTH),
        (Theme::Light, "wide", 1200),
    ] {
        let browser = Browser::start(theme, width, HEIGHT);
        browser.open(&site.url);
        for shown in [
            "shop-qa",
            "till-qa",
            "broker consuming",
            "API well",
            "API down",
            "1,234",
            "0 documents",
            "0 % of 1.0 MB",
            "delivered: up to ",
            "nothing delivered",
            "connected: waits until the API is well",
            // As text, and not as what it says.
            "<script>document.title",
        ] {
            browser.wait_text("main", shown);
        }
        assert_eq!(browser.value("document.title"), "1/2 well – leek-agent");
        assert_eq!(browser.text(CONTROLS), "", "a reader changes nothing");
        let overflow = browser.value("document.documentElement.scrollWidth - innerWidth");
        assert_eq!(overflow, 0, "nothing is wider than the window");
        assert_ne!(
            browser.value("document.querySelectorAll('rect').length"),
            0,
            "a plot"
        );
        keep_picture(&browser, name);
    }
}

#[test]
fn what_is_on_the_disk_is_shown_with_what_to_do() {
    let (redis, away) = (Redis::start(), FakeApi::start());
    let folder = tempfile::tempdir().expect("a temporary folder");
    keep_folder(folder.path());
    let site = Site::start("page-disk", |_| {
        let till = subscription(&redis.url(), &away.url());
        let changes = json!({"app_name": "till", "spool": {"dir": folder.path().join("spool")}});
        vec![with(till, &changes)]
    });
    site.api.always(Answer::Partial(vec![uuid(0), uuid(1)]));
    away.always(Answer::unavailable());
    Publisher::open(&site.vhost.url()).send(0, 500);
    redis.publisher("/0.celeryev").send(0, 300);
    site.api.wait_ids(SOON, 498);
    let browser = Browser::start(Theme::Dark, WIDTH, HEIGHT);
    browser.open(&site.url);
    for shown in [
        "posts that Leek stored whole\n",
        "refused by Leek\n2",
        "Leek refused documents",
        "leek-agent replay FILE",
        "in the spool\n300",
        "Events wait on disk",
    ] {
        browser.wait_text("main", shown);
    }
    keep_picture(&browser, "disk");
}

#[test]
fn who_knows_the_token_pauses_and_resumes() {
    let site = Site::start("page-token", |_| Vec::new());
    let browser = Browser::start(Theme::Light, WIDTH, HEIGHT);
    browser.open(&site.url);
    browser.click("#enter summary");
    browser.write("#enter input", "guessed");
    browser.click("#enter button");
    browser.wait_text("#said", "not the control token of this agent");
    assert_eq!(browser.text(CONTROLS), "");
    keep_picture(&browser, "token");

    site.enter(&browser);
    assert_eq!(browser.text("#enter"), "", "no need to show it again");
    assert_eq!(
        browser.value("localStorage.length"),
        0,
        "it is kept in the tab alone"
    );
    browser.click("section button");
    browser.wait_text("#said", "paused: shop-qa");
    site.wait_state("shop-qa", Some("paused"));
    browser.wait_text("main", "It takes nothing until it is resumed");
    keep_picture(&browser, "paused");
    // What has the keyboard's focus keeps it while the page is drawn anew, and is enough to go on.
    let focus = "document.activeElement.getAttribute('aria-label')";
    assert_eq!(browser.value(focus), "Resume shop-qa");
    browser.value("ask()");
    assert_eq!(browser.value(focus), "Resume shop-qa");
    browser.write("section button", "\u{e007}");
    browser.wait_text("#said", "resumed: shop-qa");
    site.wait_state("shop-qa", Some("running"));
    browser.click("#pause");
    site.wait_state("shop-qa", Some("paused"));
    browser.wait_text("#all", "Resume all");
    browser.click("#resume");
    site.wait_state("shop-qa", Some("running"));
    browser.wait_text("#said", "resumed: shop-qa");
    browser.click("#reload");
    browser.wait_text("#said", "applied: 1 unchanged");

    browser.click("#leave button");
    wait_until(SOON, "no buttons", || browser.text(CONTROLS).is_empty());
}

#[test]
fn subscriptions_are_added_and_removed_in_a_form() {
    let site = Site::start("page-form", |_| Vec::new());
    let browser = Browser::start(Theme::Light, WIDTH, HEIGHT);
    site.enter(&browser);
    browser.click("#add summary");
    let heights = "[...document.querySelectorAll('button, input, summary')].filter((one) => one.checkVisibility()).map((one) => one.getBoundingClientRect().height)";
    let heights = browser.value(heights);
    let heights = heights
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(Value::as_f64);
    let lowest = heights.fold(f64::INFINITY, f64::min);
    assert!(lowest >= 44.0, "a finger needs more than {lowest} pixels");
    for (key, text) in [
        ("broker", site.vhost.url().as_str()),
        ("org_name", "mono"),
        ("app_name", "till"),
        ("app_env", "qa"),
        ("api_url", &site.api.url()),
        ("app_key", "secret"),
    ] {
        browser.write(&format!("[name={key}]"), text);
    }
    let more = "[name=more]";
    browser.write(more, "{\"queue\"");
    browser.click("#add button");
    browser.wait_text("#said", "more keys: ");
    // Only whether it is run is of interest.
    let hostile = json!({"queue": "till", SCRIPT: 1}).to_string();
    browser.value(&format!(
        "void (document.querySelector('{more}').value = {})",
        json!(hostile)
    ));
    browser.click("#add button");
    browser.wait_text("#said", "unknown key");
    browser.wait_text("#said", "<img src=x onerror=");
    assert_eq!(browser.value("document.querySelectorAll('img').length"), 0);
    assert_eq!(browser.value("document.title"), "1/1 well – leek-agent");
    keep_picture(&browser, "form");

    browser.value(&format!(
        "void (document.querySelector('{more}').value = '{{\"queue\": \"till\"}}')"
    ));
    browser.click("#add button");
    browser.wait_text("#said", "added: till-qa");
    site.wait_state("till-qa", Some("running"));
    browser.wait_text("main", "till-qa");
    assert_eq!(
        browser.value("document.querySelector('[name=app_key]').value"),
        ""
    );
    keep_picture(&browser, "added");

    browser.click("[aria-label='Remove till-qa']");
    assert!(browser.confirm().starts_with("Remove till-qa?"));
    browser.wait_text("#said", "removed: till-qa");
    site.wait_state("till-qa", None);
    wait_until(SOON, "its card is gone", || {
        !browser.text("main").contains("till-qa")
    });
}

/// Nobody can change an environment from outside: the page says so, and the rest works.
#[test]
fn a_list_in_the_environment_is_not_changed() {
    let in_variable = |setup: Setup, list: &str| setup.env("LEEK_AGENT_SUBSCRIPTIONS", list);
    let site = Site::placed("page-environment", |_| Vec::new(), in_variable);
    let browser = Browser::start(Theme::Dark, WIDTH, HEIGHT);
    site.enter(&browser);
    browser.wait_text("#fixed", "in the variable LEEK_AGENT_SUBSCRIPTIONS");
    assert_eq!(browser.text("#add"), "");
    assert_eq!(
        browser.text("section button"),
        "Pause",
        "and no way to remove"
    );
    browser.click("section button");
    site.wait_state("shop-qa", Some("paused"));
    keep_picture(&browser, "environment");
}
