//! Peak EWMA of first-token time: it jumps to a new peak at once and forgets it slowly, so that an
//! endpoint that begins to queue is left alone before it fails (after Finagle and tower).
//!
//! **Invariant:** an estimate is finite, never negative, and only falls between observations.

use super::EndpointState;
use crate::clock::SECOND;

/// An unrepeated peak falls to 37 % in this time.
pub const FIRST_TOKEN_DECAY_NS: u64 = 10 * SECOND;

/// Takes one measurement in.
pub(super) fn observe(state: &mut EndpointState, elapsed_ns: u64, now_ns: u64) {
    let elapsed = elapsed_ns.max(1) as f64;
    let known = state.first_token_ewma_ns;
    state.first_token_ewma_ns = if elapsed >= known {
        elapsed
    } else {
        let keep = keep(state, now_ns);
        known * keep + elapsed * (1.0 - keep)
    };
    state.ewma_at_ns = state.ewma_at_ns.max(now_ns);
    debug_assert!(state.first_token_ewma_ns.is_finite() && state.first_token_ewma_ns > 0.0);
}

/// The estimate as of now; 0 = never measured.
#[inline]
pub(super) fn estimate_ns(state: &EndpointState, now_ns: u64) -> f64 {
    if state.first_token_ewma_ns == 0.0 {
        return 0.0;
    }
    // Not below a nanosecond, so that "long ago" never looks like "never".
    (state.first_token_ewma_ns * keep(state, now_ns)).max(1.0)
}

/// Whether it was never measured.
#[inline]
pub(super) fn is_unknown(state: &EndpointState) -> bool {
    state.active && state.first_token_ewma_ns == 0.0
}

/// Estimate x (in flight + 1) over weight.
#[inline]
pub(super) fn score(state: &EndpointState, now_ns: u64, unknown_ns: f64) -> f64 {
    let estimate = estimate_ns(state, now_ns);
    let estimate = if estimate == 0.0 {
        unknown_ns
    } else {
        estimate
    };
    estimate * f64::from(state.in_flight + 1) / f64::from(state.weight)
}

/// What to assume of an endpoint that was never measured: the mean of the others. A lower value
/// would send it every request until its first token; a higher one would never try it.
pub(super) fn mean_ns<'a>(states: impl Iterator<Item = &'a EndpointState>, now_ns: u64) -> f64 {
    let (sum, count) = states
        .filter(|state| state.active)
        .map(|state| estimate_ns(state, now_ns))
        .filter(|&estimate| estimate > 0.0)
        .fold((0.0, 0_u32), |(sum, count), estimate| {
            (sum + estimate, count + 1)
        });
    if count == 0 {
        1.0
    } else {
        sum / f64::from(count)
    }
}

#[inline]
fn keep(state: &EndpointState, now_ns: u64) -> f64 {
    let age_ns = now_ns.saturating_sub(state.ewma_at_ns);
    (-(age_ns as f64) / FIRST_TOKEN_DECAY_NS as f64).exp()
}
