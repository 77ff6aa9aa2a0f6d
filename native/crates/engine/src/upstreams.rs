//! What a worker keeps per pool: metric cells and idle upstream connections.
//!
//! **Invariant:** every id in an idle list is an open connection in state `Idle`; positions are
//! stable for the worker's life, so that connections survive a reload.

use std::collections::HashMap;
use std::sync::Arc;

use crate::ids::{ConnId, WorkerId};
use crate::metrics::{Cells, Scope};
use crate::shared::Shared;
use crate::snapshot::{Pool, Snapshot};

/// All pools this worker has seen.
#[derive(Debug, Default)]
pub(crate) struct Locals {
    by_name: HashMap<String, usize>,
    locals: Vec<Local>,
    /// Snapshot position of a pool -> position in `locals`.
    pools: Vec<usize>,
    /// Cells of the snapshot's routes.
    routes: HashMap<String, Arc<Cells>>,
    /// Cells of the snapshot's listeners.
    listeners: Vec<Arc<Cells>>,
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
}

impl Locals {
    /// Resolves a snapshot's names to cells.
    pub(crate) fn apply(&mut self, snapshot: &Snapshot, shared: &Shared, worker: WorkerId) {
        let metrics = &shared.metrics;
        self.pools.clear();
        for pool in &snapshot.pools {
            let at = *self.by_name.entry(pool.name.clone()).or_insert(self.locals.len());
            let labels =
                [("pool", pool.name.clone()), ("modality", pool.modality.clone())];
            let cells = metrics.block(worker, Scope::Pool, &labels);
            if at == self.locals.len() {
                self.locals.push(Local {
                    cells,
                    pool: Arc::clone(pool),
                    endpoints: Vec::new(),
                    idle: Vec::new(),
                });
            } else if let Some(local) = self.locals.get_mut(at) {
                local.cells = cells;
                local.pool = Arc::clone(pool);
            }
            for endpoint in &pool.endpoints {
                let labels = [("pool", pool.name.clone()), ("endpoint", endpoint.name.clone())];
                let cells = metrics.block(worker, Scope::Endpoint, &labels);
                self.locals[at].set(endpoint.slot, cells);
            }
            self.pools.push(at);
        }
        self.routes.clear();
        for route in snapshot.routes.iter().chain(&snapshot.default_route) {
            let cells = metrics.block(worker, Scope::Route, &[("route", route.name.clone())]);
            self.routes.insert(route.name.clone(), cells);
        }
        self.listeners = snapshot
            .listeners
            .iter()
            .map(|l| {
                metrics.block(worker, Scope::Listener, &[("listener", l.plan.name.clone())])
            })
            .collect();
    }

    /// The local of a snapshot's pool.
    pub(crate) fn at_pool(&self, pool: usize) -> usize {
        self.pools[pool]
    }

    pub(crate) fn local(&self, at: usize) -> &Local {
        &self.locals[at]
    }

    pub(crate) fn route(&self, name: &str) -> Option<&Arc<Cells>> {
        self.routes.get(name)
    }

    pub(crate) fn listener(&self, at: usize) -> Option<&Arc<Cells>> {
        self.listeners.get(at)
    }

    /// Cells of an endpoint.
    pub(crate) fn endpoint(&self, at: usize, slot: u32) -> Option<&Arc<Cells>> {
        self.locals.get(at)?.endpoints.get(slot as usize)?.as_ref()
    }

    /// The most recently used idle connection (its peer is the least likely to have closed it).
    pub(crate) fn take_idle(&mut self, at: usize, slot: u32) -> Option<ConnId> {
        self.locals.get_mut(at)?.idle.get_mut(slot as usize)?.pop()
    }

    /// Puts a connection into the idle list; `false` if the list is full.
    pub(crate) fn give_idle(&mut self, at: usize, slot: u32, conn: ConnId) -> bool {
        let Some(local) = self.locals.get_mut(at) else { return false };
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

    /// Takes a closed connection off the idle list.
    pub(crate) fn forget(&mut self, at: usize, slot: u32, conn: ConnId) {
        if let Some(local) = self.locals.get_mut(at)
            && let Some(list) = local.idle.get_mut(slot as usize)
            && let Some(position) = list.iter().position(|c| *c == conn)
        {
            list.remove(position);
        }
    }
}

impl Local {
    fn set(&mut self, slot: u32, cells: Arc<Cells>) {
        let slot = slot as usize;
        if self.endpoints.len() <= slot {
            self.endpoints.resize_with(slot + 1, || None);
        }
        self.endpoints[slot] = Some(cells);
    }
}
