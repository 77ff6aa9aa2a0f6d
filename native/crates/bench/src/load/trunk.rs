//! One HTTP/2 connection of the load generator, and the requests that are on its streams.

use std::io;

use wire::h2::{Config, Connection, Role, StreamId};

use super::link::Request;
use crate::{slab::Key, socket::Stream};

/// A connection that many requests share.
#[derive(Debug)]
pub(crate) struct Trunk {
    pub(crate) stream: Stream,
    pub(crate) wire: Connection,
    pub(crate) output: Vec<u8>,
    output_at: usize,
    pub(crate) connected: bool,
    /// It stands in the generator's list of those to be flushed.
    pub(crate) dirty: bool,
    /// For one request only.
    pub(crate) once: bool,
    /// Half closed on purpose: what comes is thrown away.
    pub(crate) left: bool,
    /// Requests on it now.
    pub(crate) flows: u32,
    /// Answers it has brought.
    pub(crate) answers: u64,
    /// The part of the run that opened it.
    pub(crate) part: usize,
    pub(crate) opened_ns: u64,
    /// 0 before it is connected.
    pub(crate) connected_ns: u64,
}

/// A request on a stream.
#[derive(Debug)]
pub(crate) struct Flow {
    pub(crate) trunk: Key,
    pub(crate) id: StreamId,
    pub(crate) request: Request,
}

impl Trunk {
    pub(crate) fn new(
        stream: Stream,
        streams_max: u32,
        (once, part): (bool, usize),
        now_ns: u64,
    ) -> Self {
        let config = Config {
            streams_max,
            ..Config::default()
        };
        let mut output = Vec::new();
        Self {
            stream,
            wire: Connection::new(Role::Client, &config, &mut output),
            output,
            output_at: 0,
            connected: false,
            dirty: false,
            once,
            left: false,
            flows: 0,
            answers: 0,
            part,
            opened_ns: now_ns,
            connected_ns: 0,
        }
    }

    /// Writes what the kernel takes of what may be sent.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        loop {
            while self.output_at < self.output.len() {
                match self.stream.write(&self.output[self.output_at..]) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(sent) => {
                        self.output_at += sent;
                        if self.output_at < self.output.len() {
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
            self.wire.flush(&mut self.output);
            if self.output.is_empty() {
                return Ok(());
            }
        }
    }
}
