//! One connection of the load generator and the request that is on it.

use std::io;

use super::{
    answer::Answer,
    options::{AbortKind, AbortPhase},
    shape::Lengths,
};
use crate::socket::Stream;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkState {
    Connecting,
    Idle,
    Busy,
    /// Half closed on purpose; what comes is thrown away.
    Lingering,
}

/// How the client of a request is going to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leave {
    pub(crate) at: AbortPhase,
    pub(crate) kind: AbortKind,
}

/// A request under way. Times are nanoseconds of the monotonic clock.
#[derive(Debug)]
pub(crate) struct Request {
    /// Index of the part in which it was due.
    pub(crate) part: usize,
    pub(crate) lengths: Lengths,
    pub(crate) intended_ns: u64,
    pub(crate) sent_ns: u64,
    pub(crate) last_token_ns: u64,
    pub(crate) first_byte_seen: bool,
    pub(crate) tokens: u32,
    pub(crate) leave: Option<Leave>,
    /// When the client leaves if nothing else makes it; `u64::MAX` when not planned.
    pub(crate) leave_ns: u64,
    /// It was sent before on a connection that had gone stale.
    pub(crate) retried: bool,
    pub(crate) answer: Answer,
}

#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) stream: Stream,
    pub(crate) state: LinkState,
    pub(crate) output: Vec<u8>,
    pub(crate) output_at: usize,
    /// For one request only.
    pub(crate) once: bool,
    /// Answers it has brought.
    pub(crate) answers: u64,
    pub(crate) opened_ns: u64,
    pub(crate) request: Option<Request>,
}

impl Link {
    pub(crate) fn new(stream: Stream, once: bool, now_ns: u64) -> Self {
        Self {
            stream,
            state: LinkState::Connecting,
            output: Vec::new(),
            output_at: 0,
            once,
            answers: 0,
            opened_ns: now_ns,
            request: None,
        }
    }

    /// Writes what the kernel takes; true when everything is out.
    pub(crate) fn flush(&mut self) -> io::Result<bool> {
        while self.output_at < self.output.len() {
            match self.stream.write(&self.output[self.output_at..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(sent) => {
                    self.output_at += sent;
                    if self.output_at < self.output.len() {
                        return Ok(false);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}
