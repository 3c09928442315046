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
mod connection;
pub mod envelope;
mod failure;
mod inbox;
pub mod resp;
pub mod sentinel;
pub mod session;
mod transport;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::{Registry, Token};

use self::channels::{Channels, Found};
use self::connection::{Connection, Goal, Progress, Stage};
use self::envelope::RecentTags;
use self::inbox::Inbox;
use self::sentinel::{Query, Search};
use self::session::{Greeting, Session};
use self::transport::Transport;
use super::amqp::failure::unreachable;
use super::resolve::{Answer, Lookup, Resolver, Tell};
use super::{Event, Message};
use crate::clock;
use crate::config::redis::RedisOptions;
use crate::config::{HostPort, RedisBroker, RedisPlace, Subscription};
use crate::delivery::{Epoch, MAX_MESSAGE_BYTES};
use crate::tls::{self, ClientTls};

/// For the connection to one address, and for the greeting behind it.
const STEP_TIMEOUT: Duration = Duration::from_secs(5);

/// For the server's last word after the subscription was ended.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Steps of a connection in search of the next message: a read brings a hundred, so more than this
/// without one is a long message on its way, or a server that floods us with something else.
const STEPS_PER_LOOK: usize = 32;

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

    /// The next message that has arrived, with the epoch it belongs to. It gives up for now after a
    /// bounded search; `has_next` is true then.
    pub fn next(&mut self, now: Instant) -> Option<(Epoch, Message)> {
        for _ in 0..STEPS_PER_LOOK {
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
        None
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
