//! What was said? A client's bytes become a head and a body, one request at a time.
//!
//! **Invariant:** while a request is being answered, bytes behind it wait in the connection's
//! stash (one read's worth, and what was read before the pause was heard of) and the socket is
//! paused; they are never lost or reordered.

use std::sync::Arc;

use super::{Exchange, Phase, Step};
use crate::conn::{Client, ClientMode, Conn};
use crate::engine::Engine;
use crate::error::{Failure, FailureKind};
use crate::heads;
use crate::ids::{ConnId, ExchangeId};
use crate::limits;
use crate::metrics::Metric;
use crate::output::How;
use crate::peer::Said;
use crate::scan;
use wire::h1::Event;
use wire::{Body, Method, Name};

impl Engine {
    /// Bytes of a client connection.
    pub(crate) fn client_read(&mut self, id: ConnId, bytes: &[u8]) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        let paused = conn.paused;
        let Some(client) = conn.client_mut() else {
            return;
        };
        match client.mode {
            // A driver that was given no keys for this listener: nothing is served in clear.
            ClientMode::Http | ClientMode::Opening if client.handshaking => {
                self.close(id, How::Now);
            }
            ClientMode::H2 => self.h2_client_read(id, bytes),
            ClientMode::Opening => self.client_opening(id, bytes),
            ClientMode::Tunnel => self.tunnel_client_read(id, bytes),
            ClientMode::Prelude => {
                client.stash.extend(bytes);
                self.client_prelude(id);
            }
            ClientMode::Http | ClientMode::Discard => {
                let behind = match client.exchange {
                    Some(_) => client.request_complete,
                    // Read before the pause was heard of.
                    None => paused,
                };
                if behind || !client.stash.is_empty() {
                    client.stash.extend(bytes);
                    return self.pause(id, true);
                }
                let mut rest = bytes;
                let touched = self.client_parse(id, &mut rest);
                if !rest.is_empty()
                    && let Some(client) = self.conns.get_mut(id).and_then(Conn::client_mut)
                {
                    client.stash.extend(rest);
                    self.pause(id, true);
                }
                if let Some(touched) = touched {
                    self.drive(touched);
                }
            }
        }
    }

    /// The exchange of a connection ended: what waits in the stash is parsed now.
    pub(crate) fn client_resume(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        let waiting = conn.out.len();
        let Some(client) = conn.client_mut() else {
            return;
        };
        if client.exchange.is_some() {
            return;
        }
        let many = waiting > 0 && client.answers_unsent >= limits::PIPELINED_ANSWERS_MAX;
        if many || waiting > limits::QUEUE_BYTES_HIGH {
            // It asks and does not read: the next request waits until the answers are out.
            return self.pause(id, true);
        }
        self.client_unstash(id);
    }

    /// Parses what waits in the stash, up to the end of one request.
    fn client_unstash(&mut self, id: ConnId) {
        let Some(client) = self.conns.get_mut(id).and_then(Conn::client_mut) else {
            return;
        };
        let mut stash = std::mem::take(&mut client.stash);
        let mut rest = stash.waiting();
        let touched = if rest.is_empty() {
            None
        } else {
            self.client_parse(id, &mut rest)
        };
        let left = rest.len();
        stash.keep(left);
        if let Some(client) = self.conns.get_mut(id).and_then(Conn::client_mut) {
            client.stash = stash;
            self.pause(id, left > 0);
        }
        if let Some(touched) = touched {
            self.drive(touched);
        }
    }

    /// A PROXY protocol header must come first (HAProxy's PROXY protocol, v1 and v2).
    fn client_prelude(&mut self, id: ConnId) {
        let Some(client) = self.conns.get_mut(id).and_then(Conn::client_mut) else {
            return;
        };
        match wire::proxy_protocol::parse(client.stash.waiting()) {
            Ok(None) => {}
            Ok(Some((taken, addresses))) => {
                client.stash.keep(client.stash.len() - taken);
                client.mode = super::accept::first_mode(&client.listener);
                if let Some((source, _)) = addresses {
                    client.peer = Some(source.ip().to_canonical());
                }
                client.trusted = super::accept::trusted(&client.listener, client.peer);
                if client.mode == ClientMode::Opening {
                    if !client.stash.is_empty() {
                        self.client_opening(id, b"");
                    }
                } else {
                    self.client_unstash(id);
                }
            }
            Err(violation) => {
                self.count_violation(id, &violation);
                self.close(id, How::Now);
            }
        }
    }

    /// Takes bytes of `input` up to the end of one request; says which exchange is to be driven.
    fn client_parse(&mut self, id: ConnId, input: &mut &[u8]) -> Option<ExchangeId> {
        let mut touched: Option<ExchangeId> = None;
        loop {
            let client = self.conns.get_mut(id).and_then(Conn::client_mut)?;
            if client.exchange.is_some() && client.request_complete {
                return touched;
            }
            let mut reader = client.reader.take()?;
            let event = reader.next(input, &mut self.heads.request);
            let idle = reader.idle();
            client.reader = Some(reader);
            match event {
                Ok(None) => {
                    self.note_partial(id, idle);
                    return touched;
                }
                Ok(Some(event)) => {
                    if !self.client_event(id, event, &mut touched) {
                        return None;
                    }
                }
                Err(violation) => {
                    self.count_violation(id, &violation);
                    let failure = Failure::from(violation);
                    self.request_broken(id, &failure);
                    return None;
                }
            }
        }
    }

    /// One event of the request stream. `false` when the connection is gone.
    fn client_event(
        &mut self,
        id: ConnId,
        event: Event<'_>,
        touched: &mut Option<ExchangeId>,
    ) -> bool {
        match event {
            Event::Head => *touched = self.request_head(id, 0),
            Event::Data(data) => {
                let Some(client) = self.conns.get_mut(id).and_then(Conn::client_mut) else {
                    return false;
                };
                if client.mode == ClientMode::Discard {
                    client.discarded += data.len() as u64;
                    if client.discarded > limits::DRAIN_BYTES_MAX {
                        self.close(id, How::Flush(Vec::new()));
                        return false;
                    }
                } else if let Some(exchange) = client.exchange {
                    *touched = Some(exchange);
                    self.request_data(exchange, data);
                }
            }
            Event::End => return self.request_end(id, touched),
            Event::Trailers(trailers) => {
                let exchange = self
                    .conns
                    .get(id)
                    .and_then(Conn::client)
                    .and_then(|c| c.exchange);
                if let Some(exchange) = exchange.and_then(|e| self.exchanges.get_mut(e)) {
                    exchange.body.trailers = heads::trailers(&trailers, exchange.dialect);
                }
            }
            Event::Interim => {}
        }
        self.conns.get(id).is_some()
    }

    fn request_end(&mut self, id: ConnId, touched: &mut Option<ExchangeId>) -> bool {
        let now_ns = self.now.mono_ns;
        let Some(client) = self.conns.get_mut(id).and_then(Conn::client_mut) else {
            return false;
        };
        if client.mode == ClientMode::Discard {
            client.mode = ClientMode::Http;
            client.idle_since_ns = now_ns;
            client.head_since_ns = 0;
            return true;
        }
        client.request_complete = true;
        if let Some(exchange) = client.exchange {
            *touched = Some(exchange);
            if let Some(exchange) = self.exchanges.get_mut(exchange) {
                exchange.body.complete = true;
            }
        }
        true
    }

    /// An incomplete head starts its clock; a quiet connection stops it.
    fn note_partial(&mut self, id: ConnId, idle: bool) {
        let now_ns = self.now.mono_ns;
        let Some(client) = self.conns.get_mut(id).and_then(Conn::client_mut) else {
            return;
        };
        if client.exchange.is_none() && client.mode == ClientMode::Http {
            if !idle && client.head_since_ns == 0 {
                client.head_since_ns = now_ns;
            }
            self.arm_client(id);
        }
    }

    fn count_violation(&self, id: ConnId, violation: &wire::Violation) {
        if let Some(client) = self.conns.get(id).and_then(Conn::client) {
            let cells = &self.locals.door(client.door).cells;
            cells.inc_at(Metric::Violations, violation.code as usize);
        }
    }

    /// A complete head in `heads`: a new exchange.
    pub(crate) fn request_head(&mut self, id: ConnId, stream: u32) -> Option<ExchangeId> {
        let exchange_id = self.new_exchange(id);
        let now = self.now;
        let conn = self.conns.get_mut(id)?;
        let ahead = conn.out.len();
        let client: &mut Client = conn.client_mut()?;
        if stream == 0 {
            client.ahead = ahead;
            client.exchange = Some(exchange_id);
            client.request_complete = false;
        }
        client.head_since_ns = 0;
        client.requests += 1;
        let exchange = self.exchanges.get_mut(exchange_id)?;
        exchange.stream = stream;
        std::mem::swap(&mut exchange.head, &mut self.heads.request);
        exchange.door = client.door;
        exchange.listener = Some(Arc::clone(&client.listener));
        exchange.admin = client.admin;
        exchange.peer = client.peer;
        exchange.trusted = client.trusted;
        if let Some(secured) = &client.secured {
            exchange.tls = Some(secured.version);
            exchange.principal.name.clone_from(&secured.principal);
        }
        exchange.marks.started_ns = now.mono_ns;
        exchange.marks.started_wall_ms = now.wall_ms;
        exchange.expects = exchange.head.expect_continue;
        exchange.response.close = !exchange.head.keep_alive;
        exchange.scanning = exchange.head.body != Body::None && is_scanned(exchange);
        let max = client.listener.plan.requests_max;
        if max > 0 && client.requests >= max {
            exchange.response.close = true;
        }
        if self
            .draining
            .is_some_and(|drain| drain.admin || !exchange.admin)
        {
            exchange.response.close = true;
        }
        Some(exchange_id)
    }

    /// Body bytes: held, scanned, and passed on by `pump`.
    pub(crate) fn request_data(&mut self, id: ExchangeId, data: &[u8]) {
        let held_max = self.snapshot.held_body_bytes_max;
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        if exchange.phase == Phase::Done {
            return;
        }
        exchange.body.received += data.len() as u64;
        if exchange.body.held.capacity() == 0 {
            exchange.body.held = self.spares.take();
        }
        exchange.body.held.extend_from_slice(data);
        if exchange.scanning {
            exchange.scan.feed(data);
        }
        let wanted = (exchange.body.held.len() as u64).saturating_sub(exchange.body.charged);
        if wanted > 0 && exchange.body.held.len() <= held_max {
            let wanted = wanted.max(super::KEPT_BYTES_MAX as u64);
            if self.held.try_take(wanted) {
                exchange.body.charged += wanted;
            }
        }
    }

    /// Runs the stages of an exchange after its client's bytes were taken.
    pub(crate) fn drive(&mut self, id: ExchangeId) {
        let Some(mut exchange) = self.exchanges.take(id) else {
            return;
        };
        if let Some(failure) = body_verdict(&exchange) {
            self.fail(&mut exchange, failure);
        } else {
            self.advance(&mut exchange);
            self.hold_or_pause(&mut exchange);
        }
        self.put_exchange(exchange);
    }

    /// A body that outgrows what may be held flows instead, at the upstream's pace.
    fn hold_or_pause(&mut self, exchange: &mut Exchange) {
        if exchange.done || exchange.body.complete {
            return;
        }
        let held = exchange.body.held.len();
        let exhausted = exchange.body.exhausted();
        // Once the client has an answer's bytes there is no second attempt to hold it for.
        let flows = exchange.response.body_committed;
        let over = exhausted || flows || held > self.snapshot.held_body_bytes_max;
        if over && exchange.phase == Phase::Stream {
            exchange.body.drop_sent();
        }
        if flows {
            let charged = std::mem::take(&mut exchange.body.charged);
            self.held.give(charged);
        }
        let waiting = exchange.body.held.len() - exchange.body.sent;
        if over && waiting > limits::QUEUE_BYTES_HIGH {
            self.client_hold(exchange);
        }
        if over && exchange.phase == Phase::Match {
            let why = "its model was not found in the part that may be held";
            let failure = if exhausted && held <= self.snapshot.held_body_bytes_max {
                exchange.tally.retry_after_ms = self.random.jitter(HELD_RETRY_MS, 0.5);
                Failure::new(FailureKind::HeldBytes, why)
            } else {
                Failure::new(FailureKind::BodyTooLarge, why)
            };
            self.fail(exchange, failure);
        }
    }

    /// The request stream broke: answer once, close, and never forward (RFC 9112 §2.2).
    fn request_broken(&mut self, id: ConnId, failure: &Failure) {
        let exchange = self
            .conns
            .get(id)
            .and_then(Conn::client)
            .and_then(|c| c.exchange);
        match exchange.and_then(|e| self.exchanges.take(e)) {
            Some(mut exchange) => {
                exchange.response.close = true;
                self.fail(&mut exchange, *failure);
                self.put_exchange(exchange);
            }
            None => self.refuse(id, failure),
        }
    }
}

/// What the body so far forbids.
fn body_verdict(exchange: &Exchange) -> Option<Failure> {
    let max = exchange
        .route
        .as_ref()
        .map_or(u64::MAX, |r| r.body_bytes_max);
    if exchange.body.received > max {
        return Some(Failure::new(FailureKind::BodyTooLarge, "the request body"));
    }
    if !exchange.scanning || exchange.admin {
        return None;
    }
    let violation = exchange.scan.violation()?;
    // Another fault matters only to a route that must read the body (see `match`).
    violation.is_ambiguous().then(|| Failure::from(violation))
}

/// When to come back after the process held too many bytes: uploads take about so long.
const HELD_RETRY_MS: u64 = 1000;

/// Whether the body is to be looked at, and as what.
fn is_scanned(exchange: &mut Exchange) -> bool {
    if is_json(&exchange.head) {
        return true;
    }
    let kind = exchange.head.fields.find(Name::ContentType);
    let boundary = kind.and_then(scan::boundary);
    if let Some(boundary) = &boundary {
        exchange.scan.expect_form(boundary);
    }
    boundary.is_some()
}

/// JSON by its type, or a POST that names none.
fn is_json(head: &wire::RequestHead) -> bool {
    match head.fields.find(Name::ContentType) {
        Some(value) => {
            let kind = value
                .split(|b| *b == b';')
                .next()
                .unwrap_or_default()
                .trim_ascii();
            kind.eq_ignore_ascii_case(b"application/json")
                || kind.len() > 5 && kind[kind.len() - 5..].eq_ignore_ascii_case(b"+json")
        }
        None => matches!(head.method, Method::Post),
    }
}

impl Engine {
    /// Sends the 100 Continue that is owed (RFC 9110 §10.1.1): we want the body now.
    pub(crate) fn send_continue(&mut self, exchange: &mut Exchange) {
        if !std::mem::take(&mut exchange.expects) || exchange.body.received > 0 {
            return;
        }
        exchange.body.excused_ns = self.now.mono_ns.saturating_sub(exchange.marks.started_ns);
        self.client_head(exchange, Said::Continue, false);
    }

    /// Passes body bytes to the upstream; the stage of an exchange under way.
    pub(crate) fn pump(&mut self, exchange: &mut Exchange) -> Step {
        self.pump_request(exchange);
        Step::Wait
    }
}
