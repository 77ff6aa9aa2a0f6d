//! How fast? The response on its way to the client: flushed in the turn it arrived, bounded, and
//! held only as far as an incomplete event reaches.
//!
//! **Invariant:** on an event stream only whole events are sent (until one outgrows its bound), so
//! that an error event can always follow.

use super::{Exchange, Framing, Phase};
use crate::conn::Conn;
use crate::engine::Engine;
use crate::error::{Failure, FailureKind};
use crate::heads;
use crate::ids::ConnId;
use crate::limits;
use crate::metrics::Metric;
use crate::output::How;
use crate::peer::Said;
use crate::shared::Outcome;
use crate::snapshot::{Commit, Dialect};
use wire::h1::Event;
use wire::{Body, Name, ResponseHead, Version};

impl Engine {
    /// Bytes of an upstream connection.
    pub(crate) fn upstream_read(&mut self, id: ConnId, bytes: &[u8]) {
        let Some(upstream) = self.conns.get_mut(id).and_then(Conn::upstream_mut) else {
            return;
        };
        if upstream.h2.is_some() {
            return self.h2_upstream_read(id, bytes);
        }
        let Some(exchange_id) = upstream.exchange else {
            // RFC 9112 §9.2: bytes without a request are no response of ours.
            return self.close(id, How::Now);
        };
        if upstream.tunnel {
            return self.tunnel_upstream_read(exchange_id, bytes);
        }
        let Some(mut reader) = upstream.reader.take() else {
            return;
        };
        let Some(mut exchange) = self.exchanges.take(exchange_id) else {
            return self.close(id, How::Now);
        };
        exchange.marks.last_byte_ns = self.now.mono_ns;
        if let Some(attempt) = exchange.attempt.as_mut() {
            attempt.answered = true;
        }
        let mut head = std::mem::take(&mut self.heads.response);
        let mut input = bytes;
        let mut ended = false;
        loop {
            match reader.next(&mut input, &mut head) {
                Ok(None) => break,
                Ok(Some(Event::Head)) => self.response_head(&mut exchange, &mut head, id),
                Ok(Some(Event::Interim)) => self.response_interim(&exchange, &head),
                Ok(Some(Event::Data(data))) => self.response_data(&mut exchange, data),
                Ok(Some(Event::Trailers(trailers))) => {
                    if wire::hop::accepts_trailers(&exchange.head.fields) {
                        exchange.response.trailers = heads::trailers(&trailers, exchange.dialect);
                    }
                }
                Ok(Some(Event::End)) => {
                    ended = true;
                    self.response_end(&mut exchange);
                }
                Err(violation) => {
                    let failure = Failure::new(FailureKind::UpstreamBadResponse, violation.why);
                    self.attempt_failed(&mut exchange, failure, Outcome::Failure);
                }
            }
            let ours = exchange
                .attempt
                .as_ref()
                .is_some_and(|a| a.conn == Some(id));
            if exchange.done || !ours || exchange.phase == Phase::Tunnel {
                break;
            }
        }
        self.heads.response = head;
        if ended && !input.is_empty() {
            self.close(id, How::Now);
        } else if let Some(upstream) = self.conns.get_mut(id).and_then(Conn::upstream_mut) {
            upstream.reader = Some(reader);
        }
        let tunnel = exchange.phase == Phase::Tunnel;
        self.hold_back(&mut exchange, id);
        self.put_exchange(exchange);
        if tunnel && !input.is_empty() {
            self.tunnel_upstream_read(exchange_id, input);
        }
    }

    /// Stops reading the upstream while the client is slower.
    fn hold_back(&mut self, exchange: &mut Exchange, id: ConnId) {
        let full = self.client_full(exchange);
        let ours = exchange
            .attempt
            .as_ref()
            .is_some_and(|a| a.conn == Some(id));
        if full && ours && !exchange.done && !exchange.response.upstream_paused {
            self.upstream_hold(exchange, id);
            self.arm(exchange);
        }
    }

    pub(crate) fn response_head(
        &mut self,
        exchange: &mut Exchange,
        head: &mut ResponseHead,
        id: ConnId,
    ) {
        let status = head.status;
        exchange.tally.outcome = outcome_of(status);
        exchange.response.answered = true;
        if status == 101 {
            return self.start_tunnel(exchange, head, id);
        }
        let retry = exchange
            .pool
            .as_ref()
            .is_some_and(|p| p.retry_statuses.contains(&status));
        if retry && self.try_elsewhere(exchange, status) {
            return;
        }
        let sse = tells_events(head);
        if exchange.response.head_committed {
            // A heartbeat promised an event stream: only another one may follow (rule 5).
            if status == 200 && sse {
                std::mem::swap(head, &mut exchange.response.head);
                return;
            }
            let why = "the endpoint answered with an error after the stream had begun";
            let failure = Failure::new(FailureKind::UpstreamBadResponse, why);
            return self.attempt_failed(exchange, failure, exchange.tally.outcome);
        }
        self.note_stream(exchange, sse);
        exchange.response.scanner = wire::sse::Scanner::default();
        std::mem::swap(head, &mut exchange.response.head);
        let hold = sse
            && exchange.response.head.body != Body::None
            && exchange
                .pool
                .as_ref()
                .is_some_and(|p| p.commit == Commit::FirstEvent);
        if hold {
            exchange.response.held = true;
        } else {
            self.commit_head(exchange);
        }
        self.arm(exchange);
    }

    /// A status that says "not here": another endpoint, if there is one and the budget allows.
    fn try_elsewhere(&mut self, exchange: &mut Exchange, status: u16) -> bool {
        let more = exchange
            .pool
            .as_ref()
            .is_some_and(|p| p.endpoints.len() > exchange.tried.len() + 1);
        if !more || exchange.response.head_committed {
            return false;
        }
        let outcome = outcome_of(status);
        let why = "the endpoint answered with a status that is tried elsewhere";
        let failure = Failure::new(FailureKind::UpstreamBadResponse, why);
        if exchange.attempts >= exchange.pool.as_ref().map_or(1, |p| p.attempts_max) {
            return false;
        }
        if let Some(attempt) = exchange.attempt.as_mut() {
            attempt.reused = false;
        }
        self.attempt_failed(exchange, failure, outcome);
        true
    }

    /// Sends the response's head.
    pub(crate) fn commit_head(&mut self, exchange: &mut Exchange) {
        exchange.response.held = false;
        exchange.response.head_committed = true;
        let (status, body) = (exchange.response.head.status, exchange.response.head.body);
        exchange.response.status = status;
        exchange.response.framing =
            Self::framing_for(exchange, status, body, exchange.response.sse);
        if exchange.response.framing == Framing::Close || self.draining.is_some() {
            exchange.response.close = true;
        }
        exchange.marks.head_ns = self.now.mono_ns;
        let empty = exchange.response.framing == Framing::None
            || matches!(body, Body::None | Body::Length(0));
        if let Some(pool) = &exchange.pool {
            self.client_head(exchange, Said::Response(pool), empty);
        }
    }

    /// 103 and 102 are passed on to HTTP/1.1 clients; a 100 was caused by us and stays here.
    pub(crate) fn response_interim(&mut self, exchange: &Exchange, head: &ResponseHead) {
        let passes = matches!(head.status, 102 | 103)
            && exchange.head.version != Version::Http10
            && !exchange.response.head_committed;
        if passes {
            self.client_head(exchange, Said::Interim(head), false);
        }
    }

    pub(crate) fn response_data(&mut self, exchange: &mut Exchange, data: &[u8]) {
        if exchange.response.sse {
            return self.events(exchange, data);
        }
        if exchange.marks.first_token_ns == 0 {
            self.first_token(exchange);
        }
        if exchange.dialect == Dialect::Grpc {
            exchange.response.messages.take(data);
        } else {
            exchange.tally.unary(data);
        }
        self.commit_body(exchange);
        self.client_body(exchange, data);
    }

    /// The client sees body bytes from now on: no other attempt, and no need of the request's body
    /// once it is sent.
    fn commit_body(&mut self, exchange: &mut Exchange) {
        if std::mem::replace(&mut exchange.response.body_committed, true) {
            return;
        }
        let body = &mut exchange.body;
        if body.complete && body.sent == body.held.len() {
            body.drop_sent();
            self.spares.give(std::mem::take(&mut body.held));
            self.held.give(std::mem::take(&mut body.charged));
        }
    }

    /// Bytes of an event stream: every complete event goes out now, the rest is held.
    fn events(&mut self, exchange: &mut Exchange, data: &[u8]) {
        let response = &mut exchange.response;
        let tally = &mut exchange.tally;
        let mut scanner = response.scanner;
        let (mut start, mut first, mut events, mut tokens) = (0, 0, 0_u32, 0_u32);
        let joined = !response.tail.is_empty();
        scanner.scan(data, |end| {
            let token = if events == 0 && joined {
                response.tail.extend_from_slice(&data[..end]);
                first = end;
                tally.event(&response.tail)
            } else {
                tally.event(&data[start..end])
            };
            tokens += u32::from(token);
            events += 1;
            start = end;
        });
        response.scanner = scanner;
        if events > 0 {
            response.oversize = false;
            if response.held {
                self.commit_head(exchange);
            }
            self.commit_body(exchange);
            self.note_tokens(exchange, tokens);
            if joined {
                let mut whole = std::mem::take(&mut exchange.response.tail);
                whole.extend_from_slice(&data[first..start]);
                self.client_body(exchange, &whole);
                whole.clear();
                exchange.response.tail = whole;
            } else {
                self.client_body(exchange, &data[..start]);
            }
        }
        self.hold_tail(exchange, &data[start..]);
    }

    /// Keeps the incomplete event's bytes, or lets them flow when they are too many.
    fn hold_tail(&mut self, exchange: &mut Exchange, rest: &[u8]) {
        if rest.is_empty() {
            return;
        }
        if exchange.response.oversize {
            return self.client_body(exchange, rest);
        }
        exchange.response.tail.extend_from_slice(rest);
        if exchange.response.tail.len() > limits::EVENT_TAIL_BYTES_MAX {
            self.locals
                .local(exchange.local)
                .cells
                .inc(Metric::EventsOversize);
            if exchange.response.held {
                self.commit_head(exchange);
            }
            exchange.response.oversize = true;
            self.commit_body(exchange);
            if exchange.marks.first_token_ns == 0 {
                // It has begun to answer, however long its first event is.
                self.first_token(exchange);
            }
            let tail = std::mem::take(&mut exchange.response.tail);
            self.client_body(exchange, &tail);
        }
    }

    /// The upstream's response is complete.
    pub(crate) fn response_end(&mut self, exchange: &mut Exchange) {
        if exchange.response.held {
            self.commit_head(exchange);
        }
        if !exchange.response.tail.is_empty() {
            let tail = std::mem::take(&mut exchange.response.tail);
            self.client_body(exchange, &tail);
        }
        let outcome = exchange.tally.outcome;
        self.release_attempt(exchange, outcome);
        self.end_response(exchange, true);
        self.finish(exchange);
    }

    /// The client left: the upstream is cancelled in this turn (rule 3).
    pub(crate) fn client_gone(&mut self, exchange: &mut Exchange) {
        if let Some(cells) = self.pool_cells(exchange) {
            cells.inc(Metric::Cancelled);
        }
        if matches!(exchange.phase, Phase::Queued(_)) {
            self.leave_queue(exchange);
        }
        self.drop_attempt(exchange, Outcome::Neutral);
        exchange.failure = Some(Failure::new(
            FailureKind::ClientGone,
            "the client closed the connection",
        ));
        // Perhaps only its sending side is closed: what it reads must not look whole.
        let cut = exchange.response.head_committed && exchange.response.framing == Framing::Close;
        let how = if cut { How::Reset } else { How::Now };
        self.client_drop(exchange, how);
        self.finish(exchange);
    }
}

/// Whether the body is a stream of events that can be told apart: one with a content coding
/// (RFC 9110 §8.4) has no boundaries that we see, so it flows as it comes, like any other body.
fn tells_events(head: &ResponseHead) -> bool {
    let coded = head
        .fields
        .find(Name::ContentEncoding)
        .is_some_and(|coding| !coding.trim_ascii().eq_ignore_ascii_case(b"identity"));
    let kind = head.fields.find(Name::ContentType);
    !coded && kind.is_some_and(is_event_stream)
}

fn is_event_stream(value: &[u8]) -> bool {
    const KIND: &[u8] = b"text/event-stream";
    value.len() >= KIND.len()
        && value[..KIND.len()].eq_ignore_ascii_case(KIND)
        && value
            .get(KIND.len())
            .is_none_or(|b| matches!(b, b';' | b' ' | b'\t'))
}

/// What a status says about the endpoint: 429 is load, not failure.
fn outcome_of(status: u16) -> Outcome {
    match status {
        500 | 502 | 503 | 504 => Outcome::Failure,
        429 => Outcome::Neutral,
        _ => Outcome::Success,
    }
}
