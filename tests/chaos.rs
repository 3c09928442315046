//! The agent between a real broker and an API while everything breaks: the fault matrix.
//!
//! A test binary with a harness of its own, since its rows share brokers, run side by side, and end
//! in a table. `cargo test --test chaos` runs every row once, in a few minutes; `scripts/chaos
//! --minutes N --seed S` runs them again and again with drawn durations and combinations.

mod support;

mod chaos {
    pub mod fault;
    pub mod hearing;
    pub mod load;
    pub mod matrix;
    pub mod options;
    pub mod outcome;
    pub mod site;
    pub mod table;
    pub mod trial;
}

use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use chaos::matrix::{Row, rows};
use chaos::options::{Length, Options};
use chaos::table::table;
use chaos::trial::{Report, SLOTS, Trial};
use leek_agent::clock;
use support::keeper::lock;

/// The short run is the same each time.
const SEED: u64 = 4;

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("chaos: {error}");
            return ExitCode::from(64);
        }
    };
    let all = rows();
    let wanted: Vec<Row> = all
        .iter()
        .filter(|row| options.wants(&row.test()))
        .cloned()
        .collect();
    if options.list {
        wanted
            .iter()
            .for_each(|row| println!("{}: test", row.test()));
        return ExitCode::SUCCESS;
    }
    let begun = clock::monotonic();
    println!("\nrunning {} tests", wanted.len());
    let omitted = all.len() - wanted.len();
    let reports = run(&options, wanted, begun);
    match conclude(&reports, omitted, begun) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn run(options: &Options, rows: Vec<Row>, begun: Instant) -> Vec<Report> {
    let length = options.length;
    let trial = move |row: Row, seed: u64| Trial { row, seed, length };
    if rows.is_empty() {
        return Vec::new();
    }
    match length {
        Length::Short => {
            let seed = options.seed.unwrap_or(SEED);
            run_all(rows.into_iter().map(|row| {
                let own = own_seed(&row, seed);
                trial(row, own)
            }))
        }
        Length::Once => {
            let seed = options.seed.unwrap_or(SEED);
            run_all(rows.into_iter().map(|row| trial(row, seed)))
        }
        Length::Long { minutes } => {
            let seed = options.seed.unwrap_or_else(|| fastrand::u64(..));
            println!("seed {seed:#x}");
            let end = begun + Duration::from_secs(minutes * 60);
            run_all(endless(rows, seed, trial).take_while(|_| clock::monotonic() < end))
        }
    }
}

/// Another one for each row, whichever rows are run beside it.
fn own_seed(row: &Row, seed: u64) -> u64 {
    let mix = |sum: u64, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte));
    row.test().bytes().fold(seed, mix)
}

/// Every row in some order, then every row in another, and so on.
fn endless(
    rows: Vec<Row>,
    seed: u64,
    trial: impl Fn(Row, u64) -> Trial + Send,
) -> impl Iterator<Item = Trial> + Send {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut left = Vec::new();
    std::iter::repeat_with(move || {
        if left.is_empty() {
            left = rows.clone();
            random.shuffle(&mut left);
        }
        let row = left.pop().expect("there are rows");
        trial(row, random.u64(..))
    })
}

/// Runs some trials side by side.
fn run_all(trials: impl Iterator<Item = Trial> + Send) -> Vec<Report> {
    let (trials, reports) = (Mutex::new(trials), Mutex::new(Vec::new()));
    let next = || lock(&trials).next();
    std::thread::scope(|scope| {
        for slot in 0..SLOTS {
            let (next, reports) = (&next, &reports);
            scope.spawn(move || {
                while let Some(trial) = next() {
                    let report = trial.run(slot);
                    tell(&report);
                    lock(reports).push(report);
                }
            });
        }
    });
    reports.into_inner().expect("nobody panicked with it")
}

fn tell(report: &Report) {
    let result = match report.failure {
        None => "ok",
        Some(_) => "FAILED",
    };
    println!("test {} ... {result}", report.trial.row.test());
}

/// The table, the failures, and the line that is counted. Answers whether all is well.
fn conclude(reports: &[Report], omitted: usize, begun: Instant) -> bool {
    if !reports.is_empty() {
        println!("\n{}", table(reports));
    }
    let failed = reports
        .iter()
        .filter_map(|report| Some((report, report.failure.as_ref()?)));
    for (Report { trial, .. }, failure) in failed.clone() {
        let test = trial.row.test();
        println!("---- {test} ----\n{failure}");
        match trial.length {
            Length::Short => println!("again: cargo test --test chaos {test}\n"),
            _ => println!(
                "again: scripts/chaos --row {test} --seed {:#x}\n",
                trial.seed
            ),
        }
    }
    let failed = failed.count();
    let result = if failed == 0 { "ok" } else { "FAILED" };
    println!(
        "test result: {result}. {} passed; {failed} failed; 0 ignored; 0 measured; {omitted} filtered out; \
         finished in {:.2}s\n",
        reports.len() - failed,
        (clock::monotonic() - begun).as_secs_f64()
    );
    failed == 0
}
