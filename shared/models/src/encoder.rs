//! The dual encoder: pictures and texts to raw features of one space.
//! Runs on the thread that calls it; `encoder_handle` gives it a thread of its own.

use std::sync::Arc;

use candle_core::{Device, Result as CandleResult, Tensor};
use weimocir_domain::{Embedding, LongText, ModelId};

use crate::{
    bundled,
    clip::{Clip, ClipConfig},
    device::Budget,
    device_choice::DeviceChoice,
    error::ModelError,
    files::{CONFIG, ModelFiles, PREPROCESSOR, Role},
    image::{Pixels, Preprocessor},
    passes,
    source::ModelSource,
    text::{TextTokenizer, Tokens},
    text_preprocessor::TextPreprocessor,
};

/// Weights (α, β) of the paper for CLIP.
const CLIP_WEIGHTS: (f32, f32) = (0.80, 0.10);

/// Passes of a caller that has the encoder for itself, behind whom no query waits; because more
/// gains nothing and takes memory.
const ALONE: Budget = Budget { images: 32, tokens: 4_096 };

#[derive(Debug)]
pub struct Encoder {
    id: ModelId,
    dim: usize,
    default_weights: (f32, f32),
    clip: Clip,
    text_preprocessor: TextPreprocessor,
    preprocessor: Arc<Preprocessor>,
    device: Device,
}

/// A text's feature, and whether the text was too long to be read to its end.
#[derive(Debug, Clone, PartialEq)]
pub struct EncodedText {
    pub embedding: Embedding,
    pub truncated: bool,
}

impl Encoder {
    /// # Errors
    /// A file that is missing, unreadable or not a CLIP model's, or a device that is not there.
    pub fn load(source: &ModelSource, device: DeviceChoice) -> Result<Self, ModelError> {
        let files = ModelFiles::find(source, Role::Encoder)?;
        let config: ClipConfig = files.config("clip")?;
        config.check(&files.path(CONFIG))?;
        let device = device.open()?;
        let preprocessor = Preprocessor::from_json(&files.preprocessor, &files.path(PREPROCESSOR))?;
        let side = config.vision().image_size;
        preprocessor.check_size((side, side), &files.path(PREPROCESSOR))?;
        let encoder = Self {
            clip: Clip::load(&files.weights(&device)?, &config)?,
            id: files.id()?,
            dim: config.projection_dim,
            default_weights: if *source == ModelSource::Bundled {
                bundled::WEIGHTS
            } else {
                CLIP_WEIGHTS
            },
            text_preprocessor: TextPreprocessor::new(
                TextTokenizer::load(&files)?,
                config.text().max_position_embeddings,
            ),
            preprocessor: Arc::new(preprocessor),
            device,
        };
        tracing::info!(model = %encoder.id, dim = encoder.dim, "encoder loaded");
        Ok(encoder)
    }

    pub fn id(&self) -> &ModelId {
        &self.id
    }

    /// The number of values of every embedding.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// The weights (α, β) to use when the caller names none.
    pub fn default_weights(&self) -> (f32, f32) {
        self.default_weights
    }

    pub fn preprocessor(&self) -> Arc<Preprocessor> {
        Arc::clone(&self.preprocessor)
    }

    pub fn text_preprocessor(&self) -> TextPreprocessor {
        self.text_preprocessor.clone()
    }

    /// One raw feature for each picture, in order.
    ///
    /// # Errors
    /// Pixels of another model's size, or a failing device.
    pub fn encode_images(&self, batch: &[Pixels]) -> Result<Vec<Embedding>, ModelError> {
        self.encode_pixels(&batch.iter().collect::<Vec<_>>(), ALONE.images)
    }

    /// In passes of at most `at_once` pictures.
    pub(crate) fn encode_pixels(
        &self,
        batch: &[&Pixels],
        at_once: usize,
    ) -> Result<Vec<Embedding>, ModelError> {
        let mut embeddings = Vec::with_capacity(batch.len());
        for part in batch.chunks(at_once) {
            let pixels = stack(part, self.preprocessor.size(), &self.device)?;
            embeddings.extend(self.embeddings(&self.clip.image_features(&pixels)?)?);
        }
        Ok(embeddings)
    }

    /// One raw feature for each text, in order; of a text that is too long, its beginning counts.
    ///
    /// # Errors
    /// An empty text, or a failing device.
    pub fn encode_texts(&self, texts: &[String]) -> Result<Vec<EncodedText>, ModelError> {
        self.encode_tokens(&self.text_preprocessor.tokens(texts, LongText::Truncate)?)
    }

    /// One raw feature for each text, in order.
    ///
    /// # Errors
    /// A failing device.
    pub fn encode_tokens(&self, texts: &[Tokens]) -> Result<Vec<EncodedText>, ModelError> {
        self.encode_ids(&texts.iter().collect::<Vec<_>>(), ALONE.tokens)
    }

    /// In passes of at most `at_once` tokens, padding included.
    pub(crate) fn encode_ids(
        &self,
        texts: &[&Tokens],
        at_once: usize,
    ) -> Result<Vec<EncodedText>, ModelError> {
        let lengths: Vec<usize> = texts.iter().map(|tokens| tokens.ids.len()).collect();
        let mut encoded = Vec::with_capacity(texts.len());
        for pass in passes::by_length(&lengths, at_once) {
            let ids: Vec<Vec<u32>> = pass.iter().map(|&n| texts[n].ids.clone()).collect();
            let embeddings = self.embeddings(&self.clip.text_features(&ids)?)?;
            encoded.extend(pass.into_iter().zip(embeddings));
        }
        encoded.sort_by_key(|(n, _)| *n);
        let answers = encoded
            .into_iter()
            .map(|(n, embedding)| EncodedText { embedding, truncated: texts[n].truncated });
        Ok(answers.collect())
    }

    fn embeddings(&self, features: &Tensor) -> Result<Vec<Embedding>, ModelError> {
        let rows: Vec<Vec<f32>> = features.to_vec2()?;
        rows.into_iter().map(|row| Ok(Embedding::new(self.id.clone(), row)?)).collect()
    }
}

/// Pictures of one size as `[B, 3, height, width]`.
pub(crate) fn stack(
    batch: &[&Pixels],
    size: (usize, usize),
    device: &Device,
) -> Result<Tensor, ModelError> {
    if let Some(index) = batch.iter().position(|pixels| pixels.size() != size) {
        return Err(ModelError::PixelSize { index, found: batch[index].size(), expected: size });
    }
    let values: Vec<f32> = batch.iter().flat_map(|pixels| pixels.values()).copied().collect();
    let tensor: CandleResult<Tensor> =
        Tensor::from_vec(values, (batch.len(), 3, size.0, size.1), device);
    Ok(tensor?)
}
