//! Body bytes that the whole process holds, against one bound.
//!
//! **Invariant:** what `try_take` took and `give` did not return is at most `max` as it was then.

use super::sync::{AtomicU64, Ordering};

/// A counter with a bound.
#[derive(Debug)]
pub struct HeldBytes {
    held: AtomicU64,
    max: AtomicU64,
}

impl HeldBytes {
    /// Nothing held, at most `max`.
    pub fn new(max: u64) -> Self {
        Self {
            held: AtomicU64::new(0),
            max: AtomicU64::new(max),
        }
    }

    /// Takes `bytes` if they fit.
    #[must_use]
    pub fn try_take(&self, bytes: u64) -> bool {
        let max = self.max.load(Ordering::Relaxed);
        let fits = |held: u64| held.checked_add(bytes).filter(|&sum| sum <= max);
        self.held
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits)
            .is_ok()
    }

    /// Returns `bytes` that were taken.
    pub fn give(&self, bytes: u64) {
        let before = self.held.fetch_sub(bytes, Ordering::Relaxed);
        debug_assert!(before >= bytes, "more bytes returned than taken");
    }

    /// Bytes held now.
    pub fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// Bytes at most.
    pub fn max(&self) -> u64 {
        self.max.load(Ordering::Relaxed)
    }

    /// Changes the bound; what is held stays.
    pub fn set_max(&self, max: u64) {
        self.max.store(max, Ordering::Relaxed);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn takes_up_to_the_bound_and_no_further() {
        let held = HeldBytes::new(10);
        assert!(held.try_take(4) && held.try_take(6));
        assert!(!held.try_take(1) && held.try_take(0) && !held.try_take(u64::MAX));
        held.give(6);
        assert!(held.try_take(5));
        held.set_max(3);
        assert!(!held.try_take(1));
        assert_eq!((held.held(), held.max()), (9, 3));
    }
}
