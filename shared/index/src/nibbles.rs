//! Codes of 8 bits for every coordinate, kept as two planes of 4: the upper halves are a code of 4 bits
//! on their own, and the lower halves are read only where that does not decide.
//!
//! A coordinate of group g is `s·spread_g·(c - 127.5)/16`, c in 0..=255, with one scale s for the row,
//! so wide that nothing is cut off. The error of 4 bits is at no right angle to the row, as that of a sketch
//! is: its part along the row is kept as a number and allowed for in full.

use half::f16;

use crate::{
    basis::{Basis, COMMON},
    sketch::{INEXACT, SCALED, Slack, dot, norm, span},
};

/// Coordinates of one step of a kernel: 64 bytes, lower nibbles first.
pub(crate) const STEP: usize = 128;

/// Bytes of a row in either plane.
pub(crate) fn row_bytes(basis: &Basis) -> usize {
    (basis.width - COMMON).next_multiple_of(STEP) / 2
}

/// What belongs to a row's nibbles.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Default, bytemuck::Pod, bytemuck::Zeroable)]
pub(crate) struct Facts {
    common: [f32; COMMON],
    scale: f32,
    /// ‖error‖ of each group with 4 bits, f16 rounded up.
    errors: [u16; SCALED],
    /// ‖c‖ of the centred codes of 4 bits, f16 rounded up.
    norm: u16,
    /// `√(mean_r ‖N(t_r) - t̄‖²)`, f16 rounded up.
    spread: u16,
    /// Length of the part of the error that lies along the row in each group, f16 rounded up.
    along: u16,
    _pad: u16,
}

/// One row's codes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Coded {
    pub(crate) facts: Facts,
    pub(crate) upper: Vec<u8>,
    pub(crate) lower: Vec<u8>,
}

/// The least f16 that is not below x.
#[inline(always)]
fn up(x: f32) -> u16 {
    let rounded = f16::from_f32(x);
    let bits = rounded.to_bits();
    if rounded.to_f32() < x { bits + 1 } else { bits }
}

// because: in plain Rust it is inlined, and takes less time than the call of the processor's own
fn of_f16(bits: u16) -> f32 {
    f16::from_bits(bits).to_f32_const()
}

impl Coded {
    #[inline(always)]
    pub(crate) fn of(basis: &Basis, y: &[f32], spread: f32) -> Self {
        let groups = basis.groups.all();
        let widest = groups.iter().zip(basis.spreads);
        let widest = widest.map(|(group, of)| longest(&y[group.clone()]) / of).fold(0.0, f32::max);
        // because: so many steps reach the outermost code's middle and half a step more
        let scale = widest / 7.96;
        let mut facts = Facts { common: std::array::from_fn(|c| y[c]), scale, ..Facts::default() };
        let mut codes = vec![0_u8; row_bytes(basis) * 2];
        // ŷ of 4 bits in units of the scale, and what it lacks
        let (mut centred, mut missing) = (vec![0.0; codes.len()], Vec::with_capacity(y.len()));
        let mut along = 0.0_f32;
        for (g, (group, of)) in groups.into_iter().zip(basis.spreads).enumerate() {
            let inverse = if scale > 0.0 { 16.0 / (scale * of) } else { 0.0 };
            let at = group.start - COMMON..group.end - COMMON;
            let (y, codes) = (&y[group], &mut codes[at.clone()]);
            let centred = &mut centred[at];
            for ((code, centred), y) in codes.iter_mut().zip(&mut *centred).zip(y) {
                *code = (y * inverse + 128.0).clamp(0.0, 255.0) as u8;
                *centred = f32::from(*code >> 4) - 7.5;
            }
            missing.clear();
            missing.extend(y.iter().zip(&*centred).map(|(y, c)| y - scale * of * c));
            facts.errors[g] = up(norm(&missing) * 1.0001);
            let length = norm(y);
            if length > 0.0 {
                along += (dot(&missing, y) / length).powi(2);
            }
        }
        // because: of the rounding of these sums
        facts.along = up(along.sqrt() * 1.0001 + 1e-6 * norm(y));
        facts.norm = up(norm(&centred) * 1.0001);
        facts.spread = up(spread);
        let (upper, lower) = split(&codes);
        Self { facts, upper, lower }
    }
}

/// The greatest `|y|`, over sixteen maxima as `dot` is over sixteen sums.
#[inline(always)]
fn longest(y: &[f32]) -> f32 {
    let mut most = [0.0_f32; 16];
    let (sixteens, rest) = y.as_chunks::<16>();
    for sixteen in sixteens {
        for i in 0..16 {
            most[i] = most[i].max(sixteen[i].abs());
        }
    }
    rest.iter().fold(most.into_iter().fold(0.0, f32::max), |most, y| most.max(y.abs()))
}

/// Upper and lower halves of codes, two to a byte: those 64 apart within a step.
#[inline(always)]
fn split(codes: &[u8]) -> (Vec<u8>, Vec<u8>) {
    const HALF: usize = STEP / 2;
    let (mut upper, mut lower) = (vec![0; codes.len() / 2], vec![0; codes.len() / 2]);
    let planes = upper.as_chunks_mut::<HALF>().0.iter_mut().zip(lower.as_chunks_mut::<HALF>().0);
    for (step, (upper, lower)) in codes.as_chunks::<STEP>().0.iter().zip(planes) {
        for i in 0..HALF {
            let (low, high) = (step[i], step[i + HALF]);
            (upper[i], lower[i]) = (low >> 4 | high & 0xF0, low & 15 | high << 4);
        }
    }
    (upper, lower)
}

/// A query in whole numbers, and its bounds.
#[derive(Debug, Clone)]
pub(crate) struct NibbleQuery {
    /// A weight is `step·(128·coarse + fine)`, coordinate by coordinate.
    pub(crate) coarse: Vec<i8>,
    pub(crate) fine: Vec<i8>,
    step: f32,
    /// `Σ coarse` and `Σ fine`.
    totals: (i64, i64),
    /// Length of what the coarse weights leave over, and of what both do.
    rounding: (f32, f32),
    base: f32,
    common: [f32; COMMON],
    norms: [f32; SCALED],
    spans: [f32; SCALED],
    /// The most that half a step of 8 bits in every coordinate amounts to, for a scale of one.
    half_steps: f32,
    slack: Slack,
    /// Deviations that a bound allows for; without, bounds hold whatever the data.
    pub(crate) deviations: Option<f32>,
    norm: f32,
    inexact: f32,
}

/// Products of a query's weights with a row's nibbles.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Products {
    pub(crate) coarse: i32,
    pub(crate) fine: Option<i32>,
}

/// What is known of a row's score: between `value - error` and `value + error`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Bounded {
    pub(crate) value: f32,
    pub(crate) error: f32,
}

impl Bounded {
    pub(crate) fn above(&self) -> f32 {
        self.value + self.error
    }
}

impl NibbleQuery {
    pub(crate) fn new(
        basis: &Basis,
        w: &[f32],
        base: f32,
        deviations: Option<f32>,
        slack: Slack,
    ) -> Self {
        let mut coarse = vec![0_i8; row_bytes(basis) * 2];
        let mut fine = coarse.clone();
        let groups = basis.groups.all();
        let widest = groups.iter().zip(basis.spreads);
        let widest = widest
            .map(|(group, of)| w[group.clone()].iter().fold(0.0_f32, |m, w| m.max(w.abs())) * of)
            .fold(0.0, f32::max);
        let step = (widest / 16_000.0).max(f32::MIN_POSITIVE);
        let (mut left, mut half_steps) = ((0.0_f32, 0.0_f32), 0.0);
        for (group, spread) in groups.iter().zip(basis.spreads) {
            for i in group.clone() {
                let exact = w[i] * spread / step;
                let upper = (exact / 128.0).round();
                let lower = (exact - 128.0 * upper).round();
                left.0 += ((exact - 128.0 * upper) * step).powi(2);
                left.1 += ((exact - 128.0 * upper - lower) * step).powi(2);
                coarse[i - COMMON] = upper as i8;
                fine[i - COMMON] = lower as i8;
            }
            let sum: f32 = w[group.clone()].iter().map(|w| w.abs()).sum();
            half_steps += sum * spread / 32.0 * 1.001;
        }
        let total = |weights: &[i8]| weights.iter().map(|&w| i64::from(w)).sum();
        Self {
            totals: (total(&coarse), total(&fine)),
            coarse,
            fine,
            step,
            rounding: (left.0.sqrt() * 1.0001, left.1.sqrt() * 1.0001),
            base,
            common: std::array::from_fn(|c| w[c]),
            norms: std::array::from_fn(|g| norm(&w[groups[g].clone()])),
            spans: std::array::from_fn(|g| span(&w[groups[g].clone()])),
            half_steps,
            slack,
            deviations,
            norm: norm(w),
            inexact: INEXACT * (norm(w) + slack.fixed + slack.spread),
        }
    }

    /// From the products with the upper nibbles.
    pub(crate) fn with_4_bits(&self, facts: &Facts, upper: Products) -> Bounded {
        let errors = facts.errors.map(of_f16);
        let error = match self.deviations {
            Some(deviations) => {
                let squares = self.spans.iter().zip(errors).map(|(s, e)| s * e * s * e);
                let turned = deviations * squares.sum::<f32>().sqrt();
                // because: what lies along the row is the same however the directions are turned
                turned + self.norm * of_f16(facts.along)
            }
            None => self.norms.iter().zip(errors).map(|(w, e)| w * e).sum(),
        };
        let codes = of_f16(facts.norm);
        self.bounded(facts, self.sum(upper, 15), error, codes, upper.fine.is_some())
    }

    /// From both planes; holds whatever the data.
    pub(crate) fn with_8_bits(&self, facts: &Facts, upper: Products, lower: Products) -> Bounded {
        let both = Products {
            coarse: 16 * upper.coarse + lower.coarse,
            fine: upper.fine.zip(lower.fine).map(|(upper, lower)| 16 * upper + lower),
        };
        // because: codes of 8 bits are at most half a step of 4 bits longer in each coordinate
        let codes = of_f16(facts.norm) + 0.5 * (self.coarse.len() as f32).sqrt();
        let error = self.half_steps * facts.scale;
        self.bounded(facts, self.sum(both, 255) / 16.0, error, codes, both.fine.is_some())
    }

    /// The product with centred codes, in units of a row's scale, from that with codes `0..=most`.
    fn sum(&self, products: Products, most: i64) -> f32 {
        let centred = |product: i32, total: i64| 2 * i64::from(product) - most * total;
        let coarse = 128 * centred(products.coarse, self.totals.0);
        let fine = products.fine.map_or(0, |product| centred(product, self.totals.1));
        self.step * ((coarse + fine) as f32 / 2.0)
    }

    fn bounded(&self, facts: &Facts, sum: f32, error: f32, codes: f32, fine: bool) -> Bounded {
        let common: f32 = self.common.iter().zip(facts.common).map(|(w, y)| w * y).sum();
        let captions = self.slack.fixed + self.slack.spread * of_f16(facts.spread);
        let rounding = if fine { self.rounding.1 } else { self.rounding.0 };
        Bounded {
            value: self.base + common + facts.scale * sum,
            error: error + rounding * facts.scale * codes + captions + self.inexact,
        }
    }
}
