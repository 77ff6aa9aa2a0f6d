//! Which route, pool and endpoint a request would meet: the engine's explanation, written down.

use engine::snapshot::Snapshot;
use engine::snapshot::explain::Met;
use engine::snapshot::route::Verdict;
use serde_json::{Value, json};
use wire::{Method, RequestHead};

use crate::view;

const PRIORITIES: [&str; 3] = ["high", "normal", "low"];

/// JSON in, JSON out; the error says what is wrong with the question.
pub(crate) fn explain(snapshot: &Snapshot, request: &[u8], now_ns: u64) -> Result<Vec<u8>, String> {
    let asked: Value = serde_json::from_slice(request).map_err(|error| error.to_string())?;
    let explanation = snapshot.explain(&head(&asked)?, asked["model"].as_str(), now_ns);
    let routes: Vec<_> = explanation
        .routes
        .iter()
        .map(|(route, said)| json!({"route": route.name, "matches": *said == Verdict::Yes}))
        .collect();
    let answer = match explanation.met {
        None => json!({"routes": routes, "route": null, "status": 404,
            "why": "no route matches and there is no default_pool"}),
        Some(met) => written(&met, &routes),
    };
    Ok(answer.to_string().into_bytes())
}

fn written(met: &Met, routes: &[Value]) -> Value {
    let why = if met.by_default {
        "no route matches: default_pool"
    } else {
        "the first that matches"
    };
    let endpoint = met.endpoint.and_then(|at| met.room.endpoints.get(at));
    json!({
        "routes": routes,
        "route": met.route.name,
        "why": why,
        "priority": PRIORITIES[usize::from(met.route.class.min(2))],
        "body_bytes_max": met.route.body_bytes_max,
        "pool": view::room(&met.room),
        "endpoint": endpoint.map(|e| &e.name),
        "endpoint_why": "lowest score among those that are active, not ejected and have room",
        "max_wait_ms": met.pool.max_wait_ns / engine::clock::MS,
        "attempts": met.pool.attempts_max,
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
