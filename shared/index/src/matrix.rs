//! Products of matrices of f32, whose rows lie one after the other.

use gemm::Parallelism;

/// A matrix, or its transpose.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rows<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Rows<'a> {
    pub(crate) fn of(values: &'a [f32], width: usize) -> Self {
        let rows = values.len() / width;
        assert_eq!(values.len(), rows * width);
        Self { values, rows, columns: width, row_stride: width, column_stride: 1 }
    }

    pub(crate) fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }
}

/// `a · b` on all threads.
pub(crate) fn product(a: Rows<'_>, b: Rows<'_>) -> Vec<f32> {
    let mut out = vec![0.0; a.rows * b.columns];
    let is_large = a.rows * a.columns * b.columns > 1 << 20;
    let parallelism = if is_large { Parallelism::Rayon(0) } else { Parallelism::None };
    multiply(parallelism, a, b, None, 1.0, &mut out);
    out
}

/// `out = a · b` on this thread.
pub(crate) fn multiply_alone(a: Rows<'_>, b: Rows<'_>, out: &mut [f32]) {
    multiply(Parallelism::None, a, b, None, 1.0, out);
}

/// `out -= a · b` on this thread.
pub(crate) fn subtract_product_alone(a: Rows<'_>, b: Rows<'_>, out: &mut [f32]) {
    multiply(Parallelism::None, a, b, Some(1.0), -1.0, out);
}

/// `out = kept · out + share · a · b`
fn multiply(
    parallelism: Parallelism,
    a: Rows<'_>,
    b: Rows<'_>,
    kept: Option<f32>,
    share: f32,
    out: &mut [f32],
) {
    let (m, k, n) = (a.rows, a.columns, b.columns);
    assert!(b.rows == k && out.len() == m * n);
    if m == 0 || n == 0 || k == 0 {
        return;
    }
    // SAFETY: `Rows::of` has seen that a matrix is as long as its shape, and the shapes fit together, as
    // asserted.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            n as isize,
            kept.is_some(),
            a.values.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.values.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            kept.unwrap_or_default(),
            share,
            false,
            false,
            false,
            parallelism,
        );
    }
}
