//! Passive ejection: endpoints that fail several times in a row are left alone for a while, then
//! tried with one request at a time.
//!
//! **Invariant:** never more than `max_percent` of the active endpoints are out, and one stays.

use crate::clock::MS;
use crate::select::EndpointState;
use crate::shared::Outcome;
use crate::snapshot::plan::EjectPlan;

/// The rule in the units of the state.
#[derive(Clone, Debug, Default)]
pub(super) struct EjectRule {
    consecutive: u32,
    base_ns: u64,
    max_ns: u64,
    max_percent: u32,
}

impl From<&EjectPlan> for EjectRule {
    fn from(plan: &EjectPlan) -> Self {
        Self {
            consecutive: plan.consecutive,
            base_ns: plan.base_ms.saturating_mul(MS),
            max_ns: plan.max_ms.saturating_mul(MS),
            max_percent: plan.max_percent.min(100),
        }
    }
}

/// Takes one outcome in. True: the endpoint was ejected by it.
///
/// `granted_ns` tells whether the request began after the present ejection: what began before it
/// says nothing new.
pub(super) fn judge(
    rule: &EjectRule,
    endpoints: &mut [EndpointState],
    slot: usize,
    outcome: Outcome,
    granted_ns: u64,
    now_ns: u64,
) -> bool {
    let failed = matches!(outcome, Outcome::Failure | Outcome::ConnectError);
    // The floor looks at all endpoints: only when it comes to that.
    let row = endpoints[slot].failures_in_row.saturating_add(1);
    let floor_allows = failed && row >= rule.consecutive && floor_allows(rule, endpoints);
    let state = &mut endpoints[slot];
    let speaks = !state.ejected || granted_ns >= state.ejected_at_ns;
    match outcome {
        Outcome::Neutral => false,
        Outcome::Success => {
            if speaks {
                state.failures_in_row = 0;
                state.ejected = false;
                if now_ns >= state.ejected_until_ns.saturating_add(rule.max_ns) {
                    state.ejections = 0;
                }
            }
            false
        }
        Outcome::Failure | Outcome::ConnectError => {
            state.failures_total += 1;
            state.failures_in_row = row;
            let due = if state.ejected {
                speaks && now_ns >= state.ejected_until_ns
            } else {
                floor_allows
            };
            let eject = rule.consecutive > 0 && state.active && due;
            if eject {
                let factor = 1_u64 << state.ejections.min(30);
                let length_ns = rule.base_ns.saturating_mul(factor).min(rule.max_ns);
                state.ejected = true;
                state.ejected_at_ns = now_ns;
                state.ejected_until_ns = now_ns.saturating_add(length_ns);
                state.ejections = state.ejections.saturating_add(1);
            }
            eject
        }
    }
}

/// Forgets failures whose cause is gone.
pub(super) fn forgive(state: &mut EndpointState) {
    state.failures_in_row = 0;
    state.ejected = false;
    state.ejections = 0;
}

/// Whether one more endpoint may be out.
fn floor_allows(rule: &EjectRule, endpoints: &[EndpointState]) -> bool {
    let active = endpoints.iter().filter(|e| e.active).count();
    let out = endpoints.iter().filter(|e| e.active && e.ejected).count();
    let most = (active * rule.max_percent as usize / 100).min(active.saturating_sub(1));
    out < most
}
