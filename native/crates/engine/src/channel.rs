//! The bounded channel: a queue with a capacity in items and in bytes and three priority classes,
//! first in, first out within a class. A full channel says so at once; nothing ever blocks.
//!
//! There is no lock inside: the waiting room of a pool keeps one behind its own. It never reads a
//! clock and never drops an item by itself. **Invariant:** `depth <= capacity` and
//! `bytes <= bytes_max` after every send that was accepted, and each item comes out exactly once.

use std::collections::VecDeque;

/// Priority classes: 0 = high, 1 = normal, 2 = low.
pub const CLASSES: usize = 3;

/// Buckets of [`Channel::depth_histogram`]: depths 0, 1, 2-3, 4-7, and so on; the last is open.
pub const DEPTH_BUCKETS: usize = 16;

/// A refused item, given back to its sender.
#[derive(Debug, PartialEq, Eq)]
pub struct Full<T>(pub T);

/// Where an accepted item stands. Unique among the items that are in the channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The class it was filed under.
    pub class: u8,
    /// Its number: lower numbers of a class leave earlier.
    pub sequence: u64,
}

#[derive(Debug)]
struct Entry<T> {
    sequence: u64,
    bytes: u64,
    item: T,
}

/// A bounded queue of three classes.
#[derive(Debug)]
pub struct Channel<T> {
    classes: [VecDeque<Entry<T>>; CLASSES],
    capacity: usize,
    bytes_max: u64,
    depth: usize,
    bytes: u64,
    high_water: usize,
    sequence_next: u64,
    shed_total: u64,
    depths: [u64; DEPTH_BUCKETS],
}

impl<T> Channel<T> {
    /// An empty channel for `capacity` items that together weigh at most `bytes_max`.
    pub fn new(capacity: usize, bytes_max: u64) -> Self {
        Self {
            classes: std::array::from_fn(|_| VecDeque::new()),
            capacity,
            bytes_max,
            depth: 0,
            bytes: 0,
            high_water: 0,
            sequence_next: 0,
            shed_total: 0,
            depths: [0; DEPTH_BUCKETS],
        }
    }

    /// Changes both bounds. Items beyond a smaller bound stay; only new ones are refused.
    pub fn set_bounds(&mut self, capacity: usize, bytes_max: u64) {
        self.capacity = capacity;
        self.bytes_max = bytes_max;
    }

    /// Appends an item of normal priority, or gives it back.
    pub fn try_send(&mut self, item: T, bytes: u64) -> Result<(), Full<T>> {
        self.try_send_at(1, None, item, bytes).map(|_| ())
    }

    /// Files an item under a class (beyond the last = the last). `sequence` is the number of an
    /// earlier [`Place`]: the item then takes that place in the order again.
    pub fn try_send_at(
        &mut self,
        class: u8,
        sequence: Option<u64>,
        item: T,
        bytes: u64,
    ) -> Result<Place, Full<T>> {
        let bucket = (usize::BITS - self.depth.leading_zeros()) as usize;
        self.depths[bucket.min(DEPTH_BUCKETS - 1)] += 1;
        if !self.fits(bytes) {
            self.shed_total += 1;
            return Err(Full(item));
        }
        let class = usize::from(class).min(CLASSES - 1);
        let queue = &mut self.classes[class];
        let known = sequence.filter(|&s| s < self.sequence_next);
        let (at, sequence) = match known.map(|s| (s, queue.binary_search_by_key(&s, key))) {
            Some((sequence, Err(at))) => (at, sequence),
            // No number, one never given out, or one that is in the channel already.
            Some((_, Ok(_))) | None => {
                self.sequence_next += 1;
                (queue.len(), self.sequence_next - 1)
            }
        };
        queue.insert(
            at,
            Entry {
                sequence,
                bytes,
                item,
            },
        );
        self.depth += 1;
        self.bytes += bytes;
        self.high_water = self.high_water.max(self.depth);
        self.invariants();
        Ok(Place {
            class: class as u8,
            sequence,
        })
    }

    /// Takes the first item of the highest class that has one.
    pub fn try_recv(&mut self) -> Option<T> {
        let queue = self.classes.iter_mut().find(|queue| !queue.is_empty())?;
        let entry = queue.pop_front()?;
        self.depth -= 1;
        self.bytes -= entry.bytes;
        Some(entry.item)
    }

    /// Takes an item out of the middle; `None` if it has left already.
    pub fn remove(&mut self, place: Place) -> Option<T> {
        let queue = self.classes.get_mut(usize::from(place.class))?;
        let at = queue.binary_search_by_key(&place.sequence, key).ok()?;
        let entry = queue.remove(at)?;
        self.depth -= 1;
        self.bytes -= entry.bytes;
        Some(entry.item)
    }

    /// The items in the order in which they will leave.
    pub fn iter(&self) -> impl Iterator<Item = (Place, &T)> {
        self.classes.iter().enumerate().flat_map(|(class, queue)| {
            queue.iter().map(move |entry| {
                (
                    Place {
                        class: class as u8,
                        sequence: entry.sequence,
                    },
                    &entry.item,
                )
            })
        })
    }

    /// A number for an item that does not need to wait now but may come back.
    pub fn reserve_sequence(&mut self) -> u64 {
        self.sequence_next += 1;
        self.sequence_next - 1
    }

    /// Whether an item of this weight would be accepted.
    pub fn fits(&self, bytes: u64) -> bool {
        self.depth < self.capacity
            && self
                .bytes
                .checked_add(bytes)
                .is_some_and(|sum| sum <= self.bytes_max)
    }

    /// Items waiting.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// Items waiting that leave before a new item of `class`.
    pub fn ahead(&self, class: u8) -> usize {
        self.classes
            .iter()
            .take(usize::from(class) + 1)
            .map(VecDeque::len)
            .sum()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.depth == 0
    }

    /// Bytes waiting.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Items at most.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Bytes at most.
    pub fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    /// The greatest depth there has been.
    pub fn high_water(&self) -> usize {
        self.high_water
    }

    /// Items that were refused.
    pub fn shed_total(&self) -> u64 {
        self.shed_total
    }

    /// How often each depth was met at a send: bucket 0 is depth 0, bucket n is `2^(n-1)..2^n`.
    pub fn depth_histogram(&self) -> &[u64; DEPTH_BUCKETS] {
        &self.depths
    }

    /// Checks what must hold after every call (debug builds only).
    pub fn invariants(&self) {
        debug_assert_eq!(
            self.depth,
            self.classes.iter().map(VecDeque::len).sum::<usize>()
        );
        debug_assert_eq!(
            self.bytes,
            self.classes.iter().flatten().map(|e| e.bytes).sum::<u64>()
        );
        debug_assert!(self.high_water >= self.depth);
        debug_assert!(self.classes.iter().all(|queue| {
            queue
                .iter()
                .zip(queue.iter().skip(1))
                .all(|(a, b)| a.sequence < b.sequence)
        }));
    }
}

fn key<T>(entry: &Entry<T>) -> u64 {
    entry.sequence
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_by_items_and_by_bytes() {
        let mut channel = Channel::new(2, 10);
        assert_eq!(channel.try_send("a", 4), Ok(()));
        assert_eq!(channel.try_send("b", 7), Err(Full("b")));
        assert_eq!(channel.try_send("b", 6), Ok(()));
        assert_eq!(channel.try_send("c", 0), Err(Full("c")));
        assert_eq!(
            (channel.depth(), channel.bytes(), channel.shed_total()),
            (2, 10, 2)
        );
        assert_eq!(channel.try_recv(), Some("a"));
        assert_eq!(channel.try_send("d", u64::MAX), Err(Full("d")));
        assert_eq!(channel.high_water(), 2);
    }

    #[test]
    fn capacity_zero_never_takes_anything() {
        let mut channel = Channel::new(0, u64::MAX);
        assert_eq!(channel.try_send(1, 0), Err(Full(1)));
        assert_eq!(channel.try_recv(), None);
    }

    #[test]
    fn higher_classes_leave_first_and_order_is_kept_within_one() {
        let mut channel = Channel::new(8, 100);
        for (class, item) in [
            (2, "c1"),
            (1, "b1"),
            (2, "c2"),
            (0, "a1"),
            (1, "b2"),
            (9, "c3"),
        ] {
            assert!(channel.try_send_at(class, None, item, 1).is_ok());
        }
        assert_eq!(
            (channel.ahead(0), channel.ahead(1), channel.ahead(2)),
            (1, 3, 6)
        );
        let order: Vec<_> = channel.iter().map(|(_, item)| *item).collect();
        let left: Vec<_> = std::iter::from_fn(|| channel.try_recv()).collect();
        assert_eq!(left, ["a1", "b1", "b2", "c1", "c2", "c3"]);
        assert_eq!(order, left);
    }

    #[test]
    fn a_returning_item_takes_its_old_place() {
        let mut channel = Channel::new(8, 100);
        let first = channel.try_send_at(1, None, "first", 0).unwrap();
        channel.try_send_at(1, None, "second", 0).unwrap();
        assert_eq!(channel.try_recv(), Some("first"));
        channel
            .try_send_at(1, Some(first.sequence), "first again", 0)
            .unwrap();
        assert_eq!(channel.try_recv(), Some("first again"));
        // A number that is waiting already, or was never given, is replaced by a fresh one.
        let place = channel.try_send_at(1, Some(1), "impostor", 0).unwrap();
        assert_ne!(place.sequence, 1);
        assert!(
            channel
                .try_send_at(1, Some(u64::MAX), "future", 0)
                .unwrap()
                .sequence
                < 100
        );
        assert_eq!(channel.try_recv(), Some("second"));
    }

    #[test]
    fn removes_from_the_middle_once() {
        let mut channel = Channel::new(8, 100);
        channel.try_send_at(1, None, 'a', 3).unwrap();
        let place = channel.try_send_at(1, None, 'b', 4).unwrap();
        channel.try_send_at(1, None, 'c', 5).unwrap();
        assert_eq!(channel.remove(place), Some('b'));
        assert_eq!(channel.remove(place), None);
        assert_eq!((channel.depth(), channel.bytes()), (2, 8));
    }

    #[test]
    fn depth_histogram_counts_every_send() {
        let mut channel = Channel::new(4, 100);
        for n in 0..6 {
            let _ = channel.try_send(n, 0);
        }
        // Depths met: 0, 1, 2, 3, 4, 4.
        assert_eq!(channel.depth_histogram()[..5], [1, 1, 2, 2, 0]);
    }
}
