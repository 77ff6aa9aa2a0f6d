//! HTTP/1.1 and 1.0: readers that turn bytes into events, and an encoder that appends them.
//!
//! httparse splits field lines; every verdict about them is ours, and strict (RFC 9112). Where
//! leniency lets two parties read the same bytes differently, the message is refused.
//!
//! ```text
//!            request                                response
//!            ───────                                ────────
//!      ┌──▶ Start ◀──────────┐               ┌──▶ Idle ◀───────────────┐
//!      │      │ Head          │               │      │ expect()          │
//!      │      ▼               │               │      ▼    ┌─ Interim ≤ 8 │
//!      │    Body ── Data* ────┤ End           │    Head ◀─┘              │
//!      │      │ Trailers      │               │      │ Head         101  │
//!      │      ▼               │               │      ▼          ─────────┼─▶ Tunnel
//!      └──────┴───────────────┘               └── Body ── Data* ─────────┘ End
//!
//!      any state ── Violation ──▶ Failed, which repeats it
//! ```

mod body;
mod chunked;
pub mod encode;
pub(crate) mod field_block;
pub(crate) mod framing;
mod lines;
mod request;
mod request_line;
mod response;
mod section;
mod status_line;
mod upgrade;

use crate::fields::Fields;

pub use request::RequestReader;
pub use response::ResponseReader;

/// What a reader found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<'a> {
    /// The head given to `next` is filled.
    Head,
    /// The response head given to `next` is filled with a 1xx other than 101; another follows.
    Interim,
    /// A piece of the body, never empty, borrowed from the input.
    Data(&'a [u8]),
    /// The trailer section, if it has fields. Only [`trailer_allowed`](crate::hop::trailer_allowed)
    /// ones may be forwarded.
    Trailers(Box<Fields>),
    /// The message is complete.
    End,
}

/// The peer closed before its message was complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Truncated;

impl std::fmt::Display for Truncated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the peer closed in the middle of a message")
    }
}

impl std::error::Error for Truncated {}
