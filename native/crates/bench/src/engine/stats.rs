//! The counters of an engine: written by its thread, read by anybody.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde::Serialize;

use crate::running::Counted;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counters of an engine at one moment; never reset.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
        pub struct Stats { $($(#[$doc])* pub $name: u64,)* }

        #[derive(Debug, Default)]
        pub(crate) struct Counters { $(pub(crate) $name: AtomicU64,)* }

        impl Counted<Stats> for Counters {
            fn read(&self) -> Stats {
                Stats { $($name: self.$name.load(Relaxed),)* }
            }
        }
    };
}

counters! {
    /// Requests whose head and body were read.
    requests,
    /// Requests that were given to a slot or to the queue.
    accepted,
    /// Answers of the model that were sent to their end.
    completed,
    /// Requests whose client left before the end.
    cancelled,
    /// Requests ended by a fault that was asked for.
    faulted,
    /// Requests answered 429 because the queue was full.
    shed,
    /// Requests in a slot now.
    running,
    /// Requests waiting for a slot now.
    waiting,
    /// The most that ran at the same time.
    running_max,
    /// Tokens sent.
    tokens,
    /// Prompt tokens taken, estimated from the bytes.
    prompt_tokens,
    /// Connections open now.
    connections,
    /// Connections accepted.
    connections_total,
    /// CPU time of the engine's thread, nanoseconds; read when `/sim/stats` is asked and ten times
    /// a second.
    cpu_ns,
}

/// Adds to a counter that has one writer: no locked instruction is needed.
#[inline]
pub(crate) fn add(counter: &AtomicU64, by: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(by), Relaxed);
}

/// Takes one from a gauge that has one writer.
#[inline]
pub(crate) fn take(counter: &AtomicU64) {
    counter.store(counter.load(Relaxed).saturating_sub(1), Relaxed);
}
