//! One shard in memory: unit vectors side by side, and an exact scan over all of them.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use weimocir_domain::{Candidate, CaptionSimilarity, Composed, ImageId, ModelId, TopK};
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
    /// Row n of `units` is image n of `rows`.
    rows: Vec<ImageId>,
    /// `N(v)`, rows × d.
    units: Vec<f32>,
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
    /// `N(t_r)`, R × d.
    units: Vec<f32>,
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
        let unit = unit(&part.embedding.0);
        let row = self.entries.get(&part.image).and_then(|entry| entry.row);
        let row = match row {
            Some(row) => {
                self.units[row * unit.len()..][..unit.len()].copy_from_slice(&unit);
                row
            }
            None => {
                self.rows.push(part.image);
                self.units.extend_from_slice(&unit);
                self.rows.len() - 1
            }
        };
        let entry = self.entries.entry(part.image).or_default();
        entry.row = Some(row);
        entry.about = Some(Arc::new(About { source: part.source, metadata: part.metadata }));
    }

    fn put_captions(&mut self, part: CaptionsPart) {
        let units = part.captions.iter().flat_map(|caption| unit(&caption.embedding.0)).collect();
        let texts = part.captions.into_iter().map(|caption| caption.text).collect();
        self.entries.entry(part.image).or_default().captions =
            Some(Arc::new(Captions { texts, units }));
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
        self.units.copy_within(last..last + dim, row * dim);
        self.units.truncate(last);
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
        for (row, unit) in self.units.chunks_exact(query.image.len()).enumerate() {
            let image = self.rows[row];
            if exclude.contains(&image) {
                continue;
            }
            let entry = &self.entries[&image];
            let captions = entry.captions.as_ref().map_or(&[][..], |captions| &captions.units);
            let scored = query.score(unit, captions);
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
            let mut similarities = query.caption_similarities(&captions.units);
            let texts = captions.texts.iter().cloned();
            texts.map(|text| CaptionSimilarity { text, similarity: similarities.next() }).collect()
        });
        let (source, metadata) = match &entry.about {
            Some(about) => (about.source.clone(), about.metadata.clone()),
            None => Default::default(),
        };
        let weimocir_domain::Similarities { similarity, s_img, s_txt } = scored;
        Candidate { image, similarity, s_img, s_txt, captions, source, metadata }
    }
}

/// `N(x)` of values that were checked when the part was read.
fn unit(values: &[f32]) -> Vec<f32> {
    let norm = values.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt() as f32;
    values.iter().map(|x| x / norm).collect()
}
