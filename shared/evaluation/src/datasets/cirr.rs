//! CIRR (Liu et al. 2021): the reference is not ranked; subsets are the five other members of its set.

use std::{fmt, path::Path, str::FromStr};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};

use super::{find, modifier, read_json};
use crate::{
    error::{DataError, Names},
    metric::Metric,
    test_set::{GalleryImage, Lookup, TestSet, Triplet},
};

const METRICS: [Metric; 7] = [
    Metric::Recall(1),
    Metric::Recall(5),
    Metric::Recall(10),
    Metric::Recall(50),
    Metric::SubsetRecall(1),
    Metric::SubsetRecall(2),
    Metric::SubsetRecall(3),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    Val,
    /// Its targets are secret: the evaluation server ranks a submission.
    Test1,
}

#[derive(Debug, Deserialize)]
struct Entry {
    pairid: u64,
    reference: String,
    target_hard: Option<String>,
    caption: String,
    img_set: ImageSet,
}

#[derive(Debug, Deserialize)]
struct ImageSet {
    members: Vec<String>,
}

/// In the order of the file, which breaks ties.
struct Images(Vec<GalleryImage>);

impl<'de> Deserialize<'de> for Images {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(InOrder).map(Self)
    }
}

struct InOrder;

impl<'de> Visitor<'de> for InOrder {
    type Value = Vec<GalleryImage>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of paths by name")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut images = Vec::new();
        while let Some((name, file)) = map.next_entry()? {
            images.push(GalleryImage { name, file, part: None });
        }
        Ok(images)
    }
}

/// Reads a split from `captions/` and `image_splits/` below the root, or from the root itself.
///
/// # Errors
/// Files that are missing or not CIRR's, images that the gallery lacks, or targets that nothing could
/// find: the reference itself, or an image outside the subset.
pub fn read(root: &Path, split: Split, published: bool) -> Result<TestSet, DataError> {
    let anywhere = |folder: &str, file: String| {
        find(root, &[format!("{folder}/{file}"), format!("cirr/{folder}/{file}"), file])
    };
    let split_file = anywhere("image_splits", format!("split.rc2.{split}.json"))?;
    let file = anywhere("captions", format!("cap.rc2.{split}.json"))?;
    let expected = "CIRR's list of images, an object of paths by name";
    let Images(gallery) = read_json(&split_file, expected)?;
    let entries: Vec<Entry> = read_json(&file, "CIRR's list of triplets")?;
    check(&file, &entries)?;
    let mut lookup = Lookup::new(&gallery, &split_file)?;
    let triplets = entries.iter().map(|entry| entry.triplet(&mut lookup, published)).collect();
    lookup.finish(&file)?;
    Ok(TestSet {
        name: format!("cirr-{split}"),
        category: None,
        gallery,
        triplets,
        metrics: METRICS.to_vec(),
        reference_stays: false,
    })
}

impl Entry {
    fn triplet(&self, lookup: &mut Lookup<'_>, published: bool) -> Triplet {
        let others = self.img_set.members.iter().filter(|member| **member != self.reference);
        Triplet {
            pair: self.pairid,
            reference: lookup.position(&self.reference),
            modifier: match published {
                true => modifier::published(&self.caption),
                false => self.caption.clone(),
            },
            targets: self.target_hard.iter().map(|target| lookup.position(target)).collect(),
            subset: others.map(|member| lookup.position(member)).collect(),
        }
    }
}

fn check(file: &Path, entries: &[Entry]) -> Result<(), DataError> {
    let refuse = |what, wrong: Names| match wrong.is_empty() {
        true => Ok(()),
        false => Err(DataError::Entries { file: file.to_owned(), what, names: wrong }),
    };
    let pairs = |wrong: fn(&Entry) -> bool| -> Names {
        entries.iter().filter(|entry| wrong(entry)).map(|entry| entry.pairid.to_string()).collect()
    };
    refuse(
        "the target is the reference, which is not ranked, in pairs",
        pairs(|entry| entry.target_hard.as_ref() == Some(&entry.reference)),
    )?;
    refuse(
        "the target is no member of the subset in pairs",
        pairs(|entry| {
            entry.target_hard.as_ref().is_some_and(|target| !entry.img_set.members.contains(target))
        }),
    )?;
    let mut ids: Vec<u64> = entries.iter().map(|entry| entry.pairid).collect();
    ids.sort_unstable();
    let twice = ids.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0].to_string());
    refuse("pair ids stand there twice", twice.collect())
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Val => "val",
            Self::Test1 => "test1",
        })
    }
}

impl FromStr for Split {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::Val, Self::Test1];
        let found = all.into_iter().find(|split| split.to_string() == text);
        found.ok_or_else(|| format!("CIRR's splits are \"val\" and \"test1\", not \"{text}\""))
    }
}
