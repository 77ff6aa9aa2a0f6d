//! Towards the client: heads, bodies, ends, and how it is held back.

use super::{Block, Lines, Sink};
use crate::conn::Conn;
use crate::engine::Engine;
use crate::exchange::{Exchange, Framing};
use crate::heads::{self, Extra};
use crate::limits;
use crate::output::How;
use crate::snapshot::Pool;
use wire::h1::encode;
use wire::{Method, ResponseHead};

/// A head that goes to the client.
#[derive(Clone, Copy)]
pub(crate) enum Said<'a> {
    /// The upstream's, as the exchange holds it.
    Response(&'a Pool),
    /// One of ours.
    Reply {
        status: u16,
        extra: Extra<'a>,
        content_type: Option<&'a str>,
        /// `content-length`
        length: Option<u64>,
    },
    /// 102 or 103 of the upstream.
    Interim(&'a ResponseHead),
    /// 100: the body may come.
    Continue,
    /// The upstream agreed to a WebSocket.
    Switching,
}

impl Said<'_> {
    fn write(self, out: &mut impl Sink, exchange: &Exchange, via: &[u8], now_ns: u64) {
        match self {
            Self::Response(pool) => heads::response(out, exchange, pool, via),
            Self::Reply {
                status,
                extra,
                content_type,
                length,
            } => {
                out.status(status);
                extra.write(out, exchange, now_ns);
                if let Some(content_type) = content_type {
                    out.put(b"content-type", content_type.as_bytes());
                }
                if let (Some(length), false) = (length, matches!(extra, Extra::Grpc(_))) {
                    out.length(length);
                }
                heads::response_extras(out, exchange);
                out.end();
            }
            Self::Interim(head) => heads::interim(out, head),
            Self::Continue => {
                out.status(100);
                out.end();
            }
            Self::Switching => heads::switching(out, exchange, via),
        }
    }
}

impl Engine {
    /// Queues a head to the client; `end`: the message has no body.
    pub(crate) fn client_head(&mut self, exchange: &Exchange, said: Said<'_>, end: bool) {
        let now_ns = self.now.mono_ns;
        let Some(conn) = self.conns.get_mut(exchange.client) else {
            return;
        };
        let via = &self.snapshot.via;
        if exchange.stream == 0 {
            let out = conn.writer(&mut self.spares, now_ns);
            said.write(&mut Lines(out), exchange, via, now_ns);
        } else if let Some((h2, out)) = conn.h2_writer(&mut self.spares, now_ns) {
            let mut block = Block::new(h2.wire.head(exchange.stream, out), b"");
            said.write(&mut block, exchange, via, now_ns);
            block.finish(end);
        }
        self.mark(exchange.client);
    }

    /// Queues body bytes to the client in the response's framing.
    pub(crate) fn client_body(&mut self, exchange: &mut Exchange, bytes: &[u8]) {
        if bytes.is_empty() || exchange.head.method == Method::Head {
            return;
        }
        exchange.response.bytes += bytes.len() as u64;
        self.client_bytes(exchange, bytes);
    }

    /// Queues bytes to the client that may not be counted again.
    pub(crate) fn client_bytes(&mut self, exchange: &Exchange, bytes: &[u8]) {
        let now_ns = self.now.mono_ns;
        let Some(conn) = self.conns.get_mut(exchange.client) else {
            return;
        };
        if exchange.stream != 0 {
            if let Some((h2, out)) = conn.h2_writer(&mut self.spares, now_ns) {
                h2.wire.data(exchange.stream, bytes, false, out);
            }
        } else if exchange.response.framing == Framing::Chunked {
            encode::chunk(conn.writer(&mut self.spares, now_ns), bytes);
        } else {
            conn.writer(&mut self.spares, now_ns)
                .extend_from_slice(bytes);
        }
        self.mark_piece(exchange);
    }

    /// Whether more waits for the client than may.
    pub(crate) fn client_full(&self, exchange: &Exchange) -> bool {
        self.conns.get(exchange.client).is_some_and(|conn| {
            if exchange.stream == 0 {
                return conn.out.len() > limits::QUEUE_BYTES_HIGH;
            }
            conn.h2_ref()
                .is_some_and(|h2| h2.wire.full(exchange.stream))
        })
    }

    /// Whether so little waits for the client that a comment may be added.
    pub(crate) fn client_idle(&self, exchange: &Exchange) -> bool {
        self.conns.get(exchange.client).is_some_and(|conn| {
            let waiting = match conn.h2_ref() {
                Some(h2) => conn.out.len() + h2.wire.queued(exchange.stream),
                None => conn.out.len(),
            };
            waiting < limits::QUEUE_BYTES_LOW
        })
    }

    /// Since when the client has taken no byte of what waits for it.
    pub(crate) fn client_stalled_since(&self, exchange: &Exchange) -> Option<u64> {
        let conn = self.conns.get(exchange.client)?;
        let socket_ns = (!conn.out.is_empty()).then_some(conn.progress_ns);
        if exchange.stream == 0 {
            return socket_ns;
        }
        let stream_ns = conn.h2_ref()?.wire.stalled_since_ns(exchange.stream);
        socket_ns.into_iter().chain(stream_ns).min()
    }

    /// The client is to send no more of its body until `client_release`.
    pub(crate) fn client_hold(&mut self, exchange: &mut Exchange) {
        if !std::mem::replace(&mut exchange.body.paused, true) {
            exchange.body.paused_ns = self.now.mono_ns;
        }
        if exchange.stream == 0 {
            self.pause(exchange.client, true);
        }
    }

    /// The client may send again.
    pub(crate) fn client_release(&mut self, exchange: &mut Exchange) {
        if exchange.stream == 0 {
            return self.pause(exchange.client, false);
        }
        let credit = std::mem::take(&mut exchange.body.credit);
        if let Some((h2, out)) = self.h2_writer(exchange.client) {
            h2.wire.consumed(exchange.stream, credit, out);
        }
        self.mark(exchange.client);
    }

    /// The client's side of an exchange is over without an orderly end: the connection of
    /// HTTP/1.1, the one stream of HTTP/2.
    pub(crate) fn client_drop(&mut self, exchange: &Exchange, how: How) {
        if exchange.stream == 0 {
            return self.cut(exchange.client, how);
        }
        if let Some((h2, out)) = self.h2_writer(exchange.client) {
            h2.wire
                .reset(exchange.stream, wire::h2::ErrorCode::Cancel, out);
            h2.wire.forget(exchange.stream, out);
        }
        self.h2_later(exchange.client);
    }

    /// The client of a response took enough bytes: its upstream may go on.
    pub(crate) fn client_relieved(&mut self, id: crate::ids::ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        if exchange.phase == crate::exchange::Phase::Tunnel {
            return self.tunnel_wrote(id);
        }
        if !exchange.response.upstream_paused {
            return;
        }
        exchange.response.upstream_paused = false;
        exchange.marks.last_byte_ns = self.now.mono_ns;
        // While it was paused the inter-token deadline was off, and with it perhaps the timer.
        if let Some(mut exchange) = self.exchanges.take(id) {
            self.upstream_release(&mut exchange);
            self.arm(&mut exchange);
            self.put_exchange(exchange);
        }
    }

    /// Whether the client has closed its sending side.
    pub(crate) fn client_left(&self, exchange: &Exchange) -> bool {
        self.conns
            .get(exchange.client)
            .and_then(Conn::client)
            .is_none_or(|client| client.eof)
    }
}
