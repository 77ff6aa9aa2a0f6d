//! Which route, pool and endpoint a request would meet: the engine's own verdicts, written down.

use engine::snapshot::route::{Model, Verdict};
use engine::snapshot::{Route, Snapshot};
use serde_json::{Value, json};
use wire::{Method, RequestHead};

use crate::view;

const PRIORITIES: [&str; 3] = ["high", "normal", "low"];

/// JSON in, JSON out; the error says what is wrong with the question.
pub(crate) fn explain(snapshot: &Snapshot, request: &[u8], now_ns: u64) -> Result<Vec<u8>, String> {
    let asked: Value = serde_json::from_slice(request).map_err(|error| error.to_string())?;
    let head = head(&asked)?;
    let model = asked["model"].as_str().map_or(Model::Absent, Model::Is);
    let mut tried = Vec::new();
    let mut taken = None;
    for route in &snapshot.routes {
        let verdict = route.verdict(&head, model);
        tried.push(json!({"route": route.name, "matches": verdict == Verdict::Yes}));
        if verdict == Verdict::Yes {
            taken = Some(&**route);
            break;
        }
    }
    let by_default = taken.is_none();
    let route = taken.or(snapshot.default_route.as_deref());
    let answer = match route {
        None => json!({"routes": tried, "route": null, "status": 404,
            "why": "no route matches and there is no default_pool"}),
        Some(route) => met(snapshot, route, &tried, by_default, now_ns),
    };
    Ok(answer.to_string().into_bytes())
}

fn met(
    snapshot: &Snapshot,
    route: &Route,
    tried: &[Value],
    by_default: bool,
    now_ns: u64,
) -> Value {
    let pool = &snapshot.pools[route.pool];
    let room = pool.room.snapshot(now_ns);
    let usable = |e: &&engine::shared::EndpointView| {
        e.active && e.ejected_ms_left == 0 && e.in_flight < e.concurrency
    };
    let best = room
        .endpoints
        .iter()
        .filter(usable)
        .min_by(|a, b| a.score.total_cmp(&b.score));
    json!({
        "routes": tried,
        "route": route.name,
        "why": if by_default { "no route matches: default_pool" } else { "the first that matches" },
        "priority": PRIORITIES[usize::from(route.class.min(2))],
        "body_bytes_max": route.body_bytes_max,
        "pool": view::room(&room),
        "endpoint": best.map(|e| &e.name),
        "endpoint_why": "lowest score among those that are active, not ejected and have room",
        "max_wait_ms": pool.max_wait_ns / engine::clock::MS,
        "attempts": pool.attempts_max,
    })
}

fn head(asked: &Value) -> Result<RequestHead, String> {
    let mut head = RequestHead::new();
    let method = asked["method"].as_str().unwrap_or("POST");
    head.method = Method::from_bytes(method.as_bytes()).ok_or("method is no token")?;
    let path = asked["path"].as_str().unwrap_or("/");
    head.set_target(path.as_bytes())
        .map_err(|violation| violation.to_string())?;
    for pair in asked["headers"].as_array().into_iter().flatten() {
        let (Some(name), Some(value)) = (pair[0].as_str(), pair[1].as_str()) else {
            return Err("headers is a list of pairs of strings".to_owned());
        };
        head.fields.push(name.as_bytes(), value.as_bytes());
    }
    Ok(head)
}
