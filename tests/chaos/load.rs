//! What a row publishes: mostly good events, alone or in lists, and some that must be counted
//! instead of delivered.

use serde_json::{Value, json};

use crate::support::publisher::{event, uuid};

/// What must become of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meant {
    Delivered,
    Invalid,
    Filtered,
}

/// One event; its place in [`Load::sent`] is its number.
#[derive(Debug, Clone, Copy)]
pub struct Sent {
    pub meant: Meant,
    /// The number of its message.
    pub message: usize,
}

/// One message to publish.
pub struct Message {
    pub number: usize,
    pub routing_key: &'static str,
    pub body: Value,
}

#[derive(Debug)]
pub struct Load {
    pub sent: Vec<Sent>,
    messages: usize,
    random: fastrand::Rng,
}

/// Events that a worker's dispatcher puts into one message at most.
const LONGEST_LIST: usize = 20;

impl Load {
    pub fn new(seed: u64) -> Load {
        Load {
            sent: Vec::new(),
            messages: 0,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// Messages with `count` events in all.
    pub fn take(&mut self, count: usize) -> Vec<Message> {
        let end = self.sent.len() + count;
        let mut messages = Vec::new();
        while self.sent.len() < end {
            messages.push(self.message(end - self.sent.len()));
        }
        messages
    }

    /// One message with no event that must be counted: something to be waited for.
    pub fn take_good(&mut self) -> Message {
        let body = self.event(Meant::Delivered);
        self.wrap("task.received", body)
    }

    /// The number of the good event that was published last.
    pub fn newest_good(&self) -> Option<usize> {
        let is_good = |sent: &Sent| sent.meant == Meant::Delivered;
        self.sent.iter().rposition(is_good)
    }

    fn message(&mut self, most: usize) -> Message {
        if self.random.f64() < 0.1 {
            let length = self.random.usize(1..=LONGEST_LIST.min(most));
            let body = (0..length).map(|_| self.any_event()).collect();
            self.wrap("task.multi", body)
        } else {
            let body = self.any_event();
            self.wrap("task.received", body)
        }
    }

    fn wrap(&mut self, routing_key: &'static str, body: Value) -> Message {
        let number = self.messages;
        self.messages += 1;
        Message {
            number,
            routing_key,
            body,
        }
    }

    fn any_event(&mut self) -> Value {
        let meant = match self.random.u8(0..100) {
            0..=2 => Meant::Invalid,
            3..=5 => Meant::Filtered,
            _ => Meant::Delivered,
        };
        self.event(meant)
    }

    fn event(&mut self, meant: Meant) -> Value {
        // `event` writes the number into `clock`, by which it is known again.
        let mut body = event(self.sent.len());
        match meant {
            Meant::Delivered => {}
            Meant::Invalid => body["uuid"] = json!(7),
            Meant::Filtered => body["type"] = json!("task-cancelled"),
        }
        self.sent.push(Sent {
            meant,
            message: self.messages,
        });
        body
    }
}

/// The number of the event that a document was made of.
pub fn number_of(id: &str) -> Option<usize> {
    let digits = id.get(id.len().checked_sub(12)?..)?;
    let number = usize::from_str_radix(digits, 16).ok()?;
    (uuid(number) == id).then_some(number)
}
