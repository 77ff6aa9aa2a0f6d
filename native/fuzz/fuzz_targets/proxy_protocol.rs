//! Every prefix of a PROXY header asks for more until one byte decides, for good.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| wire::fuzzing::proxy_protocol(data));
