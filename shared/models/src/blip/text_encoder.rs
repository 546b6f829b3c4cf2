//! BLIP's text encoder: BERT over a whole text, alone or looking at a picture.

use candle_core::{Result as CandleResult, Tensor};

use super::{
    bert::{Embeddings, Layer},
    config::BlipConfig,
};
use crate::{
    error::ModelError,
    kernels::Seen,
    layers::{embedded, first_token, padded},
    weights::Scope,
};

#[derive(Debug)]
pub(super) struct TextEncoder {
    embeddings: Embeddings,
    layers: Vec<Layer>,
}

impl TextEncoder {
    pub(super) fn load(at: &Scope<'_>, config: &BlipConfig) -> Result<Self, ModelError> {
        let text = &config.text_config;
        Ok(Self {
            embeddings: Embeddings::load(&at.at("embeddings"), text)?,
            layers: (0..text.num_hidden_layers)
                .map(|n| {
                    let at = at.at("encoder.layer").at(n);
                    Layer::load(&at, text, config.vision_config.hidden_size)
                })
                .collect::<Result<_, _>>()?,
        })
    }

    /// The hidden state of each text's first token, `[B, D]`. With `pictures`, hidden states
    /// `[B, T, Dv]`, each text looks at its picture.
    pub(super) fn forward(
        &self,
        texts: &[Vec<u32>],
        pictures: Option<&Tensor>,
    ) -> CandleResult<Tensor> {
        let lengths: Vec<usize> = texts.iter().map(Vec::len).collect();
        let (ids, length) = padded(texts);
        let Embeddings { words, positions, norm } = &self.embeddings;
        let mut x = norm.forward(&embedded(ids, (texts.len(), length), words, positions)?)?;
        for (n, layer) in self.layers.iter().enumerate() {
            let [mut q, k, v] = layer.project(&x)?;
            if n + 1 == self.layers.len() {
                // Only the first token is read after the last layer.
                q = q.narrow(1, 0, 1)?.contiguous()?;
                x = x.narrow(1, 0, 1)?.contiguous()?;
            }
            // Padding comes last, and no query sees it.
            x = layer.attend_words(&x, [&q, &k, &v], Seen::First(&lengths))?;
            if let Some(pictures) = pictures {
                x = layer.attend_picture(&x, &layer.look(pictures)?)?;
            }
            x = layer.feed_forward(&x)?;
        }
        first_token(&x)
    }
}
