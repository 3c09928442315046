//! An hour without the API, and producers that never stop, in virtual time: the pipeline keeps to its
//! memory and to its pace, and afterwards every event is delivered or counted.

mod support;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use leek_agent::clock::{self, Now};
use leek_agent::delivery::{Delivery, DeliveryTag, Epoch, Payload};
use leek_agent::pipeline::batch::BatchId;
use leek_agent::pipeline::verdict::Verdict;
use leek_agent::pipeline::{Input, Output, Pipeline};
use serde_json::json;
use support::agent::{configured, subscription, with};
use support::heap::live_heap;
use support::publisher::event;

const RING: usize = 1 << 20;
const BATCH: usize = 1 << 20;
const PREFETCH: u64 = 1_000;

/// How often the world turns, and how many events come each time: enough to keep the ring full.
const STEP: Duration = Duration::from_millis(50);
const EVENTS_A_STEP: u64 = 2;

/// How long the API takes to answer.
const ANSWER: Duration = Duration::from_millis(200);

const HOUR: Duration = Duration::from_secs(3_600);

/// A request that is under way.
enum Request {
    Probe,
    Post(BatchId),
}

struct World {
    pipeline: Pipeline,
    now: Instant,
    epoch: Option<Epoch>,
    requests: VecDeque<(Instant, Request)>,
    asked: usize,
    api_is_up: bool,
    offered: u64,
    acked: u64,
    most_heap: usize,
}

impl World {
    fn new(broker: &str) -> World {
        let changes = json!({"buffer_max_size_in_mb": 1});
        let configured = configured(&with(subscription(broker, "http://api"), &changes));
        let now = clock::monotonic();
        World {
            pipeline: Pipeline::new(&configured, now, 7),
            now,
            epoch: None,
            requests: VecDeque::new(),
            asked: 0,
            api_is_up: true,
            offered: 0,
            acked: 0,
            most_heap: 0,
        }
    }

    fn run_for(&mut self, span: Duration, prefetch: u64) {
        let end = self.now + span;
        while self.now < end {
            self.now += STEP;
            self.answer();
            let room = (self.acked + prefetch).saturating_sub(self.offered);
            for _ in 0..EVENTS_A_STEP.min(room) {
                self.offer();
            }
            self.pump();
            self.most_heap = self.most_heap.max(live_heap());
        }
    }

    fn answer(&mut self) {
        while self.requests.front().is_some_and(|(at, _)| *at <= self.now) {
            let Some((_, request)) = self.requests.pop_front() else {
                return;
            };
            let unwell = || Verdict::Unwell {
                status: Some(503),
                reason: "503: empty answer".into(),
                retry_after: None,
            };
            let input = match (request, self.api_is_up) {
                (Request::Probe, true) => Input::Probed(Ok(())),
                (Request::Probe, false) => Input::Probed(Err(unwell())),
                (Request::Post(batch), is_up) => Input::Uploaded {
                    batch,
                    verdict: if is_up { Verdict::Stored } else { unwell() },
                },
            };
            self.pipeline.handle_input(input, self.now);
        }
    }

    /// A message that does not fit waits in the broker.
    fn offer(&mut self) {
        let Some(epoch) = self.epoch else { return };
        let body = event(self.offered as usize).to_string();
        let delivery = Delivery {
            epoch,
            tag: DeliveryTag(self.offered + 1),
            payload: Payload::Json(body.as_bytes()),
        };
        if self.pipeline.deliver(&delivery, self.now).is_ok() {
            self.offered += 1;
        }
    }

    fn pump(&mut self) {
        loop {
            let now = Now {
                instant: self.now,
                wall_ms: 1_700_000_000_000,
            };
            match self.pipeline.poll_output(now) {
                Output::Wait(Some(until)) if until <= self.now => {}
                Output::Wait(_) => return,
                Output::Connect { epoch, .. } => {
                    self.pipeline.handle_input(Input::SourceUp(epoch), self.now)
                }
                Output::Consume { epoch } => self.epoch = Some(epoch),
                Output::Probe => self.ask(Request::Probe),
                Output::Upload { batch, body, .. } => {
                    assert!(body.bytes().len() <= BATCH);
                    self.ask(Request::Post(batch));
                }
                Output::Settle { through, .. } => self.acked = through.0,
                _ => {}
            }
        }
    }

    fn ask(&mut self, request: Request) {
        self.asked += 1;
        self.requests.push_back((self.now + ANSWER, request));
    }
}

/// `prefetch` is what the broker hands out without an ack.
fn goes_through_an_hour(broker: &str, prefetch: u64) {
    let heap = live_heap();
    let mut world = World::new(broker);
    world.run_for(Duration::from_secs(10), prefetch);
    let stored = world.pipeline.ledger().delivered;
    assert!(stored > 0, "it works");

    world.api_is_up = false;
    world.asked = 0;
    world.run_for(HOUR, prefetch);
    let (asked, most) = (world.asked, world.most_heap.saturating_sub(heap));
    println!(
        "{broker}: {asked} requests, at most {} KiB of heap",
        most / 1024
    );
    // Full jitter up to a minute: half a minute on average.
    assert!((60..=250).contains(&asked), "{asked} requests");
    assert!(world.pipeline.ring_used() <= RING);
    assert!(most <= RING + 4 * BATCH, "{most} bytes");
    let late = world.pipeline.ledger().delivered - stored;
    assert!(late <= PREFETCH, "{late} stored by an API that was down");

    world.api_is_up = true;
    world.run_for(Duration::from_secs(120), prefetch);
    // No more comes: what is held goes out.
    world.run_for(Duration::from_secs(10), 0);
    let ledger = *world.pipeline.ledger();
    assert_eq!(world.pipeline.pending_events(), 0, "{ledger:?}");
    assert_eq!(ledger.received, ledger.delivered + ledger.dropped);
    assert_eq!(ledger.received, world.offered);
}

// One test: what is on the heap is the whole process's.
#[test]
fn an_hour_without_the_api_costs_a_ring_and_a_few_batches() {
    goes_through_an_hour("amqp://broker//", PREFETCH);
    goes_through_an_hour("redis://broker/0", u64::MAX / 2);
}
