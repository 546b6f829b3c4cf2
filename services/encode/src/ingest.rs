//! The queue's work: a picture or a set of captions in, a part of the vectors log out.

use std::sync::Arc;

use weimocir_domain::{Collection, LongText};
use weimocir_models::{EncoderHandle, Lane, TextPreprocessor};
use weimocir_runtime::{Bus, Delivery, Failure, PictureError, Pictures, SubmitError};
use weimocir_wire::{
    Message, Vector,
    query::EncodeTiming,
    subjects,
    vectors::{CaptionVector, CaptionsPart, ImagePart},
    work::{EncodeCaptions, EncodeImage, EncodeInLane},
};

use crate::{
    binding::{Binding, Route},
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
    /// A submission, whose revision is its place in the queue.
    pub(crate) async fn submitted(self, delivery: Arc<Delivery>) -> Result<(), Failure> {
        let EncodeImage { collection, image, source, metadata } = delivery.decode()?;
        let revision = delivery.revision();
        let work = EncodeInLane { collection, generation: None, image, revision, source, metadata };
        self.image(work).await
    }

    pub(crate) async fn in_lane(self, delivery: Arc<Delivery>) -> Result<(), Failure> {
        self.image(delivery.decode()?).await
    }

    async fn image(&self, work: EncodeInLane) -> Result<(), Failure> {
        let place = (&work.collection, work.generation.as_ref());
        let own = self.own_logs(place, (subjects::ENCODE_IMAGE, &work)).await?;
        let Some((log, shards)) = own else { return Ok(()) };
        let EncodeInLane { image, revision, source, metadata, .. } = work;
        let bytes = self.pictures.get(image).await.map_err(picture_failure)?;
        let Embedded { value: embedding, timing } =
            embed::image(&self.encoder, Lane::Ingest, bytes).await.map_err(EmbedError::failure)?;
        let EncodeTiming { queued_ms, preprocessing_ms, inference_ms } = timing;
        tracing::debug!(%image, queued_ms, preprocessing_ms, inference_ms, "image encoded");
        let part = ImagePart {
            image,
            revision,
            model: embedding.model().clone(),
            embedding: Vector::from(&embedding),
            source,
            metadata,
        };
        let place = (image.shard(shards), subjects::Part::Image);
        let submitted = self.bus.submit_part(&log, image, place, (revision, &part));
        submitted.await.map_err(submit_failure)
    }

    pub(crate) async fn captions(self, delivery: Arc<Delivery>) -> Result<(), Failure> {
        let work: EncodeCaptions = delivery.decode()?;
        if work.captions.is_empty() {
            return Err(Failure::reject("an image cannot have an empty list of captions"));
        }
        let place = (&work.collection, work.generation.as_ref());
        let own = self.own_logs(place, (subjects::ENCODE_CAPTIONS, &work)).await?;
        let Some((log, shards)) = own else { return Ok(()) };
        let EncodeCaptions { image, revision, captions, .. } = work;
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
        let place = (image.shard(shards), subjects::Part::Captions);
        let submitted = self.bus.submit_part(&log, image, place, (revision, &part));
        submitted.await.map_err(submit_failure)
    }

    /// The logs and shards of work for this worker's model. Another model's is passed on to its workers, as
    /// it is; where too much waits for them, it is for later.
    async fn own_logs<T: Message>(
        &self,
        (collection, generation): (&Collection, Option<&Collection>),
        (subject, work): (&str, &T),
    ) -> Result<Option<(Collection, u16)>, Failure> {
        let model = match self.binding.route(collection, generation).await? {
            Route::Here { log, shards } => return Ok(Some((log, shards))),
            Route::Lane(model) => model,
        };
        match self.bus.offer(&subjects::in_lane(subject, &model), work).await {
            Ok(_) => {
                tracing::debug!(%model, subject, "passed on to another model");
                Ok(None)
            }
            Err(error @ SubmitError::Full { .. }) => {
                Err(Failure::later(format!("{error}. It waits for workers of {model}")))
            }
            Err(error) => Err(submit_failure(error)),
        }
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
