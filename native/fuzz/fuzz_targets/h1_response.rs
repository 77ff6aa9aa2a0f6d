//! Any chunking of an upstream's bytes gives the same responses or the same refusal.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| wire::fuzzing::h1_response(data));
