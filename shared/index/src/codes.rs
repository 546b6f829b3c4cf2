//! The codes of all rows: sketches in blocks, nibbles row by row, in segments that never move.

use std::{
    io::{self, Read},
    ops::Range,
    sync::Arc,
};

use memmap2::MmapMut;

use crate::{
    IndexError,
    basis::Basis,
    kernels::{Instructions, prefetch},
    memory::{self, Anonymous, populate},
    nibbles::{self, Coded, Facts},
    sketch::{BLOCK, Layout, Sketch},
};

/// Rows of a segment.
// because: some 70 MB at d = 512, little enough to be written to disk at once
pub(crate) const SEGMENT: usize = 1 << 16;

/// Rows whose codes are written to disk and read from there at once.
// because: a few milliseconds of copying, for which changes can wait
const PAGE: usize = 1 << 12;

/// Bytes that a row's facts have before its upper nibbles: a cache line.
const FACTS: usize = size_of::<Facts>().next_multiple_of(64);

/// Rows that one thread codes together.
// because: so many make up for reading all directions, and at d = 512 they and their coordinates
// are still in the caches
pub(crate) const BATCH: usize = 128;

#[derive(Debug)]
pub(crate) struct Codes {
    pub(crate) basis: Arc<Basis>,
    pub(crate) layout: Layout,
    row_bytes: usize,
    segments: Vec<Segment>,
}

#[derive(Debug)]
struct Segment {
    sketches: MmapMut,
    /// Facts and upper nibbles, row by row.
    // because: what a bound reads comes from one place
    bounds: MmapMut,
    lower: MmapMut,
    /// How often rows were written.
    changes: u64,
}

/// One row, coded.
#[derive(Debug, Clone)]
pub(crate) struct RowCodes {
    sketch: Sketch,
    nibbles: Coded,
    /// See [`Basis::left`].
    pub(crate) left: f64,
}

impl RowCodes {
    /// Codes some rows, [`BATCH`] at most, on this thread: `tell` writes each row, zeros so far, and
    /// returns its spread.
    ///
    /// # Errors
    /// One of those of `tell`.
    pub(crate) fn of_batch<T>(
        basis: &Basis,
        batch: &[T],
        tell: impl Fn(&T, &mut [f32]) -> Result<f32, IndexError>,
    ) -> Result<Vec<Self>, IndexError> {
        let mut x = vec![0.0; batch.len() * basis.width];
        let told = batch.iter().zip(x.chunks_exact_mut(basis.width));
        let spreads = told.map(|(row, x)| tell(row, x)).collect::<Result<Vec<_>, _>>()?;
        basis.place(&mut x);
        let instructions = Instructions::detect();
        let coded = x.chunks_exact(basis.width).zip(spreads).map(|(y, spread)| {
            let (sketch, nibbles) = instructions.code(basis, y, spread);
            Self { sketch, nibbles, left: basis.left(y) }
        });
        Ok(coded.collect())
    }
}

impl Codes {
    pub(crate) fn new(basis: Arc<Basis>) -> Self {
        let (layout, row_bytes) = (Layout::of(&basis), nibbles::row_bytes(&basis));
        Self { basis, layout, row_bytes, segments: Vec::new() }
    }

    /// Makes room for so many rows.
    pub(crate) fn reserve(&mut self, rows: usize) -> Result<(), IndexError> {
        while self.segments.len() * SEGMENT < rows {
            self.segments.push(Segment::new(&self.layout, self.row_bytes)?);
        }
        Ok(())
    }

    /// Has pages found for the codes of rows; those of a segment that is not there yet are left out.
    pub(crate) fn populate(&self, rows: Range<usize>) {
        for (n, segment) in self.segments.iter().enumerate().skip(rows.start / SEGMENT) {
            let at = |row: usize| row.clamp(n * SEGMENT, (n + 1) * SEGMENT) - n * SEGMENT;
            segment.populate(at(rows.start)..at(rows.end), &self.layout, self.row_bytes);
        }
    }

    pub(crate) fn put(&mut self, row: u32, codes: &RowCodes) -> Result<(), IndexError> {
        self.reserve(row as usize + 1)?;
        let (segment, row) = (row as usize / SEGMENT, row as usize % SEGMENT);
        let bound_bytes = self.bound_bytes();
        let segment = &mut self.segments[segment];
        segment.changes += 1;
        let block = &mut segment.sketches[row / BLOCK * self.layout.stride..][..self.layout.stride];
        self.layout.write(block, row % BLOCK, &codes.sketch);
        let Coded { facts, upper, lower } = &codes.nibbles;
        let bounds = &mut segment.bounds[row * bound_bytes..][..bound_bytes];
        bounds[..size_of::<Facts>()].copy_from_slice(bytemuck::bytes_of(facts));
        bounds[FACTS..].copy_from_slice(upper);
        segment.lower[row * self.row_bytes..][..self.row_bytes].copy_from_slice(lower);
        Ok(())
    }

    /// The sketches of 64 rows.
    pub(crate) fn block(&self, block: usize) -> &[u8] {
        let (segment, block) = (block / (SEGMENT / BLOCK), block % (SEGMENT / BLOCK));
        &self.segments[segment].sketches[block * self.layout.stride..][..self.layout.stride]
    }

    /// What belongs to a row's nibbles, and the upper ones.
    pub(crate) fn bounds(&self, row: u32) -> (&Facts, &[u8]) {
        let (facts, upper) = self.bounds_of(row).split_at(FACTS);
        (bytemuck::from_bytes(&facts[..size_of::<Facts>()]), upper)
    }

    /// Has what [`Self::bounds`] gives fetched ahead.
    pub(crate) fn prefetch(&self, row: u32) {
        prefetch(self.bounds_of(row));
    }

    fn bounds_of(&self, row: u32) -> &[u8] {
        let (segment, row) = (row as usize / SEGMENT, row as usize % SEGMENT);
        &self.segments[segment].bounds[row * self.bound_bytes()..][..self.bound_bytes()]
    }

    fn bound_bytes(&self) -> usize {
        FACTS + self.row_bytes
    }

    pub(crate) fn lower(&self, row: u32) -> &[u8] {
        let (segment, row) = (row as usize / SEGMENT, row as usize % SEGMENT);
        &self.segments[segment].lower[row * self.row_bytes..][..self.row_bytes]
    }

    /// Bytes of a row's sketch.
    pub(crate) fn sketch_bytes(&self) -> f64 {
        self.layout.stride as f64 / BLOCK as f64
    }

    /// Bytes of all codes of a row.
    pub(crate) fn bytes(&self) -> f64 {
        self.sketch_bytes() + (self.bound_bytes() + self.row_bytes) as f64
    }
}

impl Codes {
    /// How often the rows of each segment were written.
    pub(crate) fn changes(&self) -> Vec<u64> {
        self.segments.iter().map(|segment| segment.changes).collect()
    }

    /// The pages of a segment's first `rows` rows, each as a range of whole blocks.
    pub(crate) fn pages(rows: usize) -> impl Iterator<Item = Range<usize>> {
        let end = rows.next_multiple_of(BLOCK);
        (0..end).step_by(PAGE).map(move |start| start..(start + PAGE).min(end))
    }

    /// Appends what a segment holds of a page.
    pub(crate) fn write_page(&self, segment: usize, page: &Range<usize>, out: &mut Vec<u8>) {
        let Segment { sketches, bounds, lower, .. } = &self.segments[segment];
        let areas = [sketches, bounds, lower].into_iter().zip(self.areas(page));
        areas.for_each(|(area, range)| out.extend_from_slice(&area[range]));
    }

    /// Takes over what [`Self::write_page`] wrote.
    pub(crate) fn read_page(
        &mut self,
        segment: usize,
        page: &Range<usize>,
        from: &mut dyn Read,
    ) -> io::Result<()> {
        let ranges = self.areas(page);
        let Segment { sketches, bounds, lower, .. } = &mut self.segments[segment];
        let mut areas = [sketches, bounds, lower].into_iter().zip(ranges);
        areas.try_for_each(|(area, range)| from.read_exact(&mut area[range]))
    }

    /// Bytes of a page in each of a segment's areas.
    fn areas(&self, page: &Range<usize>) -> [Range<usize>; 3] {
        let blocks = page.start / BLOCK..page.end / BLOCK;
        let of = |rows: &Range<usize>, bytes: usize| rows.start * bytes..rows.end * bytes;
        [of(&blocks, self.layout.stride), of(page, self.bound_bytes()), of(page, self.row_bytes)]
    }
}

impl Segment {
    fn new(layout: &Layout, row_bytes: usize) -> Result<Self, IndexError> {
        let allocate = |bytes| memory::allocate(&Anonymous, 0, bytes);
        Ok(Self {
            sketches: allocate(SEGMENT / BLOCK * layout.stride)?,
            bounds: allocate(SEGMENT * (FACTS + row_bytes))?,
            lower: allocate(SEGMENT * row_bytes)?,
            changes: 0,
        })
    }

    fn populate(&self, rows: Range<usize>, layout: &Layout, row_bytes: usize) {
        let of = |bytes: usize| rows.start * bytes..rows.end * bytes;
        let blocks = rows.start / BLOCK..rows.end.div_ceil(BLOCK);
        populate(&self.sketches, blocks.start * layout.stride..blocks.end * layout.stride);
        populate(&self.bounds, of(FACTS + row_bytes));
        populate(&self.lower, of(row_bytes));
    }
}
