//! The inner loops in AVX-512 (BW, VL, DQ, VNNI), and the look-up of nibbles with VBMI besides.

use std::arch::x86_64::*;

use super::{Estimates, Lookup, hadamard::LANES};
use crate::{
    basis::Basis,
    nibbles::Coded,
    sketch::{BLOCK, Sketch, SketchQuery},
};

/// Bytes of codes that are fetched ahead of those at hand.
// because: a scan waits for memory, of which the processor on its own asks too little in advance: with this,
// it took 0.6 of the time on one thread and 0.75 on two; 4 to 16 KiB did the same
const AHEAD: usize = 8 << 10;

struct Avx512;

impl Lookup for Avx512 {
    #[inline(always)]
    unsafe fn sums(codes: *const u8, tables: *const u8, columns: usize) -> [u16; BLOCK] {
        let mut sums = [0; BLOCK];
        // SAFETY: the caller says that the processor has these and that so many codes are there.
        unsafe { sums_by_shuffles(codes, tables, columns, sums.as_mut_ptr()) };
        sums
    }
}

struct Vbmi;

impl Lookup for Vbmi {
    #[inline(always)]
    unsafe fn sums(codes: *const u8, tables: *const u8, columns: usize) -> [u16; BLOCK] {
        let mut sums = [0; BLOCK];
        // SAFETY: the caller says that the processor has these and that so many codes are there.
        unsafe { sums_by_permutations(codes, tables, columns, sums.as_mut_ptr()) };
        sums
    }
}

/// The sums of 64 rows so far: all of them with the odd ones' 256-fold, and the odd ones.
type Sums = (__m512i, __m512i);

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn sums_by_shuffles(codes: *const u8, tables: *const u8, columns: usize, sums: *mut u16) {
    let low_nibbles = _mm512_set1_epi8(15);
    let mut so_far = (_mm512_setzero_si512(), _mm512_setzero_si512());
    for column in 0..columns {
        // SAFETY: the caller's.
        let (codes, low, high) = unsafe { at_column(codes, tables, column) };
        let low = _mm512_shuffle_epi8(low, _mm512_and_si512(codes, low_nibbles));
        let shifted = _mm512_and_si512(_mm512_srli_epi16::<4>(codes), low_nibbles);
        so_far = added(so_far, low, _mm512_shuffle_epi8(high, shifted));
    }
    // SAFETY: the caller's.
    unsafe { write(so_far, sums) };
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi")]
unsafe fn sums_by_permutations(
    codes: *const u8,
    tables: *const u8,
    columns: usize,
    sums: *mut u16,
) {
    let mut so_far = (_mm512_setzero_si512(), _mm512_setzero_si512());
    for column in 0..columns {
        // SAFETY: the caller's.
        let (codes, low, high) = unsafe { at_column(codes, tables, column) };
        // because: six bits of an index count, and tables that are there four times need but four of them
        let low = _mm512_permutexvar_epi8(codes, low);
        let high = _mm512_permutexvar_epi8(_mm512_srli_epi16::<4>(codes), high);
        so_far = added(so_far, low, high);
    }
    // SAFETY: the caller's.
    unsafe { write(so_far, sums) };
}

/// A column's codes, and its two tables four times each.
///
/// # Safety
/// There are 64 codes and 32 table values for each column.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn at_column(
    codes: *const u8,
    tables: *const u8,
    column: usize,
) -> (__m512i, __m512i, __m512i) {
    // SAFETY: a prefetch reads nothing, wherever it points; the caller's for the rest.
    unsafe {
        _mm_prefetch::<_MM_HINT_T0>(codes.wrapping_add(column * BLOCK + AHEAD).cast());
        (
            _mm512_loadu_si512(codes.add(column * BLOCK).cast()),
            _mm512_broadcast_i32x4(_mm_loadu_si128(tables.add(column * 32).cast())),
            _mm512_broadcast_i32x4(_mm_loadu_si128(tables.add(column * 32 + 16).cast())),
        )
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn added((all, odd): Sums, low: __m512i, high: __m512i) -> Sums {
    let both = _mm512_add_epi8(low, high);
    (_mm512_add_epi16(all, both), _mm512_add_epi16(odd, _mm512_srli_epi16::<8>(both)))
}

/// # Safety
/// There is room for 64 sums.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn write((all, odd): Sums, sums: *mut u16) {
    // because: `all` counts the odd rows 256 times
    let even = _mm512_sub_epi16(all, _mm512_slli_epi16::<8>(odd));
    let (first, second) = (_mm512_unpacklo_epi16(even, odd), _mm512_unpackhi_epi16(even, odd));
    let lower = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
    let upper = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
    // SAFETY: the caller's.
    unsafe {
        _mm512_storeu_si512(sums.cast(), _mm512_permutex2var_epi64(first, lower, second));
        _mm512_storeu_si512(sums.add(32).cast(), _mm512_permutex2var_epi64(first, upper, second));
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi")]
pub(super) fn estimate_with_vbmi(
    query: &SketchQuery,
    block: &[u8],
    floor: f32,
    estimates: &mut Estimates,
) {
    super::estimate::<Vbmi>(query, block, floor, estimates);
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(super) fn estimate(query: &SketchQuery, block: &[u8], floor: f32, estimates: &mut Estimates) {
    super::estimate::<Avx512>(query, block, floor, estimates);
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(super) fn scramble(signs: &[f32], row: &mut [f32]) {
    super::hadamard::scramble(signs, row, |x| butterflies(x));
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn butterflies(x: [f32; LANES]) -> [f32; LANES] {
    // SAFETY: sixteen f32 are read.
    let mut x = unsafe { _mm512_loadu_ps(x.as_ptr()) };
    let add = |swapped, x, minus| {
        _mm512_add_ps(swapped, _mm512_mask_xor_ps(x, minus, x, _mm512_set1_ps(-0.0)))
    };
    x = add(_mm512_shuffle_f32x4::<0b01_00_11_10>(x, x), x, 0xFF00);
    x = add(_mm512_shuffle_f32x4::<0b10_11_00_01>(x, x), x, 0xF0F0);
    x = add(_mm512_permute_ps::<0b01_00_11_10>(x), x, 0xCCCC);
    x = add(_mm512_permute_ps::<0b10_11_00_01>(x), x, 0xAAAA);
    let mut y = [0.0; LANES];
    // SAFETY: sixteen f32 are written.
    unsafe { _mm512_storeu_ps(y.as_mut_ptr(), x) };
    y
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(super) fn code(basis: &Basis, y: &[f32], spread: f32) -> (Sketch, Coded) {
    super::code(basis, y, spread)
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) fn products<const N: usize>(nibbles: &[u8], weights: [&[i8]; N]) -> [i32; N] {
    let low_nibbles = _mm512_set1_epi8(15);
    let mut sums = [[_mm512_setzero_si512(); 2]; N];
    for (step, nibbles) in nibbles.chunks_exact(64).enumerate() {
        // SAFETY: 64 nibble pairs.
        let nibbles = unsafe { _mm512_loadu_si512(nibbles.as_ptr().cast()) };
        let low = _mm512_and_si512(nibbles, low_nibbles);
        let high = _mm512_and_si512(_mm512_srli_epi16::<4>(nibbles), low_nibbles);
        for ([first, second], weights) in sums.iter_mut().zip(weights) {
            let weights = &weights[128 * step..][..128];
            // SAFETY: 128 weights.
            let (of_low, of_high) = unsafe {
                (
                    _mm512_loadu_si512(weights.as_ptr().cast()),
                    _mm512_loadu_si512(weights.as_ptr().add(64).cast()),
                )
            };
            *first = _mm512_dpbusd_epi32(*first, low, of_low);
            *second = _mm512_dpbusd_epi32(*second, high, of_high);
        }
    }
    sums.map(|[first, second]| _mm512_reduce_add_epi32(_mm512_add_epi32(first, second)))
}
