//! Rows by number: buckets of neighbouring numbers, each with the bitmap of its rows, and the
//! numbers of each row.
//!
//! A range is the union of the buckets that lie within it, and of those rows of the two buckets at
//! its ends whose numbers do: its cost follows the rows found, not the rows held. A row comes and
//! goes at the cost of one bitmap. `ranges_of_a_million_rows` measures it beside a sorted list, which is
//! slow where many rows match, and a scan, which is as slow where few do. A bit-sliced index, measured
//! so as well, took two to ten times as long and four times as long to fill.

use std::collections::{BTreeMap, HashMap};

use roaring::{MultiOps, RoaringBitmap};

use super::{bitmap_bytes, place};

#[derive(Debug, Clone)]
pub(super) struct Numbers {
    /// Rows that have a number.
    rows: RoaringBitmap,
    /// The first number of each of `rows`, by the row's upper and lower 16 bits.
    first: Vec<Vec<u64>>,
    /// The numbers after the first, of rows that have more.
    more: HashMap<u32, Vec<u64>>,
    /// The rows with a number from this one up to the next bucket's. The first one begins at 0.
    buckets: BTreeMap<u64, RoaringBitmap>,
    /// Rows that a bucket may have in any case.
    bucket: u64,
}

/// A bucket is split when it has more rows than this,
// because: with fewer, the bitmaps' own fields would outweigh the rows
const BUCKET: u64 = 4_096;
/// and more than one in so many of all rows.
// because: a few hundred buckets keep the ends of a range small, and the bitmaps large
const SHARE: u64 = 128;

impl Default for Numbers {
    fn default() -> Self {
        Self::in_buckets_of(BUCKET)
    }
}

impl Numbers {
    fn in_buckets_of(bucket: u64) -> Self {
        Self {
            rows: RoaringBitmap::new(),
            first: Vec::new(),
            more: HashMap::new(),
            buckets: BTreeMap::from([(0, RoaringBitmap::new())]),
            bucket,
        }
    }

    /// Puts in the numbers of a row that has none.
    pub(super) fn insert(&mut self, row: u32, numbers: impl Iterator<Item = u64>) {
        for number in numbers {
            if self.rows.insert(row) {
                let (page, place) = place(row);
                if self.first.len() <= page {
                    self.first.resize(page + 1, Vec::new());
                }
                let page = &mut self.first[page];
                if page.len() <= place {
                    page.resize(place + 1, 0);
                }
                page[place] = number;
            } else {
                self.more.entry(row).or_default().push(number);
            }
            self.put(row, number);
        }
    }

    fn put(&mut self, row: u32, number: u64) {
        let Some((&low, rows)) = self.buckets.range_mut(..=number).next_back() else { return };
        rows.insert(row);
        if rows.len() > self.bucket.max(self.rows.len() / SHARE) {
            self.split(low);
        }
    }

    pub(super) fn remove(&mut self, row: u32) {
        for number in self.of_row(row).collect::<Vec<_>>() {
            let Some((&low, rows)) = self.buckets.range_mut(..=number).next_back() else {
                continue;
            };
            rows.remove(row);
            if rows.is_empty() && low > 0 {
                self.buckets.remove(&low);
            }
        }
        self.rows.remove(row);
        self.more.remove(&row);
    }

    /// The numbers of the row, in the order in which they came.
    pub(super) fn of_row(&self, row: u32) -> impl Iterator<Item = u64> + '_ {
        let (page, place) = place(row);
        let first = self.rows.contains(row).then(|| self.first[page][place]);
        first.into_iter().chain(self.more.get(&row).into_iter().flatten().copied())
    }

    /// The last number of the bucket that begins at `low`.
    fn high(&self, low: u64) -> u64 {
        let next = self.buckets.range(low..).nth(1);
        next.map_or(u64::MAX, |(next, _)| next - 1)
    }

    /// Cuts a bucket in two halves, or, where all its numbers are one, down to that number, so that
    /// it is never split again.
    fn split(&mut self, low: u64) {
        let high = self.high(low);
        let Some(rows) = self.buckets.get(&low).filter(|_| low < high) else { return };
        let within = |number: &u64| (low..=high).contains(number);
        let mut numbers: Vec<u64> =
            rows.iter().flat_map(|row| self.of_row(row).filter(within)).collect();
        numbers.sort_unstable();
        let (least, middle) = (numbers[0], numbers[numbers.len() / 2]);
        let cut = numbers.iter().find(|&&number| number >= middle && number > least);
        match cut {
            Some(&cut) => self.cut(low, high, cut),
            None => {
                if least > low {
                    self.cut(low, high, least);
                }
                if least < high {
                    self.cut(least, high, least + 1);
                }
            }
        }
    }

    /// Makes a bucket of what is from `cut` on in the bucket of `low..=high`.
    fn cut(&mut self, low: u64, high: u64, cut: u64) {
        let Some(rows) = self.buckets.remove(&low) else { return };
        let has = |row: &u32, from: u64, to: u64| {
            self.of_row(*row).any(|number| (from..=to).contains(&number))
        };
        let below = rows.iter().filter(|row| has(row, low, cut - 1)).collect();
        let above = rows.iter().filter(|row| has(row, cut, high)).collect();
        self.buckets.insert(low, below);
        self.buckets.insert(cut, above);
    }

    pub(super) fn rows(&self) -> RoaringBitmap {
        self.rows.clone()
    }

    /// The rows that have a number in one of the ranges, whose ends belong to them.
    pub(super) fn within(&self, mut ranges: Vec<(u64, u64)>) -> RoaringBitmap {
        ranges.sort_unstable();
        ranges.dedup_by(|next, held| {
            let joined = next.0 <= held.1.saturating_add(1);
            if joined {
                held.1 = held.1.max(next.1);
            }
            joined
        });
        let (mut whole, mut rest, mut picked) = (Vec::new(), Vec::new(), RoaringBitmap::new());
        let mut highs = self.buckets.keys().skip(1).map(|next| next - 1).chain([u64::MAX]);
        for ((&low, rows), high) in self.buckets.iter().zip(&mut highs) {
            let first = ranges.partition_point(|&(_, to)| to < low);
            let met = &ranges[first..first + ranges[first..].partition_point(|r| r.0 <= high)];
            if met.first().is_some_and(|&(from, to)| from <= low && high <= to) {
                whole.push(rows);
                continue;
            }
            rest.push(rows);
            if !met.is_empty() {
                let is_met = |number: u64| {
                    let first = met.partition_point(|&(_, to)| to < number);
                    met.get(first).is_some_and(|&(from, _)| from <= number)
                };
                picked.extend(rows.iter().filter(|&row| self.of_row(row).any(is_met)));
            }
        }
        let many = whole.iter().map(|rows| rows.len()).sum::<u64>() > self.rows.len() / 2;
        // because: the fewer rows are the faster union; a row in two buckets is in neither's rest
        if many && self.more.is_empty() {
            return &self.rows - (rest.union() - picked);
        }
        whole.union() | picked
    }

    pub(super) fn bytes(&self) -> usize {
        let first = self.first.iter().map(|page| page.capacity() * size_of::<u64>() + 24);
        let more = self.more.values().map(|numbers| numbers.capacity() * size_of::<u64>() + 40);
        let buckets = self.buckets.values().map(|rows| bitmap_bytes(rows) + 16);
        first.sum::<usize>()
            + more.sum::<usize>()
            + buckets.sum::<usize>()
            + bitmap_bytes(&self.rows)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn number() -> impl Strategy<Value = u64> {
        let ends = prop::sample::select(vec![0, 1, 2, u64::MAX - 1, u64::MAX]);
        prop_oneof![ends, 0_u64..40, any::<u64>()]
    }

    proptest! {
        #[test]
        fn buckets_that_are_cut_and_emptied_hold_what_was_put_in(
            changes in prop::collection::vec(
                (0_u32..60, prop::collection::btree_set(number(), 0..4)), 0..200,
            ),
            single: bool,
            ranges in prop::collection::vec((number(), number()), 1..5),
        ) {
            let mut numbers = Numbers::in_buckets_of(3);
            let mut held: BTreeMap<u32, BTreeSet<u64>> = BTreeMap::new();
            for (row, mut of_row) in changes {
                // because: rows of one number each are found by another way
                if single {
                    of_row = of_row.into_iter().take(1).collect();
                }
                numbers.remove(row);
                numbers.insert(row, of_row.iter().copied());
                held.insert(row, of_row);
            }
            let ranges: Vec<_> = ranges.into_iter().map(|(a, b)| (a.min(b), a.max(b))).collect();
            let is_met = |of_row: &BTreeSet<u64>| {
                of_row.iter().any(|n| ranges.iter().any(|&(from, to)| (from..=to).contains(n)))
            };
            let met = held.iter().filter(|(_, of_row)| is_met(of_row));
            let expected: Vec<u32> = met.map(|(row, _)| *row).collect();
            prop_assert_eq!(numbers.within(ranges.clone()).iter().collect::<Vec<_>>(), expected);

            for (&low, rows) in &numbers.buckets {
                let within = |of_row: &BTreeSet<u64>| of_row.range(low..=numbers.high(low)).count() > 0;
                let lie_here = held.iter().filter(|(_, of_row)| within(of_row));
                prop_assert!(rows.iter().eq(lie_here.map(|(row, _)| *row)), "{} has {:?}", low, rows);
            }
            prop_assert_eq!(numbers.within(vec![(0, u64::MAX)]), numbers.rows());
        }
    }
}
