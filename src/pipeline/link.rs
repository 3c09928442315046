//! The life of a broker connection: when to try, which broker of the list, when to give up.
//!
//! ```text
//!  down ── due ──► connecting ── ready ──► ready ── consume ──► consuming
//!   ▲                  │ deadline, failed    │ lost               │ lost
//!   └──── backoff ─────┴─────────────────────┴────────────────────┘
//! ```
//!
//! A pass through a failover list is one backoff step: its brokers are tried one after the other
//! without waiting, then the whole list waits.

use std::time::{Duration, Instant};

use super::backoff::Backoff;
use crate::config::FailoverStrategy;
use crate::delivery::Epoch;

/// From the first byte of the name's resolution to the end of the set-up. Above the sum of a
/// connect to a dead address and a handshake of 5 s each, with room for a slow line.
pub const SET_UP_DEADLINE: Duration = Duration::from_secs(30);

/// A connection that lived this long was a good one: its loss starts the backoff anew.
pub const GOOD_LIFE: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Down {
        retry_at: Instant,
    },
    Connecting {
        deadline: Instant,
    },
    Ready {
        since: Instant,
    },
    Consuming {
        since: Instant,
    },
    /// Told to close; nothing will be tried again, unless it is reopened.
    Closing,
    Closed,
}

/// What the shell shall do with its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkAction {
    /// Connect to that broker of the list.
    Connect { epoch: Epoch, broker: usize },
    /// Give that connection up at once: it did not come up in time.
    Abandon { epoch: Epoch },
    /// Close that connection in order, and say when it is closed.
    Close { epoch: Epoch },
}

/// What a connection's end means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// It had been given up already.
    Past,
    /// It was to close.
    Closed,
    /// The next try comes after that long; zero: at once, another broker of the list.
    RetryIn(Duration),
}

/// See the module's text.
#[derive(Debug)]
pub struct Link {
    state: State,
    epoch: Epoch,
    /// The order of this pass through the list, and what is left of it.
    order: Vec<usize>,
    tried: usize,
    strategy: FailoverStrategy,
    backoff: Backoff,
    random: fastrand::Rng,
}

impl Link {
    /// A link that is due at once. `brokers` is at least 1.
    pub fn new(brokers: usize, strategy: FailoverStrategy, now: Instant, seed: u64) -> Self {
        let mut link = Link {
            state: State::Down { retry_at: now },
            epoch: Epoch::default(),
            order: (0..brokers.max(1)).collect(),
            tried: 0,
            strategy,
            backoff: Backoff::new(seed),
            random: fastrand::Rng::with_seed(seed),
        };
        link.begin_pass();
        link
    }

    /// The connection that is up or coming up.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    pub fn is_consuming(&self) -> bool {
        matches!(self.state, State::Consuming { .. })
    }

    pub fn is_ready(&self) -> bool {
        matches!(self.state, State::Ready { .. })
    }

    /// A closed link is due at once.
    pub fn reopen(&mut self, now: Instant) {
        if self.state == State::Closed {
            self.state = State::Down { retry_at: now };
        }
    }

    /// Told to close, and not yet closed.
    pub fn is_closing(&self) -> bool {
        self.state == State::Closing
    }

    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// What time demands.
    pub fn poll(&mut self, now: Instant) -> Option<LinkAction> {
        match self.state {
            State::Down { retry_at } if now >= retry_at => Some(self.connect(now)),
            State::Connecting { deadline } if now >= deadline => {
                Some(LinkAction::Abandon { epoch: self.epoch })
            }
            _ => None,
        }
    }

    /// When time alone changes something here.
    pub fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Down { retry_at } => Some(retry_at),
            State::Connecting { deadline } => Some(deadline),
            _ => None,
        }
    }

    /// Connected, authenticated, declared. False for a connection of the past.
    pub fn came_up(&mut self, epoch: Epoch, now: Instant) -> bool {
        let mine = epoch == self.epoch && matches!(self.state, State::Connecting { .. });
        if mine {
            self.state = State::Ready { since: now };
        }
        mine
    }

    /// The consumer was asked for.
    pub fn consumes(&mut self) {
        if let State::Ready { since } = self.state {
            self.state = State::Consuming { since };
        }
    }

    /// The connection is gone, or never came up.
    pub fn went_down(&mut self, epoch: Epoch, now: Instant) -> Loss {
        if epoch != self.epoch {
            return Loss::Past;
        }
        match self.state {
            State::Connecting { .. } => Loss::RetryIn(self.next_try(now)),
            State::Ready { since } | State::Consuming { since } => {
                if now.saturating_duration_since(since) >= GOOD_LIFE {
                    self.backoff.reset();
                }
                // The broker that was good is asked first again, after a backoff.
                self.begin_pass();
                Loss::RetryIn(self.wait(now))
            }
            State::Closing => {
                self.state = State::Closed;
                Loss::Closed
            }
            State::Down { .. } | State::Closed => Loss::Past,
        }
    }

    /// No further try until it is reopened. A connection that is still coming up is given up: it owes nothing.
    pub fn close(&mut self) -> Option<LinkAction> {
        let epoch = self.epoch;
        let (state, action) = match self.state {
            State::Closing | State::Closed => return None,
            State::Down { .. } => (State::Closed, None),
            State::Connecting { .. } => (State::Closed, Some(LinkAction::Abandon { epoch })),
            State::Ready { .. } | State::Consuming { .. } => {
                (State::Closing, Some(LinkAction::Close { epoch }))
            }
        };
        self.state = state;
        action
    }

    fn connect(&mut self, now: Instant) -> LinkAction {
        self.epoch = self.epoch.next();
        self.state = State::Connecting {
            deadline: now + SET_UP_DEADLINE,
        };
        LinkAction::Connect {
            epoch: self.epoch,
            broker: self.order[self.tried],
        }
    }

    /// The next broker of this pass, or a backoff and a new pass.
    fn next_try(&mut self, now: Instant) -> Duration {
        self.tried += 1;
        if self.tried < self.order.len() {
            self.state = State::Down { retry_at: now };
            return Duration::ZERO;
        }
        self.begin_pass();
        self.wait(now)
    }

    fn wait(&mut self, now: Instant) -> Duration {
        let delay = self.backoff.next_delay();
        self.state = State::Down {
            retry_at: now + delay,
        };
        delay
    }

    /// Round-robin starts with the broker that was tried last, so a good one is kept.
    fn begin_pass(&mut self) {
        match self.strategy {
            FailoverStrategy::Shuffle => self.random.shuffle(&mut self.order),
            FailoverStrategy::RoundRobin => {
                let last = self.tried.min(self.order.len()) % self.order.len();
                self.order.rotate_left(last);
            }
        }
        self.tried = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    fn link(brokers: usize) -> (Link, Instant) {
        let now = clock::monotonic();
        (
            Link::new(brokers, FailoverStrategy::RoundRobin, now, 7),
            now,
        )
    }

    /// Connects when due; answers the broker's place in the list.
    fn connect(link: &mut Link, now: Instant) -> Option<usize> {
        match link.poll(now) {
            Some(LinkAction::Connect { epoch, broker }) => {
                assert_eq!(epoch, link.epoch());
                Some(broker)
            }
            _ => None,
        }
    }

    fn fail(link: &mut Link, now: Instant) -> Duration {
        match link.went_down(link.epoch(), now) {
            Loss::RetryIn(delay) => delay,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_pass_through_the_list_is_one_backoff_step() {
        let (mut link, now) = link(3);
        for expected in 0..3 {
            assert_eq!(connect(&mut link, now), Some(expected));
            let waits = !fail(&mut link, now).is_zero();
            assert_eq!(waits, expected == 2, "after broker {expected}");
        }
        assert_eq!(connect(&mut link, now), None);
        assert_eq!(
            connect(&mut link, now + super::super::backoff::LONGEST),
            Some(0)
        );
    }

    #[test]
    fn a_broker_that_was_good_is_asked_first_again() {
        let (mut link, now) = link(3);
        connect(&mut link, now);
        fail(&mut link, now);
        assert_eq!(connect(&mut link, now), Some(1));
        assert!(link.came_up(link.epoch(), now));
        fail(&mut link, now);
        assert_eq!(
            connect(&mut link, now + super::super::backoff::LONGEST),
            Some(1)
        );
    }

    #[test]
    fn a_good_life_starts_the_backoff_anew() {
        for (life, longest) in [(GOOD_LIFE, 1.0), (GOOD_LIFE - Duration::from_secs(1), 60.0)] {
            let mut most = Duration::ZERO;
            for seed in 0..200 {
                let mut now = clock::monotonic();
                let mut link = Link::new(1, FailoverStrategy::RoundRobin, now, seed);
                for _ in 0..8 {
                    connect(&mut link, now);
                    now += fail(&mut link, now);
                }
                connect(&mut link, now);
                link.came_up(link.epoch(), now);
                most = most.max(fail(&mut link, now + life));
            }
            assert!(
                most.as_secs_f64() <= longest && most.as_secs_f64() > longest * 0.8,
                "{life:?}: {most:?}"
            );
        }
    }

    #[test]
    fn a_set_up_that_hangs_is_abandoned() {
        let (mut link, now) = link(1);
        connect(&mut link, now);
        assert_eq!(link.deadline(), Some(now + SET_UP_DEADLINE));
        assert_eq!(
            link.poll(now + SET_UP_DEADLINE),
            Some(LinkAction::Abandon {
                epoch: link.epoch()
            })
        );
    }

    #[test]
    fn the_past_changes_nothing() {
        let (mut link, now) = link(1);
        connect(&mut link, now);
        let old = link.epoch();
        let later = now + fail(&mut link, now);
        assert_eq!(link.went_down(old, now), Loss::Past);
        connect(&mut link, later);
        assert!(!link.came_up(old, later));
        assert_eq!(link.went_down(old, later), Loss::Past);
        assert!(link.came_up(link.epoch(), later));
    }

    #[test]
    fn only_what_is_up_is_closed_in_order() {
        let (mut link, now) = link(1);
        connect(&mut link, now);
        assert_eq!(
            link.close(),
            Some(LinkAction::Abandon {
                epoch: link.epoch()
            })
        );
        assert!(link.is_closed());
        let (mut link, now) = self::link(1);
        connect(&mut link, now);
        link.came_up(link.epoch(), now);
        assert_eq!(
            link.close(),
            Some(LinkAction::Close {
                epoch: link.epoch()
            })
        );
        assert!(!link.is_closed());
        assert_eq!(link.went_down(link.epoch(), now), Loss::Closed);
        assert!(link.is_closed());
    }
}
