//! tinyproxy from Debian, with a user and a password if asked for.

use std::fmt::Write;
use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::keeper::{Group, keep_folder};
use super::rabbitmq::free_port;
use super::wait::wait_until;

/// tinyproxy takes letters, digits, dots, dashes and underscores; a URL may have any encoded.
pub const PROXY_USER: &str = "gate-way";
/// As it stands in a URL, and as it is.
pub const PROXY_PASSWORD: &str = "tulip%2Dand%2Dtea";
pub const PROXY_PASSWORD_PLAIN: &str = "tulip-and-tea";

/// A running proxy. Dropping it kills it.
pub struct Proxy {
    port: u16,
    folder: TempDir,
    process: Group,
}

impl Proxy {
    /// Lets everybody through, to `connect_ports` also by CONNECT.
    pub fn open(connect_ports: &[u16]) -> Proxy {
        Proxy::start(connect_ports, "")
    }

    /// The same for [`PROXY_USER`] alone.
    pub fn with_login(connect_ports: &[u16]) -> Proxy {
        let login = format!("BasicAuth {PROXY_USER} {PROXY_PASSWORD_PLAIN}\n");
        Proxy::start(connect_ports, &login)
    }

    fn start(connect_ports: &[u16], more: &str) -> Proxy {
        let folder = tempfile::tempdir().expect("a temporary folder");
        keep_folder(folder.path());
        let port = free_port();
        let log = folder.path().join("log");
        let log = log.display();
        let mut conf = format!(
            "Listen 127.0.0.1\nPort {port}\nTimeout 60\nLogFile \"{log}\"\nLogLevel Connect\n{more}"
        );
        // One port at least, or all are allowed.
        for port in connect_ports.iter().chain(&[443]) {
            let _ = writeln!(conf, "ConnectPort {port}");
        }
        let file = folder.path().join("conf");
        fs::write(&file, conf).expect("writable");
        let process = run(&file, port);
        Proxy {
            port,
            folder,
            process,
        }
    }

    /// Kills it, and starts it again once `meanwhile` is over.
    pub fn restart_after(mut self, meanwhile: impl FnOnce()) -> Proxy {
        self.process.kill();
        meanwhile();
        self.process = run(&self.folder.path().join("conf"), self.port);
        self
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// With what [`Proxy::with_login`] asks for.
    pub fn url_with_login(&self) -> String {
        let user = PROXY_USER.replace('-', "%2D");
        format!("http://{user}:{PROXY_PASSWORD}@127.0.0.1:{}", self.port)
    }

    /// What it was asked for: lines with `CONNECT host:port` or `POST http://…`.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

fn run(conf: &Path, port: u16) -> Group {
    let process = Group::spawn(
        Command::new("tinyproxy")
            .arg("-d")
            .arg("-c")
            .arg(conf)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null()),
    );
    wait_until(Duration::from_secs(20), "the proxy listens", || {
        TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    process
}
