//! The queue's work: a picture or a set of captions in, a part of the vectors log out.

use std::sync::Arc;

use weimocir_models::{
    DeviceError, EncoderHandle, ImageError, Lane, ModelError, Pixels, Preprocessor,
};
use weimocir_runtime::{Bus, Delivery, Failure, PictureError, Pictures, SubmitError};
use weimocir_wire::{
    Vector, subjects,
    vectors::{CaptionVector, CaptionsPart, ImagePart},
    work::{EncodeCaptions, EncodeImage},
};

use crate::binding::Binding;

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
        let pixels = pixels(self.encoder.preprocessor(), bytes).await?.map_err(Failure::reject)?;
        let embedding =
            self.encoder.encode_image(Lane::Ingest, pixels).await.map_err(device_failure)?;
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
        let encoded = self
            .encoder
            .encode_texts(Lane::Ingest, captions.clone())
            .await
            .map_err(device_failure)?;
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

/// Decodes a picture away from the async threads.
pub(crate) async fn pixels(
    preprocessor: Arc<Preprocessor>,
    bytes: Vec<u8>,
) -> Result<Result<Pixels, ImageError>, Failure> {
    tokio::task::spawn_blocking(move || preprocessor.pixels(&bytes)).await.map_err(Failure::retry)
}

fn picture_failure(error: PictureError) -> Failure {
    match error {
        PictureError::Corrupt(_) => Failure::reject(error),
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

fn device_failure(error: DeviceError) -> Failure {
    let kind = match &error {
        DeviceError::Stopped => Failure::Fatal,
        DeviceError::Model(ModelError::Text(_) | ModelError::Embedding(_)) => Failure::Reject,
        DeviceError::Busy { .. } | DeviceError::Panicked { .. } | DeviceError::Model(_) => {
            Failure::Retry
        }
    };
    kind(format!("{:#}", anyhow::Error::new(error)))
}
