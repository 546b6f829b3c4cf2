//! The exact answers: every score in f64, whole blocks at a time.

use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;

/// Answers are known to this many images.
pub(crate) const DEPTH: usize = 50;

/// For each query the nearest images and their scores, best first.
#[derive(Debug, Clone)]
pub(crate) struct Truth {
    queries: Tensor,
    nearest: Vec<Vec<(f64, u32)>>,
}

impl Truth {
    /// `queries` are folded: `[(1-β)q; βq]`.
    pub(crate) fn new(queries: &[Vec<f32>]) -> anyhow::Result<Self> {
        let width = queries.first().map_or(0, Vec::len);
        let values = queries.concat();
        let queries_tensor = Tensor::from_vec(values, (queries.len(), width), &Device::Cpu)?;
        Ok(Self {
            queries: queries_tensor.to_dtype(DType::F64)?,
            nearest: vec![Vec::new(); queries.len()],
        })
    }

    /// Takes in the images `first..` with these rows `[N(v); t̄]`, those that are admitted.
    pub(crate) fn add(
        &mut self,
        first: usize,
        rows: &[f32],
        admitted: impl Fn(u32) -> bool + Sync,
    ) -> anyhow::Result<()> {
        let width = self.queries.dim(1)?;
        let rows = Tensor::from_slice(rows, (rows.len() / width, width), &Device::Cpu)?;
        let scores = self.queries.matmul(&rows.to_dtype(DType::F64)?.t()?)?.to_vec2::<f64>()?;
        self.nearest.par_iter_mut().zip(scores).for_each(|(nearest, scores)| {
            let bar = if nearest.len() < DEPTH { f64::NEG_INFINITY } else { nearest[DEPTH - 1].0 };
            let entered = (first as u32..).zip(scores).filter(|(_, score)| *score > bar);
            let entered = entered.filter(|(image, _)| admitted(*image));
            nearest.extend(entered.map(|(image, score)| (score, image)));
            nearest.sort_by(|a, b| b.0.total_cmp(&a.0));
            nearest.truncate(DEPTH);
        });
        Ok(())
    }

    /// The share of the true K nearest that `answers` name, over all queries.
    pub(crate) fn recall(&self, answers: &[Vec<u32>], k: usize) -> f64 {
        let found = self.nearest.iter().zip(answers).map(|(nearest, answer)| {
            let answer = &answer[..k.min(answer.len())];
            nearest.iter().take(k).filter(|(_, image)| answer.contains(image)).count()
        });
        let all: usize = self.nearest.iter().map(|nearest| nearest.len().min(k)).sum();
        found.sum::<usize>() as f64 / all as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_joined_and_what_is_not_admitted_is_left_out() {
        let rows: Vec<f32> = (0..200).flat_map(|n| [1.0, (n * 37 % 200) as f32]).collect();
        let mut truth = Truth::new(&[vec![0.0, 1.0], vec![0.0, -1.0]]).unwrap();
        truth.add(0, &rows[..200], |image| image % 2 == 0).unwrap();
        truth.add(100, &rows[200..], |image| image % 2 == 0).unwrap();
        // 37·n mod 200 is 198 at n = 54 and 196 at n = 108; it is 0 at n = 0 and 2 at n = 146.
        assert!((truth.recall(&[vec![54, 108], vec![0, 146]], 2) - 1.0).abs() < 1e-12);
        assert!((truth.recall(&[vec![54, 1], vec![2, 3]], 2) - 0.25).abs() < 1e-12);
    }
}
