//! `leek-agent replay` on quarantine files made by hand, and an API that answers as told.

mod support;

use std::fs;

use serde_json::{Value, json};
use support::agent::{Agent, Setup, subscription, with};
use support::api::{Answer, FakeApi};
use support::publisher::uuid;

/// Nobody listens there; replay has no business with brokers.
const NO_BROKER: &str = "amqp://127.0.0.1:1//";

fn shop(api: &FakeApi) -> Value {
    subscription(NO_BROKER, &api.url())
}

/// A line as the agent writes it.
fn line(subscription: &str, id: &str, state: &str) -> String {
    let document = format!(r#"{{"id": "{id}", "state": "{state}", "events_count": 1}}"#);
    format!(
        "{{\"time\": \"2026-11-22T07:20:35.646Z\", \"subscription\": \"{subscription}\", \
         \"reason\": \"refused alone\", \"answer\": \"422: no\", \"document\": {document}}}\n"
    )
}

/// Lines of shop-qa with the ids of these events.
fn lines(numbers: impl IntoIterator<Item = usize>) -> String {
    let numbers = numbers.into_iter();
    numbers
        .map(|number| line("shop-qa", &uuid(number), "FAILED"))
        .collect()
}

/// Replays a file of this text; gives the exit code and what was printed.
fn replay(subscriptions: &[Value], text: &str) -> (i32, Agent) {
    let (code, agent) = Setup::new(subscriptions)
        .file("q.jsonl", text)
        .args(&["replay", "q.jsonl"])
        .run();
    let left = fs::read_to_string(agent.folder().join("q.jsonl")).expect("it is still there");
    assert_eq!(left, text, "the file was changed");
    (code, agent)
}

#[track_caller]
fn prints(agent: &Agent, wanted: &str) {
    let text = agent.text();
    assert!(
        text.lines().any(|line| line == wanted),
        "{wanted:?} in\n{text}"
    );
}

fn ids(documents: &[Value]) -> Vec<&str> {
    let ids = documents.iter().map(|one| one["id"].as_str());
    ids.map(|id| id.expect("an id")).collect()
}

#[test]
fn each_line_goes_to_its_subscription_in_batches_within_its_limits() {
    let (api, other_api) = (FakeApi::start(), FakeApi::start());
    let limits = json!({"batch_max_number_of_messages": 4});
    let other = with(
        shop(&other_api),
        &json!({"app_name": "robots", "app_key": "its-own"}),
    );
    let mut text = String::new();
    for number in 0..10 {
        text += &lines([number]);
        text += &line("robots-qa", &uuid(100 + number), "FAILED");
    }
    let (code, agent) = replay(&[with(shop(&api), &limits), other], &text);
    assert_eq!(code, 0, "{}", agent.text());
    let none_left = "stored, 0 refused again, 0 not sent";
    prints(
        &agent,
        &format!("robots-qa: 10 of 10 documents {none_left}"),
    );
    prints(&agent, &format!("shop-qa: 10 of 10 documents {none_left}"));
    api.assert_exactly_once(0..10);
    other_api.assert_exactly_once(100..110);
    let sizes: Vec<_> = api
        .posts()
        .iter()
        .map(|post| post.documents.len())
        .collect();
    assert_eq!(sizes, [4, 4, 2]);
    let posts = other_api.posts();
    assert_eq!(posts[0].headers["x-leek-app-key"], "its-own");
    assert_eq!(posts[0].headers["x-requested-with"], "leek-agent");
}

#[test]
fn bytes_are_bounded_too_and_a_large_document_goes_alone() {
    let api = FakeApi::start();
    let large = line("shop-qa", &uuid(5), &"x".repeat(3_000));
    let text = lines(0..5) + &large + &lines(6..8);
    // Some 200 bytes a document, 900 for a batch.
    let limits = json!({"batch_max_size_in_mb": 0.0009});
    let (code, agent) = replay(&[with(shop(&api), &limits)], &text);
    assert_eq!(code, 0, "{}", agent.text());
    api.assert_exactly_once(0..8);
    for post in api.posts() {
        assert!(
            post.bytes <= 944 || post.documents.len() == 1,
            "{}",
            post.bytes
        );
    }
    assert!(api.post_count() < 8);
}

#[test]
fn a_later_state_arrives_after_an_earlier_one() {
    let api = FakeApi::start();
    let states = ["RECEIVED", "STARTED", "FAILED"];
    let text: String = states
        .iter()
        .map(|state| line("shop-qa", "a", state) + &line("shop-qa", state, state))
        .collect();
    let (code, agent) = replay(&[shop(&api)], &text);
    assert_eq!(code, 0, "{}", agent.text());
    for post in api.posts() {
        let mut ids = ids(&post.documents);
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), count, "an id stands twice in one post");
    }
    let stored = api.stored();
    let of_a = stored.iter().filter(|one| one["id"] == "a");
    let of_a: Vec<_> = of_a.map(|one| one["state"].as_str()).collect();
    assert_eq!(of_a, states.map(Some));
}

#[test]
fn what_is_refused_again_is_named_with_its_reason() {
    let api = FakeApi::start();
    api.always(Answer::Partial(vec![uuid(2), uuid(7)]));
    let (code, agent) = replay(&[shop(&api)], &lines(0..10));
    assert_eq!(code, 75, "{}", agent.text());
    prints(
        &agent,
        "shop-qa: 8 of 10 documents stored, 2 refused again, 0 not sent",
    );
    for number in [2, 7] {
        let reason = "400: mapper_parsing_exception: failed to parse field";
        prints(
            &agent,
            &format!("shop-qa: {}: refused again: {reason}", uuid(number)),
        );
    }
    api.assert_exactly_once((0..10).filter(|number| ![2, 7].contains(number)));
}

#[test]
fn one_that_is_refused_without_a_name_is_found_by_halving() {
    let api = FakeApi::start();
    api.answer(|request| match request.names(&uuid(6)) {
        true => Answer::Status(422, json!("no")),
        false => Answer::Stored,
    });
    let (code, agent) = replay(&[shop(&api)], &lines(0..10));
    assert_eq!(code, 75, "{}", agent.text());
    prints(
        &agent,
        "shop-qa: 9 of 10 documents stored, 1 refused again, 0 not sent",
    );
    prints(
        &agent,
        &format!("shop-qa: {}: refused again: 422: \"no\"", uuid(6)),
    );
    api.assert_exactly_once((0..10).filter(|number| *number != 6));
}

#[test]
fn what_is_no_such_line_is_named_and_passed_over() {
    let api = FakeApi::start();
    let text = lines([0])
        + "{\"time\": \"2026-11-22T07:20:35.646Z\", \"subscr\n"
        + "\n"
        + &line("robots-prod", "a", "FAILED")
        + &line("robots-prod", "b", "FAILED")
        + "{\"msg\": \"hello\"}\n"
        + &lines([1])
        + lines([2]).split("\"state\"").next().expect("a torn line");
    let (code, agent) = replay(&[shop(&api)], &text);
    assert_eq!(code, 75, "{}", agent.text());
    prints(
        &agent,
        "q.jsonl:2: skipped: no JSON: byte 44: expected a closing quote",
    );
    for number in [3, 8] {
        let place = format!("q.jsonl:{number}: skipped: no JSON: byte ");
        assert!(agent.text().contains(&place), "{}", agent.text());
    }
    prints(
        &agent,
        "q.jsonl:6: skipped: expected a line of a quarantine file, with subscription and document",
    );
    prints(
        &agent,
        "robots-prod: 2 not sent: no subscription of that name is configured",
    );
    prints(
        &agent,
        "shop-qa: 2 of 2 documents stored, 0 refused again, 0 not sent",
    );
    prints(&agent, "lines skipped: 4");
    api.assert_exactly_once(0..2);
}

#[test]
fn an_api_that_is_not_well_is_tried_again() {
    let api = FakeApi::start();
    api.answer(|request| match request.number {
        0 => Answer::unavailable(),
        1 => Answer::slow_down(2),
        2 => Answer::Cut,
        _ => Answer::Stored,
    });
    let (code, agent) = replay(&[shop(&api)], &lines(0..5));
    assert_eq!(code, 0, "{}", agent.text());
    assert!(agent.text().contains("shop-qa: the api is not well: 503: "));
    api.assert_exactly_once(0..5);
    let posts = api.posts();
    assert!(
        (posts[2].at - posts[1].at).as_secs_f64() >= 2.0,
        "Retry-After"
    );
}

#[test]
fn a_wrong_key_ends_it_for_that_subscription_only() {
    let (api, other_api) = (FakeApi::start(), FakeApi::start());
    api.always(Answer::wrong_key());
    let limits = json!({"batch_max_number_of_messages": 4});
    let other = with(shop(&other_api), &json!({"app_name": "robots"}));
    let text = lines(0..10) + &line("robots-qa", &uuid(20), "FAILED");
    let (code, agent) = replay(&[with(shop(&api), &limits), other], &text);
    assert_eq!(code, 69, "{}", agent.text());
    assert!(
        agent.text().contains("shop-qa: stopped: 401: 401001"),
        "{}",
        agent.text()
    );
    prints(
        &agent,
        "shop-qa: 0 of 10 documents stored, 0 refused again, 10 not sent",
    );
    prints(
        &agent,
        "robots-qa: 1 of 1 documents stored, 0 refused again, 0 not sent",
    );
    assert_eq!(api.post_count(), 1);
    other_api.assert_exactly_once([20]);
}

#[test]
fn several_files_are_sent_in_their_order_and_twice_does_no_harm() {
    let api = FakeApi::start();
    let (code, agent) = Setup::new(&[shop(&api)])
        .file("shop-qa-000001.jsonl", &lines(0..3))
        .file("shop-qa-000002.jsonl", &lines(3..5))
        .args(&["replay", "shop-qa-000001.jsonl", "shop-qa-000002.jsonl"])
        .args(&["shop-qa-000001.jsonl"])
        .run();
    assert_eq!(code, 0, "{}", agent.text());
    prints(
        &agent,
        "shop-qa: 8 of 8 documents stored, 0 refused again, 0 not sent",
    );
    let stored = api.stored();
    let wanted: Vec<_> = [0, 1, 2, 3, 4, 0, 1, 2].map(uuid).to_vec();
    assert_eq!(ids(&stored), wanted);
}
