//! Any bytes as an uploaded picture and any text as a caption or a modifier, made ready for the device
//! as the encode worker does it, for the fuzzer alone.

use std::sync::LazyLock;

use bytes::Bytes;
use tokio::runtime::{Builder, Runtime};
use weimocir_domain::LongText;

use crate::{
    bundled,
    device::Lane,
    error::{ModelError, TextError},
    image::{Preprocessor, decoding},
    text::{self, READ, TextTokenizer, TokenizerFiles},
    text_preprocessor::TextPreprocessor,
};

/// Every way to a size: crops, squeezes, black beside the picture and around it, and each filter.
/// Small sizes, because the fuzzer's time is for the decoders.
static RECIPES: LazyLock<[Preprocessor; 4]> = LazyLock::new(|| {
    let declared = |json: &[u8]| Preprocessor::from_json(json, "recipe").expect("a recipe");
    [
        declared(bundled::CLIP.preprocessor),
        declared(
            br#"{"image_processor_type": "BlipImageProcessor", "size": {"height": 24, "width": 40},
                "resample": 2}"#,
        ),
        declared(br#"{"size": {"shortest_edge": 24}, "crop_size": 32, "resample": 1}"#),
        Preprocessor::published_blip(32),
    ]
});

static DECODERS: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_current_thread().enable_time().build().expect("a runtime"));

/// Decodes and resizes under the limits of every upload; the number of bytes chooses the recipe.
pub fn pixels(bytes: &[u8]) {
    let recipe = &RECIPES[bytes.len() % RECIPES.len()];
    let work = |bytes: &[u8]| recipe.pixels(bytes);
    let found = DECODERS.block_on(decoding(Lane::Ingest, Bytes::copy_from_slice(bytes), work));
    let Ok(pixels) = found else { return };
    let (height, width) = recipe.size();
    assert_eq!(pixels.size(), (height, width));
    assert_eq!(pixels.values().len(), 3 * height * width);
    assert!(pixels.values().iter().all(|value| value.is_finite()));
}

/// Tokens that the models read at most; small, because a text seldom gets longer than the fuzzer's.
const CONTEXT: usize = 24;

/// The bundled model's tokenizer, transformers' for CLIP, OpenAI's, and BLIP's.
static TOKENIZERS: LazyLock<[TextPreprocessor; 4]> = LazyLock::new(|| {
    const MERGES: &[u8] = include_bytes!("../tests/fixtures/text/bpe_simple_vocab_16e6.txt.gz");
    let load = |files| TextTokenizer::load(&files, str::to_owned).expect("a tokenizer");
    [
        load(TokenizerFiles::Json(bundled::CLIP.tokenizer.to_vec())),
        text::hugging_face_clip(MERGES).expect("a tokenizer"),
        load(TokenizerFiles::OpenAi(MERGES.to_vec())),
        load(TokenizerFiles::Blip),
    ]
    .map(|tokenizer| TextPreprocessor::new(tokenizer, CONTEXT))
});

/// Cuts into tokens, once cut off and once refused where too long.
pub fn tokens(written: &str) {
    for tokenizer in &*TOKENIZERS {
        check_tokens(tokenizer, written);
    }
}

fn check_tokens(tokenizer: &TextPreprocessor, written: &str) {
    let texts = [written.to_owned()];
    let cut = match tokenizer.tokens(&texts, LongText::Truncate) {
        Ok(mut cut) => cut.remove(0),
        Err(ModelError::Text(TextError::Empty { .. })) => {
            return assert!(written.trim().is_empty());
        }
        Err(error) => panic!("{error}"),
    };
    let frame = tokenizer.of_nothing().expect("tokens of nothing").ids;
    assert_eq!((cut.ids.first(), cut.ids.last()), (frame.first(), frame.last()));
    assert_eq!(cut.ids.len(), cut.whole.min(CONTEXT));
    let is_read = written.trim().len() <= READ;
    assert_eq!(cut.truncated, cut.whole > CONTEXT || !is_read);
    match tokenizer.tokens(&texts, LongText::Refuse) {
        Ok(whole) => assert_eq!(whole, [cut]),
        Err(ModelError::Text(TextError::TooLong { tokens, limit, .. })) => {
            assert_eq!((tokens, limit, cut.truncated), (cut.whole, CONTEXT, true));
        }
        Err(ModelError::Text(TextError::TooManyBytes { .. })) => assert!(!is_read),
        Err(error) => panic!("{error}"),
    }
}
