//! Where the values of a tensor lie in a file, and reading them as f32.

use half::{bf16, f16};
use safetensors::Dtype;

/// Values of the largest tensor whose values may share places, 256 MiB as f32.
const LARGEST_EXPANSION: usize = 1 << 26;

/// Element `(i, j, …)` is the one with the number `i·strides[0] + j·strides[1] + …` after the byte
/// `start`. Made by `new` alone, so it never points outside the file.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<usize>,
    strides: Vec<usize>,
    start: usize,
    /// From the first to behind the last value.
    bytes: usize,
}

impl Layout {
    /// `data` is the range of bytes of the file that the values may lie in, `offset` the number of
    /// the first value in it. None if the values reach outside it.
    pub(super) fn new(
        dtype: Dtype,
        shape: Vec<usize>,
        strides: Vec<usize>,
        offset: usize,
        data: std::ops::Range<usize>,
    ) -> Option<Self> {
        let size = dtype.bitsize() / 8;
        let mut span = 1usize;
        let mut elements = 1usize;
        for (&length, &stride) in shape.iter().zip(&strides) {
            elements = elements.checked_mul(length)?;
            span = span.checked_add(length.saturating_sub(1).checked_mul(stride)?)?;
        }
        let span = if elements == 0 { 0 } else { span };
        // Values that share a place make a tensor larger than its file: a few, not all memory.
        if elements > span && elements > LARGEST_EXPANSION {
            return None;
        }
        let start = data.start.checked_add(offset.checked_mul(size)?)?;
        let bytes = span.checked_mul(size)?;
        let inside = strides.len() == shape.len() && start.checked_add(bytes)? <= data.end;
        inside.then_some(Self { dtype, shape, strides, start, bytes })
    }

    /// Row after row without a gap.
    pub(super) fn contiguous(
        dtype: Dtype,
        shape: Vec<usize>,
        data: std::ops::Range<usize>,
    ) -> Option<Self> {
        let strides = row_major(&shape)?;
        Self::new(dtype, shape, strides, 0, data)
    }

    /// The values in row-major order; none if they are no floating-point numbers.
    pub(super) fn read(&self, file: &[u8]) -> Option<Vec<f32>> {
        let data = &file[self.start..self.start + self.bytes];
        match self.dtype {
            Dtype::F32 => Some(self.gather(data, f32::from_le_bytes)),
            Dtype::F16 => Some(self.gather(data, |bytes| f16::from_le_bytes(bytes).to_f32())),
            Dtype::BF16 => Some(self.gather(data, |bytes| bf16::from_le_bytes(bytes).to_f32())),
            Dtype::F64 => Some(self.gather(data, |bytes| f64::from_le_bytes(bytes) as f32)),
            _ => None,
        }
    }

    fn gather<const SIZE: usize>(
        &self,
        data: &[u8],
        value: impl Fn([u8; SIZE]) -> f32,
    ) -> Vec<f32> {
        let (stored, _) = data.as_chunks::<SIZE>();
        if row_major(&self.shape).as_ref() == Some(&self.strides) {
            return stored.iter().map(|bytes| value(*bytes)).collect();
        }
        let mut numbers = vec![0];
        for (&length, &stride) in self.shape.iter().zip(&self.strides) {
            let along = |number: &usize| {
                let number = *number;
                (0..length).map(move |index| number + index * stride)
            };
            numbers = numbers.iter().flat_map(along).collect();
        }
        numbers.into_iter().map(|number| value(stored[number])).collect()
    }
}

fn row_major(shape: &[usize]) -> Option<Vec<usize>> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = shape[axis].checked_mul(strides[axis])?;
    }
    Some(strides)
}
