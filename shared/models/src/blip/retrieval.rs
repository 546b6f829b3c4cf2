//! BLIP as a dual encoder, as Hugging Face's `BlipForImageTextRetrieval` computes it, features raw,
//! and its image-text matching head.

use candle_core::{Result as CandleResult, Tensor};

use super::{BlipConfig, text_encoder::TextEncoder, vision::VisionTower};
use crate::{error::ModelError, layers::Linear, weights::Weights};

#[derive(Debug)]
pub(crate) struct BlipRetrieval {
    vision: VisionTower,
    text: TextEncoder,
    vision_projection: Linear,
    text_projection: Linear,
    matching: Linear,
}

impl BlipRetrieval {
    pub(crate) fn load(weights: &Weights, config: &BlipConfig) -> Result<Self, ModelError> {
        let root = weights.root();
        let (vision, text) = (config.vision_config.hidden_size, config.text_config.hidden_size);
        let dim = config.image_text_hidden_size;
        Ok(Self {
            vision: VisionTower::load(&root.at("vision_model"), &config.vision_config)?,
            text: TextEncoder::load(&root.at("text_encoder"), config)?,
            vision_projection: Linear::load(&root.at("vision_proj"), vision, dim)?,
            text_projection: Linear::load(&root.at("text_proj"), text, dim)?,
            matching: Linear::load(&root.at("itm_head"), text, 2)?,
        })
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

    /// The probability that each text describes the picture beside it, `[B]`: the second of the
    /// matching head's two classes. Texts begin with the token [ENC], as the head was trained.
    pub(crate) fn matching(&self, texts: &[Vec<u32>], pictures: &Tensor) -> CandleResult<Tensor> {
        let logits = self.matching.forward(&self.text.forward(texts, Some(pictures))?)?;
        candle_nn::ops::softmax_last_dim(&logits)?.narrow(1, 1, 1)?.squeeze(1)
    }
}
