//! Decoded, encoded and decoded again is the same, through changes of the table's size.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| wire::fuzzing::hpack(data));
