//! A WebSocket after its 101: bytes both ways, bounded both ways.
//!
//! **Invariant:** no byte of the client goes upstream before the 101 (CVE-2026-2833).

use super::{Exchange, Phase};
use crate::buffer::Stash;
use crate::conn::{ClientMode, Conn};
use crate::engine::Engine;
use crate::error::{Failure, FailureKind};
use crate::ids::{ConnId, ExchangeId};
use crate::limits;
use crate::output::How;
use crate::peer::Said;
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
        if self.client_left(exchange) {
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
        self.client_head(exchange, Said::Switching, false);
        if exchange.stream == 0
            && let Some(client) = self
                .conns
                .get_mut(exchange.client)
                .and_then(Conn::client_mut)
        {
            client.mode = ClientMode::Tunnel;
            early = std::mem::take(&mut client.stash);
        }
        if let Some(upstream) = self.conns.get_mut(id).and_then(Conn::upstream_mut) {
            upstream.tunnel = true;
        }
        exchange.body.paused = false;
        self.client_release(exchange);
        if exchange.stream != 0 {
            // What a stream of HTTP/2 sent before the agreement was held as a body.
            early.extend(&std::mem::take(&mut exchange.body.held));
        }
        if !early.is_empty() {
            self.tunnel_to_upstream(exchange, id, early.waiting());
        }
    }

    /// Bytes of the client's connection, for the upstream.
    pub(crate) fn tunnel_client_read(&mut self, id: ConnId, bytes: &[u8]) {
        let exchange = self.conns.get(id).and_then(Conn::client);
        if let Some(exchange_id) = exchange.and_then(|c| c.exchange) {
            if let Some(exchange) = self.exchanges.get_mut(exchange_id) {
                exchange.body.received += bytes.len() as u64;
            }
            self.tunnel_client_bytes(exchange_id, bytes);
        }
    }

    /// Bytes of the client, for the upstream.
    pub(crate) fn tunnel_client_bytes(&mut self, id: ExchangeId, bytes: &[u8]) {
        let Some(mut exchange) = self.exchanges.take(id) else {
            return;
        };
        if let Some(upstream) = exchange.attempt.as_ref().and_then(|a| a.conn) {
            self.tunnel_to_upstream(&mut exchange, upstream, bytes);
        }
        self.put_exchange(exchange);
    }

    fn tunnel_to_upstream(&mut self, exchange: &mut Exchange, id: ConnId, bytes: &[u8]) {
        let now_ns = self.now.mono_ns;
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        conn.writer(&mut self.spares, now_ns)
            .extend_from_slice(bytes);
        let full = conn.out.len() > limits::QUEUE_BYTES_HIGH;
        self.mark(id);
        if full {
            self.client_hold(exchange);
        }
    }

    /// Bytes of the upstream, for the client.
    pub(crate) fn tunnel_upstream_read(&mut self, exchange_id: ExchangeId, bytes: &[u8]) {
        let Some(mut exchange) = self.exchanges.take(exchange_id) else {
            return;
        };
        if let Some(upstream) = exchange.attempt.as_ref().and_then(|a| a.conn) {
            exchange.response.bytes += bytes.len() as u64;
            self.client_bytes(&exchange, bytes);
            if self.client_full(&exchange) {
                self.upstream_hold(&mut exchange, upstream);
            }
        }
        self.put_exchange(exchange);
    }

    /// One side of the tunnel took bytes: the other may be read again.
    pub(crate) fn tunnel_wrote(&mut self, exchange_id: ExchangeId) {
        let Some(mut exchange) = self.exchanges.take(exchange_id) else {
            return;
        };
        if let Some(id) = exchange.attempt.as_ref().and_then(|a| a.conn) {
            let low = self
                .conns
                .get(id)
                .is_some_and(|c| c.out.len() <= limits::QUEUE_BYTES_LOW);
            if low && std::mem::take(&mut exchange.body.paused) {
                self.client_release(&mut exchange);
            }
            if exchange.response.upstream_paused && self.client_idle(&exchange) {
                exchange.response.upstream_paused = false;
                self.upstream_release(&mut exchange);
            }
        }
        self.put_exchange(exchange);
    }

    /// One side ended: the other gets what waits for it, then the end (RFC 9110 §9.3.6). `broken`:
    /// not in order, which a stream of HTTP/2 is told (RFC 8441 §5). `false` if that exchange is no
    /// tunnel.
    pub(crate) fn tunnel_end(&mut self, exchange_id: ExchangeId, broken: Option<Failure>) -> bool {
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
        if exchange.stream == 0 {
            self.close(exchange.client, How::Flush(Vec::new()));
        } else {
            self.h2_end_response(&mut exchange, broken.is_none());
        }
        exchange.failure = broken;
        self.finish(&mut exchange);
        self.put_exchange(exchange);
        true
    }
}
