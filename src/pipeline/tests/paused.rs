//! A pause: nothing is consumed, what is here is delivered.

use super::*;

fn redis_subscription() -> Subscription {
    Subscription {
        brokers: vec![redis()],
        ..subscription()
    }
}

/// Everything it asks for, Close among it.
fn closes(bench: &mut Bench) -> bool {
    let mut closes = false;
    loop {
        match bench.poll() {
            Output::Close { epoch } => {
                assert_eq!(epoch, bench.epoch);
                closes = true;
            }
            Output::Wait(until) if until == Some(bench.now) => {}
            Output::Wait(_) => return closes,
            _ => {}
        }
    }
}

fn closed(bench: &mut Bench) -> Vec<Did> {
    bench.input(Input::SourceDown {
        epoch: bench.epoch,
        reason: "closed".into(),
        heard: None,
    });
    bench.pump_told()
}

#[test]
fn a_broker_that_keeps_is_left_once_all_is_acked() {
    let mut bench = Bench::new(&subscription());
    bench.deliver(&event("a", ""));
    bench.pump();
    bench.input(Input::Pause);
    assert!(bench.pipeline.is_paused());
    let did = bench.pump_told();
    assert!(
        matches!(did[..], [Did::Upload { .. }]),
        "no window: {did:?}"
    );
    bench.input(Input::Uploaded {
        batch: BatchId(0),
        verdict: Verdict::Stored,
    });
    assert!(matches!(bench.poll(), Output::Settle { .. }), "acked first");
    assert!(closes(&mut bench));
    assert_eq!(closed(&mut bench), [], "it stays away");
    assert_eq!(bench.pipeline.ledger().delivered, 1);

    bench.input(Input::Resume);
    assert_eq!(bench.pump_told(), [Did::Connect]);
}

#[test]
fn what_came_during_a_pause_is_covered_by_no_ack() {
    let mut bench = Bench::new(&subscription());
    bench.post(&["a"]);
    bench.input(Input::Pause);
    bench.deliver(&event("b", ""));
    bench.pump();
    bench.input(Input::Resume);
    assert!(closes(&mut bench), "tags of this connection are spoilt");
    bench.deliver(&event("c", ""));
    assert_eq!(bench.stored(0), [Did::Settle(1)]);
    assert_eq!(closed(&mut bench), [Did::Connect]);
    assert_eq!(bench.pipeline.ledger().received, 1);
}

#[test]
fn a_broker_that_keeps_nothing_is_left_at_once_and_what_it_said_is_delivered() {
    let mut bench = Bench::listening(&redis_subscription());
    bench.deliver(&event("a", ""));
    bench.pump();
    bench.input(Input::Pause);
    assert!(closes(&mut bench));
    assert_eq!(closed(&mut bench), []);
    assert!(!bench.pipeline.is_consuming());
    assert_eq!(bench.stored(0), []);
    assert_eq!(bench.pipeline.ledger().delivered, 1);
    bench.input(Input::Resume);
    assert_eq!(bench.pump_told(), [Did::Connect]);
}

#[test]
fn a_pause_can_be_stopped() {
    let mut bench = Bench::new(&subscription());
    bench.input(Input::Pause);
    assert!(closes(&mut bench));
    closed(&mut bench);
    bench.input(Input::Stop);
    let stopped = std::iter::from_fn(|| match bench.poll() {
        Output::Wait(_) => None,
        output => Some(matches!(output, Output::Stopped)),
    });
    assert!(stopped.into_iter().any(|stopped| stopped));
}

#[test]
fn a_drain_is_not_paused() {
    let mut bench = Bench::new(&subscription());
    bench.input(Input::Drain);
    bench.input(Input::Pause);
    assert!(!bench.pipeline.is_paused());
}

#[test]
fn another_api_is_asked_before_it_gets_a_batch() {
    let mut bench = Bench::new(&subscription());
    bench.post(&["a"]);
    let key_is_wrong = Verdict::Misconfigured {
        status: 401,
        reason: "wrong key".into(),
    };
    assert_eq!(bench.answered(0, key_is_wrong), []);
    bench.input(Input::ApiChanged);
    assert_eq!(bench.pump_told(), [Did::Probe], "no wait for the hold");
    bench.input(Input::Probed(Ok(())));
    assert!(matches!(bench.pump_told()[..], [Did::Upload { .. }]));
}
