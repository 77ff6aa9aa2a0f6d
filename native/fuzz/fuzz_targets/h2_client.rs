//! Any chunking of a server's bytes gives an HTTP/2 client the same events and answers.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| wire::fuzzing::h2_client(data));
