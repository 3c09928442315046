//! How records become lines, and that repeats are held back on the way.

use std::time::{Duration, Instant};

use super::*;

fn state(format: Format) -> State {
    State {
        limit: Mutex::default(),
        format,
    }
}

/// What the state writes for a record of that level with these fields.
fn written(
    state: &State,
    level: log::Level,
    fields: &[(&str, log::kv::Value<'_>)],
    now: Instant,
) -> String {
    let mut out = Vec::new();
    let record = log::Record::builder()
        .level(level)
        .target("leek_agent::source")
        .args(format_args!("broker \"lost\""))
        .key_values(&fields)
        .build();
    state
        .write(&mut out, &record, now, 1_700_000_000_123)
        .expect("written");
    String::from_utf8(out).expect("UTF-8")
}

#[test]
fn json_keeps_types_and_escapes() {
    let fields = [
        ("subscription", "shop-qa".into()),
        ("attempt", 3u64.into()),
        ("ratio", 0.5f64.into()),
        ("held", true.into()),
        ("reason", "a\nb".into()),
    ];
    let line = written(
        &state(Format::Json),
        log::Level::Warn,
        &fields,
        clock::monotonic(),
    );
    assert_eq!(
        line,
        "{\"time\":\"2023-11-14T22:13:20.123Z\",\"level\":\"warn\",\"subscription\":\"shop-qa\",\
         \"message\":\"broker \\\"lost\\\"\",\"attempt\":3,\"ratio\":0.5,\"held\":true,\
         \"reason\":\"a\\nb\"}\n"
    );
}

#[test]
fn text_is_one_line() {
    let fields = [
        ("subscription", "shop-qa".into()),
        ("attempt", 3u64.into()),
        ("reason", "a\nb c".into()),
        ("code", "\u{1b}[2J".into()),
    ];
    let line = written(
        &state(Format::Text),
        log::Level::Info,
        &fields,
        clock::monotonic(),
    );
    assert_eq!(
        line,
        "2023-11-14T22:13:20.123Z INFO  [shop-qa] broker \"lost\" attempt=3 reason=\"a\\nb c\" \
         code=\\u{1b}[2J\n"
    );
}

#[test]
fn repeats_are_held_back_and_told() {
    let start = clock::monotonic();
    let state = state(Format::Text);
    let lines = |level, subscription: &str, now| {
        let fields = [("subscription", subscription.into())];
        written(&state, level, &fields, now).lines().count()
    };
    let of_warn: usize = (0..9).map(|_| lines(log::Level::Warn, "a", start)).sum();
    assert_eq!(of_warn, 5);
    assert_eq!(
        lines(log::Level::Warn, "b", start),
        1,
        "another subscription's"
    );
    let of_debug: usize = (0..9).map(|_| lines(log::Level::Debug, "a", start)).sum();
    assert_eq!(of_debug, 9, "debug is asked for and complete");

    let later = start + Duration::from_secs(60);
    let text = written(&state, log::Level::Error, &[], later);
    let told: Vec<&str> = text.lines().collect();
    assert_eq!(told.len(), 2, "{text}");
    assert!(
        told[0].ends_with("WARN  [a] repeated: broker \"lost\" held_back=4"),
        "{text}"
    );
}

#[test]
fn the_next_repeat_that_passes_carries_the_count() {
    let start = clock::monotonic();
    let state = state(Format::Json);
    for _ in 0..9 {
        written(&state, log::Level::Warn, &[], start);
    }
    let later = start + Duration::from_secs(61);
    let text = written(&state, log::Level::Warn, &[], later);
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.ends_with(",\"held_back\":4}\n"), "{text}");
}

#[test]
fn levels_go_by_both_names() {
    for (text, level) in [
        ("INFO", LevelFilter::Info),
        ("Warning", LevelFilter::Warn),
        ("CRITICAL", LevelFilter::Error),
        ("debug", LevelFilter::Debug),
    ] {
        assert_eq!(parse_level(text), Some(level));
    }
    assert_eq!(parse_level("loud"), None);
}
