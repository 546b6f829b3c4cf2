//! The work of a model on the CPU. Shapes and tensors are `layers`' matter; here are slices of f32.
//!
//! candle's own CPU operations repack a weight at every product and take a pass and a fresh tensor
//! for each step that follows it, which together cost half of the time.

mod attention;
mod elementwise;
mod gemm;
mod norm;
mod simd;

pub(crate) use attention::{Heads, Seen, Shape, attention};
pub(crate) use gemm::{Packed, Then};
pub(crate) use norm::layer_norm;

/// Patches of pictures `[B, 3, S, S]` as rows `[B·(S/p)², 3·p·p]`, patches row by row. Pixels that fill
/// no patch are left out.
pub(crate) fn patches(pixels: &[f32], (height, width): (usize, usize), patch: usize) -> Vec<f32> {
    let (down, across) = (height / patch, width / patch);
    let used = down * across * 3 * patch * patch;
    let mut out = Vec::with_capacity(pixels.len() / (3 * height * width).max(1) * used);
    for picture in pixels.chunks_exact(3 * height * width) {
        for (top, left) in (0..down).flat_map(|y| (0..across).map(move |x| (y * patch, x * patch)))
        {
            for channel in picture.chunks_exact(height * width) {
                for row in channel.chunks_exact(width).skip(top).take(patch) {
                    out.extend_from_slice(&row[left..left + patch]);
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests;
