//! α and β picked on one random half of the queries and reported on the other, so that what is
//! reported did not choose them.

use rand::seq::SliceRandom;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use weimocir_domain::{Alpha, Beta, TextReference};

use crate::{metric::Metric, sweep::Sweep};

/// What came of it, metrics in percent.
#[derive(Debug, Clone, PartialEq)]
pub struct Tuned {
    pub text_reference: TextReference,
    pub alpha: Alpha,
    pub beta: Beta,
    /// On the half that α and β were picked on: what a paper reports that tunes on its test set.
    pub picked_on: Vec<f64>,
    /// On the half that had no say.
    pub reported_on: Vec<f64>,
}

/// Picks the cell with the greatest mean of all metrics, over all parts of the data set together: one
/// sweep for each category, of the same mode and grid. Halves are drawn in each part, by the seed.
pub fn tune(parts: &[&Sweep], metrics: &[Metric], seed: u64) -> Option<Tuned> {
    let first = parts.first()?;
    let halves: Vec<[Vec<usize>; 2]> =
        parts.iter().map(|sweep| halves(sweep.queries(), seed)).collect();
    let percents = |cell: usize, half: usize| -> Vec<f64> {
        let percent = |metric: &Metric| {
            let each = parts.iter().zip(&halves).map(|(sweep, halves)| {
                sweep.percent_of(*metric, cell, halves[half].iter().copied())
            });
            each.sum::<f64>() / parts.len() as f64
        };
        metrics.iter().map(percent).collect()
    };
    let mean = |cell: usize| percents(cell, 0).iter().sum::<f64>();
    let best = best((0..first.grid.cells()).map(mean))?;
    let (alpha, beta) = first.grid.weights(best);
    Some(Tuned {
        text_reference: first.text_reference,
        alpha,
        beta,
        picked_on: percents(best, 0),
        reported_on: percents(best, 1),
    })
}

/// The place of the greatest, the first of equals.
fn best(values: impl Iterator<Item = f64>) -> Option<usize> {
    let better = |a: (usize, f64), b: (usize, f64)| if b.1 > a.1 { b } else { a };
    values.enumerate().reduce(better).map(|(cell, _)| cell)
}

/// The queries in two random halves; of an odd number, the second has one more.
pub fn halves(queries: usize, seed: u64) -> [Vec<usize>; 2] {
    let mut all: Vec<usize> = (0..queries).collect();
    all.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    let second = all.split_off(queries / 2);
    [all, second]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_all_queries_by_seed() {
        let [first, second] = halves(7, 1);
        assert_eq!((first.len(), second.len()), (3, 4));
        let mut all = [first.clone(), second].concat();
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(halves(7, 1)[0], first);
        assert_ne!(halves(700, 1), halves(700, 2));
    }

    #[test]
    fn the_first_of_equals_is_best() {
        assert_eq!(best([1.0, 3.0, 3.0, 2.0].into_iter()), Some(1));
        assert_eq!(best([].into_iter()), None);
    }
}
