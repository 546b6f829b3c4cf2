//! Layers that the models share. f32 on the CPU runs on `kernels`, all else on candle's operations.
//! Shapes: B pictures or texts, T tokens, D width, H heads, d = D/H.

use candle_core::{CpuStorage, D, DType, Device, Result as CandleResult, Storage, Tensor, bail};
use serde::Deserialize;

use crate::{
    error::ModelError,
    kernels::{self, Heads, Packed, Seen, Shape, Then},
    weights::Scope,
};

/// Whether `kernels` do the work on a tensor.
fn on_kernels(x: &Tensor) -> bool {
    #[cfg(test)]
    if tests::WITHOUT_KERNELS.get() {
        return false;
    }
    x.device().is_cpu() && x.dtype() == DType::F32
}

/// `y = x·Wᵀ + b`, W `[out, in]`.
#[derive(Debug)]
pub(crate) enum Linear {
    Cpu { weight: Packed, bias: Option<Vec<f32>> },
    Other { weight: Tensor, bias: Option<Tensor> },
}

impl Linear {
    pub(crate) fn load(at: &Scope<'_>, input: usize, output: usize) -> Result<Self, ModelError> {
        Self::load_side_by_side(std::slice::from_ref(at), input, output)
    }

    pub(crate) fn load_without_bias(
        at: &Scope<'_>,
        input: usize,
        output: usize,
    ) -> Result<Self, ModelError> {
        Ok(Self::new(&at.tensor("weight", &[output, input])?, None)?)
    }

    /// Several layers on the same input as one product: outputs side by side.
    pub(crate) fn load_side_by_side(
        parts: &[Scope<'_>],
        input: usize,
        output: usize,
    ) -> Result<Self, ModelError> {
        let weights = parts.iter().map(|at| at.tensor("weight", &[output, input]));
        let biases = parts.iter().map(|at| at.tensor("bias", &[output]));
        let weight = Tensor::cat(&weights.collect::<Result<Vec<_>, _>>()?, 0)?;
        let bias = Tensor::cat(&biases.collect::<Result<Vec<_>, _>>()?, 0)?;
        Ok(Self::new(&weight, Some(&bias))?)
    }

    pub(crate) fn new(weight: &Tensor, bias: Option<&Tensor>) -> CandleResult<Self> {
        if on_kernels(weight) {
            let weight = with_values(weight, |values| Ok(Packed::new(values, weight.dim(1)?)))?;
            return Ok(Self::Cpu { weight, bias: bias.map(Tensor::to_vec1).transpose()? });
        }
        Ok(Self::Other { weight: weight.clone(), bias: bias.cloned() })
    }

    /// `[.., in] → [.., out]`; the leading dimensions become the rows of one product.
    pub(crate) fn forward(&self, x: &Tensor) -> CandleResult<Tensor> {
        self.run(x, (0, self.outputs()?), None, None)
    }

    /// The same, and the activation of it.
    pub(crate) fn forward_through(
        &self,
        x: &Tensor,
        activation: Activation,
    ) -> CandleResult<Tensor> {
        self.run(x, (0, self.outputs()?), Some(activation), None)
    }

    /// `forward(x) + residual`.
    pub(crate) fn forward_onto(&self, x: &Tensor, residual: &Tensor) -> CandleResult<Tensor> {
        self.run(x, (0, self.outputs()?), None, Some(residual))
    }

    /// Outputs `from..from + len` alone.
    pub(crate) fn forward_outputs(
        &self,
        x: &Tensor,
        from: usize,
        len: usize,
    ) -> CandleResult<Tensor> {
        self.run(x, (from, len), None, None)
    }

    fn outputs(&self) -> CandleResult<usize> {
        match self {
            Self::Cpu { weight, .. } => Ok(weight.outputs()),
            Self::Other { weight, .. } => weight.dim(0),
        }
    }

    fn run(
        &self,
        x: &Tensor,
        (from, len): (usize, usize),
        activation: Option<Activation>,
        residual: Option<&Tensor>,
    ) -> CandleResult<Tensor> {
        let mut shape = x.dims().to_vec();
        let Some(last) = shape.last_mut() else { bail!("a linear layer of a scalar") };
        let inputs = std::mem::replace(last, len);
        match self {
            Self::Cpu { weight, bias } => {
                if inputs != weight.inputs() {
                    bail!("{inputs} values for a layer of {}", weight.inputs());
                }
                let bias = bias.as_ref().map(|bias| &bias[from..from + len]);
                let multiply = |residual: Option<&[f32]>| {
                    let then = Then { bias, activation, residual };
                    with_values(x, |x| Ok(weight.multiply(x, from, len, then)))
                };
                let y = match residual {
                    Some(residual) => with_values(residual, |residual| multiply(Some(residual))),
                    None => multiply(None),
                };
                Tensor::from_vec(y?, shape, &Device::Cpu)
            }
            Self::Other { weight, bias } => {
                let rows = x.elem_count() / inputs.max(1);
                let weight = weight.narrow(0, from, len)?;
                let mut y = x.reshape((rows, inputs))?.matmul(&weight.t()?)?.reshape(shape)?;
                if let Some(bias) = bias {
                    y = y.broadcast_add(&bias.narrow(0, from, len)?)?;
                }
                if let Some(activation) = activation {
                    y = activation.of(&y)?;
                }
                match residual {
                    Some(residual) => y + residual,
                    None => Ok(y),
                }
            }
        }
    }
}

/// Calls `f` with the values of a contiguous f32 tensor on the CPU.
fn with_values<T>(x: &Tensor, f: impl FnOnce(&[f32]) -> CandleResult<T>) -> CandleResult<T> {
    let x = x.contiguous()?;
    let (storage, layout) = x.storage_and_layout();
    match &*storage {
        Storage::Cpu(CpuStorage::F32(values)) => {
            f(&values[layout.start_offset()..][..layout.shape().elem_count()])
        }
        _ => bail!("the tensor is not f32 on the CPU"),
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
        if !on_kernels(x) {
            let x = x.contiguous()?;
            return candle_nn::ops::layer_norm(&x, &self.weight, &self.bias, self.epsilon);
        }
        let norm = |values: &[f32], weight: &[f32], bias: &[f32]| {
            Ok(kernels::layer_norm(values, weight, bias, self.epsilon))
        };
        let y = with_values(x, |x| {
            with_values(&self.weight, |weight| {
                with_values(&self.bias, |bias| norm(x, weight, bias))
            })
        })?;
        Tensor::from_vec(y, x.shape(), &Device::Cpu)
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

impl Activation {
    fn of(self, x: &Tensor) -> CandleResult<Tensor> {
        match self {
            Self::QuickGelu => x * candle_nn::ops::sigmoid(&(x * 1.702)?)?,
            Self::Gelu => x.gelu_erf(),
            Self::GeluTanh => x.gelu(),
            Self::Relu => x.relu(),
        }
    }
}

/// Refuses a config.json whose heads do not divide the width.
pub(crate) fn check_width(file: &str, width: usize, heads: usize) -> Result<(), ModelError> {
    if heads > 0 && width.is_multiple_of(heads) && width > 0 {
        return Ok(());
    }
    let reason = format!("{heads} attention heads do not divide a width of {width}");
    Err(ModelError::InvalidFile { file: file.to_owned(), reason })
}

/// Refuses a config.json with a size of zero, which no model has.
pub(crate) fn check_sizes(file: &str, sizes: &[(&str, usize)]) -> Result<(), ModelError> {
    let Some((name, _)) = sizes.iter().find(|(_, size)| *size == 0) else { return Ok(()) };
    Err(ModelError::InvalidFile { file: file.to_owned(), reason: format!("{name} is 0") })
}

/// Far above what any model takes; because pixels and positions grow with its square.
const LARGEST_PICTURE: usize = 4096;

/// Refuses a config.json whose pictures have no patches, or are larger than any model's.
pub(crate) fn check_patches(file: &str, picture: usize, patch: usize) -> Result<(), ModelError> {
    if picture <= LARGEST_PICTURE && (1..=picture).contains(&patch) {
        return Ok(());
    }
    let reason = format!(
        "a picture of {picture} pixels in patches of {patch}: both are at least 1, a picture at most \
         {LARGEST_PICTURE}"
    );
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
        let inner = self.first.forward_through(x, self.activation)?;
        self.second.forward_onto(&inner, residual)
    }
}

/// Scaled dot-product attention: `softmax(q·kᵀ·d^-½)·v` for each head.
///
/// q `[B, Tq, D]`, k and v `[B, T, D]`, heads side by side, each possibly a part of a wider tensor;
/// gives `[B, Tq, D]`.
pub(crate) fn attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    heads: usize,
    seen: Seen<'_>,
) -> CandleResult<Tensor> {
    let (batch, queries, width) = q.dims3()?;
    if !on_kernels(q) {
        return masked_attention(q, k, v, heads, seen);
    }
    let shape = Shape { batch, heads, width: width / heads };
    let y = with_heads(q, |q| {
        with_heads(k, |k| with_heads(v, |v| Ok(kernels::attention(q, k, v, shape, seen))))
    })?;
    Tensor::from_vec(y, (batch, queries, width), &Device::Cpu)
}

/// Calls `f` with the values of `[B, T, D]`, which may be a part of `[B, T, wider]`.
fn with_heads<T>(x: &Tensor, f: impl FnOnce(Heads<'_>) -> CandleResult<T>) -> CandleResult<T> {
    let (batch, tokens, _) = x.dims3()?;
    let (storage, layout) = x.storage_and_layout();
    let &[row, stride, 1] = layout.stride() else { bail!("heads are not side by side") };
    let Storage::Cpu(CpuStorage::F32(values)) = &*storage else { bail!("heads are not f32") };
    if batch > 1 && row != tokens * stride {
        bail!("tokens of one row do not follow those of the one before");
    }
    f(Heads { values, tokens, stride, offset: layout.start_offset() })
}

fn masked_attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    heads: usize,
    seen: Seen<'_>,
) -> CandleResult<Tensor> {
    let (batch, queries, width) = q.dims3()?;
    let keys = k.dim(1)?;
    // candle's softmax numbers the scores by i32 on a GPU, and would write elsewhere beyond.
    if i32::try_from(batch * heads * queries * keys).is_err() {
        bail!(
            "{queries} by {keys} tokens of {batch} in one pass are too many: choose fewer at once"
        );
    }
    let split = |x: &Tensor, tokens| {
        x.reshape((batch, tokens, heads, width / heads))?.transpose(1, 2)?.contiguous()
    };
    let scale = ((width / heads) as f64).powf(-0.5);
    // Scaled before the product, because half precision holds no sum above 65,504.
    let mut scores = (split(q, queries)? * scale)?.matmul(&split(k, keys)?.t()?)?;
    if !matches!(seen, Seen::All) {
        let hidden = |b: usize, t: usize, s: usize| {
            if s < seen.of(b, t, keys) { 0.0 } else { f32::NEG_INFINITY }
        };
        let mask: Vec<f32> = (0..batch * queries * keys)
            .map(|n| hidden(n / keys / queries, n / keys % queries, n % keys))
            .collect();
        let mask = Tensor::from_vec(mask, (batch, 1, queries, keys), q.device())?;
        scores = scores.broadcast_add(&mask.to_dtype(scores.dtype())?)?;
    }
    let weights = candle_nn::ops::softmax_last_dim(&scores)?;
    weights.matmul(&split(v, keys)?)?.transpose(1, 2)?.reshape((batch, queries, width))
}

/// Part `n` of tensors side by side, `[.., n·width..(n + 1)·width]`.
pub(crate) fn part(x: &Tensor, n: usize, width: usize) -> CandleResult<Tensor> {
    x.narrow(D::Minus1, n * width, width)
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
        Ok(Self { linear: Linear::new(&weight, bias.as_ref())?, patch })
    }

    /// `[B, 3, S, S] → [B, (S/p)², D]`, patches row by row. Rows that fill no patch are left out.
    pub(crate) fn forward(&self, pixels: &Tensor) -> CandleResult<Tensor> {
        let (batch, _, height, width) = pixels.dims4()?;
        let (p, rows, columns) = (self.patch, height / self.patch, width / self.patch);
        let shape = (batch, rows * columns, 3 * p * p);
        let patches = if on_kernels(pixels) {
            let patches =
                with_values(pixels, |pixels| Ok(kernels::patches(pixels, (height, width), p)))?;
            Tensor::from_vec(patches, shape, &Device::Cpu)?
        } else {
            let cut = pixels.narrow(2, 0, rows * p)?.narrow(3, 0, columns * p)?.contiguous()?;
            cut.reshape(&[batch, 3, rows, p, columns, p])?
                .permute(vec![0, 2, 4, 1, 3, 5])?
                .reshape(shape)?
        };
        self.linear.forward(&patches)
    }
}

/// Tokens of a square picture: its patches and the class token.
pub(crate) fn picture_tokens(side: usize, patch: usize) -> usize {
    (side / patch).pow(2) + 1
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

/// The first of the tokens: `[B, T, D] → [B, D]`.
pub(crate) fn first_token(x: &Tensor) -> CandleResult<Tensor> {
    x.narrow(1, 0, 1)?.squeeze(1)
}

/// Rows of token ids, the shorter ones padded with zero: `[B, T]` as one list, and T.
pub(crate) fn padded(texts: &[Vec<u32>]) -> (Vec<u32>, usize) {
    let length = texts.iter().map(Vec::len).max().unwrap_or(0);
    let pad = std::iter::repeat(0);
    (
        texts.iter().flat_map(|ids| ids.iter().copied().chain(pad.clone()).take(length)).collect(),
        length,
    )
}

/// Embeddings of token ids and of their positions, `[B, T, D]`.
///
/// Ids are checked here, because on a GPU one outside of the vocabulary makes every later operation
/// of the process fail.
pub(crate) fn embedded(
    ids: Vec<u32>,
    (batch, length): (usize, usize),
    words: &Tensor,
    positions: &Tensor,
) -> CandleResult<Tensor> {
    let vocabulary = words.dim(0)?;
    if let Some(id) = ids.iter().find(|id| **id as usize >= vocabulary) {
        bail!("token {id} is not among the {vocabulary} of the model's vocabulary");
    }
    let ids = Tensor::from_vec(ids, batch * length, words.device())?;
    let words = words.index_select(&ids, 0)?.reshape((batch, length, words.dim(1)?))?;
    words.broadcast_add(&positions.narrow(0, 0, length)?)
}

/// Features as the caller sees them: f32 on the CPU.
pub(crate) fn rows(features: &Tensor) -> CandleResult<Vec<Vec<f32>>> {
    features.to_dtype(DType::F32)?.to_vec2()
}

#[cfg(test)]
pub(crate) mod tests;
