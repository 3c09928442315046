//! Tells systemd how the agent is: ready, in which state, alive, stopping.
//!
//! The protocol of sd_notify(3): datagrams of `KEY=value` lines to the socket that `NOTIFY_SOCKET`
//! names. Where that is not set (cron, procd, supervisor, a terminal) all of this does nothing. A
//! message that cannot be sent is not sent: the loop waits for nobody.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use crate::config::environment::Env;

/// What systemd asked for.
#[derive(Debug, Default)]
pub struct Notifier {
    socket: Option<UnixDatagram>,
    /// Between two signs of life: half of what systemd waits for one.
    interval: Option<Duration>,
    next_sign: Option<Instant>,
    status: String,
}

impl Notifier {
    /// Reads `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`; `pid` is this process.
    pub fn from_env(env: &Env, pid: u32) -> Self {
        let socket = env.get("NOTIFY_SOCKET").and_then(connect);
        let asked = env.get("WATCHDOG_USEC").and_then(|text| text.parse().ok());
        let for_us = env
            .get("WATCHDOG_PID")
            .is_none_or(|text| text == pid.to_string());
        let interval = asked
            .filter(|micros| *micros > 0 && for_us && socket.is_some())
            .map(|micros: u64| Duration::from_micros(micros) / 2);
        Notifier {
            socket,
            interval,
            ..Notifier::default()
        }
    }

    /// Every subscription was attempted.
    pub fn ready(&self) {
        self.send("READY=1");
    }

    /// The agent has begun to stop.
    pub fn stopping(&self) {
        self.send("STOPPING=1");
    }

    /// Shows `text` in `systemctl status`, if it is another than before. One line.
    pub fn status(&mut self, text: &str) {
        if self.socket.is_some() && self.status != text {
            text.clone_into(&mut self.status);
            self.send(&format!("STATUS={text}"));
        }
    }

    /// Gives a sign of life if one is due. Only a loop that turns calls this.
    pub fn handle_timeout(&mut self, now: Instant) {
        let Some(interval) = self.interval else {
            return;
        };
        if self.next_sign.is_none_or(|due| now >= due) {
            self.next_sign = Some(now + interval);
            self.send("WATCHDOG=1");
        }
    }

    /// When the next sign of life is due.
    pub fn deadline(&self) -> Option<Instant> {
        self.next_sign
    }

    fn send(&self, message: &str) {
        if let Some(socket) = &self.socket {
            let _ = socket.send(message.as_bytes());
        }
    }
}

/// A path, or with `@` in front a name of Linux' abstract namespace.
fn connect(address: &str) -> Option<UnixDatagram> {
    let address = match address.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(address),
    };
    let socket = UnixDatagram::unbound().ok()?;
    socket.set_nonblocking(true).ok()?;
    socket.connect_addr(&address.ok()?).ok()?;
    Some(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    fn received(socket: &UnixDatagram) -> Vec<String> {
        let mut bytes = [0; 256];
        std::iter::from_fn(|| {
            let length = socket.recv(&mut bytes).ok()?;
            Some(String::from_utf8_lossy(&bytes[..length]).into_owned())
        })
        .collect()
    }

    fn service_manager() -> (tempfile::TempDir, UnixDatagram, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        (folder, socket, path.display().to_string())
    }

    #[test]
    fn each_status_is_told_once() {
        let (_folder, socket, path) = service_manager();
        let mut notifier = Notifier::from_env(&Env::from_iter([("NOTIFY_SOCKET", path)]), 7);
        notifier.ready();
        notifier.status("1 of 2 well");
        notifier.status("1 of 2 well");
        notifier.status("2 of 2 well");
        notifier.stopping();
        assert_eq!(
            received(&socket),
            [
                "READY=1",
                "STATUS=1 of 2 well",
                "STATUS=2 of 2 well",
                "STOPPING=1"
            ]
        );
    }

    #[test]
    fn a_sign_of_life_comes_twice_in_the_time_that_systemd_waits() {
        let (_folder, socket, path) = service_manager();
        let env = Env::from_iter([
            ("NOTIFY_SOCKET", path.as_str()),
            ("WATCHDOG_USEC", "60000000"),
            ("WATCHDOG_PID", "7"),
        ]);
        let mut notifier = Notifier::from_env(&env, 7);
        let start = clock::monotonic();
        for second in 0..60 {
            notifier.handle_timeout(start + Duration::from_secs(second));
        }
        assert_eq!(received(&socket), ["WATCHDOG=1", "WATCHDOG=1"]);
        assert_eq!(notifier.deadline(), Some(start + Duration::from_secs(60)));
    }

    #[test]
    fn another_process_watchdog_is_none_of_ours() {
        let (_folder, socket, path) = service_manager();
        let env = Env::from_iter([
            ("NOTIFY_SOCKET", path.as_str()),
            ("WATCHDOG_USEC", "60000000"),
            ("WATCHDOG_PID", "8"),
        ]);
        let mut notifier = Notifier::from_env(&env, 7);
        notifier.handle_timeout(clock::monotonic());
        assert_eq!(received(&socket), [""; 0]);
        assert_eq!(notifier.deadline(), None);
    }

    #[test]
    fn an_abstract_name_is_a_socket_too() {
        let name = format!("leek-agent-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        socket.set_nonblocking(true).unwrap();
        let env = Env::from_iter([("NOTIFY_SOCKET", format!("@{name}"))]);
        Notifier::from_env(&env, 7).ready();
        assert_eq!(received(&socket), ["READY=1"]);
    }

    #[test]
    fn without_systemd_nothing_happens() {
        for address in ["", "/nobody/listens/here"] {
            let mut notifier = Notifier::from_env(&Env::from_iter([("NOTIFY_SOCKET", address)]), 7);
            notifier.ready();
            notifier.status("well");
            notifier.handle_timeout(clock::monotonic());
            assert_eq!(notifier.deadline(), None);
        }
    }
}
