//! Which endpoint? The room chose it together with its permit, under the pool's one lock (filters,
//! score, weighted pick: `crate::select`); here the choice becomes an attempt.

use super::{Attempt, Exchange, Phase, Step};
use crate::engine::Engine;
use crate::metrics::Metric;
use crate::shared::Grant;
use std::sync::Arc;

impl Engine {
    /// The exchange owns the permit from here on.
    pub(crate) fn hold(&mut self, exchange: &mut Exchange, grant: Grant) {
        debug_assert!(exchange.attempt.is_none(), "one attempt at a time");
        exchange.endpoint = Some(Arc::clone(&grant.endpoint));
        // Another try asks with the place of this one.
        exchange.sequence = Some(grant.sequence);
        exchange.attempt = Some(Attempt {
            endpoint: Arc::clone(&grant.endpoint),
            grant: Some(grant),
            conn: None,
            started_ns: self.now.mono_ns,
            reused: false,
            sent: false,
            request_done: false,
            stream: 0,
            answered: false,
            unheard: None,
        });
    }

    pub(crate) fn select(&mut self, exchange: &mut Exchange) -> Step {
        exchange.attempts += 1;
        let now_ns = self.now.mono_ns;
        if exchange.marks.dispatched_ns == 0 {
            exchange.marks.dispatched_ns = now_ns;
        }
        let slot = exchange.attempt.as_ref().map(|a| a.endpoint.slot);
        if let Some(slot) = slot
            && let Some(cells) = self.locals.endpoint(exchange.local, slot)
        {
            cells.inc(Metric::EndpointRequests);
        }
        Step::Next(Phase::Upstream)
    }
}
