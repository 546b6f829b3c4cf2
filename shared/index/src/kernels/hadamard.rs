//! Random signs and Walsh-Hadamard transforms, in one source for all instruction sets.

/// Coordinates that `within` transforms: those of a vector register.
pub(super) const LANES: usize = 16;

/// See `Instructions::scramble`. Inlined into a function that is compiled for the instructions;
/// `within` is [`butterflies`] in them.
// because: compilers make gathers of sixteen such transforms, which take twice the time of all else
#[inline(always)]
pub(super) fn scramble(
    signs: &[f32],
    row: &mut [f32],
    within: impl Fn([f32; LANES]) -> [f32; LANES],
) {
    let power = 1 << row.len().ilog2();
    for signs in signs.chunks_exact(row.len()) {
        row.iter_mut().zip(signs).for_each(|(x, sign)| *x *= sign);
        transform(&mut row[..power], &within);
        if power < row.len() {
            let last = row.len() - power;
            transform(&mut row[last..], &within);
        }
    }
}

/// The orthonormal transform of a power of two of coordinates, at least 16.
#[inline(always)]
fn transform(x: &mut [f32], within: impl Fn([f32; LANES]) -> [f32; LANES]) {
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
        *lanes = within(*lanes).map(|y| y * scale);
    }
}

/// The transform of sixteen, without its scale.
pub(super) fn butterflies(mut x: [f32; LANES]) -> [f32; LANES] {
    for half in [8, 4, 2, 1] {
        x = std::array::from_fn(|i| if i & half == 0 { x[i] } else { -x[i] } + x[i ^ half]);
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition: `H[i][k] = (-1)^(bits that i and k share) / √n`.
    #[test]
    fn an_axis_becomes_a_column_of_signs() {
        for n in [16, 64, 512] {
            for k in [0, 1, 6, 13, n - 1] {
                let mut x = vec![0.0_f32; n];
                x[k] = 1.0;
                transform(&mut x, butterflies);
                for (i, &x) in x.iter().enumerate() {
                    let sign = if (i & k).count_ones() % 2 == 0 { 1.0 } else { -1.0 };
                    assert_eq!(x, sign / (n as f32).sqrt(), "{i} of {n} for {k}");
                }
            }
        }
    }
}
