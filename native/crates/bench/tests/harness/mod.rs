//! Starts engines and relays and runs short loads against them, on loopback.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use bench::{
    Running, engine,
    load::{self, Options},
    relay,
    report::Report,
};

/// An engine that answers at once unless told otherwise.
pub(crate) fn engine(json: &str) -> Running<engine::Stats> {
    let mut options = engine::Options::from_json(json).unwrap();
    if !json.contains("first_token_us") {
        options.first_token_us = 1_000;
    }
    if !json.contains("gap_us") {
        options.gap_us = 1_000;
    }
    engine::start(options).unwrap()
}

/// A relay in front of an engine.
#[allow(dead_code, reason = "not every test file relays")]
pub(crate) fn relay(engine: &Running<engine::Stats>) -> Running<relay::Stats> {
    let upstream = vec![engine.addresses()[0].to_string()];
    relay::start(&relay::Options {
        upstream,
        ..relay::Options::default()
    })
    .unwrap()
}

/// Runs a load, whose options lack only their target.
pub(crate) fn load(target: &bench::Address, json: &str) -> Report {
    let mut options = Options::from_json(json).unwrap();
    options.targets = vec![target.to_string()];
    let report = load::run(&options, &mut |_| true).unwrap();
    assert_eq!(
        report.total.offered,
        report.total.outcomes.values().sum::<u64>()
    );
    report
}
