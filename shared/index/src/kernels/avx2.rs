//! The inner loops in AVX2.

use std::arch::x86_64::*;

use super::{Estimates, Lookup, hadamard::LANES};
use crate::{
    basis::Basis,
    nibbles::Coded,
    sketch::{BLOCK, Sketch, SketchQuery},
};

struct Avx2;

impl Lookup for Avx2 {
    #[inline(always)]
    unsafe fn sums(codes: *const u8, tables: *const u8, columns: usize) -> [u16; BLOCK] {
        let mut sums = [0; BLOCK];
        // SAFETY: the caller says that the processor has these and that so many codes are there.
        unsafe {
            sums_of_32(codes, tables, columns, sums.as_mut_ptr());
            sums_of_32(codes.add(32), tables, columns, sums.as_mut_ptr().add(32));
        }
        sums
    }
}

#[inline]
#[target_feature(enable = "avx2")]
unsafe fn sums_of_32(codes: *const u8, tables: *const u8, columns: usize, sums: *mut u16) {
    let low_nibbles = _mm256_set1_epi8(15);
    let (mut all, mut odd) = (_mm256_setzero_si256(), _mm256_setzero_si256());
    for column in 0..columns {
        // SAFETY: 64 codes and 32 table values for each column.
        let (codes, low, high) = unsafe {
            (
                _mm256_loadu_si256(codes.add(column * BLOCK).cast()),
                _mm256_broadcastsi128_si256(_mm_loadu_si128(tables.add(column * 32).cast())),
                _mm256_broadcastsi128_si256(_mm_loadu_si128(tables.add(column * 32 + 16).cast())),
            )
        };
        let low = _mm256_shuffle_epi8(low, _mm256_and_si256(codes, low_nibbles));
        let shifted = _mm256_and_si256(_mm256_srli_epi16::<4>(codes), low_nibbles);
        let both = _mm256_add_epi8(low, _mm256_shuffle_epi8(high, shifted));
        all = _mm256_add_epi16(all, both);
        odd = _mm256_add_epi16(odd, _mm256_srli_epi16::<8>(both));
    }
    // because: `all` counts the odd rows 256 times
    let even = _mm256_sub_epi16(all, _mm256_slli_epi16::<8>(odd));
    let (first, second) = (_mm256_unpacklo_epi16(even, odd), _mm256_unpackhi_epi16(even, odd));
    // SAFETY: the caller's pointer is good for 32 sums.
    unsafe {
        _mm256_storeu_si256(sums.cast(), _mm256_permute2x128_si256::<0x20>(first, second));
        _mm256_storeu_si256(sums.add(16).cast(), _mm256_permute2x128_si256::<0x31>(first, second));
    }
}

#[target_feature(enable = "avx2")]
pub(super) fn estimate(query: &SketchQuery, block: &[u8], floor: f32, estimates: &mut Estimates) {
    super::estimate::<Avx2>(query, block, floor, estimates);
}

#[target_feature(enable = "avx2")]
pub(super) fn scramble(signs: &[f32], row: &mut [f32]) {
    super::hadamard::scramble(signs, row, |x| butterflies(x));
}

#[inline]
#[target_feature(enable = "avx2")]
fn butterflies(x: [f32; LANES]) -> [f32; LANES] {
    let within = |x: __m256| {
        let [four, two, one] = [0xF0, 0xCC, 0xAA].map(|lanes: i32| {
            let lane = |i: i32| if lanes >> i & 1 == 1 { -0.0 } else { 0.0 };
            _mm256_setr_ps(lane(0), lane(1), lane(2), lane(3), lane(4), lane(5), lane(6), lane(7))
        });
        let x = _mm256_add_ps(_mm256_permute2f128_ps::<1>(x, x), _mm256_xor_ps(x, four));
        let x = _mm256_add_ps(_mm256_permute_ps::<0b01_00_11_10>(x), _mm256_xor_ps(x, two));
        _mm256_add_ps(_mm256_permute_ps::<0b10_11_00_01>(x), _mm256_xor_ps(x, one))
    };
    // SAFETY: eight f32 are read each time.
    let (low, high) =
        unsafe { (_mm256_loadu_ps(x.as_ptr()), _mm256_loadu_ps(x[LANES / 2..].as_ptr())) };
    let mut y = [0.0; LANES];
    let (first, second) = y.split_at_mut(LANES / 2);
    // SAFETY: eight f32 are written each time.
    unsafe {
        _mm256_storeu_ps(first.as_mut_ptr(), within(_mm256_add_ps(low, high)));
        _mm256_storeu_ps(second.as_mut_ptr(), within(_mm256_sub_ps(low, high)));
    }
    y
}

#[target_feature(enable = "avx2")]
pub(super) fn code(basis: &Basis, y: &[f32], spread: f32) -> (Sketch, Coded) {
    super::code(basis, y, spread)
}

#[target_feature(enable = "avx2")]
pub(super) fn products<const N: usize>(nibbles: &[u8], weights: [&[i8]; N]) -> [i32; N] {
    let low_nibbles = _mm256_set1_epi8(15);
    let ones = _mm256_set1_epi16(1);
    let mut sums = [_mm256_setzero_si256(); N];
    for (half, nibbles) in nibbles.chunks_exact(32).enumerate() {
        // SAFETY: 32 nibble pairs.
        let nibbles = unsafe { _mm256_loadu_si256(nibbles.as_ptr().cast()) };
        let low = _mm256_and_si256(nibbles, low_nibbles);
        let high = _mm256_and_si256(_mm256_srli_epi16::<4>(nibbles), low_nibbles);
        for (sum, weights) in sums.iter_mut().zip(weights) {
            let weights = &weights[128 * (half / 2) + 32 * (half % 2)..][..96];
            // SAFETY: 32 weights from either end.
            let (of_low, of_high) = unsafe {
                (
                    _mm256_loadu_si256(weights.as_ptr().cast()),
                    _mm256_loadu_si256(weights.as_ptr().add(64).cast()),
                )
            };
            // because: four products of 15 and 127 are far from what 16 bits hold
            let both = _mm256_add_epi16(
                _mm256_maddubs_epi16(low, of_low),
                _mm256_maddubs_epi16(high, of_high),
            );
            *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(both, ones));
        }
    }
    sums.map(|sum| {
        let mut lanes = [0_i32; 8];
        // SAFETY: eight lanes of 32 bits.
        unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), sum) };
        lanes.iter().sum()
    })
}
