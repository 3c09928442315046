//! RabbitMQ through amiquip: the event loop's side of a subscription's connection.
//!
//! ```text
//!  event loop                     owner thread                amiquip's threads
//!  ──────────                     ────────────                ─────────────────
//!  connect ─────── spawn ───────► resolve, connect, open ───► io, timer
//!  handle ◄─────── events ─────── Connected, Ready, Consuming, Down
//!  consume, settle, close ──────► basic.consume, ack, close ─► socket
//!  next ◄──────────── receiver (deliveries) ───────────────── Stream (filter, bell)
//! ```
//!
//! The loop's side never waits: it sends commands, drains the receiver, and where the owner thread
//! hangs in a call it shuts the socket down under it.

pub(in crate::source) mod failure;
pub mod frames;
mod owner;
mod socket;
mod stream;

use std::collections::VecDeque;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use amiquip::{ConsumerMessage, Delivery};
use crossbeam_channel::{Receiver, TryRecvError};

use self::owner::{Command, Owner};
use self::stream::Credit;
use super::bell::Bell;
use super::{Message, Purpose};
use crate::config::{AmqpBroker, Login, Subscription};
use crate::delivery::{DeliveryTag, Epoch, MAX_MESSAGE_BYTES, check_content};
use crate::tls::ClientTls;

/// The heartbeat that is negotiated; a silent broker is given up after two (AMQP 0-9-1 §4.2.7).
pub const HEARTBEAT: Duration = Duration::from_secs(30);

/// For the TCP connection to one address, and for each step of the handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// For a close that the broker should answer.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// The owner thread's stack. It holds the handshakes' call chains and no message: with RSA-4096
/// certificates on both sides at most 132 KiB were used in a debug build, 44 KiB in a release build.
const STACK_SIZE: usize = 256 * 1024;

/// Owner threads of one source that may hang in a name lookup, which nothing can cut short, before
/// no further one is started.
const MAX_LINGERING: usize = 2;

/// What a connection declares and consumes.
#[derive(Debug, Clone)]
pub struct Plan {
    pub subscription: String,
    pub exchange: String,
    pub queue: String,
    pub routing_key: String,
    pub prefetch: u16,
    /// For brokers that are spoken to in TLS.
    pub tls: Option<ClientTls>,
    pub purpose: Purpose,
}

impl Plan {
    pub fn new(subscription: &Subscription, purpose: Purpose) -> Self {
        Plan {
            subscription: subscription.name.clone(),
            exchange: subscription.exchange.clone(),
            queue: subscription.queue.clone(),
            routing_key: subscription.routing_key.clone(),
            prefetch: subscription.prefetch_count,
            tls: subscription.tls.clone(),
            purpose,
        }
    }
}

/// What the owner thread tells the loop.
#[derive(Debug)]
pub enum Event {
    /// A socket to shut down should the connection hang.
    Connected(TcpStream),
    /// Set up; `notes` say where existing queues or exchanges were taken as they are.
    Ready {
        notes: Vec<String>,
    },
    /// Deliveries come from here.
    Consuming(Receiver<ConsumerMessage>),
    QueueLength(u64),
    /// The last event of a connection.
    Down {
        reason: String,
    },
}

/// How owner threads tell the loop; called from any thread.
pub type Notify = Arc<dyn Fn(Epoch, Event) + Send + Sync>;

/// One subscription's AMQP connection, seen from the loop.
pub struct AmqpSource {
    plan: Plan,
    bell: Bell,
    notify: Notify,
    connection: Option<Connection>,
    /// Taken off the receiver to see what comes, or whether its other end is gone. With what is
    /// still in the receiver it is at most the prefetch.
    ahead: VecDeque<(Epoch, Message)>,
    /// Held by every owner thread: their number is its count less one.
    alive: Arc<()>,
}

struct Connection {
    epoch: Epoch,
    commands: Sender<Command>,
    socket: Option<TcpStream>,
    receiver: Option<Receiver<ConsumerMessage>>,
    /// Deliveries without their bodies: an ack needs the delivery itself.
    unacked: VecDeque<Delivery>,
    credit: Arc<Credit>,
    close_by: Option<Instant>,
    /// Why the consumer ended, where the connection itself would not know.
    cause: Option<String>,
}

impl AmqpSource {
    /// A source that is not connected.
    pub fn new(plan: Plan, bell: Bell, notify: Notify) -> Self {
        AmqpSource {
            plan,
            bell,
            notify,
            connection: None,
            ahead: VecDeque::new(),
            alive: Arc::new(()),
        }
    }

    /// Starts a connection; a previous one is given up.
    pub fn connect(&mut self, epoch: Epoch, broker: &AmqpBroker) {
        self.abandon();
        let (commands, orders) = channel();
        let credit = Arc::new(Credit::new(self.plan.prefetch));
        self.connection = Some(Connection {
            epoch,
            commands,
            socket: None,
            receiver: None,
            unacked: VecDeque::new(),
            credit: Arc::clone(&credit),
            close_by: None,
            cause: None,
        });
        let notify = Arc::clone(&self.notify);
        let owner = Owner {
            plan: self.plan.clone(),
            broker: broker.clone(),
            bell: self.bell.clone(),
            credit,
            commands: orders,
            notify: move |event| notify(epoch, event),
        };
        if let Err(reason) = self.start(owner) {
            (self.notify)(epoch, Event::Down { reason });
        }
    }

    fn start(&self, owner: Owner<impl Fn(Event) + Send + 'static>) -> Result<(), String> {
        let alive = Arc::clone(&self.alive);
        if Arc::strong_count(&alive) - 1 > MAX_LINGERING {
            return Err(format!(
                "{}: earlier tries still hang: is the DNS answering?",
                owner.broker.host
            ));
        }
        let spawned = thread::Builder::new()
            .name("leek-amqp".to_owned())
            .stack_size(STACK_SIZE)
            .spawn(move || owner.run(alive));
        spawned
            .map(drop)
            .map_err(|error| format!("no thread for the connection: {error}"))
    }

    /// Gives the connection up at once, whatever its owner thread is doing.
    pub fn abandon(&mut self) {
        self.ahead.clear();
        if let Some(connection) = self.connection.take() {
            connection.shut_down();
        }
    }

    /// Starts consuming.
    pub fn consume(&mut self) {
        self.command(Command::Consume);
    }

    /// Asks for the queue's length: `Event::QueueLength` answers.
    pub fn count_queue(&mut self) {
        self.command(Command::CountQueue);
    }

    /// Acknowledges every message up to and including `through`, received in `epoch`.
    pub fn settle(&mut self, epoch: Epoch, through: DeliveryTag) {
        let Some(connection) = self
            .connection
            .as_mut()
            .filter(|connection| connection.epoch == epoch)
        else {
            return;
        };
        let covered = connection
            .unacked
            .partition_point(|delivery| delivery.delivery_tag() <= through.0);
        connection.credit.settle(covered);
        let last = connection.unacked.drain(..covered).next_back();
        if let Some(last) = last {
            self.command(Command::Ack(Box::new(last)));
        }
    }

    /// Closes the connection in order; `Event::Down` follows within a deadline. What was not handed
    /// on goes back to the broker.
    pub fn close(&mut self, now: Instant) {
        self.ahead.clear();
        self.command(Command::Close);
        if let Some(connection) = &mut self.connection {
            connection.receiver = None;
            connection.close_by.get_or_insert(now + CLOSE_TIMEOUT);
        }
    }

    fn command(&mut self, command: Command) {
        if let Some(connection) = &self.connection {
            // An owner thread that is gone has said so, or is about to.
            let _ = connection.commands.send(command);
        }
    }

    /// Takes note of an event. Answers it back where it concerns the connection of today.
    pub fn handle(&mut self, epoch: Epoch, event: Event) -> Option<Event> {
        let Some(connection) = self
            .connection
            .as_mut()
            .filter(|connection| connection.epoch == epoch)
        else {
            if let Event::Connected(socket) = event {
                // It was given up before its socket was known.
                let _ = socket.shutdown(Shutdown::Both);
            }
            return None;
        };
        match event {
            Event::Connected(socket) => {
                connection.socket = Some(socket);
                None
            }
            Event::Consuming(receiver) if connection.close_by.is_none() => {
                connection.receiver = Some(receiver);
                None
            }
            Event::Consuming(_) => None,
            Event::Down { reason } => {
                let cause = connection.cause.take();
                self.connection = None;
                Some(Event::Down {
                    reason: cause.unwrap_or(reason),
                })
            }
            Event::Ready { .. } | Event::QueueLength(_) => Some(event),
        }
    }

    /// The next message that has arrived, with the epoch it belongs to.
    pub fn next(&mut self, now: Instant) -> Option<(Epoch, Message)> {
        self.ahead.pop_front().or_else(|| self.fetch(now))
    }

    /// True if there is something to do: a message, or a consumer that has ended. It looks by
    /// taking: a receiver whose other end is gone looks just as empty as one that waits, and it may
    /// have gone when the bell was not armed.
    pub fn has_next(&mut self, now: Instant) -> bool {
        if !self.ahead.is_empty() {
            return true;
        }
        let was_receiving = self.is_receiving();
        let next = self.fetch(now);
        self.ahead.extend(next);
        !self.ahead.is_empty() || was_receiving != self.is_receiving()
    }

    /// True if the consumer has ended, for a caller who can take no message: it looks behind all
    /// that have arrived.
    pub fn has_ended(&mut self, now: Instant) -> bool {
        let was_receiving = self.is_receiving();
        while let Some(next) = self.fetch(now) {
            self.ahead.push_back(next);
        }
        was_receiving && !self.is_receiving()
    }

    fn is_receiving(&self) -> bool {
        let receiver = self.connection.as_ref().map(|one| &one.receiver);
        receiver.is_some_and(Option::is_some)
    }

    fn fetch(&mut self, now: Instant) -> Option<(Epoch, Message)> {
        let connection = self.connection.as_mut()?;
        match connection.receiver.as_ref()?.try_recv() {
            Ok(ConsumerMessage::Delivery(delivery)) => {
                Some((connection.epoch, connection.take(delivery)))
            }
            Err(TryRecvError::Empty) => None,
            Ok(end) => {
                connection.cause = cause(&end);
                self.close(now);
                None
            }
            // The connection is dead; the owner thread asks it why and says so.
            Err(TryRecvError::Disconnected) => {
                self.close(now);
                None
            }
        }
    }

    /// When a close is overdue.
    pub fn deadline(&self) -> Option<Instant> {
        self.connection
            .as_ref()
            .and_then(|connection| connection.close_by)
    }

    /// Cuts an overdue close short.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let Some(connection) = self
            .connection
            .as_mut()
            .filter(|one| one.close_by.is_some_and(|by| now >= by))
        {
            connection.shut_down();
            connection.close_by = None;
        }
    }
}

impl Connection {
    /// Keeps the delivery for its ack and takes its content out.
    fn take(&mut self, mut delivery: Delivery) -> Message {
        let tag = DeliveryTag(delivery.delivery_tag());
        let body = readable(&mut delivery);
        delivery.properties = Default::default();
        self.unacked.push_back(delivery);
        Message { tag, body }
    }

    /// Calls that hang on this socket return at once.
    fn shut_down(&self) {
        if let Some(socket) = &self.socket {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

/// What a consumer's last message says of its end.
fn cause(end: &ConsumerMessage) -> Option<String> {
    match end {
        ConsumerMessage::ServerCancelled => Some(
            "the broker cancelled the consumer: the queue was deleted, or its node went down"
                .to_owned(),
        ),
        ConsumerMessage::ServerClosedChannel(error)
        | ConsumerMessage::ServerClosedConnection(error) => {
            Some(failure::reason(error, Login::Password))
        }
        _ => None,
    }
}

fn readable(delivery: &mut Delivery) -> Result<Vec<u8>, String> {
    let content_type = delivery.properties.content_type().as_deref();
    let encoding = delivery.properties.content_encoding().as_deref();
    if content_type == Some(frames::OVERSIZED) {
        let size = encoding.unwrap_or_default();
        return Err(format!(
            "body: {size} bytes: expected at most {MAX_MESSAGE_BYTES}"
        ));
    }
    check_content(content_type, encoding)?;
    Ok(std::mem::take(&mut delivery.body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::secret::Secret;
    use mio::{Poll, Token, Waker};

    /// A source whose deliveries come from the test.
    fn consuming(
        receiver: Receiver<ConsumerMessage>,
    ) -> (AmqpSource, std::sync::mpsc::Receiver<Command>) {
        let waker = Waker::new(Poll::new().unwrap().registry(), Token(0)).unwrap();
        let plan = Plan {
            subscription: "shop-qa".into(),
            exchange: "e".into(),
            queue: "q".into(),
            routing_key: "#".into(),
            prefetch: 1000,
            purpose: Purpose::Consume,
            tls: None,
        };
        let (commands, orders) = channel();
        let mut source = AmqpSource::new(plan, Bell::new(Arc::new(waker)), Arc::new(|_, _| {}));
        source.connection = Some(Connection {
            epoch: Epoch(1),
            commands,
            socket: None,
            receiver: Some(receiver),
            unacked: VecDeque::new(),
            credit: Arc::new(Credit::new(1000)),
            close_by: None,
            cause: None,
        });
        (source, orders)
    }

    #[test]
    fn a_try_that_cannot_begin_ends_like_any_other() {
        let (_, receiver) = crossbeam_channel::unbounded();
        let (mut source, _orders) = consuming(receiver);
        let (tell, told) = channel();
        source.notify = Arc::new(move |epoch, event| tell.send((epoch, event)).unwrap());
        let _hanging = [(); MAX_LINGERING].map(|()| Arc::clone(&source.alive));
        let broker = AmqpBroker {
            host: "broker".into(),
            port: 5672,
            user: "guest".into(),
            password: Secret::new("guest"),
            vhost: "/".into(),
            tls: false,
            login: Login::Password,
        };
        source.connect(Epoch(2), &broker);
        let (epoch, event) = told.try_recv().unwrap();
        let Some(Event::Down { reason }) = source.handle(epoch, event) else {
            panic!("nobody learns of it");
        };
        assert!(reason.contains("DNS"), "{reason}");
    }

    /// The connection may die between the loop's last look and its sleep, when the bell rings for
    /// nobody: the look that follows the arming must see it.
    #[test]
    fn a_receiver_whose_other_end_is_gone_is_something_to_do() {
        let (sender, receiver) = crossbeam_channel::unbounded();
        let (mut source, orders) = consuming(receiver);
        let now = clock::monotonic();
        assert!(!source.has_next(now));
        drop(sender);
        assert!(source.has_next(now));
        assert!(matches!(orders.try_recv(), Ok(Command::Close)));
        assert_eq!(source.deadline(), Some(now + CLOSE_TIMEOUT));
        assert!(!source.has_next(now), "once");
    }

    #[test]
    fn the_end_is_seen_while_messages_wait_that_nobody_takes() {
        let (sender, receiver) = crossbeam_channel::unbounded();
        let (mut source, orders) = consuming(receiver);
        let now = clock::monotonic();
        let waiting = Message {
            tag: DeliveryTag(1),
            body: Ok(b"{}".to_vec()),
        };
        source.ahead.push_back((Epoch(1), waiting));
        assert!(!source.has_ended(now));
        sender.send(ConsumerMessage::ServerCancelled).unwrap();
        assert!(source.has_ended(now));
        assert!(matches!(orders.try_recv(), Ok(Command::Close)));
        assert!(!source.has_ended(now), "once");
        assert!(source.next(now).is_none(), "what waited comes again");
    }
}
