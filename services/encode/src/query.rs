//! Queries: encoded at once, ahead of the queue's work.

use weimocir_domain::{Embedding, LongText};
use weimocir_models::{EncoderHandle, Lane};
use weimocir_wire::{
    Blob, Vector,
    query::{EncodeQuery, EncodeTiming, EncodedQuery, EncodedText},
    search::Refusal,
};

use crate::embed::{self, EmbedError, Embedded};

pub(crate) async fn answer(
    encoder: EncoderHandle,
    question: EncodeQuery,
) -> Result<[EncodedQuery; 1], Refusal> {
    let EncodeQuery { image: picture, texts: written, captions, long_text } = question;
    let asked = written.len();
    let (image, texts) =
        tokio::try_join!(image(&encoder, picture), texts(&encoder, written, captions, long_text))
            .map_err(EmbedError::refusal)?;
    let timing = longer(image.as_ref().map(|i| i.timing), texts.as_ref().map(|t| t.timing));
    let mut texts = texts.map_or_else(Vec::new, |texts| wire_texts(texts.value));
    let captions = texts.split_off(asked);
    let (alpha, beta) = encoder.default_weights();
    let image = image.map(|image| Vector::from(&image.value));
    let model = encoder.id().clone();
    Ok([EncodedQuery { model, alpha, beta, image, texts, captions, timing }])
}

async fn image(
    encoder: &EncoderHandle,
    picture: Option<Blob>,
) -> Result<Option<Embedded<Embedding>>, EmbedError> {
    match picture {
        None => Ok(None),
        Some(Blob(bytes)) => Ok(Some(embed::image(encoder, Lane::Query, bytes.into()).await?)),
    }
}

/// What people wrote and then what a captioner wrote, as one job.
async fn texts(
    encoder: &EncoderHandle,
    written: Vec<String>,
    captions: Vec<String>,
    long_text: LongText,
) -> Result<Option<Embedded<Vec<weimocir_models::EncodedText>>>, EmbedError> {
    if written.is_empty() && captions.is_empty() {
        return Ok(None);
    }
    let encoded = embed::texts(encoder, Lane::Query, move |preprocessor| {
        let mut tokens = preprocessor.tokens(&written, long_text)?;
        tokens.extend(preprocessor.tokens(&captions, LongText::Truncate)?);
        Ok(tokens)
    });
    Ok(Some(encoded.await?))
}

fn wire_texts(texts: Vec<weimocir_models::EncodedText>) -> Vec<EncodedText> {
    let text = |text: weimocir_models::EncodedText| EncodedText {
        embedding: Vector::from(&text.embedding),
        truncated: text.truncated,
    };
    texts.into_iter().map(text).collect()
}

/// The timing of what took longer, picture or texts.
fn longer(image: Option<EncodeTiming>, texts: Option<EncodeTiming>) -> EncodeTiming {
    let whole = |t: &EncodeTiming| t.queued_ms + t.preprocessing_ms + t.inference_ms;
    let longest = image.into_iter().chain(texts).max_by(|a, b| whole(a).total_cmp(&whole(b)));
    longest.unwrap_or_default()
}
