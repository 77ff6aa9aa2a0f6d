//! Windows (RFC 9113 §5.2): what the peer may send, and what we may.

use crate::h2::frame::settings::WINDOW_MAX;

/// A window that we give. Invariant: `left` + `owed` + what the caller holds = the window's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Inbound {
    /// Bytes that the peer may still send.
    left: u32,
    /// Bytes consumed that were not yet given back.
    owed: u32,
}

impl Inbound {
    pub(crate) const fn new(size: u32) -> Self {
        Self {
            left: size,
            owed: 0,
        }
    }

    /// A frame of `bytes` came; false if the window did not allow it.
    #[inline]
    pub(crate) fn take(&mut self, bytes: u32) -> bool {
        match self.left.checked_sub(bytes) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }

    /// `bytes` were consumed; gives the increment to send, once half of `size` has gathered.
    #[inline]
    pub(crate) fn give(&mut self, bytes: u32, size: u32) -> Option<u32> {
        self.owed = self.owed.saturating_add(bytes);
        if self.owed < size / 2 || self.owed == 0 {
            return None;
        }
        let increment = std::mem::take(&mut self.owed);
        self.left = self.left.saturating_add(increment);
        Some(increment)
    }

    /// What the peer may send now.
    pub(crate) fn left(self) -> u32 {
        self.left
    }

    /// What the peer may send, and will be allowed to when what is owed is given.
    pub(crate) fn size(self) -> u32 {
        self.left.saturating_add(self.owed)
    }
}

/// A window that the peer gives. May be negative (RFC 9113 §6.9.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outbound {
    left: i32,
}

impl Outbound {
    /// `size` is at most 2^31-1.
    pub(crate) const fn new(size: u32) -> Self {
        Self { left: size as i32 }
    }

    /// How many bytes may be sent now.
    #[inline]
    pub(crate) fn allows(self) -> usize {
        self.left.max(0) as usize
    }

    /// `bytes` were sent; they were allowed.
    #[inline]
    pub(crate) fn take(&mut self, bytes: usize) {
        debug_assert!(bytes <= self.allows(), "sent what was not allowed");
        self.left -= bytes as i32;
    }

    /// RFC 9113 §6.9.1 and §6.9.2: a change by WINDOW_UPDATE or by a new initial size; false if the
    /// window would leave its range.
    pub(crate) fn shift(&mut self, by: i64) -> bool {
        let left = i64::from(self.left) + by;
        match i32::try_from(left) {
            Ok(left) if i64::from(left) <= i64::from(WINDOW_MAX) => {
                self.left = left;
                true
            }
            _ => false,
        }
    }

    #[cfg(test)]
    pub(crate) fn left(self) -> i32 {
        self.left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inbound_gives_back_by_halves() {
        let mut window = Inbound::new(100);
        assert!(window.take(100) && !window.take(1) && window.take(0));
        assert_eq!(window.give(49, 100), None);
        assert!(!window.take(1), "what is owed is not given");
        assert_eq!(window.give(1, 100), Some(50));
        assert!(window.take(50) && !window.take(1));
        assert_eq!(window.give(100, 100), Some(100));
        assert_eq!(window.size(), 100);
        assert_eq!(Inbound::new(0).give(0, 0), None);
    }

    #[test]
    fn outbound_may_be_negative_and_never_overflows() {
        let mut window = Outbound::new(100);
        window.take(60);
        assert!(window.shift(-100));
        assert_eq!((window.left(), window.allows()), (-60, 0));
        assert!(window.shift(61));
        assert_eq!(window.allows(), 1);
        assert!(window.shift(i64::from(WINDOW_MAX) - 1));
        assert!(!window.shift(1));
        assert_eq!(window.left(), WINDOW_MAX as i32);
    }
}
