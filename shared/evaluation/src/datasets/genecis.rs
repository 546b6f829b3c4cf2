//! GeneCIS (Vaze et al. 2023): four tasks, each query with a gallery of 10 to 15 images of its own,
//! among which its target is ranked. Images of the attribute tasks are parts of Visual Genome's.

use std::{collections::HashMap, fmt, path::Path, str::FromStr};

use serde::Deserialize;

use super::{find, modifier, read_json};
use crate::{
    error::DataError,
    metric::Metric,
    test_set::{GalleryImage, TestSet, Triplet},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    FocusAttribute,
    ChangeAttribute,
    FocusObject,
    ChangeObject,
}

#[derive(Debug, Deserialize)]
struct Entry {
    reference: Part,
    target: Part,
    gallery: Vec<Part>,
    condition: String,
}

/// A picture of COCO, or a box of one of Visual Genome.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Part {
    Coco { val_image_id: u64 },
    Genome { image_id: Id, instance_bbox: [f64; 4] },
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Id {
    Number(u64),
    Text(String),
}

impl Task {
    /// In the order of the paper's tables.
    pub const ALL: [Self; 4] =
        [Self::FocusAttribute, Self::ChangeAttribute, Self::FocusObject, Self::ChangeObject];
}

/// Reads `genecis/TASK.json` below the root, or `TASK.json`. An image's name is its picture's id, and
/// its box where it has one.
///
/// # Errors
/// A file that is missing or not GeneCIS's.
pub fn read(root: &Path, task: Task, published: bool) -> Result<TestSet, DataError> {
    let file = find(root, &[format!("genecis/{task}.json"), format!("{task}.json")])?;
    let entries: Vec<Entry> = read_json(&file, "GeneCIS's list of queries")?;
    let mut gallery = Gallery::default();
    let triplet = |(entry, place): (&Entry, u64)| {
        let target = gallery.position(&entry.target);
        let others = entry.gallery.iter().map(|part| gallery.position(part));
        let subset = others.chain([target]).collect();
        Triplet {
            pair: place,
            reference: gallery.position(&entry.reference),
            modifier: match published {
                true => modifier::published(&entry.condition),
                false => entry.condition.clone(),
            },
            targets: vec![target],
            subset,
        }
    };
    let triplets = entries.iter().zip(0..).map(triplet).collect();
    Ok(TestSet {
        name: format!("genecis-{task}"),
        category: Some(task.to_string()),
        gallery: gallery.images,
        triplets,
        metrics: [1, 2, 3].map(Metric::SubsetRecall).to_vec(),
        reference_stays: true,
    })
}

/// All queries' images, each once, in the order in which they are named.
#[derive(Debug, Default)]
struct Gallery {
    positions: HashMap<String, usize>,
    images: Vec<GalleryImage>,
}

impl Gallery {
    fn position(&mut self, part: &Part) -> usize {
        let image = part.image();
        let next = self.images.len();
        let at = *self.positions.entry(image.name.clone()).or_insert(next);
        if at == next {
            self.images.push(image);
        }
        at
    }
}

impl Part {
    fn image(&self) -> GalleryImage {
        match self {
            Self::Coco { val_image_id } => {
                let name = format!("{val_image_id:012}");
                GalleryImage { file: format!("val2017/{name}.jpg"), name, part: None }
            }
            Self::Genome { image_id, instance_bbox: [x, y, width, height] } => {
                let id = match image_id {
                    Id::Number(id) => id.to_string(),
                    Id::Text(id) => id.clone(),
                };
                GalleryImage {
                    name: format!("{id}:{x},{y},{width},{height}"),
                    file: format!("VG_All/{id}.jpg"),
                    part: Some([*x, *y, *width, *height]),
                }
            }
        }
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FocusAttribute => "focus_attribute",
            Self::ChangeAttribute => "change_attribute",
            Self::FocusObject => "focus_object",
            Self::ChangeObject => "change_object",
        })
    }
}

impl FromStr for Task {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|task| task.to_string() == text);
        let all = Self::ALL.map(|task| format!("\"{task}\"")).join(", ");
        found.ok_or_else(|| format!("GeneCIS's tasks are {all}, not \"{text}\""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_ranks_its_own_gallery() {
        let folder = tempfile::tempdir().unwrap();
        let part = r#"{"image_id": "10", "instance_bbox": [1, 2, 30.5, 40]}"#;
        let other = r#"{"image_id": 20, "instance_bbox": [0, 0, 5, 5]}"#;
        let entries = format!(
            r#"[{{"reference": {part}, "target": {other}, "gallery": [{part}], "condition": "color"}}]"#
        );
        std::fs::write(folder.path().join("focus_attribute.json"), entries).unwrap();
        let set = read(folder.path(), Task::FocusAttribute, false).unwrap();
        assert_eq!(set.names().collect::<Vec<_>>(), ["20:0,0,5,5", "10:1,2,30.5,40"]);
        assert_eq!(set.gallery[1].part, Some([1.0, 2.0, 30.5, 40.0]));
        let triplet = &set.triplets[0];
        assert_eq!(
            (triplet.reference, &triplet.targets, &triplet.subset),
            (1, &vec![0], &vec![1, 0])
        );
    }
}
