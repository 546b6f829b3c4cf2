//! CLIP as Hugging Face's `CLIPModel` computes it: both towers, features raw.
//! Weights come from `weights`, pixels from `image`, token ids from `text`.

mod config;
mod layer;
mod text;
mod vision;

use candle_core::{Result as CandleResult, Tensor};

pub(crate) use config::ClipConfig;
use text::TextTower;
use vision::VisionTower;

use crate::{
    error::ModelError,
    weights::{Weights, ignorable},
};

#[derive(Debug)]
pub(crate) struct Clip {
    vision: VisionTower,
    text: TextTower,
}

impl Clip {
    pub(crate) fn load(weights: &Weights, config: &ClipConfig) -> Result<Self, ModelError> {
        let root = weights.root();
        let clip = Self {
            vision: VisionTower::load(&root, config.vision(), config.projection_dim)?,
            text: TextTower::load(&root, config.text(), config.projection_dim)?,
        };
        weights.finish(ignorable::CLIP)?;
        Ok(clip)
    }

    /// `[B, 3, S, S] → [B, dim]`, not normalised.
    pub(crate) fn image_features(&self, pixels: &Tensor) -> CandleResult<Tensor> {
        self.vision.forward(pixels)
    }

    /// B lists of token ids → `[B, dim]`, not normalised.
    pub(crate) fn text_features(&self, texts: &[Vec<u32>]) -> CandleResult<Tensor> {
        self.text.forward(texts)
    }
}
