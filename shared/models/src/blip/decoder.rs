//! BLIP's text decoder, one token at a time.
//!
//! A step runs S sentences of each of B pictures together, rows picture by picture. The keys and
//! values of the picture are made once (`Decoder::look`); those of the words grow in a cache.

use candle_core::{Result as CandleResult, Tensor};

use super::{
    bert::{Embeddings, Layer},
    config::BlipConfig,
};
use crate::{
    error::ModelError,
    kernels::Seen,
    layers::{Activation, LayerNorm, Linear},
    weights::Scope,
};

#[derive(Debug)]
pub(super) struct Decoder {
    embeddings: Embeddings,
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
    /// Keys and values of the pictures side by side, `[B, T, 2D]`.
    picture: Tensor,
    /// Keys and values of the words, room for the longest sentence: `[B·S, limit, D]` each.
    words: [Tensor; 2],
}

impl State {
    /// Goes on with other sentences: row n becomes what row `rows[n]` was.
    pub(super) fn reorder(&mut self, rows: &[u32]) -> CandleResult<()> {
        for layer in &mut self.layers {
            for words in &mut layer.words {
                let rows = Tensor::from_slice(rows, rows.len(), words.device())?;
                *words = words.index_select(&rows, 0)?;
            }
        }
        Ok(())
    }
}

/// Keys and values of some pictures, `[B, T, 2D]` for each layer.
#[derive(Debug, Clone)]
pub(super) struct Look(Vec<Tensor>);

impl Look {
    /// The same for some of the pictures, in the order given.
    pub(super) fn select(&self, pictures: &[usize]) -> CandleResult<Self> {
        let ids: Vec<u32> = pictures.iter().map(|&picture| picture as u32).collect();
        let select = |tensor: &Tensor| {
            tensor.index_select(&Tensor::from_slice(&ids, ids.len(), tensor.device())?, 0)
        };
        self.0.iter().map(select).collect::<CandleResult<_>>().map(Self)
    }
}

impl Decoder {
    pub(super) fn load(at: &Scope<'_>, config: &BlipConfig) -> Result<Self, ModelError> {
        let text = &config.text_config;
        let (width, vocabulary) = (text.hidden_size, text.vocab_size);
        let (bert, predictions) = (at.at("bert"), at.at("cls.predictions"));
        let embeddings = Embeddings::load(&bert.at("embeddings"), text)?;
        let head_weight = if config.ties_embeddings() {
            embeddings.words.clone()
        } else {
            predictions.tensor("decoder.weight", &[vocabulary, width])?
        };
        // The two names are one tied tensor, and a file may keep either.
        let bias_name = if predictions.contains("bias") { "bias" } else { "decoder.bias" };
        let head_bias = predictions.tensor(bias_name, &[vocabulary])?;
        Ok(Self {
            embeddings,
            layers: (0..text.num_hidden_layers)
                .map(|n| {
                    let at = bert.at("encoder.layer").at(n);
                    Layer::load(&at, text, config.vision_config.hidden_size)
                })
                .collect::<Result<_, _>>()?,
            head_transform: Linear::load(&predictions.at("transform.dense"), width, width)?,
            head_activation: text.hidden_act,
            head_norm: LayerNorm::load(
                &predictions.at("transform.LayerNorm"),
                width,
                text.layer_norm_eps,
            )?,
            head: Linear::new(&head_weight, Some(&head_bias))?,
        })
    }

    /// Keys and values of pictures, from their hidden states `[B, T, Dv]`.
    pub(super) fn look(&self, pictures: &Tensor) -> CandleResult<Look> {
        let looks = self.layers.iter().map(|layer| layer.look(pictures));
        looks.collect::<CandleResult<_>>().map(Look)
    }

    /// Nothing written yet: `sentences` for each picture, each of at most `limit` tokens.
    pub(super) fn start(&self, look: &Look, sentences: usize, limit: usize) -> CandleResult<State> {
        let mut pictures = 0;
        let layers = look.0.iter().map(|picture| {
            let (batch, _, width) = picture.dims3()?;
            pictures = batch;
            let room = (batch * sentences, limit, width / 2);
            let empty = || Tensor::zeros(room, picture.dtype(), picture.device());
            Ok(LayerState { picture: picture.clone(), words: [empty()?, empty()?] })
        });
        let layers = layers.collect::<CandleResult<_>>()?;
        Ok(State { layers, pictures, sentences, written: 0 })
    }

    /// Reads the next token of every sentence, `[B·S]` ids, and gives the scores of the token
    /// after it: logits `[B·S, vocabulary]`.
    pub(super) fn step(&self, tokens: &[u32], state: &mut State) -> CandleResult<Tensor> {
        let rows = tokens.len();
        let ids = Tensor::from_slice(tokens, rows, self.embeddings.words.device())?;
        let position = self.embeddings.positions.narrow(0, state.written, 1)?;
        let words = self.embeddings.words.index_select(&ids, 0)?.broadcast_add(&position)?;
        let width = words.dim(1)?;
        let mut x = self.embeddings.norm.forward(&words)?.reshape((rows, 1, width))?;
        let seen = vec![state.written + 1; rows];
        for (layer, layer_state) in self.layers.iter().zip(&mut state.layers) {
            let [q, k, v] = layer.project(&x)?;
            for (cache, new) in layer_state.words.iter().zip([k, v]) {
                cache.slice_set(&new.contiguous()?, 1, state.written)?;
            }
            let [keys, values] = &layer_state.words;
            x = layer.attend_words(&x, [&q, keys, values], Seen::First(&seen))?;
            // The S sentences of a picture are S queries to the same keys: nothing is repeated.
            x = x.reshape((state.pictures, state.sentences, width))?;
            x = layer.attend_picture(&x, &layer_state.picture)?;
            x = layer.feed_forward(&x)?.reshape((rows, 1, width))?;
        }
        state.written += 1;
        let x = self.head_transform.forward_through(&x, self.head_activation)?;
        self.head.forward(&self.head_norm.forward(&x)?)?.squeeze(1)
    }
}
