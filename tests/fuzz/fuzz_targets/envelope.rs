//! A published payload: no panic, and no body over the limit.
#![no_main]

use leek_agent::delivery::MAX_MESSAGE_BYTES;
use leek_agent::source::redis::envelope::open;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|payload: &[u8]| {
    if let Ok(body) = open(payload).body {
        assert!(body.len() <= MAX_MESSAGE_BYTES);
    }
});
