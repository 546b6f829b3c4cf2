//! The queue's work: a picture or a set of captions in, a part of the vectors log out.

use std::sync::Arc;

use weimocir_domain::LongText;
use weimocir_models::{EncoderHandle, Lane, TextPreprocessor};
use weimocir_runtime::{Bus, Delivery, Failure, PictureError, Pictures, SubmitError};
use weimocir_wire::{
    Vector,
    query::EncodeTiming,
    subjects,
    vectors::{CaptionVector, CaptionsPart, ImagePart},
    work::{EncodeCaptions, EncodeImage},
};

use crate::{
    binding::Binding,
    embed::{self, EmbedError, Embedded},
};

#[derive(Debug, Clone)]
pub(crate) struct Ingest {
    pub bus: Bus,
    pub pictures: Pictures,
    pub encoder: EncoderHandle,
    pub binding: Binding,
}

impl Ingest {
    pub(crate) async fn handle(self, delivery: Arc<Delivery>) -> Result<(), Failure> {
        match delivery.subject() {
            subjects::ENCODE_IMAGE => self.image(&delivery).await,
            subjects::ENCODE_CAPTIONS => self.captions(&delivery).await,
            other => Err(Failure::reject(format!("encoding does not know the subject {other}"))),
        }
    }

    async fn image(&self, delivery: &Delivery) -> Result<(), Failure> {
        let EncodeImage { collection, image, source, metadata } = delivery.decode()?;
        let record = self.binding.of(&collection).await?;
        let bytes = self.pictures.get(image).await.map_err(picture_failure)?;
        let Embedded { value: embedding, timing } =
            embed::image(&self.encoder, Lane::Ingest, bytes).await.map_err(EmbedError::failure)?;
        let EncodeTiming { queued_ms, preprocessing_ms, inference_ms } = timing;
        tracing::debug!(%image, queued_ms, preprocessing_ms, inference_ms, "image encoded");
        let part = ImagePart {
            image,
            revision: delivery.revision(),
            model: embedding.model().clone(),
            embedding: Vector::from(&embedding),
            source,
            metadata,
        };
        let place = (image.shard(record.shards), subjects::Part::Image);
        let submitted = self.bus.submit_part(&collection, image, place, (part.revision, &part));
        submitted.await.map_err(submit_failure)
    }

    async fn captions(&self, delivery: &Delivery) -> Result<(), Failure> {
        let EncodeCaptions { collection, image, revision, captions } = delivery.decode()?;
        if captions.is_empty() {
            return Err(Failure::reject("an image cannot have an empty list of captions"));
        }
        let record = self.binding.of(&collection).await?;
        let texts = captions.clone();
        let tokens =
            move |preprocessor: &TextPreprocessor| preprocessor.tokens(&texts, LongText::Truncate);
        let Embedded { value: encoded, timing } =
            embed::texts(&self.encoder, Lane::Ingest, tokens).await.map_err(EmbedError::failure)?;
        let truncated = encoded.iter().filter(|caption| caption.truncated).count();
        let EncodeTiming { queued_ms, preprocessing_ms, inference_ms } = timing;
        tracing::debug!(%image, truncated, queued_ms, preprocessing_ms, inference_ms,
            "captions encoded");
        let vectors = captions.into_iter().zip(&encoded);
        let part = CaptionsPart {
            image,
            revision,
            model: self.encoder.id().clone(),
            captions: vectors
                .map(|(text, encoded)| CaptionVector {
                    text,
                    embedding: Vector::from(&encoded.embedding),
                })
                .collect(),
        };
        let place = (image.shard(record.shards), subjects::Part::Captions);
        let submitted = self.bus.submit_part(&collection, image, place, (revision, &part));
        submitted.await.map_err(submit_failure)
    }
}

fn picture_failure(error: PictureError) -> Failure {
    match error {
        PictureError::Corrupt(_) | PictureError::TooLarge { .. } => Failure::reject(error),
        // because: a picture that is missing now may be one that a follower has not copied yet
        PictureError::Missing(_) | PictureError::Failed { .. } => Failure::retry(error),
    }
}

fn submit_failure(error: SubmitError) -> Failure {
    match error {
        SubmitError::Wire(_) | SubmitError::TooLarge { .. } => Failure::reject(error),
        SubmitError::Full { .. } | SubmitError::Refused { .. } => Failure::retry(error),
    }
}
