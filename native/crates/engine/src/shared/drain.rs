//! How fast permits come back while all of them are taken: the rate at which a queue drains.
//!
//! Only saturated time counts: a pool that serves ten requests a second because ten are asked for
//! must not look like one that can serve only ten. It never reads a clock. **Invariant:** both
//! sums fade together, so their ratio changes only by what is measured.

use crate::clock::SECOND;

/// Both sums are halved after this long, once enough was seen.
const EPOCH_NS: u64 = SECOND;
/// ... and after this long in any case.
const EPOCH_NS_MAX: u64 = 10 * SECOND;
/// Releases that make an epoch of its least length meaningful.
const EPOCH_RELEASES: u64 = 32;
/// A rate is known from this many releases on,
const KNOWN_RELEASES: u64 = 8;
/// or from this much saturated time on, however few there were.
const KNOWN_NS: u64 = 3 * SECOND / 2;
/// Releases are counted in 1024ths, so that halving loses nothing that matters.
const UNIT: u64 = 1 << 10;

/// The measured rate of releases.
#[derive(Clone, Debug, Default)]
pub(crate) struct Drain {
    released_units: u64,
    saturated_ns: u64,
    at_ns: u64,
    epoch_at_ns: u64,
    saturated: bool,
}

impl Drain {
    /// A permit came back.
    pub(crate) fn release(&mut self, now_ns: u64) {
        self.advance(now_ns);
        if self.saturated {
            self.released_units += UNIT;
        }
    }

    /// Whether every permit is taken (or somebody waits) from now on.
    pub(crate) fn set_saturated(&mut self, saturated: bool, now_ns: u64) {
        if saturated != self.saturated {
            self.advance(now_ns);
            self.saturated = saturated;
        }
    }

    /// Nanoseconds per release; `None` while too little is known.
    pub(crate) fn release_ns(&mut self, now_ns: u64) -> Option<f64> {
        self.advance(now_ns);
        let known = self.released_units >= KNOWN_RELEASES * UNIT || self.saturated_ns >= KNOWN_NS;
        // At least one release is assumed, so that the answer is finite after a long silence.
        let released = self.released_units.max(UNIT) as f64 / UNIT as f64;
        known.then(|| self.saturated_ns.max(1) as f64 / released)
    }

    fn advance(&mut self, now_ns: u64) {
        let Some(elapsed_ns) = now_ns.checked_sub(self.at_ns) else {
            return;
        };
        self.at_ns = now_ns;
        let age_ns = now_ns - self.epoch_at_ns;
        let enough = self.released_units >= EPOCH_RELEASES * UNIT;
        let epoch_ns = if enough { EPOCH_NS } else { EPOCH_NS_MAX };
        if age_ns >= epoch_ns {
            let halvings = (age_ns / epoch_ns).min(40);
            self.released_units >>= halvings;
            self.saturated_ns >>= halvings;
            self.epoch_at_ns = now_ns;
        }
        if self.saturated {
            // What just passed is not halved, so that a stall is seen; an epoch of it says enough.
            self.saturated_ns += elapsed_ns.min(EPOCH_NS_MAX);
        }
        debug_assert!(self.saturated_ns <= 3 * EPOCH_NS_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::MS;

    fn per_s(drain: &mut Drain, now_ns: u64) -> Option<f64> {
        drain.release_ns(now_ns).map(|ns| SECOND as f64 / ns)
    }

    #[test]
    fn finds_a_steady_rate_within_ten_releases_and_follows_it() {
        let mut drain = Drain::default();
        drain.set_saturated(true, 0);
        let mut now_ns = 0;
        for (rate, seconds) in [(400, 3), (50, 8), (2_000, 6)] {
            for n in 0..rate * seconds {
                now_ns += SECOND / rate;
                drain.release(now_ns);
                if now_ns < SECOND && n >= 10 {
                    assert!((per_s(&mut drain, now_ns).unwrap() - 400.0).abs() < 60.0);
                }
            }
            let found = per_s(&mut drain, now_ns).unwrap();
            assert!((found / rate as f64 - 1.0).abs() < 0.1, "{found} of {rate}");
        }
    }

    #[test]
    fn unsaturated_time_counts_for_nothing_and_is_forgotten_slowly() {
        let mut drain = Drain::default();
        let mut now_ns = 0;
        for _ in 0..1_000 {
            drain.set_saturated(true, now_ns);
            now_ns += 2 * MS;
            drain.release(now_ns);
            drain.set_saturated(false, now_ns);
            now_ns += 8 * MS;
            drain.release(now_ns);
        }
        assert!((per_s(&mut drain, now_ns).unwrap() - 500.0).abs() < 25.0);
        assert_eq!(per_s(&mut drain, now_ns + 60 * SECOND), None);
    }

    #[test]
    fn a_stall_lowers_the_rate_within_seconds() {
        let mut drain = Drain::default();
        drain.set_saturated(true, 0);
        (0..1_200).for_each(|n| drain.release(n * SECOND / 400));
        let rate = |drain: &mut Drain, after_s: u64| per_s(drain, (3 + after_s) * SECOND).unwrap();
        assert!(rate(&mut drain, 0) > 350.0);
        assert!(rate(&mut drain, 2) < 250.0);
        assert!(rate(&mut drain, 20) < 60.0);
        assert!(rate(&mut drain, 100) <= 0.2);
    }

    #[test]
    fn is_unknown_until_something_was_seen() {
        let mut drain = Drain::default();
        drain.set_saturated(true, SECOND);
        (0..7).for_each(|n| drain.release(SECOND + n * MS));
        assert_eq!(per_s(&mut drain, SECOND + 10 * MS), None);
        assert!(per_s(&mut drain, SECOND + KNOWN_NS).is_some());
        // A clock that goes backwards changes nothing.
        drain.release(0);
        assert!(per_s(&mut drain, 0).is_some());
    }
}
