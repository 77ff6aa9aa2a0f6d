//! Sockets, poller, timers, worker threads and the recorder; no policy decision.
//!
//! The crate drives any [`Machine`] (in production `engine::Engine`) in turns: wait, `begin`, a
//! bounded number of inputs, `end`, a full drain of `poll`, one flush per connection. The same
//! `turn::Driver` runs on a worker thread or inline under somebody else's event loop.
//!
//! **Invariants:** no file here looks into the bytes that pass; no queue is without a bound
//! ([`limits`]); an edge of the poller is never lost, because what a bounded turn leaves behind
//! stays in a list and makes the next turn start at once.

mod acceptor;
pub mod adopt;
pub mod asks;
pub mod clock;
mod closing;
mod connections;
mod dial;
mod drive;
mod fleet;
mod flush;
mod host;
pub mod limits;
pub mod listener;
mod machine;
mod mailbox;
mod poller;
pub mod process;
mod race;
mod races;
mod read;
pub mod recorder;
mod secure;
mod socket;
mod timer;
pub mod tls;
mod turn;
mod worker;

pub use adopt::{Adopted, Adoption};
pub use drive::Proxy;
pub use fleet::{Birth, Factory, Options};
pub use host::{Host, Offered, StartError, worker_ids};
pub use listener::{Listen, ListenError};
pub use machine::Machine;
pub use socket::{Keepalive, SocketOptions};
pub use worker::Inline;
