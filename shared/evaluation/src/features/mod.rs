//! Features files: `F.safetensors` with the raw tensors `image [N,d]`, `captions [N,R,d]` and
//! `modifier [Q,d]`, and beside it `F.json`, which says whose they are. `write` makes them; `npy` reads
//! folders of NumPy arrays in their place.

mod npy;
mod write;

use std::{
    collections::HashMap,
    fs,
    ops::{Deref, Range},
    path::{Path, PathBuf},
    sync::Arc,
};

use half::{bf16, f16};
use memmap2::Mmap;
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

pub use write::write_features;

use crate::{
    datasets::fashioniq::Category,
    embeddings::{Embeddings, Parts},
    error::{FeaturesError, Names},
    test_set::TestSet,
};

const LISTING: &str = "a list of features: {\"images\": [names], \"pairs\": [numbers]}";

/// A features file and its list, found consistent with each other.
#[derive(Debug)]
pub struct FeaturesFile {
    file: PathBuf,
    listing_file: PathBuf,
    images: Vec<String>,
    pairs: Vec<u64>,
    dim: usize,
    slots: usize,
    image: Tensor,
    captions: Option<Tensor>,
    modifier: Tensor,
}

/// Numbers of the file, row after row.
#[derive(Debug, Clone)]
struct Tensor {
    dtype: Dtype,
    shape: Vec<usize>,
    place: Range<usize>,
    bytes: Arc<Bytes>,
}

#[derive(Debug)]
enum Bytes {
    Mapped(Mmap),
    Own(Vec<u8>),
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(bytes) => bytes,
            Self::Own(bytes) => bytes,
        }
    }
}

#[derive(Debug, Deserialize)]
struct Listing {
    images: Vec<String>,
    pairs: Vec<Pair>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Pair {
    Number(u64),
    Text(String),
}

impl FeaturesFile {
    /// Opens `F.safetensors`, or a folder of NumPy arrays, with `F.json` beside it.
    ///
    /// # Errors
    /// Files that are missing, cut short or something else, tensors of other types or shapes, or lists
    /// of another length than the tensors.
    pub fn open(file: &Path) -> Result<Self, FeaturesError> {
        let mut tensors = if file.is_dir() { arrays(file)? } else { mapped(file)? };
        let refuse = |tensor, reason: String| FeaturesError::Tensor {
            file: file.to_owned(),
            tensor,
            reason,
        };
        let mut take = |name: &'static str, sides: &'static str| {
            let tensor = tensors.remove(name);
            tensor.map(|tensor| tensor.checked(sides).map_err(|reason| refuse(name, reason)))
        };
        let missing = |name| refuse(name, "is not there".to_owned());
        let image = take("image", "[N, d]").ok_or_else(|| missing("image"))??;
        let modifier = take("modifier", "[Q, d]").ok_or_else(|| missing("modifier"))??;
        let captions = take("captions", "[N, R, d]").transpose()?;
        let (listing_file, images, pairs) = listing(file)?;
        let dim = image.shape[1];
        let found = Self {
            file: file.to_owned(),
            listing_file,
            images,
            pairs,
            dim,
            slots: captions.as_ref().map_or(0, |captions| captions.shape[1]),
            image,
            captions,
            modifier,
        };
        found.check()?;
        Ok(found)
    }

    pub fn file(&self) -> &Path {
        &self.file
    }

    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Captions of each image, R; 0 if the file has none.
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// Has the first `most` captions of each image count, and no others.
    #[must_use]
    pub fn with_captions(mut self, most: usize) -> Self {
        self.slots = self.slots.min(most);
        self
    }

    fn check(&self) -> Result<(), FeaturesError> {
        let others = [("modifier", Some(&self.modifier)), ("captions", self.captions.as_ref())];
        for (tensor, found) in others {
            let Some(found) = found.filter(|found| found.shape.last() != Some(&self.dim)) else {
                continue;
            };
            let reason = format!("is {:?}, but image is {:?}", found.shape, self.image.shape);
            let reason = format!("{reason}: the last side must be the same");
            return Err(FeaturesError::Tensor { file: self.file.clone(), tensor, reason });
        }
        let (images, pairs) = (self.images.len(), self.pairs.len());
        let counts = [
            ("images", "image", images, Some(&self.image)),
            ("images", "captions", images, self.captions.as_ref()),
            ("pairs", "modifier", pairs, Some(&self.modifier)),
        ];
        for (what, tensor, listed, found) in counts {
            let Some(rows) = found.map(|found| found.shape[0]).filter(|rows| *rows != listed)
            else {
                continue;
            };
            let file = self.listing_file.clone();
            return Err(FeaturesError::Count { file, what, tensor, listed, rows });
        }
        Ok(())
    }

    /// Whose rows these are: one list of embeddings for each test set, which are the categories of one
    /// data set or a single one. Images that none of them has are passed over.
    ///
    /// # Errors
    /// Images or pairs of a test set that the file lacks or has twice, or rows that are no embeddings.
    pub fn embeddings(&self, sets: &[TestSet]) -> Result<Vec<Embeddings>, FeaturesError> {
        let mut positions = HashMap::with_capacity(self.images.len());
        let twice = self.images.iter().enumerate();
        let twice = twice.filter(|(at, name)| positions.insert(name.as_str(), *at).is_some());
        self.none_twice("images", twice.map(|(_, name)| name.clone()).collect())?;
        let sets = sets.iter().zip(self.places(sets)?);
        sets.map(|(set, pairs)| self.of(set, &positions, pairs)).collect()
    }

    fn of(
        &self,
        set: &TestSet,
        positions: &HashMap<&str, usize>,
        pairs: Range<usize>,
    ) -> Result<Embeddings, FeaturesError> {
        let images =
            self.found("images", set, set.names().map(|name| (name, positions.get(name))))?;
        let modifiers = self.modifiers(set, pairs)?;
        let captions = self.captions.as_ref();
        let parts = Parts {
            dim: self.dim,
            image: self.image.rows(&images),
            slots: self.slots,
            captions: captions.map_or_else(Vec::new, |tensor| self.first(tensor, &images)),
            modifier: self.modifier.rows(&modifiers),
            absent: Vec::new(),
        };
        let wrong = |source| FeaturesError::Embeddings { file: self.file.clone(), source };
        Embeddings::new(set, parts).map_err(wrong)
    }

    /// The captions that count, of some images.
    fn first(&self, captions: &Tensor, images: &[usize]) -> Vec<f32> {
        let all = captions.rows(images);
        let rows = all.chunks_exact(captions.shape[1] * self.dim);
        rows.flat_map(|row| &row[..self.slots * self.dim]).copied().collect()
    }

    /// The row of each triplet, by pair id or by place in the annotation.
    fn modifiers(&self, set: &TestSet, pairs: Range<usize>) -> Result<Vec<usize>, FeaturesError> {
        let listed = &self.pairs[pairs.clone()];
        if listed.len() == set.triplets.len() && in_order(listed, pairs.start) {
            return Ok(pairs.collect());
        }
        let mut rows = HashMap::with_capacity(listed.len());
        let twice = listed.iter().zip(pairs.clone());
        let twice = twice.filter(|(pair, row)| rows.insert(**pair, *row).is_some());
        self.none_twice("pairs", twice.map(|(pair, _)| pair.to_string()).collect())?;
        let mut sorted = listed.to_vec();
        sorted.sort_unstable();
        if in_order(&sorted, pairs.start)
            && set.triplets.iter().any(|triplet| !rows.contains_key(&triplet.pair))
        {
            let (file, of) = (self.listing_file.clone(), set.name.clone());
            let found = "places in another order than the annotation's".to_owned();
            return Err(FeaturesError::Pairs { file, of, found });
        }
        let ids: Vec<String> =
            set.triplets.iter().map(|triplet| triplet.pair.to_string()).collect();
        let wanted = ids.iter().zip(&set.triplets);
        self.found("pairs", set, wanted.map(|(id, triplet)| (id.as_str(), rows.get(&triplet.pair))))
    }

    /// Where in the list of pairs each test set's are.
    fn places(&self, sets: &[TestSet]) -> Result<Vec<Range<usize>>, FeaturesError> {
        let counts = sets.iter().map(|set| set.triplets.len());
        let blocks = blocks(&self.pairs);
        let whole: usize = counts.clone().sum();
        let category = |set: &TestSet| {
            Category::ALL.iter().position(|category| set.category == Some(category.to_string()))
        };
        let of_all = sets.iter().map(category).collect::<Option<Vec<usize>>>();
        match of_all {
            _ if blocks.len() == sets.len() => Ok(blocks),
            Some(places) if blocks.len() == Category::ALL.len() => {
                Ok(places.into_iter().map(|place| blocks[place].clone()).collect())
            }
            _ if self.pairs.len() == whole && in_order(&self.pairs, 0) => {
                let ends = counts.scan(0, |end, count| {
                    *end += count;
                    Some(*end - count..*end)
                });
                Ok(ends.collect())
            }
            _ => Err(FeaturesError::Pairs {
                file: self.listing_file.clone(),
                of: sets.iter().map(|set| set.name.as_str()).collect::<Vec<_>>().join(", "),
                found: format!("{} in {} runs from 0", self.pairs.len(), blocks.len()),
            }),
        }
    }

    fn none_twice(&self, what: &'static str, names: Names) -> Result<(), FeaturesError> {
        if names.is_empty() {
            return Ok(());
        }
        Err(FeaturesError::Twice { file: self.listing_file.clone(), what, names })
    }

    fn found<'a>(
        &self,
        what: &'static str,
        set: &TestSet,
        wanted: impl Iterator<Item = (&'a str, Option<&'a usize>)> + Clone,
    ) -> Result<Vec<usize>, FeaturesError> {
        let lacking = wanted.clone().filter(|(_, row)| row.is_none());
        let names: Names = lacking.map(|(name, _)| name).collect();
        if names.is_empty() {
            return Ok(wanted.filter_map(|(_, row)| row.copied()).collect());
        }
        let (file, of) = (self.listing_file.clone(), set.name.clone());
        Err(FeaturesError::Lacks { file, what, of, names })
    }
}

/// Whether they count up from 0, or from where they begin among all.
fn in_order(pairs: &[u64], start: usize) -> bool {
    let from = |first: u64| pairs.iter().zip(first..).all(|(pair, place)| *pair == place);
    from(0) || from(start as u64)
}

/// Runs of a list that begin with 0: one for each category whose places were listed.
fn blocks(pairs: &[u64]) -> Vec<Range<usize>> {
    let starts = pairs.iter().enumerate().filter(|(_, pair)| **pair == 0).map(|(at, _)| at);
    let mut ends: Vec<usize> = starts.collect();
    // because: numbers before the first 0 make it no list of places, but one of ids
    if ends.first() != Some(&0) {
        ends = vec![0];
    }
    ends.push(pairs.len());
    ends.windows(2).map(|pair| pair[0]..pair[1]).collect()
}

fn listing(features: &Path) -> Result<(PathBuf, Vec<String>, Vec<u64>), FeaturesError> {
    let file = features.with_extension("json");
    let text = fs::read_to_string(&file)
        .map_err(|source| FeaturesError::Read { file: file.clone(), source })?;
    let malformed =
        |reason: String| FeaturesError::Malformed { file: file.clone(), expected: LISTING, reason };
    let listing: Listing =
        serde_json::from_str(&text).map_err(|error| malformed(error.to_string()))?;
    let number = |pair| match pair {
        Pair::Number(number) => Ok(number),
        Pair::Text(text) => {
            text.parse().map_err(|_| malformed(format!("pair \"{text}\" is no number")))
        }
    };
    let pairs = listing.pairs.into_iter().map(number).collect::<Result<_, _>>()?;
    Ok((file, listing.images, pairs))
}

fn mapped(file: &Path) -> Result<HashMap<String, Tensor>, FeaturesError> {
    let read = |source| FeaturesError::Read { file: file.to_owned(), source };
    // SAFETY: the bytes are only copied out. A file that is overwritten meanwhile gives wrong numbers,
    // and one that is cut short ends the process.
    let bytes = unsafe { Mmap::map(&fs::File::open(file).map_err(read)?).map_err(read)? };
    tensors(bytes).map_err(|reason| FeaturesError::Malformed {
        file: file.to_owned(),
        expected: "a safetensors file",
        reason,
    })
}

fn tensors(bytes: Mmap) -> Result<HashMap<String, Tensor>, String> {
    let (header, metadata) = SafeTensors::read_metadata(&bytes).map_err(|e| e.to_string())?;
    let data = size_of::<u64>() + header;
    let bytes = Arc::new(Bytes::Mapped(bytes));
    let tensors = metadata.tensors().into_iter().map(|(name, info)| {
        let (start, end) = info.data_offsets;
        if data + end > bytes.len() {
            return Err(format!("tensor \"{name}\" reaches beyond its end: it was cut short"));
        }
        let (place, bytes) = (data + start..data + end, Arc::clone(&bytes));
        Ok((name, Tensor { dtype: info.dtype, shape: info.shape.clone(), place, bytes }))
    });
    tensors.collect()
}

/// clip-retrieval's names, and our own.
const ARRAYS: [(&str, [&str; 2]); 3] = [
    ("image", ["image", "img_emb"]),
    ("captions", ["captions", "text_emb"]),
    ("modifier", ["modifier"; 2]),
];

fn arrays(folder: &Path) -> Result<HashMap<String, Tensor>, FeaturesError> {
    let mut tensors = HashMap::new();
    for (name, names) in ARRAYS {
        let Some(array) = npy::read(folder, names)? else { continue };
        let mut shape = array.shape;
        if name == "captions" && shape.len() == 2 {
            // because: clip-retrieval has one text for each image
            shape.insert(1, 1);
        }
        let bytes: Vec<u8> = array.values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let (place, bytes) = (0..bytes.len(), Arc::new(Bytes::Own(bytes)));
        tensors.insert(name.to_owned(), Tensor { dtype: Dtype::F32, shape, place, bytes });
    }
    Ok(tensors)
}

impl Tensor {
    /// `sides` are those it must have, named.
    fn checked(self, sides: &str) -> Result<Self, String> {
        let (dtype, shape) = (self.dtype, &self.shape);
        if !matches!(dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16) {
            return Err(format!("is of type {dtype:?}: f32, f16 or bf16 is expected"));
        }
        if shape.len() != sides.split(',').count() || shape.contains(&0) {
            return Err(format!("is {shape:?}: {sides} is expected, none of them 0"));
        }
        Ok(self)
    }

    /// Rows of the first side, as f32.
    fn rows(&self, rows: &[usize]) -> Vec<f32> {
        let all = &self.bytes[self.place.clone()];
        let width = all.len() / self.shape[0];
        let mut values = Vec::with_capacity(rows.len() * width / self.dtype.bitsize() * 8);
        for row in rows {
            let row = &all[row * width..(row + 1) * width];
            match self.dtype {
                Dtype::F32 => values.extend(numbers(row).map(f32::from_le_bytes)),
                Dtype::F16 => values.extend(numbers(row).map(|b| f16::from_le_bytes(b).to_f32())),
                _ => values.extend(numbers(row).map(|b| bf16::from_le_bytes(b).to_f32())),
            }
        }
        values
    }
}

fn numbers<const BYTES: usize>(row: &[u8]) -> impl Iterator<Item = [u8; BYTES]> {
    row.as_chunks::<BYTES>().0.iter().copied()
}
