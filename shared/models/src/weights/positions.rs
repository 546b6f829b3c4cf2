//! Position embeddings of one grid of patches, resampled for another.

/// The cubic convolution kernel's parameter, as PyTorch has it.
const A: f32 = -0.75;

/// `[from·from, width] → [to·to, width]`, both row by row: the values of
/// `torch.nn.functional.interpolate(mode="bicubic", align_corners=False)`.
pub(super) fn resample(values: &[f32], from: usize, to: usize, width: usize) -> Vec<f32> {
    let taps: Vec<[(usize, f32); 4]> = (0..to).map(|index| taps(index, from, to)).collect();
    let mut resampled = vec![0.0; to * to * width];
    for (cell, embedding) in resampled.chunks_exact_mut(width).enumerate() {
        for (row, row_weight) in taps[cell / to] {
            for (column, column_weight) in taps[cell % to] {
                let start = (row * from + column) * width;
                let weight = row_weight * column_weight;
                for (sum, value) in embedding.iter_mut().zip(&values[start..start + width]) {
                    *sum += weight * value;
                }
            }
        }
    }
    resampled
}

/// The four source positions around the middle of a target position, and their weights. Positions
/// outside repeat the border.
fn taps(index: usize, from: usize, to: usize) -> [(usize, f32); 4] {
    let source = (index as f32 + 0.5) * (from as f32 / to as f32) - 0.5;
    let floor = source.floor();
    let t = source - floor;
    let weights = [outer(t + 1.0), inner(t), inner(1.0 - t), outer(2.0 - t)];
    let last = from.saturating_sub(1) as f32;
    std::array::from_fn(|n| {
        let position = (floor + n as f32 - 1.0).clamp(0.0, last);
        (position as usize, weights[n])
    })
}

/// The kernel at a distance of at most 1.
fn inner(x: f32) -> f32 {
    ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
}

/// The kernel at a distance between 1 and 2.
fn outer(x: f32) -> f32 {
    ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A
}
