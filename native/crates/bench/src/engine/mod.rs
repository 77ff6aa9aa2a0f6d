//! A simulated inference engine: the other end of every bench and of `fastproxy demo`.
//!
//! It speaks the OpenAI and Anthropic dialects over HTTP/1.1 and HTTP/2 by prior knowledge, on one
//! port, TCP and unix sockets, keeps to a time plan, and fails when asked to. It computes nothing,
//! so that what is measured is what stands in front of it.

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

use std::sync::Arc;

use self::{core::Core, server::Server, stats::Counters};
pub use self::{
    options::{FaultShare, HeadAt, Options, Steps, TlsFiles},
    stats::Stats,
};
use crate::{Error, Running};

/// Opens the listeners and starts the engine's thread. Stopping it resets all connections.
pub fn start(options: Options) -> Result<Running<Stats>, Error> {
    let counters = Arc::new(Counters::default());
    let faults = options.fault_draws()?;
    let core = Core::new(options, faults, Arc::clone(&counters));
    let server::Opened {
        server,
        addresses,
        waker,
    } = Server::open(core)?;
    Running::start("sim-engine", addresses, counters, waker, move |stop| {
        server.run(stop);
    })
}
