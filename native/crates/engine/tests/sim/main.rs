//! A deterministic simulator: two engines over one shared state, clients and engines that behave
//! badly, a network that delays, splits and breaks. One seed is one run.
//!
//! `FASTPROXY_SIM_SEED=7` replays one seed with its story; `FASTPROXY_SIM_RUNS=20000` runs that
//! many, from `FASTPROXY_SIM_FROM` (0) on.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test runner: it reads the environment, counts seconds, uses all cores and reports"
)]

mod answer;
mod client;
mod client_h2;
mod frames;
mod link;
mod node;
mod oracle;
mod oracle_h2;
mod plan;
mod reading;
mod secure;
mod spec;
mod trace;
mod upstream;
mod upstream_h2;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use world::{Seen, World};

/// Seeds of an ordinary test run.
const RUNS: u64 = 3000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.trim().parse().ok()
}

fn run(seed: u64, print: bool) -> (u64, Seen) {
    let result = catch_unwind(AssertUnwindSafe(|| {
        let mut world = World::new(seed, print);
        (world.run(), world.seen)
    }));
    result.unwrap_or_else(|panic| {
        eprintln!("\nseed {seed} fails; its story: make sim SEED={seed}\n");
        resume_unwind(panic)
    })
}

/// Response flags of the access log and other kinds of things that must not die out unnoticed.
const KINDS: [&str; 47] = [
    "served",
    "retried",
    "stale",
    "streamed",
    "queued",
    "upgraded",
    "low class",
    "h2 to h1",
    "h1 to h2",
    "h2 to h2",
    "h2 upgraded",
    "gRPC",
    "gRPC failed",
    "refused",
    "TLS",
    "principal",
    "handshake failed",
    "handshake without end",
    "client agreed on h2",
    "client agreed on http/1.1",
    "client agreed on nothing",
    "upstream agreed on h2",
    "upstream agreed on http/1.1",
    "upstream agreed on nothing",
    "truncated",
    "client at rest",
    "upstream at rest",
    "tunnel ended",
    "cancelled",
    "CG",
    "CS",
    "CF",
    "HL",
    "HB",
    "WX",
    "CR",
    "CT",
    "UR",
    "UC",
    "UB",
    "UH",
    "FT",
    "IT",
    "TT",
    "BT",
    "BL",
    "DR",
];

#[test]
fn every_seed_keeps_every_promise() {
    if let Some(seed) = number("FASTPROXY_SIM_SEED") {
        println!("hash {:016x}", run(seed, true).0);
        return;
    }
    let from = number("FASTPROXY_SIM_FROM").unwrap_or(0);
    let runs = number("FASTPROXY_SIM_RUNS").unwrap_or(RUNS);
    let next = AtomicU64::new(from);
    let threads = std::thread::available_parallelism()
        .map_or(1, usize::from)
        .min(4);
    let start = Instant::now();
    let seen = Mutex::new(Seen::new());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + runs {
                        return;
                    }
                    let (_, found) = run(seed, false);
                    let mut seen = seen.lock().expect("no run fails while it holds the lock");
                    for (kind, count) in found {
                        *seen.entry(kind).or_default() += count;
                    }
                }
            });
        }
    });
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{runs} seeds in {seconds:.1} s: {:.0} a second on each of {threads} threads",
        runs as f64 / seconds / threads as f64
    );
    let seen = seen.into_inner().expect("no run failed");
    println!("{seen:?}");
    for kind in KINDS {
        assert!(
            runs < RUNS || seen.get(kind).is_some_and(|&n| n > 0),
            "no run had {kind}"
        );
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in [1, 7, 23, 99] {
        assert_eq!(run(seed, false), run(seed, false), "seed {seed}");
    }
}
