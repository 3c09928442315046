//! `leek-agent check`: is every broker and every API there, and does it let us in? Consumes and
//! declares nothing.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use mio::{Poll, Token, Waker};

use crate::clock;
use crate::config::{Broker, Config, Subscription};
use crate::delivery::Epoch;
use crate::pipeline::link::SET_UP_DEADLINE;
use crate::pipeline::verdict::Verdict;
use crate::source::amqp::{AmqpSource, Event, Plan, Purpose};
use crate::source::bell::Bell;
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

/// What `--offline` has to say once the configuration is read: nothing is wrong with it. `source`
/// is where the subscriptions came from.
pub fn describe(config: &Config, source: &str) -> String {
    let count = config.subscriptions.len();
    let noun = if count == 1 {
        "subscription"
    } else {
        "subscriptions"
    };
    let mut text = format!("configuration ok: {count} {noun} from {source}\n");
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

/// A test's number and what came of it.
type Answer = (usize, Result<(), String>);

/// Tests every broker (each one of a failover list) and every API, all at once.
pub fn run(config: &Config) -> io::Result<Vec<Finding>> {
    let bell = Bell::new(Arc::new(Waker::new(Poll::new()?.registry(), Token(0))?));
    let (sender, answers) = channel();
    let mut findings = Vec::new();
    // What is dropped gives its test up.
    let (mut sources, mut uploaders) = (Vec::new(), Vec::new());
    for subscription in &config.subscriptions {
        for broker in &subscription.brokers {
            sources.push(ask_broker(
                subscription,
                broker,
                findings.len(),
                &sender,
                &bell,
            ));
            findings.push(unanswered(subscription, Side::Broker, broker.to_string()));
        }
        uploaders.push(ask_api(subscription, findings.len(), &sender)?);
        findings.push(unanswered(
            subscription,
            Side::Api,
            api_address(subscription),
        ));
    }
    collect(&mut findings, &answers);
    drop((sources, uploaders));
    Ok(findings)
}

fn unanswered(subscription: &Subscription, side: Side, address: String) -> Finding {
    let reason = format!("no answer within {} s", DEADLINE.as_secs());
    Finding {
        subscription: subscription.name.clone(),
        side,
        address,
        result: Err(reason),
    }
}

/// The first answer of each test counts: a broker that let us in also says when it has closed.
fn collect(findings: &mut [Finding], answers: &Receiver<Answer>) {
    let until = clock::monotonic() + DEADLINE;
    let mut missing: BTreeSet<usize> = (0..findings.len()).collect();
    while !missing.is_empty() {
        let left = until.saturating_duration_since(clock::monotonic());
        let Ok((index, result)) = answers.recv_timeout(left) else {
            return;
        };
        if missing.remove(&index) {
            findings[index].result = result;
        }
    }
}

fn ask_broker(
    subscription: &Subscription,
    broker: &Broker,
    index: usize,
    sender: &Sender<Answer>,
    bell: &Bell,
) -> AmqpSource {
    let sender = sender.clone();
    let notify = move |_, event| {
        let result = match event {
            Event::Ready { .. } => Ok(()),
            Event::Down { reason } => Err(reason),
            _ => return,
        };
        // A late second answer finds nobody waiting.
        let _ = sender.send((index, result));
    };
    let mut source = AmqpSource::new(
        Plan::new(subscription, Purpose::Check),
        bell.clone(),
        Arc::new(notify),
    );
    if let Broker::Amqp(address) = broker {
        source.connect(Epoch::default(), address);
    }
    source
}

fn ask_api(
    subscription: &Subscription,
    index: usize,
    sender: &Sender<Answer>,
) -> io::Result<Uploader> {
    let sender = sender.clone();
    let uploader = Uploader::start(&Endpoint::of(subscription), 1, move |report| {
        if let Report::Probed(result) = report {
            let _ = sender.send((index, result.map_err(|verdict| reason(&verdict))));
        }
    })?;
    uploader.submit(Job::Probe);
    Ok(uploader)
}

fn reason(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Refused { reason, .. }
        | Verdict::Misconfigured { reason, .. }
        | Verdict::Unwell { reason, .. }
        | Verdict::NotLeek { reason, .. } => reason.clone(),
        Verdict::Stored | Verdict::Partial { .. } => {
            "answered a probe as if it were a batch".to_owned()
        }
    }
}
