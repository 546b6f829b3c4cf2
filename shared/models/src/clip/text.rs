//! CLIP's text tower: token ids to the raw projected feature.

use candle_core::{Result as CandleResult, Tensor};

use super::{
    config::TextConfig,
    layer::{Layer, LayerShape},
};
use crate::{
    error::ModelError,
    layers::{LayerNorm, Linear, causal_mask},
    weights::Scope,
};

/// Configurations written before the tokens were numbered right say 2, whatever the tokenizer says.
const LEGACY_END_TOKEN: u32 = 2;

#[derive(Debug)]
pub(super) struct TextTower {
    tokens: Tensor,
    positions: Tensor,
    layers: Vec<Layer>,
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
        let shape = LayerShape {
            width,
            inner: config.intermediate_size,
            heads: config.num_attention_heads,
            activation: config.hidden_act,
            epsilon: config.layer_norm_eps,
        };
        Ok(Self {
            tokens: embeddings.tensor("token_embedding.weight", &[config.vocab_size, width])?,
            positions: embeddings
                .tensor("position_embedding.weight", &[config.max_position_embeddings, width])?,
            layers: (0..config.num_hidden_layers)
                .map(|n| Layer::load(&at.at("encoder.layers").at(n), shape))
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
        let device = self.tokens.device();
        let (batch, length) = (texts.len(), texts.iter().map(Vec::len).max().unwrap_or(0));
        let ends: Vec<usize> = texts.iter().map(|ids| self.pooled_position(ids)).collect();
        let padded: Vec<u32> = texts
            .iter()
            .flat_map(|ids| ids.iter().copied().chain(std::iter::repeat(0)).take(length))
            .collect();
        let width = self.tokens.dim(1)?;
        let ids = Tensor::from_vec(padded, batch * length, device)?;
        let mut x = self
            .tokens
            .index_select(&ids, 0)?
            .reshape((batch, length, width))?
            .broadcast_add(&self.positions.narrow(0, 0, length)?)?;
        if let Some((last, layers)) = self.layers.split_last() {
            let mask = causal_mask(length, device)?;
            for layer in layers {
                x = layer.forward(&x, Some(&mask))?;
            }
            // Only the end token is read after the last layer.
            let rows: Vec<u32> =
                ends.iter().enumerate().map(|(b, end)| (b * length + end) as u32).collect();
            let rows = Tensor::from_vec(rows, batch, device)?;
            let end = x
                .reshape((batch * length, width))?
                .index_select(&rows, 0)?
                .reshape((batch, 1, width))?;
            let ends: Vec<u32> = ends.iter().map(|&end| end as u32).collect();
            let mask = mask.index_select(&Tensor::from_vec(ends, batch, device)?, 0)?;
            x = last.forward_one(&x, &end, Some(&mask.reshape((batch, 1, 1, length))?))?;
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
