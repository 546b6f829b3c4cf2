//! The encoder on its device thread, for async callers.

use std::sync::Arc;

use weimocir_domain::{Embedding, ModelId};

use crate::{
    device::{DeviceError, DeviceThread, Lane, Queues},
    encoder::{EncodedText, Encoder},
    error::ModelError,
    image::{Pixels, Preprocessor},
};

#[derive(Debug)]
enum Job {
    Image(Pixels),
    Texts(Vec<String>),
}

#[derive(Debug)]
enum Answer {
    Image(Embedding),
    Texts(Vec<EncodedText>),
}

/// Cloneable; all clones share one encoder and its thread.
#[derive(Debug, Clone)]
pub struct EncoderHandle {
    thread: DeviceThread<Job, Answer>,
    id: ModelId,
    dim: usize,
    default_weights: (f32, f32),
    preprocessor: Arc<Preprocessor>,
}

impl EncoderHandle {
    /// # Errors
    /// The system refuses another thread.
    pub fn spawn(encoder: Encoder, queues: Queues) -> std::io::Result<Self> {
        Ok(Self {
            id: encoder.id().clone(),
            dim: encoder.dim(),
            default_weights: encoder.default_weights(),
            preprocessor: encoder.preprocessor(),
            thread: DeviceThread::spawn("encoder", queues, move |jobs| encode(&encoder, jobs))?,
        })
    }

    pub fn id(&self) -> &ModelId {
        &self.id
    }

    pub fn dim(&self) -> usize {
        self.dim
    }

    pub fn default_weights(&self) -> (f32, f32) {
        self.default_weights
    }

    pub fn preprocessor(&self) -> Arc<Preprocessor> {
        Arc::clone(&self.preprocessor)
    }

    /// A full query lane refuses with `Busy`; a full ingest lane makes the caller wait.
    ///
    /// # Errors
    /// As `DeviceThread::submit` and `Encoder::encode_images`.
    pub async fn encode_image(&self, lane: Lane, pixels: Pixels) -> Result<Embedding, DeviceError> {
        match self.hand_over(lane, Job::Image(pixels)).await? {
            Answer::Image(embedding) => Ok(embedding),
            Answer::Texts(_) => unreachable!("a picture is answered with its embedding"),
        }
    }

    /// As `encode_image`, for the texts of one caller.
    ///
    /// # Errors
    /// As `DeviceThread::submit` and `Encoder::encode_texts`.
    pub async fn encode_texts(
        &self,
        lane: Lane,
        texts: Vec<String>,
    ) -> Result<Vec<EncodedText>, DeviceError> {
        match self.hand_over(lane, Job::Texts(texts)).await? {
            Answer::Texts(encoded) => Ok(encoded),
            Answer::Image(_) => unreachable!("texts are answered with theirs"),
        }
    }

    async fn hand_over(&self, lane: Lane, job: Job) -> Result<Answer, DeviceError> {
        match lane {
            Lane::Query => self.thread.try_submit(lane, job).await,
            Lane::Ingest => self.thread.submit(lane, job).await,
        }
    }

    /// Finishes the batch under way and joins the thread. Blocks until then.
    pub fn shutdown(&self) {
        self.thread.shutdown();
    }
}

/// One batch: the pictures together, the texts of all callers together.
fn encode(encoder: &Encoder, jobs: &[Job]) -> Result<Vec<Answer>, ModelError> {
    let pictures = jobs.iter().filter_map(|job| match job {
        Job::Image(pixels) => Some(pixels),
        Job::Texts(_) => None,
    });
    let texts = jobs.iter().filter_map(|job| match job {
        Job::Texts(texts) => Some(texts),
        Job::Image(_) => None,
    });
    let texts: Vec<String> = texts.flatten().cloned().collect();
    let mut embeddings = encoder.encode_pixels(&pictures.collect::<Vec<_>>())?.into_iter();
    let mut encoded = encoder.encode_texts(&texts)?.into_iter();
    let answers = jobs.iter().filter_map(|job| match job {
        Job::Image(_) => embeddings.next().map(Answer::Image),
        Job::Texts(texts) => Some(Answer::Texts(encoded.by_ref().take(texts.len()).collect())),
    });
    Ok(answers.collect())
}
