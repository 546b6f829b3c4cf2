//! BLIP's text decoder, one token at a time: BERT with cross-attention to the picture.
//!
//! A step runs S sentences of each of B pictures together, rows picture by picture. The keys and
//! values of the picture are made once (`Decoder::look`); those of the words grow in a cache.

use candle_core::{Result as CandleResult, Tensor};

use super::config::BlipConfig;
use crate::{
    error::ModelError,
    kernels,
    layers::{Activation, FeedForward, LayerNorm, Linear, attention, split_heads},
    weights::Scope,
};

#[derive(Debug)]
pub(super) struct Decoder {
    words: Tensor,
    positions: Tensor,
    norm: LayerNorm,
    layers: Vec<Layer>,
    head_transform: Linear,
    head_activation: Activation,
    head_norm: LayerNorm,
    head: Linear,
}

/// What the decoder knows while it writes: the pictures, and the words so far.
#[derive(Debug)]
pub(super) struct State {
    layers: Vec<LayerState>,
    pictures: usize,
    sentences: usize,
    written: usize,
}

#[derive(Debug)]
struct LayerState {
    /// Keys and values of the pictures, `[B, H, T, d]`.
    picture: (Tensor, Tensor),
    /// Keys and values of the words, room for the longest sentence: `[B·S·H, limit, d]`.
    words: (Tensor, Tensor),
}

/// Keys and values of some pictures, one pair `[B, H, T, d]` for each layer.
#[derive(Debug, Clone)]
pub(super) struct Look(Vec<(Tensor, Tensor)>);

impl Look {
    /// The same for some of the pictures, in the order given.
    pub(super) fn select(&self, pictures: &[usize]) -> CandleResult<Self> {
        let ids: Vec<u32> = pictures.iter().map(|&picture| picture as u32).collect();
        let select = |tensor: &Tensor| {
            tensor.index_select(&Tensor::from_slice(&ids, ids.len(), tensor.device())?, 0)
        };
        self.0
            .iter()
            .map(|(k, v)| Ok((select(k)?, select(v)?)))
            .collect::<CandleResult<_>>()
            .map(Self)
    }
}

impl Decoder {
    pub(super) fn load(at: &Scope<'_>, config: &BlipConfig) -> Result<Self, ModelError> {
        let text = &config.text_config;
        let (width, vocabulary) = (text.hidden_size, text.vocab_size);
        let (bert, predictions) = (at.at("bert"), at.at("cls.predictions"));
        let embeddings = bert.at("embeddings");
        let words = embeddings.tensor("word_embeddings.weight", &[vocabulary, width])?;
        let head_weight = if config.ties_embeddings() {
            words.clone()
        } else {
            predictions.tensor("decoder.weight", &[vocabulary, width])?
        };
        // The two names are one tied tensor, and a file may keep either.
        let bias_name = if predictions.contains("bias") { "bias" } else { "decoder.bias" };
        Ok(Self {
            words,
            positions: embeddings
                .tensor("position_embeddings.weight", &[text.max_position_embeddings, width])?,
            norm: LayerNorm::load(&embeddings.at("LayerNorm"), width, text.layer_norm_eps)?,
            layers: (0..text.num_hidden_layers)
                .map(|n| Layer::load(&bert.at("encoder.layer").at(n), config))
                .collect::<Result<_, _>>()?,
            head_transform: Linear::load(&predictions.at("transform.dense"), width, width)?,
            head_activation: text.hidden_act,
            head_norm: LayerNorm::load(
                &predictions.at("transform.LayerNorm"),
                width,
                text.layer_norm_eps,
            )?,
            head: Linear::new(head_weight, Some(predictions.tensor(bias_name, &[vocabulary])?)),
        })
    }

    /// Keys and values of pictures, from their hidden states `[B, T, Dv]`.
    pub(super) fn look(&self, pictures: &Tensor) -> CandleResult<Look> {
        let pairs = self.layers.iter().map(|layer| {
            let mut parts =
                split_heads(&layer.picture_key_value.forward(pictures)?, 2, layer.heads)?;
            let value = parts.remove(1);
            Ok((parts.remove(0), value))
        });
        pairs.collect::<CandleResult<_>>().map(Look)
    }

    /// Nothing written yet: `sentences` for each picture, each of at most `limit` tokens.
    pub(super) fn start(&self, look: &Look, sentences: usize, limit: usize) -> CandleResult<State> {
        let mut pictures = 0;
        let layers = look.0.iter().map(|picture| {
            let (batch, heads, _, width) = picture.0.dims4()?;
            pictures = batch;
            let room = (batch * sentences * heads, limit, width);
            let empty = || Tensor::zeros(room, picture.0.dtype(), picture.0.device());
            Ok(LayerState { picture: picture.clone(), words: (empty()?, empty()?) })
        });
        let layers = layers.collect::<CandleResult<_>>()?;
        Ok(State { layers, pictures, sentences, written: 0 })
    }

    /// Reads the next token of every sentence, `[B·S]` ids, and gives the scores of the token
    /// after it: logits `[B·S, vocabulary]`.
    pub(super) fn step(&self, tokens: &[u32], state: &mut State) -> CandleResult<Tensor> {
        let ids = Tensor::from_slice(tokens, tokens.len(), self.words.device())?;
        let position = self.positions.narrow(0, state.written, 1)?;
        let mut x =
            self.norm.forward(&self.words.index_select(&ids, 0)?.broadcast_add(&position)?)?;
        let shape = (state.pictures, state.sentences);
        for (layer, layer_state) in self.layers.iter().zip(&mut state.layers) {
            x = layer.step(&x, shape, state.written, layer_state)?;
        }
        state.written += 1;
        let x = self.head_transform.forward_through(&x, Some(self.head_activation))?;
        self.head.forward(&self.head_norm.forward(&x)?)
    }
}

/// One post-norm layer of the decoder.
#[derive(Debug)]
struct Layer {
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
    fn load(at: &Scope<'_>, config: &BlipConfig) -> Result<Self, ModelError> {
        let text = &config.text_config;
        let (width, picture_width, inner) =
            (text.hidden_size, config.vision_config.hidden_size, text.intermediate_size);
        let own = |name: &str| Linear::load(&at.at("attention").at(name), width, width);
        let cross =
            |name: &str, input| Linear::load(&at.at("crossattention").at(name), input, width);
        let norm =
            |name: &str| LayerNorm::load(&at.at(name).at("LayerNorm"), width, text.layer_norm_eps);
        let first = Linear::load(&at.at("intermediate.dense"), width, inner)?;
        let second = Linear::load(&at.at("output.dense"), inner, width)?;
        Ok(Self {
            query_key_value: Linear::fuse(&[
                own("self.query")?,
                own("self.key")?,
                own("self.value")?,
            ])?,
            output: own("output.dense")?,
            norm_1: norm("attention.output")?,
            picture_query: cross("self.query", width)?,
            picture_key_value: Linear::fuse(&[
                cross("self.key", picture_width)?,
                cross("self.value", picture_width)?,
            ])?,
            picture_output: cross("output.dense", width)?,
            norm_2: norm("crossattention.output")?,
            feed_forward: FeedForward::new(first, text.hidden_act, second),
            norm_3: norm("output")?,
            heads: text.num_attention_heads,
        })
    }

    /// `[B·S, D] → [B·S, D]`, after `written` earlier tokens.
    fn step(
        &self,
        x: &Tensor,
        (pictures, sentences): (usize, usize),
        written: usize,
        state: &mut LayerState,
    ) -> CandleResult<Tensor> {
        let words = self.attend_words(x, written, state)?;
        let x = self.norm_1.forward(&self.output.forward_onto(&words, x)?)?;

        // The S sentences of a picture are S queries to the same keys: nothing is repeated.
        let width = x.dim(1)?;
        let query = self.picture_query.forward(&x)?.reshape((pictures, sentences, width))?;
        let query = split_heads(&query, 1, self.heads)?;
        let seen = attention(&query[0], &state.picture.0, &state.picture.1, None)?;
        let seen = seen.reshape((pictures * sentences, width))?;
        let x = self.norm_2.forward(&self.picture_output.forward_onto(&seen, &x)?)?;

        self.norm_3.forward(&self.feed_forward.forward_onto(&x, &x)?)
    }

    fn attend_words(
        &self,
        x: &Tensor,
        written: usize,
        state: &mut LayerState,
    ) -> CandleResult<Tensor> {
        let (rows, width) = x.dims2()?;
        let head = width / self.heads;
        let parts = self.query_key_value.forward(x)?;
        let part =
            |n: usize| parts.narrow(1, n * width, width)?.reshape((rows * self.heads, 1, head));
        state.words.0.slice_set(&part(1)?, 1, written)?;
        state.words.1.slice_set(&part(2)?, 1, written)?;
        let keys = state.words.0.narrow(1, 0, written + 1)?;
        let values = state.words.1.narrow(1, 0, written + 1)?;
        let weights = kernels::softmax(part(0)?.matmul(&keys.t()?)?, (head as f32).powf(-0.5))?;
        weights.matmul(&values)?.reshape((rows, width))
    }
}
