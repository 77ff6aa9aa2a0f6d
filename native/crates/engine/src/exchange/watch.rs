//! `grpc.health.v1.Health/Watch` on the admin listener: our health at once, then each change of it.
//!
//! A watcher hears NOT_SERVING when a drain begins and stays, for one that is sent away comes back
//! at once; it is sent away when the admin listener itself goes, to a successor if there is one.
//! **Invariant:** a watcher looks by its own timer: whoever changes our health knows of none.

use super::{Exchange, Phase, Step};
use crate::engine::Engine;
use crate::error::{Failure, FailureKind};
use crate::grpc::Health;

impl Engine {
    /// Whether new traffic is wanted, as `/readyz` says it. A successor that took our listeners
    /// over serves it.
    pub(crate) fn health(&self) -> Health {
        if self.shared.ready() && self.draining.is_none_or(|drain| drain.admin) {
            Health::Serving
        } else {
            Health::NotServing
        }
    }

    /// Begins to tell a client of our health; of a service that is not `known`, that it is not. The
    /// protocol wants that to be no error.
    pub(super) fn watch(&mut self, exchange: &mut Exchange, known: bool) -> Step {
        if self.draining.is_some_and(|drain| drain.admin) {
            return Step::Fail(sent_away());
        }
        let health = if known {
            self.health()
        } else {
            Health::Unknown
        };
        self.grpc_head(exchange);
        self.tell_health(exchange, health);
        Step::Wait
    }

    fn tell_health(&mut self, exchange: &mut Exchange, health: Health) {
        exchange.phase = Phase::Watching(health);
        exchange.marks.heartbeat_ns = self.now.mono_ns;
        self.client_body(exchange, &health.message());
    }

    /// A watcher's timer fired.
    pub(super) fn look_at_health(&mut self, exchange: &mut Exchange) {
        exchange.marks.heartbeat_ns = self.now.mono_ns;
        let health = self.health();
        // Who does not read hears of it when it does.
        if exchange.phase != Phase::Watching(health) && self.client_idle(exchange) {
            self.tell_health(exchange, health);
        }
        self.arm(exchange);
    }

    /// A drain began.
    pub(super) fn tell_watcher(&mut self, exchange: &mut Exchange) {
        match exchange.phase {
            Phase::Watching(_) if self.draining.is_some_and(|drain| drain.admin) => {
                self.fail(exchange, sent_away());
            }
            Phase::Watching(Health::Serving | Health::NotServing) => self.look_at_health(exchange),
            _ => {}
        }
    }
}

fn sent_away() -> Failure {
    let why = "its admin listener closes: connect again";
    Failure::new(FailureKind::Draining, why)
}
