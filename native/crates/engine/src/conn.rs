//! A connection of this worker: what the engine knows of a client's or an upstream's socket.
//!
//! **Invariant:** a connection of HTTP/1.1 serves at most one exchange at a time, one of HTTP/2 one
//! on each stream; an idle one holds no buffer.

use std::net::IpAddr;
use std::sync::Arc;

use crate::buffer::{Queue, Spares, Stash};
use crate::ids::ExchangeId;
use crate::metrics::Cells;
use crate::peer::H2;
use crate::secure::Secured;
use crate::shared::{Endpoint, Grant, Open, Outcome, Peer};
use crate::snapshot::Listener;
use crate::timer::TimerSlot;
use wire::h1::{RequestReader, ResponseReader};

/// One socket, either side.
#[derive(Debug)]
pub(crate) struct Conn {
    /// Bytes towards the peer.
    pub(crate) out: Queue,
    /// Reading was paused.
    pub(crate) paused: bool,
    /// `Output::Write` was said and `pending` not yet asked.
    pub(crate) dirty: bool,
    /// The connection's timer.
    pub(crate) timer: TimerSlot,
    /// When the peer last took bytes, or the queue last became non-empty.
    pub(crate) progress_ns: u64,
    /// Tokens queued since the last send: their added delay is known when the send returns.
    pub(crate) tokens_unsent: u32,
    /// When the first of them was read.
    pub(crate) tokens_since_ns: u64,
    /// It waits for more tokens before it is flushed.
    pub(crate) gathers: bool,
    /// Which peer.
    pub(crate) side: Side,
}

/// The two peers.
#[derive(Debug)]
pub(crate) enum Side {
    /// Accepted by a listener.
    Client(Box<Client>),
    /// Dialled by us.
    Upstream(Box<Upstream>),
}

/// What the bytes of a client connection are just now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientMode {
    /// A PROXY protocol header must come first.
    Prelude,
    /// Nothing yet that tells HTTP/1.1 from HTTP/2.
    Opening,
    /// Frames of HTTP/2.
    H2,
    /// HTTP/1.1 messages.
    Http,
    /// Bytes of a WebSocket tunnel.
    Tunnel,
    /// The rest of a request that was already answered.
    Discard,
}

/// A client connection.
#[derive(Debug)]
pub(crate) struct Client {
    /// Position among the worker's doors.
    pub(crate) door: usize,
    pub(crate) listener: Arc<Listener>,
    pub(crate) admin: bool,
    /// The peer's address: of the socket, or told by the PROXY protocol.
    pub(crate) peer: Option<IpAddr>,
    /// Source counted for the per-source cap.
    pub(crate) source: Option<IpAddr>,
    pub(crate) trusted: bool,
    /// The listener speaks TLS, and the handshake is not complete.
    pub(crate) handshaking: bool,
    /// The handshake's outcome; `None` = cleartext, or not complete.
    pub(crate) secured: Option<Box<Secured>>,
    pub(crate) mode: ClientMode,
    /// Taken for the length of one parse.
    pub(crate) reader: Option<Box<RequestReader>>,
    /// Bytes behind the request that is being served; at most one read's worth.
    pub(crate) stash: Stash,
    /// Answers queued since the peer last had all of them.
    pub(crate) answers_unsent: usize,
    /// Unsent bytes of earlier answers, ahead of those of the running exchange.
    pub(crate) ahead: usize,
    pub(crate) exchange: Option<ExchangeId>,
    /// The running exchange has its whole request.
    pub(crate) request_complete: bool,
    /// When the connection became idle.
    pub(crate) idle_since_ns: u64,
    /// When the first byte of an incomplete head came; 0 = none.
    pub(crate) head_since_ns: u64,
    /// Bytes thrown away in `Discard`.
    pub(crate) discarded: u64,
    pub(crate) requests: u32,
    /// The client closed its sending side.
    pub(crate) eof: bool,
    /// In mode `H2`; `exchange`, `stash` and `reader` are unused then.
    pub(crate) h2: Option<Box<H2>>,
}

impl Client {
    /// Nanoseconds that its tokens may wait for others.
    pub(crate) fn gather_ns(&self) -> u64 {
        u64::from(self.listener.plan.gather_max_us) * 1_000
    }

    /// Whether a request is under way.
    pub(crate) fn busy(&self) -> bool {
        self.exchange.is_some() || self.h2.as_ref().is_some_and(|h2| h2.wire.streams() > 0)
    }
}

/// Where an upstream connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UpstreamState {
    /// `Output::Dial` is under way.
    Dialing,
    /// Serves an exchange.
    Busy,
    /// In the pool.
    Idle,
}

/// Which version is spoken to an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaks {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, known beforehand.
    Http2,
    /// What the handshake agrees on (ALPN).
    Handshake,
}

/// An upstream connection.
#[derive(Debug)]
pub(crate) struct Upstream {
    /// Position in `Engine::locals`.
    pub(crate) local: usize,
    /// The endpoint's cells as of the dial: its slot may pass to another endpoint.
    pub(crate) cells: Option<Arc<Cells>>,
    pub(crate) endpoint: Arc<Endpoint>,
    /// What is spoken on it, or how that is found out.
    pub(crate) speaks: Speaks,
    pub(crate) state: UpstreamState,
    pub(crate) reader: Option<Box<ResponseReader>>,
    pub(crate) exchange: Option<ExchangeId>,
    pub(crate) idle_since_ns: u64,
    /// Responses it has given.
    pub(crate) served: u32,
    pub(crate) tunnel: bool,
    /// Its streams, once it is known to speak HTTP/2; `exchange` and `reader` are unused then.
    pub(crate) h2: Option<Box<H2>>,
    /// While it is dialled: who wants a stream of it beside `exchange`.
    pub(crate) waiting: Vec<ExchangeId>,
    /// Permits of streams that were cancelled, while the frames that say so stand in line behind
    /// more than `QUEUE_BYTES_HIGH` that the endpoint does not take.
    pub(crate) owed: Vec<(Grant, Outcome)>,
    /// Which address of the endpoint's name it is connected to.
    pub(crate) peer: Option<Peer>,
    /// It counts among the endpoint's connections.
    pub(crate) _open: Open,
}

impl Upstream {
    /// Whether it goes where a request to `endpoint` may be sent now.
    pub(crate) fn leads_to(&self, endpoint: &Endpoint) -> bool {
        let target = &endpoint.target;
        let current = |peer: &Peer| target.is_current(peer);
        self.endpoint.same_door(endpoint) && self.peer.as_ref().is_none_or(current)
    }
}

impl Conn {
    pub(crate) fn new(side: Side, now_ns: u64) -> Self {
        Self {
            out: Queue::default(),
            paused: false,
            dirty: false,
            timer: TimerSlot::default(),
            progress_ns: now_ns,
            tokens_unsent: 0,
            tokens_since_ns: 0,
            gathers: false,
            side,
        }
    }

    pub(crate) fn client(&self) -> Option<&Client> {
        match &self.side {
            Side::Client(client) => Some(client),
            Side::Upstream(_) => None,
        }
    }

    pub(crate) fn client_mut(&mut self) -> Option<&mut Client> {
        match &mut self.side {
            Side::Client(client) => Some(client),
            Side::Upstream(_) => None,
        }
    }

    /// The buffer of bytes towards the peer. From the first byte on it has to make progress.
    pub(crate) fn writer(&mut self, spares: &mut Spares, now_ns: u64) -> &mut Vec<u8> {
        if self.out.is_empty() {
            self.progress_ns = now_ns;
        }
        self.out.writer(spares)
    }

    pub(crate) fn upstream(&self) -> Option<&Upstream> {
        match &self.side {
            Side::Upstream(upstream) => Some(upstream),
            Side::Client(_) => None,
        }
    }

    pub(crate) fn upstream_mut(&mut self) -> Option<&mut Upstream> {
        match &mut self.side {
            Side::Upstream(upstream) => Some(upstream),
            Side::Client(_) => None,
        }
    }
}
