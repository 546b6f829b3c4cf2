//! One shard in memory: what is known of each image, the index that finds the closest, and the fields
//! that filters ask for. `search` asks them.

mod search;

use std::{cmp::Reverse, collections::HashMap, sync::Arc};

use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};
use weimocir_domain::{FieldError, FieldKinds, Filter, FilterError, ImageId, ModelId, Revision};
use weimocir_index::{
    Anonymous, Entry, Fields, Index, IndexError, Learned, Memory, Prepared, Sample,
};
use weimocir_wire::{
    query::{ImageState, ListedImage},
    work::Metadata,
};

use crate::{
    disk::{RawVectors, Recollection},
    part::Part,
};

#[derive(Debug)]
pub(crate) struct Gallery {
    /// Where the index keeps exact vectors.
    memory: Arc<dyn Memory>,
    /// The model that all vectors are of, once it is known.
    model: Option<ModelId>,
    /// The index of the images' vectors, once there are any.
    index: Option<Index>,
    /// Everything ever heard of, deleted images included.
    known: HashMap<ImageId, Known>,
    captioned: u64,
    /// What filters ask of the index's rows.
    fields: Fields,
    /// Images whose metadata do not fit the fields' kinds.
    misfits: u64,
}

/// All that memory has of an image but what the index holds.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Known {
    state: ImageState,
    about: Option<Arc<About>>,
    texts: Option<Arc<[String]>>,
    /// Caption vectors of an image that is not there yet: the index has those of the others.
    #[serde(skip)]
    waiting: Vec<Vec<f32>>,
}

impl Known {
    fn is_captioned(&self) -> bool {
        self.about.is_some() && self.texts.is_some()
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct About {
    source: String,
    metadata: Metadata,
}

/// Everything about an image after some parts.
#[derive(Debug)]
struct Held {
    state: ImageState,
    image: Option<(Vec<f32>, Arc<About>)>,
    captions: Option<Captions>,
}

#[derive(Debug)]
struct Captions {
    /// `t_r`
    vectors: Vec<Vec<f32>>,
    texts: Arc<[String]>,
}

impl Held {
    /// Applies a part, unless newer word is held. The order in which parts come, repeats included,
    /// never changes the outcome.
    fn apply(&mut self, part: Part) {
        let Some(state) = part.advance(self.state) else { return };
        self.state = state;
        match part {
            Part::Image(part) => {
                let about = About { source: part.source, metadata: part.metadata };
                self.image = Some((part.embedding.0, Arc::new(about)));
            }
            Part::Captions(part) => {
                let captions = part.captions.into_iter();
                let (vectors, texts): (Vec<_>, Vec<_>) =
                    captions.map(|caption| (caption.embedding.0, caption.text)).unzip();
                self.captions = Some(Captions { vectors, texts: texts.into() });
            }
            Part::Tombstone(_) => {
                self.image = self.image.take().filter(|_| state.image.is_some());
                self.captions = self.captions.take().filter(|_| state.captions.is_some());
            }
        }
    }
}

/// What some parts change, worked out before it is done.
#[derive(Debug)]
pub(crate) struct Plan {
    shape: Option<(ModelId, usize)>,
    images: HashMap<ImageId, Held>,
    prepared: Prepared,
}

impl Plan {
    fn entries(images: &HashMap<ImageId, Held>) -> Vec<Entry<'_>> {
        let entries = images.iter().filter_map(|(&image, held)| {
            let (embedding, _) = held.image.as_ref()?;
            let captions = held.captions.iter().flat_map(|captions| &captions.vectors);
            let captions = captions.map(Vec::as_slice).collect();
            Some(Entry { image, embedding, captions })
        });
        entries.collect()
    }
}

impl Default for Gallery {
    fn default() -> Self {
        Self::new(Arc::new(Anonymous))
    }
}

impl Gallery {
    pub(crate) fn new(memory: Arc<dyn Memory>) -> Self {
        Self {
            memory,
            model: None,
            index: None,
            known: HashMap::new(),
            captioned: 0,
            fields: Fields::default(),
            misfits: 0,
        }
    }

    /// Knows what was [noted](Self::known_of) of images, the newest last, but has no vectors yet.
    pub(crate) fn of_known(known: Vec<Vec<(ImageId, Known)>>, memory: Arc<dyn Memory>) -> Self {
        let mut gallery = Self::new(memory);
        gallery.known.reserve(known.iter().map(Vec::len).sum());
        gallery.known.extend(known.into_iter().flatten());
        gallery.captioned =
            gallery.known.values().filter(|known| known.is_captioned()).count() as u64;
        gallery
    }

    /// What is known of some images.
    pub(crate) fn known_of(&self, images: &[ImageId]) -> Vec<(ImageId, Known)> {
        let known = |&image| Some((image, self.known.get(&image)?.clone()));
        images.iter().filter_map(known).collect()
    }

    /// Takes what the disk has of images for what is known of them, but for their vectors.
    pub(crate) fn recall(
        &mut self,
        recollections: impl IntoIterator<Item = (ImageId, Recollection)>,
    ) {
        for (image, recollection) in recollections {
            let state = recollection.state();
            let Recollection { image: picture, captions, .. } = recollection;
            let (models, texts) = captions.map(|record| (record.model, record.texts)).unzip();
            let about = picture.map(|record| {
                let about = About { source: record.source, metadata: record.metadata };
                (record.model, Arc::new(about))
            });
            let (model, about) = about.unzip();
            self.model = self.model.take().or(model).or(models);
            let known = Known { state, about, texts: texts.map(Arc::from), waiting: Vec::new() };
            self.captioned += u64::from(known.is_captioned());
            let before = self.known.insert(image, known);
            self.captioned -= u64::from(before.is_some_and(|known| known.is_captioned()));
        }
    }

    /// What is held of every image ever heard of.
    pub(crate) fn states(&self) -> impl Iterator<Item = ImageState> {
        self.known.values().map(|known| known.state)
    }

    /// Takes over an index that was saved.
    pub(crate) fn seat(&mut self, model: ModelId, index: Index) {
        (self.model, self.index) = (Some(model), Some(index));
    }

    /// Every image ever heard of.
    pub(crate) fn known_images(&self) -> Vec<ImageId> {
        self.known.keys().copied().collect()
    }

    /// Images whose captions are here before their pixels.
    pub(crate) fn waiting_images(&self) -> Vec<ImageId> {
        let waits = |known: &Known| known.about.is_none() && known.texts.is_some();
        let waiting = self.known.iter().filter(|(_, known)| waits(known));
        waiting.map(|(&image, _)| image).collect()
    }

    /// Puts in the vectors of images that are known already.
    ///
    /// # Errors
    /// A vector is missing or has no direction; no memory.
    pub(crate) fn put_back(
        &mut self,
        vectors: Vec<(ImageId, RawVectors)>,
    ) -> Result<(), IndexError> {
        let mut here = Vec::new();
        for (image, vectors) in vectors {
            let Some(known) = self.known.get_mut(&image) else { continue };
            let texts = known.texts.as_ref().map_or(0, |texts| texts.len());
            let RawVectors { embedding, captions } = vectors;
            if captions.len() != texts || embedding.is_some() != known.about.is_some() {
                return Err(IndexError::Corrupt { image });
            }
            let dim = embedding.as_ref().or(captions.first()).map(Vec::len);
            if let (None, Some(dim)) = (&self.index, dim) {
                self.index = Some(Index::with_memory(dim, Box::new(self.memory.clone()))?);
            }
            match embedding {
                Some(embedding) => here.push((image, embedding, captions)),
                None => known.waiting = captions,
            }
        }
        let entries = here.iter().map(|(image, embedding, captions)| Entry {
            image: *image,
            embedding,
            captions: captions.iter().map(Vec::as_slice).collect(),
        });
        let entries: Vec<_> = entries.collect();
        self.index.as_mut().map_or(Ok(()), |index| index.insert(&entries))
    }

    /// Whether the index has the images that are known, with as many captions, and no others.
    pub(crate) fn is_whole(&self) -> bool {
        let here = self.known.iter().filter(|(_, known)| known.about.is_some());
        let fits = |(image, known): (&ImageId, &Known)| {
            let texts = known.texts.as_ref().map_or(0, |texts| texts.len());
            self.index().is_some_and(|index| index.captions_of(*image) == Some(texts))
        };
        here.clone().count() as u64 == self.images() && here.clone().all(fits)
    }

    pub(crate) fn shape(&self) -> Option<(&ModelId, usize)> {
        self.indexed().map(|(model, index)| (model, index.dim()))
    }

    /// The index, and the model that its vectors are of.
    pub(crate) fn indexed(&self) -> Option<(&ModelId, &Index)> {
        self.model.as_ref().zip(self.index.as_ref())
    }

    fn index(&self) -> Option<&Index> {
        self.index.as_ref()
    }

    pub(crate) fn images(&self) -> u64 {
        self.index().map_or(0, |index| index.len() as u64)
    }

    /// Images whose captions have arrived.
    pub(crate) fn captioned(&self) -> u64 {
        self.captioned
    }

    /// The images submitted last before a revision, newest first.
    pub(crate) fn newest(&self, before: Option<Revision>, limit: usize) -> Vec<ListedImage> {
        let here = self.known.iter().filter_map(|(&image, known)| {
            let (about, revision) = (known.about.as_ref()?, known.state.image?);
            before.is_none_or(|before| revision < before).then_some((revision, image, about, known))
        });
        let mut here: Vec<_> = here.collect();
        let newest_first =
            |&(revision, image, ..): &(Revision, ImageId, _, _)| (Reverse(revision), image);
        if limit < here.len() {
            here.select_nth_unstable_by_key(limit, newest_first);
            here.truncate(limit);
        }
        here.sort_unstable_by_key(newest_first);
        let listed = here.into_iter().map(|(revision, image, about, known)| ListedImage {
            image,
            revision,
            captions: known.texts.as_deref().unwrap_or_default().to_vec(),
            source: about.source.clone(),
            metadata: about.metadata.clone(),
        });
        listed.collect()
    }

    pub(crate) fn state(&self, image: ImageId) -> ImageState {
        self.known.get(&image).map_or_else(ImageState::default, |known| known.state)
    }

    /// Reads all metadata by these fields from now on.
    pub(crate) fn declare(&mut self, fields: &FieldKinds) {
        (self.fields, self.misfits) = (Fields::new(fields), 0);
        let images: Vec<_> = self.index().map_or_else(Vec::new, |index| index.images().collect());
        images.into_iter().for_each(|image| self.read_fields(image));
    }

    /// The rows that the filter lets through.
    pub(crate) fn select(&self, filter: &Filter) -> Result<RoaringBitmap, FilterError> {
        self.fields.select(filter)
    }

    fn read_fields(&mut self, image: ImageId) {
        let row = self.index().and_then(|index| index.row(image));
        let about = self.known.get(&image).and_then(|known| known.about.clone());
        let (Some(row), Some(about)) = (row, about) else { return };
        let misfits = self.fields.insert(row, &about.metadata);
        if let Some(misfit) = misfits.first() {
            self.warn(image, misfit);
        }
    }

    /// Feeds refuse such metadata: these came another way, or before the field was declared.
    fn warn(&mut self, image: ImageId, misfit: &FieldError) {
        self.misfits += 1;
        // because: a field that is declared late may fit none of a million images
        if self.misfits == 1 {
            tracing::warn!(%image, %misfit, "filters pass over a field of an image; others are told at debug level");
        } else {
            tracing::debug!(%image, %misfit, "filters pass over a field of an image");
        }
    }

    /// Works out what parts change: the slow part of applying them, which needs no exclusive access.
    ///
    /// # Errors
    /// The memory does not hold what was written to it.
    pub(crate) fn plan(&self, parts: impl IntoIterator<Item = Part>) -> Result<Plan, IndexError> {
        let mut shape = self.shape().map(|(model, dim)| (model.clone(), dim));
        let mut images = HashMap::new();
        for part in parts {
            shape = shape.or_else(|| part.shape().map(|(model, dim)| (model.clone(), dim)));
            let held = match images.entry(part.image()) {
                std::collections::hash_map::Entry::Occupied(held) => held.into_mut(),
                std::collections::hash_map::Entry::Vacant(new) => {
                    let held = self.held(part.image())?;
                    new.insert(held)
                }
            };
            held.apply(part);
        }
        let prepared = match self.index() {
            Some(index) => index.prepare(&Plan::entries(&images))?,
            None => Prepared::default(),
        };
        Ok(Plan { shape, images, prepared })
    }

    fn held(&self, image: ImageId) -> Result<Held, IndexError> {
        let Some(known) = self.known.get(&image) else {
            return Ok(Held { state: ImageState::default(), image: None, captions: None });
        };
        let exact = self.index().map(|index| index.exact(image)).transpose()?.flatten();
        let vectors = match exact {
            Some((_, captions)) => captions.iter().map(|t| t.values().to_vec()).collect(),
            None => known.waiting.clone(),
        };
        let embedding = exact.and_then(|(image, _)| image.iter().next());
        Ok(Held {
            state: known.state,
            image: embedding.map(|v| v.values().to_vec()).zip(known.about.clone()),
            captions: known.texts.clone().map(|texts| Captions { vectors, texts }),
        })
    }

    /// Does what was planned. Nothing may have changed since but the codes.
    ///
    /// # Errors
    /// No memory.
    pub(crate) fn commit(&mut self, plan: Plan) -> Result<(), IndexError> {
        let Plan { shape, images, prepared } = plan;
        if self.index.is_none()
            && let Some((model, dim)) = shape
        {
            self.index = Some(Index::with_memory(dim, Box::new(self.memory.clone()))?);
            self.model = Some(model);
        }
        if let Some(index) = &mut self.index {
            index.apply(&Plan::entries(&images), prepared)?;
        }
        for (image, held) in images {
            self.captioned -= u64::from(self.is_captioned(image));
            let is_here = held.image.is_some();
            let (vectors, texts) = held.captions.map(|held| (held.vectors, held.texts)).unzip();
            let known = self.known.entry(image).or_default();
            known.state = held.state;
            known.about = held.image.map(|(_, about)| about);
            known.texts = texts;
            known.waiting = vectors.filter(|_| !is_here).unwrap_or_default();
            self.captioned += u64::from(self.is_captioned(image));
            if is_here {
                self.read_fields(image);
            } else if let Some(index) = &mut self.index
                && let Some(row) = index.row(image)
            {
                self.fields.remove(row);
                index.remove(image);
            }
        }
        Ok(())
    }

    /// Plans and commits at once.
    #[cfg(test)]
    pub(crate) fn apply(
        &mut self,
        parts: impl IntoIterator<Item = Part>,
    ) -> Result<(), IndexError> {
        let plan = self.plan(parts)?;
        self.commit(plan)
    }

    fn is_captioned(&self, image: ImageId) -> bool {
        self.known.get(&image).is_some_and(Known::is_captioned)
    }

    /// Whether there are images enough to learn new codes from, and learning has not begun.
    pub(crate) fn learning_is_due(&self) -> bool {
        self.index().is_some_and(Index::learning_is_due)
    }

    pub(crate) fn begin_learning(&mut self) {
        if let Some(index) = &mut self.index {
            index.begin_learning();
        }
    }

    /// # Errors
    /// The memory does not hold what was written to it.
    pub(crate) fn sample(&self) -> Result<Option<Sample>, IndexError> {
        self.index().map(Index::sample).transpose()
    }

    /// Codes some more images; says whether none is left.
    ///
    /// # Errors
    /// The memory does not hold what was written to it.
    pub(crate) fn advance(&self, learned: &mut Learned) -> Result<bool, IndexError> {
        self.index().map_or(Ok(true), |index| learned.advance(index))
    }

    /// Searches by new codes from now on.
    ///
    /// # Errors
    /// No memory, or memory that does not hold what was written to it.
    pub(crate) fn adopt(&mut self, learned: Learned) -> Result<(), IndexError> {
        self.index.as_mut().map_or(Ok(()), |index| index.adopt(learned))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;
    use serde_json::json;
    use weimocir_domain::{Beta, Candidate, Composed};

    use super::*;
    use crate::part::tests::{DIM, captions, id, picture, tombstone};

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
            found: gallery.search(&query, 100, &[], None).unwrap(),
        }
    }

    fn gallery(parts: impl IntoIterator<Item = Part>) -> Gallery {
        let mut gallery = Gallery::default();
        parts.into_iter().for_each(|part| gallery.apply([part]).unwrap());
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
            let (one, other) = (gallery(parts.clone()), gallery(shuffled.clone()));
            prop_assert_eq!(see(&one), see(&other));
            let mut at_once = Gallery::default();
            at_once.apply(shuffled).unwrap();
            prop_assert_eq!(see(&one), see(&at_once));

            let held = held(&parts);
            for n in 0..4 {
                let expected = held.get(&id(n)).copied().unwrap_or_default();
                prop_assert_eq!(one.state(id(n)), expected);
            }
            let shown: Vec<_> = held.values().filter(|state| state.image.is_some()).collect();
            let captioned = shown.iter().filter(|state| state.captions.is_some()).count();
            prop_assert_eq!(one.images(), shown.len() as u64);
            prop_assert_eq!(one.captioned(), captioned as u64);
            let mut newest: Vec<_> = held.iter().filter_map(|(&n, s)| Some((s.image?, n))).collect();
            newest.sort_by_key(|&(revision, image)| (Reverse(revision), image));
            let before = Some(Revision(4));
            newest.retain(|&(revision, _)| Some(revision) < before);
            newest.truncate(2);
            let listed = one.newest(before, 2).into_iter().map(|one| (one.revision, one.image));
            prop_assert_eq!(listed.collect::<Vec<_>>(), newest);
            for found in see(&one).found {
                let revision = held[&found.image].image.map_or(0, |revision| revision.0);
                let n = found.image.as_bytes()[0];
                prop_assert_eq!(found.source, format!("{n}-{revision}.png"));
            }
        }
    }

    /// Images that the filter finds, by their first byte.
    fn found(gallery: &Gallery, filter: &Filter) -> BTreeSet<u8> {
        let query =
            Composed { image: vec![0.5; DIM], captions: vec![], beta: Beta::new(0.0).unwrap() };
        let allowed = gallery.select(filter).unwrap();
        let found = gallery.search(&query, 100, &[], Some(&allowed)).unwrap();
        assert_eq!(found.len() as u64, allowed.len());
        found.iter().map(|candidate| candidate.image.as_bytes()[0]).collect()
    }

    proptest! {
        #[test]
        fn a_filter_finds_what_the_newest_metadata_say(
            parts in statements(), declared_at in any::<prop::sample::Index>(), least in 1_u64..7,
        ) {
            let fields = serde_json::from_str(r#"{"revision": "integer"}"#).unwrap();
            let declared_at = declared_at.index(parts.len() + 1);
            let mut gallery = Gallery::default();
            for (n, part) in parts.iter().enumerate() {
                if n == declared_at {
                    gallery.declare(&fields);
                }
                gallery.apply([part.clone()]).unwrap();
            }
            if declared_at == parts.len() {
                gallery.declare(&fields);
            }
            let filter = json!({ "field": "revision", "range": { "gte": least } });
            let filter: Filter = serde_json::from_value(filter).unwrap();
            let held = held(&parts);
            let newest = |n| held.get(&id(n)).and_then(|state| state.image);
            let expected = (0..4).filter(|&n| newest(n).is_some_and(|revision| revision.0 >= least));
            prop_assert_eq!(found(&gallery, &filter), expected.collect());
            let rest = (0..4).filter(|&n| newest(n).is_some_and(|revision| revision.0 < least));
            prop_assert_eq!(found(&gallery, &Filter::Not(Box::new(filter))), rest.collect());
        }
    }

    #[test]
    fn metadata_of_another_kind_are_passed_over() {
        let mut gallery = gallery([picture(1, 5, &[1.0; DIM]), picture(2, 6, &[1.0; DIM])]);
        gallery.declare(&serde_json::from_str(r#"{"revision": "keyword"}"#).unwrap());
        let exists = r#"{"field": "revision", "exists": true}"#;
        assert!(found(&gallery, &serde_json::from_str(exists).unwrap()).is_empty());
        assert_eq!((gallery.images(), gallery.misfits), (2, 2));
    }
}
