//! Publishes what Celery would, and knows exactly what the broker took.

use amiquip::{
    AmqpProperties, AmqpValue, Channel, Confirm, ConfirmSmoother, Connection,
    ExchangeDeclareOptions, ExchangeType, FieldTable, Publish, QueueDeclareOptions, Return,
};
use crossbeam_channel::Receiver;
use serde_json::{Value, json};

/// Leek's defaults.
pub const EXCHANGE: &str = "celeryev";
pub const QUEUE: &str = "leek.fanout";

/// A connection that publishes with confirms. The broker keeps what it confirmed.
pub struct Publisher {
    // Dropped before the connection that it belongs to.
    channel: Channel,
    _connection: Connection,
    confirms: Receiver<Confirm>,
    returns: Receiver<Return>,
    smoother: ConfirmSmoother,
    sent: u64,
    confirmed: u64,
}

impl Publisher {
    /// Connects, and declares exchange and queue as Leek's agent does, so that events published
    /// before an agent runs are kept for it.
    pub fn open(url: &str) -> Publisher {
        let publisher = Publisher::connect(url);
        declare(&publisher.channel);
        publisher
    }

    /// Connects and declares nothing.
    pub fn connect(url: &str) -> Publisher {
        let mut connection = Connection::insecure_open(url).expect("the broker takes connections");
        let channel = connection.open_channel(None).expect("a channel");
        let confirms = channel.listen_for_publisher_confirms().expect("a listener");
        let returns = channel.listen_for_returns().expect("a listener");
        channel.enable_publisher_confirms().expect("confirms");
        Publisher {
            channel,
            _connection: connection,
            confirms,
            returns,
            smoother: ConfirmSmoother::new(),
            sent: 0,
            confirmed: 0,
        }
    }

    /// For what only one test declares.
    pub fn channel(&self) -> &Channel {
        &self.channel
    }

    /// The events numbered from `first`, each in a message of its own, held by the broker.
    pub fn send(&mut self, first: usize, count: usize) {
        for event in events(first, count) {
            self.event(&event);
        }
        self.confirm();
    }

    /// One event in a message of its own.
    pub fn event(&mut self, event: &Value) {
        self.json(&routing_key(event), event);
    }

    /// Several events in one message, as a worker's dispatcher buffers them.
    pub fn list(&mut self, events: &[Value]) {
        self.json("task.multi", &Value::from(events));
    }

    /// Any JSON value as a message.
    pub fn json(&mut self, routing_key: &str, body: &Value) {
        self.raw(routing_key, "application/json", body.to_string().as_bytes());
    }

    /// Any bytes as a message.
    pub fn raw(&mut self, routing_key: &str, content_type: &str, body: &[u8]) {
        let mut headers = FieldTable::new();
        headers.insert(
            "hostname".to_owned(),
            AmqpValue::LongString(HOST.to_owned()),
        );
        let properties = AmqpProperties::default()
            .with_content_type(content_type.to_owned())
            .with_content_encoding("utf-8".to_owned())
            .with_headers(headers)
            // Celery sends 1; what must outlive a broker's death needs 2.
            .with_delivery_mode(2)
            .with_priority(0);
        let publish = Publish {
            body,
            routing_key: routing_key.to_owned(),
            mandatory: true,
            immediate: false,
            properties,
        };
        self.channel
            .basic_publish(EXCHANGE, publish)
            .expect("the broker takes messages");
        self.sent += 1;
    }

    /// How many messages wait in the queue for a consumer.
    pub fn waiting(&self) -> u32 {
        let queue = self.channel.queue_declare_passive(QUEUE);
        let queue = queue.expect("the queue exists");
        queue.declared_message_count().expect("the broker counts")
    }

    /// Returns once the broker holds everything that was published.
    pub fn confirm(&mut self) {
        while self.confirmed < self.sent {
            let confirm = self.confirms.recv().expect("the broker lives");
            for confirm in self.smoother.process(confirm) {
                assert!(matches!(confirm, Confirm::Ack(_)), "refused: {confirm:?}");
                self.confirmed += 1;
            }
        }
        let lost = self.returns.try_iter().count();
        assert_eq!(lost, 0, "messages that found no queue");
    }
}

/// The same declarations as the agent's, or the broker would refuse one of both.
fn declare(channel: &Channel) {
    let durable = ExchangeDeclareOptions {
        durable: true,
        ..Default::default()
    };
    channel
        .exchange_declare(ExchangeType::Topic, EXCHANGE, durable)
        .expect("the exchange");
    let durable = QueueDeclareOptions {
        durable: true,
        ..Default::default()
    };
    channel.queue_declare(QUEUE, durable).expect("the queue");
    channel
        .queue_bind(QUEUE, EXCHANGE, "#", FieldTable::new())
        .expect("the binding");
}

const HOST: &str = "celery@gateway-worker-1";
/// 2026-01-01: fixed, since no test depends on today.
const EPOCH: f64 = 1_767_225_600.0;

/// Celery's: the type with a dot.
fn routing_key(event: &Value) -> String {
    event["type"].as_str().unwrap_or("").replace('-', ".")
}

/// A distinct uuid for each number, and the same for the same: a test can name what it sent.
pub fn uuid(number: usize) -> String {
    format!("5eed0000-0000-4000-8000-{number:012x}")
}

/// A task-received event of about 600 bytes, as Celery 5.7 sends them.
pub fn event(number: usize) -> Value {
    let uuid = uuid(number);
    json!({
        "type": "task-received",
        "uuid": uuid,
        "name": "shop.orders.tasks.confirm_and_ship",
        "args": format!("({number}, 'warehouse-7', 'express delivery, leave at the door, bell is broken')"),
        "kwargs": format!("{{'customer': 'c-{number}', 'express': True, 'weight': 12.5, \
                           'tags': ['fragile', 'gift'], 'note': 'ring twice, then wait', 'depot': 'north-east, gate 12, second ramp'}}"),
        "root_id": uuid,
        "parent_id": null,
        "retries": 0,
        "eta": null,
        "expires": null,
        "hostname": HOST,
        "utcoffset": 0,
        "pid": 4711,
        "clock": number,
        "timestamp": EPOCH + number as f64 / 1000.0,
    })
}

/// `count` distinct events, numbered from `first`.
pub fn events(first: usize, count: usize) -> Vec<Value> {
    (first..first + count).map(event).collect()
}
