//! Events as Celery 5.7 sends them, and the ways in which they are put before a broker.

use std::thread;

use amiquip::{
    AmqpProperties, Channel, Confirm, ConfirmSmoother, Connection, ExchangeDeclareOptions,
    ExchangeType, FieldTable, Publish, QueueDeclareOptions,
};
use crossbeam_channel::Receiver;
use serde_json::{Value, json};

use crate::support::publisher::uuid;
use crate::support::redis::{Publisher, wrapped};

/// Events of each task: sent, received, started, succeeded.
const LIFE: usize = 4;

/// Tasks that are worked on at the same time: their events come mixed.
const CONCURRENCY: usize = 10;

/// Messages that are published before their confirms are awaited.
const UNCONFIRMED: usize = 5_000;

const HOST: &str = "celery@gateway-worker-1";
const EPOCH: f64 = 1_767_225_600.0;

/// The event numbered `number` of an endless site: of 250 to 900 bytes.
pub fn event(number: usize) -> Value {
    let round = number / (LIFE * CONCURRENCY);
    let within = number % (LIFE * CONCURRENCY);
    let task = round * CONCURRENCY + within % CONCURRENCY;
    let mut event = match within / CONCURRENCY {
        0 => submitted("task-sent", task),
        1 => submitted("task-received", task),
        2 => json!({"type": "task-started"}),
        _ if task % 10 == 9 => failed(task),
        _ => json!({
            "type": "task-succeeded", "runtime": 0.012_345 + task as f64 / 1e6,
            "result": format!("{{'order': {task}, 'shipped': True, 'label': 'NE-{task:08}'}}"),
        }),
    };
    let common = json!({
        "uuid": uuid(task), "hostname": HOST, "utcoffset": 0, "pid": 4711,
        "clock": number, "timestamp": EPOCH + number as f64 / 1000.0,
    });
    merge(&mut event, common);
    event
}

fn submitted(kind: &str, task: usize) -> Value {
    json!({
        "type": kind,
        "name": "shop.orders.tasks.confirm_and_ship",
        "args": format!("({task}, 'warehouse-7', 'express delivery, leave at the door, bell is broken')"),
        "kwargs": format!(
            "{{'customer': 'c-{task}', 'express': True, 'weight': 12.5, 'tags': ['fragile', 'gift'], \
             'note': 'ring twice, then wait', 'depot': 'north-east, gate 12, second ramp'}}"
        ),
        "root_id": uuid(task), "parent_id": null, "retries": 0, "eta": null, "expires": null,
        "queue": "celery", "exchange": "", "routing_key": "celery",
    })
}

fn failed(task: usize) -> Value {
    json!({
        "type": "task-failed",
        "exception": format!("ShippingError('no ramp is free for order {task}')"),
        "traceback": format!(
            "Traceback (most recent call last):\n  File \"/srv/shop/venv/lib/python3.12/site-packages/celery/app/\
             trace.py\", line 453, in trace_task\n    R = retval = fun(*args, **kwargs)\n  File \"/srv/shop/shop/\
             orders/tasks.py\", line 88, in confirm_and_ship\n    raise ShippingError(f'no ramp is free for order \
             {{order}}')\nshop.orders.errors.ShippingError: no ramp is free for order {task}\n"
        ),
    })
}

fn merge(event: &mut Value, more: Value) {
    if let (Value::Object(event), Value::Object(more)) = (event, more) {
        event.extend(more);
    }
}

/// A task-received event whose JSON text has about `bytes` bytes, most of them in its arguments.
pub fn event_of(number: usize, bytes: usize) -> Value {
    let mut event = submitted("task-received", number);
    let common = json!({
        "uuid": uuid(number), "hostname": HOST, "utcoffset": 0, "pid": 4711,
        "clock": number, "timestamp": EPOCH + number as f64 / 1000.0,
    });
    merge(&mut event, common);
    event["kwargs"] = Value::from("{}");
    let missing = bytes.saturating_sub(event.to_string().len());
    let words = "'pallet 12, ramp 7, fragile', ";
    let args = words.repeat(missing / words.len());
    event["args"] = Value::from(format!("[{}]", args.trim_end_matches(", ")));
    event
}

/// Bodies of messages: `events` of the site in lists of `list`, or each by itself.
pub fn bodies(events: usize, list: usize) -> impl Iterator<Item = String> {
    (0..events).step_by(list).map(move |first| match list {
        1 => event(first).to_string(),
        _ => Value::from_iter((first..events.min(first + list)).map(event)).to_string(),
    })
}

/// An exchange of Celery's and the queues behind it, each of which gets every message.
pub struct Filler {
    channel: Channel,
    confirms: Receiver<Confirm>,
    smoother: ConfirmSmoother,
    exchange: String,
    open: usize,
    // Dropped last: the channel belongs to it.
    _connection: Connection,
}

impl Filler {
    /// Declares them as the agent does, or the broker would refuse one of both.
    pub fn open(url: &str, exchange: &str, queues: &[&str]) -> Filler {
        let mut connection = Connection::insecure_open(url).expect("the broker takes connections");
        let channel = connection.open_channel(None).expect("a channel");
        let durable = ExchangeDeclareOptions {
            durable: true,
            ..Default::default()
        };
        channel
            .exchange_declare(ExchangeType::Topic, exchange, durable)
            .expect("the exchange");
        for queue in queues {
            let durable = QueueDeclareOptions {
                durable: true,
                ..Default::default()
            };
            let queue = channel.queue_declare(*queue, durable).expect("the queue");
            channel
                .queue_bind(queue.name(), exchange, "#", FieldTable::new())
                .expect("the binding");
        }
        let confirms = channel.listen_for_publisher_confirms().expect("a listener");
        channel.enable_publisher_confirms().expect("confirms");
        Filler {
            channel,
            confirms,
            smoother: ConfirmSmoother::new(),
            exchange: exchange.to_owned(),
            open: 0,
            _connection: connection,
        }
    }

    /// Returns once the broker holds them all.
    pub fn fill(&mut self, bodies: impl Iterator<Item = String>) {
        for body in bodies {
            let properties = AmqpProperties::default()
                .with_content_type("application/json".to_owned())
                .with_content_encoding("utf-8".to_owned())
                .with_delivery_mode(1)
                .with_priority(0);
            let publish = Publish {
                body: body.as_bytes(),
                routing_key: "task.multi".to_owned(),
                mandatory: false,
                immediate: false,
                properties,
            };
            self.channel
                .basic_publish(&*self.exchange, publish)
                .expect("the broker takes messages");
            self.open += 1;
            if self.open == UNCONFIRMED {
                self.confirm();
            }
        }
        self.confirm();
    }

    fn confirm(&mut self) {
        while self.open > 0 {
            let confirm = self.confirms.recv().expect("the broker lives");
            for confirm in self.smoother.process(confirm) {
                assert!(matches!(confirm, Confirm::Ack(_)), "refused: {confirm:?}");
                self.open -= 1;
            }
        }
    }
}

/// kombu's envelopes around the first `events` of the site.
pub fn envelopes(events: usize) -> Vec<Vec<u8>> {
    let envelope = |number| wrapped(event(number).to_string().as_bytes(), &uuid(number));
    (0..events)
        .map(|number| envelope(number).into_bytes())
        .collect()
}

/// Publishes `payloads` in turn until `count` are sent, at `per_second` where there is one.
pub fn publish(
    redis: &mut Publisher,
    payloads: &[Vec<u8>],
    count: usize,
    per_second: Option<usize>,
) {
    let begun = leek_agent::clock::monotonic();
    // Ten milliseconds' worth: short beside what a socket holds.
    let portion = per_second.map_or(1_000, |rate| rate / 100);
    for first in (0..count).step_by(portion) {
        if let Some(rate) = per_second {
            let due = first as f64 / rate as f64;
            let early = due - (leek_agent::clock::monotonic() - begun).as_secs_f64();
            if early > 0.0 {
                thread::park_timeout(std::time::Duration::from_secs_f64(early));
            }
        }
        let start = first % payloads.len();
        let length = portion.min(count - first).min(payloads.len() - start);
        redis.flood(&payloads[start..start + length]);
        assert_eq!(
            length,
            portion.min(count - first),
            "portions divide the payloads"
        );
    }
}
