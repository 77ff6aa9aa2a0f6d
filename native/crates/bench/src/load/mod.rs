//! The load generator: sends requests on time and reads every byte that comes back.
//!
//! An open loop measures from the moment at which a request was meant to be sent, so a server that
//! stops shows up in every request that was due meanwhile (no coordinated omission). The report
//! says how much CPU the generator itself used and how late it sent, for a reader to judge whether
//! it was the limit.

mod answer;
mod exchange;
mod farewell;
mod generator;
mod ledger;
mod link;
mod options;
mod outcome;
mod receive;
mod schedule;
mod shape;
mod sse;
mod streams;
mod tally;
mod timers;
mod trunk;

pub(crate) use self::{ledger::Ledger, tally::Tally};
pub use self::{
    ledger::Progress,
    options::{
        AbortKind, AbortPhase, Arrivals, Body, ClientAbort, Mode, Options, Phase, Protocol,
        TlsOptions,
    },
    outcome::Outcome,
};
use crate::{Error, report::Report};

/// Runs a load to its end on this thread. `progress` is called every 500 ms and at the end;
/// when it returns false the run is cut short and what is under way is counted as aborted.
pub fn run(
    options: &Options,
    progress: &mut dyn FnMut(&Progress) -> bool,
) -> Result<Report, Error> {
    options.check()?;
    let parts = schedule::parts(options);
    let started_unix_s = crate::clock::unix_s();
    let generator = generator::Generator::new(options, parts)?;
    let (ledger, stopped) = generator.run(progress)?;
    Ok(Report::new(options, &ledger, started_unix_s, stopped))
}
