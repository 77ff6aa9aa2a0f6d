//! A connection for an attempt: opened, agreed upon, or not had.
//!
//! **Invariant:** everybody who waits for a dial hears of its outcome once, unless it went
//! elsewhere.

use std::sync::Arc;

use super::{Exchange, Phase, Step};
use crate::conn::{Conn, Side, Speaks, Upstream, UpstreamState};
use crate::engine::Engine;
use crate::error::Failure;
use crate::ids::{ConnId, ExchangeId};
use crate::input::{Alpn, Connected, DialError};
use crate::metrics::{DialFamily, Metric};
use crate::output::Output;
use crate::shared::{Endpoint, Outcome};
use crate::snapshot::Http2;
use wire::h1::ResponseReader;

impl Engine {
    /// Opens a connection for the attempt.
    pub(crate) fn dial(
        &mut self,
        exchange: &mut Exchange,
        endpoint: &Arc<Endpoint>,
        speaks: Speaks,
    ) -> Step {
        let slot = endpoint.slot;
        self.make_way(exchange.local, endpoint);
        let Some(attempt) = exchange.attempt.as_mut() else {
            return Step::Wait;
        };
        let cells = self.locals.endpoint(exchange.local, slot).map(Arc::clone);
        if let Some(cells) = &cells {
            cells.add(Metric::UpstreamOpen, 1);
            cells.inc(Metric::Connects);
        }
        let upstream = Upstream {
            local: exchange.local,
            cells,
            endpoint: Arc::clone(endpoint),
            speaks,
            state: UpstreamState::Dialing,
            reader: Some(Box::new(ResponseReader::new(wire::Limits::default()))),
            exchange: Some(exchange.id),
            idle_since_ns: 0,
            served: 0,
            tunnel: false,
            h2: None,
            waiting: Vec::new(),
            owed: Vec::new(),
            peer: None,
            _open: endpoint.target.opened(),
        };
        let now_ns = self.now.mono_ns;
        let id = self
            .conns
            .insert_with(|_| Conn::new(Side::Upstream(Box::new(upstream)), now_ns));
        attempt.conn = Some(id);
        attempt.reused = false;
        if speaks == Speaks::Http2 {
            let shard = self.locals.shard_mut(exchange.local, slot);
            shard.conns.push(id);
        }
        self.outputs
            .push_back(Output::Dial(id, endpoint.dial(speaks != Speaks::Http1)));
        exchange.phase = Phase::Dialing;
        Step::Wait
    }

    /// A dial tries an address: the first one, or another beside it or after it.
    pub fn attempting(&mut self, id: ConnId, family: DialFamily) {
        self.upstream_cells(id, |cells| {
            cells.inc_at(Metric::DialAttempts, family as usize);
        });
    }

    /// The outcome of a dial.
    pub(crate) fn connected(&mut self, id: ConnId, result: Result<Connected, DialError>) {
        let Some(upstream) = self.conns.get_mut(id).and_then(Conn::upstream_mut) else {
            return;
        };
        upstream.state = UpstreamState::Busy;
        if let Some(cells) = &upstream.cells {
            crate::secure::count_dial(cells, result);
        }
        if let Ok(connected) = result {
            let target = &upstream.endpoint.target;
            upstream.peer = connected.peer.map(|address| target.worked(address));
        }
        let h2 = result.is_ok_and(|connected| speaks_h2(upstream, connected));
        let mut waiting = std::mem::take(&mut upstream.waiting);
        let first = match upstream.exchange {
            // Who dialled has left: the next one has it, or nobody would ever end it.
            None if !h2 && !waiting.is_empty() => Some(waiting.remove(0)),
            first => first,
        };
        upstream.exchange = first.filter(|_| !h2);
        match result {
            Ok(_) => self.agreed(id, h2),
            Err(_) => self.undial(id),
        }
        if h2 || result.is_err() {
            waiting.splice(0..0, first);
        } else {
            // It speaks HTTP/1.1, which serves one at a time.
            self.turn_away(&waiting);
            waiting.clear();
            waiting.extend(first);
        }
        for exchange_id in waiting {
            if let Some(mut exchange) = self.exchanges.take(exchange_id) {
                // It may have given up waiting and gone elsewhere.
                if exchange
                    .attempt
                    .as_ref()
                    .is_some_and(|a| a.conn == Some(id))
                {
                    self.dialled(&mut exchange, result);
                }
                self.put_exchange(exchange);
            }
        }
        if h2 {
            self.h2_later(id);
        }
    }

    /// A connection stands: HTTP/2 begins, and what the handshake agreed on is remembered.
    fn agreed(&mut self, id: ConnId, h2: bool) {
        let Some(upstream) = self.conns.get(id).and_then(Conn::upstream) else {
            return;
        };
        let (local, slot) = (upstream.local, upstream.endpoint.slot);
        let learnt = upstream.speaks != Speaks::Http1 && upstream.endpoint.secure();
        if learnt {
            self.locals.shard_mut(local, slot).speaks = Some(h2);
        }
        if h2 {
            self.locals.note_http1_only(local, slot, None);
            let conns = &mut self.locals.shard_mut(local, slot).conns;
            if !conns.contains(&id) {
                conns.push(id);
            }
            self.h2_connected(id);
        } else {
            self.locals.forget(local, slot, id);
        }
    }

    /// Those who hoped for a stream of a connection that has none look again.
    fn turn_away(&mut self, waiting: &[ExchangeId]) {
        for id in waiting {
            let Some(mut exchange) = self.exchanges.take(*id) else {
                continue;
            };
            if exchange.phase == Phase::Dialing
                && let Some(attempt) = exchange.attempt.as_mut()
            {
                attempt.conn = None;
                exchange.phase = Phase::Upstream;
                self.advance(&mut exchange);
            }
            self.put_exchange(exchange);
        }
    }

    /// Forgets a connection that did not come to be.
    fn undial(&mut self, id: ConnId) {
        let Some(mut conn) = self.conns.remove(id) else {
            return;
        };
        self.timers.cancel(&mut conn.timer);
        if let Side::Upstream(upstream) = &conn.side {
            if let Some(cells) = &upstream.cells {
                cells.inc(Metric::ConnectErrors);
                cells.sub(Metric::UpstreamOpen, 1);
            }
            self.locals
                .forget(upstream.local, upstream.endpoint.slot, id);
        }
    }

    fn dialled(&mut self, exchange: &mut Exchange, result: Result<Connected, DialError>) {
        match result {
            Ok(_) => {
                self.note_dialled(exchange);
                if self.is_mismatch(exchange) {
                    return self.wrong_version(exchange);
                }
                exchange.phase = Phase::Stream;
                self.dispatch(exchange);
                self.advance(exchange);
            }
            Err(error) => {
                if let Some(attempt) = exchange.attempt.as_mut() {
                    attempt.conn = None;
                }
                let failure = Failure::from(error);
                self.attempt_failed(exchange, failure, Outcome::ConnectError);
            }
        }
    }

    /// Counts how long a dial took that succeeded.
    fn note_dialled(&self, exchange: &Exchange) {
        if let Some(attempt) = &exchange.attempt
            && let Some(id) = attempt.conn
        {
            let elapsed_ns = self.now.mono_ns.saturating_sub(attempt.started_ns);
            self.upstream_cells(id, |cells| {
                cells.observe(Metric::ConnectDuration, elapsed_ns);
            });
        }
    }
}

/// Whether a connection that stands speaks HTTP/2: by what its handshake agreed on, or by what we
/// know of the endpoint.
fn speaks_h2(upstream: &Upstream, connected: Connected) -> bool {
    match connected.alpn {
        Alpn::H2 => upstream.speaks != Speaks::Http1,
        Alpn::Http11 => false,
        Alpn::None => {
            let known = !upstream.endpoint.secure() || upstream.endpoint.http2 == Http2::Always;
            upstream.speaks == Speaks::Http2 && known
        }
    }
}
