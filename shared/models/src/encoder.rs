//! The dual encoder: pictures and texts to raw features of one space.
//! Runs on the thread that calls it; `encoder_handle` gives it a thread of its own.

use std::sync::Arc;

use candle_core::{DType, Device, Result as CandleResult, Tensor};
use weimocir_domain::{Embedding, LongText, ModelId};

use crate::{
    blip::BlipRetrieval,
    bundled,
    device::Budget,
    dual_encoder::DualEncoder,
    error::ModelError,
    files::{ModelFiles, Role},
    image::{Pixels, Preprocessor},
    layers::rows,
    options::{ModelOptions, PixelRecipe},
    passes,
    source::ModelSource,
    text::{TextTokenizer, Tokens},
    text_preprocessor::TextPreprocessor,
};

/// Passes of a caller that has the encoder for itself, behind whom no query waits; because more
/// gains nothing and takes memory.
const ALONE: Budget = Budget { images: 32, tokens: 4_096 };

/// Pairs in one pass of the matching head; because their hidden states are 64 times a feature.
const MATCHED_AT_ONCE: usize = 8;

#[derive(Debug)]
pub struct Encoder {
    id: ModelId,
    dim: usize,
    default_weights: (f32, f32),
    model: DualEncoder,
    text_preprocessor: TextPreprocessor,
    preprocessor: Arc<Preprocessor>,
    device: Device,
    dtype: DType,
}

/// A text's feature, and whether the text was too long to be read to its end.
#[derive(Debug, Clone, PartialEq)]
pub struct EncodedText {
    pub embedding: Embedding,
    pub truncated: bool,
}

impl Encoder {
    /// # Errors
    /// A file that is missing, unreadable or not a dual encoder's, or a device that is not there.
    pub fn load(
        source: &ModelSource,
        options: impl Into<ModelOptions>,
    ) -> Result<Self, ModelError> {
        let options = options.into();
        let device = options.device.open()?;
        let dtype = options.precision.on(&device)?;
        Self::load_on(source, (device, dtype), options.pixels)
    }

    fn load_on(
        source: &ModelSource,
        (device, dtype): (Device, DType),
        pixels: PixelRecipe,
    ) -> Result<Self, ModelError> {
        let files = ModelFiles::find(source, Role::Encoder)?;
        // Salesforce's checkpoints declare nothing: what the published code did is their recipe.
        let pixels = match source {
            ModelSource::Checkpoint(_) => PixelRecipe::Published,
            _ => pixels,
        };
        let found = DualEncoder::load(&files, (&device, dtype), pixels)?;
        let found = match source {
            ModelSource::Simulated(simulated) => found.simulated(*simulated),
            _ => found,
        };
        // Because each thread has a CUDA stream of its own, and another one may run the model.
        device.synchronize()?;
        let default_weights = match source {
            ModelSource::Bundled => bundled::WEIGHTS,
            _ => found.model.default_weights(),
        };
        let tokenizer = TextTokenizer::load(&files.tokenizer, |file| files.path(file))?;
        let encoder = Self {
            text_preprocessor: TextPreprocessor::new(tokenizer, found.context),
            model: found.model,
            id: found.id,
            dim: found.dim,
            default_weights,
            preprocessor: Arc::new(found.preprocessor),
            device,
            dtype,
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

    /// Whether it has an image-text matching head, which `matching` needs.
    pub fn has_matching_head(&self) -> bool {
        matches!(self.model, DualEncoder::Blip(_))
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
            let pixels = self.stack(part)?;
            embeddings.extend(self.embeddings(&self.model.image_features(&pixels)?)?);
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
            let embeddings = self.embeddings(&self.model.text_features(&ids)?)?;
            encoded.extend(pass.into_iter().zip(embeddings));
        }
        encoded.sort_by_key(|(n, _)| *n);
        let answers = encoded
            .into_iter()
            .map(|(n, embedding)| EncodedText { embedding, truncated: texts[n].truncated });
        Ok(answers.collect())
    }

    /// How probable it is that each text describes the picture beside it, by the image-text
    /// matching head of BLIP.
    ///
    /// # Errors
    /// An encoder without that head, numbers of pictures and texts that differ, an empty text,
    /// pixels of another model's size, or a failing device.
    pub fn matching(&self, pictures: &[Pixels], texts: &[String]) -> Result<Vec<f32>, ModelError> {
        self.matching_head()?;
        if pictures.len() != texts.len() {
            let (pictures, texts) = (pictures.len(), texts.len());
            return Err(ModelError::Unpaired { pictures, texts });
        }
        let tokens = self.text_preprocessor.tokens(texts, LongText::Truncate)?;
        let pairs: Vec<_> = pictures.iter().zip(&tokens).collect();
        self.match_pairs(&pairs, MATCHED_AT_ONCE)
    }

    fn matching_head(&self) -> Result<&BlipRetrieval, ModelError> {
        match &self.model {
            DualEncoder::Blip(blip) => Ok(blip),
            DualEncoder::Clip(_) | DualEncoder::Simulated(_) => {
                Err(ModelError::NoMatchingHead { model: self.id.clone() })
            }
        }
    }

    /// In passes of at most `at_once` pairs.
    pub(crate) fn match_pairs(
        &self,
        pairs: &[(&Pixels, &Tokens)],
        at_once: usize,
    ) -> Result<Vec<f32>, ModelError> {
        let mut found = Vec::with_capacity(pairs.len());
        for pass in pairs.chunks(at_once.min(MATCHED_AT_ONCE)) {
            let pictures: Vec<&Pixels> = pass.iter().map(|(picture, _)| *picture).collect();
            let texts: Vec<Vec<u32>> = pass.iter().map(|(_, text)| text.ids.clone()).collect();
            let blip = self.matching_head()?;
            let looks = blip.look(&self.stack(&pictures)?)?;
            found.extend(blip.matching(&texts, &looks)?.to_vec1::<f32>()?);
        }
        Ok(found)
    }

    fn stack(&self, batch: &[&Pixels]) -> Result<Tensor, ModelError> {
        Ok(stack(batch, self.preprocessor.size(), &self.device)?.to_dtype(self.dtype)?)
    }

    fn embeddings(&self, features: &Tensor) -> Result<Vec<Embedding>, ModelError> {
        rows(features)?.into_iter().map(|row| Ok(Embedding::new(self.id.clone(), row)?)).collect()
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

#[cfg(test)]
mod tests;
