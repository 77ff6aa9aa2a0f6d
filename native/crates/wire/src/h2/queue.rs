//! Bytes of one stream that wait for a window or for their turn.

/// A queue of bytes. Empty, it holds no memory.
///
/// Invariant: `start <= bytes.len()`, and both are 0 when it is empty.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    bytes: Vec<u8>,
    /// Up to here they were taken.
    start: usize,
}

impl Queue {
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        // Moved to the front when as much was taken as is moved: each byte moves once on average.
        if self.start > 0 && self.start >= self.len() {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The first `len` bytes, or all if there are fewer.
    pub(crate) fn front(&self, len: usize) -> &[u8] {
        let end = self.start + len.min(self.len());
        self.bytes.get(self.start..end).unwrap_or_default()
    }

    /// Forgets the first `len` bytes, which there are.
    pub(crate) fn advance(&mut self, len: usize) {
        debug_assert!(len <= self.len(), "what is not there cannot be taken");
        self.start += len;
        if self.start >= self.bytes.len() {
            *self = Self::default();
        }
    }

    /// Forgets everything; gives how much it was.
    pub(crate) fn clear(&mut self) -> usize {
        std::mem::take(self).len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_a_queue_and_keeps_no_memory() {
        let mut queue = Queue::default();
        let mut expected = std::collections::VecDeque::new();
        for round in 0..1_000_usize {
            let bytes: Vec<u8> = (0..round % 17).map(|at| (round + at) as u8).collect();
            queue.push(&bytes);
            expected.extend(bytes);
            assert!(queue.bytes.len() <= 2 * queue.len());
            let take = (round * 7 % 23).min(queue.len());
            assert_eq!(queue.front(take).len(), take);
            assert!(queue.front(take).iter().eq(expected.iter().take(take)));
            expected.drain(..take);
            queue.advance(take);
            assert_eq!(queue.len(), expected.len());
        }
        assert_eq!(queue.clear(), expected.len());
        assert!(queue.is_empty() && queue.bytes.capacity() == 0);
    }
}
