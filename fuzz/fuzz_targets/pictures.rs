//! Any bytes as an uploaded picture: what is taken has the encoder's size, and all else is an error.
//! libjpeg is C, and tells the fuzzer nothing of where it has been.
#![no_main]

use std::panic;

use libfuzzer_sys::fuzz_target;

/// A panic in somebody else's decoder is caught, as a worker does it; one in our own code ends the
/// process, which is how the fuzzer hears of it.
fn let_panics_be_caught() {
    let told = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if panic.location().is_none_or(|at| !at.file().contains("/registry/")) {
            told(panic);
        }
    }));
}

fuzz_target!(init: let_panics_be_caught(), |bytes: &[u8]| {
    weimocir_models::fuzzing::pixels(bytes);
});
