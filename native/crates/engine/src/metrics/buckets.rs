//! Bucket bounds, in the shapes that inference has: a first token takes milliseconds to minutes,
//! the next ones milliseconds, and what we add to them microseconds.
//!
//! **Invariant:** strictly rising; a value equal to a bound falls below it.

use crate::clock::{MS, SECOND};

const US: u64 = 1_000;

/// Time to the first token.
pub(super) const FIRST_TOKEN: &[u64] = &[
    MS,
    2 * MS,
    5 * MS,
    10 * MS,
    20 * MS,
    50 * MS,
    100 * MS,
    200 * MS,
    300 * MS,
    500 * MS,
    750 * MS,
    SECOND,
    1_500 * MS,
    2 * SECOND,
    3 * SECOND,
    5 * SECOND,
    7_500 * MS,
    10 * SECOND,
    20 * SECOND,
    30 * SECOND,
    60 * SECOND,
    120 * SECOND,
];

/// Between tokens.
pub(super) const INTER_TOKEN: &[u64] = &[
    MS,
    2 * MS,
    5 * MS,
    10 * MS,
    15 * MS,
    20 * MS,
    25 * MS,
    30 * MS,
    40 * MS,
    50 * MS,
    75 * MS,
    100 * MS,
    150 * MS,
    200 * MS,
    300 * MS,
    500 * MS,
    SECOND,
    2 * SECOND,
    5 * SECOND,
    10 * SECOND,
    30 * SECOND,
    60 * SECOND,
];

/// What we add to a token.
pub(super) const ADDED: &[u64] = &[
    US,
    2 * US,
    5 * US,
    10 * US,
    20 * US,
    30 * US,
    50 * US,
    75 * US,
    100 * US,
    150 * US,
    200 * US,
    300 * US,
    500 * US,
    MS,
    2 * MS,
    5 * MS,
    10 * MS,
    20 * MS,
    50 * MS,
    100 * MS,
];

/// Whole requests: an embedding to an hour of reasoning.
pub(super) const REQUEST: &[u64] = &[
    MS,
    2 * MS,
    5 * MS,
    10 * MS,
    20 * MS,
    50 * MS,
    100 * MS,
    200 * MS,
    500 * MS,
    SECOND,
    2 * SECOND,
    5 * SECOND,
    10 * SECOND,
    20 * SECOND,
    30 * SECOND,
    60 * SECOND,
    120 * SECOND,
    300 * SECOND,
    600 * SECOND,
    3_600 * SECOND,
];

/// In the channel, and for a dial.
pub(super) const WAIT: &[u64] = &[
    100 * US,
    200 * US,
    500 * US,
    MS,
    2 * MS,
    5 * MS,
    10 * MS,
    20 * MS,
    50 * MS,
    100 * MS,
    200 * MS,
    500 * MS,
    SECOND,
    2 * SECOND,
    5 * SECOND,
    10 * SECOND,
    30 * SECOND,
    60 * SECOND,
];

/// Turns of a worker.
pub(super) const TURN: &[u64] = &[
    US,
    2 * US,
    5 * US,
    10 * US,
    20 * US,
    50 * US,
    100 * US,
    200 * US,
    300 * US,
    500 * US,
    MS,
    2 * MS,
    5 * MS,
    10 * MS,
    50 * MS,
    100 * MS,
];

/// Inputs of a turn.
pub(super) const INPUTS: &[u64] = &[0, 1, 2, 4, 8, 16, 32, 64];

/// Waiters met at the channel's door.
pub(super) const DEPTH: &[u64] = &[0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024];
