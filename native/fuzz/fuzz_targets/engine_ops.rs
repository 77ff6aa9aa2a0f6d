//! No order of peers' bytes, ends, dials, reloads and time makes the engine break a promise.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| engine::fuzzing::engine_ops(data));
