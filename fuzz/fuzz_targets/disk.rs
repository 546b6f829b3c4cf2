//! Any bytes as what a store keeps: records of sled, the manifest of an index, parts of the log.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    weimocir_store::fuzzing::read(bytes);
});
