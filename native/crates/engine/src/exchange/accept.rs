//! May this socket exist? Caps per listener and per source, and a client connection's end.
//!
//! **Invariant:** each accepted connection is counted once and forgotten once.

use std::sync::Arc;

use crate::buffer::Stash;
use crate::clock::MS;
use crate::conn::{Client, ClientMode, Conn, Side};
use crate::engine::Engine;
use crate::error::{Failure, FailureKind};
use crate::ids::ConnId;
use crate::input::{Accepted, Closed};
use crate::metrics::Metric;
use crate::output::How;
use crate::secure::{Alpn, Handshake, Secured};
use crate::snapshot::{Listener, ListenerKind};
use crate::timer::TimerKey;
use wire::h1::RequestReader;

impl Engine {
    /// A listener accepted a socket. `None` refuses it: the driver closes it.
    pub fn accepted(&mut self, accepted: Accepted) -> Option<ConnId> {
        let at = accepted.listener.0 as usize;
        let listener = Arc::clone(self.snapshot.listeners.get(at)?);
        let admin = listener.plan.kind == ListenerKind::Admin;
        let peer = accepted.peer.map(|a| a.ip().to_canonical());
        let at = self.locals.at_listener(at)?;
        if !self.may_accept(&listener, at, peer, admin) {
            self.locals.door(at).cells.inc(Metric::ConnectionsRefused);
            return None;
        }
        let door = self.locals.door_mut(at);
        door.cells.inc(Metric::Connections);
        door.cells.add(Metric::ClientOpen, 1);
        door.open += 1;
        self.clients += 1;
        let source = (listener.plan.connections_per_source_max > 0)
            .then_some(peer)
            .flatten();
        if let Some(source) = source {
            *self.sources.entry(source).or_insert(0) += 1;
        }
        let trusted = trusted(&listener, peer);
        let client = Client {
            door: at,
            listener: Arc::clone(&listener),
            admin,
            peer,
            source,
            trusted,
            handshaking: listener.plan.tls.is_some(),
            secured: None,
            mode: if listener.plan.proxy_protocol {
                ClientMode::Prelude
            } else {
                first_mode(&listener)
            },
            reader: Some(Box::new(RequestReader::new(wire::Limits::default()))),
            stash: Stash::default(),
            answers_unsent: 0,
            ahead: 0,
            exchange: None,
            request_complete: false,
            idle_since_ns: self.now.mono_ns,
            head_since_ns: self.now.mono_ns,
            discarded: 0,
            requests: 0,
            eof: false,
            h2: None,
        };
        let now_ns = self.now.mono_ns;
        let id = self
            .conns
            .insert_with(|_| Conn::new(Side::Client(Box::new(client)), now_ns));
        self.arm_client(id);
        Some(id)
    }

    fn may_accept(
        &self,
        listener: &Listener,
        at: usize,
        peer: Option<std::net::IpAddr>,
        admin: bool,
    ) -> bool {
        if admin {
            return true;
        }
        let per_source = listener.plan.connections_per_source_max;
        let crowded = per_source > 0
            && peer.is_some_and(|p| self.sources.get(&p).is_some_and(|n| *n >= per_source));
        let open = self.locals.door(at).open;
        self.draining.is_none() && !crowded && open < listener.plan.connections_max
    }

    /// The counters of a client connection that is gone.
    pub(crate) fn forget_client(&mut self, client: &Client) {
        let door = self.locals.door_mut(client.door);
        door.cells.sub(Metric::ClientOpen, 1);
        door.open -= 1;
        self.clients -= 1;
        self.heads_lent -= client.h2.as_ref().map_or(0, |h2| h2.lent);
        if let Some(source) = client.source
            && let Some(count) = self.sources.get_mut(&source)
        {
            *count -= 1;
            if *count == 0 {
                self.sources.remove(&source);
            }
        }
    }

    /// A client's handshake is complete: what follows is HTTP.
    pub(crate) fn secured(&mut self, id: ConnId, secured: Box<Secured>) {
        let now_ns = self.now.mono_ns;
        let outcome = Handshake::Done(secured.version, secured.resumed);
        let Some(client) = self.conns.get_mut(id).and_then(Conn::client_mut) else {
            return;
        };
        let elapsed_ns = now_ns.saturating_sub(client.idle_since_ns);
        client.handshaking = false;
        let alpn = secured.alpn;
        client.secured = Some(secured);
        if alpn != Alpn::None && client.mode == ClientMode::Opening {
            client.mode = ClientMode::Http;
        }
        let cells = &self.locals.door(client.door).cells;
        cells.observe(Metric::TlsHandshakeDuration, elapsed_ns);
        cells.inc_at(Metric::TlsHandshakes, outcome.position());
        if alpn == Alpn::H2 {
            self.start_h2_client(id);
        }
    }

    /// Counts a handshake that came to nothing, if there was one under way.
    fn count_handshake(&self, id: ConnId, outcome: Handshake) {
        if let Some(client) = self.conns.get(id).and_then(Conn::client)
            && client.handshaking
        {
            let cells = &self.locals.door(client.door).cells;
            cells.inc_at(Metric::TlsHandshakes, outcome.position());
        }
    }

    /// The next moment at which an idle or half-read client connection must be looked at.
    pub(crate) fn arm_client(&mut self, id: ConnId) {
        let Some(deadline_ns) = self.client_deadline(id) else {
            return;
        };
        if let Some(conn) = self.conns.get_mut(id) {
            self.timers
                .arm(&mut conn.timer, TimerKey::Conn(id), deadline_ns);
        }
    }

    fn client_deadline(&self, id: ConnId) -> Option<u64> {
        let conn = self.conns.get(id)?;
        let client = conn.client()?;
        if let Some(h2) = &client.h2 {
            return Self::h2_client_deadline(conn, h2);
        }
        if client.exchange.is_some() {
            return None;
        }
        let plan = &client.listener.plan;
        // It is not idle while it takes the last answer, however slowly.
        let silent_ns = client.idle_since_ns.max(conn.progress_ns);
        let deadline_ns = if client.mode == ClientMode::Discard {
            client.idle_since_ns + 1000 * MS
        } else if client.head_since_ns > 0 {
            client.head_since_ns + plan.head_ms * MS
        } else {
            silent_ns + plan.idle_ms * MS
        };
        let waits = client.reader.as_ref().is_none_or(|r| r.idle());
        Some(match self.draining {
            Some(drain) if waits && (drain.admin || !client.admin) => {
                let told_ns = silent_ns.max(self.drain_since_ns);
                deadline_ns.min(told_ns.saturating_add(drain.idle_ns))
            }
            _ => deadline_ns,
        })
    }

    /// A client connection's timer fired: too slow, or idle for too long?
    pub(crate) fn client_timer(&mut self, id: ConnId) {
        if self.conns.get(id).is_some_and(|c| c.h2_ref().is_some()) {
            return self.h2_client_timer(id);
        }
        let Some(deadline_ns) = self.client_deadline(id) else {
            return;
        };
        if self.now.mono_ns < deadline_ns {
            return self.arm_client(id);
        }
        let Some(client) = self.conns.get(id).and_then(Conn::client) else {
            return;
        };
        let head_begun =
            client.reader.as_ref().is_some_and(|r| !r.idle()) && client.mode == ClientMode::Http;
        if head_begun {
            self.refuse(
                id,
                &Failure::new(FailureKind::HeadTimeout, "the request head"),
            );
        } else {
            self.count_handshake(id, Handshake::TimedOut);
            self.close(id, How::Flush(Vec::new()));
        }
    }

    /// The client closed its sending side, or is gone.
    pub(crate) fn client_closed(&mut self, id: ConnId, closed: Closed) {
        self.count_handshake(
            id,
            match closed {
                Closed::Tls(fault) => Handshake::Fault(fault),
                _ => Handshake::Left,
            },
        );
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        let Some(client) = conn.client_mut() else {
            return;
        };
        client.eof = true;
        if client.h2.is_some() {
            self.h2_client_cut(id);
            return self.close(id, How::Now);
        }
        let (exchange, half_close) = (client.exchange, client.listener.plan.half_close);
        let mid_head =
            client.mode == ClientMode::Http && client.reader.as_ref().is_some_and(|r| !r.idle());
        let Some(exchange) = exchange else {
            if mid_head {
                return self.vanished(id);
            }
            let how = if matches!(closed, Closed::Eof | Closed::Truncated) {
                How::Flush(Vec::new())
            } else {
                How::Now
            };
            return self.close(id, how);
        };
        let complete = self
            .conns
            .get(id)
            .and_then(Conn::client)
            .is_some_and(|c| c.request_complete && c.mode == ClientMode::Http);
        if closed == Closed::Eof && half_close && complete {
            return;
        }
        if closed == Closed::Eof && self.tunnel_end(exchange, None) {
            return;
        }
        if let Some(mut exchange) = self.exchanges.take(exchange) {
            self.client_gone(&mut exchange);
            self.put_exchange(exchange);
        }
    }
}

/// What the first bytes of a connection are taken for.
pub(crate) fn first_mode(listener: &Listener) -> ClientMode {
    if listener.plan.http2 {
        ClientMode::Opening
    } else {
        ClientMode::Http
    }
}

/// Whether forwarding headers of that peer are believed.
pub(crate) fn trusted(listener: &Listener, peer: Option<std::net::IpAddr>) -> bool {
    match peer {
        Some(peer) => listener.trusted.iter().any(|c| c.contains(peer)),
        None => listener.plan.trust_unix,
    }
}
