//! A picture or texts to embeddings: prepared away from the async threads, computed on the device
//! thread, with the time that each step took.

use std::time::{Duration, Instant};

use bytes::Bytes;
use weimocir_domain::Embedding;
use weimocir_models::{
    DeviceError, EncodedText, EncoderHandle, ImageError, Lane, ModelError, TextPreprocessor, Timed,
    Tokens,
};
use weimocir_runtime::Failure;
use weimocir_wire::{
    query::EncodeTiming,
    search::{Refusal, RefusalCode},
};

#[derive(Debug, thiserror::Error)]
pub(crate) enum EmbedError {
    #[error("the picture cannot be used")]
    Image(#[from] ImageError),
    #[error("the preprocessing died")]
    Died(#[from] tokio::task::JoinError),
    #[error(transparent)]
    Device(#[from] DeviceError),
}

#[derive(Debug)]
pub(crate) struct Embedded<T> {
    pub value: T,
    pub timing: EncodeTiming,
}

pub(crate) async fn image(
    encoder: &EncoderHandle,
    lane: Lane,
    bytes: Bytes,
) -> Result<Embedded<Embedding>, EmbedError> {
    let start = Instant::now();
    let pixels = encoder.pixels(lane, bytes).await?;
    let preprocessing = start.elapsed();
    Ok(embedded(preprocessing, encoder.encode_image(lane, pixels).await?))
}

/// `tokens` says how the texts are cut into tokens.
pub(crate) async fn texts(
    encoder: &EncoderHandle,
    lane: Lane,
    tokens: impl FnOnce(&TextPreprocessor) -> Result<Vec<Tokens>, ModelError> + Send + 'static,
) -> Result<Embedded<Vec<EncodedText>>, EmbedError> {
    let start = Instant::now();
    let preprocessor = encoder.text_preprocessor();
    let tokens = tokio::task::spawn_blocking(move || tokens(&preprocessor)).await?;
    let tokens = tokens.map_err(DeviceError::Model)?;
    let preprocessing = start.elapsed();
    Ok(embedded(preprocessing, encoder.encode_texts(lane, tokens).await?))
}

fn embedded<T>(preprocessing: Duration, answer: Timed<T>) -> Embedded<T> {
    let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
    let timing = EncodeTiming {
        queued_ms: ms(answer.queued),
        preprocessing_ms: ms(preprocessing),
        inference_ms: ms(answer.inference),
    };
    Embedded { value: answer.value, timing }
}

impl EmbedError {
    /// What becomes of a delivery.
    pub(crate) fn failure(self) -> Failure {
        let kind = match &self {
            Self::Device(DeviceError::Stopped) => Failure::Fatal,
            Self::Image(_)
            | Self::Device(DeviceError::Model(ModelError::Text(_) | ModelError::Embedding(_))) => {
                Failure::Reject
            }
            Self::Device(_) | Self::Died(_) => Failure::Retry,
        };
        kind(self.told())
    }

    /// What a question is told.
    pub(crate) fn refusal(self) -> Refusal {
        let code = match &self {
            Self::Image(_) | Self::Device(DeviceError::Model(ModelError::Text(_))) => {
                RefusalCode::Invalid
            }
            Self::Device(DeviceError::Busy { .. }) => RefusalCode::Busy,
            Self::Device(
                DeviceError::Stopped | DeviceError::Model(ModelError::OutOfMemory { .. }),
            ) => RefusalCode::Unavailable,
            Self::Device(_) | Self::Died(_) => RefusalCode::Internal,
        };
        Refusal::new(code, self.told())
    }

    fn told(self) -> String {
        format!("{:#}", anyhow::Error::new(self))
    }
}
