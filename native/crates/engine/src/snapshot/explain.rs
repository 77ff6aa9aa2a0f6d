//! Which route, pool and endpoint a request would meet, and why: a decision replayed without
//! taking a permit.
//!
//! **Invariant:** it asks the same `Route::verdict` and reads the same scores as the data plane.

use std::sync::Arc;

use super::route::{Model, Verdict};
use super::{Pool, Route, Snapshot};
use crate::shared::{EndpointView, RoomView};
use wire::RequestHead;

/// A decision and its reasons.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// Each route looked at, in order, with what it said; behind one that matches none is.
    pub routes: Vec<(Arc<Route>, Verdict)>,
    /// What the request meets. `None`: no route matches, and there is no default pool.
    pub met: Option<Met>,
}

/// What a request meets.
#[derive(Clone, Debug)]
pub struct Met {
    /// The route.
    pub route: Arc<Route>,
    /// No route matched: it is the default pool's.
    pub by_default: bool,
    /// The pool.
    pub pool: Arc<Pool>,
    /// Its channel and its endpoints now.
    pub room: RoomView,
    /// The endpoint that would be chosen now: its position in `room.endpoints`.
    pub endpoint: Option<usize>,
}

impl Snapshot {
    /// Explains what would become of a request with this head and `model` now.
    pub fn explain(&self, head: &RequestHead, model: Option<&str>, now_ns: u64) -> Explanation {
        let model = model.map_or(Model::Absent, Model::Is);
        let mut routes = Vec::new();
        for route in &self.routes {
            let verdict = route.verdict(head, model);
            routes.push((Arc::clone(route), verdict));
            if verdict == Verdict::Yes {
                break;
            }
        }
        let taken = routes
            .last()
            .filter(|(_, verdict)| *verdict == Verdict::Yes);
        let by_default = taken.is_none();
        let route = taken
            .map(|(route, _)| route)
            .or(self.default_route.as_ref());
        let met = route.and_then(|route| {
            let pool = Arc::clone(self.pools.get(route.pool)?);
            let room = pool.room.snapshot(now_ns);
            let eligible = room
                .endpoints
                .iter()
                .enumerate()
                .filter(|(_, e)| is_eligible(e));
            let endpoint = eligible.min_by(|(_, a), (_, b)| a.score.total_cmp(&b.score));
            Some(Met {
                route: Arc::clone(route),
                by_default,
                endpoint: endpoint.map(|(at, _)| at),
                pool,
                room,
            })
        });
        Explanation { routes, met }
    }
}

/// Whether a permit for that endpoint could be had now.
fn is_eligible(endpoint: &EndpointView) -> bool {
    endpoint.active
        && endpoint.ejected_ms_left == 0
        && endpoint.in_flight < endpoint.concurrency
        // After an ejection it serves one at a time until it has proved itself.
        && !(endpoint.on_trial && endpoint.in_flight > 0)
}
