//! A WebSocket after its 101: bytes both ways, bounded both ways.
//!
//! **Invariant:** no byte of the client goes upstream before the 101 (CVE-2026-2833).

use super::{Exchange, Phase};
use crate::buffer::Stash;
use crate::conn::{ClientMode, Conn};
use crate::engine::Engine;
use crate::error::{Failure, FailureKind};
use crate::heads;
use crate::ids::{ConnId, ExchangeId};
use crate::limits;
use crate::output::How;
use crate::shared::Outcome;
use wire::ResponseHead;

impl Engine {
    /// The upstream switched protocols.
    pub(crate) fn start_tunnel(
        &mut self,
        exchange: &mut Exchange,
        head: &mut ResponseHead,
        id: ConnId,
    ) {
        if !exchange.head.websocket {
            let why = "the endpoint switched protocols without being asked";
            let failure = Failure::new(FailureKind::UpstreamBadResponse, why);
            return self.attempt_failed(exchange, failure, Outcome::Failure);
        }
        let left = self
            .conns
            .get(exchange.client)
            .and_then(Conn::client)
            .is_none_or(|c| c.eof);
        if left {
            // Its FIN was told already: nothing else would ever end this tunnel.
            return self.client_gone(exchange);
        }
        std::mem::swap(head, &mut exchange.response.head);
        exchange.response.status = 101;
        exchange.response.head_committed = true;
        exchange.response.body_committed = true;
        exchange.response.close = true;
        exchange.phase = Phase::Tunnel;
        exchange.tally.outcome = Outcome::Success;
        exchange.marks.head_ns = self.now.mono_ns;
        let mut early = Stash::default();
        if let Some(conn) = self.conns.get_mut(exchange.client) {
            let out = conn.writer(&mut self.spares, self.now.mono_ns);
            heads::switching(out, exchange, &self.snapshot.via);
            if let Some(client) = conn.client_mut() {
                client.mode = ClientMode::Tunnel;
                early = std::mem::take(&mut client.stash);
            }
            self.mark(exchange.client);
        }
        if let Some(upstream) = self.conns.get_mut(id).and_then(Conn::upstream_mut) {
            upstream.tunnel = true;
        }
        self.pause(exchange.client, false);
        if !early.is_empty() {
            self.tunnel_pass(exchange.client, id, early.waiting());
        }
    }

    /// Bytes of the client, for the upstream.
    pub(crate) fn tunnel_client_read(&mut self, id: ConnId, bytes: &[u8]) {
        let Some(exchange_id) = self
            .conns
            .get(id)
            .and_then(Conn::client)
            .and_then(|c| c.exchange)
        else {
            return;
        };
        let Some(upstream) = self
            .exchanges
            .get(exchange_id)
            .and_then(|e| e.attempt.as_ref())
            .and_then(|a| a.conn)
        else {
            return;
        };
        if let Some(exchange) = self.exchanges.get_mut(exchange_id) {
            exchange.body.received += bytes.len() as u64;
        }
        self.tunnel_pass(id, upstream, bytes);
    }

    /// Bytes of the upstream, for the client.
    pub(crate) fn tunnel_upstream_read(&mut self, exchange_id: ExchangeId, bytes: &[u8]) {
        let Some(exchange) = self.exchanges.get_mut(exchange_id) else {
            return;
        };
        let client = exchange.client;
        let Some(upstream) = exchange.attempt.as_ref().and_then(|a| a.conn) else {
            return;
        };
        exchange.response.bytes += bytes.len() as u64;
        self.tunnel_pass(upstream, client, bytes);
    }

    fn tunnel_pass(&mut self, source: ConnId, target: ConnId, bytes: &[u8]) {
        let now_ns = self.now.mono_ns;
        let Some(conn) = self.conns.get_mut(target) else {
            return;
        };
        if conn.out.is_empty() {
            conn.progress_ns = now_ns;
        }
        conn.writer(&mut self.spares, self.now.mono_ns)
            .extend_from_slice(bytes);
        let full = conn.out.len() > limits::QUEUE_BYTES_HIGH;
        self.mark(target);
        if full {
            self.pause(source, true);
        }
    }

    /// One side of the tunnel took bytes: the other may be read again.
    pub(crate) fn tunnel_wrote(&mut self, exchange_id: ExchangeId) {
        let Some(exchange) = self.exchanges.get(exchange_id) else {
            return;
        };
        let client = exchange.client;
        let upstream = exchange.attempt.as_ref().and_then(|a| a.conn);
        let low = |engine: &Self, id: ConnId| {
            engine
                .conns
                .get(id)
                .is_some_and(|c| c.out.len() <= limits::QUEUE_BYTES_LOW)
        };
        if let Some(upstream) = upstream {
            if low(self, upstream) {
                self.pause(client, false);
            }
            if low(self, client) {
                self.pause(upstream, false);
            }
        }
    }

    /// One side ended: the other gets what waits for it, then the end. `false` if that exchange
    /// is no tunnel.
    pub(crate) fn tunnel_eof(&mut self, exchange_id: ExchangeId, _from_client: bool) -> bool {
        if self
            .exchanges
            .get(exchange_id)
            .is_none_or(|e| e.phase != Phase::Tunnel)
        {
            return false;
        }
        let Some(mut exchange) = self.exchanges.take(exchange_id) else {
            return false;
        };
        if let Some(id) = exchange.attempt.as_mut().and_then(|a| a.conn.take()) {
            self.close(id, How::Flush(Vec::new()));
        }
        self.drop_attempt(&mut exchange, Outcome::Success);
        self.close(exchange.client, How::Flush(Vec::new()));
        self.finish(&mut exchange);
        self.put_exchange(exchange);
        true
    }
}
