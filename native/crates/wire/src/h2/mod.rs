//! HTTP/2: one end of a connection, as bytes in and events out (RFC 9113, RFC 8441, RFC 9218).
//!
//! ```text
//!   begin(now) ─▶ next(input) ─▶ Event*          what the peer said
//!                 head, data, trailers, reset    what we say
//!                 flush(out)                     what had to wait, as far as it may go now
//! ```
//!
//! Everything that is to be sent is appended to the `out` of the call: the connection's send queue,
//! of which the caller removes from the front what the socket took. A head goes there at once. Data
//! goes there while both windows allow it and `out` is short; the rest waits in its stream's queue,
//! from which `flush` takes it, by urgency and then round robin.
//!
//! A stream lives from its first event (or [`Connection::open`]) to [`Connection::forget`], which
//! says that the caller's own work for it is over. Until then it counts against the limit on
//! streams, whatever the peer did to it meanwhile.
//!
//! Invariants: the connection window is given back as data arrives and a stream's window as the
//! caller consumes; no buffer grows by a length that was only announced; an idle connection holds
//! no scratch; a [`Closing`] is final and repeats itself.

mod abuse;
mod closed;
mod code;
mod config;
mod connection;
mod control;
mod data;
mod event;
mod flow;
mod frame;
#[doc(hidden)]
pub mod fuzzing;
mod headers;
mod heads;
mod lifecycle;
mod limits;
mod priority;
mod queue;
mod receive;
mod schedule;
mod section;
mod send;
mod state;
mod streams;
mod writer;

pub use abuse::Cause;
pub use code::ErrorCode;
pub use config::{Config, Role};
pub use connection::Connection;
pub use event::{Closing, Event, Heads};
pub use limits::{HELD_HEAD_BYTES_FREE, OUT_BYTES_HIGH};
pub use writer::HeadWriter;

/// Which stream; odd, for clients open them all. 31 bits (RFC 9113 §5.1.1).
pub type StreamId = u32;
