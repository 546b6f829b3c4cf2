//! The captioner on its device thread, for async callers.

use std::sync::Arc;

use weimocir_domain::ModelId;

use crate::{
    captioner::Captioner,
    device::{Budget, Cost, DeviceError, DeviceThread, Lane, Queues},
    error::ModelError,
    image::{Pixels, Preprocessor},
};

#[derive(Debug)]
struct Job {
    pixels: Pixels,
    seed: u64,
    captions: usize,
}

/// Cloneable; all clones share one captioner and its thread.
#[derive(Debug, Clone)]
pub struct CaptionerHandle {
    thread: DeviceThread<Job, Vec<String>>,
    id: ModelId,
    preprocessor: Arc<Preprocessor>,
}

impl CaptionerHandle {
    /// # Errors
    /// The system refuses another thread.
    pub fn spawn(captioner: Captioner, queues: Queues) -> std::io::Result<Self> {
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
    /// As `DeviceThread::submit` and `Captioner::caption`.
    pub async fn caption(
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

/// One batch: pictures that want the same number of captions are written about together.
fn caption(
    captioner: &Captioner,
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
