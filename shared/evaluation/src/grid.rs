//! The points of the (α, β) plane that are evaluated.

use weimocir_domain::{Alpha, Beta, WeightError};

use crate::error::EvaluationError;

/// Every α with every β. A cell's place is `α's place · number of β + β's place`.
#[derive(Debug, Clone, PartialEq)]
pub struct Grid {
    alphas: Vec<Alpha>,
    betas: Vec<Beta>,
}

/// Cells that a step of 0.01 makes on each side; because more would be gigabytes of ranks.
const MOST_STEPS: f64 = 100.0;

impl Grid {
    pub fn point(alpha: Alpha, beta: Beta) -> Self {
        Self { alphas: vec![alpha], betas: vec![beta] }
    }

    /// From 0 to 1 on both sides, both included.
    ///
    /// # Errors
    /// A step that does not divide 1, or makes more than 100 steps.
    pub fn sweep(step: f64) -> Result<Self, EvaluationError> {
        let steps = (1.0 / step).round();
        if !(1.0..=MOST_STEPS).contains(&steps) || (steps * step - 1.0).abs() > 1e-6 {
            return Err(EvaluationError::Step { step });
        }
        let weight = |n: u32| (f64::from(n) / steps) as f32;
        let weights = || (0..=steps as u32).map(weight);
        let all = |_: WeightError| EvaluationError::Step { step };
        Ok(Self {
            alphas: weights().map(Alpha::new).collect::<Result<_, _>>().map_err(all)?,
            betas: weights().map(Beta::new).collect::<Result<_, _>>().map_err(all)?,
        })
    }

    pub fn alphas(&self) -> &[Alpha] {
        &self.alphas
    }

    pub fn betas(&self) -> &[Beta] {
        &self.betas
    }

    pub fn cells(&self) -> usize {
        self.alphas.len() * self.betas.len()
    }

    /// The weights of a cell.
    pub fn weights(&self, cell: usize) -> (Alpha, Beta) {
        (self.alphas[cell / self.betas.len()], self.betas[cell % self.betas.len()])
    }

    /// The cell with these weights, if it is one.
    pub fn cell(&self, alpha: Alpha, beta: Beta) -> Option<usize> {
        let across = self.alphas.iter().position(|&a| a == alpha)?;
        Some(across * self.betas.len() + self.betas.iter().position(|&b| b == beta)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_reaches_from_0_to_1() {
        let grid = Grid::sweep(0.05).unwrap();
        assert_eq!(grid.cells(), 441);
        let (alpha, beta) = grid.weights(16 * 21 + 3);
        assert_eq!((alpha.to_string(), beta.to_string()), ("0.8".to_owned(), "0.15".to_owned()));
        assert_eq!(grid.cell(alpha, beta), Some(16 * 21 + 3));
        assert_eq!(grid.cell(alpha, Beta::new(0.17).unwrap()), None);
        assert_eq!(Grid::sweep(1.0).unwrap().cells(), 4);
        assert_eq!(Grid::sweep(1.0 / 3.0).unwrap().cells(), 16);
    }

    #[test]
    fn steps_that_do_not_divide_1_are_refused() {
        for step in [0.3, 0.07, 0.0, -0.05, 1.5, 0.001, f64::NAN, f64::INFINITY] {
            let error = Grid::sweep(step).unwrap_err().to_string();
            assert!(error.contains("try 0.05"), "{step}: {error}");
        }
    }
}
