//! Keeps the figures of a run: one tally a part, one row a second, and the progress line.
//!
//! Invariant: every request that was offered ends here exactly once, with one outcome.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{link::Request, options::Options, outcome::Outcome, schedule::Part, tally::Tally};
use crate::{
    clock,
    process::{self, Sample},
    report::Second,
};

/// Seconds of a time series kept at most; a day.
const SECONDS_MAX: usize = 86_400;

/// How a run is doing.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Progress {
    /// Since the first request.
    pub elapsed_s: f64,
    /// Name of the part that is on.
    pub phase: String,
    /// Requests due so far, with the warm-up, as all of these.
    pub offered: u64,
    /// Good answers.
    pub good: u64,
    /// Refusals with 429.
    pub shed: u64,
    /// Failures.
    pub failed: u64,
    /// Tokens received.
    pub tokens: u64,
    /// Sent and not ended.
    pub in_flight: u64,
    /// Good answers a second since the last progress.
    pub good_per_s: f64,
    /// Median time to the first token of the last full second, else of the whole answer; µs.
    pub p50_us: f64,
}

#[derive(Debug, Default)]
struct Samples {
    first_token_us: Vec<u32>,
    latency_us: Vec<u32>,
}

pub(crate) struct Ledger {
    pub(crate) parts: Vec<Part>,
    pub(crate) tallies: Vec<Tally>,
    /// Index of the part that is on, `parts.len()` after the last.
    pub(crate) current: usize,
    pub(crate) start_ns: u64,
    pub(crate) series: Vec<Second>,
    samples: BTreeMap<usize, Samples>,
    pids: Vec<u32>,
    pub(crate) names: Vec<String>,
    cpu_mark_ns: u64,
    last_progress: Progress,
    tokens: u64,
    totals: (u64, u64, u64, u64),
}

impl Ledger {
    pub(crate) fn new(options: &Options, parts: Vec<Part>, start_ns: u64) -> Self {
        let tally = |part: &Part| Tally {
            name: part.name.clone(),
            started_ns: start_ns + part.start_ns,
            ended_ns: start_ns + part.end_ns,
            ..Tally::default()
        };
        let mut ledger = Self {
            tallies: parts.iter().map(tally).collect(),
            parts,
            current: 0,
            start_ns,
            series: Vec::new(),
            samples: BTreeMap::new(),
            names: options.pids.iter().map(|pid| process::name(*pid)).collect(),
            pids: options.pids.clone(),
            cpu_mark_ns: clock::thread_cpu_ns(),
            last_progress: Progress::default(),
            tokens: 0,
            totals: (0, 0, 0, 0),
        };
        let samples = ledger.sample();
        if let Some(first) = ledger.tallies.first_mut() {
            first.processes = samples.into_iter().map(|sample| (sample, None)).collect();
        }
        ledger
    }

    fn sample(&self) -> Vec<Option<Sample>> {
        self.pids.iter().map(|pid| process::sample(*pid)).collect()
    }

    /// When the part that is on ends.
    pub(crate) fn part_end_ns(&self) -> Option<u64> {
        self.parts
            .get(self.current)
            .map(|part| self.start_ns + part.end_ns)
    }

    /// Goes on to the part that `now_ns` lies in.
    pub(crate) fn advance(&mut self, now_ns: u64) {
        while self.part_end_ns().is_some_and(|end_ns| end_ns <= now_ns) {
            self.end_part(now_ns);
        }
    }

    /// Closes the window of the part that is on.
    pub(crate) fn end_part(&mut self, now_ns: u64) {
        let samples = self.sample();
        let cpu_ns = clock::thread_cpu_ns();
        let Some(tally) = self.tallies.get_mut(self.current) else {
            return;
        };
        tally.ended_ns = now_ns;
        tally.own_cpu_ns = cpu_ns - self.cpu_mark_ns;
        for (window, end) in tally.processes.iter_mut().zip(&samples) {
            window.1 = *end;
        }
        self.cpu_mark_ns = cpu_ns;
        self.current += 1;
        if let Some(next) = self.tallies.get_mut(self.current) {
            next.started_ns = now_ns;
            next.processes = samples.into_iter().map(|sample| (sample, None)).collect();
        }
    }

    /// The part that a request belongs to which is due at this time.
    pub(crate) fn part_of(&self, intended_ns: u64) -> usize {
        let at_ns = intended_ns.saturating_sub(self.start_ns);
        let part = self.parts.partition_point(|part| part.end_ns <= at_ns);
        part.min(self.parts.len().saturating_sub(1))
    }

    fn second(&mut self, at_ns: u64) -> &mut Second {
        let second = (at_ns.saturating_sub(self.start_ns) / 1_000_000_000) as usize;
        let second = second.min(SECONDS_MAX);
        while self.series.len() <= second {
            let row = Second {
                second: self.series.len() as u64,
                ..Second::default()
            };
            self.series.push(row);
        }
        &mut self.series[second]
    }

    pub(crate) fn offered(&mut self, part: usize, intended_ns: u64) {
        self.tallies[part].offered += 1;
        self.totals.0 += 1;
        self.second(intended_ns).offered += 1;
    }

    /// The part that is on, or the last one when all are over.
    pub(crate) fn on(&self) -> usize {
        self.current.min(self.tallies.len().saturating_sub(1))
    }

    /// A connection stands; `resumed` says whether its TLS did not have to begin anew.
    pub(crate) fn connected(&mut self, part: usize, took_ns: u64, resumed: Option<bool>) {
        let tally = &mut self.tallies[part];
        tally.connect.record(took_ns);
        tally.handshakes_full += u64::from(resumed == Some(false));
        tally.handshakes_resumed += u64::from(resumed == Some(true));
    }

    /// Bytes have come, their framing included.
    pub(crate) fn bytes(&mut self, bytes: usize) {
        let on = self.on();
        self.tallies[on].bytes_received += bytes as u64;
    }

    /// Tokens of an answer have come.
    pub(crate) fn received(&mut self, request: &Request, tokens: u64, now_ns: u64) {
        if tokens == 0 {
            return;
        }
        self.tokens += tokens;
        if let Some(tally) = self.tallies.get_mut(self.current) {
            tally.window_tokens += tokens;
        }
        let first = u64::from(request.tokens) == tokens;
        self.second(now_ns).tokens += tokens;
        if first {
            let us = now_ns.saturating_sub(request.intended_ns) / 1000;
            self.samples_at(now_ns).first_token_us.push(us as u32);
        }
    }

    fn samples_at(&mut self, now_ns: u64) -> &mut Samples {
        let second = (now_ns.saturating_sub(self.start_ns) / 1_000_000_000) as usize;
        if self.samples.len() > 1 && !self.samples.contains_key(&second) {
            self.settle_seconds(second);
        }
        self.samples.entry(second).or_default()
    }

    /// Turns the samples of the seconds before `before` into medians.
    fn settle_seconds(&mut self, before: usize) {
        let later = self.samples.split_off(&before);
        for (second, mut samples) in std::mem::replace(&mut self.samples, later) {
            if let Some(row) = self.series.get_mut(second) {
                row.first_token_p50_us = median(&mut samples.first_token_us);
                row.latency_p50_us = median(&mut samples.latency_us);
            }
        }
    }

    /// The end of a request, whichever it is.
    pub(crate) fn ended(&mut self, request: &Request, outcome: Outcome, now_ns: u64) {
        let latency_ns = now_ns.saturating_sub(request.intended_ns);
        let tally = &mut self.tallies[request.part];
        tally.outcomes[outcome as usize] += 1;
        let status = request.answer.status;
        if status != 0 {
            *tally.statuses.entry(status).or_default() += 1;
            tally.admitted += u64::from((200..300).contains(&status));
        }
        match outcome {
            Outcome::Ok => tally.latency.record(latency_ns),
            Outcome::Shed => {
                tally.shed_latency.record(latency_ns);
                tally.shed_with_retry_after += u64::from(request.answer.retry_after);
            }
            Outcome::Truncated if request.answer.mid_event() => tally.truncated_mid_event += 1,
            _ => {}
        }
        if let Some(window) = self.tallies.get_mut(self.current) {
            window.window_answers += u64::from(status != 0);
            window.window_good += u64::from(outcome == Outcome::Ok);
        }
        let row = self.second(now_ns);
        match outcome {
            Outcome::Ok => row.good += 1,
            Outcome::Shed => row.shed += 1,
            outcome if outcome.failed() => row.failed += 1,
            _ => {}
        }
        match outcome {
            Outcome::Ok => {
                self.totals.1 += 1;
                self.samples_at(now_ns)
                    .latency_us
                    .push((latency_ns / 1000) as u32);
            }
            Outcome::Shed => self.totals.2 += 1,
            outcome => self.totals.3 += u64::from(outcome.failed()),
        }
    }

    pub(crate) fn progress(&mut self, in_flight: u64, now_ns: u64) -> &Progress {
        let elapsed_s = now_ns.saturating_sub(self.start_ns) as f64 / 1e9;
        let (offered, good, shed, failed) = self.totals;
        let last = &self.last_progress;
        let good_per_s = (good - last.good) as f64 / (elapsed_s - last.elapsed_s).max(1e-3);
        let phase = self
            .parts
            .get(self.current)
            .map_or("drain", |part| part.name.as_str());
        let row = self
            .series
            .iter()
            .rev()
            .find(|row| row.latency_p50_us > 0.0);
        let p50_us = row.map_or(0.0, |row| {
            if row.first_token_p50_us > 0.0 {
                row.first_token_p50_us
            } else {
                row.latency_p50_us
            }
        });
        self.last_progress = Progress {
            elapsed_s,
            phase: phase.to_owned(),
            offered,
            good,
            shed,
            failed,
            tokens: self.tokens,
            in_flight,
            good_per_s,
            p50_us,
        };
        &self.last_progress
    }

    /// After the last request: closes what is open.
    pub(crate) fn close(&mut self, now_ns: u64) {
        self.settle_seconds(usize::MAX);
        while self.current < self.parts.len() {
            self.end_part(now_ns);
        }
    }
}

fn median(samples: &mut [u32]) -> f64 {
    if samples.is_empty() {
        return 0.0;
    }
    let middle = samples.len() / 2;
    f64::from(*samples.select_nth_unstable(middle).1)
}
