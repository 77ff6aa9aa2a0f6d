//! Tokens that share a write: connections of HTTP/2 may wait a moment for what the same step of an
//! engine emits for their other streams.
//!
//! An engine's step writes to all of its connections within a millisecond; sent one by one, each
//! token costs a write. Waiting pays only while steps are seen, so the last windows decide: one
//! that was waited through, or one that was only watched. **Invariant:** no byte waits longer than
//! its listener's `gather_max_us` and the turn that is under way then; what is no token (a head, a
//! reset, the end of a response) goes at once and takes along what its connection holds.

use crate::conn::{Client, Conn};
use crate::engine::Engine;
use crate::exchange::Exchange;
use crate::ids::ConnId;
use crate::limits::{GATHER_BYTES_MAX, GATHER_CAUGHT_MIN, GATHER_MISSES_MAX};
use crate::metrics::Metric;
use crate::snapshot::plan::Dialect;

/// The window of one worker.
#[derive(Debug)]
pub(crate) struct Gather {
    /// When the window opened; its first turn.
    since_ns: u64,
    /// When it closes; 0 = none is open.
    until_ns: u64,
    /// Pieces that came in later turns than the first: what waiting catches.
    caught: u32,
    /// Windows in a row that caught too little.
    misses: u32,
    /// Connections that wait in it; empty when it is only watched.
    held: Vec<ConnId>,
}

impl Default for Gather {
    fn default() -> Self {
        Self {
            since_ns: 0,
            until_ns: 0,
            caught: 0,
            misses: GATHER_MISSES_MAX,
            held: Vec::new(),
        }
    }
}

impl Gather {
    /// When those who wait are to be sent.
    pub(crate) fn deadline_ns(&self) -> Option<u64> {
        (!self.held.is_empty()).then_some(self.until_ns)
    }

    /// A connection ended: nothing waits on it.
    pub(crate) fn leave(&mut self, id: ConnId) {
        self.held.retain(|held| *held != id);
    }

    /// A piece came. `true`: it is to wait.
    fn takes(&mut self, now_ns: u64, gather_ns: u64) -> bool {
        if !self.held.is_empty() || now_ns < self.until_ns {
            self.caught += u32::from(now_ns > self.since_ns);
        } else {
            if self.until_ns > 0 {
                self.judge();
            }
            self.since_ns = now_ns;
            self.until_ns = now_ns + gather_ns;
        }
        self.misses < GATHER_MISSES_MAX
    }

    /// The window is over: was it, or would it have been, worth the wait?
    fn judge(&mut self) {
        if std::mem::take(&mut self.caught) >= GATHER_CAUGHT_MIN {
            self.misses = 0;
        } else {
            self.misses = (self.misses + 1).min(GATHER_MISSES_MAX);
        }
    }
}

impl Engine {
    /// Marks a connection for the flush, behind a piece of a response: now, or when more came.
    pub(crate) fn mark_piece(&mut self, exchange: &Exchange) {
        let id = exchange.client;
        if exchange.stream == 0 || !(exchange.response.sse || exchange.dialect == Dialect::Grpc) {
            return self.mark(id);
        }
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        let waits = !conn.dirty && conn.out.len() < GATHER_BYTES_MAX;
        let gather_ns = conn.client().map_or(0, Client::gather_ns);
        if gather_ns == 0 || !self.gather.takes(self.now.mono_ns, gather_ns) || !waits {
            return self.mark(id);
        }
        if !std::mem::replace(&mut conn.gathers, true) {
            self.gather.held.push(id);
        }
    }

    /// At the end of a turn: sends what has waited long enough.
    pub(crate) fn end_gather(&mut self) {
        if self.gather.held.is_empty() || self.now.mono_ns < self.gather.until_ns {
            return;
        }
        let caught = self.gather.caught;
        self.gather.judge();
        self.cells.inc(Metric::Gathers);
        self.cells.add(Metric::GatheredPieces, u64::from(caught));
        let mut held = std::mem::take(&mut self.gather.held);
        for id in held.drain(..) {
            if let Some(conn) = self.conns.get_mut(id) {
                let conn: &mut Conn = conn;
                conn.gathers = false;
            }
            self.mark(id);
        }
        self.gather.held = held;
        self.gather.until_ns = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW_NS: u64 = 50_000;

    /// Pieces a gap apart; how many of them were to wait.
    fn waited(gather: &mut Gather, start_ns: u64, gap_ns: u64, pieces: u64) -> u64 {
        (0..pieces)
            .map(|at| u64::from(gather.takes(start_ns + at * gap_ns, WINDOW_NS)))
            .sum()
    }

    #[test]
    fn scattered_pieces_never_wait() {
        let mut gather = Gather::default();
        assert_eq!(waited(&mut gather, 1, 20_000, 1_000), 0);
    }

    #[test]
    fn pieces_of_a_step_wait_from_the_second_window_on() {
        let mut gather = Gather::default();
        assert_eq!(waited(&mut gather, 1, 10_000, 100), 95);
    }

    #[test]
    fn steps_apart_keep_it_armed_and_scattered_pieces_disarm_it() {
        let mut gather = Gather::default();
        waited(&mut gather, 1, 5_000, 50);
        let later_ns = 20_000_000;
        assert_eq!(waited(&mut gather, later_ns, 5_000, 50), 50);
        let after_ns = 40_000_000;
        let scattered = waited(&mut gather, after_ns, 1_000_000, 50);
        assert!(scattered <= u64::from(GATHER_MISSES_MAX), "{scattered}");
    }

    #[test]
    fn a_whole_step_in_one_turn_has_nothing_to_wait_for() {
        let mut gather = Gather::default();
        for step in 1..100 {
            assert_eq!(waited(&mut gather, step * 20_000_000, 0, 200), 0);
        }
    }
}
