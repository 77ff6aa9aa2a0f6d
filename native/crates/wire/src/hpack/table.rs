//! The dynamic table (RFC 7541 §2.3.2, §4): first in, first out, bounded by what its entries cost.
//!
//! Names and values lie in one arena, oldest first, each entry in one piece. Evicted bytes stay as
//! they are until they are a third of the arena; then the others move to its front. So no entry has
//! an allocation of its own, two bytes are moved for each byte appended at most, and the arena
//! stays below twice the table's bound.
//!
//! Invariant: the bytes of every entry lie inside the arena; `cost` is the sum over all entries.

use std::collections::VecDeque;

/// RFC 7541 §4.1: what an entry costs beyond its bytes.
pub(super) const ENTRY_OVERHEAD_BYTES: usize = 32;

/// The arena grows by this: by a few fields, for most tables stay small.
const ARENA_BYTES_STEP: usize = 1024;

#[derive(Clone, Debug)]
pub(super) struct Table {
    arena: Vec<u8>,
    /// Oldest first.
    entries: VecDeque<Entry>,
    /// How far the arena's front has moved since the beginning; [`Entry::start`] counts from there.
    moved: usize,
    /// What all entries cost.
    cost: usize,
    /// What they may cost.
    max: usize,
}

/// An entry costs `max` at most, which is a 32-bit setting.
#[derive(Clone, Copy, Debug)]
struct Entry {
    start: usize,
    name_len: u32,
    value_len: u32,
}

impl Entry {
    #[inline]
    const fn len(self) -> usize {
        self.name_len as usize + self.value_len as usize
    }
}

impl Table {
    /// An empty table without memory.
    pub(super) const fn new(max: usize) -> Self {
        Self {
            arena: Vec::new(),
            entries: VecDeque::new(),
            moved: 0,
            cost: 0,
            max,
        }
    }

    /// How many entries there are.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// What the entries may cost.
    #[inline]
    pub(super) const fn max(&self) -> usize {
        self.max
    }

    /// Sets what the entries may cost and evicts until they do (§4.3).
    pub(super) fn set_max(&mut self, max: usize) {
        self.max = max;
        self.evict(max);
    }

    /// Name and value of the entry that `age` newer ones follow.
    #[inline]
    pub(super) fn get(&self, age: usize) -> Option<(&[u8], &[u8])> {
        let at = self.entries.len().checked_sub(age)?.checked_sub(1)?;
        let entry = self.entries.get(at)?;
        let start = entry.start - self.moved;
        let bytes = self.arena.get(start..start + entry.len())?;
        bytes.split_at_checked(entry.name_len as usize)
    }

    /// Adds the newest entry and evicts for it. One that costs more than the whole table may leaves
    /// it empty and is not added (§4.4); then this is false.
    pub(super) fn insert(&mut self, name: &[u8], value: &[u8]) -> bool {
        let cost = name.len() + value.len() + ENTRY_OVERHEAD_BYTES;
        let Some(room) = self.max.checked_sub(cost) else {
            self.evict(0);
            return false;
        };
        self.evict(room);
        self.reserve(name.len() + value.len());
        self.entries.push_back(Entry {
            start: self.moved + self.arena.len(),
            name_len: name.len() as u32,
            value_len: value.len() as u32,
        });
        self.arena.extend_from_slice(name);
        self.arena.extend_from_slice(value);
        self.cost += cost;
        true
    }

    /// Evicts the oldest until the rest costs `cost` at most.
    #[inline]
    fn evict(&mut self, cost: usize) {
        while self.cost > cost {
            let Some(oldest) = self.entries.pop_front() else {
                break;
            };
            self.cost -= oldest.len() + ENTRY_OVERHEAD_BYTES;
        }
    }

    /// Makes room for `len` bytes: by moving if a third of the arena is evicted, else by growing.
    #[inline]
    fn reserve(&mut self, len: usize) {
        if self.arena.capacity() - self.arena.len() < len {
            self.make_room(len);
        }
    }

    fn make_room(&mut self, len: usize) {
        let evicted = self
            .entries
            .front()
            .map_or(self.arena.len(), |oldest| oldest.start - self.moved);
        if 2 * evicted >= self.arena.len() - evicted {
            self.arena.drain(..evicted);
            self.moved += evicted;
        }
        // Where nothing moved, all of the arena is less than one and a half times the entries,
        // which are within `max` together with the new one.
        let needed = self.arena.len() + len;
        if self.arena.capacity() < needed {
            let grown = needed.next_multiple_of(ARENA_BYTES_STEP);
            self.arena.reserve_exact(grown - self.arena.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(table: &Table) -> Vec<(Vec<u8>, Vec<u8>)> {
        (0..table.len())
            .map(|age| {
                let (name, value) = table.get(age).expect("an entry");
                (name.to_vec(), value.to_vec())
            })
            .collect()
    }

    #[test]
    fn agrees_with_a_list_and_stays_small() {
        let mut table = Table::new(4096);
        let mut model: VecDeque<(Vec<u8>, Vec<u8>)> = VecDeque::new();
        let mut seed = 1_u32;
        for round in 0..5_000_u32 {
            seed ^= seed << 13;
            seed ^= seed >> 17;
            seed ^= seed << 5;
            let max = if round % 97 == 0 {
                seed as usize % 5000 % 4097
            } else {
                table.max()
            };
            table.set_max(max);
            let name = vec![b'a' + (round % 26) as u8; seed as usize % 40];
            let wide = if seed & 0xf00 == 0 { 4200 } else { 90 };
            let value = vec![(round >> 3) as u8; (seed >> 12) as usize % wide];
            let cost = name.len() + value.len() + 32;
            assert_eq!(table.insert(&name, &value), cost <= max);
            model.push_front((name, value));
            let mut left = max;
            let kept = model.iter().take_while(|(name, value)| {
                let cost = name.len() + value.len() + 32;
                let fits = cost <= left;
                left -= if fits { cost } else { 0 };
                fits
            });
            let kept = kept.count();
            model.truncate(kept);
            assert_eq!(all(&table), Vec::from(model.clone()));
            assert_eq!(table.cost, max - left);
            assert!(table.arena.capacity() <= 7168, "{}", table.arena.capacity());
            assert_eq!(table.get(table.len()), None);
            if round % 300 == 0 {
                table.set_max(4096);
            }
        }
        assert_eq!(table.get(usize::MAX), None);
    }

    #[test]
    fn eviction_by_size() {
        let mut table = Table::new(100);
        assert!(table.insert(b"a", b"1"));
        assert!(table.insert(b"b", b"2"));
        assert_eq!(table.get(1), Some((&b"a"[..], &b"1"[..])));
        assert!(table.insert(b"c", b"3"));
        assert_eq!(table.len(), 2);
        table.set_max(34);
        assert_eq!(table.get(0), Some((&b"c"[..], &b"3"[..])));
        assert!(!table.insert(b"dd", b"4"));
        assert_eq!((table.len(), table.cost), (0, 0));
        table.set_max(0);
        assert!(!table.insert(b"", b""));
    }
}
