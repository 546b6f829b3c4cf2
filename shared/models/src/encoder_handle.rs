//! The encoder on its device thread, for async callers.

use std::sync::Arc;

use bytes::Bytes;
use weimocir_domain::{Embedding, ModelId};

use crate::{
    device::{Budget, Cost, DeviceError, DeviceThread, Lane, Queues, Timed},
    encoder::{EncodedText, Encoder},
    error::ModelError,
    image::{ImageError, Pixels, Preprocessor, decoding},
    text::Tokens,
    text_preprocessor::TextPreprocessor,
};

#[derive(Debug)]
enum Job {
    Image(Pixels),
    Texts(Vec<Tokens>),
    Pair(Pixels, Tokens),
}

#[derive(Debug)]
enum Answer {
    Image(Embedding),
    Pair(f32),
    Texts(Vec<EncodedText>),
}

/// Cloneable; all clones share one encoder and its thread.
#[derive(Debug, Clone)]
pub struct EncoderHandle {
    thread: DeviceThread<Job, Answer>,
    id: ModelId,
    dim: usize,
    default_weights: (f32, f32),
    has_matching_head: bool,
    preprocessor: Arc<Preprocessor>,
    text_preprocessor: TextPreprocessor,
}

impl EncoderHandle {
    /// # Errors
    /// The system refuses another thread.
    pub fn spawn(encoder: Encoder, queues: Queues) -> std::io::Result<Self> {
        Ok(Self {
            id: encoder.id().clone(),
            dim: encoder.dim(),
            default_weights: encoder.default_weights(),
            has_matching_head: encoder.has_matching_head(),
            preprocessor: encoder.preprocessor(),
            text_preprocessor: encoder.text_preprocessor(),
            thread: DeviceThread::spawn("encoder", queues, move |jobs, budget| {
                encode(&encoder, jobs, budget)
            })?,
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

    /// As `Encoder::has_matching_head`.
    pub fn has_matching_head(&self) -> bool {
        self.has_matching_head
    }

    pub fn preprocessor(&self) -> Arc<Preprocessor> {
        Arc::clone(&self.preprocessor)
    }

    /// A picture's pixels, decoded where a bad file harms no other.
    ///
    /// # Errors
    /// Bytes that are not a whole picture within the limits, of size and of time.
    pub async fn pixels(&self, lane: Lane, bytes: Bytes) -> Result<Pixels, ImageError> {
        let preprocessor = self.preprocessor();
        decoding(lane, bytes, move |bytes| preprocessor.pixels(bytes)).await
    }

    pub fn text_preprocessor(&self) -> TextPreprocessor {
        self.text_preprocessor.clone()
    }

    /// A full query lane refuses with `Busy`; a full ingest lane makes the caller wait.
    ///
    /// # Errors
    /// As `DeviceThread::submit` and `Encoder::encode_images`.
    pub async fn encode_image(
        &self,
        lane: Lane,
        pixels: Pixels,
    ) -> Result<Timed<Embedding>, DeviceError> {
        let Timed { value, queued, inference } =
            self.hand_over(lane, Job::Image(pixels), Cost::IMAGE).await?;
        match value {
            Answer::Image(value) => Ok(Timed { value, queued, inference }),
            _ => unreachable!("a picture is answered with its embedding"),
        }
    }

    /// As `encode_image`, for the texts of one caller.
    ///
    /// # Errors
    /// As `DeviceThread::submit` and `Encoder::encode_tokens`.
    pub async fn encode_texts(
        &self,
        lane: Lane,
        texts: Vec<Tokens>,
    ) -> Result<Timed<Vec<EncodedText>>, DeviceError> {
        let cost = Cost::texts(texts.iter().map(|tokens| tokens.ids.len()));
        let Timed { value, queued, inference } =
            self.hand_over(lane, Job::Texts(texts), cost).await?;
        match value {
            Answer::Texts(value) => Ok(Timed { value, queued, inference }),
            _ => unreachable!("texts are answered with theirs"),
        }
    }

    /// As `encode_image`: the probability that a text describes a picture.
    ///
    /// # Errors
    /// As `DeviceThread::submit` and `Encoder::matching`.
    pub async fn match_text(
        &self,
        lane: Lane,
        pixels: Pixels,
        text: Tokens,
    ) -> Result<Timed<f32>, DeviceError> {
        let cost = Cost::pair(text.ids.len());
        let Timed { value, queued, inference } =
            self.hand_over(lane, Job::Pair(pixels, text), cost).await?;
        match value {
            Answer::Pair(value) => Ok(Timed { value, queued, inference }),
            _ => unreachable!("a pair is answered with its probability"),
        }
    }

    async fn hand_over(
        &self,
        lane: Lane,
        job: Job,
        cost: Cost,
    ) -> Result<Timed<Answer>, DeviceError> {
        match lane {
            Lane::Query => self.thread.try_submit(lane, job, cost).await,
            Lane::Ingest => self.thread.submit(lane, job, cost).await,
        }
    }

    /// Finishes the batch under way and joins the thread. Blocks until then.
    pub fn shutdown(&self) {
        self.thread.shutdown();
    }
}

/// One batch: the pictures together, the texts of all callers together, and the pairs together.
fn encode(encoder: &Encoder, jobs: &[Job], budget: Budget) -> Result<Vec<Answer>, ModelError> {
    let (mut pictures, mut texts, mut pairs) = (vec![], vec![], vec![]);
    for job in jobs {
        match job {
            Job::Image(pixels) => pictures.push(pixels),
            Job::Texts(of_one) => texts.extend(of_one),
            Job::Pair(pixels, text) => pairs.push((pixels, text)),
        }
    }
    let mut embeddings = encoder.encode_pixels(&pictures, budget.images)?.into_iter();
    let mut encoded = encoder.encode_ids(&texts, budget.tokens)?.into_iter();
    let mut matched = encoder.match_pairs(&pairs, budget.images)?.into_iter();
    let answers = jobs.iter().filter_map(|job| match job {
        Job::Image(_) => embeddings.next().map(Answer::Image),
        Job::Texts(texts) => Some(Answer::Texts(encoded.by_ref().take(texts.len()).collect())),
        Job::Pair(..) => matched.next().map(Answer::Pair),
    });
    Ok(answers.collect())
}
