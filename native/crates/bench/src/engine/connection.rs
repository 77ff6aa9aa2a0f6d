//! One client connection of the engine: bytes in, bytes out, what is being done for it.
//!
//! While an HTTP/1.1 request is being answered nothing more is read, so a client that pipelines is
//! held back by its own socket buffer. A connection that begins with the preface of HTTP/2 carries
//! many requests.

use std::io;

use super::{
    http2::Http2,
    reply::{Framing, Lane, Reply},
    request::Pending,
};
use crate::{slab::Key, socket::Stream};

/// Output above which a stream emits no more tokens until its client reads.
pub(crate) const OUTPUT_BYTES_HIGH: usize = 1024 * 1024;

/// Capacity that an idle connection may keep.
const IDLE_CAPACITY_BYTES: usize = 16 * 1024;

/// What becomes of a connection when its output is flushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Keep,
    Close,
    /// At once, with RST, whatever is still to be written.
    Reset,
}

/// What a connection speaks.
#[derive(Debug)]
pub(crate) enum Speech {
    Http1(Http1),
    Http2(Box<Http2>),
}

/// An HTTP/1.1 connection's one request at a time.
#[derive(Debug, Default)]
pub(crate) struct Http1 {
    /// Bytes that were read and not used: a partial head, or requests behind the current one.
    pub(crate) input: Vec<u8>,
    pub(crate) pending: Option<Pending>,
    pub(crate) exchange: Option<Key>,
    /// A request was read: no preface can come any more.
    pub(crate) begun: bool,
}

#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) stream: Stream,
    pub(crate) speech: Speech,
    pub(crate) output: Vec<u8>,
    output_at: usize,
    /// Input may be waiting in the kernel although no event will say so.
    pub(crate) readable: bool,
    /// The client's FIN is on the way: read on until it comes.
    pub(crate) ended: bool,
    pub(crate) fate: Fate,
    /// Write one byte at a time.
    pub(crate) split: bool,
    /// It stands in the server's list of those to be flushed.
    pub(crate) dirty: bool,
    /// When it last had nothing to do.
    pub(crate) idle_since_ns: u64,
}

impl Connection {
    pub(crate) fn new(stream: Stream, now_ns: u64) -> Self {
        Self {
            stream,
            speech: Speech::Http1(Http1::default()),
            output: Vec::new(),
            output_at: 0,
            readable: false,
            ended: false,
            fate: Fate::Keep,
            split: false,
            dirty: false,
            idle_since_ns: now_ns,
        }
    }

    /// The output, the queues of all streams included.
    pub(crate) fn unsent(&self) -> usize {
        let queued = match &self.speech {
            Speech::Http1(_) => 0,
            Speech::Http2(http2) => http2.wire.queued_bytes(),
        };
        self.output.len() - self.output_at + queued
    }

    /// It is not read until what it has asked for is on its way. HTTP/2 is always read, for its
    /// windows come with what is read.
    pub(crate) fn held_back(&self) -> bool {
        match &self.speech {
            Speech::Http1(http1) => http1.exchange.is_some() || self.unsent() > OUTPUT_BYTES_HIGH,
            Speech::Http2(_) => false,
        }
    }

    /// The bytes behind the last request may be looked at.
    pub(crate) fn takes_requests(&self) -> bool {
        !self.held_back() && self.fate == Fate::Keep
    }

    /// No request in part or in whole, nothing to send.
    pub(crate) fn idle(&self) -> bool {
        let at_rest = match &self.speech {
            Speech::Http1(http1) => http1.exchange.is_none() && http1.pending.is_none(),
            Speech::Http2(http2) => http2.streams.len() == 0,
        };
        at_rest && self.unsent() == 0
    }

    /// What the answer of this lane is written with.
    pub(crate) fn reply(&mut self, lane: Lane) -> Reply<'_> {
        let mut unsent = self.output.len() - self.output_at;
        let framing = match (&mut self.speech, lane) {
            (Speech::Http2(http2), Lane::Http2 { id, .. }) => {
                let Http2 { wire, part, .. } = &mut **http2;
                unsent += wire.queued(id);
                Framing::Http2 { wire, id, part }
            }
            (_, Lane::Http1 { close }) => Framing::Http1 { close },
            (Speech::Http1(_), Lane::Http2 { .. }) => Framing::Http1 { close: true },
        };
        Reply {
            framing,
            out: &mut self.output,
            fate: &mut self.fate,
            split: &mut self.split,
            unsent,
        }
    }

    /// The answer of this lane is over.
    pub(crate) fn release(&mut self, lane: Lane, now_ns: u64) {
        self.idle_since_ns = now_ns;
        match (&mut self.speech, lane) {
            (Speech::Http1(http1), _) => http1.exchange = None,
            (Speech::Http2(http2), Lane::Http2 { id, slot }) => {
                http2.streams.remove(slot);
                // A connection that breaks off says nothing of its streams.
                if self.fate == Fate::Keep {
                    http2.wire.forget(id, &mut self.output);
                }
            }
            (Speech::Http2(_), Lane::Http1 { .. }) => {}
        }
    }

    /// The exchanges that its end would cancel.
    pub(crate) fn exchanges(&mut self) -> Vec<Key> {
        match &mut self.speech {
            Speech::Http1(http1) => http1.exchange.into_iter().collect(),
            Speech::Http2(http2) => http2.exchanges(),
        }
    }

    /// Writes what the kernel takes; an error means that the connection is gone.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        loop {
            if !self.write()? {
                return Ok(());
            }
            let Speech::Http2(http2) = &mut self.speech else {
                break;
            };
            http2.wire.flush(&mut self.output);
            if self.output.is_empty() {
                break;
            }
        }
        if self.output.capacity() > IDLE_CAPACITY_BYTES {
            let kept = matches!(self.speech, Speech::Http2(_)) && !self.idle();
            if !kept {
                self.output = Vec::new();
            }
        }
        Ok(())
    }

    /// True when the output is empty.
    fn write(&mut self) -> io::Result<bool> {
        while self.output_at < self.output.len() {
            let end = if self.split {
                self.output_at + 1
            } else {
                self.output.len()
            };
            match self.stream.write(&self.output[self.output_at..end]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(sent) => {
                    self.output_at += sent;
                    // A short write has filled the socket: the next event tells when to go on.
                    if self.output_at < end {
                        return Ok(false);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.output.clear();
        self.output_at = 0;
        Ok(true)
    }
}
