//! A table of slots with generations: the home of connections and exchanges.
//!
//! **Invariant:** a key whose generation is stale finds nothing (no ABA); a slot that is `taken`
//! for the length of one call keeps its key.

/// A key of a [`Table`].
pub(crate) trait Key: Copy {
    /// Builds the key.
    fn new(index: u32, generation: u32) -> Self;
    /// Slot number.
    fn index(self) -> u32;
    /// Generation of the slot.
    fn generation(self) -> u32;
}

macro_rules! key {
    ($name:ty) => {
        impl Key for $name {
            fn new(index: u32, generation: u32) -> Self {
                Self { index, generation }
            }
            fn index(self) -> u32 {
                self.index
            }
            fn generation(self) -> u32 {
                self.generation
            }
        }
    };
}
key!(crate::ids::ConnId);
key!(crate::ids::ExchangeId);

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    occupied: bool,
    value: Option<T>,
}

/// Slots of `T`, reused, found by generation-checked keys.
#[derive(Debug)]
pub(crate) struct Table<K, T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
    len: usize,
    key: std::marker::PhantomData<K>,
}

impl<K: Key, T> Table<K, T> {
    pub(crate) fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            len: 0,
            key: std::marker::PhantomData,
        }
    }

    /// Occupied slots.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Puts a value in a free slot; the closure sees its key.
    pub(crate) fn insert_with(&mut self, make: impl FnOnce(K) -> T) -> K {
        self.len += 1;
        if let Some(index) = self.free.pop() {
            let slot = &mut self.slots[index as usize];
            let key = K::new(index, slot.generation);
            slot.occupied = true;
            slot.value = Some(make(key));
            return key;
        }
        let index = u32::try_from(self.slots.len()).expect("fewer than 2^32 slots by limits");
        let key = K::new(index, 1);
        self.slots.push(Slot {
            generation: 1,
            occupied: true,
            value: Some(make(key)),
        });
        key
    }

    pub(crate) fn get(&self, key: K) -> Option<&T> {
        let slot = self.slots.get(key.index() as usize)?;
        if slot.generation == key.generation() {
            slot.value.as_ref()
        } else {
            None
        }
    }

    pub(crate) fn get_mut(&mut self, key: K) -> Option<&mut T> {
        let slot = self.slots.get_mut(key.index() as usize)?;
        if slot.generation == key.generation() {
            slot.value.as_mut()
        } else {
            None
        }
    }

    /// Takes the value out for the length of one call; `put` brings it back.
    pub(crate) fn take(&mut self, key: K) -> Option<T> {
        let slot = self.slots.get_mut(key.index() as usize)?;
        if slot.generation == key.generation() {
            slot.value.take()
        } else {
            None
        }
    }

    /// Brings a taken value back.
    pub(crate) fn put(&mut self, key: K, value: T) {
        if let Some(slot) = self.slots.get_mut(key.index() as usize) {
            debug_assert!(slot.generation == key.generation() && slot.value.is_none());
            slot.value = Some(value);
        }
    }

    /// Frees the slot (also while its value is taken): the key is stale from now on.
    pub(crate) fn remove(&mut self, key: K) -> Option<T> {
        let slot = self.slots.get_mut(key.index() as usize)?;
        if slot.generation != key.generation() || !slot.occupied {
            return None;
        }
        slot.generation = slot.generation.wrapping_add(1);
        slot.occupied = false;
        self.free.push(key.index());
        self.len -= 1;
        slot.value.take()
    }

    /// Keys of all occupied slots.
    pub(crate) fn keys(&self) -> Vec<K> {
        self.slots
            .iter()
            .enumerate()
            .filter(|(_, slot)| slot.occupied)
            .map(|(index, slot)| K::new(index as u32, slot.generation))
            .collect()
    }
}
