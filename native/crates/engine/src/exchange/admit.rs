//! Now, later or 429? The pool's bounded channel in front of its endpoints' permits.
//!
//! **Invariant:** a refusal precedes the upstream: nothing was sent for a request that is shed.

use std::sync::Arc;

use super::{Exchange, Phase, Reservation, Step};
use crate::engine::Engine;
use crate::error::{Failure, FailureKind};
use crate::ids::ExchangeId;
use crate::metrics::{Metric, Shed};
use crate::shared::{Ask, Entered, Grant, Outcome, Refusal, RefusalReason};
use crate::snapshot::Dialect;
use wire::Body;

impl Engine {
    pub(crate) fn admit(&mut self, exchange: &mut Exchange) -> Step {
        self.pass_over(exchange);
        if self.awaits_body(exchange) {
            return Step::Wait;
        }
        exchange.marks.admission_ns = self.now.mono_ns;
        exchange.reservation = Reservation::estimate(&exchange.scan);
        let Some(pool) = exchange.pool.as_ref() else {
            return Step::Fail(Failure::new(FailureKind::Internal, "no pool after match"));
        };
        let ask = self.ask_of(exchange);
        match pool.room.enter(&ask, &mut self.random) {
            Entered::Granted(grant) => {
                let cells = &self.locals.local(exchange.local).cells;
                cells.observe(Metric::ChannelDepth, 0);
                cells.observe(Metric::ChannelWait, 0);
                self.hold(exchange, grant);
                Step::Next(Phase::Select)
            }
            Entered::Queued {
                ticket,
                depth,
                sequence,
                pump,
            } => {
                let cells = &self.locals.local(exchange.local).cells;
                cells.observe(Metric::ChannelDepth, u64::from(depth));
                exchange.sequence = Some(sequence);
                exchange.tally.queued = true;
                exchange.phase = Phase::Queued(ticket);
                if pump {
                    self.pump_room(exchange);
                }
                Step::Wait
            }
            Entered::Refused(refusal) => self.refused(exchange, &refusal),
        }
    }

    /// Whether the rest of the body is to come first, because permits are scarce: a client that
    /// sends it slowly would have one for nothing, and thousands of them would have them all.
    /// Bodies whose end is not in sight, or that are too large to be held, flow; and who would be
    /// refused is refused before the body.
    fn awaits_body(&self, exchange: &Exchange) -> bool {
        let body = &exchange.body;
        let first = exchange.sequence.is_none() && exchange.attempts == 0;
        // Who asks first (RFC 9110 §10.1.1) is answered when its permit is there.
        if exchange.expects
            || body.complete
            || !first
            || exchange.dialect == Dialect::Grpc
            || exchange.head.websocket
        {
            return false;
        }
        let held_max = self.snapshot.held_body_bytes_max;
        let ends = match exchange.head.body {
            Body::Length(length) => length <= held_max as u64,
            _ => exchange.scanning,
        };
        let Some(pool) = exchange.pool.as_ref().filter(|_| ends) else {
            return false;
        };
        let flows = body.exhausted() || body.held.len() > held_max;
        !flows && pool.room.puts_off(&self.ask_of(exchange))
    }

    fn ask_of<'e>(&self, exchange: &'e Exchange) -> Ask<'e> {
        Ask {
            class: exchange.class,
            excluded: &exchange.tried,
            worker: self.worker,
            exchange: exchange.id,
            held_bytes: exchange.body.held.len() as u64,
            now_ns: self.now.mono_ns,
            sequence: exchange.sequence,
        }
    }

    fn refused(&mut self, exchange: &mut Exchange, refusal: &Refusal) -> Step {
        let cells = &self.locals.local(exchange.local).cells;
        let (kind, why, shed) = match refusal.reason {
            RefusalReason::Full => (
                FailureKind::ChannelFull,
                "the pool's channel is full",
                Shed::Full,
            ),
            RefusalReason::Hopeless => {
                let why = "the expected wait is longer than this pool allows";
                (FailureKind::Hopeless, why, Shed::Hopeless)
            }
            RefusalReason::NoEndpoint => {
                let why = "no endpoint of the pool can take the request";
                (FailureKind::NoEndpoint, why, Shed::NoEndpoint)
            }
        };
        cells.inc_at(Metric::Sheds, shed as usize);
        cells.observe(Metric::ChannelDepth, u64::from(refusal.depth));
        exchange.tally.retry_after_ms = refusal.retry_after_ms;
        // After an attempt that failed, its failure says more than the refusal of another try.
        let mut failure = exchange.setback.take();
        if failure.is_none() && refusal.reason == RefusalReason::NoEndpoint {
            failure = self.passed_over(exchange);
        }
        if refusal.pump {
            self.pump_room(exchange);
        }
        Step::Fail(failure.unwrap_or(Failure::new(kind, why)))
    }

    /// A permit is free for somebody in the queue.
    fn pump_room(&mut self, exchange: &Exchange) {
        if let Some(pool) = &exchange.pool {
            let wake = pool.room.pump(self.now.mono_ns, &mut self.random);
            self.deliver(wake);
        }
    }

    /// A new configuration may have made room: waiters go on at once.
    pub(crate) fn pump_rooms(&mut self) {
        let snapshot = Arc::clone(&self.snapshot);
        for pool in &snapshot.pools {
            let wake = pool.room.pump(self.now.mono_ns, &mut self.random);
            self.deliver(wake);
        }
    }

    /// A permit for a waiter of this worker arrived.
    pub(crate) fn granted(&mut self, id: ExchangeId, grant: Grant) {
        let waiting = self
            .exchanges
            .get(id)
            .is_some_and(|e| matches!(e.phase, Phase::Queued(_)));
        if !waiting {
            // The waiter died while the permit travelled: it goes to the next one.
            return self.pass_on(grant);
        }
        let Some(mut exchange) = self.exchanges.take(id) else {
            return self.pass_on(grant);
        };
        let wait_ns = self.now.mono_ns.saturating_sub(exchange.marks.admission_ns);
        self.locals
            .local(exchange.local)
            .cells
            .observe(Metric::ChannelWait, wait_ns);
        self.hold(&mut exchange, grant);
        exchange.phase = Phase::Select;
        self.advance(&mut exchange);
        self.put_exchange(exchange);
    }

    /// Gives a permit that nobody waits for back to its room.
    pub(crate) fn pass_on(&mut self, grant: Grant) {
        if let Some(room) = grant.room() {
            self.give_back(&room, grant, Outcome::Neutral);
        }
    }

    /// A waiter's time is up, or its client left.
    pub(crate) fn leave_queue(&mut self, exchange: &mut Exchange) {
        if let Phase::Queued(ticket) = std::mem::take(&mut exchange.phase)
            && let Some(pool) = &exchange.pool
        {
            // `false`: a permit is on its way; `granted` will not find us and passes it on.
            pool.room.abandon(ticket, self.now.mono_ns);
        }
    }
}
