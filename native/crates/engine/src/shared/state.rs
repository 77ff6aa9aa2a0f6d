//! What the mutex of a waiting room guards, and each step on it. No step is seen half done.
//!
//! **Invariant:** `free` is the sum of what active endpoints have below their concurrency, and
//! with free permits nobody of the first 16 waiters could use one (but for the passing of time).

use std::net::IpAddr;
use std::sync::{Arc, Weak};

use super::budget::Budget;
use super::drain::Drain;
use super::eject::{self, EjectRule};
use super::grant::{Ask, Endpoint, Grant, Outcome, Refusal, RefusalReason, Wake, Woken};
use super::room::{Room, RoomConfig};
use super::target::{News, Target};
use super::view::{EndpointView, RateView, RoomView};
use crate::channel::{Channel, Full, Place};
use crate::clock::{MS, SECOND};
use crate::ids::{ExchangeId, WorkerId};
use crate::limits::{GRANT_SCAN_MAX, RETRY_AFTER_MS_MAX};
use crate::random::Random;
use crate::select::{self, EndpointState, Selector};
use crate::snapshot::plan::{Balance, EndpointPlan};

/// Part of a delay that is random, so that refused clients do not come back together.
const RETRY_AFTER_JITTER: f64 = 0.2;

/// Somebody in the queue.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) worker: WorkerId,
    exchange: ExchangeId,
    /// Empty but for retries, so it does not allocate.
    excluded: Vec<u32>,
    entered_ns: u64,
}

/// The guarded state.
#[derive(Debug)]
pub(super) struct State {
    /// By slot.
    pub(super) endpoints: Vec<EndpointState>,
    /// By slot: what grants refer to.
    faces: Vec<Arc<Endpoint>>,
    pub(super) queue: Channel<Waiter>,
    pub(super) free: u64,
    /// Permits that active endpoints have, free or not.
    pub(super) permits: u64,
    pub(super) budget: Budget,
    /// Permits that came back by being dropped.
    pub(super) lost_total: u64,
    selector: Selector,
    drain: Drain,
    eject: EjectRule,
    max_wait_ns: u64,
}

impl State {
    pub(super) fn new() -> Self {
        Self {
            endpoints: Vec::new(),
            faces: Vec::new(),
            queue: Channel::new(0, 0),
            free: 0,
            permits: 0,
            budget: Budget::default(),
            lost_total: 0,
            selector: Selector::new(Balance::LeastLoaded, &[]),
            drain: Drain::default(),
            eject: EjectRule::default(),
            max_wait_ns: 0,
        }
    }

    pub(super) fn configure(
        &mut self,
        config: &RoomConfig,
        home: &Weak<Room>,
        now_ns: u64,
    ) -> Vec<Arc<Endpoint>> {
        for state in &mut self.endpoints {
            state.active = false;
            state.current_weight = 0;
        }
        let faces = config
            .endpoints
            .iter()
            .map(|plan| self.place(plan, home))
            .collect();
        self.selector = Selector::new(config.balance, &self.endpoints);
        self.queue
            .set_bounds(config.channel.capacity as usize, config.channel.bytes_max);
        self.max_wait_ns = config.channel.max_wait_ms.saturating_mul(MS);
        self.budget
            .configure(config.retry.budget_ratio, config.retry.budget_min_per_s);
        self.eject = EjectRule::from(&config.eject);
        self.free = free_permits(&self.endpoints);
        let active = self.endpoints.iter().filter(|e| e.active);
        self.permits = active.map(|e| u64::from(e.concurrency)).sum();
        self.note_saturation(now_ns);
        faces
    }

    /// Finds the slot of a planned endpoint: its own, or one that nobody uses, or a new one.
    fn place(&mut self, plan: &EndpointPlan, home: &Weak<Room>) -> Arc<Endpoint> {
        let own = self.faces.iter().position(|face| face.name == plan.name);
        let own = own.filter(|&slot| !self.endpoints[slot].active);
        let slot = own.or_else(|| {
            self.endpoints
                .iter()
                .position(|state| !state.active && state.in_flight == 0)
        });
        let slot = slot.unwrap_or(self.endpoints.len());
        let address = plan.address.clone();
        let target = match own.and_then(|slot| self.faces.get(slot)) {
            Some(face) => face.target.renewed(address),
            None => Target::new(address),
        };
        let face = Arc::new(Endpoint {
            name: plan.name.clone(),
            target: Arc::new(target),
            http2: plan.http2,
            tls: plan.tls.clone().map(Arc::new),
            tls_http1: plan.tls.clone().map(|mut tls| {
                tls.alpn.retain(|protocol| protocol != "h2");
                Arc::new(tls)
            }),
            authority: plan.authority.clone(),
            path_prefix: plan.path_prefix.clone(),
            slot: slot as u32,
            home: home.clone(),
        });
        if slot == self.endpoints.len() {
            self.endpoints
                .push(EndpointState::new(plan.weight, plan.concurrency));
            self.faces.push(Arc::clone(&face));
        } else if own.is_none() {
            self.endpoints[slot] = EndpointState::new(plan.weight, plan.concurrency);
        }
        let state = &mut self.endpoints[slot];
        state.active = true;
        state.weight = plan.weight.max(1);
        state.concurrency = plan.concurrency;
        self.faces[slot] = Arc::clone(&face);
        face
    }

    /// Takes a newer answer for a name in; whether it changed anything. An endpoint that never had
    /// an address could not be dialled, and could not show that it is well: that is forgiven.
    pub(super) fn resolve(&mut self, host: &str, addresses: &[IpAddr]) -> bool {
        let mut changed = false;
        for (face, state) in self.faces.iter().zip(&mut self.endpoints) {
            let news = face.target.resolved(host, addresses);
            changed |= news != News::None;
            if news == News::First {
                eject::forgive(state);
            }
        }
        changed
    }

    pub(super) fn pick(
        &mut self,
        excluded: &[u32],
        now_ns: u64,
        random: &mut Random,
    ) -> Option<usize> {
        self.selector
            .pick(&mut self.endpoints, excluded, now_ns, random)
    }

    /// Takes a permit of `slot`, which was just picked.
    pub(super) fn grant(
        &mut self,
        slot: usize,
        sequence: u64,
        waited_ns: u64,
        now_ns: u64,
    ) -> Grant {
        let state = &mut self.endpoints[slot];
        debug_assert!(state.has_room());
        state.in_flight += 1;
        state.requests_total += 1;
        let trial = state.ejected;
        state.trials += u32::from(trial);
        self.free -= 1;
        self.note_saturation(now_ns);
        Grant {
            endpoint: Arc::clone(&self.faces[slot]),
            granted_ns: now_ns,
            waited_ns,
            sequence,
            trial,
            settled: false,
        }
    }

    /// Takes a permit back.
    pub(super) fn release(&mut self, slot: usize, trial: bool, now_ns: u64) {
        self.drain.release(now_ns);
        let state = &mut self.endpoints[slot];
        debug_assert!(state.in_flight > 0 && state.trials >= u32::from(trial));
        state.in_flight = state.in_flight.saturating_sub(1);
        state.trials = state.trials.saturating_sub(u32::from(trial));
        self.free += u64::from(state.has_room());
        self.note_saturation(now_ns);
    }

    /// Takes an outcome in. True: the endpoint was ejected by it.
    pub(super) fn judge(
        &mut self,
        slot: usize,
        outcome: Outcome,
        granted_ns: u64,
        now_ns: u64,
    ) -> bool {
        eject::judge(
            &self.eject,
            &mut self.endpoints,
            slot,
            outcome,
            granted_ns,
            now_ns,
        )
    }

    /// Whether somebody who is before `ask` in the order could have a free permit: then it is not
    /// the newcomer's.
    pub(super) fn head_could_go(&self, ask: &Ask<'_>) -> bool {
        let before = (ask.class, ask.sequence.unwrap_or(u64::MAX));
        self.queue
            .iter()
            .take(GRANT_SCAN_MAX)
            .take_while(|(place, _)| (place.class, place.sequence) < before)
            .any(|(_, waiter)| select::available(&self.endpoints, &waiter.excluded, ask.now_ns))
    }

    /// Gives free permits away, in order, until nobody of the first 16 can use one.
    pub(super) fn pump(&mut self, wake: &mut Wake, now_ns: u64, random: &mut Random) {
        while self.free > 0 {
            let Some((place, slot)) = self.next_waiter(now_ns, random) else {
                break;
            };
            let Some(waiter) = self.queue.remove(place) else {
                break;
            };
            let waited_ns = now_ns.saturating_sub(waiter.entered_ns);
            let grant = self.grant(slot, place.sequence, waited_ns, now_ns);
            wake.push(Woken {
                worker: waiter.worker,
                exchange: waiter.exchange,
                grant,
            });
        }
        self.note_saturation(now_ns);
    }

    /// The first of the first 16 waiters that some endpoint can take, and that endpoint.
    fn next_waiter(&mut self, now_ns: u64, random: &mut Random) -> Option<(Place, usize)> {
        let Self {
            queue,
            selector,
            endpoints,
            ..
        } = self;
        for (place, waiter) in queue.iter().take(GRANT_SCAN_MAX) {
            if let Some(slot) = selector.pick(endpoints, &waiter.excluded, now_ns, random) {
                return Some((place, slot));
            }
            // Who may go anywhere and cannot go: then nobody can.
            if waiter.excluded.is_empty() {
                return None;
            }
        }
        None
    }

    /// Why `ask` should not even wait; a retry has waited already.
    pub(super) fn why_not_wait(&mut self, ask: &Ask<'_>) -> Option<RefusalReason> {
        if !select::reachable(&self.endpoints, ask.excluded, ask.now_ns) {
            return Some(RefusalReason::NoEndpoint);
        }
        if !self.queue.fits(ask.held_bytes) {
            // The send itself refuses, and counts it.
            return None;
        }
        let ahead = self.queue.ahead(ask.class);
        let wait_ns = self.predicted_wait_ns(ahead, ask.now_ns);
        let hopeless = self.max_wait_ns == 0 || wait_ns.is_some_and(|ns| ns > self.max_wait_ns);
        (hopeless && ask.sequence.is_none()).then_some(RefusalReason::Hopeless)
    }

    /// Puts `ask` in the queue.
    pub(super) fn file(&mut self, ask: &Ask<'_>) -> Result<Place, Full<Waiter>> {
        let waiter = Waiter {
            worker: ask.worker,
            exchange: ask.exchange,
            excluded: ask.excluded.to_vec(),
            entered_ns: ask.now_ns,
        };
        let place = self
            .queue
            .try_send_at(ask.class, ask.sequence, waiter, ask.held_bytes)?;
        self.note_saturation(ask.now_ns);
        Ok(place)
    }

    /// Wait of somebody with `ahead` waiters before it; `None` while the rate is not known. At most
    /// twice what a `Retry-After` may say.
    pub(super) fn predicted_wait_ns(&mut self, ahead: usize, now_ns: u64) -> Option<u64> {
        let release_ns = self.drain.release_ns(now_ns)?;
        let wait_ns = release_ns * (ahead + 1) as f64;
        Some(wait_ns.clamp(0.0, (2 * RETRY_AFTER_MS_MAX * MS) as f64) as u64)
    }

    pub(super) fn refusal(
        &mut self,
        reason: RefusalReason,
        ask: &Ask<'_>,
        pump: bool,
        random: &mut Random,
    ) -> Refusal {
        let depth = self.queue.depth();
        let ahead = self.queue.ahead(ask.class);
        let wait_ns = self.predicted_wait_ns(ahead, ask.now_ns);
        let back_ns = match reason {
            RefusalReason::NoEndpoint => self.next_trial_ns(ask.now_ns),
            // Once all who wait now are served there is room for sure.
            RefusalReason::Full | RefusalReason::Hopeless => {
                self.predicted_wait_ns(depth, ask.now_ns)
            }
        };
        Refusal {
            reason,
            retry_after_ms: self.retry_after_ms(back_ns, random),
            depth: depth as u32,
            capacity: self.queue.capacity() as u32,
            wait_estimate_ms: wait_ns.unwrap_or(0) / MS,
            pump,
        }
    }

    /// A delay to tell a client; a second when nothing is known.
    pub(super) fn retry_after_ms(&self, wait_ns: Option<u64>, random: &mut Random) -> u64 {
        let ms = wait_ns.unwrap_or(SECOND.max(self.max_wait_ns)).div_ceil(MS);
        let ms = ms.min(RETRY_AFTER_MS_MAX);
        random
            .jitter(ms, RETRY_AFTER_JITTER)
            .clamp(1, RETRY_AFTER_MS_MAX)
    }

    /// Until the first ejection ends.
    fn next_trial_ns(&self, now_ns: u64) -> Option<u64> {
        let ejected = self.endpoints.iter().filter(|e| e.active && e.ejected);
        let next_ns = ejected
            .map(|e| e.ejected_until_ns)
            .filter(|&at| at > now_ns)
            .min()?;
        Some(next_ns - now_ns)
    }

    pub(super) fn note_saturation(&mut self, now_ns: u64) {
        self.drain
            .set_saturated(self.free == 0 || !self.queue.is_empty(), now_ns);
    }

    pub(super) fn rate(&mut self, now_ns: u64) -> RateView {
        let limit = self.queue.capacity() as u32;
        let depth = self.queue.depth();
        let empty_ns = match depth.checked_sub(1) {
            Some(ahead) => self
                .predicted_wait_ns(ahead, now_ns)
                .unwrap_or(self.max_wait_ns),
            None => 0,
        };
        RateView {
            limit,
            remaining: limit.saturating_sub(depth as u32),
            reset_s: empty_ns.div_ceil(SECOND) as u32,
        }
    }

    pub(super) fn view(&mut self, name: &str, now_ns: u64) -> RoomView {
        let balance = self.selector.balance();
        let unknown_ns = select::unknown_ns(balance, &self.endpoints, now_ns);
        let endpoint = |(face, state): (&Arc<Endpoint>, &EndpointState)| {
            let left_ns = state.ejected_until_ns.saturating_sub(now_ns);
            EndpointView {
                name: face.name.clone(),
                slot: face.slot,
                active: state.active,
                weight: state.weight,
                concurrency: state.concurrency,
                in_flight: state.in_flight,
                ejected_ms_left: if state.ejected {
                    left_ns.div_ceil(MS)
                } else {
                    0
                },
                on_trial: state.ejected && left_ns == 0,
                failures_in_row: state.failures_in_row,
                ewma_ms: state.first_token_ewma_ns / MS as f64,
                requests_total: state.requests_total,
                failures_total: state.failures_total,
                score: select::score(balance, state, now_ns, unknown_ns),
                addresses: face.target.addresses(),
                connections: face.target.open(),
            }
        };
        let pairs = self.faces.iter().zip(&self.endpoints);
        let endpoints = pairs
            .filter(|(_, s)| s.active || s.in_flight > 0)
            .map(endpoint)
            .collect();
        RoomView {
            name: name.to_owned(),
            depth: self.queue.depth() as u32,
            capacity: self.queue.capacity() as u32,
            bytes: self.queue.bytes(),
            high_water: self.queue.high_water() as u32,
            drain_per_s: self.drain.release_ns(now_ns).map(|ns| SECOND as f64 / ns),
            permits_free: self.free,
            permits_lost_total: self.lost_total,
            endpoints,
        }
    }

    /// Checks what must hold between calls (debug builds only).
    pub(super) fn invariants(&self) {
        debug_assert_eq!(self.free, free_permits(&self.endpoints));
        debug_assert_eq!(self.faces.len(), self.endpoints.len());
        debug_assert!(self.endpoints.iter().all(|e| e.trials <= e.in_flight));
        debug_assert!(
            self.faces
                .iter()
                .enumerate()
                .all(|(at, face)| face.slot as usize == at)
        );
        self.queue.invariants();
    }
}

fn free_permits(endpoints: &[EndpointState]) -> u64 {
    let free = |e: &EndpointState| u64::from(e.concurrency.saturating_sub(e.in_flight));
    endpoints.iter().filter(|e| e.active).map(free).sum()
}
