//! The stack of open objects and arrays: a bit each.
//!
//! **Invariant:** `level <= 128`, and bits above the level are 0.

/// Levels at most: what serde_json and orjson-like parsers read, too.
const LEVELS_MAX: u32 = 128;

/// Open objects (1) and arrays (0), the innermost in the lowest bit.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Depth {
    objects: u128,
    level: u32,
}

impl Depth {
    /// Enters; false = too deep.
    pub(super) fn push(&mut self, object: bool) -> bool {
        if self.level == LEVELS_MAX {
            return false;
        }
        self.objects = self.objects << 1 | u128::from(object);
        self.level += 1;
        true
    }

    pub(super) fn pop(&mut self) {
        debug_assert!(self.level > 0);
        self.objects >>= 1;
        self.level = self.level.saturating_sub(1);
    }

    pub(super) fn level(self) -> u32 {
        self.level
    }

    pub(super) fn in_object(self) -> bool {
        self.objects & 1 == 1
    }
}
