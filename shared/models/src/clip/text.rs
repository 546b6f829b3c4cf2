//! CLIP's text tower: token ids to the raw projected feature.

use candle_core::{Result as CandleResult, Tensor};

use super::{config::TextConfig, layer};
use crate::{
    error::ModelError,
    kernels::Seen,
    layers::{LayerNorm, Linear, embedded, padded},
    pre_norm::PreNormLayer,
    weights::Scope,
};

/// Configurations written before the tokens were numbered right say 2, whatever the tokenizer says.
const LEGACY_END_TOKEN: u32 = 2;

#[derive(Debug)]
pub(super) struct TextTower {
    tokens: Tensor,
    positions: Tensor,
    layers: Vec<PreNormLayer>,
    norm_after: LayerNorm,
    projection: Linear,
    end_token: u32,
}

impl TextTower {
    pub(super) fn load(
        root: &Scope<'_>,
        config: &TextConfig,
        dim: usize,
    ) -> Result<Self, ModelError> {
        let (at, width) = (root.at("text_model"), config.hidden_size);
        let embeddings = at.at("embeddings");
        Ok(Self {
            tokens: embeddings.tensor("token_embedding.weight", &[config.vocab_size, width])?,
            positions: embeddings
                .tensor("position_embedding.weight", &[config.max_position_embeddings, width])?,
            layers: (0..config.num_hidden_layers)
                .map(|n| layer::load(&at.at("encoder.layers").at(n), config.into()))
                .collect::<Result<_, _>>()?,
            norm_after: LayerNorm::load(&at.at("final_layer_norm"), width, config.layer_norm_eps)?,
            projection: Linear::load_without_bias(&root.at("text_projection"), width, dim)?,
            end_token: config.eos_token_id,
        })
    }

    /// B lists of token ids, each with its end token, of at most the context's length → `[B, dim]`,
    /// not normalised.
    ///
    /// Shorter lists are padded after their end token, where the causal mask hides the padding
    /// from every position that is read.
    pub(super) fn forward(&self, texts: &[Vec<u32>]) -> CandleResult<Tensor> {
        let (batch, (ids, length)) = (texts.len(), padded(texts));
        let ends: Vec<usize> = texts.iter().map(|ids| self.pooled_position(ids)).collect();
        let mut x = embedded(ids, (batch, length), &self.tokens, &self.positions)?;
        let width = x.dim(2)?;
        if let Some((last, layers)) = self.layers.split_last() {
            for layer in layers {
                x = layer.forward(&x, Seen::Causal)?;
            }
            // Only the end token is read after the last layer.
            let rows: Vec<u32> =
                ends.iter().enumerate().map(|(b, end)| (b * length + end) as u32).collect();
            let end = x
                .reshape((batch * length, width))?
                .index_select(&Tensor::from_vec(rows, batch, x.device())?, 0)?
                .reshape((batch, 1, width))?;
            let seen: Vec<usize> = ends.iter().map(|end| end + 1).collect();
            x = last.forward_one(&x, &end, Seen::First(&seen))?;
        }
        self.projection.forward(&self.norm_after.forward(&x.reshape((batch, width))?)?)
    }

    /// Where the text's feature is read, by the rule of Hugging Face's `CLIPTextModel`: at the
    /// first end token, or, for a legacy configuration, at the first greatest id.
    fn pooled_position(&self, ids: &[u32]) -> usize {
        let wanted = if self.end_token == LEGACY_END_TOKEN {
            ids.iter().copied().max()
        } else {
            Some(self.end_token)
        };
        ids.iter().position(|&id| Some(id) == wanted).unwrap_or(0)
    }
}
