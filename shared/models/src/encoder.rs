//! The dual encoder: pictures and texts to raw features of one space.
//! Runs on the thread that calls it; `encoder_handle` gives it a thread of its own.

use std::sync::Arc;

use candle_core::{Device, Result as CandleResult, Tensor};
use weimocir_domain::{Embedding, ModelId};

use crate::{
    bundled,
    clip::{Clip, ClipConfig},
    device_choice::DeviceChoice,
    error::ModelError,
    files::{CONFIG, ModelFiles, PREPROCESSOR, Role},
    image::{Pixels, Preprocessor},
    source::ModelSource,
    text::{TextTokenizer, Tokens},
};

/// Weights (α, β) of the paper for CLIP.
pub(crate) const CLIP_WEIGHTS: (f32, f32) = (0.80, 0.10);

/// Pictures in one forward pass; because more of them gain nothing and take memory.
const PICTURES_AT_ONCE: usize = 16;
/// Texts in one forward pass.
const TEXTS_AT_ONCE: usize = 128;

#[derive(Debug)]
pub struct Encoder {
    id: ModelId,
    dim: usize,
    default_weights: (f32, f32),
    clip: Clip,
    context: usize,
    tokenizer: TextTokenizer,
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
        let (clip, id) = files.load(&device, "", |weights| Clip::load(weights, &config))?;
        let encoder = Self {
            clip,
            id,
            dim: config.projection_dim,
            default_weights: if *source == ModelSource::Bundled {
                bundled::WEIGHTS
            } else {
                CLIP_WEIGHTS
            },
            context: config.text().max_position_embeddings,
            tokenizer: TextTokenizer::load(&files.tokenizer, |file| files.path(file))?,
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

    /// One raw feature for each picture, in order.
    ///
    /// # Errors
    /// Pixels of another model's size, or a failing device.
    pub fn encode_images(&self, batch: &[Pixels]) -> Result<Vec<Embedding>, ModelError> {
        self.encode_pixels(&batch.iter().collect::<Vec<_>>())
    }

    pub(crate) fn encode_pixels(&self, batch: &[&Pixels]) -> Result<Vec<Embedding>, ModelError> {
        let mut embeddings = Vec::with_capacity(batch.len());
        for part in batch.chunks(PICTURES_AT_ONCE) {
            let pixels = stack(part, self.preprocessor.size(), &self.device)?;
            embeddings.extend(self.embeddings(&self.clip.image_features(&pixels)?)?);
        }
        Ok(embeddings)
    }

    /// One raw feature for each text, in order.
    ///
    /// # Errors
    /// An empty text, or a failing device.
    pub fn encode_texts(&self, texts: &[String]) -> Result<Vec<EncodedText>, ModelError> {
        let tokens =
            texts.iter().enumerate().map(|(n, text)| self.tokenizer.encode(n, text, self.context));
        let tokens: Vec<Tokens> = tokens.collect::<Result<_, _>>()?;
        let mut encoded = Vec::with_capacity(texts.len());
        for part in tokens.chunks(TEXTS_AT_ONCE) {
            let ids: Vec<Vec<u32>> = part.iter().map(|tokens| tokens.ids.clone()).collect();
            let embeddings = self.embeddings(&self.clip.text_features(&ids)?)?;
            encoded.extend(
                embeddings.into_iter().zip(part).map(|(embedding, tokens)| EncodedText {
                    embedding,
                    truncated: tokens.truncated,
                }),
            );
        }
        Ok(encoded)
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
