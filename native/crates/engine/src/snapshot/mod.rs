//! The configuration as workers use it: immutable, shared by reference, replaced whole.
//!
//! **Invariant:** a snapshot is never mutated; what changes (in-flight counts, queues, metric
//! cells) lives in `shared` under names that outlive a snapshot.

pub mod explain;
pub mod net;
pub mod plan;
pub mod route;

use std::sync::Arc;

pub use plan::{Address, Balance, Commit, Dialect, HostPolicy, Http2, ListenerKind, Plan};
pub use route::Route;

use crate::clock::MS;
use crate::shared::{Endpoint, Room, RoomConfig, Shared};
use net::Cidr;
use wire::Name;

/// One generation of the configuration.
#[derive(Debug)]
pub struct Snapshot {
    /// Counts up by one with each applied plan.
    pub generation: u64,
    /// Name in `Via`.
    pub via: Vec<u8>,
    /// By `ListenerId`; a listener that is gone keeps its place as `None`.
    pub listeners: Vec<Arc<Listener>>,
    /// By position.
    pub pools: Vec<Arc<Pool>>,
    /// In order; the first that matches wins.
    pub routes: Vec<Arc<Route>>,
    /// Where requests go that no route takes.
    pub default_route: Option<Arc<Route>>,
    /// Bytes of one held body.
    pub held_body_bytes_max: usize,
    /// Whether exchanges are recorded in the access log.
    pub log: bool,
    /// Names of request headers that the access log shows.
    pub log_fields: Vec<Vec<u8>>,
}

/// Why a plan was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanError(pub String);

impl std::fmt::Display for PlanError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for PlanError {}

/// A listener as workers see it.
#[derive(Debug)]
pub struct Listener {
    /// The plan.
    pub plan: plan::ListenerPlan,
    /// Parsed `trusted_peers`.
    pub trusted: Vec<Cidr>,
}

/// Header changes with names resolved once.
#[derive(Debug, Default)]
pub struct HeaderRules {
    /// Set, replacing what is there.
    pub set: Vec<(Vec<u8>, Vec<u8>)>,
    /// Removed.
    pub remove: Vec<Vec<u8>>,
    known: Vec<Name>,
    other: bool,
}

impl HeaderRules {
    fn new(set: &[(String, String)], remove: &[String]) -> Self {
        let set: Vec<_> = set
            .iter()
            .map(|(n, v)| (n.to_ascii_lowercase().into_bytes(), v.clone().into_bytes()))
            .collect();
        let remove: Vec<_> = remove
            .iter()
            .map(|n| n.to_ascii_lowercase().into_bytes())
            .collect();
        let names = || set.iter().map(|(n, _)| n).chain(remove.iter());
        let known: Vec<Name> = names().map(|n| Name::from_bytes(n)).collect();
        let other = known.contains(&Name::Other);
        Self {
            set,
            remove,
            known,
            other,
        }
    }

    /// Whether a field of that name is dropped or replaced.
    pub fn drops(&self, known: Name, name: &[u8]) -> bool {
        if self.known.is_empty() {
            return false;
        }
        if known != Name::Other {
            return self.known.contains(&known);
        }
        self.other
            && (self.set.iter().any(|(n, _)| n == name) || self.remove.iter().any(|n| n == name))
    }
}

/// Deadlines in nanoseconds; 0 = off.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timeouts {
    /// See `plan::TimeoutPlan`.
    pub connect_ns: u64,
    /// See `plan::TimeoutPlan`.
    pub head_ns: u64,
    /// See `plan::TimeoutPlan`.
    pub first_token_ns: u64,
    /// See `plan::TimeoutPlan`.
    pub inter_token_ns: u64,
    /// See `plan::TimeoutPlan`.
    pub unary_total_ns: u64,
    /// See `plan::TimeoutPlan`.
    pub stream_total_ns: u64,
    /// See `plan::TimeoutPlan`.
    pub client_stall_ns: u64,
}

/// A pool as workers see it.
#[derive(Debug)]
pub struct Pool {
    /// Identity over reloads.
    pub name: String,
    /// Metric label.
    pub modality: String,
    /// Permits and queue; outlives this snapshot.
    pub room: Arc<Room>,
    /// In the plan's order.
    pub endpoints: Vec<Arc<Endpoint>>,
    /// Deadlines.
    pub timeouts: Timeouts,
    /// Longest wait in the channel.
    pub max_wait_ns: u64,
    /// Attempts in all.
    pub attempts_max: u32,
    /// Upstream statuses tried elsewhere.
    pub retry_statuses: Vec<u16>,
    /// Changes to request headers.
    pub request_headers: HeaderRules,
    /// Changes to response headers.
    pub response_headers: HeaderRules,
    /// `Host` for the upstream.
    pub host: HostPolicy,
    /// Prefix taken off the path.
    pub strip_prefix: Vec<u8>,
    /// Connections of each endpoint, of all workers.
    pub connections_max: u64,
    /// Idle upstream connections per endpoint and worker.
    pub idle_max: usize,
    /// How long an idle upstream connection is kept.
    pub idle_ns: u64,
    /// Silence before a heartbeat comment; 0 = never.
    pub heartbeat_ns: u64,
    /// When an event stream's head is sent.
    pub commit: Commit,
    /// The choosing policy.
    pub balance: Balance,
}

/// A plan that was found to be right and is not in force: nothing has heard of it yet, and nothing
/// can fail any more.
#[derive(Debug)]
pub struct Prepared<'a> {
    plan: &'a Plan,
    listeners: Vec<Arc<Listener>>,
}

impl Snapshot {
    /// Looks for what is wrong with a plan, and changes nothing.
    pub fn prepare(plan: &Plan) -> Result<Prepared<'_>, PlanError> {
        check(plan)?;
        let listeners = plan.listeners.iter().map(listener);
        let listeners = listeners.collect::<Result<_, _>>()?;
        Ok(Prepared { plan, listeners })
    }

    /// Prepares and commits at once. On error nothing was changed.
    pub fn compile(
        plan: &Plan,
        shared: &Shared,
        workers: u16,
        generation: u64,
        now_ns: u64,
    ) -> Result<Self, PlanError> {
        Ok(Self::prepare(plan)?.commit(shared, workers, generation, now_ns))
    }
}

impl Prepared<'_> {
    /// Configures the rooms and the bound of held bytes, and builds the snapshot that refers to
    /// them. `generation` and `now_ns` come from the driver.
    pub fn commit(self, shared: &Shared, workers: u16, generation: u64, now_ns: u64) -> Snapshot {
        let plan = self.plan;
        let pools = plan.pools.iter();
        shared.held_bytes.set_max(plan.held_bytes_max);
        Snapshot {
            generation,
            via: plan.via.clone().into_bytes(),
            listeners: self.listeners,
            pools: pools
                .map(|p| Arc::new(pool(p, shared, workers, now_ns)))
                .collect(),
            routes: plan
                .routes
                .iter()
                .enumerate()
                .map(|(at, r)| Arc::new(Route::new(r, at)))
                .collect(),
            default_route: plan
                .default_pool
                .map(|p| Arc::new(Route::fallback(p, plan.routes.len()))),
            held_body_bytes_max: plan.held_body_bytes_max as usize,
            log: plan.access_log.is_some(),
            log_fields: plan
                .log_fields
                .iter()
                .map(|f| f.clone().into_bytes())
                .collect(),
        }
    }
}

fn listener(plan: &plan::ListenerPlan) -> Result<Arc<Listener>, PlanError> {
    if let Address::Name { host, .. } = &plan.address {
        let name = &plan.name;
        return Err(PlanError(format!(
            "listener {name}: {host} is a name; an address is needed to listen on"
        )));
    }
    let blocks = plan.trusted_peers.iter().map(|t| Cidr::parse(t));
    let trusted = blocks.collect::<Option<_>>().ok_or_else(|| {
        let name = &plan.name;
        PlanError(format!(
            "listener {name}: trusted_peers holds no CIDR block"
        ))
    })?;
    Ok(Arc::new(Listener {
        plan: plan.clone(),
        trusted,
    }))
}

/// The checks that indices and divisions rely on.
fn check(plan: &Plan) -> Result<(), PlanError> {
    let pools = plan.pools.len();
    for route in &plan.routes {
        if route.pool as usize >= pools {
            return Err(PlanError(format!(
                "route {}: no pool at {}",
                route.name, route.pool
            )));
        }
    }
    if plan.default_pool.is_some_and(|p| p as usize >= pools) {
        return Err(PlanError(
            "default_pool is no position of `pools`".to_owned(),
        ));
    }
    serialisable("via", &plan.via)?;
    for pool in &plan.pools {
        if let HostPolicy::Literal(host) = &pool.host {
            serialisable("host", host)?;
        }
        let headers = &pool.headers;
        for (name, value) in headers.request_set.iter().chain(&headers.response_set) {
            serialisable(name, value)?;
        }
        if pool.endpoints.is_empty() {
            return Err(PlanError(format!("pool {}: no endpoints", pool.name)));
        }
        if pool
            .endpoints
            .iter()
            .any(|e| e.weight == 0 || e.concurrency == 0)
        {
            return Err(PlanError(format!(
                "pool {}: weight and concurrency start at 1",
                pool.name
            )));
        }
        if pool.connections_max == 0 {
            return Err(PlanError(format!(
                "pool {}: connections_max starts at 1",
                pool.name
            )));
        }
    }
    Ok(())
}

/// Names and values of the configuration are checked here, so that the data plane need not.
fn serialisable(name: &str, value: &str) -> Result<(), PlanError> {
    wire::h1::encode::field(&mut Vec::new(), name.as_bytes(), value.as_bytes())
        .map_err(|violation| PlanError(format!("header {name}: {}", violation.why)))
}

fn pool(plan: &plan::PoolPlan, shared: &Shared, workers: u16, now_ns: u64) -> Pool {
    let room = shared.room(&plan.name);
    // A request over HTTP/1.1 has a connection to itself: who is admitted must be able to have one.
    let capped = |endpoint: &plan::EndpointPlan| plan::EndpointPlan {
        concurrency: match endpoint.http2 {
            Http2::Always => endpoint.concurrency,
            Http2::Auto | Http2::Never => endpoint.concurrency.min(plan.connections_max),
        },
        ..endpoint.clone()
    };
    let config = RoomConfig {
        balance: plan.balance,
        endpoints: plan.endpoints.iter().map(capped).collect(),
        channel: plan.channel.clone(),
        retry: plan.retry.clone(),
        eject: plan.eject.clone(),
    };
    let endpoints = room.configure(&config, now_ns);
    let t = &plan.timeouts;
    Pool {
        name: plan.name.clone(),
        modality: plan.modality.clone(),
        room,
        endpoints,
        timeouts: Timeouts {
            connect_ns: t.connect_ms * MS,
            head_ns: t.head_ms * MS,
            first_token_ns: t.first_token_ms * MS,
            inter_token_ns: t.inter_token_ms * MS,
            unary_total_ns: t.unary_total_ms * MS,
            stream_total_ns: t.stream_total_ms * MS,
            client_stall_ns: t.client_stall_ms * MS,
        },
        max_wait_ns: plan.channel.max_wait_ms * MS,
        attempts_max: plan.retry.attempts_max.max(1),
        retry_statuses: plan.retry.statuses.clone(),
        request_headers: HeaderRules::new(&plan.headers.request_set, &plan.headers.request_remove),
        response_headers: HeaderRules::new(
            &plan.headers.response_set,
            &plan.headers.response_remove,
        ),
        host: plan.host.clone(),
        strip_prefix: plan.strip_prefix.clone().into_bytes(),
        connections_max: plan.connections_max.into(),
        idle_max: (plan.connections_max as usize).div_ceil(usize::from(workers.max(1))),
        idle_ns: plan.idle_ms * MS,
        heartbeat_ns: plan.heartbeat_ms * MS,
        commit: plan.commit,
        balance: plan.balance,
    }
}
