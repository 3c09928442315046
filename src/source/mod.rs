//! Where events come from: the shells around broker connections.
//!
//! A source turns the pipeline's outputs into calls on a connection and what the connection brings
//! into inputs. It never retries and never blocks the event loop.

pub mod amqp;
pub mod bell;
mod encrypted;
pub mod redis;
pub mod resolve;

use std::sync::Arc;
use std::time::Instant;

use mio::{Registry, Token};

use self::amqp::AmqpSource;
use self::bell::Bell;
use self::redis::RedisSource;
use crate::config::{Broker, Subscription};
use crate::delivery::{DeliveryTag, Epoch};

/// What the connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    Consume,
    /// Only to see whether the broker lets us in; declares and consumes nothing.
    Check,
}

/// A message on its way to the pipeline.
#[derive(Debug)]
pub struct Message {
    pub tag: DeliveryTag,
    /// `Err` is why it cannot be read.
    pub body: Result<Vec<u8>, String>,
}

/// What a source tells the pipeline.
#[derive(Debug)]
pub enum Event {
    /// Set up; `notes` say where existing queues or exchanges were taken as they are.
    Ready {
        notes: Vec<String>,
    },
    QueueLength(u64),
    /// The last event of a connection. `heard` is when it last gave a sign of life, where that is
    /// known.
    Down {
        reason: String,
        heard: Option<Instant>,
    },
}

/// What another thread brings for a source.
#[derive(Debug)]
pub enum News {
    Amqp(Epoch, amqp::Event),
    Resolved(resolve::Answer),
}

/// How other threads reach the loop; called from any of them.
pub type Notify = Arc<dyn Fn(News) + Send + Sync>;

/// How a source reaches the loop, and the loop the source.
pub struct Ties {
    pub bell: Bell,
    pub notify: Notify,
    pub registry: Registry,
    /// Its own in the registry's poll.
    pub token: Token,
}

/// One subscription's broker connection, of whichever kind.
// One a subscription: the smaller variant wastes some hundred bytes.
#[allow(clippy::large_enum_variant)]
pub enum Source {
    Amqp(AmqpSource),
    Redis(RedisSource),
}

impl Source {
    /// A source that is not connected.
    pub fn new(subscription: &Subscription, purpose: Purpose, ties: Ties) -> Self {
        let notify = ties.notify;
        match subscription.brokers.first() {
            Some(Broker::Redis(_)) => Source::Redis(RedisSource::new(
                subscription,
                ties.registry,
                ties.token,
                Arc::new(move |answer| notify(News::Resolved(answer))),
            )),
            Some(Broker::Amqp(_)) | None => Source::Amqp(AmqpSource::new(
                amqp::Plan::new(subscription, purpose),
                ties.bell,
                Arc::new(move |epoch, event| notify(News::Amqp(epoch, event))),
            )),
        }
    }

    /// Starts a connection; a previous one is given up. All brokers of a subscription are of one
    /// kind.
    pub fn connect(&mut self, epoch: Epoch, broker: &Broker, now: Instant) {
        match (self, broker) {
            (Source::Amqp(source), Broker::Amqp(broker)) => source.connect(epoch, broker),
            (Source::Redis(source), Broker::Redis(broker)) => source.connect(epoch, broker, now),
            (Source::Amqp(_), Broker::Redis(_)) | (Source::Redis(_), Broker::Amqp(_)) => {
                debug_assert!(false, "brokers of one kind");
            }
        }
    }

    /// Gives the connection up at once.
    pub fn abandon(&mut self) {
        match self {
            Source::Amqp(source) => source.abandon(),
            Source::Redis(source) => source.abandon(),
        }
    }

    /// Starts consuming.
    pub fn consume(&mut self) {
        match self {
            Source::Amqp(source) => source.consume(),
            Source::Redis(source) => source.consume(),
        }
    }

    /// Asks for the queue's length: `Event::QueueLength` answers.
    pub fn count_queue(&mut self) {
        match self {
            Source::Amqp(source) => source.count_queue(),
            Source::Redis(source) => source.count_queue(),
        }
    }

    /// Acknowledges every message up to and including `through`, received in `epoch`.
    pub fn settle(&mut self, epoch: Epoch, through: DeliveryTag) {
        match self {
            Source::Amqp(source) => source.settle(epoch, through),
            // Nobody waits for it.
            Source::Redis(_) => {}
        }
    }

    /// Closes the connection in order; `Event::Down` follows within a deadline.
    pub fn close(&mut self, now: Instant) {
        match self {
            Source::Amqp(source) => source.close(now),
            Source::Redis(source) => source.close(now),
        }
    }

    /// Takes note of what another thread brought.
    pub fn handle(&mut self, news: News, now: Instant) -> Option<(Epoch, Event)> {
        match (self, news) {
            (Source::Amqp(source), News::Amqp(epoch, event)) => {
                let event = match source.handle(epoch, event)? {
                    amqp::Event::Ready { notes } => Event::Ready { notes },
                    amqp::Event::QueueLength(messages) => Event::QueueLength(messages),
                    amqp::Event::Down { reason } => Event::Down {
                        reason,
                        heard: None,
                    },
                    amqp::Event::Connected(_) | amqp::Event::Consuming(_) => return None,
                };
                Some((epoch, event))
            }
            (Source::Redis(source), News::Resolved(answer)) => {
                source.resolved(answer, now);
                source.next_event()
            }
            _ => None,
        }
    }

    /// The poll saw something on the source's socket.
    pub fn wake(&mut self) {
        match self {
            // Its sockets are polled by their own threads.
            Source::Amqp(_) => {}
            Source::Redis(source) => source.wake(),
        }
    }

    /// What is to be told the pipeline and no other thread brought.
    pub fn next_event(&mut self) -> Option<(Epoch, Event)> {
        match self {
            Source::Amqp(_) => None,
            Source::Redis(source) => source.next_event(),
        }
    }

    /// The next message that has arrived, with the epoch it belongs to.
    pub fn next(&mut self, now: Instant) -> Option<(Epoch, Message)> {
        match self {
            Source::Amqp(source) => source.next(now),
            Source::Redis(source) => source.next(now),
        }
    }

    /// True if `next` or `next_event` would find something.
    pub fn has_next(&mut self, now: Instant) -> bool {
        match self {
            Source::Amqp(source) => source.has_next(now),
            Source::Redis(source) => source.has_next(),
        }
    }

    /// True if the connection has ended, for a caller who can take no message now.
    pub fn has_ended(&mut self, now: Instant) -> bool {
        match self {
            Source::Amqp(source) => source.has_ended(now),
            // Its messages can always be taken.
            Source::Redis(_) => false,
        }
    }

    /// When time alone changes something here.
    pub fn deadline(&self) -> Option<Instant> {
        match self {
            Source::Amqp(source) => source.deadline(),
            Source::Redis(source) => source.deadline(),
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        match self {
            Source::Amqp(source) => source.handle_timeout(now),
            Source::Redis(source) => source.handle_timeout(now),
        }
    }
}
