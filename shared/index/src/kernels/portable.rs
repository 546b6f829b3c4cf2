//! The inner loops in plain Rust.

use super::Lookup;
use crate::sketch::BLOCK;

pub(super) struct Portable;

impl Lookup for Portable {
    #[inline(always)]
    unsafe fn sums(codes: *const u8, tables: *const u8, columns: usize) -> [u16; BLOCK] {
        // SAFETY: the caller says that so many are there.
        let (codes, tables) = unsafe {
            (
                std::slice::from_raw_parts(codes, columns * BLOCK),
                std::slice::from_raw_parts(tables, columns * 32),
            )
        };
        let mut sums = [0; BLOCK];
        for (codes, tables) in codes.chunks_exact(BLOCK).zip(tables.chunks_exact(32)) {
            for (sum, &code) in sums.iter_mut().zip(codes) {
                let (low, high) =
                    (tables[usize::from(code & 15)], tables[16 + usize::from(code >> 4)]);
                *sum += u16::from(low) + u16::from(high);
            }
        }
        sums
    }
}

pub(super) fn products<const N: usize>(nibbles: &[u8], weights: [&[i8]; N]) -> [i32; N] {
    weights.map(|weights| product(nibbles, weights))
}

fn product(nibbles: &[u8], weights: &[i8]) -> i32 {
    let steps = nibbles.chunks_exact(64).zip(weights.chunks_exact(128));
    steps
        .map(|(nibbles, weights)| {
            let (low, high) = weights.split_at(64);
            let pairs = nibbles.iter().zip(low.iter().zip(high));
            pairs
                .map(|(&nibbles, (&low, &high))| {
                    i32::from(nibbles & 15) * i32::from(low)
                        + i32::from(nibbles >> 4) * i32::from(high)
                })
                .sum::<i32>()
        })
        .sum()
}
