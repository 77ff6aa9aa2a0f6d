//! A client's HTTP/2 connection: its streams become exchanges.
//!
//! **Invariant:** the stages see one request at a time and never its connection: what concerns the
//! connection (its age, silence, abuse) is decided here.

use super::H2;
use super::h2::{of_tag, tag};
use crate::clock::MS;
use crate::conn::{ClientMode, Conn};
use crate::engine::Engine;
use crate::error::Failure;
use crate::exchange::{Exchange, Phase};
use crate::heads;
use crate::ids::{ConnId, ExchangeId};
use crate::limits;
use crate::metrics::Metric;
use crate::output::How;
use wire::h2::{Closing, Config, ErrorCode, Event, HELD_HEAD_BYTES_FREE, Role, StreamId};
use wire::{Body, Violation};

/// What a client of HTTP/2 says first (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

impl Engine {
    /// The first bytes of a cleartext connection: which version does it speak?
    pub(crate) fn client_opening(&mut self, id: ConnId, bytes: &[u8]) {
        let Some(client) = self.conns.get_mut(id).and_then(Conn::client_mut) else {
            return;
        };
        let mut stash = std::mem::take(&mut client.stash);
        stash.extend(bytes);
        let said = stash.waiting();
        let length = said.len().min(PREFACE.len());
        if said[..length] != PREFACE[..length] {
            client.mode = ClientMode::Http;
            return self.client_read(id, said);
        }
        if length < PREFACE.len() {
            client.stash = stash;
            return self.arm_client(id);
        }
        self.start_h2_client(id);
        self.h2_client_read(id, said);
    }

    /// The connection speaks HTTP/2 from here on.
    pub(crate) fn start_h2_client(&mut self, id: ConnId) {
        let now_ns = self.now.mono_ns;
        let jitter_ms = self.random.jitter(limits::H2_AGE_MS, 0.1);
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        let Some(client) = conn.client() else {
            return;
        };
        let config = config(client.trusted);
        let mut h2 = H2::new(
            Role::Server,
            &config,
            conn.out.writer(&mut self.spares),
            now_ns,
        );
        h2.retire_ns = now_ns + jitter_ms * MS;
        h2.retire_streams = limits::H2_STREAMS_MAX * jitter_ms / limits::H2_AGE_MS;
        if let Some(client) = conn.client_mut() {
            client.mode = ClientMode::H2;
            client.reader = None;
            client.h2 = Some(Box::new(h2));
            let cells = &self.locals.door(client.door).cells;
            cells.inc(Metric::Http2Connections);
        }
        if self.draining.is_some() {
            self.h2_wind_up(id);
        }
        self.mark(id);
    }

    /// Bytes of a client that speaks HTTP/2. The exchanges that they are for go on when all were
    /// read: what is reset in the same breath (CVE-2023-44487) never reaches an endpoint.
    pub(crate) fn h2_client_read(&mut self, id: ConnId, bytes: &[u8]) {
        let now_ns = self.now.mono_ns;
        let pressed = self.pressure.high();
        if let Some((h2, _)) = self.conns.get_mut(id).and_then(Conn::h2) {
            h2.heard_ns = now_ns;
            h2.wire.begin(now_ns);
            h2.wire.press(pressed);
            let others = self.heads_lent - h2.lent;
            let left = limits::H2_HEADS_LENT_MAX.saturating_sub(others);
            h2.wire.lend_heads(left.min(HELD_HEAD_BYTES_FREE));
        }
        let mut touched = std::mem::take(&mut self.touched);
        let read = self.h2_client_events(id, bytes, &mut touched);
        if let Err(closing) = read {
            self.h2_client_broken(id, &closing);
        }
        for exchange in touched.drain(..) {
            self.drive(exchange);
        }
        self.touched = touched;
        if read.is_ok() {
            self.h2_settle(id);
            self.arm_client(id);
        }
    }

    /// All events of some bytes; adds to `touched` which exchanges are to go on.
    fn h2_client_events(
        &mut self,
        id: ConnId,
        mut input: &[u8],
        touched: &mut Vec<ExchangeId>,
    ) -> Result<(), Closing> {
        let now_ns = self.now.mono_ns;
        loop {
            let conn = self.conns.get_mut(id);
            let Some((h2, out)) = conn.and_then(|c| c.h2_writer(&mut self.spares, now_ns)) else {
                return Ok(());
            };
            match h2.wire.next(&mut input, &mut self.heads, out)? {
                None => return Ok(()),
                Some(event) => {
                    // A stream's pieces come in a row: it goes on once for all of them.
                    if let Some(exchange) = self.h2_client_event(id, event)
                        && touched.last() != Some(&exchange)
                    {
                        touched.push(exchange);
                    }
                }
            }
        }
    }

    /// One event; the exchange that is to go on.
    fn h2_client_event(&mut self, id: ConnId, event: Event<'_>) -> Option<ExchangeId> {
        let of = match &event {
            Event::Head { .. } | Event::Bad { .. } | Event::Settings | Event::Goaway { .. } => None,
            Event::Interim { tag, .. }
            | Event::Data { tag, .. }
            | Event::Trailers { tag, .. }
            | Event::End { tag, .. }
            | Event::Reset { tag, .. } => Some(of_tag(*tag)),
        };
        match event {
            Event::Head {
                id: stream, end, ..
            } => return self.h2_request(id, stream, end),
            Event::Bad {
                id: stream,
                violation,
                reset,
            } => self.h2_bad_request(id, stream, violation, reset),
            Event::Data {
                bytes, credit, end, ..
            } => return self.h2_request_data(of?, bytes, credit, end),
            Event::Trailers { fields, .. } => {
                if let Some(exchange) = of.and_then(|e| self.exchanges.get_mut(e)) {
                    exchange.body.trailers = heads::trailers(&fields, exchange.dialect);
                }
                return self.h2_request_end(of?);
            }
            Event::End { .. } => return self.h2_request_end(of?),
            Event::Reset { by_us, .. } => {
                if let Some(mut exchange) = of.and_then(|e| self.exchanges.take(e)) {
                    self.h2_stream_reset(&mut exchange, by_us);
                    self.put_exchange(exchange);
                }
            }
            Event::Interim { .. } | Event::Settings | Event::Goaway { .. } => {}
        }
        None
    }

    fn h2_request(&mut self, id: ConnId, stream: StreamId, end: bool) -> Option<ExchangeId> {
        let exchange_id = self.request_head(id, stream)?;
        let retire = self.h2_tag(id, stream, exchange_id);
        if let Some(exchange) = self.exchanges.get_mut(exchange_id) {
            exchange.body.complete = end;
            if exchange.head.websocket {
                // RFC 8441: no byte of it goes on before the agreement, and the key that HTTP/1.1
                // wants is made here.
                let words = [self.random.next_u64(), self.random.next_u64()];
                heads::websocket_key(&mut exchange.head.fields, words);
                exchange.head.body = Body::None;
                exchange.scanning = false;
                exchange.body.paused = true;
            }
        }
        if retire {
            self.h2_wind_up(id);
        }
        Some(exchange_id)
    }

    /// Ties a stream to its exchange. `true`: the connection has served its share of streams.
    fn h2_tag(&mut self, id: ConnId, stream: StreamId, exchange: ExchangeId) -> bool {
        let Some(conn) = self.conns.get_mut(id) else {
            return false;
        };
        let requests_max = conn
            .client()
            .map_or(0, |client| client.listener.plan.requests_max);
        let Some((h2, _)) = conn.h2() else {
            return false;
        };
        h2.wire.set_tag(stream, tag(exchange));
        let accepted = h2.wire.accepted();
        let share = if requests_max > 0 {
            u64::from(requests_max)
        } else {
            h2.retire_streams
        };
        accepted >= share && !h2.wire.going()
    }

    /// A head that is no request: a reset says so (RFC 9113 §8.1.1), or an answer where one helps.
    fn h2_bad_request(&mut self, id: ConnId, stream: StreamId, violation: Violation, reset: bool) {
        let Some(mut exchange) = self.headless(id, stream) else {
            return;
        };
        self.h2_tag(id, stream, exchange.id);
        self.listener_cells(&exchange)
            .inc_at(Metric::Violations, violation.code as usize);
        let failure = Failure::from(violation);
        if reset {
            self.h2_refuse(&mut exchange, failure);
        } else {
            self.fail(&mut exchange, failure);
        }
        self.put_exchange(exchange);
    }

    /// Ends an exchange whose stream the codec has reset: its request was malformed.
    fn h2_refuse(&mut self, exchange: &mut Exchange, failure: Failure) {
        self.drop_attempt(exchange, crate::shared::Outcome::Neutral);
        if let Some((h2, out)) = self.h2_writer(exchange.client) {
            h2.wire.forget(exchange.stream, out);
        }
        self.h2_later(exchange.client);
        exchange.failure = Some(failure);
        self.finish(exchange);
    }

    fn h2_request_data(
        &mut self,
        id: ExchangeId,
        bytes: &[u8],
        credit: u32,
        end: bool,
    ) -> Option<ExchangeId> {
        let exchange = self.exchanges.get_mut(id)?;
        let mut touched = None;
        let (client, stream) = (exchange.client, exchange.stream);
        if exchange.phase == Phase::Tunnel {
            exchange.body.received += bytes.len() as u64;
            exchange.body.credit += credit;
            self.tunnel_client_bytes(id, bytes);
            if let Some(mut exchange) = self.exchanges.take(id) {
                if !exchange.body.paused {
                    self.client_release(&mut exchange);
                }
                self.put_exchange(exchange);
            }
        } else if exchange.head.websocket {
            exchange.body.credit += credit;
            exchange.body.held.extend_from_slice(bytes);
        } else {
            if exchange.body.paused {
                exchange.body.credit += credit;
            } else if let Some((h2, out)) = self.h2_writer(client) {
                h2.wire.consumed(stream, credit, out);
            }
            touched = Some(id);
            if !bytes.is_empty() {
                self.request_data(id, bytes);
            }
        }
        if end {
            return self.h2_request_end(id);
        }
        touched
    }

    fn h2_request_end(&mut self, id: ExchangeId) -> Option<ExchangeId> {
        let exchange = self.exchanges.get_mut(id)?;
        if exchange.phase == Phase::Tunnel {
            self.tunnel_end(id, None);
            return None;
        }
        exchange.body.complete = true;
        Some(id)
    }

    /// The stream is over: the client cancelled, or broke a rule of the protocol.
    fn h2_stream_reset(&mut self, exchange: &mut Exchange, by_us: Option<Violation>) {
        if let Some(violation) = by_us {
            self.listener_cells(exchange)
                .inc_at(Metric::Violations, violation.code as usize);
            return self.h2_refuse(exchange, Failure::from(violation));
        }
        self.client_gone(exchange);
    }

    /// The connection broke a rule or spent its budget: GOAWAY is written, everything on it ends.
    fn h2_client_broken(&mut self, id: ConnId, closing: &Closing) {
        if let Some(client) = self.conns.get(id).and_then(Conn::client) {
            let cells = &self.locals.door(client.door).cells;
            cells.inc_at(Metric::Http2Closures, closing.cause as usize);
        }
        self.h2_client_cut(id);
        self.close(id, How::Flush(Vec::new()));
    }

    /// Ends every exchange of a connection that ends: its client is gone.
    pub(crate) fn h2_client_cut(&mut self, id: ConnId) {
        for exchange in self.h2_exchanges(id) {
            if let Some(mut exchange) = self.exchanges.take(exchange) {
                self.client_gone(&mut exchange);
                self.put_exchange(exchange);
            }
        }
    }

    /// The end of a response: of its stream, never of the connection.
    pub(crate) fn h2_end_response(&mut self, exchange: &mut Exchange, clean: bool) {
        let stream = exchange.stream;
        if let Some((h2, out)) = self.h2_writer(exchange.client) {
            if !clean {
                // RFC 8441 §5: what a reset is to a tunnel over TCP.
                let code = if exchange.phase == Phase::Tunnel {
                    ErrorCode::Cancel
                } else {
                    ErrorCode::InternalError
                };
                h2.wire.abort(stream, code, out);
            } else if let Some(trailers) = &exchange.response.trailers {
                h2.wire.trailers(stream, trailers, out);
            } else {
                h2.wire.data(stream, &[], true, out);
            }
            h2.wire.forget(stream, out);
        }
        self.h2_later(exchange.client);
    }

    /// What is due on a client's connection is looked at once the inputs of the turn are through.
    pub(crate) fn h2_later(&mut self, id: ConnId) {
        self.mark(id);
        self.resumed.push_back(id);
    }

    /// When a client connection must be looked at.
    pub(crate) fn h2_client_deadline(conn: &Conn, h2: &H2) -> Option<u64> {
        let client = conn.client()?;
        let plan = &client.listener.plan;
        let live_ns = if h2.wire.streams() > 0 {
            Self::h2_probe_due_ns(h2)
        } else {
            let idle_ns = plan.idle_ms * MS;
            let served = h2.wire.accepted() > 0;
            // It is not idle while it takes the last answer, however slowly.
            let taking_ns = if conn.out.is_empty() {
                0
            } else {
                conn.progress_ns
            };
            h2.idle_since_ns().max(taking_ns)
                + if served {
                    idle_ns.max(limits::H2_IDLE_NS)
                } else {
                    idle_ns
                }
        };
        let head_ns = h2.wire.head_since_ns().map(|at| at + limits::H2_HEAD_NS);
        let wound_ns = h2.winding_ns.map(|at| at + limits::H2_WINDING_NS);
        [Some(live_ns), Some(h2.retire_ns), head_ns, wound_ns]
            .into_iter()
            .flatten()
            .min()
    }

    /// A client connection's timer fired.
    pub(crate) fn h2_client_timer(&mut self, id: ConnId) {
        let now_ns = self.now.mono_ns;
        if let Err(closing) = self.h2_sweep(id) {
            return self.h2_client_broken(id, &closing);
        }
        let Some(conn) = self.conns.get(id) else {
            return;
        };
        let Some(h2) = conn.h2_ref() else { return };
        let due_ns = Self::h2_client_deadline(conn, h2).unwrap_or(u64::MAX);
        let (retire, live) = (now_ns >= h2.retire_ns, h2.wire.streams() > 0);
        let wound = h2
            .winding_ns
            .is_some_and(|at| now_ns >= at + limits::H2_WINDING_NS);
        if now_ns < due_ns {
            return self.arm_client(id);
        }
        if wound {
            self.h2_wound_up(id);
        } else if retire {
            if let Some((h2, _)) = self.h2_writer(id) {
                h2.retire_ns = u64::MAX;
            }
            self.h2_wind_up(id);
        } else if live {
            if !self.h2_probe(id) {
                self.h2_client_cut(id);
                return self.close(id, How::Now);
            }
        } else {
            return self.h2_client_idle(id);
        }
        self.arm_client(id);
    }

    /// Nothing was asked for long enough: an orderly end.
    fn h2_client_idle(&mut self, id: ConnId) {
        if let Some((h2, out)) = self.h2_writer(id) {
            h2.wire.goaway_final(ErrorCode::NoError, out);
        }
        self.close(id, How::Flush(Vec::new()));
    }
}

/// Our side of a connection with a client; a gateway of ours above us gets wider budgets.
fn config(trusted: bool) -> Config {
    Config {
        connect_protocol: true,
        widened: if trusted { limits::H2_TRUSTED_WIDER } else { 1 },
        ..Config::default()
    }
}
