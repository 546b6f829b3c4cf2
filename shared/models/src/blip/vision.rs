//! BLIP's picture tower: pixels to the hidden states that the decoder attends to.

use candle_core::{Result as CandleResult, Tensor};

use super::config::VisionConfig;
use crate::{
    error::ModelError,
    layers::{
        FeedForward, LayerNorm, Linear, PatchEmbedding, attention, split_heads, with_class_token,
    },
    weights::Scope,
};

#[derive(Debug)]
pub(super) struct VisionTower {
    patches: PatchEmbedding,
    class: Tensor,
    positions: Tensor,
    layers: Vec<Layer>,
    norm_after: LayerNorm,
}

impl VisionTower {
    pub(super) fn load(at: &Scope<'_>, config: &VisionConfig) -> Result<Self, ModelError> {
        let (embeddings, width) = (at.at("embeddings"), config.hidden_size);
        let tokens = (config.image_size / config.patch_size).pow(2) + 1;
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
                .map(|n| Layer::load(&at.at("encoder.layers").at(n), config))
                .collect::<Result<_, _>>()?,
            norm_after: LayerNorm::load(&at.at("post_layernorm"), width, config.layer_norm_eps)?,
        })
    }

    /// `[B, 3, S, S] → [B, N + 1, D]`, the class token first.
    pub(super) fn forward(&self, pixels: &Tensor) -> CandleResult<Tensor> {
        let mut x = with_class_token(&self.patches.forward(pixels)?, &self.class, &self.positions)?;
        for layer in &self.layers {
            x = layer.forward(&x)?;
        }
        self.norm_after.forward(&x)
    }
}

#[derive(Debug)]
struct Layer {
    norm_1: LayerNorm,
    query_key_value: Linear,
    output: Linear,
    norm_2: LayerNorm,
    feed_forward: FeedForward,
    heads: usize,
}

impl Layer {
    fn load(at: &Scope<'_>, config: &VisionConfig) -> Result<Self, ModelError> {
        let (width, inner) = (config.hidden_size, config.intermediate_size);
        let first = Linear::load(&at.at("mlp.fc1"), width, inner)?;
        let second = Linear::load(&at.at("mlp.fc2"), inner, width)?;
        Ok(Self {
            norm_1: LayerNorm::load(&at.at("layer_norm1"), width, config.layer_norm_eps)?,
            query_key_value: Linear::load(&at.at("self_attn.qkv"), width, 3 * width)?,
            output: Linear::load(&at.at("self_attn.projection"), width, width)?,
            norm_2: LayerNorm::load(&at.at("layer_norm2"), width, config.layer_norm_eps)?,
            feed_forward: FeedForward::new(first, config.hidden_act, second),
            heads: config.num_attention_heads,
        })
    }

    fn forward(&self, x: &Tensor) -> CandleResult<Tensor> {
        let parts =
            split_heads(&self.query_key_value.forward(&self.norm_1.forward(x)?)?, 3, self.heads)?;
        let attended = attention(&parts[0], &parts[1], &parts[2], None)?;
        let x = self.output.forward_onto(&attended, x)?;
        self.feed_forward.forward_onto(&self.norm_2.forward(&x)?, &x)
    }
}
