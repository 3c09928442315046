//! One connection to Redis: where it stands, and a look at its socket.
//!
//! It decides nothing about what comes next; that is the source's.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Instant;

use super::envelope::{self, RecentTags};
use super::inbox::Inbox;
use super::resp::{self, Frame, Parsed};
use super::sentinel::{Query, Search};
use super::session::{self, Happening, Session};
use super::transport::Transport;
use super::{Message, Plan, TLS_KEY};
use crate::clock;
use crate::config::{HostPort, RedisBroker, RedisPlace};
use crate::delivery::{DeliveryTag, Epoch};
use crate::source::amqp::failure::unreachable;
use crate::tls;

pub(super) struct Connection {
    pub(super) epoch: Epoch,
    pub(super) broker: RedisBroker,
    /// Only with sentinels, until the master is found.
    pub(super) search: Option<Search>,
    pub(super) stage: Stage,
    /// When the stage has taken too long.
    pub(super) deadline: Option<Instant>,
    /// Something may have happened on the socket since it was last looked at.
    pub(super) woken: bool,
    /// The pipeline takes messages.
    pub(super) flowing: bool,
    pub(super) inbox: Inbox,
    pub(super) next_tag: u64,
}

/// Whom a lookup or a dial is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Goal {
    Sentinel,
    Server,
}

pub(super) enum Stage {
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
pub(super) enum Progress {
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

impl Connection {
    pub(super) fn may_progress(&self) -> bool {
        match self.stage {
            Stage::Idle | Stage::Resolving { .. } => false,
            _ => self.woken,
        }
    }

    /// Why a stage that took too long ends.
    pub(super) fn overdue(&self) -> String {
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

    pub(super) fn progress(
        &mut self,
        plan: &Plan,
        recent: &mut RecentTags,
        now: Instant,
    ) -> Progress {
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
    match transport.flush() {
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(broken(&error)),
        _ => Ok(()),
    }
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
