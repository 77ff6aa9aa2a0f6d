//! What the driver tells the engine. One enum, so that the reactor, the simulator and the fuzzer
//! drive the same object.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::ids::{AskId, ConnId, ExchangeId, ListenerId, WorkerId};
use crate::shared::Endpoint;
use crate::snapshot::Snapshot;

pub use crate::secure::{Alpn, Connected, Secured, TlsFault, TlsVersion};

/// One thing that happened. Handed to `Engine::handle` between `begin` and `end` of a turn.
#[derive(Debug)]
pub enum Input<'a> {
    /// Bytes arrived. The engine takes all of them before it returns: what it cannot use yet it
    /// copies (at most one read's worth) and asks for a pause.
    Read(ConnId, &'a [u8]),
    /// A client's TLS handshake is complete: said once, before its first `Read`, and only on
    /// listeners with TLS. A PROXY protocol header comes before it, as a `Read` of its own.
    Secured(ConnId, Box<Secured>),
    /// The peer closed its sending side, or the connection died.
    Closed(ConnId, Closed),
    /// The outcome of a `Output::Dial`, handshake included. After an error the id is gone.
    Connected(ConnId, Result<Connected, DialError>),
    /// A message of another worker, of the control plane, or of this worker to itself.
    Mail(Mail),
    /// The time may have come for something: handled at every `end`, too.
    Tick,
}

/// How a connection's reading side ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// FIN: orderly end of the peer's bytes. The writing side may still be open.
    Eof,
    /// RST or any other socket error: both sides are gone.
    Reset,
    /// FIN without TLS's own end (`close_notify`, RFC 8446 §6.1): bytes may have been cut off by
    /// somebody on the way. The writing side may still be open.
    Truncated,
    /// A client's handshake failed, or a record of a peer was not good: both sides are gone.
    Tls(TlsFault),
    /// Unacknowledged data or keep-alive probes timed out (`ETIMEDOUT`): both sides are gone.
    TimedOut,
}

/// Why a dial did not produce a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialError {
    /// Nobody listens (ECONNREFUSED, ENOENT of a unix socket).
    Refused,
    /// No route, no permission, no such network.
    Unreachable,
    /// No answer in time (the engine's own connect timer cancels with `Output::Close`).
    TimedOut,
    /// This process has no file descriptor or port left.
    Exhausted,
    /// The TLS handshake failed. The text says why and what to do, as a clause for the log.
    Tls(&'static str),
    /// The target is a name that has never been resolved.
    Unresolved,
}

/// A socket that a listener accepted.
#[derive(Clone, Copy, Debug)]
pub struct Accepted {
    /// The listener it came from.
    pub listener: ListenerId,
    /// The peer's address; `None` for unix sockets.
    pub peer: Option<SocketAddr>,
    /// The local address; `None` for unix sockets.
    pub local: Option<SocketAddr>,
}

/// What travels between workers and from the control plane, by value.
#[derive(Debug)]
pub enum Mail {
    /// A permit for a waiting exchange: the receiver owns it now.
    Grant {
        /// The waiter.
        exchange: ExchangeId,
        /// The pool's position in the snapshot is not stable across reloads: the room is.
        grant: crate::shared::Grant,
    },
    /// The answer of the control plane to `Output::Ask`.
    Answer(AskId, Answer),
    /// Close an idle connection, so that another worker can have one.
    Trim(Trim),
    /// A new configuration. Exchanges in flight keep the pool they hold.
    Snapshot(Arc<Snapshot>),
    /// Finish what runs, say on every answer that the connection closes, and end.
    Drain(Drain),
    /// Close everything now.
    Stop,
}

/// How a worker comes to its end. A client may have sent its next request before it knows, so a
/// kept connection is served as long as it speaks: what it says next is answered, with
/// `Connection: close`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    /// Monotonic nanoseconds at which what still runs is cut, at an event boundary.
    pub deadline_ns: u64,
    /// A kept connection that has been silent for so long since the drain began is closed; the
    /// listener's own idle time holds besides. 0: at once.
    pub idle_ns: u64,
    /// A successor has the admin listeners, too: admin connections are drained like the others,
    /// and this process stays ready for what they ask.
    pub admin: bool,
}

/// A worker wants to connect to an endpoint that has as many connections as it may. It goes from
/// worker to worker until one of them has an idle one to close, and once around at most.
#[derive(Debug)]
pub struct Trim {
    /// Which endpoint.
    pub endpoint: Arc<Endpoint>,
    /// Who asked.
    pub origin: WorkerId,
    /// Workers that were asked so far.
    pub hops: u16,
}

/// An answer to `Output::Ask`.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Header fields, lower-case names.
    pub fields: Vec<(String, String)>,
    /// The whole body.
    pub body: Vec<u8>,
}
