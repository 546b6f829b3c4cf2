//! BLIP as a dual encoder, as Hugging Face's `BlipForImageTextRetrieval` computes it, features raw,
//! and its image-text matching head.

use candle_core::{DType, Result as CandleResult, Tensor};

use super::{BlipConfig, text_encoder::TextEncoder, vision::VisionTower};
use crate::{
    error::ModelError,
    layers::Linear,
    weights::{Weights, ignorable},
};

#[derive(Debug)]
pub(crate) struct BlipRetrieval {
    vision: VisionTower,
    text: TextEncoder,
    vision_projection: Linear,
    text_projection: Linear,
    matching: Linear,
    /// [ENC], which begins a text that meets a picture: the last of the vocabulary.
    matching_token: u32,
}

impl BlipRetrieval {
    pub(crate) fn load(weights: &Weights, config: &BlipConfig) -> Result<Self, ModelError> {
        let root = weights.root();
        if root.has("text_decoder") && !root.has("text_encoder") {
            return Err(ModelError::CaptionerNotEncoder { file: weights.name().to_owned() });
        }
        let text_config = &config.text_config;
        let (vision, text) = (config.vision_config.hidden_size, text_config.hidden_size);
        let dim = config.image_text_hidden_size;
        let retrieval = Self {
            vision: VisionTower::load(&root.at("vision_model"), &config.vision_config)?,
            text: TextEncoder::load(&root.at("text_encoder"), config)?,
            vision_projection: Linear::load(&root.at("vision_proj"), vision, dim)?,
            text_projection: Linear::load(&root.at("text_proj"), text, dim)?,
            matching: Linear::load(&root.at("itm_head"), text, 2)?,
            matching_token: text_config.vocab_size.saturating_sub(1) as u32,
        };
        weights.finish(ignorable::BLIP_RETRIEVAL)?;
        Ok(retrieval)
    }

    /// `[B, 3, S, S] → [B, dim]`, not normalised.
    pub(crate) fn image_features(&self, pixels: &Tensor) -> CandleResult<Tensor> {
        self.vision_projection.forward(&self.vision.class_token(pixels)?)
    }

    /// B lists of token ids → `[B, dim]`, not normalised.
    pub(crate) fn text_features(&self, texts: &[Vec<u32>]) -> CandleResult<Tensor> {
        self.text_projection.forward(&self.text.forward(texts, None)?)
    }

    /// Hidden states of pictures, `[B, N + 1, D]`, for `matching`.
    pub(crate) fn look(&self, pixels: &Tensor) -> CandleResult<Tensor> {
        self.vision.forward(pixels)
    }

    /// The probability that each text describes the picture beside it, `[B]` in f32: the second of
    /// the matching head's two classes.
    ///
    /// The first token becomes [ENC], with which the head was trained; Hugging Face's model leaves
    /// that to its caller.
    pub(crate) fn matching(&self, texts: &[Vec<u32>], pictures: &Tensor) -> CandleResult<Tensor> {
        let mut texts = texts.to_vec();
        texts.iter_mut().filter_map(|ids| ids.first_mut()).for_each(|id| *id = self.matching_token);
        let logits = self.matching.forward(&self.text.forward(&texts, Some(pictures))?)?;
        let odds = candle_nn::ops::softmax_last_dim(&logits.to_dtype(DType::F32)?)?;
        odds.narrow(1, 1, 1)?.squeeze(1)
    }
}
