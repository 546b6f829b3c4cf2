//! Steering a query: away from a negative text, towards images that are liked, away from others.
//!
//! The composed query `(1-α)·v_ref + α·m` is moved by one vector `δ`, before it is given length one:
//! `δ = -γ·n + a·mean(liked) - b·mean(disliked)`, with the negative text's embedding `n` and Rocchio's
//! weights `a` and `b` (Rocchio 1971, "Relevance feedback in information retrieval"), all raw as the
//! method's own inputs are. Since `(1-α) + α = 1`, moving both inputs by `δ` moves the composed query
//! by `δ` at every α: a steered query is a [`Query`] of moved inputs, and all else that holds of one
//! (the plane, bounds, explanations) holds of it unchanged.

use crate::{Embedding, EmbeddingError, FusionError, Gamma, Query, fusion::check_mix};

/// What moves a query, and by how much.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Steering {
    /// `n`, raw, with γ.
    pub negative: Option<(Embedding, Gamma)>,
    pub more_like: Vec<Embedding>,
    /// Rocchio's weight of what is liked.
    pub more_weight: Gamma,
    pub less_like: Vec<Embedding>,
    /// Rocchio's weight of what is not.
    pub less_weight: Gamma,
}

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SteeringError {
    #[error(transparent)]
    Mix(#[from] FusionError),
    #[error("the negative text or the feedback leave nothing of the query: give them less weight")]
    Cancelled(#[from] EmbeddingError),
}

impl Steering {
    /// `δ`, length d, in f64; nothing, if nothing steers.
    fn offset(&self) -> Option<Vec<f64>> {
        let mean = |weight: f64, of: &[Embedding]| weight / of.len() as f64;
        let more = mean(f64::from(self.more_weight.get()), &self.more_like);
        let less = mean(f64::from(self.less_weight.get()), &self.less_like);
        let negative = self.negative.iter().map(|(n, gamma)| (-f64::from(gamma.get()), n));
        let liked = self.more_like.iter().map(|image| (more, image));
        let disliked = self.less_like.iter().map(|image| (-less, image));
        let mut offset: Option<Vec<f64>> = None;
        for (weight, embedding) in negative.chain(liked).chain(disliked) {
            let offset = offset.get_or_insert_with(|| vec![0.0; embedding.dim()]);
            let values = embedding.values().iter();
            offset.iter_mut().zip(values).for_each(|(sum, &x)| *sum += weight * f64::from(x));
        }
        offset
    }

    fn embeddings(&self) -> impl Iterator<Item = &Embedding> {
        let negative = self.negative.iter().map(|(negative, _)| negative);
        negative.chain(&self.more_like).chain(&self.less_like)
    }
}

impl Query {
    /// The query with every input moved by `δ`.
    ///
    /// # Errors
    /// Embeddings of another model, or an input of which nothing is left.
    pub fn steered(self, steering: &Steering) -> Result<Self, SteeringError> {
        let Some(offset) = steering.offset() else { return Ok(self) };
        if let Some(own) = self.reference().or(self.modifier()) {
            steering.embeddings().try_for_each(|other| check_mix(own, other))?;
        }
        let moved = |input: &Embedding| {
            let values = input.values().iter().zip(&offset);
            let values: Vec<f32> = values.map(|(&x, &d)| (f64::from(x) + d) as f32).collect();
            Embedding::new(input.model().clone(), values)
        };
        Ok(Self::new(
            self.reference().map(moved).transpose()?,
            self.modifier().map(moved).transpose()?,
            self.captions().iter().map(moved).collect::<Result<_, _>>()?,
        )?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Alpha, Beta, ModelId};

    fn embedding(values: &[f32]) -> Embedding {
        Embedding::new(ModelId::new("m"), values).unwrap()
    }

    fn gamma(value: f32) -> Gamma {
        Gamma::new(value).unwrap()
    }

    fn query() -> Query {
        let inputs = (embedding(&[4.0, 0.0, 2.0]), embedding(&[0.0, 8.0, 2.0]));
        Query::new(Some(inputs.0), Some(inputs.1), vec![]).unwrap()
    }

    #[test]
    fn the_composed_query_moves_by_the_offset_at_every_alpha() {
        // -0.5·(2,2,0) + 0.5·mean((4,0,0),(0,0,4)) - 0.25·(0,4,0) = (-1,-1,0) + (1,0,1) - (0,1,0)
        let steering = Steering {
            negative: Some((embedding(&[2.0, 2.0, 0.0]), gamma(0.5))),
            more_like: vec![embedding(&[4.0, 0.0, 0.0]), embedding(&[0.0, 0.0, 4.0])],
            more_weight: gamma(0.5),
            less_like: vec![embedding(&[0.0, 4.0, 0.0])],
            less_weight: gamma(0.25),
        };
        let steered = query().steered(&steering).unwrap();
        // at α = 0.25: (3, 2, 2) + (0, -2, 1) = (3, 0, 3)
        let composed = steered.compose(Alpha::new(0.25).unwrap(), Beta::new(0.0).unwrap());
        let half = 0.5_f32.sqrt();
        assert_eq!(composed.unwrap().image, [half, 0.0, half]);
        // at α = 1: (0, 8, 2) + (0, -2, 1) = (0, 6, 3)
        let composed = steered.compose(Alpha::new(1.0).unwrap(), Beta::new(0.0).unwrap());
        let length = 45.0_f32.sqrt();
        assert_eq!(composed.unwrap().image, [0.0, 6.0 / length, 3.0 / length]);
    }

    #[test]
    fn nothing_steers_by_default() {
        assert_eq!(query().steered(&Steering::default()).unwrap(), query());
        let none =
            Steering { negative: Some((embedding(&[1.0; 3]), gamma(0.0))), ..Steering::default() };
        assert_eq!(query().steered(&none).unwrap(), query());
    }

    #[test]
    fn strangers_and_what_takes_everything_are_refused() {
        let negative = Some((embedding(&[4.0, 0.0, 2.0]), gamma(1.0)));
        let all = query().steered(&Steering { negative, ..Steering::default() });
        assert!(matches!(all, Err(SteeringError::Cancelled(_))), "{all:?}");
        let stranger = Embedding::new(ModelId::new("other"), [1.0, 2.0, 3.0]).unwrap();
        let less_like = vec![stranger];
        let mixed = query().steered(&Steering { less_like, ..Steering::default() });
        assert!(matches!(mixed, Err(SteeringError::Mix(_))), "{mixed:?}");
    }
}
