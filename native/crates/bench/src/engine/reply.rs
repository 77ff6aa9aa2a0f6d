//! How an answer is framed: HTTP/1.1 with a length or chunks, or one stream of HTTP/2.
//!
//! Everything is appended to the connection's output or to the stream's queue; nothing is sent.

use wire::{
    Name,
    h2::{ErrorCode, StreamId},
};

use super::connection::Fate;
use crate::{http::push_decimal, slab::Key};

/// A frame that no stream may carry (RFC 9113 §6.1): an empty DATA frame on stream 0.
const BROKEN_FRAME: &[u8; 9] = &[0; 9];

/// Where the answer to a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Home {
    pub(crate) connection: Key,
    pub(crate) lane: Lane,
}

/// Which part of a connection an answer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// All of it, until the answer is over; `close` is then its end as well.
    Http1 { close: bool },
    /// A stream, and where it stands among those of the connection.
    Http2 { id: StreamId, slot: usize },
}

/// Writes one answer.
#[derive(Debug)]
pub(crate) struct Reply<'a> {
    pub(crate) framing: Framing<'a>,
    pub(crate) out: &'a mut Vec<u8>,
    pub(crate) fate: &'a mut Fate,
    pub(crate) split: &'a mut bool,
    /// Bytes written before that the client has not taken.
    pub(crate) unsent: usize,
}

/// See the head of the file.
#[derive(Debug)]
pub(crate) enum Framing<'a> {
    Http1 {
        close: bool,
    },
    Http2 {
        wire: &'a mut wire::h2::Connection,
        id: StreamId,
        /// A part of a body while it is put together.
        part: &'a mut Vec<u8>,
    },
}

impl Reply<'_> {
    /// A whole answer.
    pub(crate) fn whole(
        &mut self,
        status: u16,
        kind: &str,
        retry_after_s: Option<u32>,
        body: &[u8],
    ) {
        self.head(status, kind, retry_after_s, body.len());
        match &mut self.framing {
            Framing::Http1 { .. } => self.out.extend_from_slice(body),
            Framing::Http2 { wire, id, .. } => wire.data(*id, body, true, self.out),
        }
        self.over();
    }

    /// A whole answer that ends in the middle of its body, and the connection with it.
    pub(crate) fn half(&mut self, kind: &str, body: &[u8]) {
        self.head(200, kind, None, body.len());
        let half = &body[..body.len() - (body.len() / 2).max(1).min(body.len())];
        match &mut self.framing {
            Framing::Http1 { .. } => self.out.extend_from_slice(half),
            Framing::Http2 { wire, id, .. } => wire.data(*id, half, false, self.out),
        }
        self.close();
    }

    fn head(&mut self, status: u16, kind: &str, retry_after_s: Option<u32>, length: usize) {
        match &mut self.framing {
            Framing::Http1 { close } => {
                let out = &mut *self.out;
                out.extend_from_slice(b"HTTP/1.1 ");
                push_decimal(out, u64::from(status));
                out.push(b' ');
                out.extend_from_slice(reason(status).as_bytes());
                out.extend_from_slice(b"\r\nserver: sim\r\ncontent-type: ");
                out.extend_from_slice(kind.as_bytes());
                out.extend_from_slice(b"\r\ncontent-length: ");
                push_decimal(out, length as u64);
                if let Some(wait_s) = retry_after_s {
                    out.extend_from_slice(b"\r\nretry-after: ");
                    push_decimal(out, u64::from(wait_s));
                }
                if *close {
                    out.extend_from_slice(b"\r\nconnection: close");
                }
                out.extend_from_slice(b"\r\n\r\n");
            }
            Framing::Http2 { wire, id, part } => {
                let mut head = wire.head(*id, self.out);
                head.status(status);
                field(&mut head, Name::Server, b"sim");
                field(&mut head, Name::ContentType, kind.as_bytes());
                part.clear();
                push_decimal(part, length as u64);
                field(&mut head, Name::ContentLength, part);
                if let Some(wait_s) = retry_after_s {
                    part.clear();
                    push_decimal(part, u64::from(wait_s));
                    field(&mut head, Name::RetryAfter, part);
                }
                head.finish(false);
            }
        }
    }

    /// The head of an event stream.
    pub(crate) fn stream_head(&mut self) {
        let kind = b"text/event-stream; charset=utf-8";
        match &mut self.framing {
            Framing::Http1 { close } => {
                let out = &mut *self.out;
                out.extend_from_slice(b"HTTP/1.1 200 OK\r\nserver: sim\r\ncontent-type: ");
                out.extend_from_slice(kind);
                out.extend_from_slice(b"\r\ncache-control: no-cache\r\n");
                out.extend_from_slice(b"transfer-encoding: chunked\r\n");
                out.extend_from_slice(if *close {
                    b"connection: close\r\n\r\n"
                } else {
                    b"\r\n"
                });
            }
            Framing::Http2 { wire, id, .. } => {
                let mut head = wire.head(*id, self.out);
                head.status(200);
                field(&mut head, Name::Server, b"sim");
                field(&mut head, Name::ContentType, kind);
                field(&mut head, Name::CacheControl, b"no-cache");
                head.finish(false);
            }
        }
    }

    /// A part of a body without length: one chunk, or one frame.
    pub(crate) fn part(&mut self, parts: &[&[u8]]) {
        match &mut self.framing {
            Framing::Http1 { .. } => chunk(self.out, parts),
            Framing::Http2 { wire, id, part } => {
                part.clear();
                for piece in parts {
                    part.extend_from_slice(piece);
                }
                wire.data(*id, part, false, self.out);
            }
        }
    }

    /// The end of a body without length.
    pub(crate) fn end(&mut self) {
        match &mut self.framing {
            Framing::Http1 { .. } => self.out.extend_from_slice(b"0\r\n\r\n"),
            Framing::Http2 { wire, id, .. } => wire.data(*id, &[], true, self.out),
        }
        self.over();
    }

    fn over(&mut self) {
        if matches!(self.framing, Framing::Http1 { close: true }) {
            *self.fate = Fate::Close;
        }
    }

    /// No answer at all: the connection ends, or the stream was not processed.
    pub(crate) fn refuse(&mut self) {
        match &mut self.framing {
            Framing::Http1 { .. } => *self.fate = Fate::Close,
            Framing::Http2 { wire, id, .. } => {
                wire.reset(*id, ErrorCode::RefusedStream, self.out);
            }
        }
    }

    /// Ends with RST, or with RST_STREAM.
    pub(crate) fn reset(&mut self) {
        match &mut self.framing {
            Framing::Http1 { .. } => *self.fate = Fate::Reset,
            Framing::Http2 { wire, id, .. } => {
                wire.reset(*id, ErrorCode::InternalError, self.out);
            }
        }
    }

    /// Ends the connection, whatever else is on it, when everything is written.
    pub(crate) fn close(&mut self) {
        *self.fate = Fate::Close;
    }

    /// Breaks the framing of a body.
    pub(crate) fn garble(&mut self) {
        self.out.extend_from_slice(match self.framing {
            Framing::Http1 { .. } => b"zz\r\ndata: {\"broken\n\r\n",
            Framing::Http2 { .. } => BROKEN_FRAME,
        });
        self.close();
    }

    /// Breaks the framing of a head.
    pub(crate) fn garble_head(&mut self) {
        self.out.extend_from_slice(match self.framing {
            Framing::Http1 { .. } => b"HTTP/1.1 twohundred OK\r\n\r\n",
            Framing::Http2 { .. } => BROKEN_FRAME,
        });
        self.close();
    }
}

fn field(head: &mut wire::h2::HeadWriter<'_>, name: Name, value: &[u8]) {
    head.field(name, name.as_str().as_bytes(), value);
}

/// One chunk of a chunked body.
fn chunk(out: &mut Vec<u8>, parts: &[&[u8]]) {
    chunk_size(out, parts.iter().map(|part| part.len()).sum());
    for part in parts {
        out.extend_from_slice(part);
    }
    out.extend_from_slice(b"\r\n");
}

fn chunk_size(out: &mut Vec<u8>, size: usize) {
    let digits = (usize::BITS - size.leading_zeros()).div_ceil(4).max(1);
    for shift in (0..digits).rev() {
        out.push(b"0123456789abcdef"[(size >> (shift * 4)) & 15]);
    }
    out.extend_from_slice(b"\r\n");
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        413 => "Content Too Large",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Status",
    }
}
