//! The uploaders: threads in which ureq blocks, one request in flight each.
//!
//! They keep no state and never retry: a job goes in, a report comes out, and the pipeline decides.
//! A subscription's threads share one ureq agent, so that connections (and TLS sessions) live on
//! between batches.

use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;
use std::thread;

use crossbeam_channel::{Sender, TrySendError, bounded};
use ureq::http::header::{CONTENT_TYPE, DATE, PROXY_AUTHORIZATION, RETRY_AFTER};
use ureq::http::request::Builder;
use ureq::http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Uri};
use ureq::{Agent, AsSendBody, Proxy as UreqProxy, ProxyProtocol};

use crate::clock;
use crate::config::Subscription;
use crate::config::proxy::Proxy;
use crate::document::Body;
use crate::outbound::{self, Place, STACK_SIZE, failure};
use crate::pipeline::verdict::{Answer, MAX_ANSWER, Verdict, classify, classify_probe};
use crate::secret::Secret;
use crate::tls::ClientTls;

pub use crate::outbound::Timeouts;

/// Where a subscription's documents go, and as whom.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Its name, for logs.
    pub subscription: String,
    /// `http://` or `https://`, path prefix kept, without a trailing slash.
    pub api_url: String,
    pub app_key: Secret,
    pub org_name: String,
    pub app_name: String,
    pub app_env: String,
    /// For an https address.
    pub tls: Option<ClientTls>,
    pub proxy: Option<Proxy>,
}

impl Endpoint {
    /// Where a subscription's documents go.
    pub fn of(subscription: &Subscription) -> Self {
        Endpoint {
            subscription: subscription.name.clone(),
            api_url: subscription.api_url.clone(),
            app_key: subscription.app_key.clone(),
            org_name: subscription.org_name.clone(),
            app_name: subscription.app_name.clone(),
            app_env: subscription.app_env.clone(),
            tls: subscription.api_tls.clone(),
            proxy: subscription.proxy.clone(),
        }
    }
}

/// One request.
#[derive(Debug)]
pub enum Job {
    /// Does the API answer? `GET {api_url}/v1/events/process` must give 200.
    Probe,
    /// One batch: a JSON list of documents.
    Post { id: u64, body: PostBody },
}

/// What is posted: a whole batch as it was sealed, without a copy, or some of its documents.
#[derive(Debug, Clone)]
pub enum PostBody {
    Whole(Arc<Body>),
    Part(Vec<u8>),
}

impl PostBody {
    /// Those documents of `body`.
    pub fn new(body: Arc<Body>, documents: Range<usize>) -> Self {
        if documents == (0..body.documents()) {
            PostBody::Whole(body)
        } else {
            PostBody::Part(body.slice(documents))
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            PostBody::Whole(body) => body.bytes(),
            PostBody::Part(bytes) => bytes,
        }
    }
}

/// What became of a [`Job`]: exactly one for each.
#[derive(Debug, PartialEq, Eq)]
pub enum Report {
    Probed(Result<(), Verdict>),
    Posted { id: u64, verdict: Verdict },
}

/// A subscription's uploader threads. Dropped, it lets each end once it is idle, and waits for none.
pub struct Uploader {
    jobs: Sender<Job>,
    notify: Box<dyn Fn(Report) + Send + Sync>,
}

impl Uploader {
    /// Starts `threads` threads that post to `endpoint` and call `notify` with each report.
    pub fn start(
        endpoint: &Endpoint,
        threads: usize,
        notify: impl Fn(Report) + Send + Sync + Clone + 'static,
    ) -> io::Result<Self> {
        Self::start_with(endpoint, threads, Timeouts::default(), notify)
    }

    /// As [`Uploader::start`], with other timeouts.
    pub fn start_with(
        endpoint: &Endpoint,
        threads: usize,
        timeouts: Timeouts,
        notify: impl Fn(Report) + Send + Sync + Clone + 'static,
    ) -> io::Result<Self> {
        let courier = Courier::new(endpoint, threads, timeouts)?;
        let (jobs, queue) = bounded(threads);
        for _ in 0..threads {
            let (courier, queue, notify) = (courier.clone(), queue.clone(), notify.clone());
            thread::Builder::new()
                .name("leek-upload".to_owned())
                .stack_size(STACK_SIZE)
                .spawn(move || queue.iter().for_each(|job| notify(courier.run(job))))?;
        }
        Ok(Uploader {
            jobs,
            notify: Box::new(notify),
        })
    }

    /// Hands a job over; never blocks. At most as many jobs may be outstanding as there are threads:
    /// one too many is reported at once, as if the API had not been reached.
    pub fn submit(&self, job: Job) {
        if let Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) =
            self.jobs.try_send(job)
        {
            let verdict = no_answer("no uploader is free: more requests than uploaders".to_owned());
            (self.notify)(job.report(verdict));
        }
    }
}

impl Job {
    /// The report of a job that did not succeed.
    fn report(self, verdict: Verdict) -> Report {
        match self {
            Job::Probe => Report::Probed(Err(verdict)),
            Job::Post { id, .. } => Report::Posted { id, verdict },
        }
    }
}

/// Makes the requests of one subscription. Clones share their connections.
#[derive(Clone)]
struct Courier {
    agent: Agent,
    uri: Uri,
    headers: HeaderMap,
    place: Place,
}

/// An answer as it was read.
struct Received {
    status: u16,
    retry_after: Option<String>,
    date: Option<String>,
    content_type: Option<String>,
    body: Vec<u8>,
}

impl Courier {
    fn new(endpoint: &Endpoint, threads: usize, timeouts: Timeouts) -> io::Result<Self> {
        let url = format!(
            "{}/v1/events/process",
            endpoint.api_url.trim_end_matches('/')
        );
        let uri: Uri = url
            .parse()
            .map_err(|_| invalid("api_url: expected a URL"))?;
        Ok(Courier {
            agent: agent(endpoint, &uri, threads, timeouts)?,
            uri,
            headers: headers(endpoint)?,
            place: Place {
                address: "api_url",
                tls: "api_tls",
                closed: "check that api_url is the Leek API's; if only large batches fail, a proxy limits their size",
                proxy: endpoint.proxy.as_ref().map(|proxy| proxy.variable),
            },
        })
    }

    /// Does a job, whatever happens: a panic inside it (in ureq, in TLS) counts as no answer. The
    /// body is given back before the report goes out.
    fn run(&self, job: Job) -> Report {
        match job {
            Job::Probe => Report::Probed(guarded(|| self.probe()).unwrap_or_else(Err)),
            Job::Post { id, body } => {
                let verdict =
                    guarded(|| self.post(body.bytes())).unwrap_or_else(|panicked| panicked);
                Report::Posted { id, verdict }
            }
        }
    }

    fn probe(&self) -> Result<(), Verdict> {
        let received = self.exchange(Request::get(&self.uri), ())?;
        classify_probe(&received.answer(), clock::wall_ms())
    }

    fn post(&self, body: &[u8]) -> Verdict {
        let request = Request::post(&self.uri).header(CONTENT_TYPE, "application/json");
        match self.exchange(request, body) {
            Ok(received) => classify(&received.answer(), clock::wall_ms()),
            Err(no_answer) => no_answer,
        }
    }

    fn exchange(&self, request: Builder, body: impl AsSendBody) -> Result<Received, Verdict> {
        let failed = |error: &ureq::Error| failed(error, &self.place);
        let mut request = request.body(body).map_err(|error| failed(&error.into()))?;
        request.headers_mut().extend(self.headers.clone());
        let response = self.agent.run(request).map_err(|error| failed(&error))?;
        Received::read(response).map_err(|error| failed(&error))
    }
}

impl Received {
    /// Reads an answer to its end, or to [`MAX_ANSWER`]: a longer one closes its connection.
    fn read(response: Response<ureq::Body>) -> Result<Self, ureq::Error> {
        let (head, mut body) = response.into_parts();
        let header = |name| head.headers.get(name)?.to_str().ok().map(str::to_owned);
        let mut received = Received {
            status: head.status.as_u16(),
            retry_after: header(RETRY_AFTER),
            date: header(DATE),
            content_type: header(CONTENT_TYPE),
            body: Vec::new(),
        };
        let read = body
            .as_reader()
            .take(MAX_ANSWER as u64)
            .read_to_end(&mut received.body);
        match read {
            // Only a 400 is understood by its body: half of one must not condemn a batch.
            Err(error) if received.status == 400 => Err(error.into()),
            _ => Ok(received),
        }
    }

    fn answer(&self) -> Answer<'_> {
        Answer {
            status: self.status,
            retry_after: self.retry_after.as_deref(),
            date: self.date.as_deref(),
            content_type: self.content_type.as_deref(),
            body: &self.body,
        }
    }
}

/// Nothing of it comes from the environment: what there is to know was configured.
fn agent(endpoint: &Endpoint, uri: &Uri, threads: usize, timeouts: Timeouts) -> io::Result<Agent> {
    let proxy = endpoint.proxy.as_ref().map(for_ureq).transpose()?;
    let is_https = uri.scheme_str() == Some("https");
    let (forward, tunnel) = match is_https {
        true => (None, proxy),
        false => (proxy, None),
    };
    let config = outbound::config(threads, timeouts).proxy(tunnel).build();
    let tls = endpoint.tls.as_ref();
    Ok(match (forward, uri.authority()) {
        (Some(proxy), Some(authority)) => {
            let origin = format!("http://{authority}");
            outbound::forwarding_agent(config, threads, origin, proxy.uri().clone())
        }
        _ => outbound::agent(config, threads, tls),
    })
}

fn for_ureq(proxy: &Proxy) -> io::Result<UreqProxy> {
    let host = match proxy.host.contains(':') {
        true => format!("[{}]", proxy.host),
        false => proxy.host.clone(),
    };
    let mut builder = UreqProxy::builder(ProxyProtocol::Http)
        .host(&host)
        .port(proxy.port);
    if let Some(login) = &proxy.credentials {
        builder = builder
            .username(login.user.expose())
            .password(login.password.expose());
    }
    // The error may quote the credentials.
    builder
        .build()
        .map_err(|_| invalid(&format!("{}: expected a proxy's URL", proxy.variable)))
}

/// The headers by which the API knows an agent and its application.
fn headers(endpoint: &Endpoint) -> io::Result<HeaderMap> {
    let version = env!("CARGO_PKG_VERSION");
    let fields = [
        ("x-requested-with", "leek-agent"),
        ("x-agent-version", version),
        ("x-leek-org-name", &endpoint.org_name),
        ("x-leek-app-name", &endpoint.app_name),
        ("x-leek-app-key", endpoint.app_key.expose()),
        ("x-leek-app-env", &endpoint.app_env),
    ];
    let mut headers: HeaderMap = fields.into_iter().map(header).collect::<io::Result<_>>()?;
    headers.extend(proxy_header(endpoint)?);
    Ok(headers)
}

/// What a proxy that forwards http wants to know. For https it reads CONNECT only, and what is sent
/// to the API is none of its business.
fn proxy_header(endpoint: &Endpoint) -> io::Result<Option<(HeaderName, HeaderValue)>> {
    let proxy = endpoint.proxy.as_ref();
    let login = proxy.and_then(|proxy| proxy.credentials.as_ref());
    let Some(login) = login.filter(|_| endpoint.api_url.starts_with("http://")) else {
        return Ok(None);
    };
    let pair = format!("{}:{}", login.user.expose(), login.password.expose());
    let value = outbound::basic_header("proxy-authorization", &pair)?;
    Ok(Some((PROXY_AUTHORIZATION, value)))
}

fn header((name, value): (&'static str, &str)) -> io::Result<(HeaderName, HeaderValue)> {
    let mut value = HeaderValue::from_str(value)
        .map_err(|_| invalid(&format!("{name}: expected visible ascii characters")))?;
    value.set_sensitive(name == "x-leek-app-key");
    Ok((HeaderName::from_static(name), value))
}

fn invalid(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message.to_owned())
}

fn guarded<T>(request: impl FnOnce() -> T) -> Result<T, Verdict> {
    outbound::guarded(request).map_err(no_answer)
}

fn failed(error: &ureq::Error, place: &Place) -> Verdict {
    let reason = failure::reason(error, place);
    match failure::refused_by_proxy(error) {
        // As where the proxy answers a request itself.
        Some(status @ (401 | 407)) => Verdict::NotLeek { status, reason },
        _ => no_answer(reason),
    }
}

fn no_answer(reason: String) -> Verdict {
    Verdict::Unwell {
        status: None,
        reason,
        retry_after: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint() -> Endpoint {
        Endpoint {
            subscription: "leek-prod".into(),
            api_url: "http://127.0.0.1:1/leek/".into(),
            app_key: Secret::new("hunter2"),
            org_name: "mono".into(),
            app_name: "leek".into(),
            app_env: "prod".into(),
            tls: None,
            proxy: None,
        }
    }

    #[test]
    fn the_path_prefix_is_kept() {
        let courier = Courier::new(&endpoint(), 1, Timeouts::default()).unwrap();
        assert_eq!(courier.uri, "http://127.0.0.1:1/leek/v1/events/process");
    }

    #[test]
    fn a_header_that_cannot_be_sent_is_named_and_not_shown() {
        let endpoint = Endpoint {
            app_key: Secret::new("hunter2\n"),
            ..endpoint()
        };
        let error = Courier::new(&endpoint, 1, Timeouts::default())
            .err()
            .unwrap();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(error.to_string().starts_with("x-leek-app-key: "), "{error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }

    #[test]
    fn a_panic_is_no_answer() {
        let Err(Verdict::Unwell {
            status: None,
            reason,
            ..
        }) = guarded(|| panic!("boom {}", 1))
        else {
            panic!("expected a verdict");
        };
        assert!(reason.contains("boom 1"), "{reason}");
    }
}
