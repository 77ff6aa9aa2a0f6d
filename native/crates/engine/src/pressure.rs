//! How busy this worker is: what share of the last second its turns took.

use crate::clock::SECOND;
use crate::limits::PRESSED_PERCENT;

/// The share of one worker. It is looked at once a second, at the beginning of a turn.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pressure {
    since_ns: u64,
    /// What the turns since then took.
    busy_ns: u64,
    high: bool,
}

impl Pressure {
    /// A turn begins.
    pub(crate) fn begin(&mut self, now_ns: u64) {
        let elapsed_ns = now_ns.saturating_sub(self.since_ns);
        if elapsed_ns < SECOND {
            return;
        }
        self.high = self.busy_ns.saturating_mul(100) > elapsed_ns.saturating_mul(PRESSED_PERCENT);
        self.since_ns = now_ns;
        self.busy_ns = 0;
    }

    /// A turn took so long.
    pub(crate) fn turned(&mut self, elapsed_ns: u64) {
        self.busy_ns = self.busy_ns.saturating_add(elapsed_ns);
    }

    /// Whether it is short of CPU: what costs it and serves nobody is borne half as long then.
    pub(crate) fn high(&self) -> bool {
        self.high
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_high_for_as_long_as_turns_take_most_of_a_second() {
        let mut pressure = Pressure::default();
        pressure.begin(SECOND);
        pressure.turned(SECOND * 9 / 10);
        assert!(!pressure.high());
        pressure.begin(2 * SECOND - 1);
        assert!(!pressure.high());
        pressure.begin(2 * SECOND);
        assert!(pressure.high());
        pressure.turned(SECOND * 8 / 10);
        pressure.begin(3 * SECOND);
        assert!(!pressure.high());
        // A long rest behind a busy moment is a rest.
        pressure.turned(SECOND);
        pressure.begin(60 * SECOND);
        assert!(!pressure.high());
    }
}
