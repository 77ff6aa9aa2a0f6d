//! A vector with holes: what a poller's tokens point into.
//!
//! Each entry has a generation, so that a timer set for a connection that has gone does not hit
//! the one that took its place.

/// Where something is, and which something it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) index: usize,
    pub(crate) generation: u32,
}

#[derive(Debug)]
struct Cell<T> {
    generation: u32,
    value: Option<T>,
}

/// See the head of the file.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    cells: Vec<Cell<T>>,
    free: Vec<usize>,
}

impl<T> Slab<T> {
    pub(crate) fn new() -> Self {
        Self {
            cells: Vec::new(),
            free: Vec::new(),
        }
    }

    pub(crate) fn insert(&mut self, value: T) -> Key {
        if let Some(index) = self.free.pop() {
            let cell = &mut self.cells[index];
            cell.value = Some(value);
            return Key {
                index,
                generation: cell.generation,
            };
        }
        self.cells.push(Cell {
            generation: 0,
            value: Some(value),
        });
        Key {
            index: self.cells.len() - 1,
            generation: 0,
        }
    }

    /// The index that the next `insert` will use.
    pub(crate) fn next_index(&self) -> usize {
        self.free.last().copied().unwrap_or(self.cells.len())
    }

    pub(crate) fn remove(&mut self, index: usize) -> Option<T> {
        let cell = self.cells.get_mut(index)?;
        let value = cell.value.take()?;
        cell.generation = cell.generation.wrapping_add(1);
        self.free.push(index);
        Some(value)
    }

    #[inline]
    pub(crate) fn at(&mut self, index: usize) -> Option<&mut T> {
        self.cells.get_mut(index)?.value.as_mut()
    }

    /// The entry, if it is still the one the key was made for.
    #[inline]
    pub(crate) fn find(&mut self, key: Key) -> Option<&mut T> {
        let cell = self.cells.get_mut(key.index)?;
        if cell.generation == key.generation {
            cell.value.as_mut()
        } else {
            None
        }
    }

    pub(crate) fn key(&self, index: usize) -> Option<Key> {
        let cell = self.cells.get(index)?;
        cell.value.as_ref().map(|_| Key {
            index,
            generation: cell.generation,
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.cells.len() - self.free.len()
    }

    /// One more than the largest index in use.
    pub(crate) fn bound(&self) -> usize {
        self.cells.len()
    }
}
