//! Any bytes as a picture. Whatever is one has as many numbers as the model takes, all finite. A
//! decoder that panics is none of ours, and costs its picture alone.
#![no_main]

use std::{panic, sync::LazyLock};

use libfuzzer_sys::fuzz_target;
use weimocir_models::{ImageLimits, Preprocessor};

// because: small limits leave more tries for what is read, and less for what is computed
static PREPROCESSORS: LazyLock<[Preprocessor; 2]> = LazyLock::new(|| {
    let limits = ImageLimits { bytes: 1 << 20, side: 2_000, pixels: 250_000 };
    [Preprocessor::published_clip(16), Preprocessor::published_blip(16)]
        .map(|preprocessor| preprocessor.with_limits(limits))
});

/// A panic in somebody else's decoder is caught, as it is by a worker; one in our own code ends the
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
    for preprocessor in PREPROCESSORS.iter() {
        if let Ok(pixels) = preprocessor.pixels(bytes) {
            assert_eq!(pixels.values().len(), 3 * 16 * 16);
            assert!(pixels.values().iter().all(|value| value.is_finite()));
        }
    }
});
