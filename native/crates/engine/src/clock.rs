//! The time of one turn. The engine never reads a clock: the driver passes this in.
//!
//! **Invariant:** timeouts use only `mono_ns`; only records and headers that people read use
//! `wall_ms`.

/// A reading of both clocks, taken once per turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now {
    /// Monotonic nanoseconds since an arbitrary origin (`CLOCK_MONOTONIC` in production).
    pub mono_ns: u64,
    /// Milliseconds since the Unix epoch.
    pub wall_ms: u64,
}

/// Nanoseconds in a millisecond.
pub const MS: u64 = 1_000_000;
/// Nanoseconds in a second.
pub const SECOND: u64 = 1_000_000_000;
