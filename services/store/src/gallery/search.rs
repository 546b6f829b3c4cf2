//! The closest images of a shard, each with its score. What is held of them is `gallery`'s, and how the
//! closest are found `weimocir-index`'s.

use roaring::RoaringBitmap;
use weimocir_domain::{
    Candidate, CaptionSimilarity, Components, Composed, ImageId, Query, Raw, Similarities,
};
use weimocir_index::{Index, IndexError, Wanted};

use super::Gallery;

impl Gallery {
    /// The `k` closest images, or all if there are fewer, among all or those in `allowed` rows, each
    /// scored (METHOD: "Scoring").
    ///
    /// # Errors
    /// A query of another length than the gallery's vectors, or memory that does not hold what was
    /// written to it.
    pub(crate) fn search(
        &self,
        query: &Composed,
        k: usize,
        exclude: &[ImageId],
        allowed: Option<&RoaringBitmap>,
    ) -> Result<Vec<Candidate>, IndexError> {
        let Some(index) = self.index() else { return Ok(Vec::new()) };
        // because: a shard is a part of the gallery, and may have fewer than are asked of the whole
        let k = k.min(index.len());
        if k == 0 {
            return Ok(Vec::new());
        }
        let wanted = Wanted { k, rows: allowed, exclude, ..Wanted::default() };
        let found = index.search(query, &wanted)?.into_iter();
        found.map(|found| self.candidate(index, query, found.image)).collect()
    }

    fn candidate(
        &self,
        index: &Index,
        query: &Composed,
        image: ImageId,
    ) -> Result<Candidate, IndexError> {
        let (v, t) = raw(index, image)?;
        let Similarities { similarity, s_img, s_txt } = query.score(v, t.iter().copied());
        let mut similarities = query.caption_similarities(t).map(|s| s as f32);
        let known = self.known.get(&image);
        let texts = known.and_then(|known| known.texts.as_deref()).unwrap_or_default();
        let captions = texts
            .iter()
            .map(|text| CaptionSimilarity { text: text.clone(), similarity: similarities.next() });
        let captions = captions.collect();
        let (source, metadata) = match known.and_then(|known| known.about.as_ref()) {
            Some(about) => (about.source.clone(), about.metadata.clone()),
            None => Default::default(),
        };
        let components = None;
        let rerank_score = None;
        Ok(Candidate {
            image,
            similarity,
            s_img,
            s_txt,
            captions,
            source,
            metadata,
            components,
            rerank_score,
        })
    }

    /// What an image's score is at any weights.
    ///
    /// # Errors
    /// The memory does not hold what was written to it.
    pub(crate) fn components(
        &self,
        query: &Query,
        image: ImageId,
    ) -> Result<Option<Components>, IndexError> {
        let Some(index) = self.index().filter(|index| index.row(image).is_some()) else {
            return Ok(None);
        };
        let (v, t) = raw(index, image)?;
        Ok(Some(query.components(v, t)))
    }
}

/// An image's `v` and `t_r`.
fn raw(index: &Index, image: ImageId) -> Result<(Raw<'_>, Vec<Raw<'_>>), IndexError> {
    let (embedding, captions) = index.exact(image)?.ok_or(IndexError::Corrupt { image })?;
    let embedding = embedding.iter().next().ok_or(IndexError::Corrupt { image })?;
    Ok((embedding, captions.iter().collect()))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;
    use weimocir_domain::{Alpha, Beta, Embedding, fuse};

    use super::*;
    use crate::part::tests::{DIM, captions, id, model, picture};

    /// METHOD "Scoring", in f64 from the raw features: an independent reading of the formula.
    mod reference {
        fn unit(x: &[f64]) -> Vec<f64> {
            let length = x.iter().map(|x| x.powi(2)).sum::<f64>().sqrt();
            x.iter().map(|x| x / length).collect()
        }

        fn wide(x: &[f32]) -> Vec<f64> {
            x.iter().copied().map(f64::from).collect()
        }

        fn inner(a: &[f64], b: &[f64]) -> f64 {
            a.iter().zip(b).map(|(a, b)| a * b).sum()
        }

        pub(super) fn fused(x: &[f32], modifier: &[f32], alpha: f32) -> (Vec<f64>, f64) {
            let alpha = f64::from(alpha);
            let sum: Vec<f64> = wide(x)
                .iter()
                .zip(wide(modifier))
                .map(|(x, m)| (1.0 - alpha) * x + alpha * m)
                .collect();
            (unit(&sum), inner(&sum, &sum).sqrt())
        }

        /// `s`, with every caption of the image against its own query vector.
        pub(super) fn score(
            q: &[f64],
            q_r: &[Vec<f64>],
            beta: f32,
            image: &[f32],
            captions: &[Vec<f32>],
        ) -> f64 {
            let beta = f64::from(beta);
            let s_img = inner(q, &unit(&wide(image)));
            let met = captions.len().min(q_r.len());
            if met == 0 {
                return s_img;
            }
            let s_txt = (0..met).map(|r| inner(&q_r[r], &unit(&wide(&captions[r])))).sum::<f64>();
            (1.0 - beta) * s_img + beta * s_txt / met as f64
        }
    }

    fn raw() -> impl Strategy<Value = Vec<f32>> {
        let length = |x: &Vec<f32>| x.iter().map(|x| x * x).sum::<f32>();
        prop::collection::vec(-3_f32..3.0, DIM)
            .prop_filter("no direction", move |x| length(x) > 0.1)
    }

    proptest! {
        #[test]
        fn a_search_agrees_with_the_formula_in_f64(
            images in prop::collection::vec((raw(), prop::collection::vec(raw(), 0..4)), 0..12),
            (v, m, t_ref) in (raw(), raw(), prop::collection::vec(raw(), 1..4)),
            (alpha, beta) in (0_f32..=1.0, 0_f32..=1.0),
            by_caption: bool,
            k in 0_usize..14,
            excluded in prop::collection::hash_set(0_u8..12, 0..4),
        ) {
            let sides = if by_caption { &t_ref[..] } else { std::slice::from_ref(&v) };
            prop_assume!(reference::fused(&v, &m, alpha).1 > 0.1);
            prop_assume!(sides.iter().all(|x| reference::fused(x, &m, alpha).1 > 0.1));

            let embedding = |x: &Vec<f32>| Embedding::new(model(), x.as_slice()).unwrap();
            let compose = |x: &Vec<f32>| {
                fuse(Some(&embedding(x)), Some(&embedding(&m)), Alpha::new(alpha).unwrap()).unwrap()
            };
            let query = Composed {
                image: compose(&v),
                captions: if by_caption { t_ref.iter().map(compose).collect() } else { vec![] },
                beta: Beta::new(beta).unwrap(),
            };
            let mut gallery = Gallery::default();
            for (n, (image, texts)) in images.iter().enumerate() {
                gallery.apply([picture(n as u8, 1, image)]).unwrap();
                // because: no captions yet and an empty list of them are two ways to have none
                if !texts.is_empty() || n % 2 == 0 {
                    gallery.apply([captions(n as u8, 1, texts.iter().map(Vec::as_slice))]).unwrap();
                }
            }
            let exclude: Vec<_> = excluded.iter().map(|&n| id(n)).collect();
            let found = gallery.search(&query, k, &exclude, None).unwrap();

            let q = reference::fused(&v, &m, alpha).0;
            let q_r: Vec<Vec<f64>> = match by_caption {
                true => t_ref.iter().map(|t| reference::fused(t, &m, alpha).0).collect(),
                false => vec![q.clone(); 3],
            };
            let mut expected: Vec<(f64, ImageId)> = (0_u8..)
                .zip(&images)
                .filter(|(n, _)| !excluded.contains(n))
                .map(|(n, (image, texts))| {
                    (reference::score(&q, &q_r, beta, image, texts), id(n))
                })
                .collect();
            expected.sort_by(|a, b| b.0.total_cmp(&a.0));
            let exact: HashMap<ImageId, f64> = expected.iter().map(|&(s, image)| (image, s)).collect();
            expected.truncate(k);

            let captions = if by_caption { t_ref.iter().map(embedding).collect() } else { vec![] };
            let sides = Query::new(Some(embedding(&v)), Some(embedding(&m)), captions).unwrap();
            for candidate in &found {
                let components = gallery.components(&sides, candidate.image).unwrap().unwrap();
                let (alpha, beta) = (Alpha::new(alpha).unwrap(), Beta::new(beta).unwrap());
                let similarity = components.similarity(&sides.norms(), alpha, beta).unwrap();
                prop_assert!((similarity - exact[&candidate.image]).abs() < 1e-11);
            }

            prop_assert_eq!(found.len(), expected.len());
            for (candidate, (score, _)) in found.iter().zip(&expected) {
                let similarity = f64::from(candidate.similarity);
                prop_assert!((similarity - score).abs() < 1e-6, "{} at {}", similarity, score);
                prop_assert!((similarity - exact[&candidate.image]).abs() < 1e-6);
                let (_, texts) = &images[usize::from(candidate.image.as_bytes()[0])];
                prop_assert_eq!(candidate.s_txt.is_some(), !texts.is_empty());
                prop_assert_eq!(candidate.captions.len(), texts.len());
                let met = if by_caption { t_ref.len() } else { usize::MAX };
                for (r, caption) in candidate.captions.iter().enumerate() {
                    prop_assert_eq!(caption.similarity.is_some(), r < met);
                }
            }
        }
    }

    #[test]
    fn equally_close_images_come_by_ascending_id() {
        let vector = [1.0, 2.0, 3.0, 4.0];
        let mut gallery = Gallery::default();
        gallery.apply([3, 1, 4, 0, 2].map(|n| picture(n, 1, &vector))).unwrap();
        let query =
            Composed { image: vec![0.5; DIM], captions: vec![], beta: Beta::new(0.0).unwrap() };
        let ids = |k: usize, exclude: &[u8]| -> Vec<u8> {
            let exclude: Vec<_> = exclude.iter().map(|&n| id(n)).collect();
            let found = gallery.search(&query, k, &exclude, None).unwrap();
            found.iter().map(|candidate| candidate.image.as_bytes()[0]).collect()
        };
        assert_eq!(ids(5, &[]), [0, 1, 2, 3, 4]);
        assert_eq!(ids(2, &[]), [0, 1]);
        assert_eq!(ids(3, &[0, 2, 9]), [1, 3, 4]);
        assert!(ids(0, &[]).is_empty());
    }

    #[test]
    fn an_empty_gallery_finds_nothing_whatever_is_asked() {
        for image in [vec![], vec![1.0]] {
            let query = Composed { image, captions: vec![], beta: Beta::new(0.5).unwrap() };
            assert_eq!(Gallery::default().search(&query, 10, &[], None), Ok(vec![]));
        }
    }
}
