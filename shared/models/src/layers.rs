//! Layers that CLIP and BLIP share: linear, layer norm, activation, patch embedding, attention.
//! Shapes: B pictures or texts, T tokens, D width, H heads, d = D/H.

use candle_core::{D, Result as CandleResult, Tensor};
use serde::Deserialize;

use crate::{error::ModelError, kernels, weights::Scope};

/// `y = x·Wᵀ + b`, W `[out, in]`.
#[derive(Debug)]
pub(crate) struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    pub(crate) fn load(at: &Scope<'_>, input: usize, output: usize) -> Result<Self, ModelError> {
        let bias = Some(at.tensor("bias", &[output])?);
        Ok(Self { weight: at.tensor("weight", &[output, input])?, bias })
    }

    pub(crate) fn load_without_bias(
        at: &Scope<'_>,
        input: usize,
        output: usize,
    ) -> Result<Self, ModelError> {
        Ok(Self { weight: at.tensor("weight", &[output, input])?, bias: None })
    }

    pub(crate) fn new(weight: Tensor, bias: Option<Tensor>) -> Self {
        Self { weight, bias }
    }

    /// Several layers on the same input as one product: outputs side by side.
    pub(crate) fn fuse(parts: &[Self]) -> CandleResult<Self> {
        let weights: Vec<&Tensor> = parts.iter().map(|part| &part.weight).collect();
        let biases: Vec<&Tensor> = parts.iter().filter_map(|part| part.bias.as_ref()).collect();
        let bias = if biases.len() == parts.len() { Some(Tensor::cat(&biases, 0)?) } else { None };
        Ok(Self { weight: Tensor::cat(&weights, 0)?, bias })
    }

    /// Outputs `start..start + len` alone.
    pub(crate) fn outputs(&self, start: usize, len: usize) -> CandleResult<Self> {
        let bias = self.bias.as_ref().map(|bias| bias.narrow(0, start, len)).transpose()?;
        Ok(Self { weight: self.weight.narrow(0, start, len)?, bias })
    }

    /// `[.., in] → [.., out]`; the leading dimensions become the rows of one product.
    pub(crate) fn forward(&self, x: &Tensor) -> CandleResult<Tensor> {
        self.forward_through(x, None)
    }

    /// The same, and the activation of it.
    pub(crate) fn forward_through(
        &self,
        x: &Tensor,
        activation: Option<Activation>,
    ) -> CandleResult<Tensor> {
        let y = self.product(x)?;
        let y = match &self.bias {
            Some(bias) => kernels::biased(y, bias, activation)?,
            None => y,
        };
        y.reshape(self.output_shape(x)?)
    }

    /// `forward(x) + residual`.
    pub(crate) fn forward_onto(&self, x: &Tensor, residual: &Tensor) -> CandleResult<Tensor> {
        let Some(bias) = &self.bias else { return self.forward(x)? + residual };
        let y = self.product(x)?;
        let residual = residual.reshape(y.shape())?;
        kernels::biased_onto(y, bias, &residual)?.reshape(self.output_shape(x)?)
    }

    /// `x·Wᵀ`, shape `[rows, out]`.
    fn product(&self, x: &Tensor) -> CandleResult<Tensor> {
        let rows: usize = x.dims().iter().rev().skip(1).product();
        x.reshape((rows, self.weight.dim(1)?))?.matmul(&self.weight.t()?)
    }

    fn output_shape(&self, x: &Tensor) -> CandleResult<Vec<usize>> {
        let mut shape = x.dims().to_vec();
        if let Some(last) = shape.last_mut() {
            *last = self.weight.dim(0)?;
        }
        Ok(shape)
    }
}

#[derive(Debug)]
pub(crate) struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    epsilon: f32,
}

impl LayerNorm {
    pub(crate) fn load(at: &Scope<'_>, width: usize, epsilon: f64) -> Result<Self, ModelError> {
        let weight = at.tensor("weight", &[width])?;
        Ok(Self { weight, bias: at.tensor("bias", &[width])?, epsilon: epsilon as f32 })
    }

    pub(crate) fn forward(&self, x: &Tensor) -> CandleResult<Tensor> {
        candle_nn::ops::layer_norm(&x.contiguous()?, &self.weight, &self.bias, self.epsilon)
    }
}

/// `hidden_act` of a config.json, by Hugging Face's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) enum Activation {
    /// `x·σ(1.702x)`, OpenAI's weights.
    #[serde(rename = "quick_gelu")]
    QuickGelu,
    /// `x·Φ(x)` with the exact error function, LAION's weights and BLIP.
    #[serde(rename = "gelu", alias = "gelu_python")]
    Gelu,
    /// The tanh approximation.
    #[serde(rename = "gelu_pytorch_tanh", alias = "gelu_new", alias = "gelu_fast")]
    GeluTanh,
    #[serde(rename = "relu")]
    Relu,
}

/// Refuses a config.json whose heads do not divide the width.
pub(crate) fn check_width(file: &str, width: usize, heads: usize) -> Result<(), ModelError> {
    if heads > 0 && width.is_multiple_of(heads) && width > 0 {
        return Ok(());
    }
    let reason = format!("{heads} attention heads do not divide a width of {width}");
    Err(ModelError::InvalidFile { file: file.to_owned(), reason })
}

pub(crate) fn check_patches(file: &str, picture: usize, patch: usize) -> Result<(), ModelError> {
    if (1..=picture).contains(&patch) {
        return Ok(());
    }
    let reason = format!("a picture of {picture} pixels has no patches of {patch}");
    Err(ModelError::InvalidFile { file: file.to_owned(), reason })
}

/// Two linear layers with the activation between them.
#[derive(Debug)]
pub(crate) struct FeedForward {
    first: Linear,
    activation: Activation,
    second: Linear,
}

impl FeedForward {
    pub(crate) fn new(first: Linear, activation: Activation, second: Linear) -> Self {
        Self { first, activation, second }
    }

    /// `second(activation(first(x))) + residual`.
    pub(crate) fn forward_onto(&self, x: &Tensor, residual: &Tensor) -> CandleResult<Tensor> {
        let inner = self.first.forward_through(x, Some(self.activation))?;
        self.second.forward_onto(&inner, residual)
    }
}

/// Scaled dot-product attention over split heads: `softmax(q·kᵀ·d^-½ + mask)·v`.
///
/// q `[B, H, Tq, d]`, k and v `[B, H, T, d]`, mask broadcast onto `[B, H, Tq, T]`; gives `[B, Tq, D]`.
pub(crate) fn attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    mask: Option<&Tensor>,
) -> CandleResult<Tensor> {
    let (batch, heads, queries, width) = q.dims4()?;
    let scores = q.matmul(&k.t()?)?;
    // Before the scale, which leaves 0 and -∞ as they are.
    let scores = match mask {
        Some(mask) => scores.broadcast_add(mask)?,
        None => scores,
    };
    let weights = kernels::softmax(scores, (width as f32).powf(-0.5))?;
    weights.matmul(v)?.transpose(1, 2)?.reshape((batch, queries, heads * width))
}

/// `[B, T, n·D] → n` tensors `[B, H, T, d]`.
pub(crate) fn split_heads(x: &Tensor, parts: usize, heads: usize) -> CandleResult<Vec<Tensor>> {
    let (batch, tokens, width) = x.dims3()?;
    let x = x.reshape((batch, tokens, parts, heads, width / parts / heads))?;
    let x = x.permute((2, 0, 3, 1, 4))?.contiguous()?;
    (0..parts).map(|part| x.get(part)).collect()
}

/// Pictures cut into square patches, each patch a linear layer away from its token.
///
/// A convolution whose stride is its kernel, written as one matrix product.
#[derive(Debug)]
pub(crate) struct PatchEmbedding {
    linear: Linear,
    patch: usize,
}

impl PatchEmbedding {
    pub(crate) fn load(
        at: &Scope<'_>,
        width: usize,
        patch: usize,
        with_bias: bool,
    ) -> Result<Self, ModelError> {
        let weight =
            at.tensor("weight", &[width, 3, patch, patch])?.reshape((width, 3 * patch * patch))?;
        let bias = if with_bias { Some(at.tensor("bias", &[width])?) } else { None };
        Ok(Self { linear: Linear::new(weight, bias), patch })
    }

    /// `[B, 3, S, S] → [B, (S/p)², D]`, patches row by row. Rows that fill no patch are left out.
    pub(crate) fn forward(&self, pixels: &Tensor) -> CandleResult<Tensor> {
        let (batch, _, height, width) = pixels.dims4()?;
        let (p, rows, columns) = (self.patch, height / self.patch, width / self.patch);
        let cut = pixels.narrow(2, 0, rows * p)?.narrow(3, 0, columns * p)?.contiguous()?;
        let patches =
            cut.reshape(&[batch, 3, rows, p, columns, p])?.permute(vec![0, 2, 4, 1, 3, 5])?;
        self.linear.forward(&patches.reshape((batch, rows * columns, 3 * p * p))?)
    }
}

/// The class token before the patches, positions added: `[B, N, D] → [B, N + 1, D]`.
pub(crate) fn with_class_token(
    patches: &Tensor,
    class: &Tensor,
    positions: &Tensor,
) -> CandleResult<Tensor> {
    let (batch, _, width) = patches.dims3()?;
    let class = class.reshape((1, 1, width))?.broadcast_as((batch, 1, width))?;
    Tensor::cat(&[&class.contiguous()?, patches], 1)?.broadcast_add(positions)
}

/// `[0 … 0 -∞ …]`, shape `[T, T]`: position t sees positions 0..=t.
pub(crate) fn causal_mask(tokens: usize, device: &candle_core::Device) -> CandleResult<Tensor> {
    let mask: Vec<f32> = (0..tokens)
        .flat_map(|t| (0..tokens).map(move |s| if s <= t { 0.0 } else { f32::NEG_INFINITY }))
        .collect();
    Tensor::from_vec(mask, (tokens, tokens), device)
}

/// The first of the last-dimension's tokens: `[B, T, D] → [B, D]`.
pub(crate) fn first_token(x: &Tensor) -> CandleResult<Tensor> {
    x.narrow(D::Minus2, 0, 1)?.squeeze(D::Minus2)
}
