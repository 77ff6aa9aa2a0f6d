//! All streams of a connection: slots that are used again, found by id in constant time.
//!
//! Invariant: `index` has exactly the ids of the slots that are in use, at most half of it is
//! filled, and without streams nearly no memory is held.

use crate::h2::StreamId;
use crate::h2::limits::IDLE_SLOTS_KEPT;
use crate::h2::state::{NO_SLOT, Stream};

/// The least size of an index that has entries.
const INDEX_MIN: usize = 8;

/// Where a stream lies. Id 0 is no entry.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    id: StreamId,
    slot: u32,
}

/// The streams that were not forgotten.
#[derive(Debug)]
pub(crate) struct Streams {
    slots: Vec<Stream>,
    /// The first free slot.
    free: u32,
    len: usize,
    /// Open addressing with linear probing; its length is 0 or a power of two.
    index: Vec<Entry>,
    /// The slot found last: tokens of one stream come together.
    last: u32,
}

impl Streams {
    pub(crate) const fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: NO_SLOT,
            len: 0,
            index: Vec::new(),
            last: NO_SLOT,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The stream of this id.
    #[inline]
    pub(crate) fn get(&mut self, id: StreamId) -> Option<&mut Stream> {
        let slot = self.slot(id)?;
        self.last = slot;
        self.slots.get_mut(slot as usize)
    }

    /// The stream of this id, to be looked at.
    #[inline]
    pub(crate) fn peek(&self, id: StreamId) -> Option<&Stream> {
        self.slots.get(self.slot(id)? as usize)
    }

    /// The slot of this id.
    #[inline]
    pub(crate) fn slot(&self, id: StreamId) -> Option<u32> {
        match self.slots.get(self.last as usize) {
            Some(stream) if stream.id == id && id != 0 => Some(self.last),
            _ => self.search(id),
        }
    }

    /// What lies in a slot that [`slot`](Self::slot) gave.
    #[inline]
    pub(crate) fn at(&mut self, slot: u32) -> Option<&mut Stream> {
        self.slots.get_mut(slot as usize)
    }

    /// Adds a stream whose id is not yet there.
    pub(crate) fn insert(&mut self, stream: Stream) {
        debug_assert!(
            self.slot(stream.id).is_none(),
            "a stream has one slot for its life"
        );
        let id = stream.id;
        let slot = self.free;
        let slot = if let Some(room) = self.slots.get_mut(slot as usize) {
            self.free = room.next;
            *room = stream;
            slot
        } else {
            self.slots.push(stream);
            (self.slots.len() - 1) as u32
        };
        self.len += 1;
        if self.index.len() < 2 * self.len {
            self.grow();
        }
        self.place(Entry { id, slot });
        self.last = slot;
    }

    /// Takes a stream out.
    pub(crate) fn remove(&mut self, id: StreamId) -> Option<Stream> {
        let slot = self.slot(id)?;
        self.displace(id);
        let room = self.slots.get_mut(slot as usize)?;
        let mut free = Stream::new(0, room.recv, room.inbound, room.outbound);
        free.next = self.free;
        let stream = std::mem::replace(room, free);
        self.free = slot;
        self.len -= 1;
        if self.len == 0 {
            self.rest();
        }
        Some(stream)
    }

    /// All streams, in no order that means anything.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Stream> {
        self.slots.iter().filter(|stream| stream.id != 0)
    }

    /// How many slots there are, used or free: the bound for a walk with [`at`](Self::at).
    pub(crate) fn slots(&self) -> u32 {
        self.slots.len() as u32
    }

    /// Memory, queues apart.
    pub(crate) fn held_bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Stream>() + self.index.capacity() * size_of::<Entry>()
    }

    /// Nothing is in use: give back what a busy time took.
    fn rest(&mut self) {
        if self.slots.len() > IDLE_SLOTS_KEPT {
            *self = Self::new();
        }
    }

    #[inline]
    fn home(&self, id: StreamId) -> usize {
        // Fibonacci hashing of the ids' 30 bits; the length is a power of two.
        let hash = (id >> 1).wrapping_mul(0x9E37_79B1);
        (hash >> 16) as usize & (self.index.len() - 1)
    }

    fn search(&self, id: StreamId) -> Option<u32> {
        if self.index.is_empty() || id == 0 {
            return None;
        }
        let mut at = self.home(id);
        // At least half of the entries are empty, so this ends.
        loop {
            let entry = self.index.get(at)?;
            if entry.id == id {
                return Some(entry.slot);
            }
            if entry.id == 0 {
                return None;
            }
            at = (at + 1) & (self.index.len() - 1);
        }
    }

    fn place(&mut self, entry: Entry) {
        let mut at = self.home(entry.id);
        while let Some(room) = self.index.get_mut(at) {
            if room.id == 0 {
                *room = entry;
                return;
            }
            at = (at + 1) & (self.index.len() - 1);
        }
    }

    fn grow(&mut self) {
        let len = (self.index.len() * 2).max(INDEX_MIN);
        let old = std::mem::replace(&mut self.index, vec![Entry::default(); len]);
        for entry in old.into_iter().filter(|entry| entry.id != 0) {
            self.place(entry);
        }
    }

    /// Removes an entry, and moves those behind it that probed past it.
    fn displace(&mut self, id: StreamId) {
        if self.index.is_empty() {
            return;
        }
        let mask = self.index.len() - 1;
        let mut hole = self.home(id);
        while self.index.get(hole).is_some_and(|entry| entry.id != id) {
            hole = (hole + 1) & mask;
        }
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let Some(&entry) = self.index.get(at).filter(|entry| entry.id != 0) else {
                break;
            };
            // It may move if its home does not lie between the hole and it.
            let from_home = at.wrapping_sub(self.home(entry.id)) & mask;
            if from_home >= (at.wrapping_sub(hole) & mask) {
                if let Some(room) = self.index.get_mut(hole) {
                    *room = entry;
                }
                hole = at;
            }
        }
        if let Some(room) = self.index.get_mut(hole) {
            *room = Entry::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::h2::flow::{Inbound, Outbound};
    use crate::h2::state::Recv;

    fn stream(id: StreamId) -> Stream {
        let mut stream = Stream::new(id, Recv::Body, Inbound::new(0), Outbound::new(0));
        stream.tag = u64::from(id) * 10;
        stream
    }

    #[test]
    fn finds_what_is_there_and_nothing_else() {
        let mut streams = Streams::new();
        let mut live = std::collections::BTreeSet::new();
        let mut random = 0x9E37_79B9_u32;
        for _ in 0..20_000 {
            random ^= random << 13;
            random ^= random >> 17;
            random ^= random << 5;
            // Ids that share their home among them.
            let id = (random % 400) * 0x2_0000 + 1;
            if live.insert(id) {
                assert!(streams.get(id).is_none());
                streams.insert(stream(id));
            } else if random & 0x100 == 0 {
                live.remove(&id);
                assert_eq!(streams.remove(id).map(|one| one.id), Some(id));
                assert!(streams.peek(id).is_none());
            }
            let probe = (random >> 8) % 400 * 0x2_0000 + 1;
            let found = streams.get(probe).map(|one| one.tag);
            let expected = live.contains(&probe).then_some(u64::from(probe) * 10);
            assert_eq!(found, expected);
            assert_eq!(streams.len(), live.len());
        }
        let mut seen: Vec<_> = streams.iter().map(|one| one.id).collect();
        seen.sort_unstable();
        assert!(seen.iter().eq(live.iter()));
        for id in live {
            streams.remove(id);
        }
        assert!(streams.slots.capacity() == 0 && streams.index.capacity() == 0);
        assert!(streams.get(1).is_none() && streams.get(0).is_none());
    }
}
