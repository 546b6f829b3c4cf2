//! How a row gets its coordinates: turned at random, then so that the directions learned from a sample
//! come first.
//!
//! A dense matrix of that kind would be most of the work of putting an image in. This is half of it:
//!
//! 1. Three rounds of random signs and a Walsh-Hadamard transform, after which no direction of the
//!    data is near an axis (Andoni et al., "Practical and optimal LSH for angular distance", NIPS
//!    2015, where they stand in for a random rotation before codes like those of the tail).
//! 2. One Householder reflection for each learned direction, all of them multiplied out into
//!    `y = x - (x·V)·W` (Schreiber and Van Loan, "A storage-efficient WY representation", 1989). The
//!    first coordinates of `y` are then those of `x` along the learned directions, up to signs, and
//!    the others are coordinates of what is left of it.

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::{
    kernels::Instructions,
    matrix::{Rows, multiply_alone, subtract_product_alone},
};

/// Rounds of signs.
const ROUNDS: usize = 3;

/// An orthonormal change of coordinates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Turn {
    width: usize,
    /// Learned directions.
    count: usize,
    /// ±1, rounds × width.
    signs: Vec<f32>,
    /// V: width × count.
    v: Vec<f32>,
    /// W: count × width.
    w: Vec<f32>,
}

impl Turn {
    /// `directions` are orthonormal rows of `width`, a multiple of 16.
    pub(crate) fn new(directions: &[f32], width: usize, random: &mut ChaCha8Rng) -> Self {
        let sign = |_| if random.random() { 1.0 } else { -1.0 };
        let signs: Vec<f32> = (0..ROUNDS * width).map(sign).collect();
        let mut scrambled = directions.to_vec();
        scramble(&signs, &mut scrambled, width);
        let scrambled = scrambled.chunks_exact(width);
        let mut reflectors: Vec<Vec<f64>> =
            scrambled.map(|direction| direction.iter().map(|&x| f64::from(x)).collect()).collect();
        reflect(&mut reflectors);
        let w = multiplied_out(&reflectors);
        Self {
            width,
            count: reflectors.len(),
            signs,
            v: (0..width).flat_map(|i| reflectors.iter().map(move |v| v[i] as f32)).collect(),
            w: w.into_iter().flatten().map(|w| w as f32).collect(),
        }
    }

    /// Whether there is all that rows of `width` need for so many learned directions.
    pub(crate) fn fits(&self, width: usize, count: usize) -> bool {
        let Self { signs, v, w, .. } = self;
        (self.width, self.count) == (width, count)
            && signs.len() == ROUNDS * width
            && v.len() == width * count
            && w.len() == count * width
    }

    /// Replaces rows, rows × width, by their coordinates, on one thread.
    pub(crate) fn apply(&self, rows: &mut [f32]) {
        let Self { width, count, signs, v, w } = self;
        scramble(signs, rows, *width);
        let mut products = vec![0.0; rows.len() / width * count];
        multiply_alone(Rows::of(rows, *width), Rows::of(v, *count), &mut products);
        subtract_product_alone(Rows::of(&products, *count), Rows::of(w, *width), rows);
    }
}

fn scramble(signs: &[f32], rows: &mut [f32], width: usize) {
    let instructions = Instructions::detect();
    rows.chunks_exact_mut(width).for_each(|row| instructions.scramble(signs, row));
}

/// Replaces orthonormal vectors, each of which has to become an axis in turn, by the unit vectors of
/// the reflections that do so: `v` of `x ↦ x - 2·v·⟨v,x⟩`.
fn reflect(vectors: &mut [Vec<f64>]) {
    for n in 0..vectors.len() {
        let (done, rest) = vectors.split_at_mut(n + 1);
        let v = &mut done[n];
        v[..n].fill(0.0);
        let length = dot(v, v).sqrt();
        // because: away from the axis nothing cancels out
        v[n] += length.copysign(v[n]);
        let length = dot(v, v).sqrt();
        v.iter_mut().for_each(|v| *v /= length);
        for x in rest {
            let along = 2.0 * dot(v, x);
            x.iter_mut().zip(&*v).for_each(|(x, v)| *x -= along * v);
        }
    }
}

/// `T·Vᵀ` of `H₁·…·H_k = I - V·T·Vᵀ`, row by row. T is upper triangular with 2 on its diagonal, and above it
/// column n is `-2·T·Vᵀ·v_n`.
fn multiplied_out(reflectors: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let count = reflectors.len();
    let mut t = vec![vec![0.0; count]; count];
    for (n, v) in reflectors.iter().enumerate() {
        let products: Vec<f64> = reflectors[..n].iter().map(|earlier| dot(earlier, v)).collect();
        for (row, t) in t[..n].iter_mut().enumerate() {
            t[n] = -2.0 * dot(&t[row..n], &products[row..]);
        }
        t[n][n] = 2.0;
    }
    let row = |t: &Vec<f64>| {
        let mut sum = vec![0.0; reflectors[0].len()];
        for (&t, v) in t.iter().zip(reflectors).filter(|(t, _)| **t != 0.0) {
            sum.iter_mut().zip(v).for_each(|(sum, v)| *sum += t * v);
        }
        sum
    };
    t.iter().map(row).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
