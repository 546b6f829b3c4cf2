//! Composing a reference and a modifier into one query vector.

use crate::{Alpha, Embedding, ModelId};

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FusionError {
    #[error("a query needs a reference, a modifier, or both")]
    NothingToFuse,
    #[error(
        "of a query's parts, one was encoded by {one} ({one_dim} numbers) and one by {other} ({other_dim}): two models cannot be mixed"
    )]
    ModelMix { one: ModelId, one_dim: usize, other: ModelId, other_dim: usize },
    #[error("reference and modifier cancel each other out: choose another alpha")]
    Cancelled,
}

/// `N((1-α)·reference + α·modifier)` over **raw** embeddings (WeiMoCIR, arXiv 2409.04918, eq. 1):
/// the longer of the two pulls harder, which normalising first would lose. With one side absent
/// the other is the query, whatever α says. Returns a unit vector of length d, computed in f64 and
/// rounded once.
///
/// # Errors
/// Both sides absent, two models, or a sum of length zero.
pub fn fuse(
    reference: Option<&Embedding>,
    modifier: Option<&Embedding>,
    alpha: Alpha,
) -> Result<Vec<f32>, FusionError> {
    let (v, m) = match (reference, modifier) {
        (None, None) => return Err(FusionError::NothingToFuse),
        (Some(one), None) | (None, Some(one)) => return Ok(one.unit()),
        (Some(v), Some(m)) => (v, m),
    };
    check_mix(v, m)?;
    let a = f64::from(alpha.get());
    let weighed = |(&v, &m): (&f32, &f32)| (1.0 - a) * f64::from(v) + a * f64::from(m);
    let sum: Vec<f64> = v.values().iter().zip(m.values()).map(weighed).collect();
    let length = sum.iter().map(|x| x * x).sum::<f64>().sqrt();
    if length == 0.0 {
        return Err(FusionError::Cancelled);
    }
    Ok(sum.into_iter().map(|x| (x / length) as f32).collect())
}

/// # Errors
/// Embeddings of two models.
pub(crate) fn check_mix(one: &Embedding, other: &Embedding) -> Result<(), FusionError> {
    if one.model() == other.model() && one.dim() == other.dim() {
        return Ok(());
    }
    Err(FusionError::ModelMix {
        one: one.model().clone(),
        one_dim: one.dim(),
        other: other.model().clone(),
        other_dim: other.dim(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn embedding(values: &[f32]) -> Embedding {
        Embedding::new(ModelId::new("m"), values).unwrap()
    }

    #[test]
    fn fusion_takes_the_raw_lengths() {
        // (0.75·(4,0) + 0.25·(0,4)) = (3,1), of length √10
        let q = fuse(
            Some(&embedding(&[4.0, 0.0])),
            Some(&embedding(&[0.0, 4.0])),
            Alpha::new(0.25).unwrap(),
        );
        let (x, y) = (3.0 / 10f32.sqrt(), 1.0 / 10f32.sqrt());
        let q = q.unwrap();
        assert!((q[0] - x).abs() < 1e-6 && (q[1] - y).abs() < 1e-6, "{q:?}");

        // ten times longer, the modifier wins: (0.75·4, 0.25·40) = (3, 10)
        let long = embedding(&[0.0, 40.0]);
        let q =
            fuse(Some(&embedding(&[4.0, 0.0])), Some(&long), Alpha::new(0.25).unwrap()).unwrap();
        assert!((q[1] / q[0] - 10.0 / 3.0).abs() < 1e-5, "{q:?}");
    }

    #[test]
    fn one_side_alone_is_the_query_at_any_alpha() {
        let v = embedding(&[3.0, 4.0]);
        let alpha = Alpha::new(0.8).unwrap();
        assert_eq!(fuse(Some(&v), None, alpha).unwrap(), [0.6, 0.8]);
        assert_eq!(fuse(None, Some(&v), alpha).unwrap(), [0.6, 0.8]);
        assert_eq!(fuse(None, None, alpha), Err(FusionError::NothingToFuse));
    }

    #[test]
    fn opposites_and_strangers_are_refused() {
        let half = Alpha::new(0.5).unwrap();
        let v = embedding(&[1.0, -2.0]);
        assert_eq!(
            fuse(Some(&v), Some(&embedding(&[-1.0, 2.0])), half),
            Err(FusionError::Cancelled)
        );
        let other = Embedding::new(ModelId::new("other"), [1.0, 2.0]).unwrap();
        assert!(matches!(fuse(Some(&v), Some(&other), half), Err(FusionError::ModelMix { .. })));
    }
}
