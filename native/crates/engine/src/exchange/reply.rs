//! Answers of ours, and the end of every response towards the client.
//!
//! **Invariant:** a truncated stream never looks complete: an unclean end leaves a chunked body
//! unterminated, a length body short, and resets a close-delimited one. **Invariant:** what ends an
//! answer badly takes no earlier answer along, unless the client does not read.

use std::sync::Arc;

use super::{Exchange, Framing, Phase};
use crate::conn::ClientMode;
use crate::dialect;
use crate::engine::Engine;
use crate::error::{Failure, FailureKind};
use crate::grpc;
use crate::heads::Extra;
use crate::ids::ConnId;
use crate::limits;
use crate::metrics::Metric;
use crate::output::How;
use crate::peer::Said;
use crate::shared::Outcome;
use crate::snapshot::Dialect;
use wire::h1::encode;
use wire::{Body, Fields, Method, Name, RequestHead, Version};

/// The dialect of a request, where the route does not fix one.
pub(crate) fn dialect_of(head: &RequestHead) -> Dialect {
    let path = head.path();
    if head.version == Version::Http2
        && head
            .fields
            .find(Name::ContentType)
            .is_some_and(grpc::is_grpc)
    {
        Dialect::Grpc
    } else if path.starts_with(b"/v1/messages") {
        Dialect::Anthropic
    } else {
        Dialect::Openai
    }
}

impl Engine {
    /// Answers with a whole response of ours and ends the exchange.
    pub(crate) fn reply(
        &mut self,
        exchange: &mut Exchange,
        status: u16,
        extra: Extra<'_>,
        content_type: Option<&str>,
        body: &[u8],
    ) {
        exchange.response.status = status;
        exchange.response.head_committed = true;
        exchange.response.bytes += body.len() as u64;
        if !may_keep(exchange) {
            exchange.response.close = true;
        }
        let bodiless = status == 204 || status == 304;
        let said = Said::Reply {
            status,
            extra,
            content_type,
            length: (!bodiless).then_some(body.len() as u64),
        };
        let silent = bodiless || body.is_empty() || exchange.head.method == Method::Head;
        self.client_head(exchange, said, silent);
        if !silent {
            self.client_bytes(exchange, body);
        }
        self.end_response(exchange, true);
        self.finish(exchange);
    }

    /// Ends an exchange with a failure: an error response, or an error event and an unclean end.
    pub(crate) fn fail(&mut self, exchange: &mut Exchange, failure: Failure) {
        if exchange.done {
            return;
        }
        if matches!(exchange.phase, Phase::Queued(_)) {
            self.leave_queue(exchange);
        }
        self.drop_attempt(exchange, Outcome::Neutral);
        self.listener_cells(exchange)
            .inc_at(Metric::LocalReplies, failure.kind as usize);
        if exchange.response.head_committed {
            self.fail_stream(exchange, failure);
        } else {
            self.fail_head(exchange, failure);
        }
    }

    fn fail_head(&mut self, exchange: &mut Exchange, failure: Failure) {
        let kind = failure.kind;
        if exchange.dialect == Dialect::Grpc {
            exchange.failure = Some(failure);
            let kind = Some(dialect::content_type(Dialect::Grpc));
            return self.reply(exchange, 200, Extra::Grpc(&failure), kind, b"");
        }
        let status = kind.status();
        let mut body = self.spares.take();
        let retry_ms = exchange.tally.retry_after_ms;
        let retry_ms = (retry_ms > 0).then_some(retry_ms.min(limits::RETRY_AFTER_MS_MAX));
        dialect::body(
            &mut body,
            exchange.dialect,
            &failure,
            &exchange.request_id,
            retry_ms,
        );
        if matches!(
            kind,
            FailureKind::HeadTimeout | FailureKind::BodyTimeout | FailureKind::Draining
        ) {
            exchange.response.close = true;
        }
        exchange.failure = Some(failure);
        let content_type = dialect::content_type(exchange.dialect);
        let extra = Extra::Failure(&failure, retry_ms);
        self.reply(exchange, status, extra, Some(content_type), &body);
        self.spares.give(body);
    }

    fn fail_stream(&mut self, exchange: &mut Exchange, failure: Failure) {
        // gRPC can say it cleanly, behind whole messages.
        let clean = exchange.dialect == Dialect::Grpc && exchange.response.messages.at_boundary();
        if clean {
            let mut trailers = Fields::new();
            for (name, value) in grpc::fields(&failure) {
                trailers.push(name.as_bytes(), value.as_bytes());
            }
            exchange.response.trailers = Some(Box::new(trailers));
        }
        if exchange.response.sse && !exchange.response.oversize {
            let mut event = self.spares.take();
            dialect::stream_error(&mut event, exchange.dialect, &failure, &exchange.request_id);
            exchange.response.tail.clear();
            self.client_body(exchange, &event);
            self.spares.give(event);
        }
        if let Some(cells) = self.pool_cells(exchange) {
            cells.inc(Metric::Truncated);
        }
        exchange.failure = Some(failure);
        self.end_response(exchange, clean);
        self.finish(exchange);
    }

    /// A connection whose bytes never made a request: answered, recorded and closed.
    pub(crate) fn refuse(&mut self, id: ConnId, failure: &Failure) {
        if let Some(mut exchange) = self.headless(id, 0) {
            self.fail(&mut exchange, *failure);
            self.put_exchange(exchange);
        }
    }

    /// A client that left in the middle of a head: recorded.
    pub(crate) fn vanished(&mut self, id: ConnId) {
        if let Some(mut exchange) = self.headless(id, 0) {
            self.client_gone(&mut exchange);
            self.put_exchange(exchange);
        }
    }

    /// An exchange for bytes that never made a head, taken out of its table.
    pub(crate) fn headless(&mut self, id: ConnId, stream: u32) -> Option<Box<Exchange>> {
        self.conns.get(id)?;
        let exchange_id = self.new_exchange(id);
        let now = self.now;
        let conn = self.conns.get_mut(id)?;
        let ahead = conn.out.len();
        let client = conn.client_mut()?;
        client.ahead = ahead;
        if stream == 0 {
            client.exchange = Some(exchange_id);
            client.request_complete = true;
        }
        let (peer, admin) = (client.peer, client.admin);
        let (door, listener) = (client.door, Arc::clone(&client.listener));
        let mut exchange = self.exchanges.take(exchange_id)?;
        exchange.stream = stream;
        exchange.door = door;
        exchange.listener = Some(listener);
        exchange.peer = peer;
        exchange.admin = admin;
        exchange.marks.started_ns = now.mono_ns;
        exchange.marks.started_wall_ms = now.wall_ms;
        exchange.response.close = true;
        exchange.body.complete = true;
        let _ = self.authenticate(&mut exchange);
        Some(exchange)
    }

    /// The last byte of a response was queued (`clean`), or never will be.
    pub(crate) fn end_response(&mut self, exchange: &mut Exchange, clean: bool) {
        if exchange.stream != 0 {
            return self.h2_end_response(exchange, clean);
        }
        let id = exchange.client;
        let now_ns = self.now.mono_ns;
        if clean
            && exchange.response.framing == Framing::Chunked
            && exchange.head.method != Method::Head
            && let Some(conn) = self.conns.get_mut(id)
        {
            let out = conn.writer(&mut self.spares, self.now.mono_ns);
            encode::last_chunk(out, exchange.response.trailers.as_deref());
            self.mark(id);
        }
        let keep = clean && may_keep(exchange);
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        let sent = conn.out.is_empty();
        let Some(client) = conn.client_mut() else {
            return;
        };
        client.answers_unsent = if sent { 0 } else { client.answers_unsent + 1 };
        client.exchange = None;
        if !keep || client.eof {
            let reset = !clean
                && (exchange.response.framing == Framing::Close
                    || exchange.failure.as_ref().is_some_and(|f| {
                        f.kind == FailureKind::ClientGone || f.kind == FailureKind::ClientStall
                    }));
            if reset {
                self.cut(id, How::Reset);
            } else {
                self.close(id, How::Flush(Vec::new()));
            }
            return;
        }
        client.idle_since_ns = now_ns;
        client.head_since_ns = 0;
        if !exchange.body.complete && exchange.head.body != Body::None {
            client.mode = ClientMode::Discard;
            client.discarded = 0;
        }
        client.request_complete = false;
        self.resumed.push_back(id);
        self.arm_client(id);
    }

    /// Ends a client's connection within an answer. Earlier answers that are with us still go out
    /// whole, and then a FIN: no byte of this one has left, so nobody can take it for whole.
    pub(crate) fn cut(&mut self, id: ConnId, how: How) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        let ahead = conn.client().map_or(0, |c| c.ahead);
        if ahead == 0 {
            return self.close(id, how);
        }
        conn.out.truncate(ahead);
        self.close(id, How::Flush(Vec::new()));
    }

    /// How a body of that kind goes to this client.
    pub(crate) fn framing_for(exchange: &Exchange, status: u16, body: Body, sse: bool) -> Framing {
        if exchange.head.method == Method::Head || status == 204 || status == 304 || status < 200 {
            return Framing::None;
        }
        match body {
            Body::None => Framing::Length,
            Body::Length(_) if !sse => Framing::Length,
            _ if exchange.head.version == Version::Http10 => Framing::Close,
            _ => Framing::Chunked,
        }
    }

    /// The client took bytes: an upstream that waited for it may go on.
    pub(crate) fn client_wrote(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        if conn.h2_ref().is_some() {
            return self.h2_settle(id);
        }
        let waiting = conn.out.len();
        let paused = conn.paused;
        if waiting == 0
            && let Some(client) = conn.client_mut()
        {
            client.answers_unsent = 0;
        }
        if waiting > limits::QUEUE_BYTES_LOW {
            return;
        }
        let Some(exchange_id) = conn.client().and_then(|c| c.exchange) else {
            if paused {
                self.resumed.push_back(id);
            }
            return;
        };
        self.client_relieved(exchange_id);
    }
}

/// Whether the client's connection can serve another request after this response.
fn may_keep(exchange: &Exchange) -> bool {
    if exchange.response.close || exchange.response.framing == Framing::Close {
        return false;
    }
    if exchange.body.complete || exchange.head.body == Body::None {
        return true;
    }
    // RFC 9112 §9.3: an unread body is drained when it is short, else the connection ends.
    // A client that waits for 100 Continue may or may not send it: nobody can tell.
    !exchange.expects
        && match exchange.head.body {
            Body::Length(length) => {
                length.saturating_sub(exchange.body.received) <= limits::DRAIN_BYTES_MAX
            }
            _ => true,
        }
}
