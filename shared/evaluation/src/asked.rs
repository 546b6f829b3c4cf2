//! One query at one α: who ranks where.
//!
//! An image's rank is 1 and the images that score more, or the same and stand earlier in the gallery:
//! the order of a stable sort. f32 counts those that are surely above; what it cannot tell is decided
//! in f64 by `exact`, so that no rank depends on the processor.

use std::{cmp::Ordering, collections::BTreeMap};

use weimocir_domain::{Alpha, Beta, FusionError, Norm, TextReference};

use crate::{
    captions::CaptionChoice,
    exact::Exact,
    kernels::{Above, Instructions, Sides, Weighing, at},
    metric::NEVER,
    products::{Gallery, Products},
};

/// For each choice of captions, what `Gallery::shares` says of it.
#[derive(Debug, Default)]
pub(crate) struct Shares(BTreeMap<CaptionChoice, Vec<f32>>);

impl Shares {
    /// Those that the queries may need, which a reference without some of its captions narrows.
    pub(crate) fn new(gallery: &Gallery<'_>, choices: &[CaptionChoice]) -> Self {
        let mut shares = Self::default();
        for &choice in choices {
            let narrowed = gallery.set.triplets.iter().map(|t| gallery.present(t.reference));
            for choice in narrowed.map(|own| own.and(choice)).chain([choice]) {
                shares.0.entry(choice).or_insert_with(|| gallery.shares(choice));
            }
        }
        shares
    }
}

#[derive(Debug)]
pub(crate) struct Asked<'a> {
    exact: Exact<'a>,
    products: &'a Products,
    shares: &'a [f32],
    /// Its place among the products.
    n: usize,
    alpha: Alpha,
    sides: Sides,
    slack: f32,
}

impl<'a> Asked<'a> {
    /// `None` if the reference could not be encoded. `at_alpha` comes before anything else.
    pub(crate) fn new(
        gallery: &'a Gallery<'a>,
        shares: &'a Shares,
        (products, first, n): (&'a Products, usize, usize),
        mode: TextReference,
        choice: CaptionChoice,
    ) -> Option<Self> {
        let exact = Exact::new(gallery, first + n, mode, choice)?;
        let shares = &shares.0[&exact.met()];
        let alpha = Alpha::new(0.0).expect("0 is a weight");
        Some(Self { exact, products, shares, n, alpha, sides: Sides::default(), slack: 0.0 })
    }

    /// Scores the whole gallery at this α.
    pub(crate) fn at_alpha(&mut self, alpha: Alpha) -> Result<(), FusionError> {
        let (met, mode) = (self.exact.met(), self.exact.mode());
        let norms = self.exact.norms();
        let (factors, mut spread) = factors(&norms.image, alpha)?;
        let mut captions = Vec::new();
        for (nth, slot) in met.slots().enumerate() {
            let norm = norms.captions.get(nth).unwrap_or(&norms.image);
            let (factors, wider) = self::factors(norm, alpha)?;
            spread = spread.max(wider);
            captions.push((self.products.caption(self.n, mode, slot), factors));
        }
        let image = (self.products.image(self.n), factors);
        let weighing = Weighing { image, captions, shares: self.shares };
        Instructions::detect().weigh(&weighing, &mut self.sides);
        self.alpha = alpha;
        self.slack = slack(self.exact.dim()) * spread;
        Ok(())
    }

    /// The target's rank at every β, among the whole gallery or some of its images.
    pub(crate) fn ranks(
        &mut self,
        among: Option<&[usize]>,
        target: usize,
        betas: &[Beta],
    ) -> Result<Vec<u32>, FusionError> {
        let Self { exact, sides, alpha, slack, .. } = self;
        match among {
            None => Contest { images: &|n| n, sides, exact, alpha: *alpha, slack: *slack }
                .ranks(Some(target), betas),
            Some(some) => {
                let images = &|n: usize| some[n];
                let sides = &sides.only(some);
                let target = some.iter().position(|&image| image == target);
                Contest { images, sides, exact, alpha: *alpha, slack: *slack }.ranks(target, betas)
            }
        }
    }

    /// The first `k` images, the best first.
    pub(crate) fn first(
        &mut self,
        among: Option<&[usize]>,
        k: usize,
        beta: Beta,
    ) -> Result<Vec<usize>, FusionError> {
        let score = |image: usize| at(beta.get(), self.sides.image[image], self.sides.text[image]);
        let all = 0..self.sides.image.len();
        let images = among.map_or_else(|| all.collect(), <[usize]>::to_vec);
        let mut scored: Vec<(f32, usize)> = images.into_iter().map(|n| (score(n), n)).collect();
        scored.retain(|(score, _)| !score.is_nan());
        scored.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
        // because: whoever is further behind the kth cannot be among the first k
        let last = scored.get(k.wrapping_sub(1)).map_or(f32::NEG_INFINITY, |(score, _)| *score);
        scored.retain(|(score, _)| *score >= last - self.slack);
        let exact = scored
            .into_iter()
            .map(|(_, image)| Ok((self.exact.score(image, self.alpha, beta)?, image)));
        let mut exact: Vec<(f64, usize)> = exact.collect::<Result<_, FusionError>>()?;
        exact.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        Ok(exact.into_iter().take(k).map(|(_, image)| image).collect())
    }
}

/// A target among images, of which `sides` holds the f32 scores and `images` says which they are.
struct Contest<'a, 'b> {
    images: &'a dyn Fn(usize) -> usize,
    sides: &'a Sides,
    exact: &'a mut Exact<'b>,
    alpha: Alpha,
    slack: f32,
}

impl Contest<'_, '_> {
    fn ranks(&mut self, target: Option<usize>, betas: &[Beta]) -> Result<Vec<u32>, FusionError> {
        let Some(target) = target.filter(|&n| !self.sides.image[n].is_nan()) else {
            return Ok(vec![NEVER; betas.len()]);
        };
        let weights: Vec<f32> = betas.iter().map(|beta| beta.get()).collect();
        let counts = Instructions::detect().above(self.sides, target, &weights, self.slack);
        let ranks = counts.iter().zip(betas).map(|(above, &beta)| match above {
            Above { surely, perhaps } if surely + 1 == *perhaps => Ok(surely + 1),
            Above { surely, .. } => Ok(surely + 1 + self.close_above(target, beta)?),
        });
        ranks.collect()
    }

    /// Of the images that f32 cannot tell from the target, those that rank before it.
    fn close_above(&mut self, target: usize, beta: Beta) -> Result<u32, FusionError> {
        let close = Instructions::detect().close(self.sides, target, beta.get(), self.slack);
        let own = (self.images)(target);
        let mut above = 0;
        for n in close.into_iter().filter(|&n| n != target) {
            let image = (self.images)(n);
            let than = self.exact.score(own, self.alpha, beta)?;
            above += u32::from(match self.exact.score(image, self.alpha, beta)?.total_cmp(&than) {
                Ordering::Greater => true,
                Ordering::Equal => image < own,
                Ordering::Less => false,
            });
        }
        Ok(above)
    }
}

/// What reference and modifier are multiplied with, and how much that widens their rounding.
fn factors(norm: &Norm, alpha: Alpha) -> Result<([f32; 2], f32), FusionError> {
    let (x, m) = norm.factors(alpha)?;
    let spread = x * norm.reference.sqrt() + m * norm.modifier.sqrt();
    Ok(([x as f32, m as f32], spread as f32))
}

/// How far a difference of scores may be wrong, of unit vectors of this length.
// because: the roundings of d additions add up like a random walk, whose deviation is a third of √d of
// them at most; this is nine times that
fn slack(dim: usize) -> f32 {
    3.0 * f32::EPSILON / 2.0 * (dim as f32).sqrt()
}
