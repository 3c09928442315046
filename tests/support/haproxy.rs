//! Debian's HAProxy with servers that it asks by agent-check, and what it makes of the answers.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::keeper::{Group, keep_folder};
use super::rabbitmq::free_port;
use super::wait::poll;

/// A check each 100 ms: HAProxy follows soon.
const INTER: &str = "100ms";

const LIMIT: Duration = Duration::from_secs(30);

/// A running HAProxy with one backend, `load`. Dropping it kills it.
pub struct Haproxy {
    folder: TempDir,
    process: Group,
}

/// What HAProxy thinks of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Such as `UP`, `DOWN (agent)`, `DRAIN (agent)`, `MAINT`.
    pub status: String,
    pub weight: u32,
    /// The description that the agent gave.
    pub description: String,
}

impl Haproxy {
    /// With a server for each port, named `s0` and so on, of weight 100; it is asked on that port.
    pub fn asking(ports: &[u16]) -> Haproxy {
        Haproxy::start(ports, "")
    }

    /// The same, saying `text` first.
    pub fn asking_with(ports: &[u16], text: &str) -> Haproxy {
        Haproxy::start(ports, &format!("agent-send \"{text}\\n\""))
    }

    fn start(ports: &[u16], more: &str) -> Haproxy {
        let folder = tempfile::tempdir().expect("a temporary folder");
        keep_folder(folder.path());
        let path = folder.path().display();
        // The servers are well by themselves: what they do beyond that is their agents' doing.
        let body = free_port();
        let mut conf = format!(
            "global\n stats socket {path}/stats mode 600 level admin\n\
             defaults\n mode http\n timeout connect 5s\n timeout client 5s\n timeout server 5s\n\
             frontend body\n bind 127.0.0.1:{body}\n http-request return status 200\n\
             frontend front\n bind unix@{path}/front\n default_backend load\n\
             backend load\n balance roundrobin\n"
        );
        for (number, port) in ports.iter().enumerate() {
            let _ = writeln!(
                conf,
                " server s{number} 127.0.0.1:{body} weight 100 check inter {INTER} agent-check agent-addr 127.0.0.1 \
                 agent-port {port} agent-inter {INTER} {more}"
            );
        }
        let file = folder.path().join("conf");
        fs::write(&file, conf).expect("writable");
        let log = fs::File::create(folder.path().join("log")).expect("writable");
        let mut command = Command::new("haproxy");
        command
            .args(["-db", "-f"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a descriptor"))
            .stderr(log);
        let haproxy = Haproxy {
            process: Group::spawn(&mut command),
            folder,
        };
        let is_up = poll(LIMIT, || haproxy.connect());
        assert!(is_up.is_some(), "{}", haproxy.log());
        haproxy
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn connect(&self) -> Option<UnixStream> {
        UnixStream::connect(self.folder.path().join("stats")).ok()
    }

    /// What its stats socket answers.
    pub fn ask(&self, command: &str) -> String {
        let mut stream = self.connect().expect("it runs");
        writeln!(stream, "{command}").expect("written");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("read");
        answer
    }

    /// What it thinks of server `s0`, and so on.
    pub fn server(&self, number: usize) -> Server {
        let stat = self.ask("show stat");
        let mut lines = stat.lines();
        let names = lines.next().expect("a head").trim_start_matches("# ");
        let name = format!("s{number}");
        let line = lines.find(|line| line.split(',').nth(1) == Some(&name));
        let line = line.unwrap_or_else(|| panic!("no {name} in {stat}"));
        let field = |wanted: &str| {
            let mut fields = names.split(',').zip(line.split(','));
            let found = fields.find(|(name, _)| *name == wanted);
            found.expect("the field").1.trim_matches('"').to_owned()
        };
        Server {
            status: field("status"),
            weight: field("weight").parse().expect("a number"),
            description: described(&field("last_agt")).to_owned(),
        }
    }

    /// Waits for a state that begins so.
    #[track_caller]
    pub fn wait_status(&self, number: usize, status: &str) {
        let found = poll(LIMIT, || {
            self.server(number).status.starts_with(status).then_some(())
        });
        assert!(found.is_some(), "{:?}, not {status}", self.server(number));
    }

    /// Waits for that state and weight.
    #[track_caller]
    pub fn wait(&self, number: usize, status: &str, weight: u32) {
        let found = poll(LIMIT, || {
            let server = self.server(number);
            (server.status == status && server.weight == weight).then_some(())
        });
        let server = self.server(number);
        assert!(found.is_some(), "{server:?}, not {status} with {weight}");
    }
}

/// The text in `via agent : down (text)`.
fn described(last: &str) -> &str {
    let text = last
        .split_once(" (")
        .and_then(|(_, rest)| rest.strip_suffix(')'));
    text.unwrap_or_default()
}
