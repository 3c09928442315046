//! Brokers that break every rule, one at each connection: a good session up to a step, then a
//! misdeed, both drawn from the connection's number. The same number does the same again.

mod amqp;
mod redis;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// How long a hostile broker waits for a client that may have nothing to say, and then hangs up.
const PATIENCE: Duration = Duration::from_millis(150);

/// Whose rules are broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Amqp,
    Redis,
}

impl Protocol {
    /// What a good session consists of.
    pub fn steps(self) -> usize {
        match self {
            Protocol::Amqp => amqp::STEPS,
            Protocol::Redis => redis::STEPS,
        }
    }

    fn deeds(self) -> Vec<Deed> {
        let special = match self {
            Protocol::Amqp => &amqp::DEEDS[..],
            Protocol::Redis => &redis::DEEDS[..],
        };
        [&GENERAL, special].concat()
    }

    /// Connections until every misdeed was done at every step once.
    pub fn round(self) -> usize {
        self.steps() * self.deeds().len()
    }
}

/// A broker that breaks rules, until it is dropped.
pub struct Hostile {
    pub port: u16,
    taken: Arc<AtomicUsize>,
    silent: Arc<AtomicUsize>,
    ended: Arc<AtomicBool>,
}

impl Hostile {
    /// Listens on a free port; the first connection has the number `first`, each further one
    /// `stride` more.
    pub fn start(protocol: Protocol, first: usize, stride: usize) -> Hostile {
        Hostile::begin(protocol, move |taken| {
            let number = first + stride * taken;
            let deeds = protocol.deeds();
            Mischief {
                step: number % protocol.steps(),
                deed: deeds[number / protocol.steps() % deeds.len()],
                random: fastrand::Rng::with_seed(number as u64),
            }
        })
    }

    /// The same, but it falls silent for ever, each connection one step later than the last.
    pub fn start_silent(protocol: Protocol) -> Hostile {
        Hostile::begin(protocol, move |taken| Mischief {
            step: taken % protocol.steps(),
            deed: |good, _| Then::Hang(good[..good.len() / 2].to_vec()),
            random: fastrand::Rng::with_seed(0),
        })
    }

    fn begin(protocol: Protocol, mischief: impl Fn(usize) -> Mischief + Send + 'static) -> Hostile {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let hostile = Hostile {
            port: listener.local_addr().expect("an address").port(),
            taken: Arc::default(),
            silent: Arc::default(),
            ended: Arc::default(),
        };
        let taken = Arc::clone(&hostile.taken);
        let silent = Arc::clone(&hostile.silent);
        let ended = Arc::clone(&hostile.ended);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                let peer = Peer {
                    client,
                    mischief: mischief(taken.fetch_add(1, Ordering::SeqCst)),
                    silent: Arc::clone(&silent),
                };
                std::thread::spawn(move || serve(protocol, peer));
            }
        });
        hostile
    }

    /// Connections that it fell silent on so far.
    pub fn silent(&self) -> usize {
        self.silent.load(Ordering::SeqCst)
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.taken.load(Ordering::SeqCst)
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        // Whoever connects wakes the listener.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn serve(protocol: Protocol, mut peer: Peer) {
    let _ = peer.client.set_read_timeout(Some(PATIENCE));
    let _ = peer.client.set_write_timeout(Some(PATIENCE));
    // Every error is the client's way out, or the broker's own.
    let _ = match protocol {
        Protocol::Amqp => amqp::serve(&mut peer),
        Protocol::Redis => redis::serve(&mut peer),
    };
}

/// What is done in place of the right bytes, which are its argument.
type Deed = fn(&[u8], &mut fastrand::Rng) -> Then;

/// What a misdeed sends, and whether the broker then goes on as if nothing had been.
enum Then {
    GoOn(Vec<u8>),
    Wait(Vec<u8>),
    Close(Vec<u8>),
    Hang(Vec<u8>),
}

struct Mischief {
    step: usize,
    deed: Deed,
    random: fastrand::Rng,
}

struct Peer {
    client: TcpStream,
    mischief: Mischief,
    silent: Arc<AtomicUsize>,
}

impl Peer {
    /// Sends what belongs to `step`, or else.
    fn send(&mut self, step: usize, good: &[u8]) -> std::io::Result<()> {
        if step != self.mischief.step {
            return self.client.write_all(good);
        }
        match (self.mischief.deed)(good, &mut self.mischief.random) {
            Then::GoOn(bytes) => self.client.write_all(&bytes),
            Then::Wait(bytes) => {
                self.client.write_all(&bytes)?;
                self.wait()
            }
            Then::Close(bytes) => {
                self.client.write_all(&bytes)?;
                Err(std::io::ErrorKind::ConnectionAborted.into())
            }
            Then::Hang(bytes) => {
                self.client.write_all(&bytes)?;
                self.silent.fetch_add(1, Ordering::SeqCst);
                self.client.set_read_timeout(None)?;
                self.wait()
            }
        }
    }

    /// Hears the client out, and hangs up.
    fn wait(&mut self) -> std::io::Result<()> {
        let mut heard = [0; 4096];
        while self.client.read(&mut heard)? > 0 {}
        Err(std::io::ErrorKind::ConnectionAborted.into())
    }
}

/// Misdeeds that need no knowledge of a protocol.
const GENERAL: [Deed; 8] = [
    |_, _| Then::Close(Vec::new()),
    |_, _| Then::Wait(Vec::new()),
    |_, random| {
        let length = random.usize(1..5000);
        Then::Wait(
            std::iter::repeat_with(|| random.u8(..))
                .take(length)
                .collect(),
        )
    },
    |good, random| Then::Close(good[..random.usize(0..good.len())].to_vec()),
    |good, random| Then::Wait(good[..random.usize(0..good.len())].to_vec()),
    |good, _| Then::GoOn([good, good].concat()),
    |good, random| Then::GoOn(mutated(good, random)),
    |good, random| Then::GoOn(mutated(&mutated(good, random), random)),
];

/// Some bytes changed, left out, or repeated.
fn mutated(good: &[u8], random: &mut fastrand::Rng) -> Vec<u8> {
    let mut bytes = good.to_vec();
    for _ in 0..random.usize(1..4) {
        let at = random.usize(0..bytes.len());
        match random.u8(0..4) {
            0 => bytes[at] ^= 1 << random.u8(0..8),
            1 => bytes[at] = [0, 1, 0x7F, 0x80, 0xFF][random.usize(0..5)],
            2 if bytes.len() > 1 => drop(bytes.remove(at)),
            _ => bytes.insert(at, random.u8(..)),
        }
    }
    bytes
}
