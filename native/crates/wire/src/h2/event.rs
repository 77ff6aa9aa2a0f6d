//! What a connection tells its caller.

use crate::error::Violation;
use crate::fields::Fields;
use crate::h2::{Cause, ErrorCode, StreamId};
use crate::message::{RequestHead, ResponseHead};

/// Room for the head that an event announces, lent at every call of
/// [`Connection::next`](crate::h2::Connection::next). Nothing is kept in it between calls.
#[derive(Clone, Debug, Default)]
pub struct Heads {
    /// Filled by [`Event::Head`] of a server.
    pub request: RequestHead,
    /// Filled by [`Event::Head`] and [`Event::Interim`] of a client.
    pub response: ResponseHead,
}

/// What the peer said. `tag` is what the caller set for the stream, 0 before.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A server has a new stream, whose head is `heads.request`; a client has the final head of
    /// its stream in `heads.response`.
    Head {
        /// Which stream.
        id: StreamId,
        /// 0 for a server: the stream is new.
        tag: u64,
        /// Whether the message ends here.
        end: bool,
    },
    /// A server has a new stream whose head cannot be served. The caller records it and forgets
    /// the stream, which it may answer first unless it is reset. What else comes for the stream is
    /// dropped.
    Bad {
        /// Which stream.
        id: StreamId,
        /// What is wrong with the head.
        violation: Violation,
        /// Whether the request was malformed (RFC 9113 §8.1.1), so that RST_STREAM was written
        /// and nothing can be answered.
        reset: bool,
    },
    /// A client has a 1xx in `heads.response`; the final head is still to come.
    Interim {
        /// Which stream.
        id: StreamId,
        /// The caller's.
        tag: u64,
    },
    /// A piece of the body, borrowed from the input, never empty.
    Data {
        /// Which stream.
        id: StreamId,
        /// The caller's.
        tag: u64,
        /// The piece. A frame that came in several reads gives several.
        bytes: &'a [u8],
        /// What it cost of the stream's window, padding included: to be given back whole by
        /// [`Connection::consumed`](crate::h2::Connection::consumed).
        credit: u32,
        /// Whether the message ends here.
        end: bool,
    },
    /// The trailer section, which ends the message.
    Trailers {
        /// Which stream.
        id: StreamId,
        /// The caller's.
        tag: u64,
        /// Not empty.
        fields: Box<Fields>,
    },
    /// The message ends, and nothing came with the end.
    End {
        /// Which stream.
        id: StreamId,
        /// The caller's.
        tag: u64,
    },
    /// The stream is over in both directions.
    Reset {
        /// Which stream.
        id: StreamId,
        /// The caller's.
        tag: u64,
        /// The code on the wire; it may be none of [`ErrorCode`].
        code: u32,
        /// Set if the peer broke a rule and our RST_STREAM is already written; `None` if the
        /// RST_STREAM is the peer's, or its GOAWAY says that the stream was not processed.
        by_us: Option<Violation>,
    },
    /// The peer takes no new streams. Those of ours above `last` were not processed: each gets an
    /// [`Event::Reset`] with REFUSED_STREAM next.
    Goaway {
        /// The last stream that was, or may have been, processed.
        last: StreamId,
        /// The code on the wire.
        code: u32,
    },
    /// The peer's settings came; limits may have changed.
    Settings,
}

/// A connection error (RFC 9113 §5.4.1). GOAWAY was written: flush and close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closing {
    /// What the GOAWAY says.
    pub code: ErrorCode,
    /// What closures are counted by.
    pub cause: Cause,
    /// What was wrong, for logs; never a peer's bytes.
    pub why: &'static str,
}

impl std::fmt::Display for Closing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} ({}): {}", self.code, self.cause.label(), self.why)
    }
}

impl std::error::Error for Closing {}
