//! Layer normalisation.

use rayon::prelude::*;

use super::{
    elementwise::folded,
    simd::{Instructions, Kernel, Simd},
};

/// Values of one piece of work; because a smaller one costs more to hand to a thread than to do.
const PIECE: usize = 16 * 1024;

/// `(x - mean)/√(variance + ε)·weight + bias` of each row; rows as long as the weight.
pub(crate) fn layer_norm(x: &[f32], weight: &[f32], bias: &[f32], epsilon: f32) -> Vec<f32> {
    let width = weight.len();
    let mut out = vec![0.0; x.len()];
    let piece = width.max(1) * (PIECE / width.max(1)).max(1);
    let instructions = Instructions::detect();
    out.par_chunks_mut(piece).zip(x.par_chunks(piece)).for_each(|(out, x)| {
        instructions.dispatch(Rows { x, weight, bias, epsilon, out });
    });
    out
}

struct Rows<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    bias: &'a [f32],
    epsilon: f32,
    out: &'a mut [f32],
}

impl Kernel for Rows<'_> {
    #[inline(always)]
    fn run<S: Simd>(self) {
        let width = self.weight.len();
        for (out, x) in self.out.chunks_exact_mut(width).zip(self.x.chunks_exact(width)) {
            let mean = folded(x, 0.0, |sum, x| sum + x) / width as f32;
            out.iter_mut().zip(x).for_each(|(y, x)| *y = (x - mean) * (x - mean));
            let variance = folded(out, 0.0, |sum, x| sum + x) / width as f32;
            let scale = 1.0 / (variance + self.epsilon).sqrt();
            for (((y, x), w), b) in out.iter_mut().zip(x).zip(self.weight).zip(self.bias) {
                *y = (x - mean) * scale * w + b;
            }
        }
    }
}
