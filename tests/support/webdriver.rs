//! Debian's Chromium with its driver, spoken to as W3C WebDriver says: JSON over plain HTTP.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use tempfile::TempDir;
use ureq::Agent;

use super::keeper::{Group, keep_folder};
use super::rabbitmq::free_port;
use super::wait::{wait_for, wait_until};

/// A browser takes seconds to start on two busy cores, a page less.
const START_LIMIT: Duration = Duration::from_secs(90);
const PAGE_LIMIT: Duration = Duration::from_secs(30);

/// The key under which WebDriver hands elements out, in the standard's own words.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// How the browser looks at pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Theme {
    Light,
    Dark,
}

/// A browser with one window. It is of its driver's process group: dropping it kills both.
pub struct Browser {
    http: Agent,
    /// Where its session is.
    session: String,
    _driver: Group,
    _home: TempDir,
}

impl Browser {
    /// Starts one whose window has that size.
    pub fn start(theme: Theme, width: u32, height: u32) -> Browser {
        let home = tempfile::tempdir().expect("a temporary folder");
        keep_folder(home.path());
        let port = free_port();
        let mut driver = Command::new("chromedriver");
        driver
            .arg(format!("--port={port}"))
            .env("HOME", home.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let driver = Group::spawn(&mut driver);
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .timeout_global(Some(START_LIMIT));
        let http: Agent = config.build().into();
        let base = format!("http://127.0.0.1:{port}");
        wait_until(START_LIMIT, "the driver answers", || {
            http.get(format!("{base}/status")).call().is_ok()
        });
        let started = call(
            &http,
            &format!("{base}/session"),
            &wanted(home.path(), theme),
        );
        let id = started["sessionId"].as_str().expect("a session");
        let browser = Browser {
            session: format!("{base}/session/{id}"),
            http,
            _driver: driver,
            _home: home,
        };
        browser.size(width, height);
        browser
    }

    /// The page's own size is what counts, whatever frame a window has.
    pub fn size(&self, width: u32, height: u32) {
        let parameters =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        let command = json!({"cmd": "Emulation.setDeviceMetricsOverride", "params": parameters});
        self.post("goog/cdp/execute", &command);
    }

    pub fn open(&self, url: &str) {
        self.post("url", &json!({ "url": url }));
    }

    /// Clicks as a person does: what is hidden or covered is not clicked.
    #[track_caller]
    pub fn click(&self, selector: &str) {
        let element = self.find(selector);
        self.post(&format!("element/{element}/click"), &json!({}));
    }

    /// Types into a field, after what is in it.
    #[track_caller]
    pub fn write(&self, selector: &str, text: &str) {
        let element = self.find(selector);
        self.post(
            &format!("element/{element}/value"),
            &json!({ "text": text }),
        );
    }

    /// Says yes to the question that the page asks, and gives its words.
    pub fn confirm(&self) -> String {
        let question = wait_for(PAGE_LIMIT, "a question", || {
            let (status, answer) = self.get("alert/text");
            (status == 200).then(|| answer.as_str().unwrap_or_default().to_owned())
        });
        self.post("alert/accept", &json!({}));
        question
    }

    /// What an expression gives in the page.
    pub fn value(&self, expression: &str) -> Value {
        let script = format!("return {expression}");
        self.post("execute/sync", &json!({"script": script, "args": []}))
    }

    /// The text that a person sees there; nothing where nothing is shown.
    pub fn text(&self, selector: &str) -> String {
        let found = self.value(&format!(
            "[...document.querySelectorAll({})].filter((one) => one.checkVisibility()).map((one) => one.innerText).join(' | ')",
            json!(selector)
        ));
        found.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until those words are seen there.
    #[track_caller]
    pub fn wait_text(&self, selector: &str, words: &str) {
        wait_until(PAGE_LIMIT, &format!("{selector} shows {words}"), || {
            self.text(selector).contains(words)
        });
    }

    /// A picture of the whole page.
    pub fn picture(&self, file: &Path) {
        let height = self.value("document.documentElement.scrollHeight");
        let width = self.value("innerWidth");
        let whole = |value: Value| value.as_u64().and_then(|size| u32::try_from(size).ok());
        self.size(
            whole(width).expect("a width"),
            whole(height).expect("a height"),
        );
        let (_, picture) = self.get("screenshot");
        let bytes = BASE64.decode(picture.as_str().expect("a picture"));
        std::fs::write(file, bytes.expect("base64")).expect("written");
    }

    #[track_caller]
    fn find(&self, selector: &str) -> String {
        let query = json!({"using": "css selector", "value": selector});
        wait_for(PAGE_LIMIT, selector, || {
            let answer = try_call(&self.http, &format!("{}/element", self.session), &query);
            answer.ok()?[ELEMENT].as_str().map(str::to_owned)
        })
    }

    #[track_caller]
    fn post(&self, path: &str, body: &Value) -> Value {
        call(&self.http, &format!("{}/{path}", self.session), body)
    }

    fn get(&self, path: &str) -> (u16, Value) {
        let answer = self.http.get(format!("{}/{path}", self.session)).call();
        let mut answer = answer.expect("the driver answers");
        let status = answer.status().as_u16();
        let body = answer.body_mut().with_config().limit(64 * 1024 * 1024);
        let text = body.read_to_string().expect("text");
        let body: Value = serde_json::from_str(&text).expect("JSON");
        (status, body["value"].clone())
    }
}

/// A fresh browser without a screen.
fn wanted(home: &Path, theme: Theme) -> Value {
    let mut arguments = vec![
        "--headless=new".to_owned(),
        "--no-sandbox".to_owned(),
        "--disable-gpu".to_owned(),
        "--disable-dev-shm-usage".to_owned(),
        "--no-first-run".to_owned(),
        "--no-proxy-server".to_owned(),
        "--hide-scrollbars".to_owned(),
        format!("--user-data-dir={}", home.display()),
    ];
    if theme == Theme::Dark {
        arguments.push("--force-dark-mode".to_owned());
    }
    json!({"capabilities": {"alwaysMatch": {
        "browserName": "chrome",
        // Questions stay until a test answers them.
        "unhandledPromptBehavior": "ignore",
        "goog:chromeOptions": {"args": arguments},
    }}})
}

#[track_caller]
fn call(http: &Agent, url: &str, body: &Value) -> Value {
    try_call(http, url, body).unwrap_or_else(|error| panic!("{url}: {body}: {error}"))
}

fn try_call(http: &Agent, url: &str, body: &Value) -> Result<Value, String> {
    let answer = http
        .post(url)
        .header("content-type", "application/json")
        .send(body.to_string());
    let mut answer = answer.map_err(|error| error.to_string())?;
    let is_done = answer.status() == 200;
    let text = answer
        .body_mut()
        .read_to_string()
        .map_err(|error| error.to_string())?;
    let body: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    match is_done {
        true => Ok(body["value"].clone()),
        false => Err(body["value"].to_string()),
    }
}
