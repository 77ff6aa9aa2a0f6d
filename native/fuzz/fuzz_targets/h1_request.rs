//! Any chunking of a client's bytes gives the same requests or the same refusal.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| wire::fuzzing::h1_request(data));
