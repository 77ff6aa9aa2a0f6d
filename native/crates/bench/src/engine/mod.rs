//! A simulated inference engine: the other end of every bench and of `fastproxy demo`.
//!
//! It speaks the OpenAI and Anthropic dialects over HTTP/1.1 and HTTP/2 by prior knowledge, on one
//! port, TCP and unix sockets, keeps to a time plan, and fails when asked to. It computes nothing, so that what is measured is what
//! stands in front of it.

mod answer;
mod connection;
mod core;
mod exchange;
mod fault;
mod http1;
mod http2;
mod options;
mod reply;
mod request;
mod server;
mod stats;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::JoinHandle,
};

use mio::Waker;

use self::{core::Core, server::Server, stats::Counters};
pub use self::{
    options::{FaultShare, HeadAt, Options, Steps},
    stats::Stats,
};
use crate::{Address, Error, error::system};

/// A running engine; dropping it stops it.
#[derive(Debug)]
pub struct Handle {
    addresses: Vec<Address>,
    counters: Arc<Counters>,
    stop: Arc<AtomicBool>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
}

/// Opens the listeners and starts the engine's thread.
pub fn start(options: Options) -> Result<Handle, Error> {
    let counters = Arc::new(Counters::default());
    let faults = options.fault_draws()?;
    let core = Core::new(options, faults, Arc::clone(&counters));
    let server::Opened {
        server,
        addresses,
        waker,
    } = Server::open(core)?;
    let stop = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stop);
    let thread = std::thread::Builder::new()
        .name("sim-engine".to_owned())
        .spawn(move || server.run(&told))
        .map_err(system("starting a thread"))?;
    Ok(Handle {
        addresses,
        counters,
        stop,
        waker,
        thread: Some(thread),
    })
}

impl Handle {
    /// Where it listens, in the order of `Options::listen`, with the ports that were picked.
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// The counters now.
    pub fn stats(&self) -> Stats {
        self.counters.read()
    }

    /// False once it has died by `die_after_requests` or was stopped.
    pub fn running(&self) -> bool {
        self.thread
            .as_ref()
            .is_some_and(|thread| !thread.is_finished())
    }

    /// Resets all connections and ends the thread; waits for it.
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

impl Drop for Handle {
    fn drop(&mut self) {
        self.stop();
    }
}
