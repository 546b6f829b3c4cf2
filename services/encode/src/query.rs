//! Queries: encoded at once, ahead of the queue's work.

use weimocir_models::{DeviceError, EncoderHandle, Lane, ModelError};
use weimocir_wire::{
    Blob, Vector,
    query::{EncodeQuery, EncodedQuery, EncodedText},
    search::{Refusal, RefusalCode},
};

use crate::ingest::pixels;

pub(crate) async fn answer(
    encoder: EncoderHandle,
    question: EncodeQuery,
) -> Result<[EncodedQuery; 1], Refusal> {
    let (image, texts) =
        tokio::try_join!(image(&encoder, question.image), texts(&encoder, question.texts))?;
    let (alpha, beta) = encoder.default_weights();
    Ok([EncodedQuery { model: encoder.id().clone(), alpha, beta, image, texts }])
}

async fn image(encoder: &EncoderHandle, image: Option<Blob>) -> Result<Option<Vector>, Refusal> {
    let Some(Blob(bytes)) = image else { return Ok(None) };
    let pixels = pixels(encoder.preprocessor(), bytes)
        .await
        .map_err(|e| Refusal::new(RefusalCode::Internal, e.to_string()))?
        .map_err(|e| Refusal::invalid(format!("the reference picture cannot be used: {e}")))?;
    let embedding = encoder.encode_image(Lane::Query, pixels).await.map_err(refusal)?;
    Ok(Some(Vector::from(&embedding)))
}

async fn texts(encoder: &EncoderHandle, texts: Vec<String>) -> Result<Vec<EncodedText>, Refusal> {
    if texts.is_empty() {
        return Ok(vec![]);
    }
    let encoded = encoder.encode_texts(Lane::Query, texts).await.map_err(refusal)?;
    let text = |e: &weimocir_models::EncodedText| EncodedText {
        embedding: Vector::from(&e.embedding),
        truncated: e.truncated,
    };
    Ok(encoded.iter().map(text).collect())
}

fn refusal(error: DeviceError) -> Refusal {
    let code = match &error {
        DeviceError::Busy { .. } => RefusalCode::Busy,
        DeviceError::Stopped => RefusalCode::Unavailable,
        DeviceError::Model(ModelError::Text(_)) => RefusalCode::Invalid,
        DeviceError::Panicked { .. } | DeviceError::Model(_) => RefusalCode::Internal,
    };
    Refusal::new(code, format!("{:#}", anyhow::Error::new(error)))
}
