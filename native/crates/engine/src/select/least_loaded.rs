//! Least loaded: in-flight requests over weight, counting the one to come.
//!
//! **Invariant:** an idle endpoint of weight 1 ties with one of weight 2 that has one request.

use super::EndpointState;

/// The load that the endpoint would have with one request more, per unit of weight.
#[inline]
pub(super) fn score(state: &EndpointState) -> f64 {
    f64::from(state.in_flight + 1) / f64::from(state.weight)
}
