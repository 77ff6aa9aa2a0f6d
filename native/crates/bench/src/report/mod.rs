//! The result of a load run, as data; `text_table` and `html` show it to people.
//!
//! Times are microseconds unless a name says otherwise. Everything a figure needs to be judged is
//! in it: the options, the generator's own CPU, and warnings where a figure should not be trusted.

mod html;
mod plot;
mod text;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::{html::html, text::text_table};
use crate::{
    histogram::Histogram,
    load::{Ledger, Options, Outcome, Tally},
    process::Sample,
};

/// A distribution in short.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[expect(
    missing_docs,
    reason = "the names say it; all but `count` are microseconds"
)]
pub struct Summary {
    pub count: u64,
    pub mean_us: f64,
    pub min_us: f64,
    pub p50_us: f64,
    pub p90_us: f64,
    pub p99_us: f64,
    pub p999_us: f64,
    pub max_us: f64,
    /// Pairs of a quantile (0 to 1) and its value in microseconds, for plots.
    pub curve: Vec<(f64, f64)>,
}

impl Summary {
    /// Of a histogram of nanoseconds.
    pub fn of(histogram: &Histogram) -> Self {
        let us = |quantile: f64| histogram.quantile(quantile) as f64 / 1e3;
        let count = histogram.count();
        let mut curve = Vec::new();
        if count > 0 {
            // Eight points for each halving of what lies above, to the last value.
            let steps = (count as f64).log2().ceil() as u32 * 8;
            curve.extend((0..=steps).map(|step| {
                let quantile = 1.0 - 0.5f64.powf(f64::from(step) / 8.0);
                (quantile, us(quantile))
            }));
            curve.push((1.0, us(1.0)));
        }
        Self {
            count,
            mean_us: histogram.mean() / 1e3,
            min_us: histogram.min() as f64 / 1e3,
            p50_us: us(0.5),
            p90_us: us(0.9),
            p99_us: us(0.99),
            p999_us: us(0.999),
            max_us: histogram.max() as f64 / 1e3,
            curve,
        }
    }
}

/// One second of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Second {
    /// From the start of the run.
    pub second: u64,
    /// Requests that were due in it.
    pub offered: u64,
    /// Good answers that ended in it.
    pub good: u64,
    /// Refusals with 429 that came in it.
    pub shed: u64,
    /// Failures that came in it.
    pub failed: u64,
    /// Tokens that came in it.
    pub tokens: u64,
    /// Median time to the first token of those that came in it; 0 when there were none.
    pub first_token_p50_us: f64,
    /// Median time of whole good answers that ended in it; 0 when there were none.
    pub latency_p50_us: f64,
}

/// What a watched process used during a part.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its name.
    pub name: String,
    /// CPU in user mode, to 10 ms.
    pub user_us: u64,
    /// CPU in the kernel, to 10 ms.
    pub system_us: u64,
    /// CPU of its threads as the scheduler counts it; 0 where the kernel does not say.
    pub scheduled_us: u64,
    /// CPU (the scheduler's where known) over the answers of any kind that came meanwhile.
    pub cpu_us_per_answer: f64,
    /// CPU over the tokens that came meanwhile; 0 without tokens.
    pub cpu_us_per_token: f64,
    /// Resident memory at the start.
    pub rss_start_bytes: u64,
    /// Resident memory at the end.
    pub rss_end_bytes: u64,
}

/// What came of one part of a run, or of all that are reported.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[expect(
    missing_docs,
    reason = "counts of requests whose names say it have no text"
)]
pub struct Part {
    pub name: String,
    pub duration_s: f64,
    pub offered: u64,
    /// Answered with a 2xx head.
    pub admitted: u64,
    pub good: u64,
    pub shed: u64,
    pub failed: u64,
    pub offered_per_s: f64,
    /// Good answers that ended during the part, of whichever part they were, over its time.
    pub good_per_s: f64,
    pub outcomes: BTreeMap<String, u64>,
    pub statuses: BTreeMap<u16, u64>,
    pub shed_with_retry_after: u64,
    /// Truncated streams whose HTTP framing was complete: a client would take them for whole.
    pub truncated_looks_complete: u64,
    /// Truncated streams that ended inside an event.
    pub truncated_mid_event: u64,
    /// Of the resets: closed without any byte of an answer.
    pub closed_before_head: u64,
    pub stale_retries: u64,
    pub connections_opened: u64,
    /// TLS handshakes with a certificate.
    #[serde(default)]
    pub handshakes_full: u64,
    /// TLS handshakes that resumed a session.
    #[serde(default)]
    pub handshakes_resumed: u64,
    pub bytes_received: u64,
    pub tokens: u64,
    pub tokens_per_s: f64,
    /// Tokens that carried the engine's send time.
    pub stamped_tokens: u64,
    /// Whole good answers, from the intended start.
    pub latency: Summary,
    pub first_byte: Summary,
    pub first_token: Summary,
    /// One way, from the engine's write to our read.
    pub token_delay: Summary,
    pub token_gap: Summary,
    pub shed_latency: Summary,
    pub connect: Summary,
    pub processes: Vec<Process>,
    /// Sum over the watched processes.
    pub cpu_us_per_answer: f64,
    /// Sum over the watched processes.
    pub cpu_us_per_token: f64,
    /// The generator's own CPU over the time: near 1 it is the limit.
    pub generator_busy: f64,
    /// The generator's own CPU over the answers.
    pub generator_cpu_us_per_answer: f64,
    /// The generator's own CPU over the tokens.
    pub generator_cpu_us_per_token: f64,
    /// How late requests of an open loop were sent.
    pub lag: Summary,
}

/// The result of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// Of this form; grows when a field changes its meaning.
    pub version: u32,
    /// When it was started, seconds since 1970.
    pub started_unix_s: u64,
    /// What was asked for.
    pub options: Options,
    /// It was cut short.
    pub stopped: bool,
    /// All reported parts together.
    pub total: Part,
    /// Each part, the warm-up first if there was one.
    pub parts: Vec<Part>,
    /// One row a second, the warm-up included.
    pub series: Vec<Second>,
    /// Reasons not to trust a figure.
    pub warnings: Vec<String>,
}

impl Report {
    pub(crate) fn new(
        options: &Options,
        ledger: &Ledger,
        started_unix_s: u64,
        stopped: bool,
    ) -> Self {
        let mut total: Option<Tally> = None;
        for (part, tally) in ledger.parts.iter().zip(&ledger.tallies) {
            debug_assert_eq!(tally.offered, tally.ended(), "a request did not end once");
            if !part.reported {
                continue;
            }
            match &mut total {
                Some(total) => total.merge(tally),
                None => total = Some(tally.clone()),
            }
        }
        let mut total = total.unwrap_or_default();
        "total".clone_into(&mut total.name);
        let part = |tally: &Tally| Part::new(tally, &options.pids, &ledger.names);
        let total = part(&total);
        Self {
            version: 1,
            started_unix_s,
            options: options.clone(),
            stopped,
            parts: ledger.tallies.iter().map(part).collect(),
            series: ledger.series.clone(),
            warnings: warnings(&total),
            total,
        }
    }
}

impl Part {
    fn new(tally: &Tally, pids: &[u32], names: &[String]) -> Self {
        let seconds = tally.ended_ns.saturating_sub(tally.started_ns) as f64 / 1e9;
        let share = |part: f64| if seconds > 0.0 { part / seconds } else { 0.0 };
        let rate = |count: u64| share(count as f64);
        let (answers, tokens) = (tally.window_answers, tally.window_tokens);
        let watched = pids.iter().zip(names).zip(&tally.processes);
        let processes: Vec<Process> = watched
            .filter_map(|((pid, name), window)| {
                Some(Process::new(
                    *pid,
                    name,
                    (window.0?, window.1?),
                    answers,
                    tokens,
                ))
            })
            .collect();
        let named = |outcome: &Outcome| (outcome.name().to_owned(), tally.count(*outcome));
        let own_us = tally.own_cpu_ns as f64 / 1e3;
        Self {
            name: tally.name.clone(),
            duration_s: seconds,
            offered: tally.offered,
            admitted: tally.admitted,
            good: tally.count(Outcome::Ok),
            shed: tally.count(Outcome::Shed),
            failed: tally.failed(),
            offered_per_s: rate(tally.offered),
            good_per_s: rate(tally.window_good),
            outcomes: Outcome::ALL.iter().map(named).collect(),
            statuses: tally.statuses.clone(),
            shed_with_retry_after: tally.shed_with_retry_after,
            truncated_looks_complete: tally.truncated_looks_complete,
            truncated_mid_event: tally.truncated_mid_event,
            closed_before_head: tally.closed_before_head,
            stale_retries: tally.stale_retries,
            connections_opened: tally.connections_opened,
            handshakes_full: tally.handshakes_full,
            handshakes_resumed: tally.handshakes_resumed,
            bytes_received: tally.bytes_received,
            tokens: tally.tokens,
            tokens_per_s: rate(tally.window_tokens),
            stamped_tokens: tally.stamped_tokens,
            latency: Summary::of(&tally.latency),
            first_byte: Summary::of(&tally.first_byte),
            first_token: Summary::of(&tally.first_token),
            token_delay: Summary::of(&tally.token_delay),
            token_gap: Summary::of(&tally.token_gap),
            shed_latency: Summary::of(&tally.shed_latency),
            connect: Summary::of(&tally.connect),
            cpu_us_per_answer: processes
                .iter()
                .map(|process| process.cpu_us_per_answer)
                .sum(),
            cpu_us_per_token: processes
                .iter()
                .map(|process| process.cpu_us_per_token)
                .sum(),
            processes,
            generator_busy: share(own_us / 1e6),
            generator_cpu_us_per_answer: over(own_us, answers),
            generator_cpu_us_per_token: over(own_us, tokens),
            lag: Summary::of(&tally.lag),
        }
    }
}

impl Process {
    fn new(pid: u32, name: &str, window: (Sample, Sample), answers: u64, tokens: u64) -> Self {
        let (start, end) = window;
        let user_us = end.user_us.saturating_sub(start.user_us);
        let system_us = end.system_us.saturating_sub(start.system_us);
        let scheduled_us = end.scheduled_ns.saturating_sub(start.scheduled_ns) / 1000;
        let cpu_us = if scheduled_us > 0 {
            scheduled_us
        } else {
            user_us + system_us
        } as f64;
        Self {
            pid,
            name: name.to_owned(),
            user_us,
            system_us,
            scheduled_us,
            cpu_us_per_answer: over(cpu_us, answers),
            cpu_us_per_token: over(cpu_us, tokens),
            rss_start_bytes: start.rss_bytes,
            rss_end_bytes: end.rss_bytes,
        }
    }
}

fn over(amount: f64, count: u64) -> f64 {
    if count == 0 {
        0.0
    } else {
        amount / count as f64
    }
}

fn warnings(total: &Part) -> Vec<String> {
    let mut warnings = Vec::new();
    if total.generator_busy > 0.8 {
        warnings.push(format!(
            "the generator used {:.0} % of a CPU: it may be the limit, not the server",
            total.generator_busy * 100.0
        ));
    }
    if total.lag.p99_us > 2_000.0 {
        warnings.push(format!(
            "1 % of the requests were sent {:.1} ms late or more: give the generator a free CPU",
            total.lag.p99_us / 1e3
        ));
    }
    if total.offered == 0 {
        warnings.push("no request was due: look at duration_s, rate and trace".to_owned());
    }
    warnings
}
