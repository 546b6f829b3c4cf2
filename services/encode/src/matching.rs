//! Matching: how well a text describes pictures of the gallery, for reranking.

use futures::{StreamExt, TryStreamExt, stream};
use weimocir_domain::{ImageId, LongText};
use weimocir_models::{DeviceError, EncoderHandle, Lane, ModelError, Tokens};
use weimocir_runtime::{PictureError, Pictures};
use weimocir_wire::{
    query::{MatchQuery, Matched},
    search::{Refusal, RefusalCode},
};

use crate::embed::EmbedError;

/// Pictures of one question that are fetched and decoded at the same time.
// because: that fills a pass of the matching head, and leaves room in the lane for other queries
const AT_ONCE: usize = 8;

pub(crate) async fn answer(
    encoder: EncoderHandle,
    pictures: Pictures,
    question: MatchQuery,
) -> Result<[Matched; 1], Refusal> {
    let MatchQuery { model, text, images } = question;
    if !encoder.has_matching_head() {
        let error = ModelError::NoMatchingHead { model: encoder.id().clone() };
        return Err(Refusal::invalid(format!("{error}: rerank by `weights` instead")));
    }
    if &model != encoder.id() {
        let message = format!("this encode worker runs {}, and {model} is asked", encoder.id());
        return Err(Refusal::new(RefusalCode::ModelMismatch, message));
    }
    let tokens = encoder.text_preprocessor().tokens(&[text], LongText::Truncate);
    let mut tokens =
        tokens.map_err(|error| EmbedError::from(DeviceError::Model(error)).refusal())?;
    let Some(text) = tokens.pop() else {
        return Err(Refusal::invalid("there is no text to match"));
    };
    let probabilities = stream::iter(images)
        .map(|image| probability(&encoder, &pictures, image, text.clone()))
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    Ok([Matched { probabilities }])
}

/// Nothing for a picture that is gone or cannot be read: the search has its similarity still.
async fn probability(
    encoder: &EncoderHandle,
    pictures: &Pictures,
    image: ImageId,
    text: Tokens,
) -> Result<Option<f32>, Refusal> {
    let bytes = match pictures.get(image).await {
        Ok(bytes) => bytes,
        Err(error @ PictureError::Failed { .. }) => {
            return Err(Refusal::new(RefusalCode::Unavailable, error.to_string()));
        }
        Err(reason) => {
            tracing::warn!(%image, %reason, "cannot match a picture");
            return Ok(None);
        }
    };
    let pixels = match encoder.pixels(Lane::Query, bytes).await {
        Ok(pixels) => pixels,
        Err(reason) => {
            tracing::warn!(%image, %reason, "cannot match a picture");
            return Ok(None);
        }
    };
    let matched = encoder.match_text(Lane::Query, pixels, text).await;
    matched.map(|matched| Some(matched.value)).map_err(|error| EmbedError::from(error).refusal())
}
