//! The projected feature of an encoder, as the encoder made it: raw, because fusion needs the norm.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::similarity::norm;

/// Names one encoder: its weights and its preprocessing. Embeddings of two models never mix.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ModelId(Arc<str>);

impl ModelId {
    pub fn new(id: impl Into<Arc<str>>) -> Self {
        Self(id.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Digits of a lane.
    pub(crate) const LANE: usize = 16;

    /// The model in a subject: the first 64 bits of its id's SHA-256, as hexadecimal digits.
    pub fn lane(&self) -> String {
        let digest = Sha256::digest(self.as_str());
        digest[..Self::LANE / 2].iter().map(|b| format!("{b:02x}")).collect()
    }
}

impl fmt::Display for ModelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ModelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ModelId({})", self.0)
    }
}

/// A raw projected feature, shape `[d]`, f32, not normalised, with the model that made it.
///
/// Every value is finite and the norm is greater than zero, so that `N(x) = x/‖x‖` exists.
#[derive(Clone, PartialEq)]
pub struct Embedding {
    model: ModelId,
    values: Arc<[f32]>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EmbeddingError {
    #[error("an embedding of model {model} has no values")]
    Empty { model: ModelId },
    #[error("an embedding of model {model} is not finite at index {index}")]
    NotFinite { model: ModelId, index: usize },
    #[error("an embedding of model {model} has norm zero and no direction")]
    ZeroNorm { model: ModelId },
}

impl Embedding {
    /// Checks the values once; they are trusted after.
    ///
    /// # Errors
    /// No values, a NaN or infinite one, or a norm of zero.
    pub fn new(model: ModelId, values: impl Into<Arc<[f32]>>) -> Result<Self, EmbeddingError> {
        let values = values.into();
        if values.is_empty() {
            return Err(EmbeddingError::Empty { model });
        }
        if let Some(index) = values.iter().position(|x| !x.is_finite()) {
            return Err(EmbeddingError::NotFinite { model, index });
        }
        let embedding = Self { model, values };
        if embedding.norm() > 0.0 {
            Ok(embedding)
        } else {
            Err(EmbeddingError::ZeroNorm { model: embedding.model })
        }
    }

    pub fn model(&self) -> &ModelId {
        &self.model
    }

    pub fn dim(&self) -> usize {
        self.values.len()
    }

    /// The raw values, length `dim()`.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Euclidean length.
    pub fn norm(&self) -> f64 {
        norm(&self.values)
    }

    /// `N(x) = x/‖x‖`, length `dim()`.
    pub fn unit(&self) -> Vec<f32> {
        let norm = self.norm();
        self.values.iter().map(|&x| (f64::from(x) / norm) as f32).collect()
    }
}

impl fmt::Debug for Embedding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Embedding({}, d = {}, ‖x‖ = {})", self.model, self.dim(), self.norm())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_is_the_head_of_the_sha256_of_the_models_id() {
        // `printf bundled | sha256sum`
        assert_eq!(ModelId::new("bundled").lane(), "4c4164b5039c3606");
    }
}
