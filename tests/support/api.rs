//! A Leek API that does what it is told: answers as the real one, refuses, hangs, breaks off.
//!
//! It keeps every request, so that a test can ask what arrived, when and how often. "Stored" means
//! that the agent was told so: a document counts only once its 201 (or its place in a partial
//! refusal) has been written to the socket. The one exception is called [`Answer::Unsaid`].

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use leek_agent::clock;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use super::certs::{Authority, Pair, server_config};
use super::keeper::lock;
use super::publisher::uuid;
use super::wait::wait_until;

/// No request head of the agent comes near this.
const MAX_HEAD: u64 = 64 * 1024;

/// One request as it arrived.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    pub path: String,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The documents of a POST.
    pub documents: Vec<Value>,
    /// Bytes of the body.
    pub bytes: usize,
    pub at: Instant,
    /// How many POSTs arrived before this one.
    pub number: usize,
}

impl Request {
    /// True if a document with this `id` is among them.
    pub fn names(&self, id: &str) -> bool {
        self.documents.iter().any(|document| document["id"] == id)
    }
}

/// What the API does with a request.
#[derive(Debug, Clone)]
pub enum Answer {
    /// 201: all documents are stored.
    Stored,
    /// 400: the named documents are refused, the others are stored. 201 where none is among them.
    Partial(Vec<String>),
    /// Any status with any body; nothing is stored.
    Status(u16, Value),
    /// The same with a header and a body that is not JSON.
    Raw {
        status: u16,
        header: (&'static str, String),
        body: String,
    },
    /// Never answers.
    Hang,
    /// Breaks off in the middle of a 201; nothing counts as stored.
    Cut,
    /// Closes the connection without a word.
    Close,
    /// Stores all documents, but says no more than this and closes.
    Unsaid(Vec<u8>),
    /// Whatever these bytes say, then closes.
    Bytes(Vec<u8>),
}

impl Answer {
    /// 503 as Leek's API gives it while its search backend is down.
    pub fn unavailable() -> Answer {
        error(503, "503001", "Elasticsearch is unavailable")
    }

    /// 401: wrong application key.
    pub fn wrong_key() -> Answer {
        error(401, "401001", "Wrong application key")
    }

    /// 413 of a proxy in front of the API.
    pub fn too_large() -> Answer {
        Answer::html(413, "<h1>413 Request Entity Too Large</h1>")
    }

    /// 429 with the time to wait.
    pub fn slow_down(seconds: u32) -> Answer {
        Answer::Raw {
            status: 429,
            header: ("retry-after", seconds.to_string()),
            body: String::new(),
        }
    }

    /// What a hotel's network answers instead of the API.
    pub fn captive_portal() -> Answer {
        Answer::Raw {
            status: 302,
            header: ("location", "http://login.hotel.example/".to_owned()),
            body: "<html>Please sign in</html>".to_owned(),
        }
    }

    /// A web page where an API should be.
    pub fn html(status: u16, page: &str) -> Answer {
        Answer::Raw {
            status,
            header: ("content-type", "text/html".to_owned()),
            body: page.to_owned(),
        }
    }
}

/// An error as Leek's API words it.
pub fn error(status: u16, code: &str, message: &str) -> Answer {
    let error = json!({"code": code, "message": message, "reason": message});
    Answer::Status(status, json!({"error": error}))
}

type Script = Arc<dyn Fn(&Request) -> Answer + Send + Sync>;

/// The running API. Dropping it lets nobody new in; its connections end with their clients.
pub struct FakeApi {
    address: SocketAddr,
    tls: Option<Arc<ServerConfig>>,
    state: Arc<State>,
}

/// How closely bodies are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    Documents,
    /// Of each document its `id` and `events_count` only.
    Outlines,
    CountOnly,
    Nothing,
}

fn any_port() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").expect("a free port")
}

struct State {
    posts: Mutex<Script>,
    gets: Mutex<Script>,
    requests: Mutex<Vec<Request>>,
    stored: Mutex<Vec<Value>>,
    under_way: AtomicUsize,
    most_under_way: AtomicUsize,
    /// Documents are counted, not read: for measurements, where reading them would cost more
    /// than the agent itself does.
    reading: Reading,
    counted: AtomicUsize,
    ended: AtomicBool,
}

impl FakeApi {
    /// Listens on a free port: 200 to every GET, 201 to every POST.
    pub fn start() -> FakeApi {
        FakeApi::serving(any_port(), None, Reading::Documents)
    }

    /// The same, but it knows no more of the documents than [`FakeApi::counted`].
    pub fn start_counting() -> FakeApi {
        FakeApi::serving(any_port(), None, Reading::CountOnly)
    }

    /// The same, but it looks at no body.
    pub fn start_discarding() -> FakeApi {
        FakeApi::serving(any_port(), None, Reading::Nothing)
    }

    /// The same, but of each document it keeps no more than `id` and `events_count`.
    pub fn start_outlining() -> FakeApi {
        FakeApi::serving(any_port(), None, Reading::Outlines)
    }

    /// The same in TLS: shows `server`, and with `clients` wants a certificate of that authority.
    pub fn start_tls(server: &Pair, clients: Option<&Authority>) -> FakeApi {
        FakeApi::start_on(any_port(), Some(server_config(server, clients)))
    }

    /// The same on a socket of the caller's.
    pub fn start_on(listener: TcpListener, tls: Option<Arc<ServerConfig>>) -> FakeApi {
        FakeApi::serving(listener, tls, Reading::Documents)
    }

    fn serving(listener: TcpListener, tls: Option<Arc<ServerConfig>>, reading: Reading) -> FakeApi {
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(State {
            posts: Mutex::new(Arc::new(|_: &Request| Answer::Stored)),
            gets: Mutex::new(Arc::new(|_: &Request| Answer::Status(200, json!({})))),
            requests: Mutex::default(),
            stored: Mutex::default(),
            under_way: AtomicUsize::new(0),
            most_under_way: AtomicUsize::new(0),
            reading,
            counted: AtomicUsize::new(0),
            ended: AtomicBool::new(false),
        });
        let (shared, config) = (Arc::clone(&state), tls.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if shared.ended.load(Ordering::SeqCst) {
                    break;
                }
                let (state, config) = (Arc::clone(&shared), config.clone());
                std::thread::spawn(move || match config {
                    None => serve(stream, &state),
                    Some(config) => serve(in_tls(stream, config), &state),
                });
            }
        });
        FakeApi {
            address,
            tls,
            state,
        }
    }

    /// What a subscription calls `api_url`.
    pub fn url(&self) -> String {
        match self.tls {
            None => format!("http://{}", self.address),
            // A name that certificates have.
            Some(_) => format!("https://localhost:{}", self.address.port()),
        }
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// From now on POSTs are answered by `script`.
    pub fn answer(&self, script: impl Fn(&Request) -> Answer + Send + Sync + 'static) {
        *lock(&self.state.posts) = Arc::new(script);
    }

    /// From now on every POST gets `answer`.
    pub fn always(&self, answer: Answer) {
        self.answer(move |_| answer.clone());
    }

    /// From now on the health check (GET) gets `answer`.
    pub fn health(&self, answer: Answer) {
        *lock(&self.state.gets) = Arc::new(move |_: &Request| answer.clone());
    }

    /// Every POST so far, whatever it was answered.
    pub fn posts(&self) -> Vec<Request> {
        let requests = lock(&self.state.requests);
        let posts = requests.iter().filter(|request| request.method == "POST");
        posts.cloned().collect()
    }

    /// How many POSTs arrived so far.
    pub fn post_count(&self) -> usize {
        let requests = lock(&self.state.requests);
        let posts = requests.iter().filter(|request| request.method == "POST");
        posts.count()
    }

    /// Every GET so far.
    pub fn gets(&self) -> Vec<Request> {
        let requests = lock(&self.state.requests);
        let gets = requests.iter().filter(|request| request.method == "GET");
        gets.cloned().collect()
    }

    /// Every document that the agent was told is stored.
    pub fn stored(&self) -> Vec<Value> {
        lock(&self.state.stored).clone()
    }

    /// How many documents the agent was told are stored, whatever their ids.
    pub fn stored_count(&self) -> usize {
        lock(&self.state.stored).len()
    }

    /// How many stored events each id has: the sum of `events_count`.
    pub fn events_by_id(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for document in lock(&self.state.stored).iter() {
            let id = document["id"].as_str().expect("a document has an id");
            let events = document["events_count"].as_u64().expect("and a count");
            *counts.entry(id.to_owned()).or_default() += events;
        }
        counts
    }

    /// How many documents came, for an API that only counts.
    pub fn counted(&self) -> usize {
        self.state.counted.load(Ordering::SeqCst)
    }

    /// How many different ids are stored.
    pub fn ids(&self) -> usize {
        let stored = lock(&self.state.stored);
        let ids = stored.iter().map(|document| document["id"].as_str());
        ids.collect::<BTreeSet<_>>().len()
    }

    /// The largest number of POSTs that were open at once.
    pub fn most_at_once(&self) -> usize {
        self.state.most_under_way.load(Ordering::SeqCst)
    }

    /// Waits until `count` different ids are stored.
    #[track_caller]
    pub fn wait_ids(&self, limit: Duration, count: usize) {
        wait_until(
            limit,
            &format!("{count} different documents stored"),
            || self.ids() >= count,
        );
    }

    /// Each of the events numbered `numbers` is stored at least once.
    #[track_caller]
    pub fn assert_nothing_missing(&self, numbers: impl IntoIterator<Item = usize>) {
        let counts = self.events_by_id();
        let missing: Vec<usize> = numbers
            .into_iter()
            .filter(|number| !counts.contains_key(&uuid(*number)))
            .collect();
        let some = &missing[..missing.len().min(10)];
        assert!(missing.is_empty(), "{} missing: {some:?}", missing.len());
    }

    /// Each of the events numbered `numbers` is stored exactly once, and nothing else.
    #[track_caller]
    pub fn assert_exactly_once(&self, numbers: impl IntoIterator<Item = usize>) {
        let mut counts = self.events_by_id();
        for number in numbers {
            let times = counts.remove(&uuid(number)).unwrap_or(0);
            assert_eq!(times, 1, "event {number} was stored {times} times");
        }
        assert!(counts.is_empty(), "stored, but never sent: {counts:?}");
    }
}

impl Drop for FakeApi {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::SeqCst);
        // So that it looks.
        let _ = TcpStream::connect(self.address);
    }
}

fn in_tls(stream: TcpStream, config: Arc<ServerConfig>) -> impl Read + Write {
    StreamOwned::new(ServerConnection::new(config).expect("a connection"), stream)
}

fn serve(stream: impl Read + Write, state: &State) {
    let mut reader = BufReader::new(stream);
    // A broken connection is the agent's affair: it may have been killed.
    while let Ok(Some(request)) = read_request(&mut reader, state) {
        let is_post = request.method == "POST";
        let request = record(state, request);
        let script = Arc::clone(&lock(if is_post { &state.posts } else { &state.gets }));
        if is_post {
            let now = state.under_way.fetch_add(1, Ordering::SeqCst) + 1;
            state.most_under_way.fetch_max(now, Ordering::SeqCst);
        }
        let result = give(reader.get_mut(), state, &request, script(&request));
        if is_post {
            state.under_way.fetch_sub(1, Ordering::SeqCst);
        }
        if result.is_err() {
            break;
        }
    }
}

fn record(state: &State, mut request: Request) -> Request {
    let mut requests = lock(&state.requests);
    let earlier = requests.iter().filter(|one| one.method == request.method);
    request.number = earlier.count();
    requests.push(request.clone());
    request
}

/// Reads one request; `None` where the client closed in between.
fn read_request(reader: &mut impl BufRead, state: &State) -> io::Result<Option<Request>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let read = reader
            .by_ref()
            .take(MAX_HEAD)
            .read_until(b'\n', &mut head)?;
        if read == 0 {
            return Ok(None);
        }
    }
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut parsed = httparse::Request::new(&mut headers);
    parsed.parse(&head).map_err(io::Error::other)?;
    let headers: BTreeMap<String, String> = parsed
        .headers
        .iter()
        .map(|header| {
            let value = String::from_utf8_lossy(header.value).into_owned();
            (header.name.to_ascii_lowercase(), value)
        })
        .collect();
    let length = headers.get("content-length").map_or("0", String::as_str);
    let mut body = vec![0; length.parse().map_err(io::Error::other)?];
    reader.read_exact(&mut body)?;
    Ok(Some(Request {
        method: parsed.method.unwrap_or("").to_owned(),
        path: parsed.path.unwrap_or("").to_owned(),
        bytes: body.len(),
        documents: state.documents(&body),
        headers,
        at: clock::monotonic(),
        number: 0,
    }))
}

impl State {
    /// A body that is no list of documents has none; tests see that by the count.
    fn documents(&self, body: &[u8]) -> Vec<Value> {
        if self.reading == Reading::CountOnly {
            let count = body.windows(EACH.len()).filter(|part| *part == EACH);
            self.counted.fetch_add(count.count(), Ordering::SeqCst);
            return Vec::new();
        }
        if self.reading == Reading::Nothing {
            return Vec::new();
        }
        let mut documents: Vec<Value> = serde_json::from_slice(body).unwrap_or_default();
        if self.reading == Reading::Outlines {
            for document in &mut documents {
                *document = outline(document);
            }
        }
        documents
    }
}

fn outline(document: &Value) -> Value {
    json!({"id": document["id"], "events_count": document["events_count"]})
}

/// Stands once in each document.
const EACH: &[u8] = b"\"events_count\":";

/// Carries out `answer`; an error ends the connection.
fn give(
    stream: &mut (impl Read + Write),
    state: &State,
    request: &Request,
    answer: Answer,
) -> io::Result<()> {
    let json = ("content-type", "application/json".to_owned());
    let (status, header, body, kept) = match answer {
        Answer::Stored => {
            let count = request.documents.len();
            (
                201,
                json,
                json!({"success": count}).to_string(),
                Some(BTreeSet::new()),
            )
        }
        Answer::Partial(ids) if !ids.iter().any(|id| request.names(id)) => {
            return give(stream, state, request, Answer::Stored);
        }
        Answer::Partial(ids) => {
            let refused: BTreeSet<String> = ids.into_iter().collect();
            (400, json, refusals(request, &refused), Some(refused))
        }
        Answer::Status(status, body) => (status, json, body.to_string(), None),
        Answer::Raw {
            status,
            header,
            body,
        } => (status, header, body, None),
        Answer::Hang => {
            // Until the agent gives up and closes.
            io::copy(stream, &mut io::sink())?;
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Answer::Cut => {
            stream.write_all(b"HTTP/1.1 201 CREATED\r\ncontent-le")?;
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Answer::Close => return Err(io::ErrorKind::ConnectionAborted.into()),
        Answer::Unsaid(words) => {
            store(state, request, &BTreeSet::new());
            stream.write_all(&words)?;
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Answer::Bytes(bytes) => {
            stream.write_all(&bytes)?;
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
    };
    if let Some(refused) = kept {
        store(state, request, &refused);
    }
    let length = body.len();
    let (name, value) = header;
    let head =
        format!("HTTP/1.1 {status} X\r\n{name}: {value}\r\ncontent-length: {length}\r\n\r\n");
    stream.write_all((head + &body).as_bytes())
}

fn store(state: &State, request: &Request, refused: &BTreeSet<String>) {
    let kept = request.documents.iter().filter(|document| {
        let id = document["id"].as_str().unwrap_or("");
        !refused.contains(id)
    });
    lock(&state.stored).extend(kept.cloned());
}

/// The body of a partial refusal, as Leek's bulk indexing gives it.
fn refusals(request: &Request, refused: &BTreeSet<String>) -> String {
    let error = json!({"type": "mapper_parsing_exception", "reason": "failed to parse field"});
    let errors: Vec<Value> = refused
        .iter()
        .filter(|id| request.names(id))
        .map(|id| {
            let index = "mono-shop";
            json!({"update": {"_index": index, "_id": id, "status": 400, "error": error}})
        })
        .collect();
    let stored = request.documents.len() - errors.len();
    json!({"success": stored, "failed": errors.len(), "errors": errors}).to_string()
}
