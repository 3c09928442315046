//! Life under Debian's cron, with the crontab from configs/ as it is. A minute is what cron is.

mod support;

use std::time::Duration;

use support::agent::{SOON, subscription};
use support::api::FakeApi;
use support::cron::{Cron, MINUTES, can_run};
use support::publisher::{Publisher, QUEUE};
use support::rabbitmq::shared;
use support::wait::{wait_for, wait_until};

const CRONTAB: &str = include_str!("../configs/leek-agent.cron");
const STARTED: [&str; 2] = ["leek-agent:", "leek-agent started"];

/// The complaint of a cron that has something to mail, and nobody who would take it, or who did.
fn mails(cron: &Cron) -> usize {
    cron.count(&["MTA"]) + cron.count(&["MAIL"])
}

#[test]
fn cron_starts_the_agent_leaves_it_alone_and_starts_it_again() {
    if !can_run() {
        return;
    }
    let (vhost, api) = (shared().vhost("cron"), FakeApi::start());
    let mut publisher = Publisher::open(&vhost.url());
    publisher.send(0, 100);
    let subscriptions = [subscription(&vhost.url(), &api.url())];
    let cron = Cron::start(&[("leek-agent", CRONTAB)], &subscriptions);
    cron.wait_count(MINUTES, &STARTED, 1);
    api.wait_ids(SOON, 100);
    let first = cron.lock_file();
    let lines_before = cron.count(&["leek-agent:"]);

    // The next minute: cron looks, and nothing comes of it, in the log or as a mail.
    cron.wait_count(MINUTES, &["CMD", "flock"], 2);
    cron.wait_count(SOON, &["END", "flock"], 1);
    assert_eq!(cron.runs(), ["started"]);
    assert_eq!(cron.lock_file(), first);
    assert_eq!(cron.count(&["leek-agent:"]), lines_before);
    assert_eq!(mails(&cron), 0);

    // Killed: the lock file stays, the lock does not.
    cron.inside(&format!("kill -9 {first}"));
    wait_until(SOON, "its end", || cron.runs() == ["started", "ended 137"]);
    assert_eq!(cron.lock_file(), first);
    publisher.send(100, 100);
    cron.wait_count(MINUTES, &STARTED, 2);
    api.wait_ids(SOON, 200);
    let second = cron.lock_file();
    assert_ne!(second, first);

    // Whoever reads its log dies: the agent goes on.
    cron.inside(
        "for p in /proc/[0-9]*; do grep -qx logger $p/comm && kill -9 ${p#/proc/}; done; true",
    );
    publisher.send(200, 100);
    api.wait_ids(SOON, 300);
    cron.inside(&format!("kill -TERM {second}"));
    let ends = wait_for(SOON, "its end", || {
        let runs = cron.runs();
        (runs.len() == 4).then_some(runs)
    });
    assert_eq!(ends[3], "ended 0");
    api.assert_nothing_missing(0..300);
    vhost.wait_depth(QUEUE, 0, 0);
}

#[test]
fn the_draining_line_empties_the_queue_and_leaves() {
    if !can_run() {
        return;
    }
    let (vhost, api) = (shared().vhost("cron-drain"), FakeApi::start());
    Publisher::open(&vhost.url()).send(0, 500);
    let line = CRONTAB
        .lines()
        .find_map(|line| line.strip_prefix("# */15 "));
    let line = line.expect("the second variant");
    let path = CRONTAB.lines().find(|line| line.starts_with("PATH="));
    let crontab = format!("{}\n* {line}\n", path.expect("a path"));
    let chatty = "* * * * * root echo somebody should read this\n";
    let crontabs = [("leek-agent", crontab.as_str()), ("chatty", chatty)];
    let subscriptions = [subscription(&vhost.url(), &api.url())];
    let cron = Cron::start(&crontabs, &subscriptions);
    let code = wait_for(MINUTES, "the first run's end", || {
        cron.runs().get(1).cloned()
    });
    assert_eq!(code, "ended 0");
    vhost.wait_depth(QUEUE, 0, 0);
    api.assert_exactly_once(0..500);
    cron.wait_count(
        Duration::from_secs(10),
        &["leek-agent:", "\"ended\":\"Delivered\""],
        1,
    );
    // That what a job prints would have been seen: this is the chatty one, and no other.
    wait_until(SOON, "cron has something to mail", || mails(&cron) > 0);
    assert_eq!(mails(&cron), cron.count(&["CMD", "echo"]));
}
