//! From messages in the ring to the documents of the open batch.
//!
//! Messages are decoded one after the other, a bounded number of events at a time. A message whose
//! documents do not fit into one batch is continued, in place, in the next: it is acked with the
//! batch that holds its last event.
//!
//! A message leaves the ring once all its events are in a batch. A full ring turns further ones away
//! where the broker keeps them, and drops its oldest where the agent owes them.

use std::time::Instant;

use super::ledger::Ledger;
use super::report::{Report, Reports};
use super::ring::{Full, Position, Ring};
use crate::clock::Now;
use crate::config::{BatchLimits, Subscription};
use crate::delivery::{Delivery, DeliveryTag, Guarantee, MAX_MESSAGE_BYTES, Payload};
use crate::document::{
    Body, Context, Document, Merger, Rejected, Repairs, Screen, Validation, transform_through,
};
use crate::event::{self, Events, RawEvent};
use crate::json::scan::Parts;

/// Events decoded in one step, and the bytes of a message after which a step ends: about a
/// millisecond of work on a gateway. One event is decoded in one step, however long it is.
const EVENTS_PER_STEP: usize = 32;
const BYTES_PER_STEP: usize = 64 * 1024;

/// What a decoding step came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// More may be waiting.
    Progress,
    /// Every message in the ring is decoded.
    Idle,
    /// The open batch must be sealed before anything fits.
    Sealed,
}

/// A batch as it comes out of the intake.
pub struct Sealed {
    pub through: Option<DeliveryTag>,
    pub body: Body,
}

/// The batch that is being filled.
#[derive(Debug, Clone, Copy)]
struct Open {
    since: Instant,
    /// Messages that are wholly in it.
    messages: usize,
    through: Option<DeliveryTag>,
    /// The next document would make the body too long.
    full: bool,
}

/// The next event to decode: its message, and where in it if the message was begun.
#[derive(Debug, Clone, Copy, Default)]
struct Cursor {
    at: Position,
    inside: Option<usize>,
}

/// See the module's text.
pub struct Intake {
    guarantee: Guarantee,
    ring: Ring,
    cursor: Cursor,
    open: Option<Open>,
    merger: Merger,
    screen: Screen,
    /// Where the parts of the message in hand lie.
    parts: Parts,
    limits: BatchLimits,
    app_env: String,
    validation: Validation,
}

impl Intake {
    pub fn new(subscription: &Subscription, guarantee: Guarantee) -> Self {
        Intake {
            guarantee,
            ring: Ring::new(subscription.buffer_bytes),
            cursor: Cursor::default(),
            open: None,
            merger: Merger::new(),
            screen: Screen::new(subscription.policy.clone()),
            parts: Parts::default(),
            limits: subscription.batch,
            app_env: subscription.app_env.clone(),
            validation: subscription.validation,
        }
    }

    /// Takes a message into the ring. What cannot be read is counted here, and kept only as the
    /// place of its delivery tag, if there is something to ack.
    pub fn push(
        &mut self,
        delivery: &Delivery<'_>,
        ledger: &mut Ledger,
        reports: &mut Reports,
    ) -> Result<(), Full> {
        let readable = self.readable(delivery.payload);
        match self.guarantee {
            Guarantee::BrokerKeeps => self.hold(delivery, readable.as_ref().copied())?,
            Guarantee::AgentOwes => {
                if let Ok(body) = readable {
                    self.squeeze_in(delivery, body, ledger, reports);
                }
            }
        }
        if let Err(reason) = readable {
            ledger.received += 1;
            ledger.invalid += 1;
            reports.invalid(delivery.tag, reason);
        }
        Ok(())
    }

    fn hold<E>(&mut self, delivery: &Delivery<'_>, readable: Result<&[u8], E>) -> Result<(), Full> {
        self.ring.push(delivery.tag, readable.unwrap_or_default())
    }

    /// Makes room at the cost of the oldest messages. A body that is readable fits an empty ring.
    fn squeeze_in(
        &mut self,
        delivery: &Delivery<'_>,
        body: &[u8],
        ledger: &mut Ledger,
        reports: &mut Reports,
    ) {
        while self.ring.push(delivery.tag, body).is_err() {
            if !self.drop_oldest(ledger, reports) {
                return;
            }
        }
    }

    /// Bytes of the body that the open batch would have now.
    pub fn open_bytes(&self) -> usize {
        self.merger.encoded_len()
    }

    /// Documents in the open batch.
    pub fn open_documents(&self) -> usize {
        self.merger.documents()
    }

    /// Gives up the oldest message that is not decoded to its end; false where there is none.
    pub fn drop_oldest(&mut self, ledger: &mut Ledger, reports: &mut Reports) -> bool {
        let Some(record) = self.ring.read(self.cursor.at) else {
            return false;
        };
        let events = undecoded_events(record.body, self.cursor.inside);
        ledger.received += events;
        ledger.dropped += events;
        reports.dropped(events);
        self.pass(record.next);
        true
    }

    /// The message at the cursor is dealt with: what it said lies in the open batch.
    fn pass(&mut self, next: Position) {
        self.cursor = Cursor {
            at: next,
            inside: None,
        };
        self.ring.release_to(next);
    }

    fn readable<'a>(&self, payload: Payload<'a>) -> Result<&'a [u8], String> {
        let limit = MAX_MESSAGE_BYTES.min(self.ring.max_body());
        match payload {
            Payload::Unreadable(reason) => Err(reason.to_owned()),
            Payload::Json([]) => {
                Err("body: empty: expected a JSON event or a list of events".to_owned())
            }
            Payload::Json(body) if body.len() > limit => Err(format!(
                "body: {} bytes: expected at most {limit}",
                body.len()
            )),
            Payload::Json(body) => Ok(body),
        }
    }

    /// Decodes some more. Call again after `Progress`.
    pub fn step(&mut self, now: Now, ledger: &mut Ledger, reports: &mut Reports) -> Step {
        if self.is_full() {
            return Step::Sealed;
        }
        let Some(record) = self.ring.read(self.cursor.at) else {
            return Step::Idle;
        };
        let open = self.open.get_or_insert(Open {
            since: now.instant,
            messages: 0,
            through: None,
            full: false,
        });
        let mut reading = Reading {
            context: Context {
                app_env: &self.app_env,
                now_ms: now.wall_ms,
                validation: self.validation,
            },
            max_bytes: self.limits.max_bytes,
            tag: record.tag,
            merger: &mut self.merger,
            screen: &mut self.screen,
            ledger,
            reports,
        };
        match reading.message(record.body, self.cursor.inside, &mut self.parts) {
            Outcome::Finished => {
                open.messages += 1;
                open.through = Some(record.tag);
                let next = record.next;
                self.pass(next);
            }
            Outcome::Paused(inside) => self.cursor.inside = Some(inside),
            Outcome::NoRoom(inside) => {
                self.cursor.inside = Some(inside);
                open.full = true;
            }
        }
        Step::Progress
    }

    /// The open batch takes nothing more.
    pub fn is_full(&self) -> bool {
        self.open
            .is_some_and(|open| open.full || open.messages >= self.limits.max_messages)
    }

    /// When the open batch's window ends.
    pub fn window_end(&self) -> Option<Instant> {
        self.open.map(|open| open.since + self.limits.window)
    }

    pub fn has_open_batch(&self) -> bool {
        self.open.is_some()
    }

    /// The ring holds messages that are not decoded.
    pub fn has_backlog(&self) -> bool {
        self.cursor.at < self.ring.end()
    }

    /// Events that wait in the open batch.
    pub fn pending_events(&self) -> u64 {
        self.merger.events() as u64
    }

    /// Closes the open batch and hands it out.
    pub fn seal(&mut self) -> Option<Sealed> {
        let open = self.open.take()?;
        Some(Sealed {
            through: open.through,
            body: self.merger.seal(),
        })
    }

    /// A message of that length would be taken.
    pub fn has_room(&self, body_len: usize) -> bool {
        self.ring.has_room(body_len)
    }

    /// The connection is gone and its broker will deliver everything again: forgets all messages.
    /// Answers how many events the open batch held.
    pub fn forget(&mut self) -> u64 {
        let events = self.pending_events();
        self.merger.seal();
        self.open = None;
        self.ring.clear();
        self.cursor = Cursor {
            at: self.ring.end(),
            inside: None,
        };
        events
    }

    /// Bytes of the ring in use.
    pub fn ring_used(&self) -> usize {
        self.ring.used()
    }
}

/// Events of a message that were not looked at yet. A body that cannot be read counts as one, and so
/// does any object, unread: messages are dropped when there is no time to read them.
fn undecoded_events(body: &[u8], inside: Option<usize>) -> u64 {
    let events = match inside {
        Some(offset) => Ok(Events::resume(body, offset)),
        None if body.starts_with(b"{") => return 1,
        None => event::events(body),
    };
    events.map_or(1, |events| events.count() as u64)
}

/// How far a message was read.
enum Outcome {
    Finished,
    /// Enough for one step; go on at this offset.
    Paused(usize),
    /// The event at this offset does not fit into the open batch.
    NoRoom(usize),
}

/// One message on its way into the merger.
struct Reading<'a> {
    context: Context<'a>,
    max_bytes: usize,
    tag: DeliveryTag,
    merger: &'a mut Merger,
    screen: &'a mut Screen,
    ledger: &'a mut Ledger,
    reports: &'a mut Reports,
}

impl Reading<'_> {
    fn message<'b>(
        &mut self,
        body: &'b [u8],
        inside: Option<usize>,
        parts: &'b mut Parts,
    ) -> Outcome {
        if body.is_empty() {
            return Outcome::Finished;
        }
        let mut events = match inside {
            Some(offset) => Events::resume(body, offset),
            None => match event::events_noting(body, parts) {
                // It was looked at as a whole: enough for one step.
                Ok(events) if body.len() > BYTES_PER_STEP => {
                    return Outcome::Paused(events.offset());
                }
                Ok(events) => events,
                Err(fault) => {
                    self.ledger.received += 1;
                    self.invalid(fault.to_string());
                    return Outcome::Finished;
                }
            },
        };
        let begin = events.offset();
        for _ in 0..EVENTS_PER_STEP {
            let offset = events.offset();
            if offset - begin > BYTES_PER_STEP {
                break;
            }
            let Some(event) = events.next() else {
                return Outcome::Finished;
            };
            if !self.event(event) {
                return Outcome::NoRoom(offset);
            }
        }
        Outcome::Paused(events.offset())
    }

    /// Answers false, and changes nothing, where the event's document does not fit.
    fn event(&mut self, event: RawEvent<'_>) -> bool {
        let mut repairs = Repairs::default();
        let document = transform_through(self.screen, event, &self.context, &mut repairs);
        if document.as_ref().is_ok_and(|document| !self.fits(document)) {
            return false;
        }
        self.ledger.received += 1;
        match document.and_then(|document| self.merger.add(document)) {
            Ok(()) => {
                self.ledger.repaired += u64::from(!repairs.is_empty());
                self.reports.repaired(&repairs);
            }
            Err(Rejected::Invalid(reason)) => self.invalid(reason),
            Err(Rejected::Withheld(_)) => {
                self.ledger.filtered += 1;
                self.reports.withheld();
            }
            Err(Rejected::Filtered(event_type)) => {
                self.ledger.filtered += 1;
                self.reports.push(Report::Filtered {
                    tag: self.tag,
                    event_type,
                });
            }
        }
        true
    }

    /// A document alone in its batch always fits: there is no smaller way to send it.
    fn fits(&self, document: &Document) -> bool {
        self.merger.is_empty() || self.merger.fits(document, self.max_bytes)
    }

    fn invalid(&mut self, reason: String) {
        self.ledger.invalid += 1;
        self.reports.invalid(self.tag, reason);
    }
}
