//! An upstream's HTTP/2 connections: many attempts on each, found by how many streams they have.
//!
//! **Invariant:** a connection that takes no new stream (GOAWAY, ids used up) is not offered, and
//! closes with its last stream.

use super::H2;
use super::h2::of_tag;
use crate::conn::{Conn, Speaks, Upstream, UpstreamState};
use crate::engine::Engine;
use crate::error::{Failure, FailureKind};
use crate::exchange::{Exchange, Phase, Step, needs_h2};
use crate::grpc;
use crate::heads;
use crate::ids::ConnId;
use crate::input::Closed;
use crate::limits;
use crate::metrics::Metric;
use crate::output::How;
use crate::shared::{Endpoint, Outcome};
use crate::snapshot::{Dialect, Http2};
use crate::timer::TimerKey;
use wire::h2::{Closing, Config, ErrorCode, Event, Role};

/// The HTTP/2 connections of one worker to one endpoint.
#[derive(Debug, Default)]
pub(crate) struct Shard {
    pub(crate) conns: Vec<ConnId>,
    /// What the last handshake agreed on: `None` before the first.
    pub(crate) speaks: Option<bool>,
}

/// Where an attempt can have a stream.
enum Place {
    /// On that connection, or on it once its dial is done.
    At(ConnId),
    /// On a new one.
    Dial,
    /// Nowhere.
    None,
}

impl Engine {
    /// Which version the attempt is to be made in. A WebSocket needs a connection of its own, and
    /// gRPC needs HTTP/2.
    pub(crate) fn upstream_version(&self, exchange: &Exchange, endpoint: &Endpoint) -> Speaks {
        match endpoint.http2 {
            Http2::Never => Speaks::Http1,
            _ if exchange.head.websocket => Speaks::Http1,
            Http2::Always => Speaks::Http2,
            Http2::Auto if endpoint.secure() => {
                let shard = self.locals.shard(exchange.local, endpoint.slot);
                match shard.and_then(|shard| shard.speaks) {
                    Some(true) => Speaks::Http2,
                    Some(false) if !needs_h2(exchange) => Speaks::Http1,
                    Some(false) | None => Speaks::Handshake,
                }
            }
            Http2::Auto if needs_h2(exchange) => Speaks::Http2,
            Http2::Auto => Speaks::Http1,
        }
    }

    /// Gives the attempt a stream on a connection that stands, or a place at one that is dialled;
    /// or gives it up, where there is neither. `None`: one is to be dialled.
    pub(crate) fn h2_attach(&mut self, exchange: &mut Exchange, slot: u32) -> Option<Step> {
        let attempt = exchange.attempt.as_mut()?;
        let id = match self.h2_shard(exchange.local, &attempt.endpoint, exchange.fresh) {
            Place::At(id) => id,
            Place::Dial => return None,
            Place::None => return Some(self.h2_nowhere(exchange)),
        };
        let upstream = self.conns.get_mut(id)?.upstream_mut()?;
        attempt.conn = Some(id);
        attempt.reused = upstream.served > 0;
        if upstream.state == UpstreamState::Dialing {
            upstream.waiting.push(exchange.id);
            exchange.phase = Phase::Dialing;
            return Some(Step::Wait);
        }
        if let Some(cells) = self.locals.endpoint(exchange.local, slot) {
            cells.inc(Metric::ConnectionReuse);
        }
        exchange.phase = Phase::Stream;
        self.dispatch(exchange);
        Some(if exchange.phase == Phase::Stream {
            Step::Next(Phase::Stream)
        } else {
            Step::Wait
        })
    }

    /// Gives the attempt up: permits are all that a request waits for. It goes elsewhere, or is
    /// told to come back.
    fn h2_nowhere(&mut self, exchange: &mut Exchange) -> Step {
        if let Some(pool) = &exchange.pool {
            let retry_ms = pool.room.retry_after_ms(self.now.mono_ns, &mut self.random);
            exchange.tally.retry_after_ms = retry_ms;
        }
        let why = "the endpoint takes no more streams on the connections it may have";
        let failure = Failure::new(FailureKind::NoEndpoint, why);
        self.attempt_failed(exchange, failure, Outcome::Neutral);
        Step::Wait
    }

    /// A connection of HTTP/2 to that endpoint with room for one more stream: the one with the
    /// fewest. Beyond `connections_max` none is added, but where this worker has none.
    fn h2_shard(&self, local: usize, endpoint: &Endpoint, fresh: bool) -> Place {
        let Some(shard) = self.locals.shard(local, endpoint.slot) else {
            return Place::Dial;
        };
        let capped = endpoint.target.open() >= self.locals.local(local).pool.connections_max;
        let mut best: Option<((bool, usize), ConnId)> = None;
        let (mut open, mut used_up) = (0, false);
        for id in &shard.conns {
            let Some(conn) = self.conns.get(*id) else {
                continue;
            };
            let Some(upstream) = conn.upstream() else {
                continue;
            };
            // The slot may have passed to another endpoint in a reload.
            if !upstream.leads_to(endpoint) {
                continue;
            }
            let streams = match &upstream.h2 {
                Some(h2) if h2.wire.can_open() && (capped || !fresh) => h2.wire.streams(),
                None if upstream.state == UpstreamState::Dialing => upstream.waiting.len(),
                h2 => {
                    used_up |= h2.as_ref().is_some_and(|h2| h2.wire.opens());
                    continue;
                }
            };
            open += 1;
            // One whose peer takes nothing is the last choice.
            let load = (conn.out.len() > limits::QUEUE_BYTES_HIGH, streams);
            if best.is_none_or(|(least, _)| load < least) {
                best = Some((load, *id));
            }
        }
        match best {
            None if capped && used_up => Place::None,
            None => Place::Dial,
            Some((_, id)) if capped => Place::At(id),
            Some(((stands, streams), id)) => {
                let full = stands || streams >= limits::H2_UPSTREAM_STREAMS;
                if full && open < limits::H2_UPSTREAM_CONNECTIONS {
                    Place::Dial
                } else {
                    Place::At(id)
                }
            }
        }
    }

    /// A connection to the endpoint stands and speaks HTTP/2.
    pub(crate) fn h2_connected(&mut self, id: ConnId) {
        let now_ns = self.now.mono_ns;
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        let config = Config::default();
        let out = conn.out.writer(&mut self.spares);
        let h2 = H2::new(Role::Client, &config, out, now_ns);
        let Some(upstream) = conn.upstream_mut() else {
            return;
        };
        upstream.h2 = Some(Box::new(h2));
        upstream.reader = None;
        upstream.state = UpstreamState::Busy;
        if let Some(cells) = &upstream.cells {
            cells.inc(Metric::UpstreamHttp2);
        }
        self.h2_upstream_arm(id);
    }

    /// Bytes of an upstream that speaks HTTP/2.
    pub(crate) fn h2_upstream_read(&mut self, id: ConnId, bytes: &[u8]) {
        let now_ns = self.now.mono_ns;
        let mut input = bytes;
        if let Some((h2, _)) = self.conns.get_mut(id).and_then(Conn::h2) {
            h2.heard_ns = now_ns;
            h2.wire.begin(now_ns);
        }
        loop {
            let Some(conn) = self.conns.get_mut(id) else {
                return;
            };
            let Some((h2, out)) = conn.h2_writer(&mut self.spares, now_ns) else {
                return;
            };
            match h2.wire.next(&mut input, &mut self.heads, out) {
                Ok(None) => break,
                Ok(Some(event)) => self.h2_upstream_event(id, event),
                Err(closing) => return self.h2_upstream_broken(id, &closing),
            }
        }
        self.h2_settle(id);
    }

    fn h2_upstream_event(&mut self, id: ConnId, event: Event<'_>) {
        let (Event::Head { tag, .. }
        | Event::Interim { tag, .. }
        | Event::Data { tag, .. }
        | Event::Trailers { tag, .. }
        | Event::End { tag, .. }
        | Event::Reset { tag, .. }) = &event
        else {
            return;
        };
        let Some(mut exchange) = self.exchanges.take(of_tag(*tag)) else {
            return;
        };
        exchange.marks.last_byte_ns = self.now.mono_ns;
        if let (Some(attempt), false) = (
            exchange.attempt.as_mut(),
            matches!(event, Event::Reset { .. }),
        ) {
            attempt.answered = true;
        }
        self.h2_response_event(&mut exchange, id, event);
        self.put_exchange(exchange);
    }

    fn h2_response_event(&mut self, exchange: &mut Exchange, id: ConnId, event: Event<'_>) {
        match event {
            Event::Head { end, .. } => {
                let mut head = std::mem::take(&mut self.heads.response);
                self.response_head(exchange, &mut head, id);
                self.heads.response = head;
                if end && exchange.dialect == Dialect::Grpc {
                    // Trailers only: the status is in the head.
                    let fields = &exchange.response.head.fields;
                    exchange.tally.outcome = grpc::outcome(fields).unwrap_or(Outcome::Failure);
                }
                if end && ours(exchange, id) {
                    self.response_end(exchange);
                }
            }
            Event::Interim { .. } => {
                let head = std::mem::take(&mut self.heads.response);
                self.response_interim(exchange, &head);
                self.heads.response = head;
            }
            Event::Data {
                bytes, credit, end, ..
            } => {
                if !bytes.is_empty() {
                    self.response_data(exchange, bytes);
                }
                if !ours(exchange, id) {
                    return;
                }
                if end {
                    return self.response_end(exchange);
                }
                exchange.response.credit += credit;
                if self.client_full(exchange) {
                    if !exchange.response.upstream_paused {
                        self.upstream_hold(exchange, id);
                        self.arm(exchange);
                    }
                } else if !exchange.response.upstream_paused {
                    self.upstream_release(exchange);
                }
            }
            Event::Trailers { fields, .. } => {
                if wire::hop::accepts_trailers(&exchange.head.fields) {
                    exchange.response.trailers = heads::trailers(&fields, exchange.dialect);
                }
                if exchange.dialect == Dialect::Grpc
                    && let Some(outcome) = grpc::outcome(&fields)
                {
                    exchange.tally.outcome = outcome;
                }
                self.response_end(exchange);
            }
            Event::End { .. } => self.response_end(exchange),
            Event::Reset { code, by_us, .. } => {
                let failure = match by_us {
                    Some(violation) => {
                        Failure::new(FailureKind::UpstreamBadResponse, violation.why)
                    }
                    None => reset_failure(code),
                };
                self.attempt_failed(exchange, failure, Outcome::Failure);
            }
            Event::Bad { .. } | Event::Settings | Event::Goaway { .. } => {}
        }
    }

    fn h2_upstream_broken(&mut self, id: ConnId, closing: &Closing) {
        self.upstream_cells(id, |cells| {
            cells.inc_at(Metric::UpstreamHttp2Closures, closing.cause as usize);
        });
        let mut failure = Failure::new(FailureKind::UpstreamBadResponse, closing.why);
        if let Some(upstream) = self.conns.get(id).and_then(Conn::upstream)
            && upstream.h2.as_ref().is_some_and(|h2| !h2.wire.settled())
        {
            // Its first word was none of HTTP/2: it processed nothing that we said.
            let (local, slot) = (upstream.local, upstream.endpoint.slot);
            let why = "the endpoint does not answer in HTTP/2, which gRPC and http2: always need";
            failure = Failure::new(FailureKind::UpstreamVersion, why);
            self.note_http1_only(local, slot);
        }
        self.h2_upstream_cut(id, failure);
    }

    /// The connection ended under its streams.
    pub(crate) fn h2_upstream_closed(&mut self, id: ConnId, closed: Closed) {
        self.h2_upstream_cut(id, Failure::from(closed));
    }

    fn h2_upstream_cut(&mut self, id: ConnId, failure: Failure) {
        let exchanges = self.h2_exchanges(id);
        if let Some(upstream) = self.conns.get(id).and_then(Conn::upstream) {
            let (local, slot) = (upstream.local, upstream.endpoint.slot);
            // First of all, so that no second attempt is given to it.
            self.locals.forget(local, slot, id);
        }
        for exchange in exchanges {
            let Some(mut exchange) = self.exchanges.take(exchange) else {
                continue;
            };
            if ours(&exchange, id) {
                self.attempt_failed(&mut exchange, failure, Outcome::Failure);
            }
            self.put_exchange(exchange);
        }
        self.close(id, How::Flush(Vec::new()));
    }

    /// A response is complete: its stream is forgotten, the connection goes on.
    pub(crate) fn h2_keep(&mut self, id: ConnId, stream: u32, request_done: bool) {
        if let Some((h2, out)) = self.h2_writer(id) {
            if !request_done {
                h2.wire.reset(stream, ErrorCode::NoError, out);
            }
            h2.wire.forget(stream, out);
        }
        if let Some(upstream) = self.conns.get_mut(id).and_then(Conn::upstream_mut) {
            upstream.served += 1;
        }
        self.h2_later(id);
    }

    fn h2_upstream_arm(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get(id) else {
            return;
        };
        let (Some(h2), Some(upstream)) = (conn.h2_ref(), conn.upstream()) else {
            return;
        };
        let due_ns = if h2.wire.streams() > 0 {
            Self::h2_probe_due_ns(h2)
        } else {
            h2.idle_since_ns() + self.h2_upstream_idle_ns(upstream)
        };
        if let Some(conn) = self.conns.get_mut(id) {
            self.timers.arm(&mut conn.timer, TimerKey::Conn(id), due_ns);
        }
    }

    /// How long an upstream connection is kept without a stream.
    fn h2_upstream_idle_ns(&self, upstream: &Upstream) -> u64 {
        let idle_ns = self.locals.local(upstream.local).pool.idle_ns;
        idle_ns.max(limits::H2_UPSTREAM_IDLE_NS)
    }

    /// An upstream connection's timer fired: is it idle for too long, or too silent?
    pub(crate) fn h2_upstream_timer(&mut self, id: ConnId) {
        let now_ns = self.now.mono_ns;
        if let Err(closing) = self.h2_sweep(id) {
            return self.h2_upstream_broken(id, &closing);
        }
        let Some(conn) = self.conns.get(id) else {
            return;
        };
        let (Some(h2), Some(upstream)) = (conn.h2_ref(), conn.upstream()) else {
            return;
        };
        if h2.wire.streams() > 0 {
            if !self.h2_probe(id) {
                let why = "the endpoint did not answer a PING in time";
                let failure = Failure::new(FailureKind::UpstreamReset, why);
                return self.h2_upstream_cut(id, failure);
            }
        } else if now_ns >= h2.idle_since_ns() + self.h2_upstream_idle_ns(upstream) {
            return self.h2_part(id);
        }
        self.h2_upstream_arm(id);
    }

    /// A connection to the endpoint that has no stream.
    pub(crate) fn h2_idle(&self, local: usize, slot: u32) -> Option<ConnId> {
        let conns = &self.locals.shard(local, slot)?.conns;
        let idle = |id: &&ConnId| {
            let h2 = self.conns.get(**id).and_then(Conn::h2_ref);
            h2.is_some_and(|h2| h2.wire.streams() == 0)
        };
        conns.iter().find(idle).copied()
    }

    /// Ends a connection that has no stream.
    pub(crate) fn h2_part(&mut self, id: ConnId) {
        if let Some((h2, out)) = self.h2_writer(id) {
            h2.wire.goaway_final(ErrorCode::NoError, out);
        }
        self.close(id, How::Flush(Vec::new()));
    }
}

/// Whether the exchange still has its attempt on that connection.
fn ours(exchange: &Exchange, id: ConnId) -> bool {
    let attempt = exchange.attempt.as_ref();
    !exchange.done && attempt.is_some_and(|a| a.conn == Some(id))
}

/// What a reset of the upstream means (RFC 9113 §7).
fn reset_failure(code: u32) -> Failure {
    if code == ErrorCode::RefusedStream as u32 {
        return Failure::new(
            FailureKind::UpstreamRefused,
            "the endpoint did not process the request",
        );
    }
    Failure::new(FailureKind::UpstreamReset, "the endpoint reset the stream")
}
