//! Two models. RabbitMQ: a queue, unacked deliveries, redelivery when a connection ends. Redis: what
//! nobody hears is gone, and nothing is ever delivered twice.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use leek_agent::delivery::Epoch;

/// A message and the events in it that the pipeline must get stored.
#[derive(Debug, Clone)]
pub struct Message {
    pub body: Vec<u8>,
    pub uuids: Vec<String>,
    /// What the ledger counts it as: `uuids` and what is none of Leek's.
    pub events: u64,
}

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    #[default]
    Rabbit,
    Redis,
}

/// How the ids of a worker's heartbeats begin.
pub const HEARTBEAT_PREFIX: &str = "alive-";

impl Message {
    pub fn is_heartbeat(&self) -> bool {
        self.uuids
            .iter()
            .any(|uuid| uuid.starts_with(HEARTBEAT_PREFIX))
    }
}

/// One connection, as the broker sees it.
#[derive(Debug)]
pub struct Connection {
    pub epoch: Epoch,
    pub consuming: bool,
    next_tag: u64,
    unacked: BTreeMap<u64, Message>,
}

#[derive(Debug, Default)]
pub struct Broker {
    pub kind: Kind,
    /// Of Redis: what is on its way to the subscriber.
    pub queue: VecDeque<Message>,
    pub connection: Option<Connection>,
    pub acked: Vec<Message>,
    /// Handed over by Redis.
    pub heard: Vec<Message>,
    pub prefetch: usize,
    /// Connections opened so far must never be acked on again.
    pub ended: BTreeSet<Epoch>,
}

impl Broker {
    pub fn publish(&mut self, message: Message) {
        let heard = self.connection.as_ref().is_some_and(|one| one.consuming);
        if heard || self.kind == Kind::Rabbit {
            self.queue.push_back(message);
        }
    }

    pub fn open(&mut self, epoch: Epoch) {
        self.end();
        self.connection = Some(Connection {
            epoch,
            consuming: false,
            next_tag: 1,
            unacked: BTreeMap::new(),
        });
    }

    /// The connection ends: what is unacked goes back to the queue's front, in order. Redis knows
    /// nothing of the kind.
    pub fn end(&mut self) -> Option<Epoch> {
        let connection = self.connection.take()?;
        if self.kind == Kind::Redis {
            self.queue.clear();
        }
        for message in connection.unacked.into_values().rev() {
            self.queue.push_front(message);
        }
        self.ended.insert(connection.epoch);
        Some(connection.epoch)
    }

    /// The next delivery, within the prefetch.
    pub fn deliver(&mut self) -> Option<(Epoch, u64, Message)> {
        let connection = self
            .connection
            .as_mut()
            .filter(|connection| connection.consuming)?;
        if connection.unacked.len() >= self.prefetch {
            return None;
        }
        let message = self.queue.pop_front()?;
        let tag = connection.next_tag;
        connection.next_tag += 1;
        match self.kind {
            Kind::Rabbit => drop(connection.unacked.insert(tag, message.clone())),
            Kind::Redis => self.heard.push(message.clone()),
        }
        Some((connection.epoch, tag, message))
    }

    /// Acks through `tag`; answers the messages that this covers.
    pub fn ack(&mut self, epoch: Epoch, tag: u64) -> Vec<Message> {
        let connection = self.connection.as_mut().expect("an ack needs a connection");
        assert_eq!(connection.epoch, epoch, "acked across connections");
        assert!(
            connection.unacked.contains_key(&tag),
            "acked twice, or never delivered: {tag}"
        );
        let rest = connection.unacked.split_off(&(tag + 1));
        let covered: Vec<_> = std::mem::replace(&mut connection.unacked, rest)
            .into_values()
            .collect();
        self.acked.extend(covered.iter().cloned());
        covered
    }

    pub fn unacked(&self) -> usize {
        self.connection
            .as_ref()
            .map_or(0, |connection| connection.unacked.len())
    }

    /// For the test of the test: a message that was acked and whose event nobody stored.
    pub fn lose_one_message(&mut self) {
        let lost = Message {
            body: Vec::new(),
            uuids: vec!["lost".into()],
            events: 1,
        };
        match self.kind {
            Kind::Rabbit => self.acked.push(lost),
            Kind::Redis => self.heard.push(lost),
        }
    }
}
