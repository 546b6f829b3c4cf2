//! The directions in which rows are coded: learned once from a sample, the same for all rows.
//!
//! A row is `x = [N(v); t̄]`, with `t̄ = mean_r N(t_r)`, or `N(v)` in its place while there are no
//! captions, so that the score is `w·x` with `w = [(1-β)q; βq]` for every row (METHOD: "The whole
//! plane at once"). Centred, it is turned into coordinates of five groups:
//!
//! - **common**: the means of images and of captions, in each half. Queries are long there and rows
//!   differ little, so these four numbers are kept exactly.
//! - **leading**: principal directions in three groups, coded with 4, 2 and 1 bits each.
//! - **tail**: all that is left, coded with a quarter of a bit each.
//!
//! Within its group every direction is turned at random: the leading ones by a rotation that may be any
//! (Haar), the tail by the signs and transforms of [`Turn`]. That is what makes the errors of the codes
//! random, whatever the data: the error of a code at a right angle to its row points anywhere with equal
//! chance, and its product with a query is that of one coordinate of a random unit vector (Gao and Long,
//! "RaBitQ", SIGMOD 2024).

use std::ops::Range;

use rand::Rng;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{
    matrix::{Rows, product},
    sketch::dot,
    turn::Turn,
};

/// Coordinates of the common group.
pub(crate) const COMMON: usize = 4;

/// What codes of each group leave of a Gaussian coordinate's square: evenly spaced ones of 4 and 2 bits (Max,
/// "Quantizing for minimum distortion", IRE 1960, table II), a sign, `1 - 2/π`, and of sixteen the
/// greatest, `1 - 1.766²/16`, 1.766 being what it is on average.
const LEFT: [f64; 4] = [0.0115, 0.119, 0.363, 0.805];

/// Coordinates of each coded group, as ranges of a row's coordinates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Groups {
    pub(crate) four_bits: Range<usize>,
    pub(crate) two_bits: Range<usize>,
    pub(crate) one_bit: Range<usize>,
    pub(crate) tail: Range<usize>,
}

impl Groups {
    /// The division that gave the shortest scans at d = 512; narrow rows have signs alone.
    pub(crate) fn of_width(width: usize) -> Self {
        let (four, two) = if width < 256 { (0, 0) } else { (width / 128 * 8, width / 64 * 8) };
        let left = width - COMMON - four - two;
        let signs = width / 16 * 3;
        let one = if width < 256 { left } else { signs - (signs + 16 - left % 16) % 16 };
        let mut start = COMMON;
        let mut next = |size| {
            start += size;
            start - size..start
        };
        Self {
            four_bits: next(four),
            two_bits: next(two),
            one_bit: next(one),
            tail: next(left - one),
        }
    }

    pub(crate) fn all(&self) -> [Range<usize>; 4] {
        [self.four_bits.clone(), self.two_bits.clone(), self.one_bit.clone(), self.tail.clone()]
    }
}

/// What all codes of an index are made with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Basis {
    pub(crate) dim: usize,
    /// Coordinates of a row: 2d, rounded up to a multiple of 16.
    pub(crate) width: usize,
    pub(crate) centre: Vec<f32>,
    turn: Turn,
    pub(crate) groups: Groups,
    /// Root mean square of a coordinate of each group in the sample.
    pub(crate) spreads: [f32; 4],
    /// Least and greatest expected value of each common coordinate.
    pub(crate) common_range: [(f32, f32); COMMON],
}

pub(crate) fn width_of(dim: usize) -> usize {
    (2 * dim).next_multiple_of(16)
}

impl Basis {
    /// Learns from a sample of rows, rows × width, padded with zeros. Takes a second at d = 512.
    pub(crate) fn learn(dim: usize, sample: &[f32], seed: u64) -> Self {
        let width = width_of(dim);
        let groups = Groups::of_width(width);
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let centre = mean(sample, width);
        let mut centred = sample.to_vec();
        for row in centred.chunks_exact_mut(width) {
            row.iter_mut().zip(&centre).for_each(|(x, c)| *x -= c);
        }
        let mut directions = common_directions(&centre, dim, width);
        let leading = principal(&centred, width, &mut directions, groups.tail.start, &mut random);
        directions.truncate(COMMON * width);
        directions.extend(leading);
        for group in [&groups.four_bits, &groups.two_bits, &groups.one_bit] {
            turn(&mut directions[group.start * width..group.end * width], width, &mut random);
        }
        let turn = Turn::new(&directions, width, &mut random);
        centred.par_chunks_mut(64 * width).for_each(|rows| turn.apply(rows));
        let mut basis = Self {
            dim,
            width,
            centre,
            turn,
            groups,
            spreads: [0.0; 4],
            common_range: [(0.0, 0.0); COMMON],
        };
        basis.measure(&centred);
        basis
    }

    /// Whether rows of embeddings of length `dim` can be coded with it.
    pub(crate) fn is_for(&self, dim: usize) -> bool {
        let width = width_of(dim);
        (self.dim, self.width, self.centre.len()) == (dim, width, width)
            && self.groups == Groups::of_width(width)
            && self.turn.fits(width, self.groups.tail.start)
    }

    fn measure(&mut self, coordinates: &[f32]) {
        let rows = (coordinates.len() / self.width).max(1) as f64;
        for (spread, group) in self.spreads.iter_mut().zip(self.groups.all()) {
            let energy: f64 = coordinates
                .chunks_exact(self.width)
                .flat_map(|row| &row[group.clone()])
                .map(|&y| f64::from(y) * f64::from(y))
                .sum();
            let size = group.len().max(1) as f64;
            *spread = ((energy / rows / size).sqrt() as f32).max(1e-6);
        }
        for (c, range) in self.common_range.iter_mut().enumerate() {
            let values = coordinates.chunks_exact(self.width).map(|row| row[c]);
            let (low, high) = values.fold((0.0_f32, 0.0_f32), |(l, h), y| (l.min(y), h.max(y)));
            // because: rows beyond the sample go a little beyond its range
            let margin = 0.25 * (high - low) + 1e-6;
            *range = (low - margin, high + margin);
        }
    }

    /// Replaces rows, rows × width, by their coordinates, on one thread.
    pub(crate) fn place(&self, rows: &mut [f32]) {
        for row in rows.chunks_exact_mut(self.width) {
            row.iter_mut().zip(&self.centre).for_each(|(x, c)| *x -= c);
        }
        self.turn.apply(rows);
    }

    /// What sketches leave of a row on average: `‖error‖²` of rows whose groups are as long as those of `y`.
    pub(crate) fn left(&self, y: &[f32]) -> f64 {
        let squares = self.groups.all().map(|group| f64::from(dot(&y[group.clone()], &y[group])));
        squares.iter().zip(LEFT).map(|(square, left)| square * left).sum()
    }

    /// The mean of that over the sample.
    pub(crate) fn usually_left(&self) -> f64 {
        let squares = self.groups.all().into_iter().zip(self.spreads);
        let squares = squares.map(|(group, spread)| group.len() as f64 * f64::from(spread).powi(2));
        squares.zip(LEFT).map(|(square, left)| square * left).sum()
    }

    /// Replaces a query's `w` by its coordinates: those of a row, without the centre.
    pub(crate) fn turn(&self, w: &mut [f32]) {
        self.turn.apply(w);
    }
}

fn mean(rows: &[f32], width: usize) -> Vec<f32> {
    let count = (rows.len() / width).max(1) as f64;
    let mut sums = vec![0.0_f64; width];
    for row in rows.chunks_exact(width) {
        sums.iter_mut().zip(row).for_each(|(sum, &x)| *sum += f64::from(x));
    }
    sums.into_iter().map(|sum| (sum / count) as f32).collect()
}

/// The mean image and the mean caption as directions of each half: [m₁;0], [m₂;0], [0;m₁], [0;m₂].
fn common_directions(centre: &[f32], dim: usize, width: usize) -> Vec<f32> {
    let mut directions = vec![0.0; COMMON * width];
    for (n, row) in directions.chunks_exact_mut(width).enumerate() {
        let of = if n % 2 == 0 { &centre[..dim] } else { &centre[dim..2 * dim] };
        let half = if n < 2 { 0 } else { dim };
        row[half..half + dim].copy_from_slice(of);
    }
    directions
}

/// Orthonormal directions `COMMON..count` that hold most of the rows' energy, most first, by
/// orthogonal iteration. Also makes `common` orthonormal.
fn principal(
    centred: &[f32],
    width: usize,
    common: &mut Vec<f32>,
    count: usize,
    random: &mut ChaCha8Rng,
) -> Vec<f32> {
    common.extend(gaussian((count - COMMON) * width, random));
    orthonormalise(common, width, 0, random);
    // because: the groups need the subspaces only, and these settle within a few rounds
    for _ in 0..6 {
        let (rows, leading) =
            (Rows::of(centred, width), Rows::of(&common[COMMON * width..], width));
        let products = product(rows, leading.transposed());
        let next = product(Rows::of(&products, count - COMMON).transposed(), rows);
        common[COMMON * width..].copy_from_slice(&next);
        orthonormalise(common, width, COMMON, random);
    }
    common[COMMON * width..].to_vec()
}

/// Replaces orthonormal rows by a random rotation of them.
fn turn(rows: &mut [f32], width: usize, random: &mut ChaCha8Rng) {
    let count = rows.len() / width;
    if count == 0 {
        return;
    }
    let mut rotation = gaussian(count * count, random);
    orthonormalise(&mut rotation, count, 0, random);
    let turned = product(Rows::of(&rotation, count), Rows::of(rows, width));
    rows.copy_from_slice(&turned);
}

fn gaussian(count: usize, random: &mut ChaCha8Rng) -> Vec<f32> {
    // because: a sum of twelve uniform numbers is near enough, as only the direction counts and is
    // made orthogonal to the others after
    (0..count).map(|_| (0..12).map(|_| random.random::<f32>()).sum::<f32>() - 6.0).collect()
}

/// Makes the rows from `from` on orthonormal, to each other and to the rows before, which are so
/// already. A row that depends on those before it is replaced by a random one.
fn orthonormalise(rows: &mut [f32], width: usize, from: usize, random: &mut ChaCha8Rng) {
    const BLOCK: usize = 32;
    let count = rows.len() / width;
    for start in (from..count).step_by(BLOCK) {
        let end = (start + BLOCK).min(count);
        let (before, rest) = rows.split_at_mut(start * width);
        let block = &mut rest[..(end - start) * width];
        // because: the first pass leaves what rounding makes of rows that nearly depend on others
        for _ in 0..2 {
            block.chunks_exact_mut(width).for_each(normalise);
            remove_projection(block, before, width);
            for n in 0..end - start {
                let (earlier, row) = block.split_at_mut(n * width);
                let row = &mut row[..width];
                let others = || before.chunks_exact(width).chain(earlier.chunks_exact(width));
                earlier.chunks_exact(width).for_each(|other| subtract_projection(row, other));
                // because: what is left of a row that depends on others is nothing but rounding
                while norm_of(row) < 1e-3 {
                    row.copy_from_slice(&gaussian(width, random));
                    normalise(row);
                    others().chain(others()).for_each(|other| subtract_projection(row, other));
                }
                normalise(row);
            }
        }
    }
}

fn normalise(row: &mut [f32]) {
    let length = norm_of(row).max(f32::MIN_POSITIVE);
    row.iter_mut().for_each(|x| *x /= length);
}

/// block -= (block · beforeᵀ) · before
fn remove_projection(block: &mut [f32], before: &[f32], width: usize) {
    if before.is_empty() {
        return;
    }
    let before = Rows::of(before, width);
    let weights = product(Rows::of(block, width), before.transposed());
    let shadow = product(Rows::of(&weights, weights.len() * width / block.len()), before);
    block.iter_mut().zip(&shadow).for_each(|(x, s)| *x -= s);
}

fn subtract_projection(row: &mut [f32], other: &[f32]) {
    let weight = dot(row, other);
    row.iter_mut().zip(other).for_each(|(x, o)| *x -= weight * o);
}

fn norm_of(row: &[f32]) -> f32 {
    weimocir_domain::norm(row) as f32
}
