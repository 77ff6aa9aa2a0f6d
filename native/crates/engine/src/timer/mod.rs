//! Timers: a hierarchical wheel of 1 ms ticks, six levels of 64 slots (Varghese, Lauck 1987), with
//! nodes in a slab and doubly linked lists by index.
//!
//! Arming and cancelling cost the same however many there are. It never reads a clock and never
//! touches an owner: a fired or cancelled timer is known by its generation. **Invariant:** nothing
//! fires early, and at most one tick late with respect to the `now` that is passed in.

use crate::clock::MS;
use crate::ids::{ConnId, ExchangeId};

/// Slots of a level.
const SLOTS: usize = 64;
const SLOT_BITS: u32 = SLOTS.trailing_zeros();
const LEVELS: usize = 6;
/// Ticks that the wheel spans: two years. What is further is filed at the edge and filed again.
/// One slot of the highest level stays free, so that none holds two revolutions.
const SPAN_TICKS: u64 = (SLOTS as u64 - 1) << (SLOT_BITS * (LEVELS as u32 - 1));
const NONE: u32 = u32::MAX;
/// List of entries that are due, behind those of the slots.
const DUE: usize = LEVELS * SLOTS;

/// Whose timer it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TimerKey {
    /// A connection's.
    Conn(ConnId),
    /// An exchange's.
    Exchange(ExchangeId),
}

/// The owner's end of a timer; not armed by default. One slot has at most one entry in the wheel.
#[derive(Debug, Default)]
pub struct TimerSlot {
    index: u32,
    /// 0 = never armed.
    generation: u32,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    key: TimerKey,
    tick: u64,
    /// Differs for each tenant of the node; never 0.
    generation: u32,
    previous: u32,
    next: u32,
    /// The list it is in; meaningless while free.
    list: u16,
    armed: bool,
}

/// The wheel of one worker.
#[derive(Debug)]
pub struct Timers {
    nodes: Vec<Node>,
    /// First free node; they are linked by `next`.
    free: u32,
    /// Heads, by `level * SLOTS + slot`, then the due list.
    heads: [u32; DUE + 1],
    /// Which slots of a level have entries.
    occupied: [u64; LEVELS],
    /// Every entry in a slot is later than this.
    elapsed_tick: u64,
    armed: usize,
}

impl Timers {
    /// An empty wheel.
    pub fn new(now_ns: u64) -> Self {
        Self {
            nodes: Vec::new(),
            free: NONE,
            heads: [NONE; DUE + 1],
            occupied: [0; LEVELS],
            elapsed_tick: now_ns / MS,
            armed: 0,
        }
    }

    /// Makes sure that `key` fires no later than the tick behind `deadline_ns`.
    ///
    /// Lazy: an entry that is due at or before it is left alone. The owner looks at its true
    /// deadlines when it fires and arms again, so moving a deadline later costs nothing.
    pub fn arm(&mut self, slot: &mut TimerSlot, key: TimerKey, deadline_ns: u64) {
        let tick = deadline_ns.div_ceil(MS);
        if let Some(index) = self.find(slot) {
            debug_assert_eq!(self.nodes[index as usize].key, key);
            if self.nodes[index as usize].tick <= tick {
                return;
            }
            self.unlink(index);
            self.nodes[index as usize].tick = tick;
            self.file(index);
            return;
        }
        let index = self.allocate(key, tick);
        *slot = TimerSlot {
            index,
            generation: self.nodes[index as usize].generation,
        };
        self.armed += 1;
        self.file(index);
    }

    /// Takes the entry out, if there is one.
    pub fn cancel(&mut self, slot: &mut TimerSlot) {
        if let Some(index) = self.find(slot) {
            self.unlink(index);
            self.release(index);
        }
        *slot = TimerSlot::default();
    }

    /// Whether the slot has an entry that has not fired.
    pub fn is_armed(&self, slot: &TimerSlot) -> bool {
        self.find(slot).is_some()
    }

    /// Entries in the wheel.
    pub fn len(&self) -> usize {
        self.armed
    }

    /// Whether nothing is armed.
    pub fn is_empty(&self) -> bool {
        self.armed == 0
    }

    /// The earliest moment at which something may fire: exact within 64 ms, else at most a slot of
    /// its level early (a wake that finds nothing is harmless).
    pub fn next(&self) -> Option<u64> {
        if self.heads[DUE] != NONE {
            return Some(self.elapsed_tick.saturating_mul(MS));
        }
        self.first_slot()
            .map(|(_, _, tick)| tick.saturating_mul(MS))
    }

    /// Takes out one entry that is due. Call until `None`.
    pub fn expired(&mut self, now_ns: u64) -> Option<TimerKey> {
        let now_tick = now_ns / MS;
        loop {
            let index = self.heads[DUE];
            if index != NONE {
                let key = self.nodes[index as usize].key;
                self.unlink(index);
                self.release(index);
                return Some(key);
            }
            match self.first_slot() {
                Some((level, slot, tick)) if tick <= now_tick => {
                    debug_assert!(tick >= self.elapsed_tick);
                    self.elapsed_tick = tick;
                    self.empty(level * SLOTS + slot);
                }
                _ => {
                    self.elapsed_tick = self.elapsed_tick.max(now_tick);
                    return None;
                }
            }
        }
    }

    /// The slot that comes first, and the tick at which it begins. A lower level's entries are
    /// always before a higher level's.
    fn first_slot(&self) -> Option<(usize, usize, u64)> {
        let (level, &bits) = self
            .occupied
            .iter()
            .enumerate()
            .find(|(_, bits)| **bits != 0)?;
        let shift = SLOT_BITS * level as u32;
        let position = (self.elapsed_tick >> shift) as u32 % SLOTS as u32;
        let ahead = bits.rotate_right(position).trailing_zeros();
        let slot = (position + ahead) as usize % SLOTS;
        let span = shift + SLOT_BITS;
        let begin = (self.elapsed_tick >> span << span) + ((slot as u64) << shift);
        // Only at the edge of the wheel may a slot lie in the next revolution.
        let wraps = begin < self.elapsed_tick >> shift << shift;
        Some((level, slot, if wraps { begin + (1 << span) } else { begin }))
    }

    /// Files all entries of a slot again, one level down or as due.
    fn empty(&mut self, list: usize) {
        while self.heads[list] != NONE {
            let index = self.heads[list];
            self.unlink(index);
            self.file(index);
        }
    }

    fn file(&mut self, index: u32) {
        let tick = self.nodes[index as usize].tick;
        let list = if tick <= self.elapsed_tick {
            DUE
        } else {
            let tick = tick.min(self.elapsed_tick + SPAN_TICKS);
            // The highest group of bits in which the two differ says the level.
            let differs = (tick ^ self.elapsed_tick) | (SLOTS as u64 - 1);
            let level = ((differs.ilog2() / SLOT_BITS) as usize).min(LEVELS - 1);
            let slot = (tick >> (SLOT_BITS * level as u32)) as usize % SLOTS;
            self.occupied[level] |= 1 << slot;
            level * SLOTS + slot
        };
        let head = self.heads[list];
        if head != NONE {
            self.nodes[head as usize].previous = index;
        }
        let node = &mut self.nodes[index as usize];
        node.previous = NONE;
        node.next = head;
        node.list = list as u16;
        self.heads[list] = index;
    }

    fn unlink(&mut self, index: u32) {
        let Node {
            previous,
            next,
            list,
            ..
        } = self.nodes[index as usize];
        if next != NONE {
            self.nodes[next as usize].previous = previous;
        }
        if previous != NONE {
            self.nodes[previous as usize].next = next;
            return;
        }
        let list = usize::from(list);
        self.heads[list] = next;
        if next == NONE && list != DUE {
            self.occupied[list / SLOTS] &= !(1 << (list % SLOTS));
        }
    }

    fn allocate(&mut self, key: TimerKey, tick: u64) -> u32 {
        let fresh = Node {
            key,
            tick,
            generation: 1,
            previous: NONE,
            next: NONE,
            list: DUE as u16,
            armed: true,
        };
        if self.free == NONE {
            self.nodes.push(fresh);
            return self.nodes.len() as u32 - 1;
        }
        let index = self.free;
        let node = &mut self.nodes[index as usize];
        self.free = node.next;
        *node = Node {
            generation: node.generation,
            ..fresh
        };
        index
    }

    fn release(&mut self, index: u32) {
        let node = &mut self.nodes[index as usize];
        node.armed = false;
        node.generation = node.generation.checked_add(1).unwrap_or(1);
        node.next = self.free;
        self.free = index;
        self.armed -= 1;
    }

    /// The node of a slot whose entry is still in the wheel.
    fn find(&self, slot: &TimerSlot) -> Option<u32> {
        let node = self.nodes.get(slot.index as usize)?;
        (node.armed && node.generation == slot.generation).then_some(slot.index)
    }

    /// Checks what must hold after every call (debug builds only): slow.
    pub fn invariants(&self) {
        if !cfg!(debug_assertions) {
            return;
        }
        let mut seen = 0;
        for (list, &head) in self.heads.iter().enumerate() {
            if list != DUE {
                let bit = self.occupied[list / SLOTS] >> (list % SLOTS) & 1;
                debug_assert_eq!(bit == 1, head != NONE);
            }
            let mut index = head;
            while index != NONE {
                let node = &self.nodes[index as usize];
                debug_assert!(node.armed && usize::from(node.list) == list);
                debug_assert!((list == DUE) == (node.tick <= self.elapsed_tick));
                seen += 1;
                index = node.next;
            }
        }
        debug_assert_eq!(seen, self.armed);
    }
}

#[cfg(test)]
mod tests;
