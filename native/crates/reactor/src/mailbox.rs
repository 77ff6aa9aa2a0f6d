//! The way into a worker from other threads: a locked queue and one coalesced wake.
//!
//! **Invariant:** after `send` returns, either the receiver will still look (a wake is under way
//! or it has not yet lowered the flag), or it has already taken the letter. Both sides *swap* the
//! flag, so that the receiver that lowers it sees every letter of the sender that raised it; the
//! loom test below goes through all interleavings.
//!
//! Bounds: sockets by `limits::MAILBOX_SOCKETS_MAX` (the acceptor asks before it accepts); mail by
//! the exchanges alive, because each has at most one grant and one answer under way.

use std::collections::VecDeque;

#[cfg(loom)]
use loom::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering},
};
#[cfg(not(loom))]
use std::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering},
};

/// Wakes the poller of a mailbox's owner.
pub(crate) type Wake = Box<dyn Fn() + Send + Sync>;

/// A queue that wakes its reader once per batch. `W` does the waking.
pub(crate) struct Mailbox<T, W: Fn()> {
    queue: Mutex<State<T>>,
    signalled: AtomicBool,
    wake: W,
}

struct State<T> {
    letters: VecDeque<T>,
    closed: bool,
}

impl<T, W: Fn()> Mailbox<T, W> {
    pub(crate) fn new(wake: W) -> Self {
        let state = State {
            letters: VecDeque::new(),
            closed: false,
        };
        Self {
            queue: Mutex::new(state),
            signalled: AtomicBool::new(false),
            wake,
        }
    }

    /// Delivers a letter, or gives it back when the reader has ended.
    pub(crate) fn send(&self, letter: T) -> Result<(), T> {
        {
            let mut state = self.lock();
            if state.closed {
                return Err(letter);
            }
            state.letters.push_back(letter);
        }
        if !self.signalled.swap(true, Ordering::AcqRel) {
            (self.wake)();
        }
        Ok(())
    }

    /// Moves everything to the end of `into`. One relaxed load when there is nothing.
    pub(crate) fn take(&self, into: &mut VecDeque<T>) {
        if !self.signalled.load(Ordering::Relaxed) {
            return;
        }
        self.signalled.swap(false, Ordering::AcqRel);
        into.append(&mut self.lock().letters);
    }

    /// Refuses all later letters and returns those not yet taken.
    pub(crate) fn close(&self) -> VecDeque<T> {
        let mut state = self.lock();
        state.closed = true;
        std::mem::take(&mut state.letters)
    }

    #[cfg(not(loom))]
    fn lock(&self) -> std::sync::MutexGuard<'_, State<T>> {
        // Nothing that can panic runs under this lock.
        self.queue
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    #[cfg(loom)]
    fn lock(&self) -> loom::sync::MutexGuard<'_, State<T>> {
        self.queue
            .lock()
            .expect("nothing that can panic runs under this lock")
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[test]
    fn one_wake_covers_a_batch() {
        let wakes = AtomicUsize::new(0);
        let mailbox = Mailbox::new(|| {
            wakes.fetch_add(1, Ordering::Relaxed);
        });
        let mut taken = VecDeque::new();
        for n in 0..3 {
            mailbox.send(n).unwrap();
        }
        mailbox.take(&mut taken);
        mailbox.send(3).unwrap();
        mailbox.take(&mut taken);
        assert_eq!(taken, [0, 1, 2, 3]);
        assert_eq!(wakes.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_closed_mailbox_gives_letters_back() {
        let mailbox = Mailbox::new(|| {});
        mailbox.send(1).unwrap();
        assert_eq!(mailbox.close(), [1]);
        assert_eq!(mailbox.send(2), Err(2));
    }
}

#[cfg(all(test, loom))]
mod tests {
    use super::*;
    use loom::sync::{Arc, atomic::AtomicUsize};

    /// Two senders and a reader that looks only when woken: nothing stays behind unwoken.
    #[test]
    fn no_wake_is_lost() {
        loom::model(|| {
            let wakes = Arc::new(AtomicUsize::new(0));
            let counter = Arc::clone(&wakes);
            let mailbox = Arc::new(Mailbox::new(move || {
                counter.fetch_add(1, Ordering::Release);
            }));
            let senders: Vec<_> = (0..2)
                .map(|n| {
                    let mailbox = Arc::clone(&mailbox);
                    loom::thread::spawn(move || mailbox.send(n).expect("open"))
                })
                .collect();
            let mut taken = VecDeque::new();
            let mut seen = wakes.load(Ordering::Acquire);
            if seen > 0 {
                mailbox.take(&mut taken);
            }
            for sender in senders {
                sender.join().expect("a sender does not panic");
            }
            // The poller reports each wake that was not yet seen.
            while wakes.load(Ordering::Acquire) > seen {
                seen += 1;
                mailbox.take(&mut taken);
            }
            assert_eq!(taken.len(), 2);
        });
    }
}
