//! Random signs and Walsh-Hadamard transforms, in one source for all instruction sets.

/// Coordinates of a vector register.
const LANES: usize = 16;

/// See `Instructions::scramble`. Inlined into a function that is compiled for the instructions.
#[inline(always)]
pub(super) fn scramble(signs: &[f32], row: &mut [f32]) {
    let power = 1 << row.len().ilog2();
    for signs in signs.chunks_exact(row.len()) {
        row.iter_mut().zip(signs).for_each(|(x, sign)| *x *= sign);
        transform(&mut row[..power]);
        if power < row.len() {
            let last = row.len() - power;
            transform(&mut row[last..]);
        }
    }
}

/// The orthonormal transform of a power of two of coordinates, at least 16.
#[inline(always)]
fn transform(x: &mut [f32]) {
    let mut half = x.len() / 2;
    while half >= LANES {
        for pair in x.chunks_exact_mut(2 * half) {
            let (low, high) = pair.split_at_mut(half);
            for (a, b) in low.iter_mut().zip(high) {
                (*a, *b) = (*a + *b, *a - *b);
            }
        }
        half /= 2;
    }
    let scale = 1.0 / (x.len() as f32).sqrt();
    for lanes in x.as_chunks_mut::<LANES>().0 {
        let mut y = *lanes;
        y = butterfly::<8>(y);
        y = butterfly::<4>(y);
        y = butterfly::<2>(y);
        y = butterfly::<1>(y);
        *lanes = y.map(|y| y * scale);
    }
}

#[inline(always)]
fn butterfly<const HALF: usize>(x: [f32; LANES]) -> [f32; LANES] {
    std::array::from_fn(|i| if i & HALF == 0 { x[i] + x[i ^ HALF] } else { x[i ^ HALF] - x[i] })
}
