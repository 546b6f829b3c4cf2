//! A layer of BLIP's text towers: BERT's, with cross-attention to the picture. Normalises after each
//! of its parts. How the parts are strung together is the encoder's and the decoder's matter.

use candle_core::{Result as CandleResult, Tensor};

use super::config::TextConfig;
use crate::{
    error::ModelError,
    kernels::Seen,
    layers::{FeedForward, LayerNorm, Linear, attention, part},
    weights::Scope,
};

/// Words before they meet the layers: embeddings of tokens and positions, normalised.
#[derive(Debug)]
pub(super) struct Embeddings {
    pub(super) words: Tensor,
    pub(super) positions: Tensor,
    pub(super) norm: LayerNorm,
}

impl Embeddings {
    pub(super) fn load(at: &Scope<'_>, text: &TextConfig) -> Result<Self, ModelError> {
        let width = text.hidden_size;
        Ok(Self {
            words: at.tensor("word_embeddings.weight", &[text.vocab_size, width])?,
            positions: at
                .tensor("position_embeddings.weight", &[text.max_position_embeddings, width])?,
            norm: LayerNorm::load(&at.at("LayerNorm"), width, text.layer_norm_eps)?,
        })
    }
}

#[derive(Debug)]
pub(super) struct Layer {
    query_key_value: Linear,
    output: Linear,
    norm_1: LayerNorm,
    picture_query: Linear,
    picture_key_value: Linear,
    picture_output: Linear,
    norm_2: LayerNorm,
    feed_forward: FeedForward,
    norm_3: LayerNorm,
    heads: usize,
}

impl Layer {
    /// Pictures' hidden states are `picture_width` wide.
    pub(super) fn load(
        at: &Scope<'_>,
        text: &TextConfig,
        picture_width: usize,
    ) -> Result<Self, ModelError> {
        let (width, inner) = (text.hidden_size, text.intermediate_size);
        let own = |name: &str| at.at("attention").at(name);
        let cross = |name: &str| at.at("crossattention").at(name);
        let norm =
            |name: &str| LayerNorm::load(&at.at(name).at("LayerNorm"), width, text.layer_norm_eps);
        let first = Linear::load(&at.at("intermediate.dense"), width, inner)?;
        let second = Linear::load(&at.at("output.dense"), inner, width)?;
        Ok(Self {
            query_key_value: Linear::load_side_by_side(
                &[own("self.query"), own("self.key"), own("self.value")],
                width,
                width,
            )?,
            output: Linear::load(&own("output.dense"), width, width)?,
            norm_1: norm("attention.output")?,
            picture_query: Linear::load(&cross("self.query"), width, width)?,
            picture_key_value: Linear::load_side_by_side(
                &[cross("self.key"), cross("self.value")],
                picture_width,
                width,
            )?,
            picture_output: Linear::load(&cross("output.dense"), width, width)?,
            norm_2: norm("crossattention.output")?,
            feed_forward: FeedForward::new(first, text.hidden_act, second),
            norm_3: norm("output")?,
            heads: text.num_attention_heads,
        })
    }

    /// Queries, keys and values of words `[B, T, D]`.
    pub(super) fn project(&self, x: &Tensor) -> CandleResult<[Tensor; 3]> {
        let width = x.dim(2)?;
        let all = self.query_key_value.forward(x)?;
        Ok([part(&all, 0, width)?, part(&all, 1, width)?, part(&all, 2, width)?])
    }

    /// x after its queries have met these keys and values of words.
    pub(super) fn attend_words(
        &self,
        x: &Tensor,
        [q, k, v]: [&Tensor; 3],
        seen: Seen<'_>,
    ) -> CandleResult<Tensor> {
        let attended = attention(q, k, v, self.heads, seen)?;
        self.norm_1.forward(&self.output.forward_onto(&attended, x)?)
    }

    /// Keys and values of pictures side by side, `[B, T, 2D]`, from their hidden states.
    pub(super) fn look(&self, pictures: &Tensor) -> CandleResult<Tensor> {
        self.picture_key_value.forward(pictures)
    }

    /// x `[B, Tq, D]` after it has met the keys and values of a picture for each row.
    pub(super) fn attend_picture(&self, x: &Tensor, look: &Tensor) -> CandleResult<Tensor> {
        let width = x.dim(2)?;
        let (k, v) = (part(look, 0, width)?, part(look, 1, width)?);
        let attended = attention(&self.picture_query.forward(x)?, &k, &v, self.heads, Seen::All)?;
        self.norm_2.forward(&self.picture_output.forward_onto(&attended, x)?)
    }

    pub(super) fn feed_forward(&self, x: &Tensor) -> CandleResult<Tensor> {
        self.norm_3.forward(&self.feed_forward.forward_onto(x, x)?)
    }
}
