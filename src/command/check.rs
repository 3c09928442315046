//! `leek-agent check`: is every broker and every API there, and does it let us in? Consumes and
//! declares nothing.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token, Waker};

use crate::clock;
use crate::config::{Broker, Config, Place, Subscription};
use crate::delivery::Epoch;
use crate::pipeline::link::SET_UP_DEADLINE;
use crate::pipeline::verdict::Verdict;
use crate::source::bell::Bell;
use crate::source::{Event, News, Purpose, Source, Ties};
use crate::upload::{Endpoint, Job, Report, Uploader};

/// An uploader gives up after 30 s, a broker after this; both are well within.
const DEADLINE: Duration = SET_UP_DEADLINE.saturating_add(Duration::from_secs(5));

/// One thing that was tested.
#[derive(Debug, Clone)]
pub struct Finding {
    pub subscription: String,
    pub side: Side,
    /// Where it is, without secrets.
    pub address: String,
    /// `Err` says what is wrong and what to do.
    pub result: Result<(), String>,
}

/// Which side of a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Broker,
    Api,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = match self.side {
            Side::Broker => "broker",
            Side::Api => "api",
        };
        write!(f, "{}: {side} {}: ", self.subscription, self.address)?;
        match &self.result {
            Ok(()) => f.write_str("ok"),
            Err(reason) => write!(f, "failed: {reason}"),
        }
    }
}

/// What `--offline` has to say once the configuration is read: nothing is wrong with it. `place` is
/// where the subscriptions came from.
pub fn describe(config: &Config, place: &Place) -> String {
    let count = config.subscriptions.len();
    let noun = if count == 1 {
        "subscription"
    } else {
        "subscriptions"
    };
    let mut text = format!("configuration ok: {count} {noun} from {place}\n");
    for subscription in &config.subscriptions {
        let brokers: Vec<String> = subscription
            .brokers
            .iter()
            .map(ToString::to_string)
            .collect();
        text += &format!(
            "{}: {} -> {}\n",
            subscription.name,
            brokers.join(";"),
            api_address(subscription)
        );
    }
    if let Some(consul) = &config.consul {
        text += &format!(
            "consul {}: {}\n",
            consul.endpoint.address, consul.service.name
        );
    }
    for responder in &config.agent_check {
        let names: Vec<&str> = responder
            .plugins
            .iter()
            .map(|it| it.name.as_str())
            .collect();
        text += &format!("agent check {}: {}\n", responder.address, names.join(", "));
    }
    text
}

/// The API's address and the proxy on the way.
fn api_address(subscription: &Subscription) -> String {
    let url = &subscription.api_url;
    match &subscription.proxy {
        Some(proxy) => format!("{url} by proxy {proxy}"),
        None => url.clone(),
    }
}

/// What another thread brings for the test of that number.
enum Notice {
    Broker(News),
    Api(Result<(), String>),
}

const WAKE: Token = Token(0);
/// The sources' sockets have the numbers from here on, that of their test added.
const SOURCES: usize = 1;

/// All tests under way. What is dropped gives its test up.
struct Tests {
    poll: Poll,
    bell: Bell,
    sender: Sender<(usize, Notice)>,
    notices: Receiver<(usize, Notice)>,
    sources: Vec<(usize, Source)>,
    uploaders: Vec<Uploader>,
    findings: Vec<Finding>,
    missing: BTreeSet<usize>,
}

/// Tests every broker (each one of a failover list) and every API, all at once.
pub fn run(config: &Config) -> io::Result<Vec<Finding>> {
    let mut tests = Tests::new()?;
    for subscription in &config.subscriptions {
        for broker in &subscription.brokers {
            tests.ask_broker(subscription, broker)?;
        }
        tests.ask_api(subscription)?;
    }
    tests.collect()?;
    Ok(tests.findings)
}

/// Tests every broker of a subscription, all at once.
pub fn brokers(subscription: &Subscription) -> io::Result<Vec<Finding>> {
    let mut tests = Tests::new()?;
    for broker in &subscription.brokers {
        tests.ask_broker(subscription, broker)?;
    }
    tests.collect()?;
    Ok(tests.findings)
}

impl Tests {
    fn new() -> io::Result<Self> {
        let poll = Poll::new()?;
        let bell = Bell::new(Arc::new(Waker::new(poll.registry(), WAKE)?));
        let (sender, notices) = channel();
        Ok(Tests {
            poll,
            bell,
            sender,
            notices,
            sources: Vec::new(),
            uploaders: Vec::new(),
            findings: Vec::new(),
            missing: BTreeSet::new(),
        })
    }

    fn expect(&mut self, finding: Finding) -> usize {
        let index = self.findings.len();
        self.findings.push(finding);
        self.missing.insert(index);
        index
    }

    /// Brings notices of that test from any thread.
    fn messenger(&self, index: usize) -> impl Fn(Notice) + Send + Sync + Clone + 'static {
        let (sender, bell) = (self.sender.clone(), self.bell.clone());
        move |notice| {
            // A late second answer finds nobody waiting.
            let _ = sender.send((index, notice));
            bell.ring();
        }
    }

    fn ask_broker(&mut self, subscription: &Subscription, broker: &Broker) -> io::Result<()> {
        let index = self.expect(unanswered(subscription, Side::Broker, broker.to_string()));
        let tell = self.messenger(index);
        let ties = Ties {
            bell: self.bell.clone(),
            notify: Arc::new(move |news| tell(Notice::Broker(news))),
            registry: self.poll.registry().try_clone()?,
            token: Token(SOURCES + index),
        };
        let mut source = Source::new(subscription, Purpose::Check, ties);
        source.connect(Epoch::default(), broker, clock::monotonic());
        self.sources.push((index, source));
        Ok(())
    }

    fn ask_api(&mut self, subscription: &Subscription) -> io::Result<()> {
        let address = api_address(subscription);
        let index = self.expect(unanswered(subscription, Side::Api, address));
        let tell = self.messenger(index);
        let uploader = Uploader::start(&Endpoint::of(subscription), 1, move |report| {
            if let Report::Probed(result) = report {
                tell(Notice::Api(result.map_err(|verdict| reason(&verdict))));
            }
        })?;
        uploader.submit(Job::Probe);
        self.uploaders.push(uploader);
        Ok(())
    }

    /// Waits until every test has its answer, or for as long as one may take.
    fn collect(&mut self) -> io::Result<()> {
        let until = clock::monotonic() + DEADLINE;
        let mut events = Events::with_capacity(64);
        loop {
            self.bell.arm();
            let now = clock::monotonic();
            self.turn(now);
            if self.missing.is_empty() || now >= until {
                return Ok(());
            }
            let timeout = self.wait(until).saturating_duration_since(now);
            match self.poll.poll(&mut events, Some(timeout)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            for (index, source) in &mut self.sources {
                if events.iter().any(|one| one.token().0 == SOURCES + *index) {
                    source.wake();
                }
            }
        }
    }

    fn wait(&self, until: Instant) -> Instant {
        let deadlines = self
            .sources
            .iter()
            .filter_map(|(_, source)| source.deadline());
        deadlines.chain([until]).min().unwrap_or(until)
    }

    fn turn(&mut self, now: Instant) {
        while let Ok((index, notice)) = self.notices.try_recv() {
            match notice {
                Notice::Api(result) => self.answered(index, result),
                Notice::Broker(news) => {
                    let source = self.sources.iter_mut().find(|(one, _)| *one == index);
                    let event = source.and_then(|(_, source)| source.handle(news, now));
                    self.heard(index, event);
                }
            }
        }
        for number in 0..self.sources.len() {
            let (index, source) = &mut self.sources[number];
            source.handle_timeout(now);
            // It consumes nothing: what is published meanwhile stays where it is.
            let _ = source.next(now);
            let (index, event) = (*index, source.next_event());
            self.heard(index, event);
        }
    }

    fn heard(&mut self, index: usize, event: Option<(Epoch, Event)>) {
        match event {
            Some((_, Event::Ready { .. })) => self.answered(index, Ok(())),
            Some((_, Event::Down { reason, .. })) => self.answered(index, Err(reason)),
            Some((_, Event::QueueLength(_))) | None => {}
        }
    }

    /// The first answer of each test counts: a broker that let us in also says when it has closed.
    fn answered(&mut self, index: usize, result: Result<(), String>) {
        if self.missing.remove(&index) {
            self.findings[index].result = result;
        }
    }
}

fn unanswered(subscription: &Subscription, side: Side, address: String) -> Finding {
    let reason = format!(
        "no answer within {} s: check the address, and that no firewall on the way swallows it",
        DEADLINE.as_secs()
    );
    Finding {
        subscription: subscription.name.clone(),
        side,
        address,
        result: Err(reason),
    }
}

fn reason(verdict: &Verdict) -> String {
    let reason = verdict.reason();
    let reason = reason.unwrap_or("answered a probe as if it were a batch");
    match verdict {
        Verdict::Unwell {
            status: Some(_), ..
        } => format!(
            "{reason}; the API, what is behind it or a proxy on the way is not well: nothing to do on this gateway"
        ),
        _ => reason.to_owned(),
    }
}
