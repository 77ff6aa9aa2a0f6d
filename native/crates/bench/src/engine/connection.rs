//! One client connection of the engine: bytes in, bytes out, what is being done for it.
//!
//! While a request is being answered nothing more is read, so a client that pipelines is held back
//! by its own socket buffer.

use std::io;

use super::{exchange::Exchange, request::Head};
use crate::{http::Framing, socket::Stream};

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

/// A request whose body is not there yet.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) head: Head,
    pub(crate) framing: Framing,
    pub(crate) body: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) stream: Stream,
    /// Bytes that were read and not used: a partial head, or requests behind the current one.
    pub(crate) input: Vec<u8>,
    pub(crate) output: Vec<u8>,
    output_at: usize,
    /// Input may be waiting in the kernel although no event will say so.
    pub(crate) readable: bool,
    /// The client's FIN is on the way: read on until it comes.
    pub(crate) ended: bool,
    pub(crate) fate: Fate,
    /// Write one byte at a time.
    pub(crate) split: bool,
    pub(crate) pending: Option<Pending>,
    pub(crate) exchange: Option<Exchange>,
    /// When it last had nothing to do.
    pub(crate) idle_since_ns: u64,
}

impl Connection {
    pub(crate) fn new(stream: Stream, now_ns: u64) -> Self {
        Self {
            stream,
            input: Vec::new(),
            output: Vec::new(),
            output_at: 0,
            readable: false,
            ended: false,
            fate: Fate::Keep,
            split: false,
            pending: None,
            exchange: None,
            idle_since_ns: now_ns,
        }
    }

    pub(crate) fn unsent(&self) -> usize {
        self.output.len() - self.output_at
    }

    /// It is not read until what it has asked for is on its way.
    pub(crate) fn held_back(&self) -> bool {
        self.exchange.is_some() || self.unsent() > OUTPUT_BYTES_HIGH
    }

    /// The bytes behind the last request may be looked at.
    pub(crate) fn takes_requests(&self) -> bool {
        !self.held_back() && self.fate == Fate::Keep
    }

    /// No request in part or in whole, nothing to send.
    pub(crate) fn idle(&self) -> bool {
        self.exchange.is_none() && self.pending.is_none() && self.unsent() == 0
    }

    /// Writes what the kernel takes; an error means that the connection is gone.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
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
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.output.clear();
        self.output_at = 0;
        if self.output.capacity() > IDLE_CAPACITY_BYTES {
            self.output = Vec::new();
        }
        Ok(())
    }
}
