//! The inner loops in AVX-512 (BW, VL, DQ, VNNI).

use std::arch::x86_64::*;

use super::{Estimates, Lookup, hadamard::LANES};
use crate::{
    basis::Basis,
    nibbles::Coded,
    sketch::{BLOCK, Sketch, SketchQuery},
};

struct Avx512;

impl Lookup for Avx512 {
    #[inline(always)]
    unsafe fn sums(codes: *const u8, tables: *const u8, columns: usize) -> [u16; BLOCK] {
        let mut sums = [0; BLOCK];
        // SAFETY: the caller says that the processor has these and that so many codes are there.
        unsafe { sums_of_64(codes, tables, columns, sums.as_mut_ptr()) };
        sums
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn sums_of_64(codes: *const u8, tables: *const u8, columns: usize, sums: *mut u16) {
    let low_nibbles = _mm512_set1_epi8(15);
    let (mut all, mut odd) = (_mm512_setzero_si512(), _mm512_setzero_si512());
    for column in 0..columns {
        // SAFETY: 64 codes and 32 table values for each column.
        let (codes, low, high) = unsafe {
            (
                _mm512_loadu_si512(codes.add(column * BLOCK).cast()),
                _mm512_broadcast_i32x4(_mm_loadu_si128(tables.add(column * 32).cast())),
                _mm512_broadcast_i32x4(_mm_loadu_si128(tables.add(column * 32 + 16).cast())),
            )
        };
        let low = _mm512_shuffle_epi8(low, _mm512_and_si512(codes, low_nibbles));
        let shifted = _mm512_and_si512(_mm512_srli_epi16::<4>(codes), low_nibbles);
        let both = _mm512_add_epi8(low, _mm512_shuffle_epi8(high, shifted));
        all = _mm512_add_epi16(all, both);
        odd = _mm512_add_epi16(odd, _mm512_srli_epi16::<8>(both));
    }
    // because: `all` counts the odd rows 256 times
    let even = _mm512_sub_epi16(all, _mm512_slli_epi16::<8>(odd));
    let (first, second) = (_mm512_unpacklo_epi16(even, odd), _mm512_unpackhi_epi16(even, odd));
    let lower = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
    let upper = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
    // SAFETY: the caller's pointer is good for 64 sums.
    unsafe {
        _mm512_storeu_si512(sums.cast(), _mm512_permutex2var_epi64(first, lower, second));
        _mm512_storeu_si512(sums.add(32).cast(), _mm512_permutex2var_epi64(first, upper, second));
    }
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
pub(super) fn product(nibbles: &[u8], weights: &[i8]) -> i32 {
    let low_nibbles = _mm512_set1_epi8(15);
    let (mut first, mut second) = (_mm512_setzero_si512(), _mm512_setzero_si512());
    for (nibbles, weights) in nibbles.chunks_exact(64).zip(weights.chunks_exact(128)) {
        // SAFETY: 64 nibble pairs and 128 weights.
        let (nibbles, low, high) = unsafe {
            (
                _mm512_loadu_si512(nibbles.as_ptr().cast()),
                _mm512_loadu_si512(weights.as_ptr().cast()),
                _mm512_loadu_si512(weights.as_ptr().add(64).cast()),
            )
        };
        first = _mm512_dpbusd_epi32(first, _mm512_and_si512(nibbles, low_nibbles), low);
        let shifted = _mm512_and_si512(_mm512_srli_epi16::<4>(nibbles), low_nibbles);
        second = _mm512_dpbusd_epi32(second, shifted, high);
    }
    _mm512_reduce_add_epi32(_mm512_add_epi32(first, second))
}
