//! Which route, pool and endpoint a request would meet, and why: a decision replayed without
//! taking a permit.
//!
//! **Invariant:** it asks the same `Route::verdict` and reads the same scores as the data plane.

use super::Snapshot;
use super::route::{Model, Verdict};
use crate::shared::{EndpointView, RoomView};
use wire::RequestHead;

/// A decision and its reasons.
#[derive(Clone, Debug, Default)]
pub struct Explanation {
    /// Each route looked at, in order, with what it said.
    pub routes: Vec<(String, &'static str)>,
    /// The route taken.
    pub route: Option<String>,
    /// Its class: `high`, `normal` or `low`.
    pub class: Option<&'static str>,
    /// The pool and its channel.
    pub pool: Option<RoomView>,
    /// The endpoint that would be chosen now.
    pub endpoint: Option<String>,
    /// Why each endpoint would or would not be chosen, by name.
    pub endpoints: Vec<(EndpointView, &'static str)>,
    /// What the client would get instead, if nothing is taken.
    pub refusal: Option<&'static str>,
}

impl Snapshot {
    /// Explains what would become of a request with this head and `model` now.
    pub fn explain(&self, head: &RequestHead, model: Option<&str>, now_ns: u64) -> Explanation {
        let mut said = Explanation::default();
        let model = model.map_or(Model::Absent, Model::Is);
        let mut taken = None;
        for route in &self.routes {
            let verdict = route.verdict(head, model);
            said.routes
                .push((route.name.clone(), words(verdict, route.wants_model())));
            if verdict == Verdict::Yes {
                taken = Some(route);
                break;
            }
        }
        let Some(route) = taken.or(self.default_route.as_ref()) else {
            said.refusal = Some("404: no route matches this request and there is no default pool");
            return said;
        };
        if taken.is_none() {
            said.routes
                .push((route.name.clone(), "taken: the default pool"));
        }
        said.route = Some(route.name.clone());
        said.class = Some(["high", "normal", "low"][usize::from(route.class.min(2))]);
        let Some(pool) = self.pools.get(route.pool) else {
            return said;
        };
        let view = pool.room.snapshot(now_ns);
        said.endpoints = view.endpoints.iter().map(|e| (e.clone(), why(e))).collect();
        said.endpoint = view
            .endpoints
            .iter()
            .filter(|e| why(e) == ELIGIBLE)
            .min_by(|a, b| a.score.total_cmp(&b.score))
            .map(|e| e.name.clone());
        if said.endpoint.is_none() {
            said.refusal = Some(if view.depth < view.capacity {
                "waits in the channel: no endpoint has a free permit"
            } else {
                "429: no endpoint has a free permit and the channel is full"
            });
        }
        said.pool = Some(view);
        said
    }
}

const ELIGIBLE: &str = "eligible";

fn why(endpoint: &EndpointView) -> &'static str {
    if !endpoint.active {
        "no longer configured: finishes what it has"
    } else if endpoint.ejected_ms_left > 0 {
        "ejected after failures"
    } else if endpoint.on_trial && endpoint.in_flight > 0 {
        "on trial after an ejection: one request at a time"
    } else if endpoint.in_flight >= endpoint.concurrency {
        "at its concurrency"
    } else {
        ELIGIBLE
    }
}

fn words(verdict: Verdict, wants_model: bool) -> &'static str {
    match (verdict, wants_model) {
        (Verdict::Yes, _) => "taken",
        (Verdict::No, true) => "no: path, method, headers or model differ",
        (Verdict::No, false) => "no: path, method or headers differ",
        (Verdict::NeedsModel, _) => "needs the body's model",
    }
}
