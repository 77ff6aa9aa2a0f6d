//! `codec wire|hyper CASE COUNT`: both ends of a connection in memory, and what they cost.
//!
//! - `tokens`: 64 bytes on one of 100 streams, from server to client, with all state and windows.
//!   The streams take turns, and what a turn has to say moves at once.
//! - `head_steady`: a chat request's head and a short answer's, on a connection in its stride.
//! - `head_first`: a new connection of two ends, and the same heads on it.
//! - `connect`: a new connection of two ends, and nothing on it.
//! - `hpack_steady`: the request's fields to a block and back, with tables in their stride.
//! - `hpack_first`: the same with new tables.
//!
//! Prints one line of JSON: CPU nanoseconds, operations, and what came out, so that nobody wins by
//! doing less. nghttp2.c is the same for libnghttp2.

mod case;
mod hyper;
mod ours;

use std::{env, process::ExitCode};

use rustix::time::{ClockId, clock_gettime};

/// What a case came to.
#[derive(Debug, Default)]
struct Done {
    ns: u64,
    data_bytes: u64,
    field_bytes: u64,
}

/// CPU time of this process in nanoseconds.
fn cpu_ns() -> u64 {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [contender, case, count] = arguments.as_slice() else {
        eprintln!("usage: codec wire|hyper CASE COUNT");
        return ExitCode::from(2);
    };
    let Ok(count) = count.parse::<u64>() else {
        eprintln!("`{count}` is no number");
        return ExitCode::from(2);
    };
    let done = match (contender.as_str(), case.as_str()) {
        ("wire", "tokens") => ours::tokens(count),
        ("wire", "head_steady") => ours::steady(count),
        ("wire", "head_first") => ours::first(count, true),
        ("wire", "connect") => ours::first(count, false),
        ("wire", "hpack_steady") => ours::hpack(count, false),
        ("wire", "hpack_first") => ours::hpack(count, true),
        ("hyper", "tokens") => hyper::tokens(count),
        ("hyper", "head_steady") => hyper::steady(count),
        ("hyper", "head_first") => hyper::first(count, true),
        ("hyper", "connect") => hyper::first(count, false),
        _ => {
            eprintln!("{contender} has no case `{case}`");
            return ExitCode::from(2);
        }
    };
    println!(
        "{{\"ns\": {}, \"count\": {count}, \"data_bytes\": {}, \"field_bytes\": {}}}",
        done.ns, done.data_bytes, done.field_bytes
    );
    ExitCode::SUCCESS
}
