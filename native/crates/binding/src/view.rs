//! What Python may see of the shared state, as JSON. The shapes are those of `observe.metrics` and
//! of the admin page `/endpoints`.

use engine::ids::WorkerId;
use engine::metrics::{Family, Kind, Sample, Value};
use engine::shared::{EndpointView, RoomView, Shared};
use engine::snapshot::{Address, Snapshot};
use serde_json::{Map, json};

/// `HOST:PORT` or `unix:PATH`.
pub(crate) fn address(address: &Address) -> String {
    match address {
        Address::Tcp(address) => address.to_string(),
        Address::Unix(path) => format!("unix:{}", path.display()),
        Address::Name { host, port, .. } => format!("{host}:{port}"),
    }
}

/// All families.
pub(crate) fn metrics(families: &[Family]) -> Vec<u8> {
    let list: Vec<_> = families.iter().map(family).collect();
    serde_json::Value::from(list).to_string().into_bytes()
}

fn family(family: &Family) -> serde_json::Value {
    let kind = match family.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram(_) => "histogram",
    };
    let samples: Vec<_> = family.samples.iter().map(sample).collect();
    json!({"name": family.name, "help": family.help, "kind": kind, "samples": samples})
}

fn sample(sample: &Sample) -> serde_json::Value {
    let labels: Map<String, serde_json::Value> = sample
        .labels
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.as_str().into()))
        .collect();
    match &sample.value {
        Value::Number(value) => json!({"labels": labels, "value": value}),
        Value::Histogram {
            buckets,
            sum,
            count,
        } => {
            // JSON has no infinity: the last bound is null.
            let buckets: Vec<_> = buckets
                .iter()
                .map(|&(bound, count)| (bound.is_finite().then_some(bound), count))
                .collect();
            json!({"labels": labels, "buckets": buckets, "sum": sum, "count": count})
        }
    }
}

/// Generation, pools with channel depth and endpoints, workers.
pub(crate) fn state(
    shared: &Shared,
    snapshot: &Snapshot,
    live: &[(WorkerId, usize)],
    now_ns: u64,
) -> Vec<u8> {
    let pools: Vec<_> = snapshot
        .pools
        .iter()
        .map(|p| room(&p.room.snapshot(now_ns)))
        .collect();
    let workers: Vec<_> = live
        .iter()
        .map(|(id, exchanges)| json!({"worker": id.0, "exchanges": exchanges}))
        .collect();
    let state = json!({
        "generation": shared.generation(),
        "ready": shared.ready(),
        "draining": shared.draining(),
        "held_bytes": shared.held_bytes.held(),
        "held_bytes_max": shared.held_bytes.max(),
        "pools": pools,
        "workers": workers,
    });
    state.to_string().into_bytes()
}

/// A pool's channel and endpoints.
pub(crate) fn room(view: &RoomView) -> serde_json::Value {
    let endpoints: Vec<_> = view.endpoints.iter().map(endpoint).collect();
    json!({
        "name": view.name,
        "channel": {
            "depth": view.depth,
            "capacity": view.capacity,
            "bytes": view.bytes,
            "high_water": view.high_water,
            "drain_per_s": view.drain_per_s,
        },
        "permits_free": view.permits_free,
        "endpoints": endpoints,
    })
}

fn endpoint(view: &EndpointView) -> serde_json::Value {
    let known = view.addresses.as_deref();
    let addresses = known.map(|list| list.iter().map(ToString::to_string).collect::<Vec<_>>());
    json!({
        "url": view.name,
        "active": view.active,
        "weight": view.weight,
        "concurrency": view.concurrency,
        "in_flight": view.in_flight,
        "ejected_ms_left": view.ejected_ms_left,
        "on_trial": view.on_trial,
        "failures_in_row": view.failures_in_row,
        "first_token_ewma_ms": view.ewma_ms,
        "requests_total": view.requests_total,
        "failures_total": view.failures_total,
        "score": view.score.is_finite().then_some(view.score),
        "addresses": addresses,
        "connections": view.connections,
    })
}
