//! Matching: how well a text describes pictures of the gallery, for reranking.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt, TryStreamExt, stream};
use tokio::{sync::Semaphore, time::timeout};
use weimocir_domain::{ImageId, LongText};
use weimocir_models::{DeviceError, EncoderHandle, Lane, ModelError, Tokens};
use weimocir_runtime::{Bus, BusError, PictureError, Pictures};
use weimocir_wire::{
    query::{MatchQuery, Matched},
    search::{Refusal, RefusalCode},
};

use crate::embed::EmbedError;

/// Pictures in one question.
const MAX_IMAGES: usize = 64;
/// Pairs on their way through decoder and device, of all questions together.
// because: they are two passes of the matching head, and leave most of the query lane to searches that
// only want an embedding
const PAIRS: usize = 16;

#[derive(Debug, Clone)]
pub(crate) struct Matcher {
    encoder: EncoderHandle,
    pictures: Pictures,
    pairs: Arc<Semaphore>,
}

impl Matcher {
    /// With room for pictures of its own, so that no question waits for what ingest has in hand.
    pub(crate) async fn open(bus: &Bus, encoder: EncoderHandle) -> Result<Self, BusError> {
        let pictures = Pictures::open(bus).await?;
        Ok(Self { encoder, pictures, pairs: Arc::new(Semaphore::new(PAIRS)) })
    }

    pub(crate) async fn answer(self, question: MatchQuery) -> Result<[Matched; 1], Refusal> {
        let within = Duration::from_millis(question.within_ms);
        let late = |_| Refusal::new(RefusalCode::Timeout, "the time for matching is up");
        timeout(within, self.matched(question)).await.map_err(late)?
    }

    async fn matched(&self, question: MatchQuery) -> Result<[Matched; 1], Refusal> {
        let MatchQuery { model, text, images, .. } = question;
        if !self.encoder.has_matching_head() {
            let error = ModelError::NoMatchingHead { model: self.encoder.id().clone() };
            return Err(Refusal::invalid(format!("{error}: rerank by `weights` instead")));
        }
        if &model != self.encoder.id() {
            let runs = self.encoder.id();
            let message = format!("this encode worker runs {runs}, and {model} is asked");
            return Err(Refusal::new(RefusalCode::ModelMismatch, message));
        }
        if images.len() > MAX_IMAGES {
            let message = format!("{} pictures are asked, of at most {MAX_IMAGES}", images.len());
            return Err(Refusal::invalid(message));
        }
        let text = self.tokens(text).await.map_err(EmbedError::refusal)?;
        let probabilities = stream::iter(images)
            .map(|image| self.probability(image, text.clone()))
            .buffered(PAIRS)
            .try_collect()
            .await?;
        Ok([Matched { probabilities }])
    }

    async fn tokens(&self, text: String) -> Result<Tokens, EmbedError> {
        let preprocessor = self.encoder.text_preprocessor();
        let cut = move || preprocessor.tokens(&[text], LongText::Truncate);
        let mut tokens = tokio::task::spawn_blocking(cut).await?.map_err(DeviceError::Model)?;
        Ok(tokens.remove(0))
    }

    /// Nothing for a picture that is gone or cannot be read: the search has its similarity still.
    async fn probability(&self, image: ImageId, text: Tokens) -> Result<Option<f32>, Refusal> {
        let _place = self.pairs.acquire().await;
        let bytes = match self.pictures.get(image).await {
            Ok(bytes) => bytes,
            Err(error @ PictureError::Failed { .. }) => {
                return Err(Refusal::new(RefusalCode::Unavailable, error.to_string()));
            }
            Err(reason) => {
                tracing::warn!(%image, %reason, "cannot match a picture");
                return Ok(None);
            }
        };
        let pixels = match self.encoder.pixels(Lane::Query, bytes).await {
            Ok(pixels) => pixels,
            Err(reason) => {
                tracing::warn!(%image, %reason, "cannot match a picture");
                return Ok(None);
            }
        };
        let matched = self.encoder.match_text(Lane::Query, pixels, text).await;
        let matched = matched.map_err(|error| EmbedError::from(error).refusal())?;
        Ok(Some(matched.value))
    }
}
