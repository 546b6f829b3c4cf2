//! Scores in f64, by `weimocir_domain`'s formulas: what decides between images that f32 cannot tell
//! apart, and which of two equal ones comes first.

use std::collections::HashMap;

use weimocir_domain::{
    Alpha, Beta, Components, Embedding, FusionError, ModelId, Norms, Query, Raw, TextReference,
};

use crate::{captions::CaptionChoice, products::Gallery};

/// One query's scores; what it has computed of an image serves every α and β.
#[derive(Debug)]
pub(crate) struct Exact<'a> {
    gallery: &'a Gallery<'a>,
    choice: CaptionChoice,
    /// The captions of the reference that take its place; empty where the reference itself does.
    own: CaptionChoice,
    reference: Embedding,
    modifier: Embedding,
    t_ref: Vec<(usize, Embedding)>,
    queries: HashMap<CaptionChoice, (Query, Norms)>,
    images: HashMap<usize, (CaptionChoice, Components)>,
}

impl<'a> Exact<'a> {
    /// `None` if the reference could not be encoded.
    pub(crate) fn new(
        gallery: &'a Gallery<'a>,
        query: usize,
        mode: TextReference,
        choice: CaptionChoice,
    ) -> Option<Self> {
        let reference = gallery.set.triplets[query].reference;
        if gallery.embeddings.is_absent(reference) {
            return None;
        }
        let own = match mode {
            TextReference::Image => CaptionChoice::of(&[]),
            TextReference::Caption => gallery.present(reference).and(choice),
        };
        let embedding = |values: &[f32]| {
            Embedding::new(ModelId::new("evaluated"), values)
                .expect("embeddings are checked when they are read")
        };
        let caption = |r| (r, embedding(gallery.embeddings.caption(reference, r).values()));
        Some(Self {
            gallery,
            choice,
            own,
            reference: embedding(gallery.embeddings.image(reference).values()),
            modifier: embedding(gallery.embeddings.modifier(query)),
            t_ref: own.slots().map(caption).collect(),
            queries: HashMap::new(),
            images: HashMap::new(),
        })
    }

    /// The captions that this query meets: those that both it and the choice have.
    pub(crate) fn met(&self) -> CaptionChoice {
        if self.own.is_empty() { self.choice } else { self.own }
    }

    /// Whose captions stand in for the reference.
    pub(crate) fn mode(&self) -> TextReference {
        if self.own.is_empty() { TextReference::Image } else { TextReference::Caption }
    }

    /// The norms of the whole query.
    pub(crate) fn norms(&mut self) -> &Norms {
        &self.query(self.own).1
    }

    pub(crate) fn dim(&self) -> usize {
        self.modifier.dim()
    }

    pub(crate) fn score(
        &mut self,
        image: usize,
        alpha: Alpha,
        beta: Beta,
    ) -> Result<f64, FusionError> {
        if !self.images.contains_key(&image) {
            let components = self.components(image);
            self.images.insert(image, components);
        }
        let (own, components) = &self.images[&image];
        components.similarity(&self.queries[own].1, alpha, beta)
    }

    fn components(&mut self, image: usize) -> (CaptionChoice, Components) {
        let embeddings = self.gallery.embeddings;
        let meeting = self.gallery.present(image).and(self.met());
        let own = self.own.and(meeting);
        let (query, _) = self.query(own);
        let captions: Vec<Raw<'_>> =
            meeting.slots().map(|slot| embeddings.caption(image, slot)).collect();
        (own, query.components(embeddings.image(image), captions))
    }

    /// The query with these of its captions.
    fn query(&mut self, own: CaptionChoice) -> &(Query, Norms) {
        let Self { queries, reference, modifier, t_ref, .. } = self;
        queries.entry(own).or_insert_with(|| {
            let captions = t_ref.iter().filter(|(slot, _)| own.contains(*slot));
            let captions = captions.map(|(_, t)| t.clone()).collect();
            let query = Query::new(Some(reference.clone()), Some(modifier.clone()), captions)
                .expect("a query's embeddings are of one model");
            let norms = query.norms();
            (query, norms)
        })
    }
}
