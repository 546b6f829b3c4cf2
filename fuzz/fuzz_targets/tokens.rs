//! Any text as a modifier and as a caption, for both kinds of tokenizer.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use weimocir_domain::LongText;
use weimocir_models::{Encoder, ModelOptions, ModelSource, TextPreprocessor};

static BUNDLED: LazyLock<TextPreprocessor> = LazyLock::new(|| {
    let encoder = Encoder::load(&ModelSource::Bundled, ModelOptions::default());
    encoder.expect("the bundled model loads").text_preprocessor()
});

fuzz_target!(|text: &str| {
    let texts = [text.to_owned()];
    let cut = BUNDLED.tokens(&texts, LongText::Truncate);
    let whole = BUNDLED.tokens(&texts, LongText::Refuse);
    // what is not refused for its length is not cut
    if whole.is_ok() {
        assert!(cut.is_ok(), "{text:?}");
    }
});
