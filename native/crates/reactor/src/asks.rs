//! Questions of the workers to the control plane: a bounded queue and a descriptor that an event
//! loop can watch. Rare (admin pages, merged model lists), so a lock and a byte in a socket pair
//! are cheap enough.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, MutexGuard, PoisonError};

use engine::ids::AskId;
use engine::output::Question;

use crate::limits::ASKS_MAX;

/// The queue. Shared by all workers and one reader.
#[derive(Debug)]
pub struct Asks {
    queue: Mutex<VecDeque<(AskId, Question)>>,
    /// Readable while the queue is not empty.
    reader: UnixStream,
    writer: UnixStream,
}

impl Asks {
    /// An empty queue.
    pub fn new() -> io::Result<Self> {
        let (reader, writer) = UnixStream::pair()?;
        reader.set_nonblocking(true)?;
        writer.set_nonblocking(true)?;
        Ok(Self {
            queue: Mutex::new(VecDeque::new()),
            reader,
            writer,
        })
    }

    /// Watch this for reading; then call `drain`.
    pub fn fileno(&self) -> RawFd {
        self.reader.as_raw_fd()
    }

    /// All questions that wait. Each is answered with `Host::answer`.
    pub fn drain(&self) -> Vec<(AskId, Question)> {
        // The bytes first: a question that comes in between makes one more wake, never one less.
        let mut bytes = [0; 64];
        while matches!((&self.reader).read(&mut bytes), Ok(1..)) {}
        self.lock().drain(..).collect()
    }

    /// Puts a question; `false` when the queue is full.
    pub(crate) fn put(&self, id: AskId, question: Question) -> bool {
        let first = {
            let mut queue = self.lock();
            if queue.len() >= ASKS_MAX {
                return false;
            }
            queue.push_back((id, question));
            queue.len() == 1
        };
        if first {
            // A full pair is readable already.
            let _ = (&self.writer).write(&[1]);
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(AskId, Question)>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
