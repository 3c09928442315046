//! What people write for agent checks, and Herald's files: no panic, an answer reads back as it is
//! written, and what is taken over from Herald is a configuration.
#![no_main]

use leek_agent::agent_check::{Answer, Expression};
use leek_agent::herald::import;
use leek_agent::json::loads;
use leek_agent::tls::{ClientTls, TlsSettings};
use libfuzzer_sys::fuzz_target;

const R: &[u8] = br#"{"a": {"b": [3, 1, 4]}, "max": 50, "text": " 42 ", "off": false, "nothing": null}"#;

fuzz_target!(|text: &str| {
    let r = loads::orjson(R).expect("JSON");
    if let Ok(expression) = Expression::parse(text) {
        let _ = expression.value(&r).map(|term| term.shown());
    }
    if let Ok(answer) = Answer::parse(text) {
        assert_eq!(Answer::parse(&answer.to_string()), Ok(answer));
    }
    let open = |_| ClientTls::open(&TlsSettings::default());
    let _ = import("herald.yml", text, &open);
});
