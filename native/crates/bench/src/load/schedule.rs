//! When requests are due: drawn ahead of time from the seed, never from how the answers come.

use super::options::{Arrivals, Mode, Options, Phase};
use crate::{Error, random::Random, trace};

/// One part of a run with its place in time, nanoseconds from the start.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Part {
    pub(crate) name: String,
    pub(crate) start_ns: u64,
    pub(crate) end_ns: u64,
    pub(crate) per_second: f64,
    /// False for the warm-up.
    pub(crate) reported: bool,
}

fn nanos(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}

/// The parts of a run, in order and without gaps.
pub(crate) fn parts(options: &Options) -> Vec<Part> {
    let usual = match options.mode {
        Mode::Rate { per_second, .. } => per_second,
        _ => 0.0,
    };
    let mut phases = options.phases.clone();
    if phases.is_empty() {
        let name = "measure".to_owned();
        phases.push(Phase {
            name,
            duration_s: options.duration_s,
            per_second: None,
        });
    }
    let warmup = Phase {
        name: "warmup".to_owned(),
        duration_s: options.warmup_s,
        per_second: phases[0].per_second,
    };
    let warm = options.warmup_s > 0.0;
    let mut at_ns = 0;
    let mut parts = Vec::new();
    let all = warm
        .then_some(warmup)
        .into_iter()
        .map(|phase| (phase, false));
    for (phase, reported) in all.chain(phases.into_iter().map(|phase| (phase, true))) {
        let end_ns = at_ns + nanos(phase.duration_s);
        parts.push(Part {
            name: phase.name,
            start_ns: at_ns,
            end_ns,
            per_second: phase.per_second.unwrap_or(usual),
            reported,
        });
        at_ns = end_ns;
    }
    parts
}

/// An open loop's arrivals.
pub(crate) struct Schedule {
    kind: Kind,
    random: Random,
    end_ns: u64,
}

enum Kind {
    Rate {
        arrivals: Arrivals,
        parts: Vec<Part>,
        part: usize,
        at_ns: f64,
    },
    Trace {
        entries: Vec<trace::Entry>,
        next: usize,
        speedup: f64,
    },
}

/// One arrival, nanoseconds from the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    pub(crate) at_ns: u64,
    pub(crate) lengths: Option<trace::Entry>,
}

impl Schedule {
    /// None for a closed loop.
    pub(crate) fn new(options: &Options, parts: &[Part]) -> Result<Option<Self>, Error> {
        let kind = match &options.mode {
            Mode::Concurrency { .. } | Mode::Streams { .. } => return Ok(None),
            Mode::Rate { arrivals, .. } => Kind::Rate {
                arrivals: *arrivals,
                parts: parts.to_vec(),
                part: 0,
                at_ns: 0.0,
            },
            Mode::Trace {
                path,
                speedup,
                limit,
            } => {
                let limit = if *limit == 0 { usize::MAX } else { *limit };
                Kind::Trace {
                    entries: trace::read(path, limit)?,
                    next: 0,
                    speedup: *speedup,
                }
            }
        };
        let end_ns = parts.last().map_or(0, |part| part.end_ns);
        Ok(Some(Self {
            kind,
            random: Random::new(options.seed),
            end_ns,
        }))
    }

    /// The next arrival, `None` after the last.
    pub(crate) fn next(&mut self) -> Option<Arrival> {
        let arrival = match &mut self.kind {
            Kind::Trace {
                entries,
                next,
                speedup,
            } => {
                let entry = *entries.get(*next)?;
                *next += 1;
                let at_ns = (entry.at_us as f64 * 1000.0 / *speedup) as u64;
                Arrival {
                    at_ns,
                    lengths: Some(entry),
                }
            }
            Kind::Rate {
                arrivals,
                parts,
                part,
                at_ns,
            } => loop {
                let current = parts.get(*part)?;
                if current.per_second > 0.0 {
                    let mean_ns = 1e9 / current.per_second;
                    let gap_ns = match arrivals {
                        Arrivals::Constant => mean_ns,
                        Arrivals::Poisson => self.random.exponential(mean_ns),
                    };
                    if *at_ns + gap_ns < current.end_ns as f64 {
                        *at_ns += gap_ns;
                        break Arrival {
                            at_ns: *at_ns as u64,
                            lengths: None,
                        };
                    }
                }
                // What would come after the end is drawn anew at the next rate; an exponential
                // gap has no memory, so a Poisson process stays one.
                *at_ns = current.end_ns as f64;
                *part += 1;
            },
        };
        (arrival.at_ns < self.end_ns).then_some(arrival)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrivals(arrivals: Arrivals) -> Vec<u64> {
        let phase = |rate: f64| Phase {
            name: String::new(),
            duration_s: 20.0,
            per_second: Some(rate),
        };
        let options = Options {
            mode: Mode::Rate {
                per_second: 1.0,
                arrivals,
            },
            phases: vec![phase(1000.0), phase(100.0)],
            ..Options::default()
        };
        let parts = parts(&options);
        let mut schedule = Schedule::new(&options, &parts).unwrap().unwrap();
        std::iter::from_fn(|| schedule.next())
            .map(|arrival| arrival.at_ns)
            .collect()
    }

    #[test]
    fn constant_arrivals_are_even() {
        let times = arrivals(Arrivals::Constant);
        assert!((times.len() as i64 - 22_000).abs() <= 2);
        assert_eq!(times[1] - times[0], 1_000_000);
    }

    #[test]
    fn poisson_arrivals_have_the_mean_and_the_spread_of_their_rate() {
        let times = arrivals(Arrivals::Poisson);
        let (first, second) = times.split_at(times.partition_point(|at| *at < 20_000_000_000));
        // Five standard deviations of a Poisson count.
        assert!((first.len() as f64 - 20_000.0).abs() < 5.0 * 20_000f64.sqrt());
        assert!((second.len() as f64 - 2_000.0).abs() < 5.0 * 2_000f64.sqrt());
        let gaps: Vec<f64> = first
            .windows(2)
            .map(|pair| (pair[1] - pair[0]) as f64)
            .collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>();
        let spread = (variance / gaps.len() as f64).sqrt() / mean;
        assert!((spread - 1.0).abs() < 0.05, "{spread}");
    }
}
