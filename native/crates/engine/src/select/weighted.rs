//! Smooth weighted round-robin, as nginx does it: each turn every candidate gains its weight, the
//! richest is chosen and pays the sum. Weights 5, 1, 1 give a a b a c a a, not a a a a a b c.
//!
//! **Invariant:** over a full round of the same candidates each is chosen `weight` times.

use super::EndpointState;

/// Chooses among the candidates and pays. The first of equals wins.
pub(super) fn smooth(
    states: &mut [EndpointState],
    admits: impl Fn(usize, &EndpointState) -> bool,
) -> Option<usize> {
    let mut total = 0_i64;
    let mut best: Option<(i64, usize)> = None;
    for (index, state) in states.iter_mut().enumerate() {
        if !admits(index, state) {
            continue;
        }
        state.current_weight += i64::from(state.weight);
        total += i64::from(state.weight);
        if best.is_none_or(|(richest, _)| state.current_weight > richest) {
            best = Some((state.current_weight, index));
        }
    }
    let (_, index) = best?;
    states[index].current_weight -= total;
    Some(index)
}

/// The picker by itself, over positions: for programs that embed it. Exact round-robin at any
/// length, for it has no deadline to keep.
#[derive(Clone, Debug)]
pub struct WeightedPicker {
    states: Vec<EndpointState>,
}

impl WeightedPicker {
    /// A picker over `weights.len()` positions; a weight of 0 is never picked.
    pub fn new(weights: &[u32]) -> Self {
        let state = |&weight: &u32| EndpointState {
            active: weight > 0,
            ..EndpointState::new(weight, u32::MAX)
        };
        Self {
            states: weights.iter().map(state).collect(),
        }
    }

    /// The next position; `None` if every weight is 0.
    pub fn pick(&mut self) -> Option<usize> {
        smooth(&mut self.states, |_, state| state.active)
    }

    /// The next position that is not in `excluded`.
    pub fn pick_except(&mut self, excluded: &[u32]) -> Option<usize> {
        smooth(&mut self.states, |index, state| {
            state.active && !excluded.contains(&(index as u32))
        })
    }
}
