//! CLIP's picture tower: pixels to the raw projected feature.

use candle_core::{Result as CandleResult, Tensor};

use super::{config::VisionConfig, layer};
use crate::{
    error::ModelError,
    kernels::Seen,
    layers::{LayerNorm, Linear, PatchEmbedding, first_token, picture_tokens, with_class_token},
    pre_norm::PreNormLayer,
    weights::Scope,
};

#[derive(Debug)]
pub(super) struct VisionTower {
    patches: PatchEmbedding,
    class: Tensor,
    positions: Tensor,
    norm_before: LayerNorm,
    layers: Vec<PreNormLayer>,
    norm_after: LayerNorm,
    projection: Linear,
}

impl VisionTower {
    pub(super) fn load(
        root: &Scope<'_>,
        config: &VisionConfig,
        dim: usize,
    ) -> Result<Self, ModelError> {
        let (at, width) = (root.at("vision_model"), config.hidden_size);
        let embeddings = at.at("embeddings");
        let tokens = picture_tokens(config.image_size, config.patch_size);
        Ok(Self {
            patches: PatchEmbedding::load(
                &embeddings.at("patch_embedding"),
                width,
                config.patch_size,
                false,
            )?,
            class: embeddings.tensor("class_embedding", &[width])?,
            positions: embeddings.tensor("position_embedding.weight", &[tokens, width])?,
            // The misspelt name is the published one.
            norm_before: LayerNorm::load(&at.at("pre_layrnorm"), width, config.layer_norm_eps)?,
            layers: (0..config.num_hidden_layers)
                .map(|n| layer::load(&at.at("encoder.layers").at(n), config.into()))
                .collect::<Result<_, _>>()?,
            norm_after: LayerNorm::load(&at.at("post_layernorm"), width, config.layer_norm_eps)?,
            projection: Linear::load_without_bias(&root.at("visual_projection"), width, dim)?,
        })
    }

    /// `[B, 3, S, S] → [B, dim]`, not normalised.
    pub(super) fn forward(&self, pixels: &Tensor) -> CandleResult<Tensor> {
        let x = with_class_token(&self.patches.forward(pixels)?, &self.class, &self.positions)?;
        let mut x = self.norm_before.forward(&x)?;
        if let Some((last, layers)) = self.layers.split_last() {
            for layer in layers {
                x = layer.forward(&x, Seen::All)?;
            }
            // Only the class token is read after the last layer.
            let class = x.narrow(1, 0, 1)?.contiguous()?;
            x = last.forward_one(&x, &class, Seen::All)?;
        }
        self.projection.forward(&self.norm_after.forward(&first_token(&x)?)?)
    }
}
