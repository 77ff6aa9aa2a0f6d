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
        if self.saturated {
            self.saturated_ns += elapsed_ns;
        }
        let age_ns = now_ns - self.epoch_at_ns;
        let enough = self.released_units >= EPOCH_RELEASES * UNIT;
        let epoch_ns = if enough { EPOCH_NS } else { EPOCH_NS_MAX };
        if age_ns >= epoch_ns {
            let halvings = (age_ns / epoch_ns).min(40);
            self.released_units >>= halvings;
            self.saturated_ns >>= halvings;
            self.epoch_at_ns = now_ns;
        }
    }
}
