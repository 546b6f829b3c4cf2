//! Any text as a caption or a modifier, by every kind of tokenizer.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    weimocir_models::fuzzing::tokens(text);
});
