//! The retry budget: retries are at most a share of recent requests plus a small constant, so that
//! a failing pool is not buried under its own retries.
//!
//! **Invariant:** within ten seconds retries <= ratio x requests + minimum x 10.

use crate::clock::SECOND;

/// Seconds that count.
const WINDOW_S: usize = 10;

/// Requests and retries of the last ten seconds, a bucket a second.
#[derive(Clone, Debug, Default)]
pub(crate) struct Budget {
    requests: [u32; WINDOW_S],
    retries: [u32; WINDOW_S],
    second: u64,
    ratio: f64,
    min_per_s: u32,
}

impl Budget {
    /// Changes the rule; what was counted stays.
    pub(crate) fn configure(&mut self, ratio: f64, min_per_s: u32) {
        self.ratio = if ratio.is_finite() {
            ratio.clamp(0.0, 1.0)
        } else {
            0.0
        };
        self.min_per_s = min_per_s;
    }

    /// Counts a request (not a retry).
    pub(crate) fn request(&mut self, now_ns: u64) {
        let at = self.turn_to(now_ns);
        self.requests[at] = self.requests[at].saturating_add(1);
    }

    /// Whether one more retry is within the budget; if so it is counted.
    pub(crate) fn try_retry(&mut self, now_ns: u64) -> bool {
        let at = self.turn_to(now_ns);
        let sum = |counts: &[u32]| counts.iter().map(|&n| u64::from(n)).sum::<u64>();
        let allowed = (sum(&self.requests) as f64 * self.ratio) as u64
            + u64::from(self.min_per_s) * WINDOW_S as u64;
        let permitted = sum(&self.retries) < allowed;
        self.retries[at] += u32::from(permitted);
        permitted
    }

    /// Empties the buckets of seconds that passed and gives the present one.
    fn turn_to(&mut self, now_ns: u64) -> usize {
        let second = now_ns / SECOND;
        let passed = second.saturating_sub(self.second).min(WINDOW_S as u64);
        for n in 0..passed {
            let at = ((second - n) % WINDOW_S as u64) as usize;
            self.requests[at] = 0;
            self.retries[at] = 0;
        }
        self.second = self.second.max(second);
        (self.second % WINDOW_S as u64) as usize
    }
}
