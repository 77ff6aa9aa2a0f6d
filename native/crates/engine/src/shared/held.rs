//! Body bytes that the whole process holds, against one bound.
//!
//! **Invariant:** what the charges hold together is at most `max` as it was when they took it.
//! **Invariant:** a worker's charge ends with the worker: what an exchange had taken that was lost
//! in a panic is returned when the worker is replaced.

use std::sync::Arc;

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

    fn try_take(&self, bytes: u64) -> bool {
        let max = self.max.load(Ordering::Relaxed);
        let fits = |held: u64| held.checked_add(bytes).filter(|&sum| sum <= max);
        self.held
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits)
            .is_ok()
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

/// What one worker has taken out of the bound and not returned.
#[derive(Debug)]
pub struct Charge {
    from: Arc<HeldBytes>,
    bytes: u64,
}

impl Charge {
    /// Nothing taken yet.
    pub fn new(from: &Arc<HeldBytes>) -> Self {
        Self {
            from: Arc::clone(from),
            bytes: 0,
        }
    }

    /// Takes `bytes` more if they fit.
    #[must_use]
    pub fn try_take(&mut self, bytes: u64) -> bool {
        let fits = self.from.try_take(bytes);
        self.bytes += if fits { bytes } else { 0 };
        fits
    }

    /// Returns `bytes` that were taken.
    pub fn give(&mut self, bytes: u64) {
        debug_assert!(self.bytes >= bytes, "more bytes returned than taken");
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        self.from.held.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.give(self.bytes);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn takes_up_to_the_bound_and_no_further() {
        let held = Arc::new(HeldBytes::new(10));
        let (mut a, mut b) = (Charge::new(&held), Charge::new(&held));
        assert!(a.try_take(4) && b.try_take(6));
        assert!(!a.try_take(1) && a.try_take(0) && !a.try_take(u64::MAX));
        b.give(6);
        assert!(a.try_take(5));
        held.set_max(3);
        assert!(!b.try_take(1));
        assert_eq!((held.held(), held.max()), (9, 3));
    }

    #[test]
    fn a_charge_returns_what_its_owner_lost() {
        let held = Arc::new(HeldBytes::new(10));
        let (mut a, mut b) = (Charge::new(&held), Charge::new(&held));
        assert!(a.try_take(4) && b.try_take(5));
        drop(a);
        assert_eq!(held.held(), 5);
        b.give(2);
        drop(b);
        assert_eq!(held.held(), 0);
    }
}
