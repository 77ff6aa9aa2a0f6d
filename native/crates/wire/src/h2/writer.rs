//! Heads that we send: a block written straight into the send queue, framed when it is complete.

use crate::h2::StreamId;
use crate::h2::connection::Connection;
use crate::h2::frame::write;
use crate::h2::state::{Over, Send};
use crate::hpack::Pseudo;
use crate::name::Name;

/// A head in the making. Pseudo-header fields first ([`status`](Self::status) or
/// [`request`](Self::request)), then fields, then [`finish`](Self::finish), without which what was
/// written is no frame.
///
/// Nothing is validated: names are lower-case, values are legal, no field is connection-specific.
/// For a stream that takes no head any more nothing is written.
#[derive(Debug)]
#[must_use = "a head is sent by `finish`"]
pub struct HeadWriter<'c> {
    connection: &'c mut Connection,
    out: &'c mut Vec<u8>,
    id: StreamId,
    /// Where the frame begins in `out`.
    start: usize,
    /// Whether the stream takes a head.
    live: bool,
    /// Whether this is a 1xx, which is not the last head.
    interim: bool,
}

impl Connection {
    /// Begins a head: a server's responses, interim ones included, or a client's request, which
    /// comes right behind [`open`](Self::open), for ids must go out in order.
    pub fn head<'c>(&'c mut self, id: StreamId, out: &'c mut Vec<u8>) -> HeadWriter<'c> {
        let start = out.len();
        let live = self
            .streams
            .get(id)
            .is_some_and(|stream| stream.send == Send::Head && stream.over == Over::No);
        if live {
            write::open_block(out);
            self.encoder.begin(out);
        }
        HeadWriter {
            connection: self,
            out,
            id,
            start,
            live,
            interim: false,
        }
    }
}

impl HeadWriter<'_> {
    /// `:status`, 100..=599 but 101; a 1xx is followed by another head.
    pub fn status(&mut self, status: u16) {
        self.interim = status < 200;
        if self.live {
            self.connection.encoder.status(self.out, status);
        }
    }

    /// The pseudo-header fields of a request. `target` is a path with its query, or `*`; `protocol`
    /// makes it an extended CONNECT (RFC 8441 §4), which asks for `method` CONNECT.
    pub fn request(
        &mut self,
        method: &[u8],
        scheme: &[u8],
        authority: &[u8],
        target: &[u8],
        protocol: Option<&[u8]>,
    ) {
        if !self.live {
            return;
        }
        let encoder = &mut self.connection.encoder;
        encoder.pseudo(self.out, Pseudo::Method, method);
        encoder.pseudo(self.out, Pseudo::Scheme, scheme);
        encoder.pseudo(self.out, Pseudo::Authority, authority);
        encoder.pseudo(self.out, Pseudo::Path, target);
        if let Some(protocol) = protocol {
            encoder.pseudo(self.out, Pseudo::Protocol, protocol);
        }
        if let Some(stream) = self.connection.streams.get(self.id) {
            stream.bodiless = method == b"HEAD";
            stream.tunnel = protocol.is_some();
        }
    }

    /// One field; `name` is in lower case and `known` is what it is.
    #[inline]
    pub fn field(&mut self, known: Name, name: &[u8], value: &[u8]) {
        debug_assert!(
            crate::octets::is_lower_token(name),
            "a field name to send is a lower-case token"
        );
        if self.live {
            self.connection.encoder.field(self.out, known, name, value);
        }
    }

    /// One field that no table may keep (RFC 7541 §6.2.3).
    pub fn secret(&mut self, known: Name, name: &[u8], value: &[u8]) {
        if self.live {
            self.connection.encoder.secret(self.out, known, name, value);
        }
    }

    /// Sends the head, as one HEADERS frame and CONTINUATION frames if it is long. `end` ends the
    /// message; an interim head cannot.
    pub fn finish(self, end: bool) {
        if !self.live {
            return;
        }
        let end = end && !self.interim;
        write::close_block(self.out, self.start, self.id, end);
        self.connection.abuse.sent_head();
        let Some(slot) = self.connection.streams.slot(self.id) else {
            return;
        };
        if end {
            self.connection.ended(slot, self.out);
        } else if let Some(stream) = self.connection.streams.at(slot)
            && !self.interim
        {
            stream.send = Send::Body;
        }
    }
}
