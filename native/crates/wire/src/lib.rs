//! What did the peer say? Bytes to events and back, with no clock, no socket and no policy.
//!
//! Everything here is sans-I/O: a reader takes bytes from the front of a slice and yields events,
//! an encoder appends to a `Vec<u8>`. Any chunking of the same bytes gives the same events.
//!
//! **Never:** a clock, a socket, a file, a thread, the environment, unsafe code; an allocation of a
//! size that a peer only announced; a panic on a peer's bytes; a status code (the engine maps a
//! [`Violation`] to one).

#![forbid(unsafe_code)]
#![warn(clippy::indexing_slicing)]

pub mod authority;
mod error;
mod fields;
#[doc(hidden)]
pub mod fuzzing;
pub mod h1;
pub mod h2;
pub mod hop;
pub mod hpack;
mod limits;
mod message;
mod method;
mod name;
mod octets;
pub mod path;
pub mod proxy_protocol;
pub mod sse;

pub use error::{Code, Scope, Violation};
pub use fields::{Field, Fields};
pub use limits::{Limits, Underscore};
pub use message::{Body, RequestHead, ResponseHead, Version};
pub use method::Method;
pub use name::Name;
