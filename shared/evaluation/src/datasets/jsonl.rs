//! A user's own data: `triplets.jsonl` with `{"reference", "modifier", "target"}` a line, also
//! `"targets"` in place of one and a `"subset"` to rank among. The gallery is the list of names in
//! `gallery.json`, or else the picture files of a folder by name. The reference is not ranked.

use std::{fs, path::Path};

use serde::Deserialize;

use super::{modifier, read_json, read_text};
use crate::{
    error::{DataError, Names},
    metric::Metric,
    test_set::{GalleryImage, Lookup, TestSet, Triplet},
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    reference: String,
    modifier: String,
    target: Option<String>,
    #[serde(default)]
    targets: Vec<String>,
    #[serde(default)]
    subset: Vec<String>,
}

const ENDINGS: [&str; 7] = ["png", "jpg", "jpeg", "webp", "gif", "bmp", "tiff"];

/// Reads `triplets.jsonl` of a folder, whose pictures are in `images`. R@1, 5, 10 and 50 are reported,
/// Rsubset@1, 2 and 3 if all have subsets, and mAP@5, 10, 25 and 50 if some have more than one target.
///
/// # Errors
/// Files that are missing or something else, images that the gallery lacks, or lines without a target
/// that could be found.
pub fn read(root: &Path, images: &Path, published: bool) -> Result<TestSet, DataError> {
    let file = root.join("triplets.jsonl");
    let listed = root.join("gallery.json");
    let (gallery_file, names) = match listed.is_file() {
        true => {
            let names: Vec<String> = read_json(&listed, "a JSON list of image names")?;
            (listed.as_path(), names)
        }
        false => (images, pictures(images)?),
    };
    let gallery: Vec<GalleryImage> = names
        .into_iter()
        .map(|name| GalleryImage { file: name.clone(), name, part: None })
        .collect();
    let lines = lines(&file)?;
    check(&file, &lines)?;
    let mut lookup = Lookup::new(&gallery, gallery_file)?;
    let triplet = |(line, place): (&Line, u64)| Triplet {
        pair: place,
        reference: lookup.position(&line.reference),
        modifier: match published {
            true => modifier::published(&line.modifier),
            false => line.modifier.clone(),
        },
        targets: line.all_targets().map(|target| lookup.position(target)).collect(),
        subset: line.subset.iter().map(|name| lookup.position(name)).collect(),
    };
    let triplets = lines.iter().zip(0..).map(triplet).collect();
    lookup.finish(&file)?;
    let name = root.file_name().map_or("triplets".into(), |name| name.to_string_lossy());
    Ok(TestSet {
        name: name.into_owned(),
        category: None,
        gallery,
        triplets,
        metrics: metrics(&lines),
        reference_stays: false,
    })
}

impl Line {
    fn all_targets(&self) -> impl Iterator<Item = &String> {
        self.target.iter().chain(&self.targets)
    }
}

fn metrics(lines: &[Line]) -> Vec<Metric> {
    let mut metrics: Vec<Metric> = [1, 5, 10, 50].map(Metric::Recall).to_vec();
    if lines.iter().all(|line| !line.subset.is_empty()) {
        metrics.extend([1, 2, 3].map(Metric::SubsetRecall));
    }
    if lines.iter().any(|line| line.all_targets().count() > 1) {
        metrics.extend([5, 10, 25, 50].map(Metric::MeanPrecision));
    }
    metrics
}

fn lines(file: &Path) -> Result<Vec<Line>, DataError> {
    let text = read_text(file)?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let parse = |(number, line): (usize, &str)| {
        serde_json::from_str(line).map_err(|error| DataError::Malformed {
            file: file.to_owned(),
            expected: "a triplet a line: {\"reference\", \"modifier\", \"target\"}",
            reason: format!("line {}: {error}", number + 1),
        })
    };
    lines.map(parse).collect()
}

fn check(file: &Path, lines: &[Line]) -> Result<(), DataError> {
    let refuse = |what, wrong: &dyn Fn(&Line) -> bool| {
        let wrong = lines.iter().enumerate().filter(|(_, line)| wrong(line));
        let names: Names = wrong.map(|(place, _)| place.to_string()).collect();
        match names.is_empty() {
            true => Ok(()),
            false => Err(DataError::Entries { file: file.to_owned(), what, names }),
        }
    };
    refuse("triplets, counted from 0, have no target", &|line| line.all_targets().count() == 0)?;
    refuse("the reference, which is not ranked, is a target of triplets", &|line| {
        line.all_targets().any(|target| *target == line.reference)
    })?;
    refuse("a target is no member of the subset of triplets", &|line| {
        !line.subset.is_empty() && line.all_targets().any(|target| !line.subset.contains(target))
    })
}

/// The picture files of a folder, by name.
fn pictures(folder: &Path) -> Result<Vec<String>, DataError> {
    let read = |source| DataError::Read { file: folder.to_owned(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(read)? {
        let name = entry.map_err(read)?.file_name().to_string_lossy().into_owned();
        let ending = name.rsplit_once('.').map(|(_, ending)| ending.to_lowercase());
        if ending.is_some_and(|ending| ENDINGS.contains(&ending.as_str())) {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}
