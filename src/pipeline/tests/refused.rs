//! Refused documents and the disk: who waits for whom, and for how long.

use std::time::Duration;

use super::{Bench, Did, redis, subscription};
use crate::config::Subscription;
use crate::config::quarantine::Quarantine;
use crate::pipeline::Input;
use crate::pipeline::quarantine::{PATIENCE, WriteId, Written};

/// A subscription whose refused documents are kept.
fn keeping() -> Subscription {
    Subscription {
        quarantine: Quarantine::new("q".into(), 1),
        ..subscription()
    }
}

fn write(number: u64, ids: &[&str]) -> Did {
    Did::Quarantine(number, ids.iter().map(|id| (*id).to_owned()).collect())
}

#[test]
fn a_batch_is_acked_once_its_refused_documents_are_written() {
    let mut bench = Bench::new(&keeping());
    bench.post(&["a", "b", "c"]);
    assert_eq!(bench.refused(0, &["a", "c"]), [write(0, &["a", "c"])]);
    assert!(bench.pipeline.owes());
    assert_eq!(bench.wakes(), Some(bench.now + PATIENCE));
    bench.now += PATIENCE - Duration::from_millis(1);
    assert_eq!(bench.pump_told(), []);
    assert_eq!(bench.written(0, 2, 0), [Did::Settle(3)]);
    assert!(!bench.pipeline.owes());
    let ledger = bench.pipeline.ledger();
    assert_eq!((ledger.delivered, ledger.quarantined), (1, 2));
    assert_eq!(ledger.quarantine_lost, 0);
}

#[test]
fn where_nothing_is_kept_nothing_is_waited_for() {
    let mut bench = Bench::new(&subscription());
    bench.post(&["a", "b"]);
    assert_eq!(bench.refused(0, &["a"]), [Did::Settle(2)]);
    assert_eq!(bench.quarantine_lost(), 0);
}

#[test]
fn what_made_room_is_counted() {
    let mut bench = Bench::new(&keeping());
    bench.post(&["a"]);
    assert_eq!(bench.refused(0, &["a"]), [write(0, &["a"])]);
    let written = Written {
        kept: 1,
        evicted: 40,
        ..Written::default()
    };
    let write = WriteId(0);
    bench.input(Input::Quarantined { write, written });
    assert_eq!(bench.pump_told(), [Did::Settle(1)]);
    assert_eq!(bench.pipeline.ledger().quarantine_evicted, 40);
}

#[test]
fn a_disk_that_fails_stops_no_delivery() {
    let mut bench = Bench::new(&keeping());
    bench.post(&["a", "b", "c"]);
    assert_eq!(bench.refused(0, &["a", "b"]), [write(0, &["a", "b"])]);
    assert_eq!(bench.written(0, 1, 1), [Did::Settle(3), Did::NotKept(1)]);
    assert_eq!(bench.quarantine_lost(), 1);
}

#[test]
fn a_disk_that_hangs_stops_delivery_once_and_not_for_long() {
    let mut bench = Bench::new(&keeping());
    bench.post(&["a", "b"]);
    assert_eq!(bench.refused(0, &["a"]), [write(0, &["a"])]);
    // Meanwhile the next batch goes out; what is refused there waits for the next write.
    bench.post(&["c", "d"]);
    assert_eq!(bench.refused(1, &["d"]), []);
    bench.now += PATIENCE;
    assert_eq!(bench.pump_told(), [Did::Settle(4), Did::NotKept(2)]);
    assert_eq!(bench.quarantine_lost(), 2);
    // It still hangs: nobody waits a second time.
    bench.post(&["e"]);
    assert_eq!(bench.refused(2, &["e"]), [Did::Settle(5), Did::NotKept(1)]);
    assert_eq!(bench.quarantine_lost(), 3);
    // At long last it has written the first after all, and is asked again.
    assert_eq!(bench.written(0, 1, 0), []);
    assert_eq!(bench.quarantine_lost(), 2);
    bench.post(&["f"]);
    assert_eq!(bench.refused(3, &["f"]), [write(1, &["f"])]);
    assert_eq!(bench.written(1, 1, 0), [Did::Settle(6)]);
}

#[test]
fn what_is_refused_during_a_write_goes_into_the_next_one() {
    let mut bench = Bench::new(&keeping());
    bench.post(&["a", "b"]);
    assert_eq!(bench.refused(0, &["a"]), [write(0, &["a"])]);
    bench.post(&["c", "d"]);
    assert_eq!(bench.refused(1, &["c", "d"]), []);
    assert_eq!(
        bench.written(0, 1, 0),
        [Did::Settle(2), write(1, &["c", "d"])]
    );
    assert_eq!(bench.written(1, 2, 0), [Did::Settle(4)]);
}

#[test]
fn a_lost_connection_takes_back_what_is_not_written() {
    let mut bench = Bench::new(&keeping());
    bench.post(&["a", "b"]);
    assert_eq!(bench.refused(0, &["a"]), [write(0, &["a"])]);
    bench.post(&["c", "d"]);
    assert_eq!(bench.refused(1, &["c"]), []);
    bench.input(Input::SourceDown {
        epoch: bench.epoch,
        reason: "gone".into(),
        heard: None,
    });
    bench.pump();
    // Neither message was acked, so all of it comes again: no further write, and no ack.
    assert_eq!(bench.written(0, 1, 0), []);
    assert_eq!(bench.quarantine_lost(), 0);
    assert!(!bench.pipeline.owes());
}

#[test]
fn a_stop_waits_for_the_disk_and_leaves_the_message_to_the_broker_if_in_vain() {
    let mut bench = Bench::new(&keeping());
    bench.post(&["a"]);
    assert_eq!(bench.refused(0, &["a"]), [write(0, &["a"])]);
    bench.input(Input::Stop);
    assert_eq!(bench.pump_told(), []);
    bench.input(Input::GiveUp);
    assert_eq!(bench.pump_told(), []);
    assert!(bench.pipeline.owes(), "it was not acked");
}

#[test]
fn a_stop_that_cannot_wait_counts_what_no_broker_keeps_as_lost() {
    let mut bench = Bench::listening(&Subscription {
        brokers: vec![redis()],
        ..keeping()
    });
    bench.post(&["a", "b"]);
    assert_eq!(bench.refused(0, &["a"]), [write(0, &["a"])]);
    bench.post(&["c"]);
    assert_eq!(bench.refused(1, &["c"]), []);
    bench.input(Input::Stop);
    assert_eq!(bench.pump_told(), []);
    bench.input(Input::GiveUp);
    assert_eq!(bench.pump_told(), [Did::NotKept(2)]);
    assert_eq!(bench.quarantine_lost(), 2);
    assert!(!bench.pipeline.owes());
}
