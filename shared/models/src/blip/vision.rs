//! BLIP's picture tower: pixels to hidden states, the class token first.

use candle_core::{Result as CandleResult, Tensor};

use super::config::VisionConfig;
use crate::{
    error::ModelError,
    kernels::Seen,
    layers::{
        FeedForward, LayerNorm, Linear, PatchEmbedding, first_token, picture_tokens,
        with_class_token,
    },
    pre_norm::PreNormLayer,
    weights::Scope,
};

#[derive(Debug)]
pub(super) struct VisionTower {
    patches: PatchEmbedding,
    class: Tensor,
    positions: Tensor,
    layers: Vec<PreNormLayer>,
    norm_after: LayerNorm,
}

impl VisionTower {
    pub(super) fn load(at: &Scope<'_>, config: &VisionConfig) -> Result<Self, ModelError> {
        let (embeddings, width) = (at.at("embeddings"), config.hidden_size);
        let tokens = picture_tokens(config.image_size, config.patch_size);
        Ok(Self {
            patches: PatchEmbedding::load(
                &embeddings.at("patch_embedding"),
                width,
                config.patch_size,
                true,
            )?,
            class: embeddings.tensor("class_embedding", &[1, 1, width])?,
            positions: embeddings.tensor("position_embedding", &[1, tokens, width])?,
            layers: (0..config.num_hidden_layers)
                .map(|n| layer(&at.at("encoder.layers").at(n), config))
                .collect::<Result<_, _>>()?,
            norm_after: LayerNorm::load(&at.at("post_layernorm"), width, config.layer_norm_eps)?,
        })
    }

    /// `[B, 3, S, S] → [B, N + 1, D]`, the class token first.
    pub(super) fn forward(&self, pixels: &Tensor) -> CandleResult<Tensor> {
        let x = self.through(&self.layers, pixels)?;
        self.norm_after.forward(&x)
    }

    /// The class token alone, `[B, 3, S, S] → [B, D]`.
    pub(super) fn class_token(&self, pixels: &Tensor) -> CandleResult<Tensor> {
        let Some((last, layers)) = self.layers.split_last() else {
            return first_token(&self.forward(pixels)?);
        };
        let x = self.through(layers, pixels)?;
        let class = x.narrow(1, 0, 1)?.contiguous()?;
        let class = last.forward_one(&x, &class, Seen::All)?;
        self.norm_after.forward(&first_token(&class)?)
    }

    fn through(&self, layers: &[PreNormLayer], pixels: &Tensor) -> CandleResult<Tensor> {
        let x = with_class_token(&self.patches.forward(pixels)?, &self.class, &self.positions)?;
        layers.iter().try_fold(x, |x, layer| layer.forward(&x, Seen::All))
    }
}

fn layer(at: &Scope<'_>, config: &VisionConfig) -> Result<PreNormLayer, ModelError> {
    let (width, inner) = (config.hidden_size, config.intermediate_size);
    let first = Linear::load(&at.at("mlp.fc1"), width, inner)?;
    let second = Linear::load(&at.at("mlp.fc2"), inner, width)?;
    Ok(PreNormLayer {
        norm_1: LayerNorm::load(&at.at("layer_norm1"), width, config.layer_norm_eps)?,
        query_key_value: Linear::load(&at.at("self_attn.qkv"), width, 3 * width)?,
        output: Linear::load(&at.at("self_attn.projection"), width, width)?,
        norm_2: LayerNorm::load(&at.at("layer_norm2"), width, config.layer_norm_eps)?,
        feed_forward: FeedForward::new(first, config.hidden_act, second),
        heads: config.num_attention_heads,
    })
}
