//! The one clock of the crate: `CLOCK_MONOTONIC` in nanoseconds, comparable between processes.
//!
//! Never the wall clock: a step of it would look like latency.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds of `CLOCK_MONOTONIC`: since boot, the same for every process of the machine.
#[inline]
pub fn now_ns() -> u64 {
    nanos(ClockId::Monotonic)
}

/// CPU time this thread has used, user and system, in nanoseconds. A system call each.
pub fn thread_cpu_ns() -> u64 {
    nanos(ClockId::ThreadCPUTime)
}

/// Seconds since 1970, for the `created` fields of answers and the date of a report.
pub fn unix_s() -> u64 {
    nanos(ClockId::Realtime) / 1_000_000_000
}

#[inline]
fn nanos(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
