//! Captions for a picture of the queue, or of a request.

use std::{num::NonZeroUsize, sync::Arc};

use bytes::Bytes;
use weimocir_domain::ImageId;
use weimocir_models::{CaptionError, Captioner, Lane, Picture};
use weimocir_runtime::{Bus, Delivery, Failure, PictureError, Pictures};
use weimocir_wire::{
    query::{CaptionQuery, CaptionedQuery},
    search::{Refusal, RefusalCode},
    subjects,
    work::{CaptionImage, EncodeCaptions},
};

#[derive(Debug, Clone)]
pub(crate) struct Describer {
    pub bus: Bus,
    pub pictures: Pictures,
    pub captioner: Arc<dyn Captioner>,
    /// R.
    pub captions: NonZeroUsize,
}

impl Describer {
    pub(crate) async fn handle(self, delivery: Arc<Delivery>) -> Result<(), Failure> {
        let CaptionImage { collection, image, revision, source } = delivery.decode()?;
        let bytes = self.pictures.get(image).await.map_err(|error| match error {
            PictureError::Corrupt(_) | PictureError::TooLarge { .. } => Failure::reject(error),
            PictureError::Missing(_) | PictureError::Failed { .. } => Failure::retry(error),
        })?;
        let picture = Picture { bytes, seed: image.seed(), lane: Lane::Ingest, source };
        let captions = self.captioner.caption(picture, self.captions).await.map_err(failure)?;
        let made = EncodeCaptions { collection, generation: None, image, revision, captions };
        self.bus.submit(subjects::ENCODE_CAPTIONS, &made).await.map_err(Failure::retry)?;
        Ok(())
    }

    /// The same picture as in the queue gets the same captions.
    pub(crate) async fn answer(
        self,
        question: CaptionQuery,
    ) -> Result<[CaptionedQuery; 1], Refusal> {
        let bytes = Bytes::from(question.image.0);
        let seed = ImageId::of(&bytes).seed();
        let picture = Picture { bytes, seed, lane: Lane::Query, source: None };
        let captions = self.captioner.caption(picture, self.captions).await.map_err(refusal)?;
        Ok([CaptionedQuery { captions }])
    }
}

fn failure(error: CaptionError) -> Failure {
    let kind = match &error {
        CaptionError::Image(_) | CaptionError::Rejected { .. } => Failure::Reject,
        CaptionError::Busy { .. } | CaptionError::Unavailable { .. } | CaptionError::Failed(_) => {
            Failure::Retry
        }
        CaptionError::Broken { .. } => Failure::Fatal,
    };
    kind(format!("{:#}", anyhow::Error::new(error)))
}

fn refusal(error: CaptionError) -> Refusal {
    let code = match &error {
        CaptionError::Image(_) | CaptionError::Rejected { .. } => RefusalCode::Invalid,
        CaptionError::Busy { .. } => RefusalCode::Busy,
        CaptionError::Unavailable { .. } => RefusalCode::Unavailable,
        CaptionError::Failed(_) | CaptionError::Broken { .. } => RefusalCode::Internal,
    };
    Refusal::new(code, format!("{:#}", anyhow::Error::new(error)))
}
