//! The real supervisor, spoken to as Leek's control page does: XML-RPC through its unix socket.
//!
//! Its programs lead process groups of their own, so it runs in a process namespace, which ends with it
//! and everything in it.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::celery::venv;
use super::keeper::{Group, keep_folder};
use super::namespace::first_child;
use super::wait::{poll, wait_for, wait_until};

/// Python starts and imports: seconds on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(60);

/// What the image of Leek says of supervisor itself, but for a folder of the test's own.
const OWN_SECTIONS: &str = "
[supervisord]
nodaemon = true
logfile = FOLDER/supervisord.log
pidfile = FOLDER/supervisord.pid

[unix_http_server]
file = FOLDER/supervisor.sock
chmod = 0700

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface

[include]
files = FOLDER/program.conf
";

/// A folder for a supervisor to come.
pub struct Setup {
    folder: TempDir,
    env: Vec<(String, String)>,
}

/// A running supervisor. Dropping it kills it and its programs.
pub struct Supervisor {
    group: Group,
    folder: TempDir,
}

/// What supervisor says of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessInfo {
    pub statename: String,
    pub exitstatus: i32,
    /// When it was started last, in seconds.
    pub start: u64,
}

impl Setup {
    pub fn new() -> Setup {
        let folder = tempfile::tempdir().expect("a temporary folder");
        keep_folder(folder.path());
        Setup {
            folder,
            env: Vec::new(),
        }
    }

    /// Puts a file into the folder.
    pub fn file(self, name: &str, text: &str) -> Setup {
        fs::write(self.folder.path().join(name), text).expect("writable");
        self
    }

    /// A variable of the otherwise empty environment, which programs inherit.
    pub fn env(mut self, name: &str, value: &str) -> Setup {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts with this program; `FOLDER` in it stands for the folder.
    pub fn start(self, program: &str) -> Supervisor {
        let path = self.folder.path();
        for (name, text) in [
            ("supervisord.conf", OWN_SECTIONS),
            ("program.conf", program),
        ] {
            let text = text.replace("FOLDER", &path.display().to_string());
            fs::write(path.join(name), text).expect("writable");
        }
        // supervisor and its programs write there side by side.
        let mut output = fs::File::options();
        let output = output.create(true).append(true);
        let output = output.open(path.join("output")).expect("writable");
        let group = Group::spawn(
            Command::new("unshare")
                .args(["-rpf", "--kill-child"])
                .arg(venv("-supervisor").join("bin/python"))
                .args(["-m", "supervisor.supervisord", "-c"])
                .arg(path.join("supervisord.conf"))
                .env_clear()
                .env("PATH", std::env::var_os("PATH").unwrap_or_default())
                .envs(self.env)
                .current_dir(path)
                .stdin(Stdio::null())
                .stdout(output.try_clone().expect("a descriptor"))
                .stderr(output),
        );
        let mut supervisor = Supervisor {
            group,
            folder: self.folder,
        };
        let socket = supervisor.folder().join("supervisor.sock");
        let up = poll(START_LIMIT, || {
            let ended = supervisor.group.try_wait().is_some();
            (ended || UnixStream::connect(&socket).is_ok()).then_some(())
        });
        let runs = up.is_some() && supervisor.group.try_wait().is_none();
        assert!(
            runs,
            "supervisor did not start:\n{}",
            supervisor.text("output")
        );
        supervisor
    }
}

impl Supervisor {
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A file of the folder.
    pub fn text(&self, name: &str) -> String {
        fs::read_to_string(self.folder().join(name)).unwrap_or_default()
    }

    /// Calls `supervisor.METHOD` for the program `agent`; gives the answer's XML.
    pub fn call(&self, method: &str) -> String {
        let body = format!(
            "<?xml version='1.0'?><methodCall><methodName>supervisor.{method}</methodName>\
             <params><param><value><string>agent</string></value></param></params></methodCall>"
        );
        let socket = self.folder().join("supervisor.sock");
        let mut stream = UnixStream::connect(socket).expect("supervisor listens");
        let length = body.len();
        let head = "POST /RPC2 HTTP/1.0\r\nContent-Type: text/xml";
        write!(stream, "{head}\r\nContent-Length: {length}\r\n\r\n{body}").expect("written");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    }

    pub fn info(&self) -> ProcessInfo {
        let answer = self.call("getProcessInfo");
        let number = |name: &str| member(&answer, name).parse::<i64>().expect("a number");
        ProcessInfo {
            statename: member(&answer, "statename").to_owned(),
            exitstatus: number("exitstatus") as i32,
            start: number("start") as u64,
        }
    }

    /// Waits until the program is in that state.
    #[track_caller]
    pub fn wait_state(&self, limit: Duration, name: &str) -> ProcessInfo {
        let reached = poll(limit, || {
            Some(self.info()).filter(|info| info.statename == name)
        });
        reached.unwrap_or_else(|| panic!("not {name}, but {:?}", self.info()))
    }

    /// The running program's process id, as it is outside of the namespace.
    #[track_caller]
    pub fn agent_pid(&self, limit: Duration) -> u32 {
        let supervisor = wait_for(limit, "supervisor runs", || first_child(self.group.pid()));
        wait_for(limit, "its program runs", || first_child(supervisor))
    }

    /// Kills the running program, and waits until another runs in its place.
    #[track_caller]
    pub fn kill9_agent(&self, limit: Duration) {
        let pid = self.agent_pid(limit);
        let number = libc::pid_t::try_from(pid).expect("process ids fit");
        // SAFETY: kill(2) takes two numbers and touches no memory of ours.
        assert_eq!(unsafe { libc::kill(number, libc::SIGKILL) }, 0);
        wait_until(limit, "another agent", || self.agent_pid(limit) != pid);
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.group.kill();
        if std::thread::panicking() {
            for name in ["output", "agent.log"] {
                eprintln!("--- {name} ---\n{}", self.text(name));
            }
        }
    }
}

/// The text of a struct's member.
fn member<'a>(xml: &'a str, name: &str) -> &'a str {
    let found = xml.split_once(&format!("<name>{name}</name>"));
    let (_, rest) = found.unwrap_or_else(|| panic!("no {name} in {xml}"));
    let (_, value) = rest.split_once("<value><").expect("a value");
    let (_, text) = value.split_once('>').expect("a type");
    text.split('<').next().expect("a text")
}
