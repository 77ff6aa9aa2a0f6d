//! What the engine wants done. Drained with `Engine::poll` until it says `Wait`.

use std::sync::Arc;

use crate::exchange::log::Record;
use crate::ids::{AskId, ConnId, WorkerId};
use crate::input::Mail;
use crate::shared::Target;
use crate::snapshot::plan::ClientTlsPlan;

/// One thing for the driver to do.
#[derive(Debug)]
pub enum Output {
    /// The connection has bytes to send: mark it dirty; flush once at the end of the drain with
    /// `Engine::pending` and `Engine::wrote`.
    Write(ConnId),
    /// Do not read from it any more (back-pressure). Remember readiness.
    PauseRead(ConnId),
    /// Read again; if readiness was remembered, read without waiting for the poller.
    ResumeRead(ConnId),
    /// Connect, and shake hands where the endpoint wants TLS; answer with `Input::Connected`. The
    /// engine's own timer bounds it.
    Dial(ConnId, Dial),
    /// The id is gone after this.
    Close(ConnId, How),
    /// Deliver to that worker (never this one).
    Mail(WorkerId, Mail),
    /// Ask the control plane; it answers with `Mail::Answer`.
    Ask(AskId, Question),
    /// One finished exchange for the recorder.
    Record(Box<Record>),
    /// Nothing more to do. Call again no later than this monotonic nanosecond, if any.
    Wait(Option<u64>),
}

/// Where to connect to, and how.
#[derive(Clone, Debug)]
pub struct Dial {
    /// The endpoint's place.
    pub target: Arc<Target>,
    /// What the connection is secured with; `None` = cleartext.
    pub tls: Option<Arc<ClientTlsPlan>>,
}

/// How a connection ends.
#[derive(Debug)]
pub enum How {
    /// Send these remaining bytes, then FIN, then read and discard at most 64 KiB for at most one
    /// second (lingering close, RFC 9112 §9.6), so that the peer sees our last answer.
    Flush(Vec<u8>),
    /// RST: the peer must not take what it has for a whole (SO_LINGER 0).
    Reset,
    /// Close at once; nothing of ours is unsent. An upstream request in flight is cancelled so.
    Now,
}

/// A question for the control plane.
#[derive(Debug, Clone)]
pub enum Question {
    /// A request on the admin listener that is not answered natively.
    Admin {
        /// Method, for example `GET`.
        method: String,
        /// Path and query.
        target: String,
        /// Header fields.
        fields: Vec<(String, Vec<u8>)>,
        /// The whole body (bounded by `limits::ADMIN_BODY_BYTES_MAX`).
        body: Vec<u8>,
        /// Whether the client's address is a loopback address or a unix socket.
        loopback: bool,
    },
    /// `GET /v1/models` over several pools.
    Models {
        /// The client's `authorization` value, if any, to be passed on.
        authorization: Option<Vec<u8>>,
    },
}
