//! The transformer layer of CLIP's towers and of BLIP's picture tower: normalise, attend, add;
//! normalise, feed forward, add.

use candle_core::{Result as CandleResult, Tensor};

use crate::{
    kernels::Seen,
    layers::{FeedForward, LayerNorm, Linear, attention, part},
};

#[derive(Debug)]
pub(crate) struct PreNormLayer {
    pub(crate) norm_1: LayerNorm,
    /// Queries, keys and values side by side.
    pub(crate) query_key_value: Linear,
    pub(crate) output: Linear,
    pub(crate) norm_2: LayerNorm,
    pub(crate) feed_forward: FeedForward,
    pub(crate) heads: usize,
}

impl PreNormLayer {
    /// `[B, T, D] → [B, T, D]`.
    pub(crate) fn forward(&self, x: &Tensor, seen: Seen<'_>) -> CandleResult<Tensor> {
        let width = x.dim(2)?;
        let all = self.query_key_value.forward(&self.norm_1.forward(x)?)?;
        let (q, k, v) = (part(&all, 0, width)?, part(&all, 1, width)?, part(&all, 2, width)?);
        self.finish(x, &attention(&q, &k, &v, self.heads, seen)?)
    }

    /// The layer's output at one token of each row only: x `[B, T, D]` and the token's own input
    /// `[B, 1, D]` give `[B, 1, D]`.
    pub(crate) fn forward_one(
        &self,
        x: &Tensor,
        token: &Tensor,
        seen: Seen<'_>,
    ) -> CandleResult<Tensor> {
        let width = x.dim(2)?;
        let q = self.query_key_value.forward_outputs(&self.norm_1.forward(token)?, 0, width)?;
        let pair =
            self.query_key_value.forward_outputs(&self.norm_1.forward(x)?, width, 2 * width)?;
        let (k, v) = (part(&pair, 0, width)?, part(&pair, 1, width)?);
        self.finish(token, &attention(&q, &k, &v, self.heads, seen)?)
    }

    fn finish(&self, x: &Tensor, attended: &Tensor) -> CandleResult<Tensor> {
        let x = self.output.forward_onto(attended, x)?;
        self.feed_forward.forward_onto(&self.norm_2.forward(&x)?, &x)
    }
}
