//! Any chunking of a chunked body gives the same data, trailers or refusal.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| wire::fuzzing::chunked(data));
