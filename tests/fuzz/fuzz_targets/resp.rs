//! Bytes of a Redis server, through frames and the talk: no panic, and every prefix of a frame waits
//! for more instead of meaning something else.
#![no_main]

use std::time::Instant;

use leek_agent::config::redis::RedisOptions;
use leek_agent::source::redis::channels::{Channels, Found};
use leek_agent::source::redis::resp::{Parsed, parse};
use leek_agent::source::redis::session::{Greeting, Session};
use libfuzzer_sys::fuzz_target;

const MAX_BULK: usize = 1000;

fuzz_target!(|bytes: &[u8]| {
    let now = Instant::now();
    let found = Found::BySentinels;
    let mut session = Session::new(
        &Greeting {
            user: None,
            password: None,
            db: 0,
            client_name: "fuzz".into(),
            channels: Channels::new(&RedisOptions::default(), 0, "celeryev", "#", found),
            found,
        },
        now,
    );
    let mut rest = bytes;
    while let Ok(Parsed::Frame { frame, length }) = parse(rest, MAX_BULK) {
        assert!(length <= rest.len() && length > 0);
        let cut = parse(&rest[..length - 1], MAX_BULK);
        assert!(matches!(cut, Ok(Parsed::Incomplete(need)) if need >= length || need > 0));
        let _ = session.handle(&frame, now);
        rest = &rest[length..];
    }
});
