//! What a service that systemd runs sees of it: the socket that it tells how it is, and the folder
//! with its credentials. The other end of sd_notify(3).

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

use leek_agent::clock;
use tempfile::TempDir;

use super::agent::Setup;
use super::keeper::keep_folder;
use super::wait::poll;

/// A service manager's end. What it was told is kept in order, with the time at which it was read.
pub struct ServiceManager {
    folder: TempDir,
    socket: UnixDatagram,
    heard: Vec<(String, Instant)>,
}

impl ServiceManager {
    /// Listens.
    pub fn start() -> ServiceManager {
        let folder = tempfile::tempdir().expect("a temporary folder");
        keep_folder(folder.path());
        let socket = UnixDatagram::bind(folder.path().join("notify")).expect("a socket");
        socket.set_nonblocking(true).expect("a socket");
        ServiceManager {
            folder,
            socket,
            heard: Vec::new(),
        }
    }

    /// The agent with the environment of a service of `Type=notify`.
    pub fn service(&self, setup: Setup) -> Setup {
        let socket = self.folder.path().join("notify");
        setup.env("NOTIFY_SOCKET", &socket.display().to_string())
    }

    /// Puts a file where `LoadCredential` would, and gives the folder.
    pub fn credential(&self, name: &str, text: &str) -> &Path {
        std::fs::write(self.folder.path().join(name), text).expect("writable");
        self.folder.path()
    }

    /// All that it was told, in order.
    pub fn heard(&mut self) -> Vec<String> {
        self.listen();
        self.heard.iter().map(|(text, _)| text.clone()).collect()
    }

    /// How often it was told exactly that.
    pub fn count(&mut self, text: &str) -> usize {
        let heard = self.heard();
        heard.iter().filter(|one| *one == text).count()
    }

    /// The state that `systemctl status` would show.
    pub fn status(&mut self) -> String {
        let heard = self.heard();
        let mut states = heard.iter().filter_map(|text| text.strip_prefix("STATUS="));
        states.next_back().unwrap_or_default().to_owned()
    }

    /// When it was told exactly that.
    pub fn times(&mut self, text: &str) -> Vec<Instant> {
        self.listen();
        let told = self.heard.iter().filter(|(one, _)| one == text);
        told.map(|(_, at)| *at).collect()
    }

    /// Waits until it was told exactly that.
    #[track_caller]
    pub fn wait_for(&mut self, limit: Duration, text: &str) {
        let told = poll(limit, || (self.count(text) > 0).then_some(()));
        assert!(told.is_some(), "no {text} in {:?}", self.heard());
    }

    /// Waits until the state is exactly that.
    #[track_caller]
    pub fn wait_status(&mut self, limit: Duration, text: &str) {
        let told = poll(limit, || (self.status() == text).then_some(()));
        assert!(told.is_some(), "not {text:?}, but {:?}", self.heard());
    }

    fn listen(&mut self) {
        let mut bytes = [0; 4096];
        while let Ok(length) = self.socket.recv(&mut bytes) {
            let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
            self.heard.push((text, clock::monotonic()));
        }
    }
}
