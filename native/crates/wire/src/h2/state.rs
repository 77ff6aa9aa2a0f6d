//! One stream: where its two directions stand, its windows and what waits to be sent.
//!
//! ```text
//!             HEADERS                     END_STREAM
//!      Head ───────────▶ Body ─────────────────────────────▶ Done     each direction on its own
//!        │  1xx: stays    │  DATA*, trailers                   ▲
//!        └────────────────┴── END_STREAM on HEADERS ───────────┘
//!
//!      any ── RST_STREAM, from either end ──▶ Over (both directions)
//! ```
//!
//! In the terms of RFC 9113 §5.1: open = neither is `Done`, half-closed (local) = `send` is,
//! half-closed (remote) = `recv` is, closed = both are or it is `Over`. Idle streams have no entry,
//! and a closed one has it until the caller forgets it.

use crate::fields::Fields;
use crate::h2::flow::{Inbound, Outbound};
use crate::h2::queue::Queue;
use crate::h2::{ErrorCode, StreamId};

/// What may come from the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recv {
    /// The final head, and 1xx before it. Clients only: a server's stream begins with it.
    Head,
    /// DATA and trailers.
    Body,
    /// The same, but nobody wants it.
    Discard,
    /// Nothing: END_STREAM came.
    Done,
}

/// What may go to the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Send {
    /// The final head, and a server's 1xx before it.
    Head,
    /// DATA and trailers.
    Body,
    /// Nothing: END_STREAM is in the send queue.
    Done,
}

/// Whether a stream was cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    /// It was not.
    No,
    /// RST_STREAM is in the send queue: the peer may not know yet, so late frames are ignored.
    ByUs,
    /// RST_STREAM came: a frame behind it is an error.
    ByPeer,
}

/// What goes out behind the queued data.
#[derive(Debug)]
pub(crate) enum Tail {
    /// Nothing yet.
    Open,
    /// END_STREAM, on the last DATA frame.
    End,
    /// A trailer section.
    Trailers(Box<Fields>),
    /// RST_STREAM.
    Reset(ErrorCode),
}

/// No content-length was given: [`Stream::content_left`] says nothing.
pub(crate) const CONTENT_UNKNOWN: u64 = u64::MAX;

/// A link to no slot.
pub(crate) const NO_SLOT: u32 = u32::MAX;

/// RFC 9218 §4.1.
pub(crate) const URGENCY_DEFAULT: u8 = 3;

/// One stream.
#[derive(Debug)]
pub(crate) struct Stream {
    /// 0 in a free slot.
    pub(crate) id: StreamId,
    pub(crate) recv: Recv,
    pub(crate) send: Send,
    pub(crate) over: Over,
    /// RFC 9218 §4.1: 0..=7, the lower the sooner.
    pub(crate) urgency: u8,
    /// Whether it is linked in its lane of the schedule.
    pub(crate) ready: bool,
    /// Whether the caller was told to stop feeding it, or would have been.
    pub(crate) full: bool,
    /// Whether the caller is done with it.
    pub(crate) forgotten: bool,
    /// Whether a response to it has no content: the request was HEAD.
    pub(crate) bodiless: bool,
    /// Whether it carries a tunnel: extended CONNECT.
    pub(crate) tunnel: bool,
    /// 1xx that came.
    pub(crate) interims: u8,
    pub(crate) inbound: Inbound,
    pub(crate) outbound: Outbound,
    /// In its lane, or in the list of free slots.
    pub(crate) next: u32,
    pub(crate) prev: u32,
    /// Bytes of the head that the caller holds, as they are counted.
    pub(crate) head_bytes: u32,
    pub(crate) tag: u64,
    /// Of the announced content, what is still to come; or [`CONTENT_UNKNOWN`].
    pub(crate) content_left: u64,
    pub(crate) queue: Queue,
    pub(crate) tail: Tail,
    /// When queued bytes last moved, or began to wait.
    pub(crate) moved_ns: u64,
}

impl Stream {
    pub(crate) fn new(id: StreamId, recv: Recv, inbound: Inbound, outbound: Outbound) -> Self {
        Self {
            id,
            recv,
            send: Send::Head,
            over: Over::No,
            urgency: URGENCY_DEFAULT,
            ready: false,
            full: false,
            forgotten: false,
            bodiless: false,
            tunnel: false,
            interims: 0,
            inbound,
            outbound,
            next: NO_SLOT,
            prev: NO_SLOT,
            head_bytes: 0,
            tag: 0,
            content_left: CONTENT_UNKNOWN,
            queue: Queue::default(),
            tail: Tail::Open,
            moved_ns: 0,
        }
    }

    /// Whether nothing more will pass in either direction.
    #[inline]
    pub(crate) fn closed(&self) -> bool {
        self.over != Over::No || (self.recv == Recv::Done && self.send == Send::Done)
    }

    /// Whether body bytes of ours may be taken.
    #[inline]
    pub(crate) fn takes_data(&self) -> bool {
        self.send == Send::Body && self.over == Over::No && matches!(self.tail, Tail::Open)
    }

    /// `payload` bytes of content came; false if they are more or, at the end, fewer than the
    /// content-length said (RFC 9113 §8.1.1).
    #[inline]
    pub(crate) fn count_content(&mut self, payload: u32, end: bool) -> bool {
        if self.content_left == CONTENT_UNKNOWN {
            return true;
        }
        match self.content_left.checked_sub(u64::from(payload)) {
            Some(left) => {
                self.content_left = left;
                !end || left == 0
            }
            None => false,
        }
    }
}
