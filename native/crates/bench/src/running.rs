//! A part of the bench on a thread of its own: the simulated engine, the byte relay.
//!
//! Invariant: the thread ends with its handle.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::JoinHandle,
};

use mio::Waker;
use serde::Serialize;

use crate::{Address, Error, error::system};

/// Counters that one thread writes and anybody reads as a whole.
pub(crate) trait Counted<S>: fmt::Debug + Send + Sync {
    /// The counters now.
    fn read(&self) -> S;
}

/// What runs until it is stopped, and counts as `S`; dropping it stops it.
#[derive(Debug)]
pub struct Running<S> {
    addresses: Vec<Address>,
    counters: Arc<dyn Counted<S>>,
    stop: Arc<AtomicBool>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
}

impl<S> Running<S> {
    /// Starts a thread that runs until the flag it is given is set; `waker` makes it look.
    pub(crate) fn start(
        name: &str,
        addresses: Vec<Address>,
        counters: Arc<dyn Counted<S>>,
        waker: Waker,
        run: impl FnOnce(&AtomicBool) + Send + 'static,
    ) -> Result<Self, Error> {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || run(&told))
            .map_err(system("starting a thread"))?;
        Ok(Self {
            addresses,
            counters,
            stop,
            waker,
            thread: Some(thread),
        })
    }

    /// Where it listens, in the order of its options, with the ports that were picked.
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// The counters now.
    pub fn stats(&self) -> S {
        self.counters.read()
    }

    /// False once it was stopped or has ended by itself, as an engine may that is told to die.
    pub fn running(&self) -> bool {
        self.thread
            .as_ref()
            .is_some_and(|thread| !thread.is_finished())
    }

    /// Ends all connections and the thread; waits for it.
    pub fn stop(&mut self) {
        self.stop.store(true, Relaxed);
        // Waking fails only when the thread has ended already.
        let _ = self.waker.wake();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed by it; there is nothing to add.
            let _ = thread.join();
        }
    }
}

/// A running part, whatever it counts.
pub trait Part: Send {
    /// Where it listens.
    fn addresses(&self) -> &[Address];
    /// The counters now, as JSON.
    fn stats(&self) -> String;
    /// Ends it; waits for it.
    fn stop(&mut self);
}

impl<S: Serialize> Part for Running<S> {
    fn addresses(&self) -> &[Address] {
        self.addresses()
    }

    fn stats(&self) -> String {
        crate::json(&self.stats())
    }

    fn stop(&mut self) {
        self.stop();
    }
}

impl<S> Drop for Running<S> {
    fn drop(&mut self) {
        self.stop();
    }
}
