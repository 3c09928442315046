//! What an event costs the whole agent, from the broker's socket to the API's answer, beside the least
//! that any program must do for it: a bare loop that takes each message and does nothing with it.
//!
//! ```text
//! scripts/bench            every row, some ten minutes
//! scripts/bench --quick    a tenth of the events
//! scripts/bench --row b    only the rows whose names begin so
//! ```
//!
//! Brokers and the API's stand-in run here, on the same cores. So a time is worth something beside its
//! reference only, which is measured in the same run, just before.

#[path = "../support/mod.rs"]
mod support;

mod bare;
mod cost;
mod load;
mod rows;

use std::process::ExitCode;

use rows::Options;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    if let ["bare", rest @ ..] = &words[..] {
        return bare::main(rest);
    }
    match Options::parse(&words) {
        Ok(options) => rows::run(&options),
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::from(64)
        }
    }
}
