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

/// One image's closeness to a query, every part of it in -1..=1; greater is closer.
#[derive(Debug, Clone, PartialEq)]
pub struct Similarities {
    /// `s = (1-β)·s_img + β·s_txt`, or `s_img` for an image without captions.
    pub similarity: f32,
    pub s_img: f32,
    /// Mean over the captions; `None` while the image has none.
    pub s_txt: Option<f32>,
}

impl Composed {
    /// Scores one image (METHOD: "Scoring"): `image` is `N(v_n)`, `captions` the `N(t_n,r)` one
    /// after the other, R × d, empty while they have not arrived.
    ///
    /// In caption mode, caption r meets caption r only; slots that one side lacks are left out of
    /// the mean.
    pub fn score(&self, image: &[f32], captions: &[f32]) -> Similarities {
        let s_img = dot(&self.image, image);
        let (sum, slots) = self
            .caption_similarities(captions)
            .fold((0.0, 0), |(sum, slots), s| (sum + s, slots + 1));
        if slots == 0 {
            return Similarities { similarity: s_img, s_img, s_txt: None };
        }
        let s_txt = sum / slots as f32;
        let beta = self.beta.get();
        let similarity = (1.0 - beta) * s_img + beta * s_txt;
        Similarities { similarity, s_img, s_txt: Some(s_txt) }
    }

    /// The similarity of each caption that has something to meet, in order.
    pub fn caption_similarities<'a>(
        &'a self,
        captions: &'a [f32],
    ) -> impl Iterator<Item = f32> + 'a {
        let slots = if self.captions.is_empty() { usize::MAX } else { self.captions.len() };
        captions
            .chunks_exact(self.image.len())
            .take(slots)
            .enumerate()
            .map(|(r, caption)| dot(self.captions.get(r).unwrap_or(&self.image), caption))
    }
}

/// `a·b` for slices of one length, in f32 over sixteen partial sums, so that it vectorises and
/// always adds in the same order.
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    debug_assert_eq!(a.len(), b.len());
    let mut sums = [0.0_f32; 16];
    let (a_chunks, b_chunks) = (a.chunks_exact(16), b.chunks_exact(16));
    let rest: f32 = a_chunks.remainder().iter().zip(b_chunks.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in a_chunks.zip(b_chunks) {
        for i in 0..16 {
            sums[i] += x[i] * y[i];
        }
    }
    sums.iter().sum::<f32>() + rest
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

    #[test]
    fn captions_are_weighed_by_beta() {
        // s_img = 0.6; captions 1.0 and 0.0: s_txt = 0.5; s = 0.75·0.6 + 0.25·0.5
        let s = composed(&[1.0, 0.0], &[], 0.25).score(&[0.6, 0.8], &[1.0, 0.0, 0.0, 1.0]);
        assert_eq!((s.s_img, s.s_txt), (0.6, Some(0.5)));
        assert!((s.similarity - 0.575).abs() < 1e-6, "{s:?}");
    }

    #[test]
    fn in_caption_mode_caption_r_meets_caption_r() {
        let query = composed(&[1.0, 0.0], &[&[1.0, 0.0], &[0.0, 1.0]], 1.0);
        let s = query.score(&[0.0, 1.0], &[1.0, 0.0, 0.0, 1.0]);
        assert_eq!(s.s_txt, Some(1.0));
        // a third caption has no counterpart; a missing second one leaves one slot
        assert_eq!(query.score(&[0.0, 1.0], &[1.0, 0.0, 0.0, 1.0, -1.0, 0.0]).s_txt, Some(1.0));
        assert_eq!(query.score(&[0.0, 1.0], &[0.0, 1.0]).s_txt, Some(0.0));
    }

    #[test]
    fn an_image_without_captions_scores_by_its_pixels() {
        let s = composed(&[1.0, 0.0], &[], 0.9).score(&[0.6, 0.8], &[]);
        assert_eq!(s, Similarities { similarity: 0.6, s_img: 0.6, s_txt: None });
    }

    proptest! {
        #[test]
        fn dot_agrees_with_a_sum_in_f64(pairs in prop::collection::vec((-1f32..1.0, -1f32..1.0), 0..200)) {
            let (a, b): (Vec<f32>, Vec<f32>) = pairs.iter().copied().unzip();
            let exact: f64 = pairs.iter().map(|&(x, y)| f64::from(x) * f64::from(y)).sum();
            prop_assert!((f64::from(dot(&a, &b)) - exact).abs() < 1e-4);
        }
    }
}
