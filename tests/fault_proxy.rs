//! The failing wire of the tests, tested on itself: each fault is what it claims to be.

mod support;

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::Duration;

use leek_agent::clock;
use support::fault_proxy::{FaultProxy, Passage, Record, Trouble, Wire};
use support::wait::{holds_for, wait_until};

const SOON: Duration = Duration::from_secs(20);

/// A server that says what it is told.
fn echo() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut out = stream.try_clone().expect("a descriptor");
                let _ = io::copy(&mut &stream, &mut out);
                let _ = out.shutdown(Shutdown::Write);
            });
        }
    });
    port
}

fn connect(wire: &FaultProxy) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", wire.port())).expect("it listens");
    stream.set_read_timeout(Some(SOON)).expect("a socket");
    stream
}

fn text(length: usize) -> Vec<u8> {
    (0..length).map(|at| b'a' + (at % 23) as u8).collect()
}

/// Sends `sent` and reads as much; answers it with the time it took.
fn round_trip(stream: &mut TcpStream, sent: &[u8]) -> (Vec<u8>, Duration) {
    let begun = clock::monotonic();
    let mut out = stream.try_clone().expect("a descriptor");
    let (to_send, mut read) = (sent.to_vec(), vec![0; sent.len()]);
    let sender = std::thread::spawn(move || out.write_all(&to_send));
    stream.read_exact(&mut read).expect("all comes back");
    sender.join().expect("no panic").expect("all is taken");
    (read, clock::monotonic() - begun)
}

/// True if nothing can be read now.
fn is_silent(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).expect("a socket");
    let found = stream.peek(&mut [0; 1]);
    stream.set_nonblocking(false).expect("a socket");
    found.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

fn is_reset(stream: &mut TcpStream) -> bool {
    let found = stream.read_to_end(&mut Vec::new());
    found.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset)
}

#[test]
fn a_perfect_wire_changes_nothing_and_carries_the_end() {
    let wire = FaultProxy::to(echo());
    let mut stream = connect(&wire);
    let sent = text(1_000_000);
    assert!(round_trip(&mut stream, &sent).0 == sent);
    stream.shutdown(Shutdown::Write).expect("a socket");
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).expect("an orderly end");
    assert!(rest.is_empty());
    assert_eq!((wire.connections(), wire.flips()), (1, 0));
}

#[test]
fn latency_loss_and_a_thin_line_only_take_time() {
    let wire = FaultProxy::to(echo());
    let mut stream = connect(&wire);
    let mut takes = |trouble: Trouble, length: usize| {
        wire.set(Wire::both(trouble));
        let sent = text(length);
        let (read, took) = round_trip(&mut stream, &sent);
        assert!(read == sent, "the bytes are others");
        took
    };
    let late = Trouble {
        latency: Duration::from_millis(100),
        jitter: Duration::from_millis(20),
        ..Trouble::default()
    };
    let took = takes(late, 100);
    assert!(took >= Duration::from_millis(200), "{took:?}");
    let thin = Trouble {
        rate: Some(50_000),
        ..Trouble::default()
    };
    let took = takes(thin, 20_000);
    assert!(took >= Duration::from_millis(390), "{took:?}");
    let lossy = Trouble {
        loss: 0.2,
        ..Trouble::default()
    };
    let took = takes(lossy, 100_000);
    assert!(took >= Duration::from_millis(400), "{took:?}");
}

#[test]
fn trouble_that_is_over_holds_nothing_back() {
    let wire = FaultProxy::to(echo());
    let mut stream = connect(&wire);
    wire.set(Wire::both(Trouble {
        rate: Some(1),
        ..Trouble::default()
    }));
    stream.write_all(&text(5_000)).expect("taken");
    assert!(holds_for(Duration::from_millis(100), || is_silent(&stream)));
    wire.heal();
    let mut read = vec![0; 5_000];
    stream.read_exact(&mut read).expect("all comes back");
    assert!(read == text(5_000));
}

#[test]
fn a_frozen_wire_holds_everything_and_a_refusing_one_lets_nobody_in() {
    let wire = FaultProxy::to(echo());
    let mut old = connect(&wire);
    assert_eq!(round_trip(&mut old, b"hello").0, b"hello");
    for passage in [Passage::Frozen, Passage::Refused] {
        wire.set(Wire::closed(passage));
        old.write_all(b"later").expect("the kernel takes it");
        let new = TcpStream::connect(("127.0.0.1", wire.port()));
        assert_eq!(new.is_ok(), passage == Passage::Frozen, "{passage:?}");
        assert!(holds_for(Duration::from_millis(200), || is_silent(&old)));
        wire.heal();
        let mut read = [0; 5];
        old.read_exact(&mut read).expect("it comes back");
        assert_eq!(&read, b"later");
        assert_eq!(round_trip(&mut connect(&wire), b"hello").0, b"hello");
    }
}

#[test]
fn a_reset_is_a_reset_and_a_cut_comes_after_its_bytes() {
    let wire = FaultProxy::to(echo());
    let mut stream = connect(&wire);
    assert_eq!(round_trip(&mut stream, b"hello").0, b"hello");
    wire.reset();
    assert!(is_reset(&mut stream));
    wire.set(Wire::down(Trouble {
        cut_after: Some(2_000),
        ..Trouble::default()
    }));
    let mut stream = connect(&wire);
    assert!(round_trip(&mut stream, &text(1_999)).0 == text(1_999));
    stream.write_all(b"x").expect("it is taken");
    assert!(is_reset(&mut stream));
}

#[test]
fn a_half_open_connection_swallows_and_a_new_one_works() {
    let wire = FaultProxy::to(echo());
    let mut old = connect(&wire);
    assert_eq!(round_trip(&mut old, b"hello").0, b"hello");
    wire.half_open();
    old.write_all(b"is anybody there").expect("it is taken");
    assert!(holds_for(Duration::from_millis(200), || is_silent(&old)));
    assert_eq!(round_trip(&mut connect(&wire), b"hello").0, b"hello");
    // Healing does not bring it back.
    wire.heal();
    assert!(holds_for(Duration::from_millis(100), || is_silent(&old)));
}

#[test]
fn turned_bits_are_counted_and_what_was_heard_is_known() {
    let wire = FaultProxy::seeded(echo(), 7, Record::Heard);
    let mut stream = connect(&wire);
    assert_eq!(round_trip(&mut stream, b"clean").0, b"clean");
    wire.set(Wire::down(Trouble {
        flip_every: Some(1_000),
        ..Trouble::default()
    }));
    let (read, _) = round_trip(&mut stream, &text(50_000));
    let turned = read.iter().zip(text(50_000));
    let turned: u32 = turned.map(|(is, was)| (is ^ was).count_ones()).sum();
    assert!((20..100).contains(&turned), "{turned} of about 50");
    // What is written is told a moment later.
    let told = || wire.heard()[0].bytes.len() == read.len() + 5;
    wait_until(SOON, "all is told", told);
    assert_eq!(wire.flips(), turned as usize);
    let heard = &wire.heard()[0];
    assert!(heard.bytes == [b"clean", &read[..]].concat());
    assert!(heard.flipped_at.is_some_and(|at| at >= 5));
}

/// A reset throws away what the client's kernel never got, and only that.
#[test]
fn what_a_reset_threw_away_was_not_heard() {
    let wire = FaultProxy::seeded(echo(), 0, Record::Heard);
    let mut stream = connect(&wire);
    // Far more than a client's socket takes while nobody reads.
    let mut out = stream.try_clone().expect("a descriptor");
    std::thread::spawn(move || out.write_all(&text(16_000_000)));
    let mut before = 0;
    wait_until(SOON, "every buffer is full", || {
        let now = wire.heard().first().map_or(0, |heard| heard.bytes.len());
        std::mem::replace(&mut before, now) == now && now > 0
    });
    wire.reset();
    let mut read = Vec::new();
    // The error itself may have gone to the thread that writes.
    let _ = stream.read_to_end(&mut read);
    assert_eq!(read.len(), wire.heard()[0].bytes.len());
}
