//! One shard in memory: raw vectors side by side, and an exact scan over all of them.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use weimocir_domain::{
    Candidate, CaptionSimilarity, Components, Composed, ImageId, ModelId, Query, Raw, TopK, norm,
};
use weimocir_wire::{
    query::ImageState,
    vectors::{CaptionsPart, ImagePart},
    work::Metadata,
};

use crate::part::Part;

#[derive(Debug, Default)]
pub(crate) struct Gallery {
    shape: Option<(ModelId, usize)>,
    /// Everything ever heard of, deleted images included.
    entries: HashMap<ImageId, Entry>,
    /// Row n of `vectors` and `norms` is image n of `rows`.
    rows: Vec<ImageId>,
    /// `v`, raw, rows × d.
    vectors: Vec<f32>,
    /// `‖v‖`.
    norms: Vec<f64>,
    captioned: u64,
}

#[derive(Debug, Default)]
struct Entry {
    state: ImageState,
    row: Option<usize>,
    about: Option<Arc<About>>,
    captions: Option<Arc<Captions>>,
}

#[derive(Debug)]
struct About {
    source: String,
    metadata: Metadata,
}

#[derive(Debug)]
struct Captions {
    texts: Vec<String>,
    /// `t_r`, raw, R × d.
    vectors: Vec<f32>,
    /// `‖t_r‖`.
    norms: Vec<f64>,
}

impl Captions {
    fn raw(&self) -> impl Iterator<Item = Raw<'_>> {
        Raw::each(&self.vectors, &self.norms)
    }
}

impl Gallery {
    pub(crate) fn shape(&self) -> Option<(&ModelId, usize)> {
        self.shape.as_ref().map(|(model, dim)| (model, *dim))
    }

    pub(crate) fn images(&self) -> u64 {
        self.rows.len() as u64
    }

    /// Images whose captions have arrived.
    pub(crate) fn captioned(&self) -> u64 {
        self.captioned
    }

    pub(crate) fn state(&self, image: ImageId) -> ImageState {
        self.entries.get(&image).map_or_else(ImageState::default, |entry| entry.state)
    }

    /// Applies a part, unless newer word is held. The order in which parts come, repeats included,
    /// never changes the outcome.
    pub(crate) fn apply(&mut self, part: Part) {
        let image = part.image();
        let Some(state) = part.advance(self.state(image)) else { return };
        if self.shape.is_none() {
            self.shape = part.shape().map(|(model, dim)| (model.clone(), dim));
        }
        self.captioned -= u64::from(self.is_captioned(image));
        self.entries.entry(image).or_default().state = state;
        match part {
            Part::Image(part) => self.put_image(part),
            Part::Captions(part) => self.put_captions(part),
            Part::Tombstone(_) => self.forget(image, state),
        }
        self.captioned += u64::from(self.is_captioned(image));
    }

    fn is_captioned(&self, image: ImageId) -> bool {
        self.entries
            .get(&image)
            .is_some_and(|entry| entry.row.is_some() && entry.captions.is_some())
    }

    fn put_image(&mut self, part: ImagePart) {
        let (vector, norm) = (&part.embedding.0, norm(&part.embedding.0));
        let row = self.entries.get(&part.image).and_then(|entry| entry.row);
        let row = match row {
            Some(row) => {
                self.vectors[row * vector.len()..][..vector.len()].copy_from_slice(vector);
                self.norms[row] = norm;
                row
            }
            None => {
                self.rows.push(part.image);
                self.vectors.extend_from_slice(vector);
                self.norms.push(norm);
                self.rows.len() - 1
            }
        };
        let entry = self.entries.entry(part.image).or_default();
        entry.row = Some(row);
        entry.about = Some(Arc::new(About { source: part.source, metadata: part.metadata }));
    }

    fn put_captions(&mut self, part: CaptionsPart) {
        let vectors =
            part.captions.iter().flat_map(|caption| caption.embedding.0.iter().copied()).collect();
        let norms = part.captions.iter().map(|caption| norm(&caption.embedding.0)).collect();
        let texts = part.captions.into_iter().map(|caption| caption.text).collect();
        self.entries.entry(part.image).or_default().captions =
            Some(Arc::new(Captions { texts, vectors, norms }));
    }

    fn forget(&mut self, image: ImageId, state: ImageState) {
        let Some(entry) = self.entries.get_mut(&image) else { return };
        if state.captions.is_none() {
            entry.captions = None;
        }
        if state.image.is_none() {
            entry.about = None;
            if let Some(row) = entry.row.take() {
                self.remove_row(row);
            }
        }
    }

    fn remove_row(&mut self, row: usize) {
        let Some((_, dim)) = self.shape else { return };
        self.rows.swap_remove(row);
        let last = self.rows.len() * dim;
        self.vectors.copy_within(last..last + dim, row * dim);
        self.vectors.truncate(last);
        self.norms.swap_remove(row);
        if let Some(moved) = self.rows.get(row)
            && let Some(entry) = self.entries.get_mut(moved)
        {
            entry.row = Some(row);
        }
    }

    /// The `k` closest images, each scored (METHOD: "Scoring"). Exact: every image is looked at.
    pub(crate) fn search(
        &self,
        query: &Composed,
        k: usize,
        exclude: &HashSet<ImageId>,
    ) -> Vec<Candidate> {
        let mut top = TopK::new(k);
        for (&image, raw) in self.rows.iter().zip(Raw::each(&self.vectors, &self.norms)) {
            if exclude.contains(&image) {
                continue;
            }
            let entry = &self.entries[&image];
            let captions = entry.captions.iter().flat_map(|captions| captions.raw());
            let scored = query.score(raw, captions);
            top.push(scored.similarity, image, (image, scored));
        }
        let chosen = top.into_sorted().into_iter();
        chosen.map(|(image, scored)| self.candidate(query, image, scored)).collect()
    }

    fn candidate(
        &self,
        query: &Composed,
        image: ImageId,
        scored: weimocir_domain::Similarities,
    ) -> Candidate {
        let entry = &self.entries[&image];
        let captions = entry.captions.as_ref().map_or_else(Vec::new, |captions| {
            let mut similarities = query.caption_similarities(captions.raw()).map(|s| s as f32);
            let texts = captions.texts.iter().cloned();
            texts.map(|text| CaptionSimilarity { text, similarity: similarities.next() }).collect()
        });
        let (source, metadata) = match &entry.about {
            Some(about) => (about.source.clone(), about.metadata.clone()),
            None => Default::default(),
        };
        let weimocir_domain::Similarities { similarity, s_img, s_txt } = scored;
        let components = None;
        Candidate { image, similarity, s_img, s_txt, captions, source, metadata, components }
    }

    /// What an image's score is at any weights.
    pub(crate) fn components(&self, query: &Query, image: ImageId) -> Option<Components> {
        let entry = self.entries.get(&image)?;
        let row = entry.row?;
        let dim = self.shape.as_ref()?.1;
        let raw = Raw::new(&self.vectors[row * dim..][..dim], self.norms[row]);
        Some(query.components(raw, entry.captions.iter().flat_map(|captions| captions.raw())))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use weimocir_domain::{Alpha, Beta, Embedding, Revision, fuse};

    use super::*;
    use crate::part::tests::{DIM, captions, id, model, picture, tombstone};

    /// Any vector, the same for the same numbers.
    fn spread(seed: u64) -> Vec<f32> {
        (0..DIM as u64).map(|i| ((seed * 31 + i * 17 + 1) as f32).sin() + 1.5).collect()
    }

    /// What is said about images, with what is said decided by image and revision: a revision names
    /// one submission.
    pub(crate) fn statements() -> impl Strategy<Value = Vec<Part>> {
        let statement = (0_u8..3, 0_u8..4, 1_u64..7).prop_map(|(kind, n, revision)| {
            let seed = u64::from(n) * 100 + revision;
            match kind {
                0 => picture(n, revision, &spread(seed)),
                1 => {
                    let vectors: Vec<_> =
                        (0..revision % 3).map(|r| spread(seed * 10 + r)).collect();
                    captions(n, revision, vectors.iter().map(Vec::as_slice))
                }
                _ => tombstone(n, revision),
            }
        });
        prop::collection::vec(statement, 0..30)
    }

    /// Everything that a gallery answers.
    #[derive(Debug, PartialEq)]
    pub(crate) struct Seen {
        states: Vec<ImageState>,
        images: u64,
        captioned: u64,
        found: Vec<Candidate>,
    }

    pub(crate) fn see(gallery: &Gallery) -> Seen {
        let image = vec![0.5; DIM];
        let query = Composed { image, captions: vec![], beta: Beta::new(0.25).unwrap() };
        Seen {
            states: (0..4).map(|n| gallery.state(id(n))).collect(),
            images: gallery.images(),
            captioned: gallery.captioned(),
            found: gallery.search(&query, 100, &HashSet::new()),
        }
    }

    fn gallery(parts: impl IntoIterator<Item = Part>) -> Gallery {
        let mut gallery = Gallery::default();
        parts.into_iter().for_each(|part| gallery.apply(part));
        gallery
    }

    /// The rule without its order: the greatest revision of each kind, unless a deletion is as new.
    fn held(parts: &[Part]) -> BTreeMap<ImageId, ImageState> {
        let mut held: BTreeMap<ImageId, ImageState> = BTreeMap::new();
        for part in parts {
            let state = held.entry(part.image()).or_default();
            match part {
                Part::Image(p) => state.image = state.image.max(Some(p.revision)),
                Part::Captions(p) => state.captions = state.captions.max(Some(p.revision)),
                Part::Tombstone(p) => state.tombstone = state.tombstone.max(Some(p.revision)),
            }
        }
        for state in held.values_mut() {
            let deleted = state.tombstone;
            let survives = |revision: &Revision| Some(*revision) > deleted;
            state.image = state.image.filter(survives);
            state.captions = state.captions.filter(survives);
        }
        held
    }

    proptest! {
        #[test]
        fn the_order_of_parts_and_repeats_change_nothing(
            (parts, shuffled) in (statements(), any::<prop::sample::Index>()).prop_flat_map(
                |(parts, cut)| {
                    let mut more = parts.clone();
                    let repeated = if parts.is_empty() { 0 } else { cut.index(parts.len()) };
                    more.extend_from_slice(&parts[..repeated]);
                    (Just(parts), Just(more).prop_shuffle())
                },
            )
        ) {
            let (one, other) = (gallery(parts.clone()), gallery(shuffled));
            prop_assert_eq!(see(&one), see(&other));

            let held = held(&parts);
            for n in 0..4 {
                let expected = held.get(&id(n)).copied().unwrap_or_default();
                prop_assert_eq!(one.state(id(n)), expected);
            }
            let shown: Vec<_> = held.values().filter(|state| state.image.is_some()).collect();
            let captioned = shown.iter().filter(|state| state.captions.is_some()).count();
            prop_assert_eq!(one.images(), shown.len() as u64);
            prop_assert_eq!(one.captioned(), captioned as u64);
            for found in see(&one).found {
                let revision = held[&found.image].image.map_or(0, |revision| revision.0);
                let n = found.image.as_bytes()[0];
                prop_assert_eq!(found.source, format!("{n}-{revision}.png"));
            }
        }
    }

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
                gallery.apply(picture(n as u8, 1, image));
                // because: no captions yet and an empty list of them are two ways to have none
                if !texts.is_empty() || n % 2 == 0 {
                    gallery.apply(captions(n as u8, 1, texts.iter().map(Vec::as_slice)));
                }
            }
            let exclude = excluded.iter().map(|&n| id(n)).collect();
            let found = gallery.search(&query, k, &exclude);

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
                let components = gallery.components(&sides, candidate.image).unwrap();
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
        let gallery = gallery([3, 1, 4, 0, 2].map(|n| picture(n, 1, &vector)));
        let query =
            Composed { image: vec![0.5; DIM], captions: vec![], beta: Beta::new(0.0).unwrap() };
        let ids = |k: usize, exclude: &[u8]| -> Vec<u8> {
            let exclude = exclude.iter().map(|&n| id(n)).collect();
            let found = gallery.search(&query, k, &exclude);
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
            assert_eq!(Gallery::default().search(&query, 10, &HashSet::new()), []);
        }
    }
}
