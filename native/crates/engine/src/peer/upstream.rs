//! Towards the upstream: the request's bytes, and how a response is held back, ended or dropped.

use super::{Block, Lines};
use crate::conn::{Conn, UpstreamState};
use crate::engine::Engine;
use crate::exchange::{Attempt, Exchange, RequestBody};
use crate::heads;
use crate::ids::{ConnId, ExchangeId};
use crate::limits;
use crate::output::How;
use crate::shared::{Grant, Outcome};
use wire::Body;
use wire::h1::encode;
use wire::h2::ErrorCode;

impl Engine {
    /// Queues the request's head on the attempt's connection. `false`: an HTTP/2 connection that
    /// takes no more streams.
    pub(crate) fn upstream_head(&mut self, exchange: &mut Exchange) -> bool {
        let now_ns = self.now.mono_ns;
        let (Some(pool), Some(attempt)) = (&exchange.pool, &exchange.attempt) else {
            return false;
        };
        let endpoint = &attempt.endpoint;
        let Some(conn) = attempt.conn.and_then(|id| self.conns.get_mut(id)) else {
            return false;
        };
        let via = &self.snapshot.via;
        let mut sent = (0, false);
        if conn.h2_ref().is_some() {
            let Some((h2, out)) = conn.h2_writer(&mut self.spares, now_ns) else {
                return false;
            };
            let Some(stream) = h2.wire.open() else {
                return false;
            };
            h2.wire.set_tag(stream, super::h2::tag(exchange.id));
            let body = &exchange.body;
            let bodiless = exchange.head.body == Body::None || body.complete && body.received == 0;
            let end = bodiless && body.trailers.is_none();
            let scheme = if endpoint.secure() {
                &b"https"[..]
            } else {
                b"http"
            };
            let mut block = Block::new(h2.wire.head(stream, out), scheme);
            heads::request(&mut block, exchange, pool, endpoint, via);
            block.finish(end);
            sent = (stream, end);
        } else {
            let out = conn.writer(&mut self.spares, now_ns);
            heads::request(&mut Lines(out), exchange, pool, endpoint, via);
            conn.progress_ns = now_ns;
            let (method, websocket) = (exchange.head.method, exchange.head.websocket);
            if let Some(reader) = conn.upstream_mut().and_then(|u| u.reader.as_mut()) {
                reader.expect(method, websocket);
            }
        }
        if let Some(attempt) = exchange.attempt.as_mut() {
            (attempt.stream, attempt.request_done) = sent;
        }
        true
    }

    /// Queues body bytes while the upstream takes them.
    pub(crate) fn upstream_body(
        &mut self,
        attempt: &mut Attempt,
        body: &mut RequestBody,
        framing: Body,
    ) {
        let Some(id) = attempt.conn else { return };
        let now_ns = self.now.mono_ns;
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        if attempt.stream != 0 {
            let Some((h2, out)) = conn.h2_writer(&mut self.spares, now_ns) else {
                return;
            };
            let stream = attempt.stream;
            while body.sent < body.held.len() && !h2.wire.full(stream) {
                let end = body.held.len().min(body.sent + limits::QUEUE_BYTES_HIGH);
                let last = body.complete && end == body.held.len() && body.trailers.is_none();
                h2.wire.data(stream, &body.held[body.sent..end], last, out);
                body.sent = end;
            }
            if body.complete && body.sent == body.held.len() {
                attempt.request_done = true;
                match &body.trailers {
                    Some(trailers) => h2.wire.trailers(stream, trailers, out),
                    None => h2.wire.data(stream, &[], true, out),
                }
            }
            return;
        }
        let chunked = framing == Body::Chunked;
        while body.sent < body.held.len() && conn.out.len() < limits::QUEUE_BYTES_HIGH {
            let end = body.held.len().min(body.sent + limits::QUEUE_BYTES_HIGH);
            let bytes = &body.held[body.sent..end];
            let out = conn.writer(&mut self.spares, now_ns);
            if chunked {
                encode::chunk(out, bytes);
            } else {
                out.extend_from_slice(bytes);
            }
            body.sent = end;
        }
        if body.complete && body.sent == body.held.len() {
            attempt.request_done = true;
            if chunked {
                let out = conn.writer(&mut self.spares, now_ns);
                encode::last_chunk(out, body.trailers.as_deref());
            }
        }
    }

    /// Stops the upstream: its client is slower.
    pub(crate) fn upstream_hold(&mut self, exchange: &mut Exchange, id: ConnId) {
        exchange.response.upstream_paused = true;
        if exchange.attempt.as_ref().is_some_and(|a| a.stream == 0) {
            self.pause(id, true);
        }
    }

    /// The upstream may go on.
    pub(crate) fn upstream_release(&mut self, exchange: &mut Exchange) {
        let credit = std::mem::take(&mut exchange.response.credit);
        let Some(attempt) = exchange.attempt.as_ref() else {
            return;
        };
        let (Some(id), stream) = (attempt.conn, attempt.stream) else {
            return;
        };
        if stream == 0 {
            return self.pause(id, false);
        }
        if let Some((h2, out)) = self.h2_writer(id) {
            h2.wire.consumed(stream, credit, out);
        }
        self.mark(id);
    }

    /// Ends what an attempt has on its connection: the upstream is cancelled.
    pub(crate) fn upstream_cancel(&mut self, attempt: &mut Attempt, exchange: ExchangeId) {
        let Some(id) = attempt.conn.take() else {
            return;
        };
        let stream = std::mem::take(&mut attempt.stream);
        if stream == 0 {
            return self.upstream_leave(id, exchange);
        }
        if let Some((h2, out)) = self.h2_writer(id) {
            h2.wire.reset(stream, ErrorCode::Cancel, out);
            h2.wire.forget(stream, out);
        }
        if self.upstream_stands(id) {
            attempt.unheard = Some(id);
        }
        self.h2_later(id);
    }

    /// Whether so much waits for the endpoint that what is queued now is not as good as sent.
    fn upstream_stands(&self, id: ConnId) -> bool {
        let conn = self.conns.get(id);
        conn.is_some_and(|conn| conn.out.len() > limits::QUEUE_BYTES_HIGH)
    }

    /// The endpoint took bytes: permits that waited for it are free.
    pub(crate) fn upstream_heard(&mut self, id: ConnId) {
        if self.upstream_stands(id) {
            return;
        }
        let upstream = self.conns.get_mut(id).and_then(Conn::upstream_mut);
        let owed = upstream.map(|upstream| std::mem::take(&mut upstream.owed));
        self.pay(owed.unwrap_or_default());
    }

    /// Gives permits back that waited for a connection.
    pub(crate) fn pay(&mut self, owed: Vec<(Grant, Outcome)>) {
        for (grant, outcome) in owed {
            if let Some(room) = grant.room() {
                self.give_back(&room, grant, outcome);
            }
        }
    }

    /// A connection of HTTP/1.1 ends with its request. One that is dialled for HTTP/2 may have
    /// others that wait for it.
    fn upstream_leave(&mut self, id: ConnId, exchange: ExchangeId) {
        if let Some(upstream) = self.conns.get_mut(id).and_then(Conn::upstream_mut) {
            upstream.waiting.retain(|waiter| *waiter != exchange);
            if upstream.exchange == Some(exchange) {
                upstream.exchange = None;
            }
            let dialing = upstream.state == UpstreamState::Dialing;
            if dialing && (upstream.exchange.is_some() || !upstream.waiting.is_empty()) {
                return;
            }
        }
        self.close(id, How::Now);
    }
}
