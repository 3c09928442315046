//! A message body, all the way to a POST body: no panic, the promised lengths, valid JSON.
#![no_main]

use leek_agent::document::{Context, Merger, Repairs, Validation, transform};
use leek_agent::event::{Events, RawEvent, events, events_noting};
use leek_agent::json::scan::{Dialect, Parts, check};
use libfuzzer_sys::fuzz_target;

/// Each event's text, and its members one behind the other.
fn seen<'a>(events: Events<'a>) -> Vec<(&'a [u8], Vec<&'a [u8]>)> {
    let one = |event: RawEvent<'a>| {
        let mut members = Vec::new();
        event.members(|key, value| members.extend([key, value]));
        (event.text(), members)
    };
    events.map(one).collect()
}

fuzz_target!(|body: &[u8]| {
    // The first byte is an offset for a walk that was not checked before.
    let offset = body.first().map_or(0, |&byte| usize::from(byte));
    for validation in [Validation::Strict, Validation::Tolerant] {
        let context = Context {
            app_env: "fuzz",
            now_ms: 0,
            validation,
        };
        for event in Events::resume(body, offset) {
            let _ = transform(event, &context, &mut Repairs::default());
        }
        let Ok(events) = events(body) else { continue };
        let mut parts = Parts::default();
        let noted = events_noting(body, &mut parts).expect("it was accepted before");
        assert_eq!(seen(noted), seen(events.clone()));
        let mut merger = Merger::new();
        for event in events {
            let Ok(document) = transform(event, &context, &mut Repairs::default()) else {
                continue;
            };
            let bound = merger.len_with(&document);
            if merger.add(document).is_ok() {
                assert!(merger.encoded_len() <= bound);
            }
        }
        let expected = merger.encoded_len();
        let body = merger.seal();
        assert_eq!(body.bytes().len(), expected);
        assert!(body.bytes().is_ascii());
        check(body.bytes(), Dialect::Python).expect("a body is JSON");
    }
});
