//! Metrics, computed from the ranks of targets alone.

use std::fmt;

/// What is reported, in percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// R@K: queries with a target among the first K.
    Recall(u32),
    /// Rsubset@K: the same among the images of the triplet's subset.
    SubsetRecall(u32),
    /// mAP@K over all targets: the mean over queries of `Σ_{k ≤ K, k-th is a target} precision@k`,
    /// divided by the lesser of K and the number of targets (CIRCO, Baldrati et al. 2023, eq. 8).
    MeanPrecision(u32),
}

/// The rank of an image that is not ranked at all, such as one whose picture cannot be read.
pub const NEVER: u32 = u32::MAX;

impl Metric {
    /// As results.csv names it.
    pub fn column(self) -> String {
        match self {
            Self::Recall(k) => format!("r{k}"),
            Self::SubsetRecall(k) => format!("rs{k}"),
            Self::MeanPrecision(k) => format!("map{k}"),
        }
    }

    /// Whether it ranks only the images of the triplet's subset.
    pub fn is_of_subset(self) -> bool {
        matches!(self, Self::SubsetRecall(_))
    }

    /// One query's share, 0 to 1, of ranks that begin at 1, one for each target.
    pub(crate) fn of(self, ranks: &[u32]) -> f64 {
        match self {
            Self::Recall(k) | Self::SubsetRecall(k) => {
                f64::from(u8::from(ranks.iter().any(|&rank| rank <= k)))
            }
            Self::MeanPrecision(k) => average_precision(k, ranks),
        }
    }
}

fn average_precision(k: u32, ranks: &[u32]) -> f64 {
    let mut found: Vec<u32> = ranks.iter().copied().filter(|&rank| rank <= k).collect();
    found.sort_unstable();
    let precisions = found.iter().zip(1_u32..).map(|(&rank, nth)| f64::from(nth) / f64::from(rank));
    precisions.sum::<f64>() / ranks.len().min(k as usize) as f64
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Recall(k) => write!(f, "R@{k}"),
            Self::SubsetRecall(k) => write!(f, "Rsub@{k}"),
            Self::MeanPrecision(k) => write!(f, "mAP@{k}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recall_counts_a_target_up_to_k() {
        for (ranks, expected) in [(&[10][..], 1.0), (&[11], 0.0), (&[400, 3], 1.0), (&[NEVER], 0.0)]
        {
            assert_eq!(Metric::Recall(10).of(ranks), expected, "{ranks:?}");
            assert_eq!(Metric::SubsetRecall(10).of(ranks), expected, "{ranks:?}");
        }
    }

    #[test]
    fn mean_precision_is_that_of_circo() {
        // targets at 2 and 5 of three: (1/2 + 2/5) / 3; with K = 2, of which two could be found: 1/2 / 2
        let ranks = [5, NEVER, 2];
        assert!((Metric::MeanPrecision(5).of(&ranks) - 0.3).abs() < 1e-12);
        assert_eq!(Metric::MeanPrecision(2).of(&ranks), 0.25);
        assert_eq!(Metric::MeanPrecision(50).of(&[1]), 1.0);
    }
}
