//! What time does to requests: given up, left by their clients, cut off at the end of a run.

use std::cmp::Reverse;

use super::{
    generator::{Generator, SWEEP_NS},
    link::{LinkState, Request},
    outcome::Outcome,
    trunk::Flow,
};
use crate::slab::Key;

impl Generator<'_> {
    /// Gives up what takes too long.
    pub(super) fn sweep(&mut self, now_ns: u64) {
        if self.next_sweep_ns > now_ns {
            return;
        }
        self.next_sweep_ns = now_ns + SWEEP_NS;
        let timeout_ns = self.options.timeout_ms * 1_000_000;
        for index in 0..self.links.bound() {
            let Some(link) = self.links.at(index) else {
                continue;
            };
            let late = |request: &Request| request.sent_ns + timeout_ns <= now_ns;
            if link.request.as_ref().is_some_and(late) {
                self.finish(index, Outcome::Timeout, false, now_ns);
            }
        }
        for index in 0..self.flows.bound() {
            let late = |flow: &mut Flow| flow.request.sent_ns + timeout_ns <= now_ns;
            if self.flows.at(index).is_some_and(late)
                && let Some(flow) = self.flows.key(index)
            {
                self.end_flow(flow, Outcome::Timeout, now_ns);
            }
        }
    }

    /// The run is over: whatever is still under way has not come in time.
    pub(super) fn give_up(&mut self, now_ns: u64) {
        let ours = if self.stopped {
            Outcome::Aborted
        } else {
            Outcome::Timeout
        };
        for index in 0..self.links.bound() {
            if self
                .links
                .at(index)
                .is_some_and(|link| link.request.is_some())
            {
                self.finish(index, ours, false, now_ns);
            }
        }
        for index in 0..self.flows.bound() {
            if let Some(flow) = self.flows.key(index) {
                self.end_flow(flow, ours, now_ns);
            }
        }
        for due in std::mem::take(&mut self.backlog) {
            self.ledger.ended(&Self::request(due, now_ns), ours, now_ns);
        }
    }

    pub(super) fn plan_leave(&mut self, key: Key, at_ns: u64) {
        self.leaves.push(Reverse((at_ns, key)));
    }

    pub(super) fn leave_due(&mut self, now_ns: u64) {
        while let Some(Reverse((at_ns, key))) = self.leaves.peek().copied() {
            if at_ns > now_ns {
                return;
            }
            self.leaves.pop();
            let planned = |flow: &mut Flow| flow.request.leave_ns == at_ns;
            if self.flows.find(key).is_some_and(planned) {
                self.leave_flow(key, now_ns);
            }
            let Some(link) = self.links.find(key) else {
                continue;
            };
            if link.state == LinkState::Lingering {
                self.links.remove(key.index);
            } else if link
                .request
                .as_ref()
                .is_some_and(|request| request.leave_ns == at_ns)
            {
                self.leave(key.index, now_ns);
            }
        }
    }
}
