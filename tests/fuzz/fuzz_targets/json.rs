//! JSON in both dialects: no panic, and what is rewritten is the same value, in ASCII.
#![no_main]

use leek_agent::json::loads;
use leek_agent::json::read;
use leek_agent::json::scan::{Dialect, check};
use leek_agent::json::write::{Encoder, Surrogates, transcode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    let accepted = check(text, Dialect::Python).is_ok();
    if loads::orjson(text).is_ok() {
        assert!(accepted);
    }
    let start = read::skip_blanks(text, 0);
    let value = &text[start..read::skip_value(text, start).unwrap_or(text.len())];
    let mut encoder = Encoder::new(Vec::new(), Surrogates::Keep, usize::MAX);
    let finite = transcode(value, &mut encoder).is_ok();
    if accepted && finite {
        assert!(encoder.out.is_ascii());
        check(&encoder.out, Dialect::Python).expect("rewritten JSON is JSON");
        assert_eq!(loads::python(&encoder.out), loads::python(value));
    }
});
