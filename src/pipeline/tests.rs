//! The pipeline driven by hand: one broker connection, an API that answers as told.

mod failing;
mod paused;
mod refused;
mod told;

use std::time::Duration;

use super::quarantine::{WriteId, Written};
use super::verdict::RefusedDocument;
use super::*;
use crate::clock;
use crate::config::{
    AmqpBroker, BatchLimits, Broker, FailoverStrategy, Login, RedisBroker, RedisPlace,
};
use crate::delivery::{DeliveryTag, Payload};
use crate::document::Validation;
use crate::secret::Secret;

const WINDOW: Duration = Duration::from_secs(5);

pub(super) fn subscription() -> Subscription {
    let broker = AmqpBroker {
        host: "h".into(),
        port: 1,
        user: "u".into(),
        password: Secret::new("p"),
        vhost: "/".into(),
        login: Login::Password,
        tls: false,
    };
    Subscription {
        name: "shop-qa".into(),
        brokers: vec![Broker::Amqp(broker)],
        failover: FailoverStrategy::RoundRobin,
        exchange: "e".into(),
        queue: "q".into(),
        routing_key: "#".into(),
        org_name: "mono".into(),
        app_name: "shop".into(),
        app_env: "qa".into(),
        app_key: Secret::new("k"),
        api_url: "http://h".into(),
        tls: None,
        api_tls: None,
        proxy: None,
        prefetch_count: 1000,
        concurrency_pool_size: 1,
        batch: BatchLimits {
            max_bytes: 2000,
            max_messages: 100,
            window: WINDOW,
        },
        buffer_bytes: 1024 * 1024,
        validation: Validation::Tolerant,
        policy: crate::document::Policy::default(),
        redis: crate::config::redis::RedisOptions::default(),
        quarantine: None,
        spool: None,
    }
}

pub(super) fn redis() -> Broker {
    Broker::Redis(RedisBroker {
        place: RedisPlace::Unix("/run/redis.sock".into()),
        user: None,
        password: None,
        db: 0,
        tls: false,
    })
}

/// What a step of the pipeline asked for, in short.
#[derive(Debug, PartialEq)]
enum Did {
    Connect,
    Probe,
    Consume,
    Upload {
        batch: u64,
        documents: usize,
        bytes: usize,
    },
    Settle(u64),
    /// A write, and the ids of the documents in it.
    Quarantine(u64, Vec<String>),
    NotKept(u64),
    Invalid(u64),
    Other,
}

impl Did {
    fn settled(&self) -> Option<u64> {
        if let Did::Settle(tag) = self {
            Some(*tag)
        } else {
            None
        }
    }
}

struct Bench {
    pipeline: Pipeline,
    now: Instant,
    epoch: Epoch,
    tag: u64,
}

impl Bench {
    /// It has asked for a broker and after the API; neither has answered.
    fn begin(subscription: &Subscription) -> Bench {
        let now = clock::monotonic();
        let mut bench = Bench {
            pipeline: Pipeline::new(subscription, now, 1),
            now,
            epoch: Epoch(1),
            tag: 0,
        };
        assert_eq!(bench.pump(), [Did::Connect, Did::Probe]);
        bench
    }

    /// Connected, and the API was found well.
    fn new(subscription: &Subscription) -> Bench {
        let mut bench = Bench::begin(subscription);
        bench.input(Input::SourceUp(Epoch(1)));
        assert_eq!(
            bench.pump(),
            [],
            "nothing is consumed before the API was found well"
        );
        bench.input(Input::Probed(Ok(())));
        assert!(bench.pump().contains(&Did::Consume));
        bench
    }

    /// The same behind a Redis, to which it listens before the API was found well.
    fn listening(subscription: &Subscription) -> Bench {
        let mut bench = Bench::begin(subscription);
        bench.input(Input::SourceUp(Epoch(1)));
        assert_eq!(bench.pump(), [Did::Consume]);
        bench.input(Input::Probed(Ok(())));
        assert_eq!(bench.pump_told(), []);
        bench
    }

    fn poll(&mut self) -> Output {
        self.pipeline.poll_output(Now {
            instant: self.now,
            wall_ms: 0,
        })
    }

    /// When it wants to be woken.
    fn wakes(&mut self) -> Option<Instant> {
        match self.poll() {
            Output::Wait(until) => until,
            other => panic!("{other:?}"),
        }
    }

    fn input(&mut self, input: Input) {
        self.pipeline.handle_input(input, self.now);
    }

    fn deliver(&mut self, body: &str) {
        self.tag += 1;
        let delivery = Delivery {
            epoch: self.epoch,
            tag: DeliveryTag(self.tag),
            payload: Payload::Json(body.as_bytes()),
        };
        self.pipeline
            .deliver(&delivery, self.now)
            .expect("there is room");
    }

    /// Everything the pipeline wants now.
    fn pump(&mut self) -> Vec<Did> {
        let mut did = Vec::new();
        loop {
            did.push(match self.poll() {
                Output::Wait(Some(until)) if until == self.now => continue,
                Output::Wait(_) => return did,
                Output::Connect { .. } => Did::Connect,
                Output::Probe => Did::Probe,
                Output::Consume { .. } => Did::Consume,
                Output::Upload {
                    batch,
                    body,
                    documents,
                } => {
                    let bytes = body.slice(documents.clone()).len();
                    Did::Upload {
                        batch: batch.0,
                        documents: documents.len(),
                        bytes,
                    }
                }
                Output::Settle { through, .. } => Did::Settle(through.0),
                Output::Quarantine { write, documents } => {
                    let ids = documents.iter().map(|one| one.body.id(one.document));
                    Did::Quarantine(write.0, ids.collect())
                }
                Output::Report(Report::Invalid { tag, .. }) => Did::Invalid(tag.0),
                Output::Report(Report::NotKept { documents, .. }) => Did::NotKept(documents),
                _ => Did::Other,
            });
            self.check_books();
        }
    }

    fn stored(&mut self, batch: u64) -> Vec<Did> {
        self.answered(batch, Verdict::Stored)
    }

    fn answered(&mut self, batch: u64, verdict: Verdict) -> Vec<Did> {
        self.input(Input::Uploaded {
            batch: BatchId(batch),
            verdict,
        });
        self.pump_told()
    }

    /// The API names these documents and stores all others of the batch.
    fn refused(&mut self, batch: u64, ids: &[&str]) -> Vec<Did> {
        let refused = ids.iter().map(|id| RefusedDocument {
            id: (*id).into(),
            reason: "400: mapping".into(),
        });
        let refused = refused.collect();
        self.answered(batch, Verdict::Partial { refused })
    }

    /// The disk took `kept` documents and not the `lost` ones.
    fn written(&mut self, write: u64, kept: u64, lost: u64) -> Vec<Did> {
        let written = Written {
            kept,
            lost,
            ..Written::default()
        };
        self.input(Input::Quarantined {
            write: WriteId(write),
            written,
        });
        self.pump_told()
    }

    fn pump_told(&mut self) -> Vec<Did> {
        let mut did = self.pump();
        did.retain(|one| *one != Did::Other);
        did
    }

    /// A batch of these documents is on its way; nothing else is ready.
    fn post(&mut self, ids: &[&str]) {
        for id in ids {
            self.deliver(&event(id, ""));
        }
        assert_eq!(self.pump_told(), []);
        self.now += WINDOW;
        let did = self.pump_told();
        assert!(matches!(did[..], [Did::Upload { .. }]), "{did:?}");
    }

    fn quarantine_lost(&self) -> u64 {
        self.pipeline.ledger().quarantine_lost
    }

    fn check_books(&self) {
        assert_eq!(
            self.pipeline.ledger().owed(),
            self.pipeline.pending_events()
        );
    }
}

fn event(uuid: &str, args: &str) -> String {
    format!(
        r#"{{"type": "task-received", "uuid": "{uuid}", "hostname": "h", "utcoffset": 0, "pid": 1, "clock": 1, "timestamp": 1.5, "args": "{args}"}}"#
    )
}

#[test]
fn a_window_ends_by_itself_and_the_ack_follows_the_answer() {
    let mut bench = Bench::new(&subscription());
    bench.deliver(&event("a", ""));
    bench.deliver(&event("b", ""));
    assert_eq!(bench.pump(), []);
    bench.now += WINDOW;
    let did = bench.pump();
    assert!(
        matches!(
            did[..],
            [Did::Upload {
                batch: 0,
                documents: 2,
                ..
            }]
        ),
        "{did:?}"
    );
    assert_eq!(bench.stored(0), [Did::Settle(2)]);
}

#[test]
fn the_pipeline_asks_to_be_woken_when_its_window_ends() {
    let mut bench = Bench::new(&subscription());
    bench.deliver(&event("a", ""));
    bench.pump();
    assert_eq!(bench.wakes(), Some(bench.now + WINDOW));
}

#[test]
fn a_message_that_fills_several_batches_is_acked_with_the_last() {
    let mut bench = Bench::new(&subscription());
    let events: Vec<_> = (0..12)
        .map(|number| event(&format!("task-{number}"), &"x".repeat(300)))
        .collect();
    bench.deliver(&event("before", ""));
    bench.deliver(&format!("[{}]", events.join(", ")));
    let mut settled = Vec::new();
    let mut did = bench.pump();
    for round in 0.. {
        settled.push(did.iter().filter_map(Did::settled).collect::<Vec<_>>());
        let Some(&Did::Upload { batch, bytes, .. }) = did.last() else {
            break;
        };
        assert!(bytes <= 2000, "{bytes}");
        assert!(round < 20);
        bench.now += WINDOW;
        did = bench.stored(batch);
    }
    // The first batch acks the message before the list, the last one the list.
    assert!(settled.len() > 4, "{settled:?}");
    assert_eq!((settled.remove(1), settled.pop()), (vec![1], Some(vec![2])));
    assert!(settled.iter().all(Vec::is_empty), "{settled:?}");
    assert_eq!(bench.pipeline.ledger().delivered, 13);
}

#[test]
fn a_document_over_the_limit_is_sent_alone() {
    let mut bench = Bench::new(&subscription());
    bench.deliver(&event("small", ""));
    bench.deliver(&event("large", &"x".repeat(5000)));
    bench.deliver(&event("next", ""));
    let did = bench.pump();
    assert!(
        matches!(did[..], [Did::Upload { documents: 1, .. }]),
        "{did:?}"
    );
    let did = bench.stored(0);
    assert!(
        matches!(
            did[..],
            [
                Did::Settle(1),
                Did::Upload {
                    documents: 1,
                    bytes: 5001..,
                    ..
                }
            ]
        ),
        "{did:?}"
    );
    bench.now += WINDOW;
    let did = bench.stored(1);
    assert!(
        matches!(did[..], [Did::Settle(2), Did::Upload { documents: 1, .. }]),
        "{did:?}"
    );
}

#[test]
fn messages_without_a_single_document_are_acked_in_their_turn() {
    let mut bench = Bench::new(&subscription());
    bench.deliver("[]");
    bench.deliver("{nonsense");
    bench.deliver("7");
    assert_eq!(bench.pump(), [Did::Invalid(2), Did::Invalid(3)]);
    bench.now += WINDOW;
    assert_eq!(bench.pump(), [Did::Settle(3)]);
    assert_eq!(bench.pipeline.ledger().invalid, 2);
}

#[test]
fn a_lost_connection_gives_back_what_is_not_on_its_way() {
    let mut bench = Bench::new(&subscription());
    bench.deliver(&event("sent", ""));
    bench.now += WINDOW;
    bench.pump();
    bench.now += WINDOW;
    bench.pump();
    bench.deliver(&event("waiting", ""));
    bench.pump();
    assert_eq!(bench.pipeline.pending_events(), 2);
    bench.input(Input::SourceDown {
        epoch: bench.epoch,
        reason: "gone".into(),
        heard: None,
    });
    bench.pump();
    assert_eq!(
        (
            bench.pipeline.pending_events(),
            bench.pipeline.ledger().returned
        ),
        (1, 1)
    );
    // The post ends well; its ack belongs to a connection that is gone.
    assert_eq!(bench.stored(0), []);
    assert_eq!(
        (
            bench.pipeline.pending_events(),
            bench.pipeline.ledger().delivered
        ),
        (0, 1)
    );
}

#[test]
fn a_message_that_no_ring_can_hold_is_invalid() {
    let mut bench = Bench::new(&subscription());
    bench.deliver(&event("large", &"x".repeat(1024 * 1024)));
    assert_eq!(bench.pump(), [Did::Invalid(1)]);
    bench.now += WINDOW;
    assert_eq!(bench.pump(), [Did::Settle(1)]);
}
