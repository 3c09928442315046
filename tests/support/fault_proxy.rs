//! A wire between two programs that fails as wires do, when a test says so: late, lossy, thin, cut,
//! frozen, or dead without a word.
//!
//! One thread carries all connections of a proxy. Faults are drawn from a seed, so a run can be
//! repeated as far as two kernels and two programs allow it.

mod lane;
mod pair;

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use leek_agent::clock;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};

use self::pair::Pair;
use super::keeper::lock;

/// What a wire does from now on. The default is a perfect one.
#[derive(Debug, Clone, Default)]
pub struct Wire {
    /// From the client, which connects, to the server.
    pub up: Trouble,
    pub down: Trouble,
    pub passage: Passage,
}

/// What befalls bytes in one direction.
#[derive(Debug, Clone, Default)]
pub struct Trouble {
    /// How long each byte is under way.
    pub latency: Duration,
    /// Up to how much longer, at random; the order is kept, as TCP keeps it.
    pub jitter: Duration,
    /// The chance of a segment to be lost: all behind it waits until it is sent again.
    pub loss: f64,
    /// Bytes a second at most.
    pub rate: Option<u32>,
    /// One bit is turned over in so many bytes, on average.
    pub flip_every: Option<u32>,
    /// Every connection is reset after so many bytes.
    pub cut_after: Option<u64>,
}

/// Whether anything passes at all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Passage {
    #[default]
    Open,
    /// What is under way waits, and so do new connections: the kernel takes them, nobody answers.
    Frozen,
    /// What is under way waits, and new connections are refused.
    Refused,
}

impl Wire {
    /// The same trouble in both directions.
    pub fn both(trouble: Trouble) -> Wire {
        Wire {
            up: trouble.clone(),
            down: trouble,
            passage: Passage::Open,
        }
    }

    /// Trouble on the way from the server only.
    pub fn down(trouble: Trouble) -> Wire {
        Wire {
            down: trouble,
            ..Wire::default()
        }
    }

    /// Nothing passes.
    pub fn closed(passage: Passage) -> Wire {
        Wire {
            passage,
            ..Wire::default()
        }
    }
}

/// What reached the client's side of one connection.
#[derive(Debug, Clone, Default)]
pub struct Heard {
    pub bytes: Vec<u8>,
    /// From here on it may not be what the server sent.
    pub flipped_at: Option<usize>,
}

/// Whether [`FaultProxy::heard`] is of interest; it costs memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Record {
    Nothing,
    Heard,
}

enum Order {
    Set(Wire),
    Reset,
    HalfOpen,
    HalfClose,
    End,
}

/// Listens on a port of its own and carries bytes to another one until it is dropped.
pub struct FaultProxy {
    port: u16,
    orders: Sender<(Order, Sender<()>)>,
    waker: Waker,
    told: Arc<Told>,
}

/// What the thread lets others know.
#[derive(Debug, Default)]
struct Told {
    connections: AtomicUsize,
    flips: AtomicUsize,
    heard: Mutex<Vec<Heard>>,
}

impl FaultProxy {
    /// Carries everything to `target` on this machine.
    pub fn to(target: u16) -> FaultProxy {
        FaultProxy::seeded(target, 0, Record::Nothing)
    }

    /// The same with faults drawn from `seed`.
    pub fn seeded(target: u16, seed: u64, record: Record) -> FaultProxy {
        FaultProxy::begin(lasting_listener(), target, seed, record)
    }

    /// The same from a socket of the caller's.
    pub fn on(listener: StdListener, target: u16) -> FaultProxy {
        FaultProxy::begin(listener, target, 0, Record::Nothing)
    }

    fn begin(listener: StdListener, target: u16, seed: u64, record: Record) -> FaultProxy {
        let address = listener.local_addr().expect("an address");
        let poll = Poll::new().expect("a poll");
        let waker = Waker::new(poll.registry(), WAKE).expect("a waker");
        let (orders, taken) = channel();
        let told = Arc::new(Told::default());
        let carrier = Carrier {
            address,
            target,
            record,
            poll,
            listener: None,
            wire: Wire::default(),
            pairs: BTreeMap::new(),
            orders: taken,
            told: Arc::clone(&told),
            random: fastrand::Rng::with_seed(seed),
        };
        std::thread::spawn(move || carrier.run(listener));
        FaultProxy {
            port: address.port(),
            orders,
            waker,
            told,
        }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// How many connections were made.
    pub fn connections(&self) -> usize {
        self.told.connections.load(Ordering::SeqCst)
    }

    /// How many bits were turned over on their way to a client.
    pub fn flips(&self) -> usize {
        self.told.flips.load(Ordering::SeqCst)
    }

    /// What reached the clients so far, connection by connection.
    pub fn heard(&self) -> Vec<Heard> {
        lock(&self.told.heard).clone()
    }

    /// How many bytes that was.
    pub fn heard_bytes(&self) -> usize {
        let heard = lock(&self.told.heard);
        heard.iter().map(|one| one.bytes.len()).sum()
    }

    /// From now on the wire is like that, for connections of today, too.
    pub fn set(&self, wire: Wire) {
        self.order(Order::Set(wire));
    }

    /// A perfect wire again. What was reset or half-opened stays so.
    pub fn heal(&self) {
        self.set(Wire::default());
    }

    /// Resets every connection, as a firewall does.
    pub fn reset(&self) {
        self.order(Order::Reset);
    }

    /// The connections of today live on, but what either side sends is lost: its peer has vanished.
    pub fn half_open(&self) {
        self.order(Order::HalfOpen);
    }

    /// Says nothing more to any client, which may still speak.
    pub fn half_close(&self) {
        self.order(Order::HalfClose);
    }

    /// Returns once it is done.
    fn order(&self, order: Order) {
        let (done, is_done) = channel();
        if self.orders.send((order, done)).is_ok() {
            self.waker.wake().expect("the poll lives with the thread");
            let _ = is_done.recv();
        }
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.order(Order::End);
    }
}

/// A port from below the range that the kernel gives to outgoing connections: it can be left and
/// taken again, and a client that tries it meanwhile cannot meet itself.
fn lasting_listener() -> StdListener {
    std::iter::repeat_with(|| fastrand::u16(20_000..32_000))
        .find_map(|port| StdListener::bind(("127.0.0.1", port)).ok())
        .expect("some port is free")
}

const WAKE: Token = Token(0);
const LISTENER: Token = Token(1);
/// The two sockets of connection n have the numbers 2n and 2n + 1 behind these.
const FIRST_PAIR: usize = 2;

/// Runs on the thread.
struct Carrier {
    address: SocketAddr,
    target: u16,
    record: Record,
    poll: Poll,
    listener: Option<TcpListener>,
    wire: Wire,
    pairs: BTreeMap<usize, Pair>,
    orders: Receiver<(Order, Sender<()>)>,
    told: Arc<Told>,
    random: fastrand::Rng,
}

impl Carrier {
    fn run(mut self, listener: StdListener) {
        listener.set_nonblocking(true).expect("a socket");
        self.listen(TcpListener::from_std(listener));
        let mut events = Events::with_capacity(64);
        while self.take_orders() {
            self.accept();
            let wait = self.carry(clock::monotonic());
            let until = |due: Instant| due.saturating_duration_since(clock::monotonic());
            // Rounded up by mio: no turn is spent on the rest of a millisecond.
            if self.poll.poll(&mut events, wait.map(until)).is_err() {
                continue;
            }
            for event in &events {
                let Some(number) = event.token().0.checked_sub(FIRST_PAIR) else {
                    continue;
                };
                if let Some(pair) = self.pairs.get_mut(&(number / 2)) {
                    pair.ready(number % 2, event);
                }
            }
        }
    }

    /// Answers false at the end.
    fn take_orders(&mut self) -> bool {
        while let Ok((order, _done)) = self.orders.try_recv() {
            match order {
                Order::Set(wire) => self.set(wire),
                Order::Reset => self.pairs.values_mut().for_each(Pair::reset),
                Order::HalfOpen => self.pairs.values_mut().for_each(Pair::swallow),
                Order::HalfClose => self.pairs.values_mut().for_each(Pair::half_close),
                Order::End => return false,
            }
            self.forget_ended();
        }
        true
    }

    fn set(&mut self, wire: Wire) {
        self.wire = wire;
        let now = clock::monotonic();
        self.pairs.values_mut().for_each(|pair| pair.hurry(now));
        match (self.wire.passage, &self.listener) {
            (Passage::Refused, _) => self.listener = None,
            (_, None) => {
                let again = TcpListener::bind(self.address).expect("the port is still ours");
                self.listen(again);
            }
            _ => {}
        }
    }

    fn listen(&mut self, mut listener: TcpListener) {
        self.poll
            .registry()
            .register(&mut listener, LISTENER, Interest::READABLE)
            .expect("a socket");
        self.listener = Some(listener);
    }

    /// Looks every time: it is asked only when something has happened.
    fn accept(&mut self) {
        if self.wire.passage == Passage::Frozen {
            return;
        }
        while let Some(Ok((client, _))) = self.listener.as_ref().map(TcpListener::accept) {
            let number = self.told.connections.fetch_add(1, Ordering::SeqCst);
            lock(&self.told.heard).push(Heard::default());
            let server = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], self.target)));
            // Without a descriptor the client is just closed.
            if let Ok(server) = server {
                let registry = self.poll.registry();
                let pair = Pair::new(registry, number, client, server, Arc::clone(&self.told));
                self.pairs.insert(number, pair);
            }
        }
    }

    /// Moves what can be moved; answers when time alone lets more pass.
    fn carry(&mut self, now: Instant) -> Option<Instant> {
        if self.wire.passage != Passage::Open {
            return None;
        }
        let (wire, random, record) = (&self.wire, &mut self.random, self.record);
        let waits = self
            .pairs
            .values_mut()
            .filter_map(|pair| pair.carry(wire, random, record, now));
        let wait = waits.min();
        self.forget_ended();
        wait
    }

    fn forget_ended(&mut self) {
        self.pairs.retain(|_, pair| !pair.is_ended());
    }
}

impl Heard {
    fn add(&mut self, bytes: &[u8], flips: usize) {
        if flips > 0 {
            self.flipped_at.get_or_insert(self.bytes.len());
        }
        self.bytes.extend_from_slice(bytes);
    }
}
