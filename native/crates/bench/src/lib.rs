//! Load generator, simulated inference engine and byte relay.
//!
//! Everything here speaks to the proxy over sockets only, as a stranger would. HTTP/1.1 is this
//! crate's own, so that a fault in the proxy cannot hide itself in its measure; HTTP/2 is that of
//! `wire`, which is held to the standard by other suites' clients and servers. Nothing else of the
//! proxy is imported.
//! Each of the three parts is one thread around one poller, takes its options as JSON-shaped
//! structs and gives back numbers; none of them prints.
//!
//! Invariant: every latency is taken on `CLOCK_MONOTONIC`, which all processes of a machine share,
//! so that a time stamped by an engine may be subtracted from one read by a load generator.

mod address;
mod alarm;
pub mod clock;
pub mod engine;
mod error;
pub mod histogram;
mod http;
pub mod load;
mod process;
mod random;
pub mod relay;
pub mod report;
mod running;
mod slab;
mod socket;
mod tls;
pub mod trace;

pub use address::Address;
pub use error::Error;
pub use running::{Part, Running};

/// Options, counters and reports as JSON.
pub fn json(value: &impl serde::Serialize) -> String {
    // Every type of this crate has text keys and finite numbers.
    serde_json::to_string(value).unwrap_or_default()
}

/// What every fallible call of this crate returns.
pub type Result<T> = std::result::Result<T, Error>;
