//! Bytes on their way to one peer, and the spare buffers of a worker.
//!
//! **Invariant:** an empty queue holds no memory: its buffer goes back to the spares.

/// Spare buffers kept per worker, at most.
const SPARES_MAX: usize = 64;
/// A buffer larger than this is freed instead of kept.
const SPARE_BYTES_MAX: usize = 128 * 1024;

/// Spare byte buffers of one worker.
#[derive(Debug, Default)]
pub(crate) struct Spares {
    buffers: Vec<Vec<u8>>,
}

impl Spares {
    /// An empty buffer, with capacity if there is a spare.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        self.buffers.pop().unwrap_or_default()
    }

    /// Buffers kept.
    pub(crate) fn len(&self) -> usize {
        self.buffers.len()
    }

    /// Takes a buffer back.
    pub(crate) fn give(&mut self, mut buffer: Vec<u8>) {
        if self.buffers.len() < SPARES_MAX
            && buffer.capacity() > 0
            && buffer.capacity() <= SPARE_BYTES_MAX
        {
            buffer.clear();
            self.buffers.push(buffer);
        }
    }
}

/// Bytes queued towards one peer: contiguous, sent from the front.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    bytes: Vec<u8>,
    /// `0 <= sent <= bytes.len()`
    sent: usize,
}

impl Queue {
    /// Bytes that wait.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.sent
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What to send now.
    pub(crate) fn pending(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    /// The buffer to append to.
    pub(crate) fn writer(&mut self, spares: &mut Spares) -> &mut Vec<u8> {
        if self.bytes.capacity() == 0 {
            self.bytes = spares.take();
        } else if self.sent > 0 && self.sent >= self.bytes.len() / 2 {
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
        &mut self.bytes
    }

    /// `count` bytes from the front were sent.
    pub(crate) fn advance(&mut self, count: usize, spares: &mut Spares) {
        self.sent = (self.sent + count).min(self.bytes.len());
        if self.sent == self.bytes.len() {
            self.sent = 0;
            spares.give(std::mem::take(&mut self.bytes));
        }
    }

    /// Nothing waits: gives a buffer back that was taken in vain.
    pub(crate) fn settle(&mut self, spares: &mut Spares) {
        if self.is_empty() && self.bytes.capacity() > 0 {
            self.sent = 0;
            spares.give(std::mem::take(&mut self.bytes));
        }
    }

    /// Forgets all but the first `len` of the bytes that wait.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.bytes.truncate(self.sent.saturating_add(len));
    }

    /// Takes everything that waits.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.drain(..self.sent);
        self.sent = 0;
        bytes
    }
}

/// A client's bytes behind the request that is being served: taken from the front by counting, not
/// by copying, so that many small requests in one read cost their bytes once.
#[derive(Debug, Default)]
pub(crate) struct Stash {
    bytes: Vec<u8>,
    /// `0 <= taken <= bytes.len()`
    taken: usize,
}

impl Stash {
    /// Bytes that wait.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.taken
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes that wait.
    pub(crate) fn waiting(&self) -> &[u8] {
        &self.bytes[self.taken..]
    }

    /// More bytes behind those that wait.
    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        if self.taken > self.bytes.len() / 2 {
            self.bytes.drain(..self.taken);
            self.taken = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// All but the last `left` of the waiting bytes were used. An empty stash holds no memory.
    pub(crate) fn keep(&mut self, left: usize) {
        if left == 0 {
            *self = Self::default();
        } else {
            self.taken = self.bytes.len().saturating_sub(left).max(self.taken);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stash_is_used_from_the_front_and_holds_nothing_when_empty() {
        let mut stash = Stash::default();
        stash.extend(b"one two ");
        stash.keep(4);
        assert_eq!((stash.waiting(), stash.len()), (&b"two "[..], 4));
        stash.extend(b"three");
        assert_eq!(stash.waiting(), b"two three");
        stash.keep(5);
        stash.extend(b"!");
        assert_eq!(stash.waiting(), b"three!");
        stash.keep(0);
        assert!(stash.is_empty());
        assert_eq!(stash.bytes.capacity(), 0);
    }

    #[test]
    fn an_emptied_queue_gives_its_buffer_back() {
        let mut spares = Spares::default();
        let mut queue = Queue::default();
        queue.writer(&mut spares).extend_from_slice(b"hello");
        queue.advance(2, &mut spares);
        assert_eq!(queue.pending(), b"llo");
        queue.advance(3, &mut spares);
        assert!(queue.is_empty());
        assert_eq!(queue.bytes.capacity(), 0);
        assert_eq!(spares.buffers.len(), 1);
    }
}
