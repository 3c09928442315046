//! A Consul agent as its documentation has it, and strict: verbs, paths, keys and durations are
//! checked, checks expire when their ttl is over, and a restart forgets everything. Time may be put
//! forward, so that nobody has to wait for a ttl.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use leek_agent::clock;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};

use super::keeper::lock;

/// One request as it arrived.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    /// Path and query.
    pub target: String,
    pub token: Option<String>,
    pub body: Value,
}

/// How it behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Manner {
    /// As documented.
    Well,
    /// Takes requests and never answers.
    Hangs,
    /// Answers something that is no HTTP.
    Babbles,
    /// Answers this to everything.
    Says(u16, &'static str),
}

#[derive(Debug)]
struct Check {
    name: String,
    notes: String,
    service: String,
    status: String,
    output: String,
    ttl: Option<Duration>,
    told: Instant,
}

#[derive(Debug, Default)]
struct Known {
    checks: BTreeMap<String, Check>,
    services: BTreeMap<String, Value>,
    members: BTreeMap<String, (u64, Value)>,
}

struct State {
    known: Known,
    manner: Manner,
    token: Option<&'static str>,
    /// By how much time was put forward.
    ahead: Duration,
    requests: Vec<Request>,
}

/// The running Consul; its threads end with the test.
pub struct FakeConsul {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

/// A status and what is said with it.
type Reply = (u16, String);

impl FakeConsul {
    /// Listens on a free port.
    pub fn start() -> FakeConsul {
        FakeConsul::on(TcpListener::bind("127.0.0.1:0").expect("a free port"))
    }

    pub fn on(listener: TcpListener) -> FakeConsul {
        let address = listener.local_addr().expect("an address");
        let known = Known {
            members: [("here".to_owned(), (1, json!({"role": "consul"})))].into(),
            ..Known::default()
        };
        let state = Arc::new(Mutex::new(State {
            known,
            manner: Manner::Well,
            token: None,
            ahead: Duration::ZERO,
            requests: Vec::new(),
        }));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                std::thread::spawn(move || serve(&stream, &state));
            }
        });
        FakeConsul { address, state }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on everybody must show this.
    pub fn want_token(&self, token: &'static str) {
        lock(&self.state).token = Some(token);
    }

    pub fn behave(&self, manner: Manner) {
        lock(&self.state).manner = manner;
    }

    /// Forgets everything, as one without a disk does.
    pub fn restart(&self) {
        let mut state = lock(&self.state);
        state.known.checks.clear();
        state.known.services.clear();
    }

    /// Puts time forward.
    pub fn pass(&self, time: Duration) {
        lock(&self.state).ahead += time;
    }

    pub fn requests(&self) -> Vec<Request> {
        lock(&self.state).requests.clone()
    }

    /// The status and output of a check, as it is now.
    pub fn check(&self, id: &str) -> Option<(String, String)> {
        let mut state = lock(&self.state);
        state.expire();
        let check = state.known.checks.get(id)?;
        Some((check.status.clone(), check.output.clone()))
    }

    /// The status of a check, or nothing.
    pub fn status(&self, id: &str) -> String {
        self.check(id).map(|(status, _)| status).unwrap_or_default()
    }

    pub fn check_ids(&self) -> Vec<String> {
        lock(&self.state).known.checks.keys().cloned().collect()
    }

    pub fn service(&self, id: &str) -> Option<Value> {
        lock(&self.state).known.services.get(id).cloned()
    }
}

// ── HTTP ───────────────────────────────────────────────────────────────────────────────────────

fn serve(stream: &TcpStream, state: &Mutex<State>) {
    let mut reader = BufReader::new(stream);
    while let Some(request) = read(&mut reader) {
        let manner = {
            let mut state = lock(state);
            state.requests.push(request.clone());
            state.manner.clone()
        };
        let (status, text) = match manner {
            Manner::Well => lock(state).answer(&request),
            Manner::Says(status, text) => (status, text.to_owned()),
            Manner::Hangs => {
                // Until the other side has enough of it.
                let _ = reader.read_to_end(&mut Vec::new());
                return;
            }
            Manner::Babbles => {
                let _ = (&mut &*stream).write_all(b"\x00\xffHTTP, what is that?\n");
                return;
            }
        };
        let head = format!(
            "HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n",
            text.len()
        );
        if (&mut &*stream)
            .write_all((head + &text).as_bytes())
            .is_err()
        {
            return;
        }
    }
}

fn read(reader: &mut impl BufRead) -> Option<Request> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader
            .read_line(&mut line)
            .ok()
            .filter(|length| *length > 0)?;
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let mut words = lines.first()?.split(' ').map(str::to_owned);
    let header = |name: &str| {
        let found = lines.iter().filter_map(|line| line.split_once(": "));
        let mut found = found.filter(|(known, _)| known.eq_ignore_ascii_case(name));
        found.next().map(|(_, value)| value.to_owned())
    };
    let length = header("content-length").map_or(0, |text| text.parse().expect("a length"));
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request {
        method: words.next()?,
        target: words.next()?,
        token: header("x-consul-token"),
        body: serde_json::from_slice(&body).unwrap_or_default(),
    })
}

// ── The agent API ──────────────────────────────────────────────────────────────────────────────

impl State {
    fn now(&self) -> Instant {
        clock::monotonic() + self.ahead
    }

    /// What nobody told about in time is critical.
    fn expire(&mut self) {
        let now = self.now();
        for check in self.known.checks.values_mut() {
            if check.ttl.is_some_and(|ttl| now > check.told + ttl) {
                check.status = "critical".into();
                check.output = "TTL expired".into();
            }
        }
    }

    fn answer(&mut self, request: &Request) -> Reply {
        self.expire();
        let (path, query) = request
            .target
            .split_once('?')
            .unwrap_or((&request.target, ""));
        let query: BTreeMap<String, String> = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .map(|(key, value)| (key.to_owned(), decoded(value)))
            .collect();
        if query.contains_key("token") {
            return (400, "a token in the query ends in logs".into());
        }
        if self.token.is_some() && self.token != request.token.as_deref() {
            return (403, "Permission denied".into());
        }
        let Some(path) = path.strip_prefix("/v1/agent/") else {
            return (
                404,
                "Invalid URL path: not a recognized HTTP API endpoint".into(),
            );
        };
        let (operation, id) = split(path);
        let expected = match operation {
            "checks" | "services" | "members" => "GET",
            _ => "PUT",
        };
        if request.method != expected {
            return (405, format!("method {} not allowed", request.method));
        }
        let result = match operation {
            "checks" => Ok(self.checks()),
            "services" => Ok(Value::from(Map::from_iter(self.known.services.clone())).to_string()),
            "members" => Ok(self.members()),
            "check/register" => self.register_check(&request.body),
            "check/deregister" => self.deregister_check(&id),
            "check/pass" => self.tell(&id, "passing", query.get("note")),
            "check/warn" => self.tell(&id, "warning", query.get("note")),
            "check/fail" => self.tell(&id, "critical", query.get("note")),
            "check/update" => self.update(&id, &request.body),
            "service/register" => {
                let replaces = query.contains_key("replace-existing-checks");
                self.register_service(&request.body, replaces)
            }
            "service/deregister" => self.deregister_service(&id),
            "join" => self.join(&id),
            "force-leave" => self.force_leave(&id, query.contains_key("prune")),
            _ => Err((
                404,
                "Invalid URL path: not a recognized HTTP API endpoint".into(),
            )),
        };
        result.map_or_else(|refusal| refusal, |text| (200, text))
    }

    fn checks(&self) -> String {
        let checks = self.known.checks.iter().map(|(id, check)| {
            let shown = json!({
                "Node": "here", "CheckID": id, "Name": check.name, "Status": check.status,
                "Notes": check.notes, "Output": check.output, "ServiceID": check.service,
            });
            (id.clone(), shown)
        });
        Value::from(checks.collect::<Map<_, _>>()).to_string()
    }

    fn members(&self) -> String {
        let members = self.known.members.iter().map(|(name, (status, tags))| {
            json!({"Name": name, "Addr": "10.0.0.1", "Port": 8301, "Status": status, "Tags": tags})
        });
        Value::from(members.collect::<Vec<_>>()).to_string()
    }

    fn register_check(&mut self, body: &Value) -> Result<String, Reply> {
        let service = body["ServiceID"].as_str().unwrap_or_default();
        if !service.is_empty() && !self.known.services.contains_key(service) {
            return Err((500, format!("ServiceID {service:?} does not exist")));
        }
        let (id, check) = check(body, "ID", service, self.now())?;
        self.known.checks.insert(id, check);
        Ok(String::new())
    }

    fn deregister_check(&mut self, id: &str) -> Result<String, Reply> {
        match self.known.checks.remove(id) {
            Some(_) => Ok(String::new()),
            None => Err((404, format!("Unknown check ID {id:?}"))),
        }
    }

    fn tell(&mut self, id: &str, status: &str, note: Option<&String>) -> Result<String, Reply> {
        let now = self.now();
        let check = self
            .known
            .checks
            .get_mut(id)
            .filter(|check| check.ttl.is_some());
        let Some(check) = check else {
            return Err((404, format!("Unknown check ID {id:?}")));
        };
        check.status = status.to_owned();
        check.output = note.cloned().unwrap_or_default();
        check.told = now;
        Ok(String::new())
    }

    fn update(&mut self, id: &str, body: &Value) -> Result<String, Reply> {
        only(body, &["Status", "Output"])?;
        let status = body["Status"].as_str().unwrap_or_default();
        if !["passing", "warning", "critical"].contains(&status) {
            return Err(bad(&format!("Invalid check status: {status:?}")));
        }
        let output = body["Output"].as_str().unwrap_or_default().to_owned();
        self.tell(id, status, Some(&output))
    }

    fn register_service(&mut self, body: &Value, replaces: bool) -> Result<String, Reply> {
        only(
            body,
            &[
                "ID", "Name", "Address", "Port", "Tags", "Meta", "Check", "Checks",
            ],
        )?;
        let name = text(body, "Name")?;
        let id = body["ID"].as_str().unwrap_or(&name).to_owned();
        if body.get("Port").is_some_and(|port| !port.is_u64()) {
            return Err(bad("Port: expected a number"));
        }
        let checks = body["Checks"]
            .as_array()
            .into_iter()
            .flatten()
            .chain(body.get("Check"));
        let checks: Result<Vec<_>, _> = checks
            .map(|one| check(one, "CheckID", &id, self.now()))
            .collect();
        let checks = checks?;
        if replaces {
            self.known.checks.retain(|_, check| check.service != id);
        }
        self.known.checks.extend(checks);
        let service = json!({
            "ID": id, "Service": name, "Tags": body["Tags"], "Meta": body["Meta"],
            "Port": body["Port"].as_u64().unwrap_or(0),
            "Address": body["Address"].as_str().unwrap_or_default(),
        });
        self.known.services.insert(id, service);
        Ok(String::new())
    }

    fn deregister_service(&mut self, id: &str) -> Result<String, Reply> {
        if self.known.services.remove(id).is_none() {
            return Err((404, format!("Unknown service ID {id:?}")));
        }
        self.known.checks.retain(|_, check| check.service != id);
        Ok(String::new())
    }

    fn join(&mut self, address: &str) -> Result<String, Reply> {
        let member = (1, json!({"role": "node"}));
        self.known.members.insert(address.to_owned(), member);
        Ok(String::new())
    }

    fn force_leave(&mut self, node: &str, prunes: bool) -> Result<String, Reply> {
        match self.known.members.get_mut(node) {
            None => return Err((500, format!("agent: No node found with name '{node}'"))),
            Some(_) if prunes => _ = self.known.members.remove(node),
            Some((status, _)) => *status = 3,
        }
        Ok(String::new())
    }
}

/// An operation of one word or two, and the rest, decoded.
fn split(path: &str) -> (&str, String) {
    let words = if path.starts_with("check/") || path.starts_with("service/") {
        2
    } else {
        1
    };
    let ends = path.match_indices('/').map(|(end, _)| end);
    let end = ends
        .chain([path.len()])
        .nth(words - 1)
        .unwrap_or(path.len());
    let rest = path[end..].trim_start_matches('/');
    assert!(!rest.contains('/'), "{path}: an id that is not encoded");
    (&path[..end], decoded(rest))
}

fn decoded(text: &str) -> String {
    percent_decode_str(text)
        .decode_utf8()
        .expect("UTF-8")
        .into_owned()
}

fn bad(text: &str) -> Reply {
    (400, text.to_owned())
}

fn text(body: &Value, key: &str) -> Result<String, Reply> {
    let text = body[key].as_str().filter(|text| !text.is_empty());
    text.map(str::to_owned)
        .ok_or_else(|| bad(&format!("Missing {key}")))
}

/// No key that is not documented.
fn only(body: &Value, keys: &[&str]) -> Result<(), Reply> {
    let body = body.as_object().ok_or_else(|| bad("expected an object"))?;
    match body.keys().find(|key| !keys.contains(&key.as_str())) {
        Some(key) => Err(bad(&format!("unknown key {key}"))),
        None => Ok(()),
    }
}

/// A check of exactly one kind.
fn check(body: &Value, id: &str, service: &str, now: Instant) -> Result<(String, Check), Reply> {
    let kinds = ["TTL", "HTTP", "TCP", "Args"];
    let others = [
        id,
        "Name",
        "Notes",
        "ServiceID",
        "Interval",
        "Status",
        "DeregisterCriticalServiceAfter",
    ];
    only(body, &[&kinds[..], &others].concat())?;
    let named: Vec<&str> = kinds
        .into_iter()
        .filter(|kind| body.get(kind).is_some())
        .collect();
    let [kind] = named[..] else {
        return Err(bad("expected one of TTL, HTTP, TCP and Args"));
    };
    if (kind == "TTL") == body.get("Interval").is_some() {
        return Err(bad(
            "Interval: expected beside HTTP, TCP and Args, and only there",
        ));
    }
    for key in ["TTL", "Interval", "DeregisterCriticalServiceAfter"] {
        if body.get(key).is_some() {
            let duration = go_duration(&text(body, key)?).ok_or_else(|| bad(key))?;
            let least = if key.starts_with("Dereg") { 60 } else { 1 };
            if duration < Duration::from_secs(least) {
                return Err(bad(key));
            }
        }
    }
    if kind == "Args"
        && !body["Args"]
            .as_array()
            .is_some_and(|words| words.iter().all(Value::is_string))
    {
        return Err(bad("Args: expected a list of strings"));
    }
    let name = text(body, "Name")?;
    let check_id = body[id].as_str().unwrap_or(&name).to_owned();
    let check = Check {
        name,
        notes: body["Notes"].as_str().unwrap_or_default().to_owned(),
        service: service.to_owned(),
        status: body["Status"].as_str().unwrap_or("critical").to_owned(),
        output: String::new(),
        ttl: body["TTL"].as_str().and_then(go_duration),
        told: now,
    };
    Ok((check_id, check))
}

fn go_duration(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at(text.find(char::is_alphabetic)?);
    let unit = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        _ => return None,
    };
    Some(Duration::from_millis(number.parse::<u64>().ok()? * unit))
}
