//! One pre-norm transformer layer, the same in both towers of CLIP.

use candle_core::{Result as CandleResult, Tensor};

use crate::{
    error::ModelError,
    layers::{Activation, FeedForward, LayerNorm, Linear, attention, split_heads},
    weights::Scope,
};

#[derive(Debug, Clone, Copy)]
pub(super) struct LayerShape {
    pub(super) width: usize,
    pub(super) inner: usize,
    pub(super) heads: usize,
    pub(super) activation: Activation,
    pub(super) epsilon: f64,
}

#[derive(Debug)]
pub(super) struct Layer {
    norm_1: LayerNorm,
    query: Linear,
    key_value: Linear,
    query_key_value: Linear,
    output: Linear,
    norm_2: LayerNorm,
    feed_forward: FeedForward,
    heads: usize,
}

impl Layer {
    pub(super) fn load(at: &Scope<'_>, shape: LayerShape) -> Result<Self, ModelError> {
        let LayerShape { width, inner, heads, activation, epsilon } = shape;
        let projection = |name: &str| Linear::load(&at.at("self_attn").at(name), width, width);
        let fused =
            Linear::fuse(&[projection("q_proj")?, projection("k_proj")?, projection("v_proj")?])?;
        let first = Linear::load(&at.at("mlp.fc1"), width, inner)?;
        let second = Linear::load(&at.at("mlp.fc2"), inner, width)?;
        Ok(Self {
            norm_1: LayerNorm::load(&at.at("layer_norm1"), width, epsilon)?,
            query: fused.outputs(0, width)?,
            key_value: fused.outputs(width, 2 * width)?,
            query_key_value: fused,
            output: projection("out_proj")?,
            norm_2: LayerNorm::load(&at.at("layer_norm2"), width, epsilon)?,
            feed_forward: FeedForward::new(first, activation, second),
            heads,
        })
    }

    /// `[B, T, D] → [B, T, D]`, mask `[T, T]`.
    pub(super) fn forward(&self, x: &Tensor, mask: Option<&Tensor>) -> CandleResult<Tensor> {
        let parts =
            split_heads(&self.query_key_value.forward(&self.norm_1.forward(x)?)?, 3, self.heads)?;
        self.finish(x, &attention(&parts[0], &parts[1], &parts[2], mask)?)
    }

    /// The layer's output at one token of each row only: x `[B, T, D]` and the token's own input
    /// `[B, 1, D]` give `[B, 1, D]`. Mask `[B, 1, 1, T]`.
    pub(super) fn forward_one(
        &self,
        x: &Tensor,
        token: &Tensor,
        mask: Option<&Tensor>,
    ) -> CandleResult<Tensor> {
        let keys = split_heads(&self.key_value.forward(&self.norm_1.forward(x)?)?, 2, self.heads)?;
        let query = split_heads(&self.query.forward(&self.norm_1.forward(token)?)?, 1, self.heads)?;
        self.finish(token, &attention(&query[0], &keys[0], &keys[1], mask)?)
    }

    fn finish(&self, x: &Tensor, attended: &Tensor) -> CandleResult<Tensor> {
        let x = self.output.forward_onto(attended, x)?;
        self.feed_forward.forward_onto(&self.norm_2.forward(&x)?, &x)
    }
}
