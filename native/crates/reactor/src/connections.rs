//! The table of live sockets, in the shape of the engine's table of connections, and the two work
//! lists: `ready` (may have bytes, a FIN or an error to tell) and `dirty` (has bytes to send).
//!
//! **Invariants:** a connection is in each list at most once (`listed`, `dirty`). An edge that the
//! poller told is kept in the flags until it is used up: a paused or unfinished connection is
//! never forgotten.

use std::collections::VecDeque;
use std::net::SocketAddr;

use engine::ids::ConnId;
use engine::input::Closed;
use socket2::Socket;

use crate::poller::GENERATION_MASK;
use crate::socket::Kind;
use crate::tls::session::Session;

/// Who opened the connection. It decides what bad news may overtake unread bytes: a client that
/// left is gone, while an upstream's last bytes count although it closed behind them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Accepted,
    Dialled,
}

/// One socket and what we know of its readiness.
pub(crate) struct Conn {
    pub(crate) generation: u32,
    pub(crate) socket: Socket,
    pub(crate) kind: Kind,
    pub(crate) origin: Origin,
    /// TLS; `None` = cleartext.
    pub(crate) session: Option<Box<Session>>,
    /// A client that has sent nothing yet: its exchange is still to come.
    pub(crate) silent: bool,
    /// Which address of a name it is connected to.
    pub(crate) peer: Option<SocketAddr>,
    /// The connect is under way; nothing else may happen.
    pub(crate) connecting: bool,
    /// Back-pressure: do not read.
    pub(crate) paused: bool,
    /// There may be bytes.
    pub(crate) readable: bool,
    /// The poller saw the peer's FIN; it has not been read yet.
    pub(crate) fin: bool,
    /// The poller saw an error; it has not been read yet.
    pub(crate) failed: bool,
    /// The engine knows that no byte follows.
    pub(crate) eof_told: bool,
    /// The engine knows that both sides are gone.
    pub(crate) dead: bool,
    /// `fin_ahead` was said.
    pub(crate) fin_ahead_told: bool,
    /// Sending failed; what the peer sent before is still to be read.
    pub(crate) send_failed: bool,
    /// The last send was short: wait for the poller.
    pub(crate) blocked: bool,
    /// The poller also watches for room to write.
    pub(crate) watches_write: bool,
    listed: bool,
    dirty: bool,
}

impl Conn {
    pub(crate) fn new(generation: u32, socket: Socket, kind: Kind, origin: Origin) -> Self {
        Self {
            generation,
            socket,
            kind,
            origin,
            session: None,
            silent: origin == Origin::Accepted,
            peer: None,
            connecting: false,
            paused: false,
            readable: false,
            fin: false,
            failed: false,
            eof_told: false,
            dead: false,
            fin_ahead_told: false,
            send_failed: false,
            blocked: false,
            watches_write: false,
            listed: false,
            dirty: false,
        }
    }

    /// A dial whose connection stands and whose handshake is not complete.
    pub(crate) fn shakes_hands_upstream(&self) -> bool {
        let handshaking = self.session.as_ref().is_some_and(|s| s.handshaking);
        handshaking && self.origin == Origin::Dialled
    }

    /// What a FIN means that nothing announced.
    pub(crate) fn fin_means(&self) -> Closed {
        match self.session {
            Some(_) => Closed::Truncated,
            None => Closed::Eof,
        }
    }

    /// Nothing more can come from it.
    pub(crate) fn over(&self) -> bool {
        self.eof_told || self.dead
    }

    fn has_news(&self) -> bool {
        if self.connecting {
            return self.failed || self.fin || !self.blocked;
        }
        !self.over() && (self.fin || self.failed || (self.readable && !self.paused))
    }
}

/// All sockets of one worker.
#[derive(Default)]
pub(crate) struct Connections {
    slots: Vec<Option<Conn>>,
    /// Clients that have sent nothing yet.
    pub(crate) silent: usize,
    pub(crate) ready: VecDeque<ConnId>,
    pub(crate) dirty: Vec<ConnId>,
}

impl Connections {
    pub(crate) fn insert(&mut self, id: ConnId, conn: Conn) {
        let index = id.index as usize;
        if index >= self.slots.len() {
            self.slots.resize_with(index + 1, || None);
        }
        self.silent += usize::from(conn.silent);
        self.slots[index] = Some(conn);
    }

    /// The machine is about to be told of a first byte.
    pub(crate) fn hear(&mut self, id: ConnId) {
        if let Some(conn) = self.conn(id) {
            let first = std::mem::take(&mut conn.silent);
            self.silent -= usize::from(first);
        }
    }

    pub(crate) fn conn(&mut self, id: ConnId) -> Option<&mut Conn> {
        let conn = self.slots.get_mut(id.index as usize)?.as_mut()?;
        (conn.generation == id.generation).then_some(conn)
    }

    pub(crate) fn remove(&mut self, id: ConnId) -> Option<Conn> {
        self.hear(id);
        self.conn(id)?;
        self.slots[id.index as usize].take()
    }

    /// Takes everything out: the worker ends.
    pub(crate) fn clear(&mut self) -> Vec<Conn> {
        self.ready.clear();
        self.dirty.clear();
        self.silent = 0;
        self.slots.drain(..).flatten().collect()
    }

    /// Notes what the poller said. `generation` is what fits a token.
    pub(crate) fn note(&mut self, index: u32, generation: u32, event: &mio::event::Event) {
        let Some(Some(conn)) = self.slots.get_mut(index as usize) else {
            return;
        };
        if conn.generation & GENERATION_MASK != generation {
            return;
        }
        let id = ConnId {
            index,
            generation: conn.generation,
        };
        conn.readable |= event.is_readable();
        conn.fin |= event.is_read_closed();
        conn.failed |= event.is_error();
        let writable = event.is_writable() && conn.blocked;
        if writable {
            conn.blocked = false;
        }
        let connected = conn.connecting;
        self.list(id);
        if writable && !connected {
            self.mark(id);
        }
    }

    /// Puts a connection with something to tell into the ready list.
    pub(crate) fn list(&mut self, id: ConnId) {
        let Some(conn) = self.conn(id) else { return };
        if conn.has_news() && !conn.listed {
            conn.listed = true;
            self.ready.push_back(id);
        }
    }

    /// The next connection with something to tell.
    pub(crate) fn unlist(&mut self) -> Option<ConnId> {
        let id = self.ready.pop_front()?;
        if let Some(conn) = self.conn(id) {
            conn.listed = false;
        }
        Some(id)
    }

    /// There are bytes to send.
    pub(crate) fn mark(&mut self, id: ConnId) {
        let Some(conn) = self.conn(id) else { return };
        if !conn.dirty && !conn.blocked && !conn.connecting {
            conn.dirty = true;
            self.dirty.push(id);
        }
    }

    /// Takes the mark away again before sending.
    pub(crate) fn unmark(&mut self, id: ConnId) -> Option<&mut Conn> {
        let conn = self.conn(id)?;
        conn.dirty = false;
        Some(conn)
    }

    pub(crate) fn pause(&mut self, id: ConnId) {
        if let Some(conn) = self.conn(id) {
            conn.paused = true;
        }
    }

    pub(crate) fn resume(&mut self, id: ConnId) {
        if let Some(conn) = self.conn(id) {
            conn.paused = false;
            self.list(id);
        }
    }
}
