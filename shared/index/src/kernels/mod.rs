//! The inner loops, for the best instructions that the processor has: table look-ups over the
//! sketch, products of nibbles with bytes, and the turning and coding of rows.
//!
//! All give the same bits: the first two add whole numbers, what follows in f32 is the same source
//! compiled for each, and nothing is fused.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod hadamard;
mod portable;

use std::sync::OnceLock;

use crate::{
    basis::Basis,
    nibbles::Coded,
    sketch::{BLOCK, BlockBounds, SCALED, Sketch, SketchQuery, unpack},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Instructions {
    /// `Avx512`, and look-ups of bytes among more than sixteen.
    #[cfg(target_arch = "x86_64")]
    Vbmi,
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Portable,
}

/// What a block's sketches say of its rows: the estimated score, and what it is at most.
#[derive(Debug, Clone)]
pub(crate) struct Estimates {
    pub(crate) value: [f32; BLOCK],
    /// The square of what a score may lie above its value, but for `beyond`.
    pub(crate) square: [f32; BLOCK],
    pub(crate) beyond: f32,
    /// Bit n: row n may reach the floor.
    pub(crate) reach: u64,
}

impl Estimates {
    /// What the score of row n is at most.
    pub(crate) fn above(&self, n: usize) -> f32 {
        self.value[n] + self.square[n].sqrt() + self.beyond
    }
}

impl Default for Estimates {
    fn default() -> Self {
        Self { value: [0.0; BLOCK], square: [0.0; BLOCK], beyond: 0.0, reach: 0 }
    }
}

impl Instructions {
    /// The best of this processor.
    pub(crate) fn detect() -> Self {
        static FOUND: OnceLock<Instructions> = OnceLock::new();
        *FOUND.get_or_init(|| Self::available().first().copied().unwrap_or(Self::Portable))
    }

    /// Those of this processor, the best first.
    pub(crate) fn available() -> Vec<Self> {
        let mut found = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vnni")
            {
                if is_x86_feature_detected!("avx512vbmi") {
                    found.push(Self::Vbmi);
                }
                found.push(Self::Avx512);
            }
            if is_x86_feature_detected!("avx2") {
                found.push(Self::Avx2);
            }
        }
        found.push(Self::Portable);
        found
    }

    /// Estimates every row of a block.
    pub(crate) fn estimate(
        self,
        query: &SketchQuery,
        block: &[u8],
        floor: f32,
        estimates: &mut Estimates,
    ) {
        assert_eq!(block.len(), query.layout.stride);
        assert_eq!(query.tables.len(), query.layout.codes() * 32);
        match self {
            // SAFETY: `available` has seen the processor have them; the lengths are asserted.
            #[cfg(target_arch = "x86_64")]
            Self::Vbmi => unsafe { avx512::estimate_with_vbmi(query, block, floor, estimates) },
            // SAFETY: the same.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => unsafe { avx512::estimate(query, block, floor, estimates) },
            // SAFETY: the same.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { avx2::estimate(query, block, floor, estimates) },
            Self::Portable => estimate::<portable::Portable>(query, block, floor, estimates),
        }
    }

    /// Rounds of signs, each followed by a Walsh-Hadamard transform of the first coordinates, as many as
    /// the greatest power of two, and of the last as many, if that is not all.
    pub(crate) fn scramble(self, signs: &[f32], row: &mut [f32]) {
        match self {
            // SAFETY: `available` has seen the processor have them.
            #[cfg(target_arch = "x86_64")]
            Self::Vbmi | Self::Avx512 => unsafe { avx512::scramble(signs, row) },
            // SAFETY: the same.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { avx2::scramble(signs, row) },
            Self::Portable => hadamard::scramble(signs, row, hadamard::butterflies),
        }
    }

    /// Codes a row of coordinates, with its spread.
    pub(crate) fn code(self, basis: &Basis, y: &[f32], spread: f32) -> (Sketch, Coded) {
        match self {
            // SAFETY: `available` has seen the processor have them.
            #[cfg(target_arch = "x86_64")]
            Self::Vbmi | Self::Avx512 => unsafe { avx512::code(basis, y, spread) },
            // SAFETY: the same.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { avx2::code(basis, y, spread) },
            Self::Portable => code(basis, y, spread),
        }
    }

    /// `Σ nibble·weight` over a row's nibbles for each of some weights; see `nibbles` for their order.
    pub(crate) fn products<const N: usize>(self, nibbles: &[u8], weights: [&[i8]; N]) -> [i32; N] {
        assert!(nibbles.len().is_multiple_of(64));
        assert!(weights.iter().all(|weights| weights.len() == 2 * nibbles.len()));
        match self {
            // SAFETY: `available` has seen the processor have them; the lengths are asserted.
            #[cfg(target_arch = "x86_64")]
            Self::Vbmi | Self::Avx512 => unsafe { avx512::products(nibbles, weights) },
            // SAFETY: the same.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { avx2::products(nibbles, weights) },
            Self::Portable => portable::products(nibbles, weights),
        }
    }
}

/// Asks the processor to have these bytes at hand soon.
#[inline]
pub(crate) fn prefetch(bytes: &[u8]) {
    #[cfg(target_arch = "x86_64")]
    for byte in bytes.iter().step_by(64).chain(bytes.last()) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch reads nothing, and the address is valid.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(byte).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = bytes;
}

/// Adds up table values for the 64 rows of a block.
trait Lookup {
    /// # Safety
    /// The processor has the instructions; there are `columns` × 64 codes and × 32 table values.
    unsafe fn sums(codes: *const u8, tables: *const u8, columns: usize) -> [u16; BLOCK];
}

/// The same for every set of instructions; inlined into a function that is compiled for them.
#[inline(always)]
fn estimate<L: Lookup>(query: &SketchQuery, block: &[u8], floor: f32, estimates: &mut Estimates) {
    let (codes, scales, head) = query.layout.split(block);
    let bounds = query.bounds(head);
    let (mut codes, mut tables) = (codes.as_ptr(), query.tables.as_ptr());
    let mut sums = [[0_u16; BLOCK]; 1 + SCALED];
    for (sums, &columns) in sums.iter_mut().zip(&query.layout.columns) {
        // SAFETY: `Instructions::estimate` has asserted that the layout's columns are all there.
        unsafe {
            *sums = L::sums(codes, tables, columns);
            codes = codes.add(columns * BLOCK);
            tables = tables.add(columns * 32);
        }
    }
    estimates.beyond = bounds.beyond;
    estimates.reach = finish(query, &bounds, &sums, scales, floor - bounds.beyond, estimates);
}

/// As `estimate`: inlined, with all that it calls.
#[inline(always)]
fn code(basis: &Basis, y: &[f32], spread: f32) -> (Sketch, Coded) {
    (Sketch::of(basis, y, spread), Coded::of(basis, y, spread))
}

/// Says which rows may reach the floor, which is what `bounds` adds to all of them lower here.
// because: most rows do not, and a square takes a fraction of a root's time
#[inline(always)]
fn finish(
    query: &SketchQuery,
    bounds: &BlockBounds,
    sums: &[[u16; BLOCK]; 1 + SCALED],
    scales: &[u16],
    floor: f32,
    estimates: &mut Estimates,
) -> u64 {
    // because: so many f32 fill a vector, and all that is needed of them stays in registers
    const LANES: usize = 16;
    let values = estimates.value.as_chunks_mut::<LANES>().0.iter_mut();
    let squares = estimates.square.as_chunks_mut::<LANES>().0.iter_mut();
    let mut reach = 0;
    for (at, (values, squares)) in values.zip(squares).enumerate() {
        let lanes = |of: &[u16]| of.as_chunks::<LANES>().0[at];
        let sum = lanes(&sums[0]);
        let (mut value, mut square) = ([query.base; LANES], [bounds.fixed; LANES]);
        for i in 0..LANES {
            value[i] += query.steps[0] * f32::from(sum[i]);
        }
        for g in 0..SCALED {
            let (sum, scale) = (lanes(&sums[1 + g]), lanes(&scales[g * BLOCK..][..BLOCK]));
            let (step, offset, scaled) = (query.steps[1 + g], query.offsets[g], bounds.scaled[g]);
            for i in 0..LANES {
                let scale = unpack(scale[i]);
                value[i] += scale * (step * f32::from(sum[i]) + offset);
                square[i] += scale * scale * scaled;
            }
        }
        let mut reaching = 0_u16;
        for i in 0..LANES {
            let short = floor - value[i];
            // because: what is no number must not be passed over
            let falls_short = short > 0.0 && short * short > square[i];
            reaching |= u16::from(!falls_short) << i;
        }
        reach |= u64::from(reaching) << (at * LANES);
        (*values, *squares) = (value, square);
    }
    reach
}
