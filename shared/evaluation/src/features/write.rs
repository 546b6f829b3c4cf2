//! Writes a features file, as `FeaturesFile` reads it.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

use safetensors::{Dtype, tensor::TensorView};
use serde_json::json;

use crate::{embeddings::Embeddings, error::FeaturesError, test_set::TestSet};

/// One file for all of these: images that two test sets share are there once, pairs follow each other.
/// Images that could not be encoded are left out. It is there whole or not at all.
///
/// # Errors
/// The files cannot be written.
pub fn write_features(file: &Path, sets: &[(&TestSet, &Embeddings)]) -> Result<(), FeaturesError> {
    let mut rows = Rows::default();
    for (set, embeddings) in sets {
        rows.add(set, embeddings);
    }
    let (dim, slots) = sets.first().map_or((0, 0), |(_, first)| (first.dim(), first.slots()));
    let (images, pairs) = (rows.names.len(), rows.pairs.len());
    let listing = json!({ "images": rows.names, "pairs": rows.pairs }).to_string();
    let mut tensors = vec![
        ("image", vec![images, dim], rows.image),
        ("modifier", vec![pairs, dim], rows.modifier),
    ];
    if slots > 0 {
        tensors.push(("captions", vec![images, slots, dim], rows.captions));
    }
    let views: Result<Vec<_>, _> = tensors
        .iter()
        .map(|(name, shape, bytes)| {
            TensorView::new(Dtype::F32, shape.clone(), bytes).map(|view| (*name, view))
        })
        .collect();
    let failed = |error: safetensors::SafeTensorError| FeaturesError::Write {
        file: file.to_owned(),
        source: std::io::Error::other(error),
    };
    let bytes = safetensors::serialize(views.map_err(failed)?, None).map_err(failed)?;
    replace(&file.with_extension("json"), listing.as_bytes())?;
    replace(file, &bytes)
}

/// Little-endian rows, and whose they are.
#[derive(Debug, Default)]
struct Rows {
    places: HashMap<String, usize>,
    names: Vec<String>,
    pairs: Vec<u64>,
    image: Vec<u8>,
    captions: Vec<u8>,
    modifier: Vec<u8>,
}

impl Rows {
    fn add(&mut self, set: &TestSet, embeddings: &Embeddings) {
        for (n, name) in set.names().enumerate() {
            if embeddings.is_absent(n) || self.places.contains_key(name) {
                continue;
            }
            self.places.insert(name.to_owned(), self.names.len());
            self.names.push(name.to_owned());
            self.image.extend(bytes(embeddings.image(n).values()));
            for slot in 0..embeddings.slots() {
                self.captions.extend(bytes(embeddings.caption(n, slot).values()));
            }
        }
        for (n, triplet) in set.triplets.iter().enumerate() {
            self.pairs.push(triplet.pair);
            self.modifier.extend(bytes(embeddings.modifier(n)));
        }
    }
}

fn bytes(values: &[f32]) -> impl Iterator<Item = u8> {
    values.iter().flat_map(|value| value.to_le_bytes())
}

fn replace(file: &Path, bytes: &[u8]) -> Result<(), FeaturesError> {
    let partial = PathBuf::from(format!("{}.partial", file.display()));
    let written = fs::write(&partial, bytes).and_then(|()| fs::rename(&partial, file));
    written.map_err(|source| FeaturesError::Write { file: file.to_owned(), source })
}
