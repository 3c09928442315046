//! A real Celery worker with its events on, and a client that sends it tasks.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::keeper::{Group, keep_folder};
use super::wait::poll;

/// Python starts, imports Celery and connects: seconds, on a busy machine more.
const START_LIMIT: Duration = Duration::from_secs(60);

/// Which Celery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    Newest,
    /// Of 2022, and still what many sites run.
    FiveTwo,
}

/// A worker process. Dropping it kills it.
pub struct Worker {
    group: Group,
    folder: TempDir,
    line: Line,
    broker: String,
}

impl Worker {
    /// Starts a worker on `broker` and waits until it takes tasks.
    pub fn start(broker: &str) -> Worker {
        Worker::start_line(Line::Newest, broker)
    }

    /// The same with a Celery of that line.
    pub fn start_line(line: Line, broker: &str) -> Worker {
        let folder = tempfile::tempdir().expect("a temporary folder");
        keep_folder(folder.path());
        let log = fs::File::create(folder.path().join("log")).expect("the folder is writable");
        let group = Group::spawn(
            celery(line, broker)
                .args([
                    "worker",
                    "--task-events",
                    "--loglevel=INFO",
                    "--concurrency=1",
                ])
                // Gossip is talk among workers; there is one.
                .args([
                    "--without-gossip",
                    "--without-mingle",
                    "--hostname=w1@gateway",
                ])
                .stdout(log.try_clone().expect("a descriptor"))
                .stderr(log),
        );
        let mut worker = Worker {
            group,
            folder,
            line,
            broker: broker.to_owned(),
        };
        let ready = poll(START_LIMIT, || {
            (worker.group.try_wait().is_some() || worker.log().contains("w1@gateway ready"))
                .then_some(())
        });
        let runs = ready.is_some() && worker.group.try_wait().is_none();
        assert!(runs, "the Celery worker did not start:\n{}", worker.log());
        worker
    }

    /// Sends a task and gives its id. `args` and `kwargs` are JSON.
    pub fn send(&self, task: &str, args: &str, kwargs: &str) -> String {
        let output = celery(self.line, &self.broker)
            .args(["call", task, "--args", args, "--kwargs", kwargs])
            .output()
            .expect("the client starts");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{task}: {errors}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Asks it to finish and waits for its end: then every event has been sent.
    pub fn stop(&mut self) {
        self.group.signal(libc::SIGTERM);
        let code = self.group.wait(START_LIMIT);
        assert_eq!(code, Some(0), "the worker's end:\n{}", self.log());
    }

    /// What the worker printed.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

/// `python -m celery` with the application that the demo uses, too.
fn celery(line: Line, broker: &str) -> Command {
    let venv = venv(match line {
        Line::Newest => "",
        Line::FiveTwo => "-5.2",
    });
    let python = venv.join("bin/python");
    assert!(
        python.exists(),
        "no Python environment with Celery in {}: run scripts/test, which sets it up",
        venv.display()
    );
    let tasks = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/parts");
    let mut command = Command::new(python);
    command
        .args(["-m", "celery", "--app", "tasks", "--workdir", tasks])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("LANG", "C.UTF-8")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("CELERY_BROKER_URL", broker)
        .stdin(Stdio::null());
    command
}

/// Where scripts/setup puts the Python environment of that ending.
pub fn venv(ending: &str) -> PathBuf {
    let mut folder = newest_venv().into_os_string();
    folder.push(ending);
    folder.into()
}

fn newest_venv() -> PathBuf {
    let from = |name: &str| std::env::var_os(name).map(PathBuf::from);
    from("LEEK_AGENT_TEST_VENV")
        .or_else(|| Some(from("XDG_CACHE_HOME")?.join("leek-agent/venv")))
        .or_else(|| Some(from("HOME")?.join(".cache/leek-agent/venv")))
        .expect("HOME is set")
}
