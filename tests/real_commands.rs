//! The commands that speak to a running agent, as a technician or a script gives them; the broker is
//! real, and where no agent runs, the file of subscriptions is.

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use support::agent::{Agent, SOON, Setup, subscription, with};
use support::api::{Answer, FakeApi};
use support::keeper::Group;
use support::publisher::Publisher;
use support::rabbitmq::{Vhost, free_port, shared};
use support::wait::wait_until;

/// An agent with the subscriptions shop-qa and till-qa.
struct Site {
    vhost: Vhost<'static>,
    api: FakeApi,
    agent: Agent,
}

impl Site {
    fn start(name: &str) -> Site {
        let vhost = shared().vhost(name);
        let api = FakeApi::start();
        let shop = subscription(&vhost.url(), &api.url());
        let agent = Setup::new(&[shop.clone(), till(&shop)])
            .args(&["--control-socket", "FOLDER/control"])
            .args(&["--shutdown-timeout", "1s"])
            .start();
        agent.wait_started();
        Site { vhost, api, agent }
    }

    fn socket(&self) -> PathBuf {
        self.agent.folder().join("control")
    }

    /// A third one, as somebody would write it.
    fn depot(&self) -> Value {
        let depot = json!({"app_name": "depot", "queue": "depot"});
        with(subscription(&self.vhost.url(), &self.api.url()), &depot)
    }

    /// Runs `leek-agent` with this agent's socket.
    fn tell(&self, words: &str) -> Told {
        tell(&self.socket(), words, &[], "")
    }

    fn state(&self, name: &str) -> String {
        let told = self.tell("status --json");
        let status: Value = serde_json::from_str(&told.out).expect("JSON");
        let mut all = status["subscriptions"].as_array().expect("a list").iter();
        let one = all.find(|one| one["name"] == name);
        one.map_or("gone", |one| one["state"].as_str().expect("a word"))
            .to_owned()
    }
}

fn till(shop: &Value) -> Value {
    with(shop.clone(), &json!({"app_name": "till", "queue": "till"}))
}

/// How a command ended and what it said.
#[derive(Debug)]
struct Told {
    code: i32,
    out: String,
    error: String,
}

impl Told {
    fn of(output: &Output) -> Told {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Told {
            code: output.status.code().expect("no signal"),
            out: text(&output.stdout),
            error: text(&output.stderr),
        }
    }

    /// It did what it was asked for, and said so.
    #[track_caller]
    fn done(self, words: &str) {
        assert_eq!((self.code, self.out.as_str()), (0, words), "{}", self.error);
    }

    /// It did not, for that reason.
    #[track_caller]
    fn refused(self, code: i32, words: &[&str]) {
        assert_eq!((self.code, self.out.as_str()), (code, ""), "{}", self.error);
        for word in words {
            assert!(self.error.contains(word), "{word}: {}", self.error);
        }
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|_| panic!("{self:?}"))
    }
}

fn command(socket: &Path, words: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_leek-agent"));
    command
        .env_clear()
        .args(words.split_whitespace())
        .arg("--control-socket")
        .arg(socket);
    command
}

fn tell(socket: &Path, words: &str, env: &[(&str, &str)], input: &str) -> Told {
    let mut child = command(socket, words)
        .envs(env.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("started");
    let mut stdin = child.stdin.take().expect("piped");
    // Most commands read nothing and may have ended.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    Told::of(&child.wait_with_output().expect("it ends"))
}

#[test]
fn subscriptions_pause_and_go_on() {
    let site = Site::start("orders");
    site.tell("pause till-qa").done("paused: till-qa\n");
    assert_eq!(site.state("till-qa"), "paused");
    assert_eq!(site.state("shop-qa"), "running");
    let shown = site.tell("status");
    assert_eq!(shown.code, 69, "it does not consume");
    assert!(
        shown.out.contains("till-qa       paused     well"),
        "{}",
        shown.out
    );
    site.tell("pause").done("paused: shop-qa, till-qa\n");
    let resumed = site.tell("resume shop-qa till-qa --json").json();
    assert_eq!(resumed, json!({"subscriptions": ["shop-qa", "till-qa"]}));
    assert_eq!(site.state("till-qa"), "running");
    site.tell("pause depot-qa")
        .refused(64, &["there is no subscription of that name: depot-qa"]);
    site.tell("pause shop-qa&x")
        .refused(64, &["expected a subscription's name such as shop-prod"]);
    assert_eq!(site.state("shop-qa"), "running");
}

#[test]
fn a_reload_applies_what_changed_or_tells_every_fault() {
    let site = Site::start("reload-command");
    site.tell("reload").done("applied: 2 unchanged\n");
    let list = site.agent.folder().join("subscriptions.json");
    let shop = subscription(&site.vhost.url(), &site.api.url());
    let changed = with(shop.clone(), &json!({"batch_max_window_in_seconds": 1}));
    fs::write(&list, json!([changed, site.depot()]).to_string()).expect("written");
    site.tell("reload").done(
        "applied: 1 added (depot-qa), 1 changed (shop-qa), 1 removed (till-qa), 0 unchanged\n",
    );
    let broken = with(shop, &json!({"prefetch_count": 1, "querty": 2}));
    fs::write(&list, json!([broken]).to_string()).expect("written");
    site.tell("reload").refused(
        78,
        &[
            "nothing was changed:\n",
            "\nsubscriptions[0].querty: unknown key",
            "\nsubscriptions[0].prefetch_count: 1: expected 1000 to 10000",
        ],
    );
    wait_until(SOON, "it goes on", || site.state("shop-qa") == "running");
}

#[test]
fn a_stop_waits_and_tells_what_is_left() {
    let mut site = Site::start("stop-command");
    Publisher::open(&site.vhost.url()).send(0, 100);
    site.api.wait_ids(SOON, 100);
    site.tell("stop")
        .done("stopped: everything that it took is delivered\n");
    assert_eq!(site.agent.wait_exit(SOON), 0);
    for words in [
        "stop",
        "pause",
        "reload",
        "status",
        "top",
        "subscriptions list",
    ] {
        site.tell(words).refused(69, &["does the agent run"]);
    }
}

#[test]
fn a_stop_with_events_left_says_so() {
    let mut site = Site::start("stop-left");
    site.api.always(Answer::unavailable());
    Publisher::open(&site.vhost.url()).send(0, 10);
    wait_until(SOON, "it tries to deliver", || site.api.post_count() > 0);
    let told = site.tell("stop");
    assert_eq!(told.code, 75, "{told:?}");
    assert!(
        told.out
            .starts_with("stopped: not all events were delivered"),
        "{told:?}"
    );
    assert_eq!(site.agent.wait_exit(SOON), 75);
}

#[test]
fn top_shows_what_flows() {
    let site = Site::start("top");
    let mut publisher = Publisher::open(&site.vhost.url());
    let mut top = command(&site.socket(), "top --interval 500ms --count 40");
    let mut top = Group::spawn(top.stdout(Stdio::piped()));
    let lines = BufReader::new(top.child().stdout.take().expect("piped")).lines();
    let mut first = None;
    let mut sent = 0;
    for line in lines.map_while(Result::ok) {
        let cells: Vec<&str> = line.split_whitespace().collect();
        let ["shop-qa", "consuming", "well", rate, delivered, ..] = cells[..] else {
            continue;
        };
        first.get_or_insert_with(|| rate.to_owned());
        if rate.parse::<f64>().is_ok_and(|rate| rate > 0.0) {
            assert_ne!(delivered, "0");
            assert_eq!(first.as_deref(), Some("-"), "one look makes no rate");
            return;
        }
        publisher.send(sent, 50);
        sent += 50;
    }
    panic!("no rate in 40 looks");
}

#[test]
fn top_ends_as_it_is_told() {
    let site = Site::start("top-ends");
    let told = site.tell("top --json --count 2 --interval 1ms");
    let looks = told.out.lines().map(serde_json::from_str::<Value>);
    let looks: Vec<Value> = looks.collect::<Result<_, _>>().expect("JSON lines");
    assert_eq!(looks.len(), 2);
    assert_eq!(looks[1]["pid"], site.agent.pid());
    for wrong in ["top --count 0", "top --interval soon"] {
        site.tell(wrong).refused(64, &["expected"]);
    }
    // On a terminal each look takes the place of the one before, and ctrl-C ends it in order.
    let mut on_terminal = Command::new("script");
    // A shell that waits meanwhile would end by the same ctrl-C, with a status of its own.
    let line = format!(
        "exec {} top --interval 1h --control-socket {}",
        env!("CARGO_BIN_EXE_leek-agent"),
        site.socket().display()
    );
    let record = site.agent.folder().join("typescript");
    on_terminal
        .args(["--quiet", "--return", "--flush", "--command", &line])
        .arg(&record)
        .stdin(Stdio::piped())
        .stdout(Stdio::null());
    let mut group = Group::spawn(&mut on_terminal);
    let shown = || fs::read_to_string(&record).unwrap_or_default();
    wait_until(SOON, "a table", || shown().contains("\x1b[J\x1b[?7h"));
    let mut keyboard = group.child().stdin.take().expect("piped");
    keyboard.write_all(b"\x03").expect("typed");
    assert_eq!(group.wait(SOON), Some(0), "{}", shown());
    let shown = shown();
    assert!(
        shown.contains("\x1b[2J\x1b[?7l\x1b[1Hleek-agent "),
        "{shown}"
    );
    let looks = shown.matches("leek-agent 0").count();
    assert_eq!(looks, 1, "none after ctrl-C: {shown}");
}

#[test]
fn subscriptions_come_and_go_while_the_agent_runs() {
    let mut site = Site::start("live-commands");
    let add = |subscription: &Value| {
        tell(
            &site.socket(),
            "subscriptions add -",
            &[],
            &subscription.to_string(),
        )
    };
    add(&site.depot()).done("added: depot-qa: the running agent uses it from now on\n");
    assert_eq!(site.state("depot-qa"), "running");
    add(&site.depot()).refused(64, &["a subscription of that name exists: depot-qa"]);
    let stranger = shared().url_as("stranger", "wrong", "live-commands");
    let refused = with(
        site.depot(),
        &json!({"app_name": "bar", "broker": stranger}),
    );
    add(&refused).refused(
        69,
        &["the broker refuses access", "check both in the broker URL"],
    );
    let unreachable = format!("amqp://u:p@127.0.0.1:{}/", free_port());
    let refused = with(
        site.depot(),
        &json!({"app_name": "bar", "broker": unreachable}),
    );
    add(&refused).refused(69, &["the broker is not reachable"]);
    let refused = with(site.depot(), &json!({"app_name": "Bar"}));
    add(&refused).refused(78, &["expected lower-case letters"]);
    add(&json!([site.depot()])).refused(64, &["expected one JSON object"]);

    let list = site.tell("subscriptions list");
    assert_eq!(list.code, 0);
    let lines: Vec<&str> = list.out.lines().collect();
    assert!(
        lines[0].starts_with("SUBSCRIPTION  STATE    BROKER"),
        "{list:?}"
    );
    assert!(
        lines[3].starts_with("depot-qa      running  amqp://"),
        "{list:?}"
    );
    let json = site.tell("subscriptions list --json");
    for secret in ["not-for-the-log", support::rabbitmq::PASSWORD] {
        assert!(!list.out.contains(secret) && !json.out.contains(secret));
    }
    assert_eq!(json.json()[2]["state"], "running");

    site.tell("subscriptions remove depot-qa").done(
        "removed: depot-qa: the running agent delivers what it has of it, and takes no more\n",
    );
    site.tell("subscriptions remove depot-qa")
        .refused(64, &["there is no subscription of that name"]);
    wait_until(SOON, "it is gone", || site.state("depot-qa") == "gone");
    site.agent.sigterm();
    assert_eq!(site.agent.wait_exit(SOON), 0);
}

/// The file alone.
#[test]
fn without_an_agent_the_file_is_changed() {
    let vhost = shared().vhost("offline-commands");
    let folder = tempfile::tempdir().expect("a folder");
    let list = folder.path().join("list.json");
    let nobody = folder.path().join("control");
    let shop = subscription(&vhost.url(), "http://127.0.0.1:1");
    fs::write(&list, json!([shop]).to_string()).expect("written");
    fs::set_permissions(&list, fs::Permissions::from_mode(0o640)).expect("ours");
    let file = format!("--subscriptions {}", list.display());
    let change = |words: &str, input: &Value| {
        tell(
            &nobody,
            &format!("subscriptions {words} {file}"),
            &[],
            &input.to_string(),
        )
    };
    let next_start = format!(
        ": {} is changed: the agent's next start uses it, none runs now\n",
        list.display()
    );

    change("add -", &till(&shop)).done(&format!("added: till-qa{next_start}"));
    let shown = change("list", &Value::Null);
    assert!(
        shown.out.contains("\ntill-qa       not running  amqp://"),
        "{shown:?}"
    );
    let before = fs::read_to_string(&list).expect("there");
    assert!(before.contains("till"), "{before}");
    let stranger = shared().url_as("stranger", "wrong", "offline-commands");
    let refused = with(till(&shop), &json!({"app_name": "bar", "broker": stranger}));
    change("add -", &refused).refused(69, &["the broker refuses access"]);
    change("add -", &till(&shop)).refused(64, &["exists: till-qa"]);
    change("remove bar-qa", &Value::Null).refused(64, &["no subscription of that name"]);
    assert_eq!(fs::read_to_string(&list).expect("there"), before);

    let removed = change("remove shop-qa --json", &Value::Null);
    assert_eq!(
        (removed.code, removed.json()),
        (0, json!({"Deleted": true}))
    );
    let left: Value = serde_json::from_slice(&fs::read(&list).expect("there")).expect("JSON");
    assert_eq!(left, json!([till(&shop)]));
    let mode = fs::metadata(&list).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o640);

    fs::write(&list, "[{]").expect("written");
    change("list", &Value::Null).refused(78, &["list.json:1:3: not JSON"]);
}

/// Nobody can change an environment from outside.
#[test]
fn a_list_in_the_environment_is_not_changed() {
    let vhost = shared().vhost("environment-commands");
    let shop = subscription(&vhost.url(), "http://127.0.0.1:1");
    let folder = tempfile::tempdir().expect("a folder");
    let text = json!([shop]).to_string();
    let env = [("LEEK_AGENT_SUBSCRIPTIONS", text.as_str())];
    let nobody = folder.path().join("control");
    let words = ["they stand in the variable LEEK_AGENT_SUBSCRIPTIONS: change it there"];
    tell(
        &nobody,
        "subscriptions add -",
        &env,
        &till(&shop).to_string(),
    )
    .refused(64, &words);
    tell(&nobody, "subscriptions remove shop-qa", &env, "").refused(64, &words);
    let shown = tell(&nobody, "subscriptions list", &env, "");
    assert!(shown.out.contains("shop-qa"), "{shown:?}");
}
