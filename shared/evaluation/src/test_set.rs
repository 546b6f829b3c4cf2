//! What is evaluated: a gallery, the triplets that ask for some of its images, and the metrics.
//! `datasets` reads them, `embeddings` stand beside them in the same order.

use std::collections::HashMap;

use crate::{
    error::{DataError, Names},
    metric::Metric,
};

#[derive(Debug, Clone, PartialEq)]
pub struct TestSet {
    /// For example `cirr-val` or `fashioniq-dress`.
    pub name: String,
    /// Of a data set that is evaluated in parts, whose mean is what counts.
    pub category: Option<String>,
    /// In the order that breaks ties: of equal scores, the earlier image ranks first.
    pub gallery: Vec<GalleryImage>,
    pub triplets: Vec<Triplet>,
    pub metrics: Vec<Metric>,
    /// Whether the reference is among the images that are ranked.
    pub reference_stays: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct GalleryImage {
    pub name: String,
    /// Where its picture is below the folder of pictures, as the data set says.
    pub file: String,
    /// The box of the picture that it is: left, top, width and height in pixels.
    pub part: Option<[f64; 4]>,
}

/// A composed query. Positions are those of [`TestSet::gallery`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Triplet {
    /// The pair id, or the place in the annotation.
    pub pair: u64,
    pub reference: usize,
    pub modifier: String,
    /// None where the answers are secret.
    pub targets: Vec<usize>,
    /// Images that are ranked among themselves, without the reference; empty where the data set has
    /// no such metric.
    pub subset: Vec<usize>,
}

impl TestSet {
    pub fn has_targets(&self) -> bool {
        self.triplets.iter().any(|triplet| !triplet.targets.is_empty())
    }

    pub fn names(&self) -> impl Iterator<Item = &str> + Clone {
        self.gallery.iter().map(|image| image.name.as_str())
    }
}

/// Positions of a gallery's images, and the names that were asked for in vain.
#[derive(Debug)]
pub(crate) struct Lookup<'a> {
    positions: HashMap<&'a str, usize>,
    unknown: Vec<String>,
}

impl<'a> Lookup<'a> {
    /// # Errors
    /// A gallery that is empty or has a name twice; `file` is where it was read.
    pub(crate) fn new(
        gallery: &'a [GalleryImage],
        file: &std::path::Path,
    ) -> Result<Self, DataError> {
        let entries =
            |what, names: Names| DataError::Entries { file: file.to_owned(), what, names };
        if gallery.is_empty() {
            return Err(entries("the gallery has no images", Names::default()));
        }
        let mut positions = HashMap::with_capacity(gallery.len());
        let twice = gallery.iter().enumerate().filter_map(|(at, image)| {
            positions.insert(image.name.as_str(), at).map(|_| image.name.as_str())
        });
        let twice: Names = twice.collect();
        if !twice.is_empty() {
            return Err(entries("the gallery has images twice", twice));
        }
        Ok(Self { positions, unknown: Vec::new() })
    }

    /// An unknown name's position is 0; `finish` refuses it.
    pub(crate) fn position(&mut self, name: &str) -> usize {
        if let Some(&at) = self.positions.get(name) {
            return at;
        }
        if !self.unknown.iter().any(|known| known == name) {
            self.unknown.push(name.to_owned());
        }
        0
    }

    /// # Errors
    /// Names that the gallery lacks; `file` is where they stand.
    pub(crate) fn finish(self, file: &std::path::Path) -> Result<(), DataError> {
        if self.unknown.is_empty() {
            return Ok(());
        }
        let names = self.unknown.into_iter().collect();
        Err(DataError::UnknownImages { file: file.to_owned(), names })
    }
}
