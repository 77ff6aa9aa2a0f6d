//! What shall we do? One exchange's life, admission, routing, limits, metering, health; sans-I/O.
//!
//! The engine is driven in *turns*: `begin(now)`, a bounded number of `handle(input)`, `end()`,
//! then `poll()` until it answers `Output::Wait`. It never sees a socket, a clock, a random
//! source or a Python object: the driver passes all of it in, so that the reactor, the simulator,
//! the fuzzer and miri drive the same object.
#![forbid(unsafe_code)]

mod buffer;
pub mod census;
pub mod channel;
pub mod clock;
mod conn;
mod cors;
pub mod dialect;
mod engine;
pub mod error;
pub mod exchange;
#[doc(hidden)]
pub mod fuzzing;
mod gather;
mod grpc;
mod heads;
pub mod ids;
pub mod input;
pub mod limits;
pub mod metrics;
pub mod output;
mod peer;
mod pressure;
pub mod random;
pub mod scan;
mod secure;
pub mod select;
pub mod shared;
pub mod snapshot;
mod table;
pub mod timer;
mod upstreams;

pub use engine::{Engine, Options};
pub use secure::proxy_header;
