//! Captions for a picture of the queue, or of a request.

use std::sync::Arc;

use weimocir_domain::ImageId;
use weimocir_models::{CaptionerHandle, DeviceError, ImageError, Lane, ModelError, Pixels};
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
    pub captioner: CaptionerHandle,
    /// R.
    pub captions: usize,
}

#[derive(Debug, thiserror::Error)]
enum DescribeError {
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error(transparent)]
    Device(#[from] DeviceError),
    #[error("decoding stopped: {0}")]
    Stopped(#[from] tokio::task::JoinError),
}

impl Describer {
    pub(crate) async fn handle(self, delivery: Arc<Delivery>) -> Result<(), Failure> {
        let CaptionImage { collection, image, revision, source: _ } = delivery.decode()?;
        let bytes = self.pictures.get(image).await.map_err(|error| match error {
            PictureError::Corrupt(_) => Failure::reject(error),
            PictureError::Missing(_) | PictureError::Failed { .. } => Failure::retry(error),
        })?;
        let captions = self.describe(Lane::Ingest, bytes, image).await.map_err(failure)?;
        let made = EncodeCaptions { collection, image, revision, captions };
        self.bus.submit(subjects::ENCODE_CAPTIONS, &made).await.map_err(Failure::retry)?;
        Ok(())
    }

    pub(crate) async fn answer(
        self,
        question: CaptionQuery,
    ) -> Result<[CaptionedQuery; 1], Refusal> {
        let image = ImageId::of(&question.image.0);
        let captions =
            self.describe(Lane::Query, question.image.0, image).await.map_err(refusal)?;
        Ok([CaptionedQuery { captions }])
    }

    /// The same picture always gets the same captions.
    async fn describe(
        &self,
        lane: Lane,
        bytes: Vec<u8>,
        image: ImageId,
    ) -> Result<Vec<String>, DescribeError> {
        let preprocessor = self.captioner.preprocessor();
        let pixels: Pixels =
            tokio::task::spawn_blocking(move || preprocessor.pixels(&bytes)).await??;
        Ok(self.captioner.caption(lane, pixels, image.seed(), self.captions).await?)
    }
}

fn failure(error: DescribeError) -> Failure {
    let kind = match &error {
        DescribeError::Device(DeviceError::Stopped) => Failure::Fatal,
        DescribeError::Image(_)
        | DescribeError::Device(DeviceError::Model(ModelError::NoCaption { .. })) => {
            Failure::Reject
        }
        DescribeError::Device(_) | DescribeError::Stopped(_) => Failure::Retry,
    };
    kind(format!("{:#}", anyhow::Error::new(error)))
}

fn refusal(error: DescribeError) -> Refusal {
    let code = match &error {
        DescribeError::Image(_) => RefusalCode::Invalid,
        DescribeError::Device(DeviceError::Busy { .. }) => RefusalCode::Busy,
        DescribeError::Device(_) | DescribeError::Stopped(_) => RefusalCode::Internal,
    };
    Refusal::new(code, format!("{:#}", anyhow::Error::new(error)))
}
