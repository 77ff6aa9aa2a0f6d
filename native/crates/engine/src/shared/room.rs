//! The waiting room of one pool: its permits and its queue behind one mutex.
//!
//! A request enters, gets a permit or a place or a refusal, and leaves; whoever leaves hands the
//! permit, by value, to the next waiter. It never waits, never reads a clock and never sends a
//! message: its caller delivers what a [`Wake`] holds. **Invariant:** permits out = in-flight
//! requests, never above an endpoint's concurrency; a newcomer never overtakes a waiter of its own
//! class that could have had the permit.

use std::net::IpAddr;
use std::sync::Arc;

use super::grant::{Ask, Endpoint, Entered, Grant, Outcome, RefusalReason, Ticket, Wake};
use super::state::State;
use super::sync::{Mutex, MutexGuard, lock};
use super::view::{RateView, RoomView};
use crate::channel::Full;
use crate::ids::WorkerId;
use crate::random::Random;
use crate::snapshot::plan::{Balance, ChannelPlan, EjectPlan, EndpointPlan, RetryPlan};

/// What a pool's plan says about its room.
#[derive(Clone, Debug)]
pub struct RoomConfig {
    /// The choosing policy.
    pub balance: Balance,
    /// The endpoints, in the plan's order.
    pub endpoints: Vec<EndpointPlan>,
    /// The bounded channel.
    pub channel: ChannelPlan,
    /// The retry budget.
    pub retry: RetryPlan,
    /// Passive ejection.
    pub eject: EjectPlan,
}

/// The permits and the queue of one pool. Outlives snapshots.
#[derive(Debug)]
pub struct Room {
    name: String,
    state: Mutex<State>,
}

impl Room {
    /// A room without endpoints: everything is refused until it is configured.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            state: Mutex::new(State::new()),
        }
    }

    /// The pool's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Takes a new configuration. State is kept by endpoint name; an endpoint that is gone finishes
    /// what it has. Answers the endpoints in the plan's order. Call [`Room::pump`] afterwards: more
    /// capacity may have let waiters go on.
    pub fn configure(self: &Arc<Self>, config: &RoomConfig, now_ns: u64) -> Vec<Arc<Endpoint>> {
        let mut state = self.lock();
        let endpoints = state.configure(config, &Arc::downgrade(self), now_ns);
        state.invariants();
        endpoints
    }

    /// Asks for a permit.
    pub fn enter(&self, ask: &Ask<'_>, random: &mut Random) -> Entered {
        let mut state = self.lock();
        let state = &mut *state;
        if ask.sequence.is_none() {
            state.budget.request(ask.now_ns);
        }
        let mut pump = false;
        if state.free > 0 {
            pump = state.head_could_go(ask);
            if !pump && let Some(slot) = state.pick(ask.excluded, ask.now_ns, random) {
                let sequence = ask
                    .sequence
                    .unwrap_or_else(|| state.queue.reserve_sequence());
                return Entered::Granted(state.grant(slot, sequence, 0, ask.now_ns));
            }
        }
        let reason = match state.why_not_wait(ask) {
            Some(reason) => reason,
            None => match state.file(ask) {
                Ok(place) => {
                    return Entered::Queued {
                        ticket: Ticket::new(place),
                        depth: state.queue.depth() as u32,
                        sequence: place.sequence,
                        pump,
                    };
                }
                Err(Full(_)) => RefusalReason::Full,
            },
        };
        Entered::Refused(state.refusal(reason, ask, pump, random))
    }

    /// Whether a request whose body is still to come is to come again when it is there: more than
    /// half of the permits are out, and it would not be refused.
    pub fn puts_off(&self, ask: &Ask<'_>) -> bool {
        let mut state = self.lock();
        state.free * 2 < state.permits
            && (state.free > 0
                || state.why_not_wait(ask).is_none() && state.queue.fits(ask.held_bytes))
    }

    /// Gives up a place. False: a grant is on its way (or was taken) and must be returned when it
    /// arrives.
    #[expect(clippy::needless_pass_by_value, reason = "a ticket is used up")]
    pub fn abandon(&self, ticket: Ticket, now_ns: u64) -> bool {
        let mut state = self.lock();
        let gone = state.queue.remove(ticket.place()).is_some();
        state.note_saturation(now_ns);
        state.invariants();
        gone
    }

    /// Returns a permit. The head of the queue, or the first of its first 16 that may use this
    /// endpoint, goes on.
    pub fn leave(
        &self,
        mut grant: Grant,
        outcome: Outcome,
        now_ns: u64,
        random: &mut Random,
    ) -> Wake {
        debug_assert!(
            grant
                .room()
                .is_none_or(|room| std::ptr::eq(&raw const *room, self))
        );
        grant.settled = true;
        let mut state = self.lock();
        let slot = grant.endpoint.slot as usize;
        state.release(slot, grant.trial, now_ns);
        let mut wake = Wake::default();
        wake.ejected = state.judge(slot, outcome, grant.granted_ns, now_ns);
        state.pump(&mut wake, now_ns, random);
        state.invariants();
        wake
    }

    /// Gives free permits to waiters that may use them. After `configure`, after
    /// [`Entered::Queued`] with `pump`, and whenever it may help: it costs one lock.
    pub fn pump(&self, now_ns: u64, random: &mut Random) -> Wake {
        let mut state = self.lock();
        let mut wake = Wake::default();
        state.pump(&mut wake, now_ns, random);
        wake
    }

    /// Takes a dead worker's waiters out of the queue. Its permits came back when its grants were
    /// dropped; the wake hands them on.
    pub fn forget_worker(&self, worker: WorkerId, now_ns: u64, random: &mut Random) -> Wake {
        let mut state = self.lock();
        let dead: Vec<_> = state
            .queue
            .iter()
            .filter_map(|(place, waiter)| (waiter.worker == worker).then_some(place))
            .collect();
        for place in dead {
            state.queue.remove(place);
        }
        let mut wake = Wake::default();
        state.pump(&mut wake, now_ns, random);
        state.invariants();
        wake
    }

    /// Notes the time from dispatch to the first token.
    pub fn first_token(&self, slot: u32, elapsed_ns: u64, now_ns: u64) {
        if let Some(state) = self.lock().endpoints.get_mut(slot as usize) {
            state.first_token(elapsed_ns, now_ns);
        }
    }

    /// Whether one more retry is within the pool's budget; if so it is counted.
    pub fn retry_permitted(&self, now_ns: u64) -> bool {
        self.lock().budget.try_retry(now_ns)
    }

    /// A delay for a client whose wait in the queue expired: jittered, 1 to 120,000 ms.
    pub fn retry_after_ms(&self, now_ns: u64, random: &mut Random) -> u64 {
        let mut state = self.lock();
        let depth = state.queue.depth();
        let wait_ns = state.predicted_wait_ns(depth, now_ns);
        state.retry_after_ms(wait_ns, random)
    }

    /// As `Shared::resolve`, for the endpoints of this pool.
    pub fn resolve(&self, host: &str, addresses: &[IpAddr]) -> bool {
        self.lock().resolve(host, addresses)
    }

    /// Nothing in flight and nobody waiting.
    pub fn quiet(&self) -> bool {
        let state = self.lock();
        state.queue.is_empty() && state.endpoints.iter().all(|e| e.in_flight == 0)
    }

    /// For the `RateLimit` fields: places in the channel, free ones, and when it will be empty.
    pub fn rate(&self, now_ns: u64) -> RateView {
        self.lock().rate(now_ns)
    }

    /// Everything that can be seen of the room.
    pub fn snapshot(&self, now_ns: u64) -> RoomView {
        self.lock().view(&self.name, now_ns)
    }

    /// The net under a grant that was dropped: the permit is free again, its outcome unknown.
    pub(super) fn take_back(&self, grant: &Grant) {
        let mut state = self.lock();
        state.lost_total += 1;
        state.release(grant.endpoint.slot as usize, grant.trial, grant.granted_ns);
        state.invariants();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}
