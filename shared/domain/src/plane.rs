//! The whole (α, β) plane of one query: dot products from which its score at any weights follows.
//!
//! A dot product is linear, so `q·N(v_n)` is a combination of `v_ref·N(v_n)` and `m·N(v_n)` over the
//! length of the combined query (METHOD: "The whole (α, β) plane at once"). A [`Query`] is the raw
//! inputs of a search; [`Norms`] are its own numbers, [`Components`] those of one gallery image, and
//! both together give the score without any vector. Ranking is `similarity`'s.

use serde::{Deserialize, Serialize};

use crate::{
    Alpha, Beta, Composed, Embedding, FusionError, Raw, exact_dot,
    fusion::{check_mix, fuse},
};

/// What a search is made of, before any weight: a reference, a modifier, or both, raw, of one model.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    reference: Option<Embedding>,
    modifier: Option<Embedding>,
    captions: Vec<Embedding>,
}

/// The query's own numbers, once for all images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Norms {
    /// Of `v_ref` and `m`.
    pub image: Norm,
    /// Of `t_ref,r` and `m`, in caption mode; else empty, and `image` serves every caption.
    pub captions: Vec<Norm>,
}

/// With `x` for `v_ref` or `t_ref,r`. An input that the search lacks counts 0, which no embedding's
/// length is.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Norm {
    /// `‖x‖²`
    pub reference: f64,
    /// `x·m`
    pub cross: f64,
    /// `‖m‖²`
    pub modifier: f64,
}

/// One gallery image's numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Components {
    /// `A = v_ref·N(v_n)` and `B = m·N(v_n)`.
    pub image: Component,
    /// `C_r = x_r·N(t_n,r)` and `D_r = m·N(t_n,r)` of each caption that has something to meet.
    pub captions: Vec<Component>,
}

/// How far reference and modifier, raw, reach in one direction; 0 for an input that the search lacks.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Component {
    pub reference: f64,
    pub modifier: f64,
}

/// How a score comes about at one α and β.
#[derive(Debug, Clone, PartialEq)]
pub struct Explained {
    pub image: Share,
    /// One for each caption that counts.
    pub captions: Vec<Share>,
    beta: f64,
}

/// What reference and modifier contribute to one similarity, which is their sum.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Share {
    pub reference: f64,
    pub modifier: f64,
}

impl Query {
    /// `captions` are the reference's own, which meet a gallery image's in caption mode; without
    /// them the reference itself does, as in image mode.
    ///
    /// # Errors
    /// Neither reference nor modifier, or embeddings of two models.
    pub fn new(
        reference: Option<Embedding>,
        modifier: Option<Embedding>,
        captions: Vec<Embedding>,
    ) -> Result<Self, FusionError> {
        let first = reference.as_ref().or(modifier.as_ref()).ok_or(FusionError::NothingToFuse)?;
        for other in modifier.iter().chain(&captions) {
            check_mix(first, other)?;
        }
        Ok(Self { reference, modifier, captions })
    }

    /// The length of every vector in it.
    pub fn dim(&self) -> usize {
        self.reference.as_ref().or(self.modifier.as_ref()).map_or(0, Embedding::dim)
    }

    pub fn reference(&self) -> Option<&Embedding> {
        self.reference.as_ref()
    }

    pub fn modifier(&self) -> Option<&Embedding> {
        self.modifier.as_ref()
    }

    /// What meets the captions in the reference's place: `t_ref,r`, or nothing.
    pub fn captions(&self) -> &[Embedding] {
        &self.captions
    }

    /// The query at one point of the plane: `q` for the pixels, and in caption mode a `q_r` for each
    /// caption.
    ///
    /// # Errors
    /// Reference and modifier cancel each other out at this α.
    pub fn compose(&self, alpha: Alpha, beta: Beta) -> Result<Composed, FusionError> {
        let fuse = |reference| fuse(reference, self.modifier.as_ref(), alpha);
        Ok(Composed {
            image: fuse(self.reference.as_ref())?,
            captions: self.captions.iter().map(|t| fuse(Some(t))).collect::<Result<_, _>>()?,
            beta,
        })
    }

    pub fn norms(&self) -> Norms {
        let product = |a: Option<&Embedding>, b: Option<&Embedding>| match (a, b) {
            (Some(a), Some(b)) => exact_dot(a.values(), b.values()),
            _ => 0.0,
        };
        let m = self.modifier.as_ref();
        let norm =
            |x| Norm { reference: product(x, x), cross: product(x, m), modifier: product(m, m) };
        Norms {
            image: norm(self.reference.as_ref()),
            captions: self.captions.iter().map(|t| norm(Some(t))).collect(),
        }
    }

    /// The numbers of one gallery image, from its `v_n` and `t_n,r`.
    pub fn components<'a>(
        &self,
        image: Raw<'_>,
        captions: impl IntoIterator<Item = Raw<'a>>,
    ) -> Components {
        let reach = |x: Option<&Embedding>, y: Raw<'_>| x.map_or(0.0, |x| y.cosine(x.values()));
        let component =
            |x, y| Component { reference: reach(x, y), modifier: reach(self.modifier.as_ref(), y) };
        let reference = self.reference.as_ref();
        let slots = if self.captions.is_empty() { usize::MAX } else { self.captions.len() };
        let captions = captions.into_iter().take(slots).enumerate();
        Components {
            image: component(reference, image),
            captions: captions
                .map(|(r, caption)| component(self.captions.get(r).or(reference), caption))
                .collect(),
        }
    }
}

impl Components {
    /// `s(α, β)`, as [`Composed::score`] computes it from the vectors.
    ///
    /// # Errors
    /// As [`Components::explain`].
    pub fn similarity(&self, norms: &Norms, alpha: Alpha, beta: Beta) -> Result<f64, FusionError> {
        self.explain(norms, alpha, beta).map(|explained| explained.similarity())
    }

    /// # Errors
    /// Reference and modifier cancel each other out at this α, up to what f64 can tell.
    pub fn explain(
        &self,
        norms: &Norms,
        alpha: Alpha,
        beta: Beta,
    ) -> Result<Explained, FusionError> {
        let captions = self.captions.iter().enumerate().map(|(r, caption)| {
            caption.share(norms.captions.get(r).unwrap_or(&norms.image), alpha)
        });
        Ok(Explained {
            image: self.image.share(&norms.image, alpha)?,
            captions: captions.collect::<Result<_, _>>()?,
            beta: f64::from(beta.get()),
        })
    }

    pub(crate) fn is_finite(&self) -> bool {
        let finite = |c: &Component| c.reference.is_finite() && c.modifier.is_finite();
        finite(&self.image) && self.captions.iter().all(finite)
    }
}

impl Component {
    fn share(&self, norm: &Norm, alpha: Alpha) -> Result<Share, FusionError> {
        let (reference, modifier) = norm.weights(alpha);
        let length = norm.length(reference, modifier)?;
        Ok(Share {
            reference: reference * self.reference / length,
            modifier: modifier * self.modifier / length,
        })
    }
}

impl Norm {
    /// The factors of reference and modifier: one alone is the query, whatever α says.
    fn weights(&self, alpha: Alpha) -> (f64, f64) {
        let alpha = f64::from(alpha.get());
        if self.reference == 0.0 {
            (0.0, 1.0)
        } else if self.modifier == 0.0 {
            (1.0, 0.0)
        } else {
            (1.0 - alpha, alpha)
        }
    }

    /// What to multiply a [`Component`] with at this α: `(1-α)` and `α`, over the length of the sum.
    ///
    /// # Errors
    /// As [`Components::explain`].
    pub fn factors(&self, alpha: Alpha) -> Result<(f64, f64), FusionError> {
        let (reference, modifier) = self.weights(alpha);
        let length = self.length(reference, modifier)?;
        Ok((reference / length, modifier / length))
    }

    /// `‖reference·x + modifier·m‖`
    fn length(&self, reference: f64, modifier: f64) -> Result<f64, FusionError> {
        let own = reference * reference * self.reference + modifier * modifier * self.modifier;
        let square = own + 2.0 * reference * modifier * self.cross;
        // because: what is left of two almost equal numbers is their rounding, 1e-16 of them
        if square > 1e-13 * own { Ok(square.sqrt()) } else { Err(FusionError::Cancelled) }
    }
}

impl Explained {
    pub fn s_img(&self) -> f64 {
        self.image.sum()
    }

    /// `None` for an image without captions.
    pub fn s_txt(&self) -> Option<f64> {
        self.text().map(|text| text.sum())
    }

    /// What reference and modifier contribute to `s_txt`: their means over the captions.
    pub fn text(&self) -> Option<Share> {
        let slots = self.captions.len() as f64;
        let mean = |part: fn(&Share) -> f64| self.captions.iter().map(part).sum::<f64>() / slots;
        (!self.captions.is_empty())
            .then(|| Share { reference: mean(|s| s.reference), modifier: mean(|s| s.modifier) })
    }

    /// What reference and modifier contribute to the score.
    pub fn total(&self) -> Share {
        let Some(text) = self.text() else { return self.image };
        let weigh = |image: f64, text: f64| (1.0 - self.beta) * image + self.beta * text;
        Share {
            reference: weigh(self.image.reference, text.reference),
            modifier: weigh(self.image.modifier, text.modifier),
        }
    }

    pub fn similarity(&self) -> f64 {
        self.total().sum()
    }
}

impl Share {
    pub fn sum(&self) -> f64 {
        self.reference + self.modifier
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{ModelId, norm};

    const DIM: usize = 21;

    fn embedding(values: &[f32]) -> Embedding {
        Embedding::new(ModelId::new("m"), values).unwrap()
    }

    fn raws(vectors: &[Vec<f32>]) -> impl Iterator<Item = Raw<'_>> {
        vectors.iter().map(|x| Raw::new(x, norm(x)))
    }

    fn weights(alpha: f32, beta: f32) -> (Alpha, Beta) {
        (Alpha::new(alpha).unwrap(), Beta::new(beta).unwrap())
    }

    /// METHOD's scoring, vector by vector, in f64: an independent reading of the formula.
    mod plain {
        type Sides<'a> = (Option<&'a [f32]>, Option<&'a [f32]>);

        fn inner(a: &[f64], b: &[f64]) -> f64 {
            a.iter().zip(b).map(|(a, b)| a * b).sum()
        }

        pub(super) fn wide(x: &[f32]) -> Vec<f64> {
            x.iter().map(|&x| f64::from(x)).collect()
        }

        pub(super) fn length(x: &[f64]) -> f64 {
            inner(x, x).sqrt()
        }

        /// `(1-α)·x + α·m`, or the side that there is.
        pub(super) fn mixed((x, m): Sides<'_>, alpha: f32) -> Vec<f64> {
            let alpha = f64::from(alpha);
            match (x, m) {
                (Some(x), Some(m)) => {
                    let both = wide(x).into_iter().zip(wide(m));
                    both.map(|(x, m)| (1.0 - alpha) * x + alpha * m).collect()
                }
                (one, other) => one.or(other).map(wide).unwrap_or_default(),
            }
        }

        fn cosine(a: &[f64], b: &[f32]) -> f64 {
            inner(a, &wide(b)) / length(a) / length(&wide(b))
        }

        pub(super) fn score(
            sides: Sides<'_>,
            t_ref: &[Vec<f32>],
            (alpha, beta): (f32, f32),
            image: &[f32],
            captions: &[Vec<f32>],
        ) -> f64 {
            let s_img = cosine(&mixed(sides, alpha), image);
            let met =
                if t_ref.is_empty() { captions.len() } else { t_ref.len().min(captions.len()) };
            if met == 0 {
                return s_img;
            }
            let stand_in = |r: usize| t_ref.get(r).map(Vec::as_slice).or(sides.0);
            let s_txt = (0..met)
                .map(|r| cosine(&mixed((stand_in(r), sides.1), alpha), &captions[r]))
                .sum::<f64>();
            (1.0 - f64::from(beta)) * s_img + f64::from(beta) * s_txt / met as f64
        }
    }

    fn raw() -> impl Strategy<Value = Vec<f32>> {
        // because: lengths between the tenth part and the tenfold, as features of encoders have
        (prop::collection::vec(-1_f32..1.0, DIM), 0.1_f32..10.0)
            .prop_map(|(x, length)| x.into_iter().map(|x| x * length).collect())
            .prop_filter("no direction", |x: &Vec<f32>| norm(x) > 0.05)
    }

    fn weight() -> impl Strategy<Value = f32> {
        prop_oneof![Just(0.0), Just(1.0), 0_f32..=1.0]
    }

    proptest! {
        #[test]
        fn components_give_the_score_of_the_vectors_at_any_weights(
            (v, m) in prop_oneof![
                (raw().prop_map(Some), raw().prop_map(Some)),
                (raw().prop_map(Some), Just(None)),
                (Just(None), raw().prop_map(Some)),
            ],
            mut t_ref in prop::collection::vec(raw(), 0..4),
            (image, captions) in (raw(), prop::collection::vec(raw(), 0..5)),
            points in prop::collection::vec((weight(), weight()), 1..6),
        ) {
            if v.is_none() {
                t_ref.clear();
            }
            let side = |x: &Option<Vec<f32>>| x.as_deref().map(embedding);
            let t_ref_embeddings = t_ref.iter().map(|t| embedding(t)).collect();
            let query = Query::new(side(&v), side(&m), t_ref_embeddings).unwrap();
            let image_raw = Raw::new(&image, norm(&image));
            let (norms, components) = (query.norms(), query.components(image_raw, raws(&captions)));
            for (alpha, beta) in points {
                let (v, m) = (v.as_deref(), m.as_deref());
                let sides = t_ref.iter().map(|t| Some(t.as_slice())).chain([v]);
                let shortest = sides.map(|x| plain::length(&plain::mixed((x, m), alpha)));
                prop_assume!(shortest.fold(f64::INFINITY, f64::min) > 0.02);

                let weights = weights(alpha, beta);
                let found = components.similarity(&norms, weights.0, weights.1).unwrap();
                let expected = plain::score((v, m), &t_ref, (alpha, beta), &image, &captions);
                prop_assert!((found - expected).abs() < 1e-11, "{} for {}", found, expected);

                // because: q is rounded to f32, and so is the result, by 6e-8 at most each
                let scored = query.compose(weights.0, weights.1).unwrap();
                let scored = scored.score(image_raw, raws(&captions));
                let explained = components.explain(&norms, weights.0, weights.1).unwrap();
                prop_assert!((f64::from(scored.similarity) - found).abs() < 1.5e-7);
                prop_assert!((f64::from(scored.s_img) - explained.s_img()).abs() < 1.5e-7);
                prop_assert_eq!(scored.s_txt.is_some(), explained.s_txt().is_some());
                for (s, t) in scored.s_txt.into_iter().zip(explained.s_txt()) {
                    prop_assert!((f64::from(s) - t).abs() < 1.5e-7);
                }
            }
        }
    }

    #[test]
    fn a_score_is_told_apart() {
        // q = (4·¾, 4·¼)/√10 = (3, 1)/√10; the reference pulls to the first axis, the modifier to
        // the second; the image lies on the first, its caption on the second
        let query =
            Query::new(Some(embedding(&[4.0, 0.0])), Some(embedding(&[0.0, 4.0])), vec![]).unwrap();
        let caption = [vec![0.0, 7.0]];
        let components = query.components(Raw::new(&[2.0, 0.0], 2.0), raws(&caption));
        let (alpha, beta) = weights(0.25, 0.5);
        let explained = components.explain(&query.norms(), alpha, beta).unwrap();
        let root = 10_f64.sqrt();
        assert_eq!(explained.image, Share { reference: 3.0 / root, modifier: 0.0 });
        assert_eq!(explained.captions, [Share { reference: 0.0, modifier: 1.0 / root }]);
        assert_eq!(explained.total(), Share { reference: 1.5 / root, modifier: 0.5 / root });
        assert_eq!(explained.similarity(), 2.0 / root);
    }

    #[test]
    fn sides_that_cancel_have_no_score() {
        let (v, m) = (embedding(&[0.3, -0.7]), embedding(&[-0.3, 0.7]));
        let query = Query::new(Some(v), Some(m), vec![]).unwrap();
        let components = query.components(Raw::new(&[1.0, 0.0], 1.0), []);
        let (half, beta) = weights(0.5, 0.0);
        let norms = query.norms();
        assert_eq!(query.compose(half, beta), Err(FusionError::Cancelled));
        assert_eq!(components.similarity(&norms, half, beta), Err(FusionError::Cancelled));
        // numbers that no query has are refused as well, and never become NaN
        let broken = Norms { image: Norm { cross: f64::NAN, ..norms.image }, captions: vec![] };
        assert_eq!(components.similarity(&broken, half, beta), Err(FusionError::Cancelled));
    }

    #[test]
    fn a_query_is_of_one_model() {
        let (v, other) = (embedding(&[1.0, 2.0]), Embedding::new(ModelId::new("o"), [1.0, 2.0]));
        let longer = embedding(&[1.0, 2.0, 3.0]);
        assert_eq!(Query::new(None, None, vec![v.clone()]), Err(FusionError::NothingToFuse));
        for (m, t) in [(Some(other.unwrap()), vec![]), (None, vec![v.clone(), longer])] {
            let mixed = Query::new(Some(v.clone()), m, t);
            assert!(matches!(mixed, Err(FusionError::ModelMix { .. })), "{mixed:?}");
        }
    }
}
