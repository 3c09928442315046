//! The way to Consul: one request at a time by ureq, with the token in its header. It holds no state
//! and never tries again. A running agent has a thread of its own for it.

use std::io::{self, Read};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};

use ureq::Agent;
use ureq::http::header::CONTENT_TYPE;
use ureq::http::{HeaderName, HeaderValue, Request as HttpRequest};

use super::request::{Answer, Method, Request};
use crate::config::consul::Endpoint;
use crate::outbound::{self, Place, STACK_SIZE, Timeouts, failure};

/// Consul's agent runs on this machine or close by: what takes longer has failed.
const TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_secs(3),
    request: Duration::from_secs(10),
};

/// A node with thousands of checks answers with a megabyte or two.
const MAX_ANSWER: u64 = 8 * 1024 * 1024;

/// The header that carries the token.
const TOKEN: &str = "x-consul-token";

const PLACE: Place = Place {
    address: "consul.address",
    tls: "consul.tls",
    closed: "check that consul.address is Consul's",
    proxy: None,
};

/// Makes requests of one Consul agent.
pub struct Client {
    agent: Agent,
    address: String,
    datacenter: Option<String>,
    token: Option<HeaderValue>,
}

impl Client {
    pub fn new(endpoint: &Endpoint) -> io::Result<Self> {
        let token = endpoint.token.as_ref();
        let token = token.map(|token| outbound::secret_header(TOKEN, token.expose()));
        let config = outbound::config(1, TIMEOUTS).build();
        Ok(Client {
            agent: outbound::agent(config, 1, endpoint.tls.as_ref()),
            address: endpoint.address.clone(),
            datacenter: endpoint.datacenter.clone(),
            token: token.transpose()?,
        })
    }

    /// What came of a request, whatever happens; `Err` says why there is no answer.
    pub fn ask(&self, request: Request) -> Result<Answer, String> {
        outbound::guarded(|| self.exchange(request)).unwrap_or_else(Err)
    }

    fn exchange(&self, request: Request) -> Result<Answer, String> {
        let failed = |error: &ureq::Error| failure::reason(error, &PLACE);
        let request = request.in_datacenter(self.datacenter.as_deref());
        let url = format!("{}{}", self.address, request.target);
        let builder = match request.method {
            Method::Get => HttpRequest::get(url),
            Method::Put => HttpRequest::put(url).header(CONTENT_TYPE, "application/json"),
        };
        let body = request.body.unwrap_or_default();
        let mut built = builder.body(body).map_err(|error| failed(&error.into()))?;
        if let Some(token) = &self.token {
            let name = HeaderName::from_static(TOKEN);
            built.headers_mut().insert(name, token.clone());
        }
        let answer = match request.method {
            Method::Get => self.agent.run(built.map(|_| ())),
            Method::Put => self.agent.run(built),
        };
        let (head, mut body) = answer.map_err(|error| failed(&error))?.into_parts();
        let mut bytes = Vec::new();
        body.as_reader()
            .take(MAX_ANSWER)
            .read_to_end(&mut bytes)
            .map_err(|error| failed(&error.into()))?;
        Ok(Answer {
            status: head.status.as_u16(),
            body: bytes,
        })
    }
}

/// What came of a request.
pub type Answered = Result<Answer, String>;

/// A thread that makes requests. Dropped, it lets the thread end once it is idle, and waits for nothing.
pub struct Courier {
    requests: Sender<Request>,
}

impl Courier {
    /// Calls `notify` with what came of each request.
    pub fn start(
        endpoint: &Endpoint,
        notify: impl Fn(Answered) + Send + 'static,
    ) -> io::Result<Self> {
        let client = Client::new(endpoint)?;
        let (requests, queue) = bounded::<Request>(1);
        thread::Builder::new()
            .name("leek-consul".to_owned())
            .stack_size(STACK_SIZE)
            .spawn(move || {
                for request in &queue {
                    notify(client.ask(request));
                }
            })?;
        Ok(Courier { requests })
    }

    /// Hands a request over; never blocks. One may be under way: a second one is given back.
    pub fn submit(&self, request: Request) -> Result<(), Request> {
        self.requests
            .try_send(request)
            .map_err(|refused| refused.into_inner())
    }
}
