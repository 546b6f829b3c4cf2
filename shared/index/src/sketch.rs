//! The sketch: 121 bytes a row at d = 512, enough to pass over all but one row in a few hundred.
//!
//! Codes are nibbles, two to a byte, all from one table of 16 values each, so that one shuffle looks
//! up a nibble of 64 rows at once (André, Kermarrec and Le Scouarnec, "Cache locality is not enough",
//! VLDB 2015). What a nibble says depends on its group:
//!
//! | group | a nibble is | its values |
//! |---|---|---|
//! | common | half of a byte | the coordinate, 256 steps over its range |
//! | four bits | one coordinate | 16 even steps |
//! | two bits | two coordinates | 4 even steps each |
//! | one bit | four coordinates | signs |
//! | tail | sixteen coordinates | which one is the greatest |
//!
//! Coded values are `s·c`, with `s = ‖y‖²/⟨c,y⟩` for each row and group. Then the error is at a right
//! angle to the row, and over the random turn of the group its product with a query is
//! `‖w‖·‖error‖·U`, U a coordinate of a random unit vector of D-1 dimensions. Its density
//! `(1-u²)^((D-4)/2)` falls faster than that of a normal distribution of variance `1/(D-4)`, so U is
//! the more peaked of the two, and so are sums of such numbers (Birnbaum, "On random variables with
//! comparable peakedness", 1948). The tables' own rounding is dithered, which makes its error uniform
//! over a step, more peaked than a normal one of deviation `step/√(2π)`. So the chance that a score
//! lies more than n deviations above its estimate is at most that of a normal distribution.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::basis::{Basis, COMMON};

/// Rows of a block, which are scanned together.
pub(crate) const BLOCK: usize = 64;
/// Groups with a scale of their own; the common coordinates have none.
pub(crate) const SCALED: usize = 4;

/// Steps of the best even quantisers of a Gaussian with 16 and 4 levels (Max, "Quantizing for
/// minimum distortion", IRE 1960, table II).
const STEP_16: f32 = 0.3352;
const STEP_4: f32 = 0.9957;

/// What sums of f32 are taken to be off by, for a query of length one.
// because: rows are of length √2 at most, and sums of some thousand products are off by some 1e-6
pub(crate) const INEXACT: f32 = 3e-5;

/// The bits of 2^-46, the least scale that can be packed.
const LEAST: u32 = (127 - 46) << 23;
/// Half of the last place of a packed scale.
pub(crate) const SCALE_ROUNDING: f32 = 1.0 / 2048.0;

/// How the bytes of a block are divided: columns of nibble pairs, then scales, then the head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Columns (bytes of a row) of the common group and of each scaled one.
    pub(crate) columns: [usize; 1 + SCALED],
    /// Bytes of a block.
    pub(crate) stride: usize,
}

/// What is known of a block as a whole: the greatest value among its rows.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Default, bytemuck::Pod, bytemuck::Zeroable)]
pub(crate) struct Head {
    /// ‖error‖/s of each group.
    pub(crate) errors: [f32; SCALED],
    /// Error of a common coordinate.
    pub(crate) common: [f32; COMMON],
    /// ‖y‖
    pub(crate) norm: f32,
    /// `√(mean_r ‖N(t_r) - t̄‖²)`
    pub(crate) spread: f32,
    _pad: [f32; 6],
}

const HEAD: usize = std::mem::size_of::<Head>();

impl Layout {
    pub(crate) fn of(basis: &Basis) -> Self {
        let groups = &basis.groups;
        let nibbles = [
            2 * COMMON,
            groups.four_bits.len(),
            groups.two_bits.len() / 2,
            groups.one_bit.len() / 4,
            groups.tail.len() / 16,
        ];
        let columns = nibbles.map(|n| n.div_ceil(2));
        let codes: usize = columns.iter().sum::<usize>() * BLOCK;
        Self { columns, stride: codes + SCALED * BLOCK * 2 + HEAD }
    }

    pub(crate) fn codes(&self) -> usize {
        self.columns.iter().sum()
    }

    /// Codes, scales (packed, group by group) and head of a block.
    pub(crate) fn split<'a>(&self, block: &'a [u8]) -> (&'a [u8], &'a [u16], &'a Head) {
        let (codes, rest) = block.split_at(self.codes() * BLOCK);
        let (scales, head) = rest.split_at(SCALED * BLOCK * 2);
        (codes, bytemuck::cast_slice(scales), bytemuck::from_bytes(head))
    }

    pub(crate) fn write(&self, block: &mut [u8], row: usize, sketch: &Sketch) {
        let (codes, rest) = block.split_at_mut(self.codes() * BLOCK);
        let (scales, head) = rest.split_at_mut(SCALED * BLOCK * 2);
        let scales = bytemuck::cast_slice_mut::<u8, u16>(scales);
        let head: &mut Head = bytemuck::from_bytes_mut(head);
        for (column, &code) in sketch.codes.iter().enumerate() {
            codes[column * BLOCK + row] = code;
        }
        for (group, &scale) in sketch.scales.iter().enumerate() {
            scales[group * BLOCK + row] = scale;
        }
        // because: a row that is replaced leaves its bounds behind, which stay true
        let widen = |held: &mut [f32], new: &[f32]| {
            held.iter_mut().zip(new).for_each(|(h, n)| *h = h.max(*n));
        };
        widen(&mut head.errors, &sketch.head.errors);
        widen(&mut head.common, &sketch.head.common);
        head.norm = head.norm.max(sketch.head.norm);
        head.spread = head.spread.max(sketch.head.spread);
    }
}

/// One row's codes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sketch {
    codes: Vec<u8>,
    scales: [u16; SCALED],
    head: Head,
}

impl Sketch {
    /// Codes the coordinates `y` of a row.
    #[inline(always)]
    pub(crate) fn of(basis: &Basis, y: &[f32], spread: f32) -> Self {
        let mut codes = Vec::with_capacity(basis.width / 8);
        let mut head = Head { spread, norm: norm(y) * 1.0001, ..Head::default() };
        for (c, &(low, high)) in basis.common_range.iter().enumerate() {
            let step = (high - low) / 255.0;
            let code = ((y[c] - low) / step).round().clamp(0.0, 255.0);
            head.common[c] = (y[c] - low - code * step).abs();
            codes.push((code as u8).rotate_left(4));
        }
        let mut scales = [0; SCALED];
        let mut coded = CodedGroup::default();
        for (g, group) in basis.groups.all().into_iter().enumerate() {
            let y = &y[group];
            let energy = dot(y, y);
            coded.quantise(g, y, energy.sqrt());
            (scales[g], head.errors[g]) = scale(energy, coded.inner, coded.energy);
            // because: every group begins with a new byte
            let (pairs, last) = coded.nibbles.as_chunks::<2>();
            codes.extend(pairs.iter().map(|[low, high]| low | high << 4));
            codes.extend(last);
        }
        Self { codes, scales, head }
    }
}

/// One group, coded.
#[derive(Debug, Default)]
struct CodedGroup {
    nibbles: Vec<u8>,
    /// What the codes `c` stand for, where `inner` and `energy` are worked out from that.
    values: Vec<f32>,
    /// `⟨c,y⟩`
    inner: f32,
    /// `‖c‖²`
    energy: f32,
}

impl CodedGroup {
    /// `norm` is that of `y`.
    #[inline(always)]
    fn quantise(&mut self, group: usize, y: &[f32], norm: f32) {
        let unit = if norm > 0.0 { (y.len() as f32).sqrt() / norm } else { 0.0 };
        self.nibbles.clear();
        self.values.clear();
        match group {
            0 => {
                let code = |y: &f32| (y * unit / STEP_16 + 8.0).clamp(0.0, 15.0) as u8;
                self.nibbles.extend(y.iter().map(code));
                self.values.extend(self.nibbles.iter().map(|&code| level(code, 16)));
            }
            1 => {
                let code = |y: f32| (y * unit / STEP_4 + 2.0).clamp(0.0, 3.0) as u8;
                let pairs = y.as_chunks::<2>().0.iter();
                self.nibbles.extend(pairs.map(|&[first, second]| code(first) | code(second) << 2));
                self.values.extend(y.iter().map(|&y| level(code(y), 4)));
            }
            2 => {
                let fours = y.as_chunks::<4>().0.iter();
                self.nibbles.extend(
                    fours.map(|four| (0..4).map(|i| u8::from(four[i] > 0.0) << i).sum::<u8>()),
                );
                self.values.extend(y.iter().map(|&y| if y > 0.0 { 1.0 } else { -1.0 }));
            }
            _ => return self.quantise_tail(y),
        }
        (self.inner, self.energy) = (dot(y, &self.values), dot(&self.values, &self.values));
    }

    #[inline(always)]
    fn quantise_tail(&mut self, y: &[f32]) {
        let (sixteens, _) = y.as_chunks::<16>();
        let mut inner = 0.0_f64;
        for sixteen in sixteens {
            let (at, greatest) = greatest(sixteen);
            self.nibbles.push(at);
            inner += f64::from(greatest);
        }
        self.inner = inner as f32;
        // because: a code stands for one at one coordinate, and nothing at all others
        self.energy = sixteens.len() as f32;
    }
}

/// What a code stands for in units of a coordinate's deviation.
#[inline(always)]
fn level(code: u8, levels: u8) -> f32 {
    let step = if levels == 16 { STEP_16 } else { STEP_4 };
    (f32::from(code) - f32::from(levels - 1) / 2.0) * step
}

fn sign(bits: u8, i: usize) -> f32 {
    if bits >> i & 1 == 1 { 1.0 } else { -1.0 }
}

/// The first of the greatest values, and that value.
#[inline(always)]
fn greatest(values: &[f32; 16]) -> (u8, f32) {
    let mut folded = *values;
    for half in [8, 4, 2, 1] {
        for i in 0..half {
            folded[i] = if folded[i + half] > folded[i] { folded[i + half] } else { folded[i] };
        }
    }
    let equal = (0..16).fold(0_u16, |bits, i| bits | u16::from(values[i] == folded[0]) << i);
    (equal.trailing_zeros() as u8 & 15, folded[0])
}

/// `s = ‖y‖²/⟨c,y⟩`, packed, and `‖s·c - y‖/s`, from `‖y‖²`, `⟨c,y⟩` and `‖c‖²`.
#[inline(always)]
fn scale(energy: f32, inner: f32, codes: f32) -> (u16, f32) {
    if energy == 0.0 {
        return (0, 0.0);
    }
    // because: codes that do not point towards the row at all say nothing; a scale near zero with
    // an error as long as the row keeps every bound true
    let exact = if inner > 1e-3 * energy.sqrt() { energy / inner } else { 0.0 };
    let bits = pack(exact);
    let scale = unpack(bits);
    let error = scale * scale * codes - 2.0 * scale * inner + energy;
    // because: these sums are off by some 1e-6, of which the error's square is a hundredth at least
    (bits, (error.max(0.0).sqrt() + 1e-3 * energy.sqrt()) / scale)
}

/// `a·b` in f32 over sixteen partial sums: fast, where a millionth does not matter.
#[inline(always)]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    debug_assert_eq!(a.len(), b.len());
    let mut sums = [0.0_f32; 16];
    let (a, a_rest) = a.as_chunks::<16>();
    let (b, b_rest) = b.as_chunks::<16>();
    for (a, b) in a.iter().zip(b) {
        for i in 0..16 {
            sums[i] += a[i] * b[i];
        }
    }
    sums.iter().sum::<f32>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f32>()
}

/// Euclidean norm in f32: fast, where a millionth does not matter.
#[inline(always)]
pub(crate) fn norm(y: &[f32]) -> f32 {
    dot(y, y).sqrt()
}

/// A positive number as six bits of exponent and ten of fraction: 2^-46..2^18, rounded by
/// [`SCALE_ROUNDING`] of itself at most.
// because: an f32's upper half rounds by eight times as much, which every bound has to allow for
#[inline(always)]
pub(crate) fn pack(scale: f32) -> u16 {
    let within = scale.clamp(unpack(0), unpack(u16::MAX));
    ((within.to_bits() - LEAST + (1 << 12)) >> 13) as u16
}

#[inline(always)]
pub(crate) fn unpack(scale: u16) -> f32 {
    f32::from_bits((u32::from(scale) << 13) + LEAST)
}

/// A query as tables: what each nibble adds to the estimate of `w·x`.
#[derive(Debug, Clone)]
pub(crate) struct SketchQuery {
    /// 16 values for each nibble, column by column, low nibble first: 32 bytes a column.
    pub(crate) tables: Vec<u8>,
    pub(crate) layout: Layout,
    /// The estimate of a row is `base + Δ₀·S₀ + Σ_g s_g·(Δ_g·S_g + offset_g)`, S the sums of the
    /// tables' values.
    pub(crate) base: f32,
    pub(crate) steps: [f32; 1 + SCALED],
    pub(crate) offsets: [f32; SCALED],
    /// `‖w_g‖/√(D_g-4)`
    spans: [f32; SCALED],
    /// `√n·Δ/√(2π)`: the tables' own rounding.
    rounding: [f32; 1 + SCALED],
    common: [f32; COMMON],
    norm: f32,
    /// What sums of f32 may be off by.
    inexact: f32,
    /// Deviations that a bound allows for.
    pub(crate) deviations: f32,
    slack: Slack,
}

/// What the captions' own queries add to every bound: nothing where `q` meets pixels and captions.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Slack {
    pub(crate) fixed: f32,
    /// For each unit of a row's spread.
    pub(crate) spread: f32,
}

/// Bounds of one block: `variance = fixed + Σ s_g²·scaled_g`, and what is added beyond.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BlockBounds {
    pub(crate) fixed: f32,
    pub(crate) scaled: [f32; SCALED],
    pub(crate) beyond: f32,
}

impl SketchQuery {
    /// `w` are the query's coordinates, `base` its product with the centre.
    pub(crate) fn new(
        basis: &Basis,
        w: &[f32],
        base: f32,
        deviations: f32,
        slack: Slack,
        random: &mut ChaCha8Rng,
    ) -> Self {
        let layout = Layout::of(basis);
        let mut query = Self {
            tables: Vec::with_capacity(layout.codes() * 32),
            base,
            steps: [0.0; 1 + SCALED],
            offsets: [0.0; SCALED],
            spans: [0.0; SCALED],
            rounding: [0.0; 1 + SCALED],
            common: std::array::from_fn(|c| w[c].abs()),
            norm: norm(&w[COMMON..]),
            inexact: INEXACT * (norm(w) + slack.fixed + slack.spread),
            deviations,
            slack,
            layout,
        };
        let mut common = Vec::new();
        for (&w, &(low, high)) in w.iter().zip(&basis.common_range) {
            let step = w * (high - low) / 255.0;
            query.base += w * low;
            common.push(std::array::from_fn(|n| 16.0 * n as f32 * step));
            common.push(std::array::from_fn(|n| n as f32 * step));
        }
        query.base += query.add_group(0, common, random);
        for (g, group) in basis.groups.all().into_iter().enumerate() {
            let w = &w[group];
            query.offsets[g] = query.add_group(1 + g, tables(g, w), random);
            query.spans[g] = span(w);
        }
        query
    }

    /// Rounds a group's tables to 0..=127, with a random number added to each table before, and
    /// returns what a sum lacks after.
    // because: two nibbles of a byte are added before they are widened, and 254 still fits
    fn add_group(
        &mut self,
        group: usize,
        mut tables: Vec<[f32; 16]>,
        random: &mut ChaCha8Rng,
    ) -> f32 {
        tables.resize(2 * self.layout.columns[group], [0.0; 16]);
        let least = |t: &[f32; 16]| t.iter().copied().fold(f32::INFINITY, f32::min);
        let range = |t: &[f32; 16]| t.iter().copied().fold(f32::NEG_INFINITY, f32::max) - least(t);
        let step = tables.iter().map(range).fold(0.0, f32::max) / 127.0;
        let step = step.max(f32::MIN_POSITIVE);
        let mut offset = 0.0;
        for table in &tables {
            let (least, dither) = (least(table), random.random::<f32>());
            offset += least + step * (0.5 - dither);
            let rounded = table.iter().map(|x| ((x - least) / step + dither).min(127.0) as u8);
            self.tables.extend(rounded);
        }
        self.steps[group] = step;
        self.rounding[group] = step * (tables.len() as f32 / std::f32::consts::TAU).sqrt();
        offset
    }

    pub(crate) fn bounds(&self, head: &Head) -> BlockBounds {
        let square = |x: f32| x * x;
        let scaled = std::array::from_fn(|g| {
            let error = square(self.spans[g] * head.errors[g]);
            square(self.deviations) * (error + square(self.rounding[1 + g]))
        });
        let common: f32 = self.common.iter().zip(&head.common).map(|(w, e)| w * e).sum();
        BlockBounds {
            fixed: square(self.deviations * self.rounding[0]),
            scaled,
            beyond: common
                + self.norm * head.norm * SCALE_ROUNDING
                + self.inexact
                + self.slack.fixed
                + self.slack.spread * head.spread,
        }
    }
}

/// `‖w‖/√(D-4)`: the deviation, for an error of length one, of its product with a group of a query.
pub(crate) fn span(w: &[f32]) -> f32 {
    norm(w) / (w.len().saturating_sub(4).max(1) as f32).sqrt()
}

/// How many deviations a normal distribution exceeds with a chance of `p` at most, by
/// `Q(x) < exp(-x²/2)/(x·√(2π))`.
pub(crate) fn deviations(p: f64) -> f32 {
    let exceeds = |x: f64| (-x * x / 2.0).exp() / (x * std::f64::consts::TAU.sqrt()) > p;
    let (mut low, mut high) = (1.0, 40.0);
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        if exceeds(middle) { low = middle } else { high = middle }
    }
    high as f32
}

/// The value of each nibble of a group, before any scale.
fn tables(group: usize, w: &[f32]) -> Vec<[f32; 16]> {
    let nibble = |n: usize| n as u8;
    match group {
        0 => w.iter().map(|w| std::array::from_fn(|n| w * level(nibble(n), 16))).collect(),
        1 => w
            .chunks_exact(2)
            .map(|w| {
                std::array::from_fn(|n| {
                    w[0] * level(nibble(n) & 3, 4) + w[1] * level(nibble(n) >> 2, 4)
                })
            })
            .collect(),
        2 => w
            .chunks_exact(4)
            .map(|w| std::array::from_fn(|n| (0..4).map(|i| w[i] * sign(nibble(n), i)).sum()))
            .collect(),
        _ => w.chunks_exact(16).map(|w| std::array::from_fn(|n| w[n])).collect(),
    }
}
