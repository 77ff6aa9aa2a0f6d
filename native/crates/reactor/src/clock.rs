//! The two clocks. The only place that reads them.

use engine::clock::{MS, Now, SECOND};
use rustix::time::{ClockId, clock_gettime};

/// `CLOCK_MONOTONIC` in nanoseconds; comparable between processes of one machine.
pub fn mono_ns() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * SECOND + time.tv_nsec as u64
}

/// Both clocks. The wall clock is the kernel's coarse one: it is only for people.
pub fn now() -> Now {
    #[cfg(target_os = "linux")]
    let wall = clock_gettime(ClockId::RealtimeCoarse);
    #[cfg(not(target_os = "linux"))]
    let wall = clock_gettime(ClockId::Realtime);
    Now {
        mono_ns: mono_ns(),
        wall_ms: wall.tv_sec as u64 * 1000 + wall.tv_nsec as u64 / MS,
    }
}
