//! Signals end the sink, and nothing else. Alone in its process, since a signal is for all of it.

use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use leek_agent::command::sink::{Options, Sink};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::low_level::raise;

#[test]
fn sigterm_and_sigint_end_it() {
    for signal in [SIGTERM, SIGINT] {
        let sink = Sink::bind(Options {
            listen: "127.0.0.1:0".parse().unwrap(),
            out: None,
            app_key: None,
        });
        let sink = sink.unwrap();
        let (ended, end) = channel();
        thread::spawn(move || ended.send(sink.serve().is_ok()));
        raise(signal).unwrap();
        assert_eq!(end.recv_timeout(Duration::from_secs(20)), Ok(true));
    }
}
