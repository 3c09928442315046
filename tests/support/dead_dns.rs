//! A name server that takes every question and answers none.

use std::fs;
use std::net::UdpSocket;

use tempfile::TempDir;

use super::disk::can_mount;

/// An address of the loopback interface that nothing else uses.
const SERVER: &str = "127.0.0.153";

/// The name server, and the file that leads to it.
pub struct DeadDns {
    folder: TempDir,
    _server: UdpSocket,
}

impl DeadDns {
    /// `None`, with the reason printed, where this machine does not allow it.
    pub fn start() -> Option<DeadDns> {
        let server = UdpSocket::bind((SERVER, 53))
            .inspect_err(|error| println!("skipped: {SERVER} port 53: {error}"))
            .ok()?;
        let folder = tempfile::tempdir().expect("a temporary folder");
        // Longer than any test, so that a look-up hangs and does not fail.
        let text = format!("nameserver {SERVER}\noptions timeout:30 attempts:5\n");
        fs::write(folder.path().join("resolv.conf"), text).expect("writable");
        can_mount().then_some(DeadDns {
            folder,
            _server: server,
        })
    }

    /// What leads an agent to it, for `Setup::mounting`.
    pub fn script(&self) -> String {
        let file = self.folder.path().join("resolv.conf");
        format!("mount --bind {} /etc/resolv.conf", file.display())
    }
}
