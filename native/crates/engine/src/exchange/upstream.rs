//! Which connection, and again? An attempt's connection, its request bytes, and what its failure
//! leads to.
//!
//! **Invariant:** an attempt is tried elsewhere only before commit, with its whole body held, and
//! for calls that may be repeated; a permit is settled exactly once.

use std::sync::Arc;

use super::{Exchange, Phase, Step, needs_h2};
use crate::conn::{Conn, Side, Speaks, UpstreamState};
use crate::engine::Engine;
use crate::error::{Failure, FailureKind};
use crate::ids::ConnId;
use crate::input::Closed;
use crate::limits;
use crate::metrics::Metric;
use crate::output::How;
use crate::shared::{Grant, Outcome, Room};
use crate::timer::TimerKey;
use wire::{Body, Method};

impl Engine {
    /// Takes an idle connection or dials one.
    pub(crate) fn upstream(&mut self, exchange: &mut Exchange) -> Step {
        let Some(attempt) = exchange.attempt.as_mut() else {
            return Step::Fail(Failure::new(FailureKind::Internal, "no attempt to connect"));
        };
        attempt.started_ns = self.now.mono_ns;
        let endpoint = Arc::clone(&attempt.endpoint);
        let slot = endpoint.slot;
        let version = self.upstream_version(exchange, &endpoint);
        if let Some(step) = self.mismatch(exchange, version) {
            return step;
        }
        if version == Speaks::Http2
            && let Some(step) = self.h2_attach(exchange, slot)
        {
            return step;
        }
        // An idle connection is one of HTTP/1.1.
        let idle = if exchange.fresh || version == Speaks::Http2 || needs_h2(exchange) {
            None
        } else {
            self.take_idle(exchange.local, slot, &endpoint)
        };
        let Some(attempt) = exchange.attempt.as_mut() else {
            return Step::Wait;
        };
        if let Some(id) = idle
            && let Some(upstream) = self.conns.get_mut(id).and_then(Conn::upstream_mut)
        {
            upstream.state = UpstreamState::Busy;
            upstream.exchange = Some(exchange.id);
            attempt.conn = Some(id);
            attempt.reused = true;
            if let Some(cells) = self.locals.endpoint(exchange.local, slot) {
                cells.inc(Metric::ConnectionReuse);
            }
            self.dispatch(exchange);
            return Step::Next(Phase::Stream);
        }
        self.dial(exchange, &endpoint, version)
    }

    /// Queues the request's head, and as much of its body as is here.
    pub(crate) fn dispatch(&mut self, exchange: &mut Exchange) {
        self.send_continue(exchange);
        let Some(attempt) = exchange.attempt.as_mut() else {
            return;
        };
        let Some(id) = attempt.conn else { return };
        attempt.sent = true;
        attempt.started_ns = self.now.mono_ns;
        exchange.body.sent = 0;
        exchange.marks.last_byte_ns = self.now.mono_ns;
        if !self.upstream_head(exchange) {
            // Between its choice and now it stopped taking streams.
            let why = "the endpoint takes no more streams on this connection";
            let failure = Failure::new(FailureKind::UpstreamRefused, why);
            return self.attempt_failed(exchange, failure, Outcome::Neutral);
        }
        self.mark(id);
        self.pump_request(exchange);
    }

    /// Queues body bytes while the upstream takes them.
    pub(crate) fn pump_request(&mut self, exchange: &mut Exchange) {
        let Some(mut attempt) = exchange.attempt.take() else {
            return;
        };
        let id = attempt.conn;
        // RFC 8441: bytes on a stream before the agreement are no body.
        let early = exchange.head.websocket && exchange.stream != 0;
        let unfinished = attempt.sent && !attempt.request_done && !early;
        if unfinished {
            self.upstream_body(&mut attempt, &mut exchange.body, exchange.head.body);
        }
        exchange.attempt = Some(attempt);
        let (Some(id), true) = (id, unfinished) else {
            return;
        };
        let body = &mut exchange.body;
        let resume = body.paused && body.held.len() - body.sent < limits::QUEUE_BYTES_LOW;
        self.mark(id);
        if resume {
            body.paused = false;
            body.excused_ns += self.now.mono_ns.saturating_sub(body.paused_ns);
            body.drop_sent();
            self.client_release(exchange);
            self.arm(exchange);
        }
    }

    /// The upstream took bytes: more of the body may follow.
    pub(crate) fn upstream_wrote(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        if conn.h2_ref().is_some() {
            self.upstream_heard(id);
            return self.h2_settle(id);
        }
        if conn.out.len() > limits::QUEUE_BYTES_LOW {
            return;
        }
        let Some(upstream) = conn.upstream_mut() else {
            return;
        };
        let (tunnel, Some(exchange_id)) = (upstream.tunnel, upstream.exchange) else {
            return;
        };
        if tunnel {
            return self.tunnel_wrote(exchange_id);
        }
        let unfinished = self.exchanges.get(exchange_id).is_some_and(|e| {
            e.attempt
                .as_ref()
                .is_some_and(|a| a.sent && !a.request_done)
        });
        if unfinished && let Some(mut exchange) = self.exchanges.take(exchange_id) {
            self.pump_request(&mut exchange);
            self.put_exchange(exchange);
        }
    }

    /// The upstream connection ended.
    pub(crate) fn upstream_closed(&mut self, id: ConnId, closed: Closed) {
        let Some(upstream) = self.conns.get_mut(id).and_then(Conn::upstream_mut) else {
            return;
        };
        if upstream.h2.is_some() {
            return self.h2_upstream_closed(id, closed);
        }
        let Some(exchange_id) = upstream.exchange else {
            return self.close(id, How::Now);
        };
        if upstream.tunnel {
            let broken = (closed != Closed::Eof).then(|| Failure::from(closed));
            if !self.tunnel_end(exchange_id, broken) {
                self.close(id, How::Now);
            }
            return;
        }
        let Some(mut reader) = upstream.reader.take() else {
            return;
        };
        let ended = reader.close();
        upstream.reader = Some(reader);
        let Some(mut exchange) = self.exchanges.take(exchange_id) else {
            return self.close(id, How::Now);
        };
        // The end of a close-delimited body; but no stream of events ends in the middle of one.
        let whole = !exchange.response.sse || exchange.response.scanner.at_boundary();
        if let (Closed::Eof, Ok(Some(_)), true) = (closed, &ended, whole) {
            self.response_end(&mut exchange);
        } else {
            let failure = Failure::from(closed);
            self.attempt_failed(&mut exchange, failure, Outcome::Failure);
        }
        self.put_exchange(exchange);
    }

    /// An attempt came to nothing: try elsewhere, or tell the client.
    pub(crate) fn attempt_failed(
        &mut self,
        exchange: &mut Exchange,
        failure: Failure,
        outcome: Outcome,
    ) {
        let may_repeat = repeatable(exchange);
        let Some(attempt) = exchange.attempt.as_mut() else {
            return self.fail(exchange, failure);
        };
        self.upstream_cancel(attempt, exchange.id);
        // RFC 9112 §9.3.1: a kept connection may close under a request; nothing was answered.
        let lost = matches!(
            failure.kind,
            FailureKind::UpstreamClosed | FailureKind::UpstreamReset
        );
        let stale = attempt.reused && lost && may_repeat;
        // RFC 9113 §8.7: what was not processed may be repeated, whatever it is.
        let refused = failure.kind == FailureKind::UpstreamRefused;
        let unprocessed = refused || failure.kind == FailureKind::UpstreamVersion;
        let stale = (stale || refused)
            && !attempt.answered
            && !exchange.stale_used
            && exchange.body.base == 0;
        if stale {
            exchange.stale_used = true;
            exchange.fresh = true;
            attempt.answered = false;
            attempt.unheard = None;
            attempt.sent = false;
            attempt.request_done = false;
            exchange.body.sent = 0;
            exchange.phase = Phase::Upstream;
            self.locals.local(exchange.local).cells.inc(Metric::Retries);
            return self.advance(exchange);
        }
        let slot = attempt.endpoint.slot;
        if let Some(cells) = self.locals.endpoint(exchange.local, slot) {
            cells.inc(Metric::EndpointFailures);
        }
        let sent = attempt.sent;
        self.drop_attempt(exchange, outcome);
        exchange.response.held = false;
        exchange.response.answered = false;
        exchange.response.tail.clear();
        exchange.response.scanner.reset();
        exchange.tried.push(slot);
        if self.may_try_again(exchange, sent, unprocessed) {
            exchange.setback = Some(failure);
            exchange.body.sent = 0;
            exchange.phase = Phase::Admit;
            self.locals.local(exchange.local).cells.inc(Metric::Retries);
            return self.advance(exchange);
        }
        self.fail(exchange, failure);
    }

    fn may_try_again(&mut self, exchange: &Exchange, sent: bool, unprocessed: bool) -> bool {
        let Some(pool) = &exchange.pool else {
            return false;
        };
        let response = &exchange.response;
        let committed = response.body_committed || (response.head_committed && !response.sse);
        let allowed = !committed
            && exchange.body.base == 0
            && exchange.attempts < pool.attempts_max
            && (!sent || unprocessed || repeatable(exchange));
        if allowed && !pool.room.retry_permitted(self.now.mono_ns) {
            self.locals
                .local(exchange.local)
                .cells
                .inc(Metric::RetryBudgetExhausted);
            return false;
        }
        allowed
    }

    /// Ends the attempt, if there is one: connection closed, permit settled. A permit is free once
    /// its endpoint can know (rule 3): a client that asks and cancels, again and again, makes no
    /// more work than the endpoint may have, and no longer queue than that work's.
    pub(crate) fn drop_attempt(&mut self, exchange: &mut Exchange, outcome: Outcome) {
        let Some(mut attempt) = exchange.attempt.take() else {
            return;
        };
        self.upstream_cancel(&mut attempt, exchange.id);
        let (Some(grant), Some(pool)) = (attempt.grant.take(), &exchange.pool) else {
            return;
        };
        let unheard = attempt.unheard.and_then(|id| self.conns.get_mut(id));
        match unheard.and_then(Conn::upstream_mut) {
            Some(upstream) => upstream.owed.push((grant, outcome)),
            None => self.give_back(&pool.room, grant, outcome),
        }
    }

    /// Gives a permit back to its room.
    pub(crate) fn give_back(&mut self, room: &Room, grant: Grant, outcome: Outcome) {
        let slot = grant.endpoint.slot;
        let wake = room.leave(grant, outcome, self.now.mono_ns, &mut self.random);
        if wake.ejected
            && let Some(local) = self.locals.named(room.name())
            && let Some(cells) = self.locals.endpoint(local, slot)
        {
            cells.inc(Metric::Ejections);
        }
        self.deliver(wake);
    }

    /// The response is complete: the connection goes back to the pool if it may.
    pub(crate) fn release_attempt(&mut self, exchange: &mut Exchange, outcome: Outcome) {
        if let Some(attempt) = exchange.attempt.as_mut()
            && attempt.stream != 0
            && let Some(id) = attempt.conn.take()
        {
            self.h2_keep(id, attempt.stream, attempt.request_done);
            return self.drop_attempt(exchange, outcome);
        }
        // A close-delimited response came on a connection that has ended.
        let keep = exchange.attempt.as_ref().is_some_and(|a| a.request_done)
            && exchange.response.head.keep_alive
            && exchange.response.head.body != Body::UntilClose;
        if keep && let Some(id) = exchange.attempt.as_mut().and_then(|a| a.conn.take()) {
            self.keep_upstream(id);
        }
        self.drop_attempt(exchange, outcome);
    }

    /// A connection of HTTP/1.1 has served: it waits for the next request, or closes.
    pub(crate) fn keep_upstream(&mut self, id: ConnId) {
        let now_ns = self.now.mono_ns;
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        let unsent = !conn.out.is_empty();
        let Side::Upstream(upstream) = &mut conn.side else {
            return;
        };
        let (local, slot) = (upstream.local, upstream.endpoint.slot);
        upstream.state = UpstreamState::Idle;
        upstream.exchange = None;
        upstream.idle_since_ns = now_ns;
        upstream.served += 1;
        let open = upstream.endpoint.target.open();
        let pool = &self.locals.local(local).pool;
        let (idle_ns, surplus) = (pool.idle_ns, open > pool.connections_max);
        if unsent || surplus || self.draining.is_some() || !self.locals.give_idle(local, slot, id) {
            return self.close(id, How::Now);
        }
        self.timers
            .arm(&mut conn.timer, TimerKey::Conn(id), now_ns + idle_ns);
        self.pause(id, false);
    }

    /// An idle upstream connection may be old enough to close.
    pub(crate) fn upstream_timer(&mut self, id: ConnId) {
        let now_ns = self.now.mono_ns;
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        if conn.h2_ref().is_some() {
            return self.h2_upstream_timer(id);
        }
        let Side::Upstream(upstream) = &mut conn.side else {
            return;
        };
        if upstream.state != UpstreamState::Idle {
            return;
        }
        let due_ns = upstream.idle_since_ns + self.locals.local(upstream.local).pool.idle_ns;
        if now_ns >= due_ns {
            return self.close(id, How::Now);
        }
        self.timers.arm(&mut conn.timer, TimerKey::Conn(id), due_ns);
    }
}

/// Ends of the paths of inference calls.
const TAILS: [&[u8]; 12] = [
    b"/chat/completions",
    b"/completions",
    b"/messages",
    b"/embeddings",
    b"/rerank",
    b"/score",
    b"/classify",
    b"/generate",
    b"/tokenize",
    b"/audio/transcriptions",
    b"/audio/translations",
    b"/audio/speech",
];

/// Calls that may be repeated: safe methods, and inference calls, which leave nothing behind. A
/// response is kept by its engine unless its whole body says `"store": false`.
fn repeatable(exchange: &Exchange) -> bool {
    if matches!(
        exchange.head.method,
        Method::Get | Method::Head | Method::Options
    ) {
        return true;
    }
    let path = exchange.head.path();
    let leaves_nothing = TAILS.iter().any(|tail| path.ends_with(tail))
        || path.ends_with(b"/responses")
            && exchange.scan.finished()
            && exchange.scan.store() == Some(false);
    exchange.head.method == Method::Post && leaves_nothing
}
