//! BLIP on its device thread, for async callers.

use std::{num::NonZeroUsize, sync::Arc};

use futures::{FutureExt, future::BoxFuture};
use weimocir_domain::ModelId;

use super::{BlipCaptioner, CaptionError, Captioner, Picture};
use crate::{
    device::{Budget, Cost, DeviceError, DeviceThread, Lane, Queues},
    error::ModelError,
    image::{Pixels, Preprocessor, decoding},
};

#[derive(Debug)]
struct Job {
    pixels: Pixels,
    seed: u64,
    captions: usize,
}

/// Cloneable; all clones share one captioner and its thread.
#[derive(Debug, Clone)]
pub struct BlipHandle {
    thread: DeviceThread<Job, Vec<String>>,
    id: ModelId,
    preprocessor: Arc<Preprocessor>,
}

impl BlipHandle {
    /// # Errors
    /// The system refuses another thread.
    pub fn spawn(captioner: BlipCaptioner, queues: Queues) -> std::io::Result<Self> {
        Ok(Self {
            id: captioner.id().clone(),
            preprocessor: captioner.preprocessor(),
            thread: DeviceThread::spawn("captioner", queues, move |jobs, budget| {
                caption(&captioner, jobs, budget)
            })?,
        })
    }

    pub fn id(&self) -> &ModelId {
        &self.id
    }

    pub fn preprocessor(&self) -> Arc<Preprocessor> {
        Arc::clone(&self.preprocessor)
    }

    /// 1 to `r` different sentences. A full query lane refuses with `Busy`; a full ingest lane
    /// makes the caller wait.
    ///
    /// # Errors
    /// As `DeviceThread::submit` and `BlipCaptioner::caption`.
    pub async fn caption_pixels(
        &self,
        lane: Lane,
        pixels: Pixels,
        seed: u64,
        r: usize,
    ) -> Result<Vec<String>, DeviceError> {
        let job = Job { pixels, seed, captions: r };
        let captions = match lane {
            Lane::Query => self.thread.try_submit(lane, job, Cost::IMAGE).await?,
            Lane::Ingest => self.thread.submit(lane, job, Cost::IMAGE).await?,
        };
        Ok(captions.value)
    }

    /// Finishes the batch under way and joins the thread. Blocks until then.
    pub fn shutdown(&self) {
        self.thread.shutdown();
    }
}

impl Captioner for BlipHandle {
    fn name(&self) -> &str {
        self.id.as_str()
    }

    /// 1 to `r` captions; the same picture with the same seed gets the same ones.
    fn caption(
        &self,
        picture: Picture,
        r: NonZeroUsize,
    ) -> BoxFuture<'_, Result<Vec<String>, CaptionError>> {
        let Picture { bytes, seed, lane, source: _ } = picture;
        let preprocessor = self.preprocessor();
        async move {
            let pixels = decoding(lane, bytes, move |bytes| preprocessor.pixels(bytes)).await?;
            self.caption_pixels(lane, pixels, seed, r.get()).await.map_err(outcome)
        }
        .boxed()
    }
}

/// What a failure of the device thread means for the picture.
fn outcome(error: DeviceError) -> CaptionError {
    match error {
        DeviceError::Busy { .. } => CaptionError::Busy { reason: error.to_string() },
        DeviceError::Stopped => CaptionError::Broken { reason: error.to_string() },
        DeviceError::Model(ModelError::NoCaption { .. }) => {
            CaptionError::Rejected { reason: "the captioner wrote no words for it".to_owned() }
        }
        error => CaptionError::Failed(error),
    }
}

/// One batch: pictures that want the same number of captions are written about together.
fn caption(
    captioner: &BlipCaptioner,
    jobs: &[Job],
    budget: Budget,
) -> Result<Vec<Vec<String>>, ModelError> {
    let mut answers = vec![Vec::new(); jobs.len()];
    let mut counts: Vec<usize> = jobs.iter().map(|job| job.captions).collect();
    counts.sort_unstable();
    counts.dedup();
    for r in counts {
        let chosen: Vec<usize> = (0..jobs.len()).filter(|&n| jobs[n].captions == r).collect();
        let pictures: Vec<(&Pixels, u64)> =
            chosen.iter().map(|&n| (&jobs[n].pixels, jobs[n].seed)).collect();
        for (n, captions) in
            chosen.into_iter().zip(captioner.caption_pixels(&pictures, r, budget.images)?)
        {
            answers[n] = captions;
        }
    }
    Ok(answers)
}
