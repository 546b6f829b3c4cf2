//! What follows a matrix product, in place and in one pass on the CPU: bias, activation, residual,
//! softmax. candle's own operations take a pass and a fresh tensor for each, and call the C
//! library for every exponential, which together cost more than the products; other devices keep
//! them.

use candle_core::{
    CpuStorage, InplaceOp1, InplaceOp2, InplaceOp3, Layout, Result as CandleResult, Tensor, bail,
};
use rayon::prelude::*;

use crate::layers::Activation;

/// Values of one piece of work; because a smaller one costs more to hand to a thread than to do.
const PIECE: usize = 16 * 1024;

/// `activation(y + bias)`; y `[rows, n]`, owned by the caller alone, and bias `[n]`.
pub(crate) fn biased(
    y: Tensor,
    bias: &Tensor,
    activation: Option<Activation>,
) -> CandleResult<Tensor> {
    if y.device().is_cpu() {
        y.inplace_op2(bias, &Biased(activation))?;
        return Ok(y);
    }
    let y = y.broadcast_add(bias)?;
    match activation {
        None => Ok(y),
        Some(Activation::QuickGelu) => &y * candle_nn::ops::sigmoid(&(&y * 1.702)?)?,
        Some(Activation::Gelu) => y.gelu_erf(),
        Some(Activation::GeluTanh) => y.gelu(),
        Some(Activation::Relu) => y.relu(),
    }
}

/// `y + bias + residual`; y and residual `[rows, n]`, y owned by the caller alone.
pub(crate) fn biased_onto(y: Tensor, bias: &Tensor, residual: &Tensor) -> CandleResult<Tensor> {
    if y.device().is_cpu() {
        y.inplace_op3(bias, residual, &BiasedOnto)?;
        return Ok(y);
    }
    y.broadcast_add(bias)? + residual
}

/// Softmax of `scale·x` over the last dimension; x owned by the caller alone. -∞ becomes 1e-38 of
/// the greatest share.
pub(crate) fn softmax(x: Tensor, scale: f32) -> CandleResult<Tensor> {
    if x.device().is_cpu() {
        x.inplace_op1(&Softmax(scale))?;
        return Ok(x);
    }
    candle_nn::ops::softmax_last_dim(&(x * f64::from(scale))?)
}

struct Biased(Option<Activation>);

impl InplaceOp2 for Biased {
    fn name(&self) -> &'static str {
        "biased"
    }

    fn cpu_fwd(
        &self,
        y: &mut CpuStorage,
        yl: &Layout,
        b: &CpuStorage,
        bl: &Layout,
    ) -> CandleResult<()> {
        let (y, bias) = (values_mut(y, yl)?, values(b, bl)?);
        pieces(y, bias.len()).for_each(|piece| {
            for row in piece.chunks_exact_mut(bias.len()) {
                activate(row, bias, self.0);
            }
        });
        Ok(())
    }
}

struct BiasedOnto;

impl InplaceOp3 for BiasedOnto {
    fn name(&self) -> &'static str {
        "biased-onto"
    }

    fn cpu_fwd(
        &self,
        y: &mut CpuStorage,
        yl: &Layout,
        b: &CpuStorage,
        bl: &Layout,
        r: &CpuStorage,
        rl: &Layout,
    ) -> CandleResult<()> {
        let (y, bias, residual) = (values_mut(y, yl)?, values(b, bl)?, values(r, rl)?);
        if y.len() != residual.len() {
            bail!("the residual has {} values, not {}", residual.len(), y.len());
        }
        let others = residual.par_chunks(piece_of(bias.len()));
        pieces(y, bias.len()).zip(others).for_each(|(piece, residual)| {
            let rows = piece.chunks_exact_mut(bias.len()).zip(residual.chunks_exact(bias.len()));
            for (row, residual) in rows {
                for ((y, b), r) in row.iter_mut().zip(bias).zip(residual) {
                    *y += b + r;
                }
            }
        });
        Ok(())
    }
}

struct Softmax(f32);

impl InplaceOp1 for Softmax {
    fn name(&self) -> &'static str {
        "softmax"
    }

    fn cpu_fwd(&self, x: &mut CpuStorage, layout: &Layout) -> CandleResult<()> {
        let Some(&width) = layout.dims().last() else { bail!("softmax of a scalar") };
        pieces(values_mut(x, layout)?, width).for_each(|piece| {
            for row in piece.chunks_exact_mut(width) {
                softmax_row(row, self.0);
            }
        });
        Ok(())
    }
}

/// Whole rows of `width`, about `PIECE` values at a time, shared over the threads.
fn pieces(values: &mut [f32], width: usize) -> rayon::slice::ChunksMut<'_, f32> {
    values.par_chunks_mut(piece_of(width))
}

fn piece_of(width: usize) -> usize {
    width.max(1) * (PIECE / width.max(1)).max(1)
}

fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> CandleResult<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((from, to)) => Ok(&storage.as_slice()?[from..to]),
        None => bail!("the tensor is not contiguous"),
    }
}

fn values_mut<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> CandleResult<&'a mut [f32]> {
    match (layout.contiguous_offsets(), storage) {
        (Some((from, to)), CpuStorage::F32(values)) => Ok(&mut values[from..to]),
        _ => bail!("the tensor is not contiguous f32"),
    }
}

fn activate(row: &mut [f32], bias: &[f32], activation: Option<Activation>) {
    match activation {
        None => row.iter_mut().zip(bias).for_each(|(y, b)| *y += b),
        Some(Activation::QuickGelu) => each(row, bias, |x| x / (1.0 + exp(-1.702 * x))),
        Some(Activation::Gelu) => {
            each(row, bias, |x| 0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2)))
        }
        Some(Activation::GeluTanh) => each(row, bias, |x| {
            // 0.5·(1 + tanh z) = 1/(1 + e^-2z), z = √(2/π)·(x + 0.044715·x³)
            x / (1.0 + exp(-2.0 * 0.797_884_6 * (x + 0.044_715 * x * x * x)))
        }),
        Some(Activation::Relu) => each(row, bias, |x| x.max(0.0)),
    }
}

#[inline(always)]
fn each(row: &mut [f32], bias: &[f32], f: impl Fn(f32) -> f32) {
    for (y, b) in row.iter_mut().zip(bias) {
        *y = f(*y + b);
    }
}

fn softmax_row(row: &mut [f32], scale: f32) {
    let most = row.iter().fold(f32::NEG_INFINITY, |most, x| most.max(*x));
    for x in row.iter_mut() {
        *x = exp((*x - most) * scale);
    }
    let total: f32 = row.iter().sum();
    let share = 1.0 / total;
    row.iter_mut().for_each(|x| *x *= share);
}

/// `eˣ` to 2 units in the last place, in operations that the compiler turns into vector code.
/// Below -87 it is the smallest normal number's neighbourhood, 1e-38; above 88, 1.6e38.
#[inline(always)]
fn exp(x: f32) -> f32 {
    let x = x.clamp(-87.0, 88.0);
    // x = n·ln 2 + r with |r| ≤ ln 2 / 2; adding 1.5·2²³ rounds to a whole number, which is then
    // the low bits of the sum.
    const SHIFT: f32 = 12_582_912.0;
    let shifted = x * std::f32::consts::LOG2_E + SHIFT;
    let n = shifted - SHIFT;
    let r = x - n * 0.693_359_4 - n * -2.121_944_4e-4;
    // Cephes' expf.
    let p = 1.987_569_1e-4;
    let p = p * r + 1.398_2e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 5.000_000_3e-1;
    let p = p * r * r + r + 1.0;
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(1.0f32.to_bits()));
    p * power
}

/// The error function to 3e-7 (Abramowitz and Stegun, 7.1.26).
#[inline(always)]
fn erf(x: f32) -> f32 {
    let a = x.abs();
    let t = 1.0 / (1.0 + 0.327_591_1 * a);
    let p = 1.061_405_4;
    let p = p * t - 1.453_152;
    let p = p * t + 1.421_413_7;
    let p = p * t - 0.284_496_74;
    let p = p * t + 0.254_829_6;
    (1.0 - p * t * exp(-a * a)).copysign(x)
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::*;

    #[test]
    fn exp_is_within_rounding() {
        for n in -8700..=8800 {
            let x = n as f32 / 100.0;
            let expected = f64::from(x).exp();
            let off = (f64::from(exp(x)) - expected).abs() / expected;
            assert!(off < 3e-7, "exp({x}) is off by {off}");
        }
        assert!(exp(f32::NEG_INFINITY) < 1e-37);
    }

    #[test]
    fn activations_are_candles() {
        let device = Device::Cpu;
        let x = Tensor::arange(0f32, 1200.0, &device)
            .unwrap()
            .affine(0.01, -6.0)
            .unwrap()
            .reshape((3, 400))
            .unwrap();
        let bias = Tensor::arange(0f32, 400.0, &device).unwrap().affine(0.01, 0.0).unwrap();
        let sum = x.broadcast_add(&bias).unwrap();
        let sigmoid = candle_nn::ops::sigmoid(&(&sum * 1.702).unwrap()).unwrap();
        let cases = [
            (None, sum.clone()),
            (Some(Activation::QuickGelu), (&sum * sigmoid).unwrap()),
            (Some(Activation::Gelu), sum.gelu_erf().unwrap()),
            (Some(Activation::GeluTanh), sum.gelu().unwrap()),
            (Some(Activation::Relu), sum.relu().unwrap()),
        ];
        for (activation, expected) in cases {
            let found = biased(x.copy().unwrap(), &bias, activation).unwrap();
            let off = (found - expected).unwrap().abs().unwrap().max_all().unwrap();
            let off: f32 = off.to_scalar().unwrap();
            assert!(off < 3e-6, "{activation:?} is off by {off}");
        }
    }

    #[test]
    fn softmax_is_candles() {
        let device = Device::Cpu;
        let mut values: Vec<f32> = (0..60).map(|n| (n * 7919 % 101) as f32 / 5.0).collect();
        values[3] = f32::NEG_INFINITY;
        let x = Tensor::from_vec(values, (3, 4, 5), &device).unwrap();
        let expected = candle_nn::ops::softmax_last_dim(&(&x * 0.5).unwrap()).unwrap();
        let found = softmax(x.copy().unwrap(), 0.5).unwrap();
        let off = (found - expected).unwrap().abs().unwrap().max_all().unwrap();
        assert!(off.to_scalar::<f32>().unwrap() < 1e-6);
    }
}
