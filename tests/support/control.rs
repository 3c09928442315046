//! Clients of a running agent's control interface: curl, over the socket or over TCP.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::agent::Agent;

/// Status and body of what curl gets with these arguments.
pub fn curl(args: &[&str]) -> (u16, String) {
    let output = Command::new("curl")
        .args(["--silent", "--max-time", "60", "--noproxy", "*"])
        .args(["--write-out", "\n%{http_code}"])
        .args(args)
        .output()
        .expect("curl is installed");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let (body, code) = text.rsplit_once('\n').expect("a status");
    (code.parse().expect("a number"), body.to_owned())
}

/// Asks over an agent's socket, `control` in its folder.
pub struct Control {
    socket: String,
}

impl Control {
    pub fn of(agent: &Agent) -> Control {
        Control::at(&agent.folder().join("control"))
    }

    pub fn at(socket: &Path) -> Control {
        Control {
            socket: socket.display().to_string(),
        }
    }

    /// Status and body of the answer.
    pub fn send(&self, method: &str, path: &str, args: &[&str]) -> (u16, String) {
        let url = format!("http://localhost{path}");
        let common = ["--unix-socket", &self.socket, "--request", method, &url];
        curl(&[&common[..], args].concat())
    }

    /// The same of an answer in JSON.
    pub fn json(&self, method: &str, path: &str, args: &[&str]) -> (u16, Value) {
        let (code, body) = self.send(method, path, args);
        let json = serde_json::from_str(&body);
        (
            code,
            json.unwrap_or_else(|error| panic!("{code}: {error}: {body}")),
        )
    }

    pub fn get(&self, path: &str) -> (u16, String) {
        self.send("GET", path, &[])
    }

    pub fn post(&self, path: &str) -> (u16, Value) {
        self.json("POST", path, &[])
    }

    /// The whole state.
    pub fn status(&self) -> Value {
        self.json("GET", "/v1/status", &[]).1
    }

    /// The state of one subscription; null where there is none of that name.
    pub fn subscription(&self, name: &str) -> Value {
        let status = self.status();
        let list = status["subscriptions"].as_array().expect("a list");
        let found = list.iter().find(|one| one["name"] == name);
        found.cloned().unwrap_or_default()
    }

    /// One of its counts of events.
    pub fn events(&self, name: &str, key: &str) -> u64 {
        self.subscription(name)["events"][key].as_u64().unwrap_or(0)
    }
}
