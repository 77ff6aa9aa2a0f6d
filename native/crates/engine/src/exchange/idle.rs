//! Connections that nobody uses: taken for an attempt, and closed to make way for others.
//!
//! **Invariants:** an idle connection serves only the endpoint that it was dialled for, at an
//! address that its name still has. A request never waits for a connection: permits are within
//! `connections_max`, so when that many are open some are idle, in another worker, and one of them
//! is closed; for the time that takes there may be one more.

use std::sync::Arc;

use crate::conn::Conn;
use crate::engine::Engine;
use crate::ids::{ConnId, WorkerId};
use crate::input::{Mail, Trim};
use crate::metrics::{Cells, Metric};
use crate::output::{How, Output};
use crate::shared::Endpoint;

impl Engine {
    /// An idle connection to that endpoint. A slot may have passed to another endpoint in a reload,
    /// and an address may have left its name's answer: what is still connected there must not see
    /// this request.
    pub(super) fn take_idle(
        &mut self,
        local: usize,
        slot: u32,
        endpoint: &Endpoint,
    ) -> Option<ConnId> {
        while let Some(id) = self.locals.take_idle(local, slot) {
            let upstream = self.conns.get(id).and_then(Conn::upstream);
            if upstream.is_some_and(|u| u.leads_to(endpoint)) {
                return Some(id);
            }
            self.close(id, How::Now);
        }
        None
    }

    /// Sees to it that one more connection to the endpoint is within `connections_max`.
    pub(super) fn make_way(&mut self, local: usize, endpoint: &Arc<Endpoint>) {
        let max = self.locals.local(local).pool.connections_max;
        if endpoint.target.open() < max || self.give_way(local, endpoint) {
            return;
        }
        self.pass_trim(Trim {
            endpoint: Arc::clone(endpoint),
            origin: self.worker,
            hops: 0,
        });
    }

    /// Another worker wants to connect to an endpoint that has all its connections.
    pub(crate) fn trim(&mut self, trim: Trim) {
        if !self.gave_way(&trim.endpoint) {
            self.pass_trim(trim);
        }
    }

    /// Asks the next worker, but for the one that began.
    pub(crate) fn pass_trim(&mut self, mut trim: Trim) {
        let workers = u32::from(self.shared.workers());
        while u32::from(trim.hops) + 1 < workers {
            trim.hops += 1;
            let next = (u32::from(trim.origin.0) + u32::from(trim.hops)) % workers;
            let next = WorkerId(next as u16);
            if next != self.worker {
                return self.outputs.push_back(Output::Mail(next, Mail::Trim(trim)));
            }
            if self.gave_way(&trim.endpoint) {
                return;
            }
        }
    }

    /// Closes an idle connection of the endpoint if it still has too many. False: there is none.
    fn gave_way(&mut self, endpoint: &Endpoint) -> bool {
        let room = endpoint.room();
        let Some(local) = room.and_then(|room| self.locals.named(room.name())) else {
            return false;
        };
        let max = self.locals.local(local).pool.connections_max;
        endpoint.target.open() <= max || self.give_way(local, endpoint)
    }

    /// Closes an idle connection of the endpoint. False: this worker has none.
    fn give_way(&mut self, local: usize, endpoint: &Endpoint) -> bool {
        let count = |cells: &Cells| cells.inc(Metric::ConnectionsTrimmed);
        if let Some(id) = self.take_idle(local, endpoint.slot, endpoint) {
            self.upstream_cells(id, count);
            self.close(id, How::Now);
        } else if let Some(id) = self.h2_idle(local, endpoint.slot) {
            self.upstream_cells(id, count);
            self.h2_part(id);
        } else {
            return false;
        }
        true
    }
}
