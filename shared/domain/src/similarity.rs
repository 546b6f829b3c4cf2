//! The closeness of a composed query to gallery images and their captions.

use crate::Beta;

/// A query ready to meet the gallery: unit vectors of length d.
#[derive(Debug, Clone, PartialEq)]
pub struct Composed {
    /// `q`, for pixels.
    pub image: Vec<f32>,
    /// What meets caption r: `q_r` each (`text_reference = "caption"`), or empty, and then `q`
    /// meets every caption (`text_reference = "image"`).
    pub captions: Vec<Vec<f32>>,
    pub beta: Beta,
}

/// A raw embedding of the gallery beside its norm, which is kept and not computed for every query.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Raw<'a> {
    values: &'a [f32],
    norm: f64,
}

impl<'a> Raw<'a> {
    /// `norm` is what [`norm`] says of `values`.
    pub fn new(values: &'a [f32], norm: f64) -> Self {
        Self { values, norm }
    }

    pub fn values(&self) -> &'a [f32] {
        self.values
    }

    pub fn norm(&self) -> f64 {
        self.norm
    }

    /// Vectors that lie one after the other, R × d, with a norm each.
    pub fn each(values: &'a [f32], norms: &'a [f64]) -> impl Iterator<Item = Self> + Clone {
        let dim = values.len().checked_div(norms.len()).unwrap_or(0).max(1);
        values.chunks_exact(dim).zip(norms).map(|(values, &norm)| Self { values, norm })
    }

    /// `a·N(x)`.
    pub fn cosine(&self, a: &[f32]) -> f64 {
        exact_dot(a, self.values) / self.norm
    }
}

/// One image's closeness to a query, every part of it in -1..=1; greater is closer. Computed in f64
/// and rounded once, so that every shard and every kernel rounds to the same number.
#[derive(Debug, Clone, PartialEq)]
pub struct Similarities {
    /// `s = (1-β)·s_img + β·s_txt`, or `s_img` for an image without captions.
    pub similarity: f32,
    pub s_img: f32,
    /// Mean over the captions; `None` while the image has none.
    pub s_txt: Option<f32>,
}

impl Composed {
    /// Scores one image (METHOD: "Scoring") from `v_n` and its `t_n,r`, none while they have not
    /// arrived.
    ///
    /// In caption mode, caption r meets caption r only; slots that one side lacks are left out of
    /// the mean.
    pub fn score<'a>(
        &self,
        image: Raw<'_>,
        captions: impl IntoIterator<Item = Raw<'a>>,
    ) -> Similarities {
        let s_img = image.cosine(&self.image);
        let (sum, slots) = self
            .caption_similarities(captions)
            .fold((0.0, 0_u32), |(sum, slots), s| (sum + s, slots + 1));
        if slots == 0 {
            return Similarities { similarity: s_img as f32, s_img: s_img as f32, s_txt: None };
        }
        let s_txt = sum / f64::from(slots);
        let beta = f64::from(self.beta.get());
        let similarity = (1.0 - beta) * s_img + beta * s_txt;
        Similarities {
            similarity: similarity as f32,
            s_img: s_img as f32,
            s_txt: Some(s_txt as f32),
        }
    }

    /// The similarity of each caption that has something to meet, in order.
    pub fn caption_similarities<'a>(
        &self,
        captions: impl IntoIterator<Item = Raw<'a>>,
    ) -> impl Iterator<Item = f64> {
        let slots = if self.captions.is_empty() { usize::MAX } else { self.captions.len() };
        let captions = captions.into_iter().take(slots).enumerate();
        captions.map(|(r, caption)| caption.cosine(self.captions.get(r).unwrap_or(&self.image)))
    }
}

/// Partial sums of [`exact_dot`].
const LANES: usize = 16;

/// `a·b` for slices of one length, in f64: the same bits on every machine and from every kernel
/// that adds in this order.
///
/// A product of two f32 is exact in f64, so a fused multiply-add rounds as an addition does. Element
/// `i` goes to lane `i mod 16`; lanes add their elements in ascending order, and are then folded in
/// halves: lane `j` takes lane `j + 8`, then `j + 4`, `j + 2` and `j + 1`.
pub fn exact_dot(a: &[f32], b: &[f32]) -> f64 {
    debug_assert_eq!(a.len(), b.len());
    let mut lanes = [0.0_f64; LANES];
    let (a, a_rest) = a.as_chunks::<LANES>();
    let (b, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a.iter().zip(b) {
        for i in 0..LANES {
            lanes[i] += f64::from(a[i]) * f64::from(b[i]);
        }
    }
    for (lane, (&a, &b)) in lanes.iter_mut().zip(a_rest.iter().zip(b_rest)) {
        *lane += f64::from(a) * f64::from(b);
    }
    for half in [8, 4, 2, 1] {
        for i in 0..half {
            lanes[i] += lanes[i + half];
        }
    }
    lanes[0]
}

/// `‖x‖`, from [`exact_dot`].
pub fn norm(values: &[f32]) -> f64 {
    exact_dot(values, values).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn composed(image: &[f32], captions: &[&[f32]], beta: f32) -> Composed {
        Composed {
            image: image.to_vec(),
            captions: captions.iter().map(|c| c.to_vec()).collect(),
            beta: Beta::new(beta).unwrap(),
        }
    }

    fn raw(values: &[f32]) -> Raw<'_> {
        Raw::new(values, norm(values))
    }

    fn score(query: &Composed, image: &[f32], captions: &[&[f32]]) -> Similarities {
        query.score(raw(image), captions.iter().map(|caption| raw(caption)))
    }

    #[test]
    fn captions_are_weighed_by_beta() {
        // s_img = 0.6; captions 1.0 and 0.0: s_txt = 0.5; s = 0.75·0.6 + 0.25·0.5
        let query = composed(&[1.0, 0.0], &[], 0.25);
        let expected = Similarities { similarity: 0.575, s_img: 0.6, s_txt: Some(0.5) };
        // because: raw vectors count by their direction, whatever their length
        assert_eq!(score(&query, &[3.0, 4.0], &[&[7.0, 0.0], &[0.0, 0.5]]), expected);
    }

    #[test]
    fn in_caption_mode_caption_r_meets_caption_r() {
        let query = composed(&[1.0, 0.0], &[&[1.0, 0.0], &[0.0, 1.0]], 1.0);
        let s_txt = |captions: &[&[f32]]| score(&query, &[0.0, 1.0], captions).s_txt;
        assert_eq!(s_txt(&[&[1.0, 0.0], &[0.0, 1.0]]), Some(1.0));
        // a third caption has no counterpart; a missing second one leaves one slot
        assert_eq!(s_txt(&[&[1.0, 0.0], &[0.0, 1.0], &[-1.0, 0.0]]), Some(1.0));
        assert_eq!(s_txt(&[&[0.0, 1.0]]), Some(0.0));
    }

    #[test]
    fn an_image_without_captions_scores_by_its_pixels() {
        let expected = Similarities { similarity: 0.6, s_img: 0.6, s_txt: None };
        assert_eq!(score(&composed(&[1.0, 0.0], &[], 0.9), &[0.6, 0.8], &[]), expected);
    }

    #[test]
    fn vectors_side_by_side_are_told_apart() {
        let found: Vec<_> = Raw::each(&[3.0, 4.0, 0.0, 2.0], &[5.0, 2.0]).collect();
        assert_eq!(found, [raw(&[3.0, 4.0]), raw(&[0.0, 2.0])]);
        assert_eq!(Raw::each(&[], &[]).count(), 0);
    }

    #[test]
    fn the_order_of_a_sum_is_fixed() {
        // Lane 0 holds 2^54, to which 1/2 adds nothing, and meets its opposite of lane 8 in the first
        // fold; lanes 1 and 9 hold 1 each. Any other order loses one of the two, or keeps the half.
        let big = 2_f32.powi(27);
        let (mut a, mut b) = ([0.0; 17], [0.0; 17]);
        for (i, x, y) in
            [(0, big, big), (16, 0.5, 1.0), (8, big, -big), (1, 1.0, 1.0), (9, 1.0, 1.0)]
        {
            (a[i], b[i]) = (x, y);
        }
        assert_eq!(exact_dot(&a, &b), 2.0);
        assert_eq!(exact_dot(&[], &[]), 0.0);
    }

    proptest! {
        #[test]
        fn products_lose_nothing(pairs in prop::collection::vec((any::<i16>(), any::<i16>()), 0..200)) {
            // because: sums of 200 such products are below 2^53, so that f64 holds them exactly
            let (a, b): (Vec<f32>, Vec<f32>) =
                pairs.iter().map(|&(x, y)| (f32::from(x), f32::from(y))).unzip();
            let exact: i64 = pairs.iter().map(|&(x, y)| i64::from(x) * i64::from(y)).sum();
            prop_assert_eq!(exact_dot(&a, &b), exact as f64);
        }
    }
}
