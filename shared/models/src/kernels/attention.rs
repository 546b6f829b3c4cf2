//! Scaled dot-product attention, a head of a picture or text at a time: its scores never leave the
//! second cache. Queries, keys and values are read where the projection left them, side by side.

use rayon::prelude::*;

use super::{
    elementwise::{folded, softmax_row},
    gemm::{empty_tile, multiply_tile, pack_column},
    simd::{Instructions, Kernel, Shared, Simd},
};

/// Queries that are worked on together.
const QUERIES: usize = 56;

/// Fewer queries than this meet the keys one by one: packing the keys would cost more.
const FEW: usize = 8;

/// Queries, keys or values of B rows of T tokens: head h of token t of row b is at
/// `(b·T + t)·stride + offset + h·d`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heads<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) tokens: usize,
    pub(crate) stride: usize,
    pub(crate) offset: usize,
}

/// Which keys a query sees.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Seen<'a> {
    All,
    /// Query t sees keys 0..=t.
    Causal,
    /// The queries of row b see the first `n[b]` keys.
    First(&'a [usize]),
}

impl Seen<'_> {
    /// How many keys query `t` of row `b` sees, of `keys`.
    pub(crate) fn of(self, b: usize, t: usize, keys: usize) -> usize {
        match self {
            Self::All => keys,
            Self::Causal => (t + 1).min(keys),
            Self::First(n) => n[b].min(keys),
        }
    }
}

/// B, H and d.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) batch: usize,
    pub(crate) heads: usize,
    pub(crate) width: usize,
}

/// `softmax(q·kᵀ·d^-½)·v`, shape `[B, Tq, H·d]`.
pub(crate) fn attention(
    query: Heads<'_>,
    key: Heads<'_>,
    value: Heads<'_>,
    shape: Shape,
    seen: Seen<'_>,
) -> Vec<f32> {
    for heads in [query, key, value] {
        let last = shape.batch * heads.tokens;
        let needed = (last.max(1) - 1) * heads.stride + heads.offset + shape.heads * shape.width;
        assert!(last == 0 || heads.values.len() >= needed, "too few values");
    }
    assert_eq!(key.tokens, value.tokens, "keys and values");
    let mut out = vec![0.0; shape.batch * query.tokens * shape.heads * shape.width];
    let shared = Shared(out.as_mut_ptr());
    let instructions = Instructions::detect();
    (0..shape.batch * shape.heads).into_par_iter().for_each(|n| {
        let (row, head) = (n / shape.heads, n % shape.heads);
        instructions.dispatch(Head { query, key, value, shape, seen, row, head, out: shared });
    });
    out
}

struct Head<'a> {
    query: Heads<'a>,
    key: Heads<'a>,
    value: Heads<'a>,
    shape: Shape,
    seen: Seen<'a>,
    row: usize,
    head: usize,
    out: Shared,
}

impl Head<'_> {
    /// The values of this head from token `t` on.
    #[inline(always)]
    fn from<'a>(&self, heads: Heads<'a>, t: usize) -> &'a [f32] {
        let at = (self.row * heads.tokens + t) * heads.stride + heads.offset;
        &heads.values[at + self.head * self.shape.width..]
    }

    /// One token's values of this head.
    #[inline(always)]
    fn token<'a>(&self, heads: Heads<'a>, t: usize) -> &'a [f32] {
        &self.from(heads, t)[..self.shape.width]
    }

    #[inline(always)]
    fn write(&self, t: usize, column: usize, values: &[f32]) {
        let width = self.shape.heads * self.shape.width;
        let at = (self.row * self.query.tokens + t) * width + self.head * self.shape.width + column;
        // SAFETY: token t of this row, columns of this head, which no other task writes.
        unsafe { std::ptr::copy_nonoverlapping(values.as_ptr(), self.out.0.add(at), values.len()) };
    }

    fn scale(&self) -> f32 {
        (self.shape.width as f32).powf(-0.5)
    }

    #[inline(always)]
    fn one_by_one(&self) {
        let (mut scores, mut sum) = (vec![0.0; self.key.tokens], vec![0.0; self.shape.width]);
        for t in 0..self.query.tokens {
            let query = self.token(self.query, t);
            let scores = &mut scores[..self.seen.of(self.row, t, self.key.tokens)];
            for (s, score) in scores.iter_mut().enumerate() {
                *score = dot(query, self.token(self.key, s));
            }
            softmax_row(scores, self.scale());
            sum.fill(0.0);
            for (s, weight) in scores.iter().enumerate() {
                let value = self.token(self.value, s);
                sum.iter_mut().zip(value).for_each(|(y, v)| *y += weight * v);
            }
            self.write(t, 0, &sum);
        }
    }

    #[inline(always)]
    fn in_tiles<S: Simd>(&self) {
        let (keys, width, columns) = (self.key.tokens, self.shape.width, 2 * S::LANES);
        let (key_panels, width_panels) = (keys.div_ceil(columns), width.div_ceil(columns));
        let mut key_panel = vec![0.0; key_panels * columns * width];
        let mut value_panel = vec![0.0; width_panels * columns * keys];
        for t in 0..keys {
            let panel = &mut key_panel[t / columns * columns * width..][..columns * width];
            pack_column(panel, columns, t % columns, self.token(self.key, t));
            let value = self.token(self.value, t);
            for (n, values) in value.chunks(columns).enumerate() {
                value_panel[(n * keys + t) * columns..][..values.len()].copy_from_slice(values);
            }
        }
        let padded = key_panels * columns;
        let mut scores = vec![0.0; QUERIES * padded];
        let mut tile = empty_tile();
        for first in (0..self.query.tokens).step_by(QUERIES) {
            let count = QUERIES.min(self.query.tokens - first);
            let query = self.from(self.query, first);
            for (n, panel) in key_panel.chunks_exact(columns * width).enumerate() {
                for row in (0..count).step_by(S::ROWS) {
                    let rows = S::ROWS.min(count - row);
                    let stride = self.query.stride;
                    multiply_tile::<S>(
                        &query[row * stride..],
                        stride,
                        rows,
                        panel,
                        width,
                        &mut tile,
                    );
                    for (r, values) in tile.iter().enumerate().take(rows) {
                        let at = (row + r) * padded + n * columns;
                        scores[at..at + columns].copy_from_slice(&values[..columns]);
                    }
                }
            }
            for (t, row) in scores.chunks_exact_mut(padded).enumerate().take(count) {
                let (seen, hidden) = row.split_at_mut(self.seen.of(self.row, first + t, keys));
                softmax_row(seen, self.scale());
                hidden.fill(0.0);
            }
            for (n, panel) in value_panel.chunks_exact(columns * keys).enumerate() {
                let wanted = columns.min(width - n * columns);
                for row in (0..count).step_by(S::ROWS) {
                    let rows = S::ROWS.min(count - row);
                    multiply_tile::<S>(
                        &scores[row * padded..],
                        padded,
                        rows,
                        panel,
                        keys,
                        &mut tile,
                    );
                    for (r, values) in tile.iter().enumerate().take(rows) {
                        self.write(first + row + r, n * columns, &values[..wanted]);
                    }
                }
            }
        }
    }
}

impl Kernel for Head<'_> {
    #[inline(always)]
    fn run<S: Simd>(self) {
        if self.key.tokens == 0 {
            return;
        }
        if self.query.tokens < FEW { self.one_by_one() } else { self.in_tiles::<S>() }
    }
}

#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 16];
    let (left, left_rest) = a.as_chunks::<16>();
    let (right, right_rest) = b.as_chunks::<16>();
    for (a, b) in left.iter().zip(right) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += a * b;
        }
    }
    for ((lane, a), b) in lanes.iter_mut().zip(left_rest).zip(right_rest) {
        *lane += a * b;
    }
    folded(&lanes, 0.0, |sum, x| sum + x)
}
