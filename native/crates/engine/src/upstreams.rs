//! What a worker keeps per pool and per listener: metric cells, idle upstream connections, open
//! client connections.
//!
//! **Invariant:** every id in an idle list is an open connection in state `Idle`; positions are
//! stable for the worker's life, so that connections survive a reload.

use std::collections::HashMap;
use std::sync::Arc;

use crate::ids::{ConnId, WorkerId};
use crate::metrics::{Cells, Scope};
use crate::peer::Shard;
use crate::shared::Shared;
use crate::snapshot::{ListenerKind, Pool, Snapshot};

/// All pools this worker has seen.
#[derive(Debug, Default)]
pub(crate) struct Locals {
    by_name: HashMap<String, usize>,
    pools_seen: Vec<Local>,
    /// Snapshot position of a pool -> position in `locals`.
    pools: Vec<usize>,
    /// Cells of the snapshot's routes, by position.
    routes: Vec<Arc<Cells>>,
    doors: Vec<Door>,
    /// Snapshot position of a listener -> position in `doors`.
    listeners: Vec<usize>,
}

/// One listener's share in this worker.
#[derive(Debug)]
pub(crate) struct Door {
    name: String,
    /// Cells of the listener.
    pub(crate) cells: Arc<Cells>,
    /// Its connections that are open in this worker.
    pub(crate) open: u32,
    /// Whether it serves the admin pages.
    pub(crate) admin: bool,
}

/// One pool's share in this worker.
#[derive(Debug)]
pub(crate) struct Local {
    /// Cells of the pool.
    pub(crate) cells: Arc<Cells>,
    /// The pool as of the newest snapshot that has it.
    pub(crate) pool: Arc<Pool>,
    endpoints: Vec<Option<Arc<Cells>>>,
    idle: Vec<Vec<ConnId>>,
    /// By slot.
    shards: Vec<Shard>,
    /// Slots of endpoints that were found to speak no HTTP/2, and until when that is believed.
    http1_only: Vec<(u32, u64)>,
}

impl Locals {
    /// Resolves a snapshot's names to cells.
    pub(crate) fn apply(&mut self, snapshot: &Snapshot, shared: &Shared, worker: WorkerId) {
        let metrics = &shared.metrics;
        self.pools.clear();
        for pool in &snapshot.pools {
            let at = *self
                .by_name
                .entry(pool.name.clone())
                .or_insert(self.pools_seen.len());
            let labels = [
                ("pool", pool.name.clone()),
                ("modality", pool.modality.clone()),
            ];
            let cells = metrics.block(worker, Scope::Pool, &labels);
            if at == self.pools_seen.len() {
                self.pools_seen.push(Local {
                    cells,
                    pool: Arc::clone(pool),
                    endpoints: Vec::new(),
                    idle: Vec::new(),
                    shards: Vec::new(),
                    http1_only: Vec::new(),
                });
            } else if let Some(local) = self.pools_seen.get_mut(at) {
                // A slot may have passed to another endpoint.
                local.http1_only.clear();
                local.cells = cells;
                local.pool = Arc::clone(pool);
            }
            for endpoint in &pool.endpoints {
                let labels = [
                    ("pool", pool.name.clone()),
                    ("endpoint", endpoint.name.clone()),
                ];
                let cells = metrics.block(worker, Scope::Endpoint, &labels);
                self.pools_seen[at].set(endpoint.slot, cells);
            }
            self.pools.push(at);
        }
        self.routes.clear();
        for route in snapshot.routes.iter().chain(&snapshot.default_route) {
            let cells = metrics.block(worker, Scope::Route, &[("route", route.name.clone())]);
            self.routes.push(cells);
        }
        self.listeners.clear();
        for listener in &snapshot.listeners {
            let name = &listener.plan.name;
            let admin = listener.plan.kind == ListenerKind::Admin;
            let at = self
                .doors
                .iter()
                .position(|d| d.name == *name && d.admin == admin);
            let at = at.unwrap_or_else(|| {
                let cells = metrics.block(worker, Scope::Listener, &[("listener", name.clone())]);
                self.doors.push(Door {
                    name: name.clone(),
                    cells,
                    open: 0,
                    admin,
                });
                self.doors.len() - 1
            });
            self.listeners.push(at);
        }
    }

    /// The local of a pool by its name, if this worker has seen it.
    pub(crate) fn named(&self, pool: &str) -> Option<usize> {
        self.by_name.get(pool).copied()
    }

    /// The local of a snapshot's pool.
    pub(crate) fn at_pool(&self, pool: usize) -> usize {
        self.pools[pool]
    }

    pub(crate) fn local(&self, at: usize) -> &Local {
        &self.pools_seen[at]
    }

    pub(crate) fn route(&self, position: usize) -> Option<&Arc<Cells>> {
        self.routes.get(position)
    }

    /// The door of a snapshot's listener.
    pub(crate) fn at_listener(&self, listener: usize) -> Option<usize> {
        self.listeners.get(listener).copied()
    }

    pub(crate) fn door(&self, at: usize) -> &Door {
        &self.doors[at]
    }

    pub(crate) fn door_mut(&mut self, at: usize) -> &mut Door {
        &mut self.doors[at]
    }

    /// Whether no client of a data listener is left, nor of an `admin` one if they count.
    pub(crate) fn doors_empty(&self, admin: bool) -> bool {
        self.doors.iter().all(|d| d.open == 0 || d.admin && !admin)
    }

    /// Cells of an endpoint.
    pub(crate) fn endpoint(&self, at: usize, slot: u32) -> Option<&Arc<Cells>> {
        self.pools_seen
            .get(at)?
            .endpoints
            .get(slot as usize)?
            .as_ref()
    }

    /// The most recently used idle connection (its peer is the least likely to have closed it).
    pub(crate) fn take_idle(&mut self, at: usize, slot: u32) -> Option<ConnId> {
        self.pools_seen
            .get_mut(at)?
            .idle
            .get_mut(slot as usize)?
            .pop()
    }

    /// Puts a connection into the idle list; `false` if the list is full.
    pub(crate) fn give_idle(&mut self, at: usize, slot: u32, conn: ConnId) -> bool {
        let Some(local) = self.pools_seen.get_mut(at) else {
            return false;
        };
        let max = local.pool.idle_max;
        let slot = slot as usize;
        if local.idle.len() <= slot {
            local.idle.resize_with(slot + 1, Vec::new);
        }
        if local.idle[slot].len() >= max {
            return false;
        }
        local.idle[slot].push(conn);
        true
    }

    /// Takes a closed connection off the lists.
    pub(crate) fn forget(&mut self, at: usize, slot: u32, conn: ConnId) {
        let Some(local) = self.pools_seen.get_mut(at) else {
            return;
        };
        if let Some(list) = local.idle.get_mut(slot as usize)
            && let Some(position) = list.iter().position(|c| *c == conn)
        {
            list.remove(position);
        }
        if let Some(shard) = local.shards.get_mut(slot as usize) {
            shard.conns.retain(|c| *c != conn);
        }
    }

    /// Notes that an endpoint speaks no HTTP/2, until then; or that it does.
    pub(crate) fn note_http1_only(&mut self, at: usize, slot: u32, until_ns: Option<u64>) {
        if let Some(local) = self.pools_seen.get_mut(at) {
            local.http1_only.retain(|(known, _)| *known != slot);
            local
                .http1_only
                .extend(until_ns.map(|until_ns| (slot, until_ns)));
        }
    }

    /// The HTTP/2 connections to an endpoint.
    pub(crate) fn shard(&self, at: usize, slot: u32) -> Option<&Shard> {
        self.pools_seen.get(at)?.shards.get(slot as usize)
    }

    /// The HTTP/2 connections to an endpoint, to be changed.
    pub(crate) fn shard_mut(&mut self, at: usize, slot: u32) -> &mut Shard {
        let shards = &mut self.pools_seen[at].shards;
        if shards.len() <= slot as usize {
            shards.resize_with(slot as usize + 1, Shard::default);
        }
        &mut shards[slot as usize]
    }
}

impl Local {
    /// Slots of endpoints that are passed over because they speak no HTTP/2: all that were found so
    /// but one whose time is up, so that no call looks at several again.
    pub(crate) fn http1_only(&self, now_ns: u64) -> impl Iterator<Item = u32> {
        let again = self
            .http1_only
            .iter()
            .find(|(_, until_ns)| now_ns >= *until_ns);
        let again = again.map(|(slot, _)| *slot);
        let slots = self.http1_only.iter().map(|(slot, _)| *slot);
        slots.filter(move |slot| Some(*slot) != again)
    }

    fn set(&mut self, slot: u32, cells: Arc<Cells>) {
        let slot = slot as usize;
        if self.endpoints.len() <= slot {
            self.endpoints.resize_with(slot + 1, || None);
        }
        self.endpoints[slot] = Some(cells);
    }
}
