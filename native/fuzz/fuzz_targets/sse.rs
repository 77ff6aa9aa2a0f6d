//! Event ends do not depend on chunking and are those of a scanner too simple to be wrong.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| wire::fuzzing::sse(data));
