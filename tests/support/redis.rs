//! Real Redis servers and sentinels: own ports, a temporary folder, nothing on disk; and a client
//! that publishes what kombu would.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::keeper::{Group, keep_folder, lock};
use super::publisher::{events, uuid};
use super::wait::{poll, wait_until};

/// A server starts in a tenth of a second; other builders may use the same cores.
const START_LIMIT: Duration = Duration::from_secs(30);

/// Commands in flight at once: replies must be read before the socket's buffers are full.
const PIPELINE: usize = 500;

/// A running server. Dropping it kills it and removes its folder.
pub struct Redis {
    folder: TempDir,
    pub port: u16,
    mode: Mode,
    password: Option<String>,
    server: Mutex<Option<Group>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Server,
    Sentinel,
}

impl Redis {
    /// A server that lets everybody in.
    pub fn start() -> Redis {
        Redis::start_with("")
    }

    /// A server with further lines of configuration.
    pub fn start_with(lines: &str) -> Redis {
        Redis::begin(Mode::Server, lines)
    }

    fn begin(mode: Mode, lines: &str) -> Redis {
        let folder = tempfile::tempdir().expect("a temporary folder");
        keep_folder(folder.path());
        let port = free_port();
        let path = folder.path().display();
        let mut text = format!("port {port}\nbind 127.0.0.1\ndir {path}\n");
        if mode == Mode::Server {
            let _ = write!(
                text,
                "save \"\"\nunixsocket {path}/socket\nloglevel notice\n"
            );
        }
        text += lines;
        fs::write(folder.path().join("conf"), text).expect("the folder is writable");
        let password = lines
            .lines()
            .find_map(|line| line.strip_prefix("requirepass "));
        let redis = Redis {
            port,
            mode,
            password: password.map(str::to_owned),
            server: Mutex::new(None),
            folder,
        };
        redis.start_server();
        redis
    }

    /// Starts it again on the same port.
    pub fn start_server(&self) {
        let log = fs::File::create(self.folder.path().join("output")).expect("writable");
        let mut command = Command::new("redis-server");
        command
            .arg(self.folder.path().join("conf"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a descriptor"))
            .stderr(log);
        if self.mode == Mode::Sentinel {
            command.arg("--sentinel");
        }
        let mut server = Group::spawn(&mut command);
        let up = poll(START_LIMIT, || {
            let up = TcpStream::connect(("127.0.0.1", self.port)).is_ok();
            (server.try_wait().is_some() || up).then_some(())
        });
        let running = up.is_some() && server.try_wait().is_none();
        assert!(running, "Redis did not start:\n{}", self.output());
        *lock(&self.server) = Some(server);
    }

    /// Kills it as a power cut would.
    pub fn kill9(&self) {
        lock(&self.server).take().expect("the server runs").kill();
    }

    /// Freezes it: its sockets stay open and silent.
    pub fn sigstop(&self) {
        self.signal(libc::SIGSTOP);
    }

    /// Ends [`Redis::sigstop`].
    pub fn sigcont(&self) {
        self.signal(libc::SIGCONT);
    }

    /// Brings a server that was killed or frozen back to life.
    pub fn heal(&self) {
        let runs = lock(&self.server).is_some();
        if runs {
            self.sigcont()
        } else {
            self.start_server()
        }
    }

    fn signal(&self, signal: libc::c_int) {
        let server = lock(&self.server);
        server.as_ref().expect("the server runs").signal(signal);
    }

    /// `redis://127.0.0.1:PORT`, with credentials if there are any, ready for `/DB`.
    pub fn url(&self) -> String {
        match &self.password {
            Some(password) => format!("redis://:{password}@127.0.0.1:{}", self.port),
            None => format!("redis://127.0.0.1:{}", self.port),
        }
    }

    /// The path of its socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// A connection with all rights.
    pub fn client(&self) -> Client {
        let mut client = Client::connect(self.port);
        if let Some(password) = &self.password {
            assert_eq!(client.call(&["AUTH", password]), "OK");
        }
        client
    }

    /// Waits until somebody listens to patterns of channels.
    #[track_caller]
    pub fn wait_listener(&self) {
        self.wait_listeners(1);
    }

    /// Waits until so many different patterns are listened to.
    #[track_caller]
    pub fn wait_listeners(&self, patterns: usize) {
        let mut client = self.client();
        wait_until(START_LIMIT, &format!("{patterns} patterns heard"), || {
            client.call(&["PUBSUB", "NUMPAT"]).parse() == Ok(patterns)
        });
    }

    /// Bytes that wait in the server for subscribers to read them.
    pub fn unread(&self) -> u64 {
        let clients = self.client().call(&["CLIENT", "LIST", "TYPE", "pubsub"]);
        let waiting = clients
            .split_whitespace()
            .filter_map(|field| field.strip_prefix("omem="));
        waiting.filter_map(|bytes| bytes.parse::<u64>().ok()).sum()
    }

    /// Publishes on `prefix`, such as `/0.celeryev`.
    pub fn publisher(&self, prefix: &str) -> Publisher {
        Publisher {
            client: self.client(),
            prefix: prefix.to_owned(),
            routing: true,
        }
    }

    /// What the server printed, for a test that failed.
    pub fn output(&self) -> String {
        fs::read_to_string(self.folder.path().join("output")).unwrap_or_default()
    }
}

/// A master, its replica, and three sentinels that watch them.
pub struct Sentinels {
    pub servers: [Redis; 2],
    pub sentinels: Vec<Redis>,
}

/// What the sentinels call their master, and what they ask of their clients.
pub const MASTER: &str = "shop-master";
pub const SENTINEL_PASSWORD: &str = "watch-and-ward";
pub const SERVER_PASSWORD: &str = "carrot-and-barley";

impl Sentinels {
    pub fn start() -> Sentinels {
        let secret = format!("requirepass {SERVER_PASSWORD}\nmasterauth {SERVER_PASSWORD}\n");
        let master = Redis::start_with(&secret);
        let follows = format!("{secret}replicaof 127.0.0.1 {}\n", master.port);
        let replica = Redis::start_with(&follows);
        let watch = format!(
            "requirepass {SENTINEL_PASSWORD}\nsentinel sentinel-pass {SENTINEL_PASSWORD}\n\
             sentinel monitor {MASTER} 127.0.0.1 {} 2\n\
             sentinel auth-pass {MASTER} {SERVER_PASSWORD}\n\
             sentinel down-after-milliseconds {MASTER} 1000\n\
             sentinel failover-timeout {MASTER} 3000\n",
            master.port
        );
        let sentinels: Vec<_> = (0..3)
            .map(|_| Redis::begin(Mode::Sentinel, &watch))
            .collect();
        let all = Sentinels {
            servers: [master, replica],
            sentinels,
        };
        for sentinel in &all.sentinels {
            wait_until(START_LIMIT, "the sentinels know each other", || {
                let about = sentinel.client().call(&["SENTINEL", "MASTER", MASTER]);
                let fields: Vec<&str> = about.split_whitespace().collect();
                let is = |name: &str, value: &str| {
                    let at = fields.iter().position(|field| *field == name);
                    at.is_some_and(|at| fields[at + 1] == value)
                };
                is("num-other-sentinels", "2") && is("num-slaves", "1") && is("flags", "master")
            });
        }
        all
    }

    /// The broker's URL list.
    pub fn url(&self, db: u32) -> String {
        let urls: Vec<String> = self
            .sentinels
            .iter()
            .map(|one| format!("sentinel://:{SERVER_PASSWORD}@127.0.0.1:{}", one.port))
            .collect();
        format!("{}/{db}", urls.join(";"))
    }

    /// The transport options that go with it.
    pub fn options(&self) -> Value {
        json!({"master_name": MASTER, "sentinel_kwargs": {"password": SENTINEL_PASSWORD}})
    }
}

/// A blocking connection that sends commands and reads their replies as text.
pub struct Client {
    reader: BufReader<TcpStream>,
}

impl Client {
    fn connect(port: u16) -> Client {
        let socket = TcpStream::connect(("127.0.0.1", port)).expect("the server listens");
        Client {
            reader: BufReader::new(socket),
        }
    }

    /// Sends one command and gives its reply: the items of a list are separated by blanks.
    pub fn call(&mut self, words: &[&str]) -> String {
        self.send(words.iter().map(|word| word.as_bytes()));
        self.reply()
    }

    fn send<'a>(&mut self, words: impl ExactSizeIterator<Item = &'a [u8]>) {
        let mut out = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            out.extend_from_slice(word);
            out.extend_from_slice(b"\r\n");
        }
        self.reader.get_mut().write_all(&out).expect("it listens");
    }

    fn reply(&mut self) -> String {
        let mut line = String::new();
        self.reader.read_line(&mut line).expect("a reply");
        let text = line.trim_end();
        let (kind, rest) = text.split_at_checked(1).unwrap_or_default();
        match kind {
            "$" if rest == "-1" => String::new(),
            "$" => {
                let mut bytes = vec![0; rest.parse::<usize>().expect("a length") + 2];
                self.reader.read_exact(&mut bytes).expect("a string");
                bytes.truncate(bytes.len() - 2);
                String::from_utf8(bytes).expect("UTF-8")
            }
            "*" => {
                let count = rest.parse().unwrap_or(0);
                let items: Vec<_> = (0..count).map(|_| self.reply()).collect();
                items.join(" ")
            }
            _ => rest.to_owned(),
        }
    }
}

/// Publishes events as a Celery worker does.
pub struct Publisher {
    client: Client,
    prefix: String,
    routing: bool,
}

impl Publisher {
    /// As with `fanout_patterns: False`: no routing key in the channel's name.
    pub fn without_routing_keys(mut self) -> Publisher {
        self.routing = false;
        self
    }

    /// The events numbered from `first`, each in a message of its own. Each must be heard.
    #[track_caller]
    pub fn send(&mut self, first: usize, count: usize) {
        let payloads: Vec<_> = events(first, count).iter().map(envelope).collect();
        for payloads in payloads.chunks(PIPELINE) {
            let heard = self.raw("task.received", payloads);
            assert_eq!(heard, payloads.len(), "every event has one listener");
        }
    }

    /// As fast as the server takes them, whether heard or not.
    pub fn flood(&mut self, payloads: &[Vec<u8>]) {
        for payloads in payloads.chunks(PIPELINE) {
            self.raw("task.received", payloads);
        }
    }

    /// Any payload; answers how many subscribers heard it.
    pub fn payload(&mut self, payload: &[u8]) -> usize {
        self.raw("task.received", &[payload.to_vec()])
    }

    fn raw(&mut self, routing_key: &str, payloads: &[Vec<u8>]) -> usize {
        let channel = match self.routing {
            true => format!("{}/{routing_key}", self.prefix),
            false => self.prefix.clone(),
        };
        for payload in payloads {
            let words = [&b"PUBLISH"[..], channel.as_bytes(), payload];
            self.client.send(words.into_iter());
        }
        let heard = payloads.iter().map(|_| self.client.reply());
        heard
            .map(|count| count.parse::<usize>().expect("a count"))
            .sum()
    }
}

/// kombu's envelope around one event or a list of them.
pub fn envelope(body: &Value) -> Vec<u8> {
    let number = body["clock"].as_u64().unwrap_or(0) as usize;
    wrapped(body.to_string().as_bytes(), &uuid(number)).into_bytes()
}

/// kombu's envelope around any body.
pub fn wrapped(body: &[u8], delivery_tag: &str) -> String {
    json!({
        "body": BASE64_STANDARD.encode(body),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"hostname": "celery@gateway-worker-1"},
        "properties": {
            "delivery_mode": 1,
            "delivery_info": {"exchange": "celeryev", "routing_key": "task.received"},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": delivery_tag,
        },
    })
    .to_string()
}

/// A port that nobody listens on, from below the range that the kernel gives to outgoing
/// connections (a sentinel's bus needs none beside it).
pub fn free_port() -> u16 {
    std::iter::repeat_with(|| fastrand::u16(20_000..32_000))
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("some port is free")
}

impl Drop for Redis {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- output of Redis {} ---\n{}", self.port, self.output());
        }
    }
}
