//! What is counted during one part of a run.
//!
//! A request belongs to the part in which it was due, wherever it ends; its bytes and tokens, CPU
//! and the units it is divided by belong to the part in which the clock saw them.

use std::collections::BTreeMap;

use super::outcome::Outcome;
use crate::{histogram::Histogram, process::Sample};

/// See the head of the file. Times are nanoseconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) name: String,
    pub(crate) started_ns: u64,
    pub(crate) ended_ns: u64,
    pub(crate) offered: u64,
    /// Requests answered with a 2xx head.
    pub(crate) admitted: u64,
    pub(crate) outcomes: [u64; Outcome::ALL.len()],
    pub(crate) statuses: BTreeMap<u16, u64>,
    pub(crate) shed_with_retry_after: u64,
    /// Truncated answers whose HTTP framing was complete.
    pub(crate) truncated_looks_complete: u64,
    /// Truncated answers that ended inside an event.
    pub(crate) truncated_mid_event: u64,
    pub(crate) closed_before_head: u64,
    pub(crate) stale_retries: u64,
    pub(crate) connections_opened: u64,
    pub(crate) handshakes_full: u64,
    pub(crate) handshakes_resumed: u64,
    pub(crate) bytes_received: u64,
    pub(crate) tokens: u64,
    pub(crate) stamped_tokens: u64,
    /// Good answers, from the intended start.
    pub(crate) latency: Histogram,
    /// First byte of any answer, from the intended start.
    pub(crate) first_byte: Histogram,
    pub(crate) first_token: Histogram,
    pub(crate) token_delay: Histogram,
    pub(crate) token_gap: Histogram,
    pub(crate) shed_latency: Histogram,
    pub(crate) connect: Histogram,
    /// Actual less intended send.
    pub(crate) lag: Histogram,
    /// Answers of any kind that ended while this part was on.
    pub(crate) window_answers: u64,
    /// Good ones of these.
    pub(crate) window_good: u64,
    /// Tokens that came while this part was on.
    pub(crate) window_tokens: u64,
    /// CPU of the generator's thread.
    pub(crate) own_cpu_ns: u64,
    /// One for each watched process: at the start and at the end.
    pub(crate) processes: Vec<(Option<Sample>, Option<Sample>)>,
}

impl Tally {
    pub(crate) fn count(&self, outcome: Outcome) -> u64 {
        self.outcomes[outcome as usize]
    }

    pub(crate) fn failed(&self) -> u64 {
        Outcome::ALL
            .iter()
            .filter(|outcome| outcome.failed())
            .map(|o| self.count(*o))
            .sum()
    }

    pub(crate) fn ended(&self) -> u64 {
        self.outcomes.iter().sum()
    }

    /// Adds a later part of the same run.
    pub(crate) fn merge(&mut self, later: &Self) {
        self.ended_ns = later.ended_ns;
        for (mine, theirs) in self.outcomes.iter_mut().zip(&later.outcomes) {
            *mine += theirs;
        }
        for (status, count) in &later.statuses {
            *self.statuses.entry(*status).or_default() += count;
        }
        let sums = [
            (&mut self.offered, later.offered),
            (&mut self.admitted, later.admitted),
            (&mut self.shed_with_retry_after, later.shed_with_retry_after),
            (
                &mut self.truncated_looks_complete,
                later.truncated_looks_complete,
            ),
            (&mut self.truncated_mid_event, later.truncated_mid_event),
            (&mut self.closed_before_head, later.closed_before_head),
            (&mut self.stale_retries, later.stale_retries),
            (&mut self.connections_opened, later.connections_opened),
            (&mut self.handshakes_full, later.handshakes_full),
            (&mut self.handshakes_resumed, later.handshakes_resumed),
            (&mut self.bytes_received, later.bytes_received),
            (&mut self.tokens, later.tokens),
            (&mut self.stamped_tokens, later.stamped_tokens),
            (&mut self.window_answers, later.window_answers),
            (&mut self.window_good, later.window_good),
            (&mut self.window_tokens, later.window_tokens),
            (&mut self.own_cpu_ns, later.own_cpu_ns),
        ];
        for (mine, theirs) in sums {
            *mine += theirs;
        }
        let histograms = [
            (&mut self.latency, &later.latency),
            (&mut self.first_byte, &later.first_byte),
            (&mut self.first_token, &later.first_token),
            (&mut self.token_delay, &later.token_delay),
            (&mut self.token_gap, &later.token_gap),
            (&mut self.shed_latency, &later.shed_latency),
            (&mut self.connect, &later.connect),
            (&mut self.lag, &later.lag),
        ];
        for (mine, theirs) in histograms {
            mine.merge(theirs);
        }
        for (mine, theirs) in self.processes.iter_mut().zip(&later.processes) {
            mine.1 = theirs.1;
        }
    }
}
