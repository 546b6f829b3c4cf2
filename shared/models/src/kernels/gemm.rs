//! Matrix products `x·Wᵀ` with W packed once, and what follows the product done on each tile while
//! it is in the first cache: bias, activation, residual.
//!
//! W's rows lie in panels of one tile's width, each panel input by input, so that the innermost
//! loop reads both operands in order (Goto and van de Geijn, 2008, "Anatomy of high-performance
//! matrix multiplication").

use rayon::prelude::*;

use super::{
    elementwise::activate,
    simd::{Instructions, Kernel, Shared, Simd},
};
use crate::layers::Activation;

/// Rows of x that are worked on together stay in this much of the second cache.
const ROWS_BYTES: usize = 448 << 10;

/// Work that is worth a thread of its own, in multiply-adds.
const TASK: usize = 1 << 20;

/// The most rows and columns of a tile, of any instructions.
const TILE_ROWS: usize = 14;
const TILE_COLUMNS: usize = 32;

type Tile = [[f32; TILE_COLUMNS]; TILE_ROWS];

/// A matrix `[outputs, inputs]` in panels.
pub(crate) struct Packed {
    panels: Vec<f32>,
    inputs: usize,
    outputs: usize,
    instructions: Instructions,
}

/// What follows a product.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Then<'a> {
    /// One value for each output.
    pub(crate) bias: Option<&'a [f32]>,
    pub(crate) activation: Option<Activation>,
    /// Added last; laid out as the result.
    pub(crate) residual: Option<&'a [f32]>,
}

impl Packed {
    pub(crate) fn new(weight: &[f32], inputs: usize) -> Self {
        Self::for_instructions(weight, inputs, Instructions::detect())
    }

    fn for_instructions(weight: &[f32], inputs: usize, instructions: Instructions) -> Self {
        let outputs = weight.len() / inputs.max(1);
        let columns = instructions.columns();
        let mut panels = vec![0.0; outputs.div_ceil(columns) * columns * inputs];
        if inputs > 0 {
            panels
                .par_chunks_mut(columns * inputs)
                .zip(weight.par_chunks(columns * inputs))
                .for_each(|(panel, rows)| {
                    for (column, row) in rows.chunks_exact(inputs).enumerate() {
                        pack_column(panel, columns, column, row);
                    }
                });
        }
        Self { panels, inputs, outputs, instructions }
    }

    pub(crate) fn inputs(&self) -> usize {
        self.inputs
    }

    pub(crate) fn outputs(&self) -> usize {
        self.outputs
    }

    /// Outputs `from..from + len` of the product, `[rows, len]`; x is `[rows, inputs]`.
    pub(crate) fn multiply(&self, x: &[f32], from: usize, len: usize, then: Then<'_>) -> Vec<f32> {
        assert!(from + len <= self.outputs, "outputs {from}..{} of {}", from + len, self.outputs);
        let rows = x.len() / self.inputs.max(1);
        if rows == 0 || len == 0 {
            return Vec::new();
        }
        for (what, values, expected) in
            [("bias", then.bias, len), ("residual", then.residual, rows * len)]
        {
            if let Some(values) = values {
                assert_eq!(values.len(), expected, "values of the {what}");
            }
        }
        let mut out: Vec<f32> = Vec::with_capacity(rows * len);
        let shared = Shared(out.as_mut_ptr());
        let task = |rectangle: Rectangle| Multiply {
            packed: self,
            x,
            from,
            len,
            then,
            rectangle,
            out: shared,
        };
        let rectangles = self.rectangles(rows, from, len);
        if let [one] = rectangles[..] {
            self.instructions.dispatch(task(one));
        } else {
            let tasks: Vec<_> = rectangles.into_iter().map(task).collect();
            tasks.into_par_iter().for_each(|task| self.instructions.dispatch(task));
        }
        // SAFETY: the rectangles cover every row and every column of the result, so every value has
        // been written, within the capacity.
        unsafe { out.set_len(rows * len) };
        out
    }

    /// The result in pieces: panels first, so that neighbours in this order share them.
    fn rectangles(&self, rows: usize, from: usize, len: usize) -> Vec<Rectangle> {
        let columns = self.instructions.columns();
        let panels = from / columns..(from + len).div_ceil(columns);
        let threads = rayon::current_num_threads();
        let work = rows * self.inputs * panels.len() * columns;
        let pieces = (work / TASK).clamp(1, 4 * threads).min(panels.len());
        let rows_at_once = (ROWS_BYTES / (4 * self.inputs) / TILE_ROWS).max(1) * TILE_ROWS;
        let mut rectangles = Vec::new();
        for piece in 0..pieces {
            let at = |n: usize| panels.start + panels.len() * n / pieces;
            for top in (0..rows).step_by(rows_at_once) {
                rectangles.push(Rectangle {
                    panels: (at(piece), at(piece + 1)),
                    rows: (top, (top + rows_at_once).min(rows)),
                });
            }
        }
        rectangles
    }
}

impl std::fmt::Debug for Packed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Packed({} → {})", self.inputs, self.outputs)
    }
}

/// Writes one column of a panel: `panel[k·columns + column] = values[k]`.
#[inline(always)]
pub(super) fn pack_column(panel: &mut [f32], columns: usize, column: usize, values: &[f32]) {
    for (to, value) in panel.iter_mut().skip(column).step_by(columns).zip(values) {
        *to = *value;
    }
}

/// Panels and rows, each from the first to before the second.
#[derive(Debug, Clone, Copy)]
struct Rectangle {
    panels: (usize, usize),
    rows: (usize, usize),
}

struct Multiply<'a> {
    packed: &'a Packed,
    x: &'a [f32],
    from: usize,
    len: usize,
    then: Then<'a>,
    rectangle: Rectangle,
    out: Shared,
}

impl Kernel for Multiply<'_> {
    #[inline(always)]
    fn run<S: Simd>(self) {
        let Self { packed, x, from, len, then, rectangle, out } = self;
        let (inputs, columns) = (packed.inputs, 2 * S::LANES);
        let mut tile = empty_tile();
        for panel in rectangle.panels.0..rectangle.panels.1 {
            let values = &packed.panels[panel * columns * inputs..][..columns * inputs];
            // The columns of this panel that are wanted.
            let first = from.saturating_sub(panel * columns);
            let last = (from + len - panel * columns).min(columns);
            let column = panel * columns + first - from;
            let bias = then.bias.map(|bias| &bias[column..column + last - first]);
            let mut row = rectangle.rows.0;
            while row < rectangle.rows.1 {
                let rows = (rectangle.rows.1 - row).min(S::ROWS);
                multiply_tile::<S>(&x[row * inputs..], inputs, rows, values, inputs, &mut tile);
                for (n, tile_row) in tile.iter_mut().enumerate().take(rows) {
                    let values = &mut tile_row[first..last];
                    let at = (row + n) * len + column;
                    activate(values, bias, then.activation);
                    if let Some(residual) = then.residual {
                        let residual = &residual[at..at + values.len()];
                        values.iter_mut().zip(residual).for_each(|(y, r)| *y += r);
                    }
                    // SAFETY: row `row + n`, columns `column..` of the result, which is this
                    // rectangle's own; the capacity is rows·len.
                    unsafe {
                        std::ptr::copy_nonoverlapping(values.as_ptr(), out.0.add(at), values.len());
                    }
                }
                row += rows;
            }
        }
    }
}

/// `rows` rows of x, `stride` apart, times one panel of `inputs`: into the first rows of `tile`.
#[inline(always)]
pub(super) fn multiply_tile<S: Simd>(
    x: &[f32],
    stride: usize,
    rows: usize,
    panel: &[f32],
    inputs: usize,
    tile: &mut Tile,
) {
    assert!(x.len() >= (rows - 1) * stride + inputs, "x is too short");
    assert!(panel.len() >= inputs * 2 * S::LANES, "the panel is too short");
    assert!(rows <= S::ROWS && S::ROWS <= TILE_ROWS && 2 * S::LANES <= TILE_COLUMNS);
    macro_rules! by_rows {
        ($($rows:literal)*) => {
            match rows {
                // SAFETY: the lengths have been checked, and `S` is what the processor has.
                $($rows => unsafe {
                    accumulate::<S, $rows>(x.as_ptr(), stride, panel.as_ptr(), inputs, tile);
                })*
                _ => unreachable!("a tile has 1 to {TILE_ROWS} rows"),
            }
        };
    }
    by_rows!(1 2 3 4 5 6 7 8 9 10 11 12 13 14);
}

/// Safety: x is good for `(ROWS - 1)·stride + inputs` values, the panel for `inputs·2·LANES`, and the
/// processor has the instructions of `S`.
#[inline(always)]
unsafe fn accumulate<S: Simd, const ROWS: usize>(
    x: *const f32,
    stride: usize,
    panel: *const f32,
    inputs: usize,
    tile: &mut Tile,
) {
    // SAFETY: as this function is called; a row of the tile has room for two vectors.
    unsafe {
        let mut sums = [[S::splat(0.0); 2]; ROWS];
        for k in 0..inputs {
            let left = S::load(panel.add(k * 2 * S::LANES));
            let right = S::load(panel.add(k * 2 * S::LANES + S::LANES));
            for (row, sum) in sums.iter_mut().enumerate() {
                let value = S::splat(*x.add(row * stride + k));
                sum[0] = S::fma(value, left, sum[0]);
                sum[1] = S::fma(value, right, sum[1]);
            }
        }
        for (to, sum) in tile.iter_mut().zip(sums) {
            S::store(to.as_mut_ptr(), sum[0]);
            S::store(to.as_mut_ptr().add(S::LANES), sum[1]);
        }
    }
}

pub(super) fn empty_tile() -> Tile {
    [[0.0; TILE_COLUMNS]; TILE_ROWS]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(len: usize, seed: u32) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..len).map(|_| next()).collect()
    }

    /// In f64, one value at a time.
    fn expected(x: &[f32], weight: &[f32], inputs: usize, row: usize, output: usize) -> f64 {
        let (x, w) = (&x[row * inputs..][..inputs], &weight[output * inputs..][..inputs]);
        x.iter().zip(w).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum()
    }

    #[test]
    fn every_size_with_every_instruction() {
        for instructions in Instructions::available() {
            for (rows, inputs, outputs) in
                [(1, 1, 1), (3, 7, 5), (14, 64, 32), (15, 33, 33), (29, 130, 97), (200, 1100, 70)]
            {
                let (x, weight) = (values(rows * inputs, 1), values(outputs * inputs, 2));
                let (bias, residual) = (values(outputs, 3), values(rows * outputs, 4));
                let packed = Packed::for_instructions(&weight, inputs, instructions);
                let then = Then { bias: Some(&bias), activation: None, residual: Some(&residual) };
                let found = packed.multiply(&x, 0, outputs, then);
                assert_eq!(found.len(), rows * outputs);
                for (n, found) in found.iter().enumerate() {
                    let (row, output) = (n / outputs, n % outputs);
                    let wanted = expected(&x, &weight, inputs, row, output)
                        + f64::from(bias[output])
                        + f64::from(residual[n]);
                    let off = (f64::from(*found) - wanted).abs();
                    assert!(off < 1e-4, "{instructions:?} {rows}×{inputs}×{outputs} at {n}: {off}");
                }
            }
        }
    }

    #[test]
    fn some_of_the_outputs() {
        let (rows, inputs, outputs) = (5, 40, 100);
        let (x, weight) = (values(rows * inputs, 5), values(outputs * inputs, 6));
        for instructions in Instructions::available() {
            let packed = Packed::for_instructions(&weight, inputs, instructions);
            let all = packed.multiply(&x, 0, outputs, Then::default());
            for (from, len) in [(0, 100), (0, 1), (31, 2), (32, 32), (7, 90), (99, 1)] {
                let bias = values(len, 7);
                let then = Then { bias: Some(&bias), ..Then::default() };
                for (n, y) in packed.multiply(&x, from, len, then).iter().enumerate() {
                    assert_eq!(*y, all[n / len * outputs + from + n % len] + bias[n % len]);
                }
            }
        }
    }

    #[test]
    fn nothing_in_nothing_out() {
        let packed = Packed::new(&values(6, 8), 3);
        assert!(packed.multiply(&[], 0, 2, Then::default()).is_empty());
        assert!(packed.multiply(&[1.0; 3], 1, 0, Then::default()).is_empty());
    }
}
