//! Chosen rows as plain words, one bit a row, read off the standard form of a roaring bitmap: half a
//! million of them in a tenth of a millisecond, where one row after the other takes several.
//!
//! The form is the RoaringFormatSpec's without runs: a cookie, the count of containers, the head of each
//! (its number, and how many of its 65,536 rows are chosen, less one), the place of each, and then the
//! containers themselves: words, or a list of the rows. Whole numbers are little-endian.

use roaring::RoaringBitmap;

/// Words of a container.
const WORDS: usize = 1 << 10;
/// Up to so many rows are a list.
const LIST: usize = 4_096;

/// Bit n of word b: row 64·b + n is among `rows`. Rows beyond `count` words are left out.
pub(crate) fn words_of(rows: &RoaringBitmap, count: usize) -> Vec<u64> {
    let mut words = vec![0; count.next_multiple_of(WORDS)];
    let bytes = bytes_of(rows.clone());
    let containers = number(&bytes[4..8]);
    let (heads, bytes) = bytes[8..].split_at(4 * containers);
    let (_places, mut left) = bytes.split_at(4 * containers);
    for head in heads.chunks_exact(4) {
        let (at, rows) = (number(&head[..2]), number(&head[2..]) + 1);
        let size = if rows > LIST { 8 * WORDS } else { 2 * rows };
        let (container, rest) = left.split_at(size);
        left = rest;
        // because: containers are in ascending order, so that all others lie beyond as well
        let Some(words) = words.get_mut(at * WORDS..(at + 1) * WORDS) else { break };
        read(container, rows, words);
    }
    words.truncate(count);
    words
}

fn bytes_of(mut rows: RoaringBitmap) -> Vec<u8> {
    rows.remove_run_compression();
    let mut bytes = Vec::with_capacity(rows.serialized_size());
    // because: writing to memory fails only where there is none, which ends the process before
    rows.serialize_into(&mut bytes).unwrap_or_else(|e| unreachable!("a Vec took no bytes: {e}"));
    bytes
}

/// Reads a container with so many rows.
fn read(container: &[u8], rows: usize, words: &mut [u64]) {
    if rows > LIST {
        let held = container.as_chunks().0;
        words.iter_mut().zip(held).for_each(|(word, &held)| *word = u64::from_le_bytes(held));
    } else {
        let rows = container.chunks_exact(2).map(number);
        rows.for_each(|row| words[row / 64] |= 1 << (row % 64));
    }
}

fn number(bytes: &[u8]) -> usize {
    bytes.iter().rev().fold(0, |number, &byte| number << 8 | usize::from(byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Rows of one container or of some far apart: few, many, or without gaps.
    fn rows() -> impl Strategy<Value = RoaringBitmap> {
        let part = (0_u32..5, 0_u32..65_536, 1_u32..40_000, 1_usize..30, any::<bool>());
        prop::collection::vec(part, 0..6).prop_map(|parts| {
            let mut rows = RoaringBitmap::new();
            for (container, first, count, step, in_runs) in parts {
                let first = (container * 3) << 16 | first;
                rows.extend((first..first + count).step_by(step));
                if in_runs {
                    rows.optimize();
                }
            }
            rows
        })
    }

    proptest! {
        #[test]
        fn words_hold_the_rows_of_the_bitmap(rows in rows(), count in 0_usize..15_000) {
            let words = words_of(&rows, count);
            prop_assert_eq!(words.len(), count);
            let set = |row: usize| words[row / 64] >> (row % 64) & 1 == 1;
            let found: Vec<u32> = (0..64 * count as u32).filter(|&row| set(row as usize)).collect();
            let expected: Vec<u32> = rows.iter().take_while(|&row| row < 64 * count as u32).collect();
            prop_assert!(found == expected);
        }
    }
}
