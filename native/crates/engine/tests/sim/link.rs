//! A connection between the proxy and a peer: two bounded pipes with delays, FIN and RST.

use std::collections::{BTreeSet, VecDeque};

use engine::ids::ConnId;
use engine::input::Closed;

use crate::secure::Tls;

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    ToProxy,
    ToPeer,
}

/// One direction: the sender's and the receiver's socket buffers and the wire between them.
#[derive(Debug, Default)]
pub(crate) struct Pipe {
    pub(crate) bytes: VecDeque<u8>,
    /// Of `bytes`, those that the receiver can read.
    pub(crate) arrived: usize,
    pub(crate) capacity: usize,
    /// Nothing overtakes on one connection.
    pub(crate) last_arrival_ns: u64,
    pub(crate) fin_sent: bool,
    pub(crate) fin_arrived: bool,
}

impl Pipe {
    pub(crate) fn room(&self) -> usize {
        self.capacity.saturating_sub(self.bytes.len())
    }

    /// Takes up to `max` bytes that have arrived.
    pub(crate) fn take(&mut self, max: usize, into: &mut Vec<u8>) {
        let count = self.arrived.min(max);
        into.clear();
        into.extend(self.bytes.drain(..count));
        self.arrived -= count;
    }

    /// What is in flight or unread is lost.
    pub(crate) fn lose(&mut self) {
        self.bytes.truncate(self.arrived);
    }
}

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    Client(usize),
    Upstream(usize),
}

/// One connection.
pub(crate) struct Link {
    pub(crate) worker: usize,
    pub(crate) peer: Peer,
    pub(crate) listener: u32,
    pub(crate) to_proxy: Pipe,
    pub(crate) to_peer: Pipe,
    /// On connections with TLS.
    pub(crate) tls: Option<Tls>,
    // The proxy's side.
    /// The engine's name for it, as long as it has one.
    pub(crate) conn: Option<ConnId>,
    pub(crate) listed: bool,
    pub(crate) paused: bool,
    pub(crate) blocked: bool,
    pub(crate) dirty: bool,
    pub(crate) rst: Option<Closed>,
    pub(crate) eof_told: bool,
    pub(crate) fin_ahead_told: bool,
    /// Remaining bytes of a lingering close.
    pub(crate) closing: Option<(Vec<u8>, usize)>,
    pub(crate) linger_until_ns: u64,
    pub(crate) proxy_gone: bool,
    // The peer's side.
    pub(crate) peer_out: VecDeque<u8>,
    pub(crate) peer_fin: bool,
    /// With TLS: whether it closes without saying so first; `None` = either.
    pub(crate) cut: Option<bool>,
    pub(crate) peer_gone: bool,
    /// The request that the proxy sent here last (upstream links).
    pub(crate) serving: Option<u64>,
    /// Bytes that the proxy has read.
    pub(crate) read_bytes: u64,
    /// Streams that the peer has ended, well or not (upstream links).
    pub(crate) ended: BTreeSet<u32>,
    /// It said GOAWAY: what comes on later streams than this one is not looked at.
    pub(crate) last: Option<u32>,
    pub(crate) answered_whole: bool,
    pub(crate) upgraded: bool,
}

impl Link {
    pub(crate) fn new(worker: usize, peer: Peer, listener: u32, capacity: (usize, usize)) -> Self {
        let pipe = |capacity| Pipe {
            capacity,
            ..Pipe::default()
        };
        Self {
            worker,
            peer,
            listener,
            tls: None,
            to_proxy: pipe(capacity.0),
            to_peer: pipe(capacity.1),
            conn: None,
            listed: false,
            paused: false,
            blocked: false,
            dirty: false,
            rst: None,
            eof_told: false,
            fin_ahead_told: false,
            closing: None,
            linger_until_ns: 0,
            proxy_gone: false,
            peer_out: VecDeque::new(),
            peer_fin: false,
            cut: None,
            peer_gone: false,
            serving: None,
            read_bytes: 0,
            ended: BTreeSet::new(),
            last: None,
            answered_whole: false,
            upgraded: false,
        }
    }

    /// The engine has a reason to look at it.
    pub(crate) fn readable(&self) -> bool {
        let fin = self.to_proxy.fin_arrived && !self.eof_told;
        let due = self.shaking() != Some(0);
        self.rst.is_some()
            || self.to_proxy.arrived > 0 && due
            || fin && (due || self.to_proxy.bytes.is_empty())
    }

    /// Nothing is on its way, in either direction.
    pub(crate) fn quiet(&self) -> bool {
        self.to_proxy.bytes.is_empty() && self.to_peer.bytes.is_empty() && self.peer_out.is_empty()
    }

    /// Whether nothing comes of that stream (upstream links).
    pub(crate) fn ignores(&self, stream: u32) -> bool {
        self.ended.contains(&stream) || self.last.is_some_and(|last| stream > last)
    }

    /// Whether the proxy has taken the whole answer to the request it sent last.
    pub(crate) fn done_serving(&self) -> bool {
        self.answered_whole && self.peer_out.is_empty() && self.to_proxy.bytes.is_empty()
    }
}
