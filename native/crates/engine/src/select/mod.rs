//! Which endpoint? The state of one endpoint and the choice among several.
//!
//! Three policies, one file each. It never takes a permit (the waiting room does) and never looks
//! at a request. **Invariant:** what is picked is active, below its concurrency, not excluded, and
//! not ejected unless every active endpoint is.

mod least_loaded;
mod peak_ewma;
mod weighted;

pub use peak_ewma::FIRST_TOKEN_DECAY_NS;
pub use weighted::WeightedPicker;

use crate::limits::FULL_SCAN_MAX;
use crate::random::Random;
use crate::snapshot::plan::Balance;

/// Tries to draw a candidate by weight before the draw is taken as it is. With weights within a
/// factor of 16 of each other a miss is rarer than one in ten thousand draws.
const DRAWS_MAX: u32 = 128;

/// What is known of one endpoint. A line of its own: touched per request, never per token.
#[derive(Clone, Debug, Default)]
#[repr(align(128))]
pub struct EndpointState {
    /// Relative share, at least 1 where active.
    pub weight: u32,
    /// Requests at a time.
    pub concurrency: u32,
    /// Permits out. May be above `concurrency` after a reload lowered it.
    pub in_flight: u32,
    /// Of these, how many try out an endpoint whose ejection ended: at most 1 unless in panic.
    pub trials: u32,
    /// Smooth weighted round-robin: the sum over usable endpoints stays 0.
    pub current_weight: i64,
    /// Whether it is ejected, or ended its ejection and has not proved itself yet.
    pub ejected: bool,
    /// Whether the present configuration names it.
    pub active: bool,
    /// Failures since the last success.
    pub failures_in_row: u32,
    /// Ejections since it was last well for long: the exponent of the next one.
    pub ejections: u32,
    /// When the present ejection began.
    pub ejected_at_ns: u64,
    /// Until when nothing is sent to it.
    pub ejected_until_ns: u64,
    /// Peak EWMA of the time to the first token; 0 = never measured.
    pub first_token_ewma_ns: f64,
    /// When that was last updated.
    pub ewma_at_ns: u64,
    /// Permits given in all.
    pub requests_total: u64,
    /// Failures in all.
    pub failures_total: u64,
}

const _: () = assert!(size_of::<EndpointState>() == 128);

impl EndpointState {
    /// A fresh endpoint.
    pub fn new(weight: u32, concurrency: u32) -> Self {
        Self {
            weight: weight.max(1),
            concurrency,
            active: true,
            ..Self::default()
        }
    }

    /// Whether a request may go there now: one at a time to an endpoint that is on trial.
    #[inline]
    pub fn usable(&self, now_ns: u64) -> bool {
        let well = !self.ejected || (now_ns >= self.ejected_until_ns && self.trials == 0);
        well && self.has_room()
    }

    /// Whether it is configured and below its concurrency, ejected or not.
    #[inline]
    pub fn has_room(&self) -> bool {
        self.active && self.in_flight < self.concurrency
    }

    /// Takes one time to a first token into account.
    pub fn first_token(&mut self, elapsed_ns: u64, now_ns: u64) {
        peak_ewma::observe(self, elapsed_ns, now_ns);
    }
}

/// The standing of one endpoint under a policy: the lowest is chosen. Weighted round-robin has no
/// load term; its score is the negative of the turn that an endpoint has saved up.
///
/// `unknown_ns` stands in for a first-token time that was never measured.
#[inline]
pub fn score(balance: Balance, state: &EndpointState, now_ns: u64, unknown_ns: f64) -> f64 {
    match balance {
        Balance::LeastLoaded => least_loaded::score(state),
        Balance::Weighted => -((state.current_weight + i64::from(state.weight)) as f64),
        Balance::PeakEwma => peak_ewma::score(state, now_ns, unknown_ns),
    }
}

/// What [`score`] takes for endpoints that were never measured: the mean of those that were.
pub fn unknown_ns(balance: Balance, states: &[EndpointState], now_ns: u64) -> f64 {
    match balance {
        // Nobody asks for it once all are measured.
        Balance::PeakEwma if states.iter().any(peak_ewma::is_unknown) => {
            peak_ewma::mean_ns(states.iter(), now_ns)
        }
        Balance::PeakEwma | Balance::LeastLoaded | Balance::Weighted => 0.0,
    }
}

/// Picks once, with no memory of earlier picks but what `states` hold.
pub fn pick(
    balance: Balance,
    states: &mut [EndpointState],
    excluded: &[u32],
    now_ns: u64,
    random: &mut Random,
) -> Option<usize> {
    Selector::new(balance, states).pick(states, excluded, now_ns, random)
}

/// A policy and what it keeps between picks.
#[derive(Clone, Debug)]
pub struct Selector {
    balance: Balance,
    /// Greatest weight among active endpoints: draws by weight are accepted against it.
    weight_max: u32,
    /// Where the next full scan begins, so that ties go around.
    start: usize,
}

/// Who may be picked.
#[derive(Clone, Copy)]
struct Filter<'a> {
    excluded: &'a [u32],
    now_ns: u64,
    /// Every active endpoint is ejected: any is better than none.
    panic: bool,
}

impl Filter<'_> {
    #[inline]
    fn admits(&self, index: usize, state: &EndpointState) -> bool {
        let well = if self.panic {
            state.has_room()
        } else {
            state.usable(self.now_ns)
        };
        well && !self.excluded.contains(&(index as u32))
    }
}

impl Selector {
    /// A selector over `states`. Make a new one when weights or the active set change.
    pub fn new(balance: Balance, states: &[EndpointState]) -> Self {
        let weight_max = states.iter().filter(|s| s.active).map(|s| s.weight).max();
        Self {
            balance,
            weight_max: weight_max.unwrap_or(1),
            start: 0,
        }
    }

    /// The policy.
    pub fn balance(&self) -> Balance {
        self.balance
    }

    /// Chooses an endpoint that can take a request now. `excluded` are positions in `states`.
    ///
    /// Changes nothing but turns of weighted round-robin: the permit is the caller's to take.
    pub fn pick(
        &mut self,
        states: &mut [EndpointState],
        excluded: &[u32],
        now_ns: u64,
        random: &mut Random,
    ) -> Option<usize> {
        let filter = Filter {
            excluded,
            now_ns,
            panic: false,
        };
        let found = self.pick_filtered(states, filter, random);
        if found.is_some() || !all_ejected(states) {
            return found;
        }
        self.pick_filtered(
            states,
            Filter {
                panic: true,
                ..filter
            },
            random,
        )
    }

    fn pick_filtered(
        &mut self,
        states: &mut [EndpointState],
        filter: Filter<'_>,
        random: &mut Random,
    ) -> Option<usize> {
        if states.is_empty() {
            return None;
        }
        if states.len() > FULL_SCAN_MAX {
            return self.pick_sampled(states, filter, random);
        }
        self.start = if self.start + 1 < states.len() {
            self.start + 1
        } else {
            0
        };
        match self.balance {
            Balance::LeastLoaded => scan(states, self.start, filter, least_loaded::score),
            Balance::Weighted => {
                weighted::smooth(states, |index, state| filter.admits(index, state))
            }
            Balance::PeakEwma => {
                let unknown_ns = unknown_ns(self.balance, states, filter.now_ns);
                scan(states, self.start, filter, |state| {
                    peak_ewma::score(state, filter.now_ns, unknown_ns)
                })
            }
        }
    }

    /// Two draws by weight, the better one wins. Weighted round-robin takes the first: a draw by
    /// weight is its distribution already.
    fn pick_sampled(
        &self,
        states: &[EndpointState],
        filter: Filter<'_>,
        random: &mut Random,
    ) -> Option<usize> {
        let first = self.draw(states, filter, random);
        if self.balance == Balance::Weighted && first.is_some() {
            return first;
        }
        match (first, self.draw(states, filter, random)) {
            (Some(a), Some(b)) => {
                let pair = [&states[a], &states[b]];
                let unknown_ns = peak_ewma::mean_ns(pair.into_iter(), filter.now_ns);
                let rank = |state| score(self.balance, state, filter.now_ns, unknown_ns);
                Some(if rank(pair[1]) < rank(pair[0]) { b } else { a })
            }
            (Some(only), None) | (None, Some(only)) => Some(only),
            // Near saturation both draws miss: whatever is free, from a random start.
            (None, None) => {
                let start = random.below(states.len() as u64) as usize;
                let (before, after) = states.split_at(start);
                let at = |(index, state): (usize, _)| filter.admits(index, state).then_some(index);
                let tail = after
                    .iter()
                    .enumerate()
                    .map(|(i, s)| (i + start, s))
                    .find_map(at);
                tail.or_else(|| before.iter().enumerate().find_map(at))
            }
        }
    }

    /// One draw in proportion to weight; `None` if what came up cannot take a request.
    fn draw(
        &self,
        states: &[EndpointState],
        filter: Filter<'_>,
        random: &mut Random,
    ) -> Option<usize> {
        for _ in 0..DRAWS_MAX {
            let index = random.below(states.len() as u64) as usize;
            let state = &states[index];
            if !state.active {
                continue;
            }
            if random.below(u64::from(self.weight_max)) < u64::from(state.weight) {
                return filter.admits(index, state).then_some(index);
            }
        }
        None
    }
}

/// Whether some endpoint could take a request now. Changes nothing.
pub fn available(states: &[EndpointState], excluded: &[u32], now_ns: u64) -> bool {
    let any = |panic| {
        let filter = Filter {
            excluded,
            now_ns,
            panic,
        };
        states
            .iter()
            .enumerate()
            .any(|(index, state)| filter.admits(index, state))
    };
    any(false) || (all_ejected(states) && any(true))
}

/// Whether some endpoint could take a request now or once a permit comes back: active, not
/// excluded, and not within an ejection (unless all are).
pub fn reachable(states: &[EndpointState], excluded: &[u32], now_ns: u64) -> bool {
    let any = |panic: bool| {
        states.iter().enumerate().any(|(index, state)| {
            state.active
                && (panic || !state.ejected || now_ns >= state.ejected_until_ns)
                && !excluded.contains(&(index as u32))
        })
    };
    any(false) || (all_ejected(states) && any(true))
}

/// Whether there are active endpoints and each of them is ejected or on trial.
fn all_ejected(states: &[EndpointState]) -> bool {
    let mut active = states.iter().filter(|state| state.active).peekable();
    active.peek().is_some() && active.all(|state| state.ejected)
}

/// The lowest score, first from `start` on among equals.
#[inline]
fn scan(
    states: &[EndpointState],
    start: usize,
    filter: Filter<'_>,
    rank: impl Fn(&EndpointState) -> f64,
) -> Option<usize> {
    let (before, after) = states.split_at(start);
    let mut best: Option<(f64, usize)> = None;
    let order = after.iter().enumerate().map(|(i, s)| (i + start, s));
    for (index, state) in order.chain(before.iter().enumerate()) {
        if filter.admits(index, state) {
            let rank = rank(state);
            if best.is_none_or(|(lowest, _)| rank < lowest) {
                best = Some((rank, index));
            }
        }
    }
    best.map(|(_, index)| index)
}

#[cfg(test)]
mod tests;
