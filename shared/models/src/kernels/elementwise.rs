//! Functions of single values, written so that the compiler turns loops over them into vector
//! code; the C library's would be called once for each value.

use crate::layers::Activation;

/// `activation(y + bias)`
#[inline(always)]
pub(super) fn activate(row: &mut [f32], bias: Option<&[f32]>, activation: Option<Activation>) {
    if let Some(bias) = bias {
        row.iter_mut().zip(bias).for_each(|(y, b)| *y += b);
    }
    match activation {
        None => {}
        Some(Activation::QuickGelu) => each(row, |x| x / (1.0 + exp(-1.702 * x))),
        Some(Activation::Gelu) => {
            each(row, |x| 0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2)))
        }
        Some(Activation::GeluTanh) => each(row, |x| {
            // 0.5·(1 + tanh z) = 1/(1 + e^-2z), z = √(2/π)·(x + 0.044715·x³)
            x / (1.0 + exp(-2.0 * 0.797_884_6 * (x + 0.044_715 * x * x * x)))
        }),
        Some(Activation::Relu) => each(row, |x| x.max(0.0)),
    }
}

#[inline(always)]
fn each(row: &mut [f32], f: impl Fn(f32) -> f32) {
    row.iter_mut().for_each(|y| *y = f(*y));
}

/// Softmax of `scale·x` in place.
#[inline(always)]
pub(super) fn softmax_row(row: &mut [f32], scale: f32) {
    let most = folded(row, f32::NEG_INFINITY, f32::max);
    for x in row.iter_mut() {
        *x = exp((*x - most) * scale);
    }
    let share = 1.0 / folded(row, 0.0, |sum, x| sum + x);
    row.iter_mut().for_each(|x| *x *= share);
}

/// A fold in 16 lanes, which vector code can do and a single accumulator cannot.
#[inline(always)]
pub(super) fn folded(values: &[f32], start: f32, f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [start; 16];
    let (chunks, rest) = values.as_chunks::<16>();
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane = f(*lane, *x);
        }
    }
    for (lane, x) in lanes.iter_mut().zip(rest) {
        *lane = f(*lane, *x);
    }
    lanes.into_iter().fold(start, f)
}

/// `eˣ` to 3 units in the last place, in operations that the compiler turns into vector code.
/// Below -87 it is the smallest normal number's neighbourhood, 1e-38; above 88, 1.6e38.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
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
