//! Redis through a socket of the event loop: no thread of its own, and nothing is ever written that
//! the server would keep.
//!
//! ```text
//!  connect ──► (sentinel: look up, dial, ask) ──► look up ──► dial ──► talk ──► messages
//!                  ▲        each in turn               │ any failure     │
//!                  └───────────────────────────────────┴────────────────►┴──► Down
//! ```
//!
//! What the bytes mean is decided by pure parts: [`resp`] (frames), [`session`] (the talk),
//! [`sentinel`] (finding the master), [`envelope`] (a message's body), [`channels`] (which ones).

pub mod channels;
pub mod envelope;
mod failure;
mod inbox;
pub mod resp;
pub mod sentinel;
pub mod session;
mod transport;

use std::collections::VecDeque;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::{Registry, Token};

use self::channels::{Channels, Found};
use self::envelope::RecentTags;
use self::inbox::Inbox;
use self::resp::{Frame, Parsed};
use self::sentinel::{Query, Search};
use self::session::{Greeting, Happening, Session};
use self::transport::Transport;
use super::amqp::failure::unreachable;
use super::resolve::{Answer, Lookup, Resolver, Tell};
use super::{Event, Message};
use crate::clock;
use crate::config::redis::RedisOptions;
use crate::config::{HostPort, RedisBroker, RedisPlace, Subscription};
use crate::delivery::{DeliveryTag, Epoch, MAX_MESSAGE_BYTES};
use crate::tls::{self, ClientTls};

/// For the connection to one address, and for the greeting behind it.
const STEP_TIMEOUT: Duration = Duration::from_secs(5);

/// For the server's last word after the subscription was ended.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// The subscription's key for what TLS needs.
const TLS_KEY: &str = "tls";

/// What a connection asks for.
#[derive(Debug, Clone)]
struct Plan {
    client_name: String,
    exchange: String,
    routing_key: String,
    options: RedisOptions,
    /// The longest envelope that is read.
    max_bulk: usize,
    tls: Option<ClientTls>,
}

/// One subscription's Redis connection.
pub struct RedisSource {
    plan: Plan,
    registry: Registry,
    token: Token,
    resolver: Resolver,
    /// The sentinel that helped last time.
    first_sentinel: usize,
    recent: RecentTags,
    connection: Option<Connection>,
    events: VecDeque<(Epoch, Event)>,
}

struct Connection {
    epoch: Epoch,
    broker: RedisBroker,
    /// Only with sentinels, until the master is found.
    search: Option<Search>,
    stage: Stage,
    /// When the stage has taken too long.
    deadline: Option<Instant>,
    /// Something may have happened on the socket since it was last looked at.
    woken: bool,
    /// The pipeline takes messages.
    flowing: bool,
    inbox: Inbox,
    next_tag: u64,
}

/// Whom a lookup or a dial is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Goal {
    Sentinel,
    Server,
}

enum Stage {
    /// Between two tries.
    Idle,
    Resolving {
        ticket: u64,
        goal: Goal,
    },
    Dialing {
        transport: Transport,
        /// Where to, in words, and where else.
        address: String,
        others: VecDeque<SocketAddr>,
        goal: Goal,
    },
    Asking {
        transport: Transport,
        query: Query,
    },
    Talking {
        transport: Transport,
        session: Session,
    },
}

/// What came of a look at the connection.
enum Progress {
    /// Nothing until the socket wakes it, or its time comes.
    Wait,
    Again,
    Dialed(Goal),
    Master(HostPort),
    Live,
    Message(Message),
    Closed,
    Failed(String),
}

impl RedisSource {
    /// A source that is not connected. `token` is its own in `registry`'s poll.
    pub fn new(subscription: &Subscription, registry: Registry, token: Token, tell: Tell) -> Self {
        let most = MAX_MESSAGE_BYTES.min(subscription.buffer_bytes);
        RedisSource {
            plan: Plan {
                client_name: format!("leek-agent:{}", subscription.name),
                exchange: subscription.exchange.clone(),
                routing_key: subscription.routing_key.clone(),
                options: subscription.redis.clone(),
                max_bulk: envelope::longest(most),
                tls: subscription.tls.clone(),
            },
            registry,
            token,
            resolver: Resolver::new(tell),
            first_sentinel: 0,
            recent: RecentTags::default(),
            connection: None,
            events: VecDeque::new(),
        }
    }

    /// Starts a connection; a previous one is given up.
    pub fn connect(&mut self, epoch: Epoch, broker: &RedisBroker, now: Instant) {
        let search = match &broker.place {
            RedisPlace::Sentinels(sentinels) => Some(Search::new(sentinels, self.first_sentinel)),
            RedisPlace::Tcp(_) | RedisPlace::Unix(_) => None,
        };
        self.connection = Some(Connection {
            epoch,
            broker: broker.clone(),
            search,
            stage: Stage::Idle,
            deadline: None,
            woken: false,
            flowing: false,
            inbox: Inbox::default(),
            next_tag: 1,
        });
        self.advance(now);
    }

    /// Begins the next try: the one place, or the next sentinel.
    fn advance(&mut self, now: Instant) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        connection.stage = Stage::Idle;
        connection.inbox = Inbox::default();
        let target = match (&mut connection.search, &connection.broker.place) {
            (Some(search), _) => search
                .next_sentinel()
                .map(|sentinel| (sentinel, Goal::Sentinel)),
            (None, RedisPlace::Tcp(server)) => Ok((server.clone(), Goal::Server)),
            (None, RedisPlace::Unix(path)) => {
                let path = path.clone();
                return self.open(&path, now);
            }
            (None, RedisPlace::Sentinels(_)) => Err("no sentinel is left".to_owned()),
        };
        match target {
            Ok((address, goal)) => self.look_up(&address, goal, now),
            Err(reason) => self.down(reason),
        }
    }

    fn open(&mut self, path: &str, now: Instant) {
        match Transport::open(path, &self.registry, self.token) {
            Ok(transport) => self.talk(transport, now),
            Err(error) => self.down(format!(
                "{path}: {error}: is the server running, does it listen on this socket, and may \
                 this user open it?"
            )),
        }
    }

    fn look_up(&mut self, address: &HostPort, goal: Goal, now: Instant) {
        match self.resolver.look_up(&address.host, address.port) {
            Ok(Lookup::Known(addresses)) => self.dial(addresses.into(), goal, now),
            Ok(Lookup::Pending(ticket)) => {
                if let Some(connection) = &mut self.connection {
                    connection.stage = Stage::Resolving { ticket, goal };
                    // The link's own deadline watches over a resolver that hangs; with sentinels
                    // there are others to ask.
                    connection.deadline = connection.search.as_ref().map(|_| now + STEP_TIMEOUT);
                }
            }
            Err(reason) => self.fail(reason, now),
        }
    }

    /// Takes a lookup's answer, unless it comes too late.
    pub fn resolved(&mut self, answer: Answer, now: Instant) {
        let stage = self.connection.as_ref().map(|connection| &connection.stage);
        let Some(&Stage::Resolving { ticket, goal }) = stage else {
            return;
        };
        if ticket != answer.ticket {
            return;
        }
        match answer.addresses {
            Ok(addresses) => self.dial(addresses.into(), goal, now),
            Err(reason) => self.fail(reason, now),
        }
    }

    /// Dials the first address; the others come after it. Never empty.
    fn dial(&mut self, mut addresses: VecDeque<SocketAddr>, goal: Goal, now: Instant) {
        let Some(address) = addresses.pop_front() else {
            return self.fail("the name has no address".to_owned(), now);
        };
        let dialed = Transport::dial(address, &self.registry, self.token);
        match (dialed, &mut self.connection) {
            (Ok(transport), Some(connection)) => {
                connection.deadline = Some(now + STEP_TIMEOUT);
                connection.woken = true;
                connection.stage = Stage::Dialing {
                    transport,
                    address: address.to_string(),
                    others: addresses,
                    goal,
                };
            }
            (Ok(_), None) => {}
            (Err(error), _) if addresses.is_empty() => {
                self.fail(unreachable(&address.to_string(), &error), now)
            }
            (Err(_), _) => self.dial(addresses, goal, now),
        }
    }

    /// The socket stands: puts the question, or begins the talk.
    fn dialed(&mut self, goal: Goal, now: Instant) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        let Stage::Dialing { transport, .. } =
            std::mem::replace(&mut connection.stage, Stage::Idle)
        else {
            return;
        };
        match goal {
            Goal::Server => match self.encrypted(transport) {
                Ok(transport) => self.talk(transport, now),
                Err(reason) => self.fail(reason, now),
            },
            Goal::Sentinel => {
                let options = &self.plan.options;
                let user = options.sentinel_user.as_deref();
                let password = options.sentinel_password.as_ref();
                let query = Query::new(&options.master_name, user, password);
                connection.stage = Stage::Asking { transport, query };
                connection.deadline = Some(now + STEP_TIMEOUT);
            }
        }
    }

    /// With TLS upon it, where the broker's URL asks for that.
    fn encrypted(&self, transport: Transport) -> Result<Transport, String> {
        let broker = self
            .connection
            .as_ref()
            .map(|connection| &connection.broker);
        let Some(RedisBroker {
            tls: true,
            place: RedisPlace::Tcp(server),
            ..
        }) = broker
        else {
            return Ok(transport);
        };
        let tls = self.plan.tls.as_ref().ok_or("tls: not configured")?;
        let connection = tls
            .connect(&server.host)
            .map_err(|error| tls::reason(&error, TLS_KEY, clock::wall_ms()))?;
        Ok(transport.encrypt(connection))
    }

    fn talk(&mut self, transport: Transport, now: Instant) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        let found = match connection.search {
            Some(_) => Found::BySentinels,
            None => Found::ByAddress,
        };
        let broker = &connection.broker;
        let plan = &self.plan;
        let greeting = Greeting {
            user: broker.user.clone(),
            password: broker.password.clone(),
            db: broker.db,
            client_name: plan.client_name.clone(),
            channels: Channels::new(
                &plan.options,
                broker.db,
                &plan.exchange,
                &plan.routing_key,
                found,
            ),
            found,
        };
        let session = Session::new(&greeting, now);
        connection.stage = Stage::Talking { transport, session };
        connection.deadline = Some(now + STEP_TIMEOUT);
        connection.woken = true;
    }

    /// A try failed: on to the next address, the next sentinel, or the end.
    fn fail(&mut self, reason: String, now: Instant) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        let stage = std::mem::replace(&mut connection.stage, Stage::Idle);
        if let Stage::Dialing { others, goal, .. } = stage
            && !others.is_empty()
        {
            return self.dial(others, goal, now);
        }
        match &mut connection.search {
            Some(search) => {
                search.failed(reason);
                self.advance(now);
            }
            None => self.down(reason),
        }
    }

    fn down(&mut self, reason: String) {
        if let Some(connection) = self.connection.take() {
            let heard = match &connection.stage {
                Stage::Talking { session, .. } => Some(session.heard()),
                _ => None,
            };
            let event = Event::Down { reason, heard };
            self.events.push_back((connection.epoch, event));
        }
    }

    /// Gives the connection up at once.
    pub fn abandon(&mut self) {
        self.connection = None;
    }

    /// Lets messages through.
    pub fn consume(&mut self) {
        if let Some(connection) = &mut self.connection {
            connection.flowing = true;
            connection.woken = true;
        }
    }

    /// Nothing waits on a broker that keeps nothing.
    pub fn count_queue(&mut self) {
        if let Some(connection) = &self.connection {
            self.events
                .push_back((connection.epoch, Event::QueueLength(0)));
        }
    }

    /// Ends the subscription; what was published before still comes, then `Event::Down`.
    pub fn close(&mut self, now: Instant) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        if let Stage::Talking { session, .. } = &mut connection.stage
            && session.hang_up()
        {
            connection.flowing = true;
            connection.woken = true;
            connection.deadline = Some(now + CLOSE_TIMEOUT);
        } else {
            self.down("closed as asked".to_owned());
        }
    }

    /// The poll saw something on the socket.
    pub fn wake(&mut self) {
        if let Some(connection) = &mut self.connection {
            connection.woken = true;
        }
    }

    /// What is to be told the pipeline.
    pub fn next_event(&mut self) -> Option<(Epoch, Event)> {
        self.events.pop_front()
    }

    /// The next message that has arrived, with the epoch it belongs to.
    pub fn next(&mut self, now: Instant) -> Option<(Epoch, Message)> {
        loop {
            let connection = self.connection.as_mut()?;
            if !connection.may_progress() {
                return None;
            }
            let epoch = connection.epoch;
            match connection.progress(&self.plan, &mut self.recent, now) {
                Progress::Wait => {
                    connection.woken = false;
                    return None;
                }
                Progress::Again => {}
                Progress::Message(message) => return Some((epoch, message)),
                Progress::Dialed(goal) => self.dialed(goal, now),
                Progress::Master(address) => {
                    connection.inbox = Inbox::default();
                    self.look_up(&address, Goal::Server, now);
                }
                Progress::Live => self.live(),
                Progress::Closed => self.down("closed as asked".to_owned()),
                Progress::Failed(reason) => self.fail(reason, now),
            }
        }
    }

    fn live(&mut self) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        connection.deadline = None;
        if let Some(search) = connection.search.take() {
            self.first_sentinel += search.asked();
        }
        let notes = Vec::new();
        self.events
            .push_back((connection.epoch, Event::Ready { notes }));
    }

    /// True if `next` or `next_event` would find something.
    pub fn has_next(&self) -> bool {
        let progress = self
            .connection
            .as_ref()
            .is_some_and(Connection::may_progress);
        progress || !self.events.is_empty()
    }

    /// When time alone changes something here.
    pub fn deadline(&self) -> Option<Instant> {
        let connection = self.connection.as_ref()?;
        let ping = match &connection.stage {
            Stage::Talking { session, .. } => session.deadline(),
            _ => None,
        };
        [connection.deadline, ping].into_iter().flatten().min()
    }

    /// Pings, and ends what has taken too long.
    pub fn handle_timeout(&mut self, now: Instant) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        if connection.deadline.is_some_and(|deadline| now >= deadline) {
            connection.deadline = None;
            let reason = connection.overdue();
            return self.fail(reason, now);
        }
        if let Stage::Talking { session, .. } = &mut connection.stage {
            match session.handle_timeout(now) {
                Ok(()) => connection.woken |= !session.output().is_empty(),
                Err(reason) => self.fail(reason, now),
            }
        }
    }
}

impl Connection {
    fn may_progress(&self) -> bool {
        match self.stage {
            Stage::Idle | Stage::Resolving { .. } => false,
            _ => self.woken,
        }
    }

    /// Why a stage that took too long ends.
    fn overdue(&self) -> String {
        match &self.stage {
            Stage::Dialing { address, .. } => unreachable(address, &io::ErrorKind::TimedOut.into()),
            Stage::Resolving { .. } => "a name's lookup hangs: is the DNS answering?".to_owned(),
            Stage::Asking { .. } => {
                "the sentinel took the connection but did not answer".to_owned()
            }
            Stage::Talking { session, .. } if !session.is_live() && self.flowing => {
                "closed without the server's last word".to_owned()
            }
            Stage::Talking { .. } if self.broker.tls => {
                "the server took the connection but did not answer in time: does this port speak \
                 TLS?"
                    .to_owned()
            }
            Stage::Talking { .. } | Stage::Idle => {
                "the server took the connection but did not answer in time".to_owned()
            }
        }
    }

    fn progress(&mut self, plan: &Plan, recent: &mut RecentTags, now: Instant) -> Progress {
        match &mut self.stage {
            Stage::Idle | Stage::Resolving { .. } => Progress::Wait,
            Stage::Dialing {
                transport,
                address,
                goal,
                ..
            } => match transport.is_connected() {
                Ok(true) => Progress::Dialed(*goal),
                Ok(false) => Progress::Wait,
                Err(error) => Progress::Failed(unreachable(address, &error)),
            },
            Stage::Asking { transport, query } => {
                ask(transport, query, &mut self.inbox).unwrap_or_else(Progress::Failed)
            }
            // What the pipeline does not take yet stays where it is.
            Stage::Talking { session, .. } if session.is_live() && !self.flowing => Progress::Wait,
            Stage::Talking { transport, session } => {
                let twice = matches!(self.broker.place, RedisPlace::Sentinels(_));
                let mut talk = Talk {
                    transport,
                    session,
                    inbox: &mut self.inbox,
                    tag: &mut self.next_tag,
                    recent: twice.then_some(recent),
                    max_bulk: plan.max_bulk,
                };
                talk.step(now).unwrap_or_else(Progress::Failed)
            }
        }
    }
}

/// Sends what waits to be sent, as far as the socket takes it.
fn send(transport: &mut Transport, out: &mut Vec<u8>) -> Result<(), String> {
    while !out.is_empty() {
        match transport.write(out) {
            Ok(count) => drop(out.drain(..count)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(broken(&error)),
        }
    }
    transport.flush().map_err(|error| broken(&error))
}

/// Why a socket is of no use any more.
fn broken(error: &io::Error) -> String {
    match tls::cause(error) {
        Some(cause) => tls::reason(cause, TLS_KEY, clock::wall_ms()),
        None => error.to_string(),
    }
}

/// Reads once: true if something came.
fn receive(transport: &mut Transport, inbox: &mut Inbox, need: usize) -> Result<bool, String> {
    match inbox.fill(transport, need) {
        Ok(0) => Err("the server closed the connection".to_owned()),
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(true),
        Err(error) => Err(broken(&error)),
    }
}

fn not_resp(fault: &resp::NotResp) -> String {
    format!("not understood: {}: check host and port", fault.0)
}

/// Puts the question to a sentinel, or reads some of its answer.
fn ask(
    transport: &mut Transport,
    query: &mut Query,
    inbox: &mut Inbox,
) -> Result<Progress, String> {
    send(transport, query.output())?;
    match resp::parse(inbox.unread(), envelope::OVERHEAD).map_err(|fault| not_resp(&fault))? {
        Parsed::Frame { frame, length } => {
            let address = query.handle(&frame)?;
            inbox.consume(length);
            Ok(address.map_or(Progress::Again, Progress::Master))
        }
        Parsed::Incomplete(need) => match receive(transport, inbox, need)? {
            true => Ok(Progress::Again),
            false => Ok(Progress::Wait),
        },
        Parsed::Oversized { .. } => Err(session::unexpected()),
    }
}

/// The talk with a server, taken apart so that a frame can borrow from the inbox.
struct Talk<'a> {
    transport: &'a mut Transport,
    session: &'a mut Session,
    inbox: &'a mut Inbox,
    tag: &'a mut u64,
    /// Only where a publisher may publish everything twice.
    recent: Option<&'a mut RecentTags>,
    max_bulk: usize,
}

impl Talk<'_> {
    /// Takes one frame, or reads once.
    fn step(&mut self, now: Instant) -> Result<Progress, String> {
        send(self.transport, self.session.output())?;
        let parsed = resp::parse(self.inbox.unread(), self.max_bulk);
        match parsed.map_err(|fault| not_resp(&fault))? {
            Parsed::Incomplete(need) => self.read(need, now),
            Parsed::Frame { frame, length } => {
                let happening = self.session.handle(&frame, now)?;
                let progress = match happening {
                    Happening::Nothing => Progress::Again,
                    Happening::Live => Progress::Live,
                    Happening::Closed => Progress::Closed,
                    Happening::Message(payload) => {
                        opened(payload, self.recent.as_deref_mut(), self.tag)
                    }
                };
                self.inbox.consume(length);
                Ok(progress)
            }
            Parsed::Oversized {
                elements,
                length,
                content,
            } => {
                check_is_message(&elements)?;
                self.inbox.consume(length);
                self.inbox.discard(content + 2);
                let most = self.max_bulk;
                let reason = format!("envelope: {content} bytes: expected at most {most}");
                Ok(message(Err(reason), self.tag))
            }
        }
    }

    fn read(&mut self, need: usize, now: Instant) -> Result<Progress, String> {
        let any = receive(self.transport, self.inbox, need).map_err(|reason| self.cut(reason))?;
        if any {
            self.session.hear(now);
        }
        Ok(if any { Progress::Again } else { Progress::Wait })
    }

    /// A server that expects TLS hangs up on whoever speaks without it.
    fn cut(&self, reason: String) -> String {
        match self.session.is_greeting() && self.transport.is_plain() {
            true => format!("{reason} before it answered: does it expect TLS (rediss://)?"),
            false => reason,
        }
    }
}

fn check_is_message(elements: &[Frame<'_>]) -> Result<(), String> {
    match elements.first().and_then(Frame::text) {
        Some(b"pmessage" | b"message") => Ok(()),
        _ => Err(session::unexpected()),
    }
}

fn opened(payload: &[u8], recent: Option<&mut RecentTags>, tag: &mut u64) -> Progress {
    let opened = envelope::open(payload);
    let is_repeat = match (recent, &opened.delivery_tag) {
        (Some(recent), Some(tag)) => !recent.is_new(tag),
        _ => false,
    };
    match is_repeat {
        true => Progress::Again,
        false => message(opened.body, tag),
    }
}

fn message(body: Result<Vec<u8>, String>, tag: &mut u64) -> Progress {
    let number = *tag;
    *tag += 1;
    Progress::Message(Message {
        tag: DeliveryTag(number),
        body,
    })
}
