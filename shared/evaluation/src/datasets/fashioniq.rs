//! FashionIQ (Wu et al. 2021), validation: three categories, each with a gallery of its own. The
//! reference stays in the ranking, and what counts is the mean over categories.

use std::{fmt, path::Path, str::FromStr};

use serde::Deserialize;

use super::{find, modifier, read_json};
use crate::{
    error::{DataError, Names},
    metric::Metric,
    test_set::{GalleryImage, Lookup, TestSet, Triplet},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Category {
    Dress,
    Shirt,
    Toptee,
}

#[derive(Debug, Deserialize)]
struct Entry {
    target: String,
    candidate: String,
    captions: Vec<String>,
}

impl Category {
    /// In the order of the paper's tables.
    pub const ALL: [Self; 3] = [Self::Dress, Self::Shirt, Self::Toptee];
}

/// Reads a category from `captions/` and `image_splits/` below the root, or from the root itself.
///
/// # Errors
/// Files that are missing or not FashionIQ's, images that the gallery lacks, or entries without two
/// captions.
pub fn read(root: &Path, category: Category, published: bool) -> Result<TestSet, DataError> {
    let anywhere = |folder: &str, file: String| find(root, &[format!("{folder}/{file}"), file]);
    let split_file = anywhere("image_splits", format!("split.{category}.val.json"))?;
    let file = anywhere("captions", format!("cap.{category}.val.json"))?;
    let names: Vec<String> = read_json(&split_file, "FashionIQ's list of image names")?;
    let gallery: Vec<GalleryImage> = names
        .into_iter()
        .map(|name| GalleryImage { file: name.clone(), name, part: None })
        .collect();
    let entries: Vec<Entry> = read_json(&file, "FashionIQ's list of triplets")?;
    check(&file, &entries)?;
    let mut lookup = Lookup::new(&gallery, &split_file)?;
    let triplets = entries.iter().zip(0..).map(|(entry, place)| Triplet {
        pair: place,
        reference: lookup.position(&entry.candidate),
        modifier: {
            let joined = modifier::joined(&entry.captions[0], &entry.captions[1]);
            if published { modifier::published(&joined) } else { joined }
        },
        targets: vec![lookup.position(&entry.target)],
        subset: Vec::new(),
    });
    let triplets = triplets.collect();
    lookup.finish(&file)?;
    Ok(TestSet {
        name: format!("fashioniq-{category}"),
        category: Some(category.to_string()),
        gallery,
        triplets,
        metrics: vec![Metric::Recall(10), Metric::Recall(50)],
        reference_stays: true,
    })
}

fn check(file: &Path, entries: &[Entry]) -> Result<(), DataError> {
    let wrong = entries.iter().enumerate().filter(|(_, entry)| entry.captions.len() != 2);
    let names: Names = wrong.map(|(place, _)| place.to_string()).collect();
    if names.is_empty() {
        return Ok(());
    }
    let what = "these entries, counted from 0, have not two captions";
    Err(DataError::Entries { file: file.to_owned(), what, names })
}

impl fmt::Display for Category {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dress => "dress",
            Self::Shirt => "shirt",
            Self::Toptee => "toptee",
        })
    }
}

impl FromStr for Category {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|category| category.to_string() == text);
        found.ok_or_else(|| {
            format!(
                "FashionIQ's categories are \"dress\", \"shirt\" and \"toptee\", not \"{text}\""
            )
        })
    }
}
