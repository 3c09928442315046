//! A running agent that is changed: subscriptions come, change and go under load, and whoever is not
//! concerned goes on.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use support::agent::{Agent, PAUSE_MS, SOON, Setup, subscription, with};
use support::api::{Answer, FakeApi};
use support::control::{Control, curl};
use support::publisher::{Publisher, QUEUE};
use support::rabbitmq::{PASSWORD, USER, free_port, shared};
use support::redis::Redis;
use support::wait::{holds_for, wait_until};

/// The same subscription under another name.
fn named(subscription: Value, app_name: &str) -> Value {
    with(subscription, &json!({ "app_name": app_name }))
}

fn list_of(agent: &Agent) -> PathBuf {
    agent.folder().join("subscriptions.json")
}

fn write_list(agent: &Agent, list: &[Value]) {
    fs::write(list_of(agent), Value::from(list).to_string()).expect("written");
}

fn start(list: &[Value]) -> (Agent, Control) {
    let agent = Setup::new(list)
        .args(&["--control-socket", "FOLDER/control"])
        .start();
    agent.wait_started();
    let control = Control::of(&agent);
    (agent, control)
}

/// Waits until that subscription consumes.
#[track_caller]
fn wait_well(control: &Control, name: &str) {
    wait_until(SOON, &format!("{name} is well"), || {
        let one = control.subscription(name);
        one["broker"]["is_well"] == true && one["api"]["is_well"] == true
    });
}

// ── Reload ─────────────────────────────────────────────────────────────────────────────────────

#[test]
fn under_load_one_stays_one_changes_one_goes_and_one_comes() {
    let (stays, changes) = (shared().vhost("live-stays"), shared().vhost("live-changes"));
    let goes = Redis::start();
    let apis: Vec<FakeApi> = (0..4).map(|_| FakeApi::start()).collect();
    let stay = named(subscription(&stays.url(), &apis[0].url()), "stay");
    let change = named(subscription(&changes.url(), &apis[1].url()), "change");
    let go = named(subscription(&goes.url(), &apis[2].url()), "go");
    let (mut agent, control) = start(&[stay.clone(), change.clone(), go]);
    goes.wait_listener();
    let mut publishers = [&stays, &changes].map(|vhost| Publisher::open(&vhost.url()));
    let mut of_redis = goes.publisher("/0.celeryev");

    let comes = Redis::start();
    let come = named(subscription(&comes.url(), &apis[3].url()), "come");
    let changed = with(
        change,
        &json!({"batch_max_window_in_seconds": 0.2, "prefetch_count": 2000}),
    );
    for round in 0..10 {
        for publisher in &mut publishers {
            publisher.send(round * 500, 500);
        }
        if round < 5 {
            of_redis.send(round * 500, 500);
        }
        if round == 4 {
            write_list(&agent, &[stay.clone(), changed.clone(), come.clone()]);
            let (code, applied) = control.post("/v1/reload");
            assert_eq!(code, 200, "{applied}");
            let expected = json!({
                "added": ["come-qa"], "changed": ["change-qa"], "removed": ["go-qa"], "unchanged": 1,
            });
            assert_eq!(applied, expected);
        }
    }
    comes.wait_listener();
    comes.publisher("/0.celeryev").send(0, 500);
    apis[0].wait_ids(SOON, 5000);
    apis[1].wait_ids(SOON, 5000);
    apis[3].wait_ids(SOON, 500);
    // Who was not concerned kept its connection, and got nothing twice.
    apis[0].assert_exactly_once(0..5000);
    assert_eq!(control.subscription("stay-qa")["uploads"]["connects"], 1);
    apis[1].assert_nothing_missing(0..5000);
    // What was heard before the removal was delivered.
    wait_until(SOON, "the removed one is gone", || {
        control.subscription("go-qa").is_null()
    });
    agent.ledger("go-qa").assert_balanced();
    let heard = agent.ledger("go-qa");
    assert_eq!((heard.received, heard.delivered), (2500, 2500), "{heard:?}");
    apis[2].assert_exactly_once(0..2500);
    agent.end();
    for name in ["stay-qa", "change-qa", "come-qa"] {
        agent.ledger(name).assert_balanced();
    }
    agent.ledger("stay-qa").assert_all_delivered(5000);
    for vhost in [&stays, &changes] {
        assert_eq!(vhost.depth(QUEUE).total(), 0);
    }
    let pause = agent.longest_pause_ms();
    assert!(pause < PAUSE_MS, "{pause} ms");
}

#[test]
fn a_broken_file_changes_nothing_and_says_why() {
    let vhost = shared().vhost("live-broken");
    let api = FakeApi::start();
    let good = subscription(&vhost.url(), &api.url());
    let (mut agent, control) = start(std::slice::from_ref(&good));
    for (text, line) in [
        ("[{\"broker\": ".to_owned(), "not JSON"),
        (
            json!([with(good.clone(), &json!({"prefetch_count": 5}))]).to_string(),
            "subscriptions[0].prefetch_count: 5: expected 1000 to 10000",
        ),
    ] {
        fs::write(list_of(&agent), text).expect("written");
        let (code, told) = control.post("/v1/reload");
        assert_eq!((code, &told["error"]["code"]), (422, &"422001".into()));
        let reason = told["error"]["reason"].as_str().expect("a reason");
        assert!(reason.contains(line), "{reason}");
        assert!(!reason.contains(PASSWORD), "{reason}");
    }
    agent.sighup();
    agent.wait_complaint(SOON, &["expected 1000 to 10000"]);
    fs::remove_file(list_of(&agent)).expect("removed");
    assert_eq!(control.post("/v1/reload").0, 422);
    Publisher::open(&vhost.url()).send(0, 100);
    api.wait_ids(SOON, 100);
    write_list(&agent, &[good]);
    agent.sighup();
    agent.wait_for_log(SOON, "nothing changed", |entry| {
        entry["message"] == "configuration applied" && entry["unchanged"] == 1
    });
    assert_eq!(control.subscription("shop-qa")["uploads"]["connects"], 1);
    agent.stop().assert_all_delivered(100);
}

/// A wrong key is the fault that reload mends most: what no broker keeps must not be lost over it.
#[test]
fn a_mended_key_lets_go_what_was_held() {
    let redis = Redis::start();
    let api = FakeApi::start();
    let right = subscription(&redis.url(), &api.url());
    let wrong = with(right.clone(), &json!({"app_key": "wrong"}));
    let key = right["app_key"].as_str().expect("a key").to_owned();
    api.answer(move |request| {
        let shown = request.headers.get("x-leek-app-key");
        match shown.is_some_and(|shown| *shown == key) {
            true => Answer::Stored,
            false => Answer::wrong_key(),
        }
    });
    let (mut agent, control) = start(&[wrong]);
    redis.wait_listener();
    redis.publisher("/0.celeryev").send(0, 300);
    agent.wait_complaint(SOON, &["check app_key"]);
    assert_eq!(api.ids(), 0);
    write_list(&agent, &[right]);
    let (code, applied) = control.post("/v1/reload");
    assert_eq!((code, &applied["changed"]), (200, &json!(["shop-qa"])));
    api.wait_ids(SOON, 300);
    api.assert_exactly_once(0..300);
    let connects = &control.subscription("shop-qa")["uploads"]["connects"];
    assert_eq!(connects, 1, "the broker's side was not touched");
    agent.stop().assert_all_delivered(300);
}

#[test]
fn a_thousand_reloads_leave_nothing_behind() {
    let (rabbit, redis) = (shared().vhost("live-thousand"), Redis::start());
    let api = FakeApi::start();
    let of_redis = named(subscription(&redis.url(), &api.url()), "other");
    let of_rabbit = subscription(&rabbit.url(), &api.url());
    let (mut agent, control) = start(&[of_rabbit.clone(), of_redis.clone()]);
    wait_well(&control, "shop-qa");
    let rates = |round: usize| json!({"batch_max_window_in_seconds": 0.1 + (round % 2) as f64});
    let mut first = None;
    for round in 0..1000 {
        // Each changes the one of Redis, each tenth comes and goes, each fiftieth is a broken file.
        let changed = with(of_redis.clone(), &rates(round));
        match round {
            _ if round % 50 == 7 => fs::write(list_of(&agent), "[").expect("written"),
            _ if round % 10 == 3 => write_list(&agent, std::slice::from_ref(&of_rabbit)),
            _ => write_list(&agent, &[of_rabbit.clone(), changed]),
        }
        let (code, _) = control.post("/v1/reload");
        assert_eq!(code, if round % 50 == 7 { 422 } else { 200 });
        if round == 99 {
            wait_well(&control, "other-qa");
            first = Some(agent.footprint());
        }
    }
    wait_well(&control, "other-qa");
    let first = first.expect("taken");
    wait_until(SOON, "no more threads and descriptors than before", || {
        let last = agent.footprint();
        last.threads <= first.threads && last.descriptors <= first.descriptors
    });
    let grown = agent.footprint().rss_kib.saturating_sub(first.rss_kib);
    assert!(grown < 1024, "{grown} KiB more after 900 reloads");
    assert_eq!(control.subscription("shop-qa")["uploads"]["connects"], 1);
    println!("figures: from {first:?} to {:?}", agent.footprint());
    Publisher::open(&rabbit.url()).send(0, 50);
    api.wait_ids(SOON, 50);
    agent.end();
    agent.ledger("shop-qa").assert_all_delivered(50);
}

// ── Add and remove ─────────────────────────────────────────────────────────────────────────────

/// Posts a subscription as a page or a script does.
fn add(control: &Control, subscription: &Value) -> (u16, Value) {
    let body = subscription.to_string();
    control.json("POST", "/v1/agent/subscriptions", &["--data-binary", &body])
}

#[test]
fn what_is_added_is_verified_first_written_safely_and_consumed() {
    let (first, second) = (shared().vhost("live-first"), shared().vhost("live-second"));
    let api = FakeApi::start();
    let old = subscription(&first.url(), &api.url());
    let (mut agent, control) = start(std::slice::from_ref(&old));
    let list = list_of(&agent);
    let written = format!("[ {},\n]", old).replace(",\n]", "\n]");
    fs::write(&list, &written).expect("written");
    fs::set_permissions(&list, fs::Permissions::from_mode(0o640)).expect("ours");

    let new = named(subscription(&second.url(), &api.url()), "till");
    let vhost = second.url().rsplit_once('/').expect("a vhost").1.to_owned();
    let wrong_password = shared().url_as(USER, "wrong", &vhost);
    let nobody = format!("amqp://u:p@127.0.0.1:{}/", free_port());
    let redis = Redis::start_with("requirepass carrot");
    let no_password = redis.url().replace(":carrot@", "");
    for (change, code) in [
        (json!({"broker": wrong_password}), "401004"),
        (json!({"broker": no_password}), "401004"),
        (json!({"broker": nobody}), "503002"),
        (json!({"app_name": "shop"}), "412002"),
        (json!({"prefetch_count": 7}), "422001"),
        (json!({"app_name": null}), "400001"),
    ] {
        let (status, told) = add(&control, &with(new.clone(), &change));
        assert_eq!(told["error"]["code"], code, "{told}");
        assert_eq!(status.to_string(), code[..3]);
        assert!(!told.to_string().contains("wrong@"), "{told}");
        assert_eq!(fs::read_to_string(&list).expect("there"), written, "{code}");
    }
    let (code, stored) = add(&control, &new);
    assert_eq!(
        (code, &stored["name"]),
        (200, &"till-qa".into()),
        "{stored}"
    );
    assert!(stored.get("app_key").is_none(), "{stored}");
    assert!(!stored.to_string().contains(PASSWORD), "{stored}");
    let text = fs::read_to_string(&list).expect("there");
    assert!(
        text.contains(&old.to_string()),
        "the other is as it was: {text}"
    );
    let mode = fs::metadata(&list).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o640);

    wait_well(&control, "till-qa");
    Publisher::open(&second.url()).send(0, 200);
    api.wait_ids(SOON, 200);
    let (_, listed) = control.json("GET", "/v1/agent/subscriptions", &[]);
    let names: Vec<_> = listed
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| &one["name"])
        .collect();
    assert_eq!(names, ["shop-qa", "till-qa"]);

    let (code, gone) = control.json("DELETE", "/v1/agent/subscriptions/till-qa", &[]);
    assert_eq!((code, gone), (200, json!({"Deleted": true})));
    let (code, unknown) = control.json("DELETE", "/v1/agent/subscriptions/till-qa", &[]);
    assert_eq!((code, &unknown["error"]["code"]), (404, &"404003".into()));
    wait_until(SOON, "nobody consumes", || second.consumers(QUEUE) == 0);
    let left: Value =
        serde_json::from_str(&fs::read_to_string(&list).expect("there")).expect("JSON");
    assert_eq!(left, json!([old]));
    agent.end();
    agent.ledger("till-qa").assert_all_delivered(200);
}

#[test]
fn the_last_one_may_go_and_another_may_come() {
    let vhost = shared().vhost("live-last");
    let api = FakeApi::start();
    let only = subscription(&vhost.url(), &api.url());
    let (mut agent, control) = start(std::slice::from_ref(&only));
    assert_eq!(
        control
            .json("DELETE", "/v1/agent/subscriptions/shop-qa", &[])
            .0,
        200
    );
    wait_until(SOON, "it is gone", || {
        control.subscription("shop-qa").is_null()
    });
    assert!(agent.runs());
    let (code, told) = control.post("/v1/agent/control");
    assert_eq!((code, &told["error"]["code"]), (400, &"400003".into()));
    assert_eq!(add(&control, &only).0, 200);
    Publisher::open(&vhost.url()).send(0, 20);
    api.wait_ids(SOON, 20);
    agent.end();
    agent.ledger("shop-qa").assert_all_delivered(20);
}

#[test]
fn a_list_in_the_environment_cannot_be_changed() {
    let vhost = shared().vhost("live-env");
    let api = FakeApi::start();
    let one = subscription(&vhost.url(), &api.url());
    let agent = Setup::new(&[])
        .env("LEEK_AGENT_SUBSCRIPTIONS", &json!([one]).to_string())
        .args(&["--control-socket", "FOLDER/control"])
        .start();
    agent.wait_started();
    let control = Control::of(&agent);
    let (code, told) = add(&control, &named(one, "till"));
    assert_eq!((code, &told["error"]["code"]), (409, &"409001".into()));
    let reason = told["error"]["reason"].as_str().expect("a reason");
    assert!(reason.contains("LEEK_AGENT_SUBSCRIPTIONS"), "{reason}");
    let (code, _) = control.json("DELETE", "/v1/agent/subscriptions/shop-qa", &[]);
    assert_eq!(code, 409);
    assert_eq!(control.post("/v1/reload").1["unchanged"], 1);
    let status = control.status();
    assert_eq!(status["is_changeable"], false);
    assert_eq!(status["subscriptions_from"], "LEEK_AGENT_SUBSCRIPTIONS");
}

#[test]
fn a_folder_that_cannot_be_written_to_leaves_all_as_it_is() {
    let vhost = shared().vhost("live-read-only");
    let api = FakeApi::start();
    let one = subscription(&vhost.url(), &api.url());
    let agent = Setup::new(std::slice::from_ref(&one))
        .mounting("mkdir -p run list && cp subscriptions.json list && mount --bind -o ro list list")
        .args(&["--subscriptions", "list/subscriptions.json"])
        .args(&["--control-socket", "FOLDER/control"])
        .start();
    agent.wait_started();
    let (code, told) = add(&Control::of(&agent), &named(one, "till"));
    assert_eq!(
        (code, &told["error"]["code"]),
        (500, &"500002".into()),
        "{told}"
    );
    let reason = told["error"]["reason"].as_str().expect("a reason");
    assert!(
        reason.contains("list/subscriptions.json: Read-only"),
        "{reason}"
    );
}

// ── Pause, resume, stop ────────────────────────────────────────────────────────────────────────

#[test]
fn a_pause_leaves_events_with_the_broker_until_it_is_over() {
    let (rabbit, redis) = (shared().vhost("live-pause"), Redis::start());
    let api = FakeApi::start();
    let of_rabbit = subscription(&rabbit.url(), &api.url());
    let of_redis = named(subscription(&redis.url(), &api.url()), "other");
    let (mut agent, control) = start(&[of_rabbit, of_redis]);
    wait_well(&control, "shop-qa");
    redis.wait_listener();
    let mut publisher = Publisher::open(&rabbit.url());
    publisher.send(0, 1000);
    let (code, paused) = control.post("/v1/pause?subscription=shop-qa");
    assert_eq!((code, &paused["subscriptions"]), (200, &json!(["shop-qa"])));
    wait_until(SOON, "nobody consumes", || rabbit.consumers(QUEUE) == 0);
    publisher.send(1000, 500);
    let (code, reasons) = control.get("/readyz");
    assert_eq!(code, 503);
    assert!(
        reasons.contains("shop-qa: broker") && reasons.contains("paused"),
        "{reasons}"
    );
    // The other one is not concerned.
    redis.publisher("/0.celeryev").send(5000, 10);
    wait_until(SOON, "the other one delivers", || {
        control.events("other-qa", "delivered") == 10
    });
    // A reload does not end it.
    assert_eq!(control.post("/v1/reload").1["unchanged"], 2);
    assert_eq!(control.subscription("shop-qa")["state"], "paused");
    assert!(rabbit.depth(QUEUE).ready >= 500);
    assert_eq!(control.post("/v1/pause?subscription=nobody").0, 404);
    assert_eq!(control.post("/v1/resume").0, 200);
    api.wait_ids(SOON, 1510);
    wait_until(SOON, "ready", || control.get("/readyz").0 == 200);
    agent.end();
    agent.ledger("shop-qa").assert_balanced();
    assert_eq!(rabbit.depth(QUEUE).total(), 0);
}

#[test]
fn who_asks_for_a_stop_learns_how_it_ended() {
    let vhost = shared().vhost("live-stop");
    let api = FakeApi::start();
    let one = subscription(&vhost.url(), &api.url());
    for (answer, stopped, code) in [
        (Answer::Stored, "delivered", 0),
        (Answer::unavailable(), "undelivered", 75),
    ] {
        let mut agent = Setup::new(std::slice::from_ref(&one))
            .args(&[
                "--control-socket",
                "FOLDER/control",
                "--shutdown-timeout",
                "1",
            ])
            .start();
        agent.wait_started();
        api.always(answer);
        let control = Control::of(&agent);
        wait_well(&control, "shop-qa");
        Publisher::open(&vhost.url()).send(0, 10);
        wait_until(SOON, "taken", || {
            control.events("shop-qa", "received") == 10
        });
        assert_eq!(
            control.post("/v1/stop"),
            (200, json!({ "stopped": stopped }))
        );
        assert_eq!(agent.wait_exit(SOON), code);
    }
}

#[test]
fn a_drain_takes_no_orders() {
    let vhost = shared().vhost("live-drain");
    let api = FakeApi::start();
    api.health(Answer::unavailable());
    let mut agent = Setup::new(&[subscription(&vhost.url(), &api.url())])
        .args(&["--control-socket", "FOLDER/control", "--drain"])
        .start();
    agent.wait_started();
    let control = Control::of(&agent);
    for path in ["/v1/pause", "/v1/reload"] {
        let (code, told) = control.post(path);
        assert_eq!((code, &told["error"]["code"]), (503, &"503003".into()));
    }
    let left = json!({ "stopped": "undelivered" });
    assert_eq!(control.post("/v1/stop"), (200, left), "but the last one");
    assert_eq!(agent.wait_exit(SOON), 75);
}

// ── Leek's own shapes, and who may ─────────────────────────────────────────────────────────────

#[test]
fn what_manages_leeks_local_agent_can_manage_this_one() {
    let vhost = shared().vhost("live-leek");
    let api = FakeApi::start();
    let (agent, control) = start(&[subscription(&vhost.url(), &api.url())]);
    wait_well(&control, "shop-qa");
    let path = "/v1/agent/control";
    let (code, process) = control.json("GET", path, &[]);
    assert_eq!((code, &process["statename"]), (200, &"RUNNING".into()));
    assert_eq!(
        (&process["pid"], &process["type"]),
        (&agent.pid().into(), &"standalone".into())
    );
    let (code, process) = control.json("DELETE", path, &[]);
    assert_eq!((code, &process["statename"]), (200, &"STOPPED".into()));
    wait_until(SOON, "nobody consumes", || vhost.consumers(QUEUE) == 0);
    let (code, process) = control.json("POST", path, &[]);
    assert_eq!((code, &process["statename"]), (200, &"RUNNING".into()));
    wait_until(SOON, "it consumes again", || vhost.consumers(QUEUE) == 1);

    // As its page sends them: the application in a header, no key.
    let second = shared().vhost("live-leek-two");
    let body = json!({
        "broker": second.url(), "broker_management_url": "http://localhost:15672", "app_env": "prod",
        "app_key": "k", "api_url": api.url(), "backend": null, "prefetch_count": 1000,
    });
    let headers = ["-H", "x-leek-app-name: shop", "-H", "x-leek-org-name: mono"];
    let body = body.to_string();
    let args = [&headers[..], &["--data-binary", &body]].concat();
    let (code, stored) = control.json("POST", "/v1/agent/subscriptions", &args);
    assert_eq!(
        (code, &stored["name"]),
        (200, &"shop-prod".into()),
        "{stored}"
    );
    let broker = stored["broker"].as_str().expect("an address");
    assert!(broker.contains("********"), "{broker}");
}

#[test]
fn over_tcp_the_token_makes_the_difference() {
    let vhost = shared().vhost("live-token");
    let api = FakeApi::start();
    let listen = format!("127.0.0.1:{}", free_port());
    let mut agent = Setup::new(&[subscription(&vhost.url(), &api.url())])
        .file("token", "open-sesame\n")
        .args(&["--listen", &listen, "--control-token-file", "FOLDER/token"])
        .start();
    agent.wait_started();
    let url = format!("http://{listen}/v1/pause");
    let ask = |header: &str| curl(&["--request", "POST", "--header", header, &url]).0;
    assert_eq!(ask("X: y"), 401);
    assert_eq!(ask("Authorization: Bearer open-sesam"), 401);
    assert!(holds_for(Duration::from_millis(300), || agent.runs()));
    assert_eq!(ask("Authorization: Bearer open-sesame"), 200);
    wait_until(SOON, "nobody consumes", || vhost.consumers(QUEUE) == 0);
    assert!(!agent.text().contains("open-sesame"), "{}", agent.text());
}
