//! How another thread wakes the event loop: a bell that rings only when the loop has armed it.
//!
//! The loop arms every bell, looks once more for work, and sleeps; a thread that has brought work
//! rings. An unarmed bell costs its thread one atomic swap and no system call, so a loop that is
//! busy anyway is not woken a thousand times.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mio::Waker;

/// See the module's text. Clones ring the same bell.
#[derive(Clone)]
pub struct Bell {
    armed: Arc<AtomicBool>,
    waker: Arc<Waker>,
}

impl Bell {
    pub fn new(waker: Arc<Waker>) -> Self {
        Bell {
            armed: Arc::new(AtomicBool::new(false)),
            waker,
        }
    }

    /// The next ring wakes the loop. Look for work again after this, then sleep.
    pub fn arm(&self) {
        self.armed.store(true, Ordering::SeqCst);
    }

    /// Wakes the loop if the bell is armed.
    pub fn ring(&self) {
        if self.armed.swap(false, Ordering::SeqCst) {
            // A waker fails only when its poll is gone, and with it whoever slept.
            let _ = self.waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn rings_once_for_each_arming() {
        let mut poll = mio::Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), mio::Token(0)).unwrap());
        let bell = Bell::new(waker);
        let mut events = mio::Events::with_capacity(4);
        let mut wakes = |poll: &mut mio::Poll| {
            poll.poll(&mut events, Some(Duration::from_millis(1)))
                .unwrap();
            events.iter().count()
        };
        bell.ring();
        assert_eq!(wakes(&mut poll), 0);
        bell.arm();
        bell.clone().ring();
        bell.ring();
        assert_eq!(wakes(&mut poll), 1);
        assert_eq!(wakes(&mut poll), 0);
    }
}
