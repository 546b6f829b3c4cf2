//! CIRCO (Baldrati et al. 2023), validation: several targets, among 123,403 images of COCO's
//! unlabelled split. The reference stays in the ranking.

use std::path::Path;

use serde::Deserialize;

use super::{find, modifier, read_json};
use crate::{
    error::DataError,
    metric::Metric,
    test_set::{GalleryImage, Lookup, TestSet, Triplet},
};

#[derive(Debug, Deserialize)]
struct Entry {
    id: u64,
    reference_img_id: u64,
    relative_caption: String,
    #[serde(default)]
    gt_img_ids: Vec<u64>,
}

#[derive(Debug, Deserialize)]
struct Coco {
    images: Vec<CocoImage>,
}

#[derive(Debug, Deserialize)]
struct CocoImage {
    id: u64,
    file_name: String,
}

const IMAGES: &str = "image_info_unlabeled2017.json";

/// Reads `annotations/val.json` and COCO's list of images below the root, or both from the root. An
/// image's name is its id.
///
/// # Errors
/// Files that are missing or not CIRCO's, or images that the gallery lacks.
pub fn read(root: &Path, published: bool) -> Result<TestSet, DataError> {
    let coco = format!("COCO2017_unlabeled/annotations/{IMAGES}");
    let images_file = find(root, &[coco, IMAGES.to_owned()])?;
    let file = find(root, &["annotations/val.json".to_owned(), "val.json".to_owned()])?;
    let coco: Coco = read_json(&images_file, "COCO's list of images")?;
    let folder = "COCO2017_unlabeled/unlabeled2017";
    let image = |image: CocoImage| GalleryImage {
        name: image.id.to_string(),
        file: format!("{folder}/{}", image.file_name),
        part: None,
    };
    let gallery: Vec<GalleryImage> = coco.images.into_iter().map(image).collect();
    let entries: Vec<Entry> = read_json(&file, "CIRCO's list of queries")?;
    let mut lookup = Lookup::new(&gallery, &images_file)?;
    let triplet = |entry: Entry| Triplet {
        pair: entry.id,
        reference: lookup.position(&entry.reference_img_id.to_string()),
        modifier: match published {
            true => modifier::published(&entry.relative_caption),
            false => entry.relative_caption,
        },
        targets: entry.gt_img_ids.iter().map(|id| lookup.position(&id.to_string())).collect(),
        subset: Vec::new(),
    };
    let triplets = entries.into_iter().map(triplet).collect();
    lookup.finish(&file)?;
    Ok(TestSet {
        name: "circo-val".to_owned(),
        category: None,
        gallery,
        triplets,
        metrics: [5, 10, 25, 50].map(Metric::MeanPrecision).to_vec(),
        reference_stays: true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_has_several_targets_among_all_images() {
        let folder = tempfile::tempdir().unwrap();
        let write =
            |file: &str, text: &str| std::fs::write(folder.path().join(file), text).unwrap();
        write(
            IMAGES,
            r#"{"images": [{"id": 7, "file_name": "7.jpg"}, {"id": 9, "file_name": "9.jpg"}]}"#,
        );
        let entry = |targets: &str| {
            format!(
                r#"[{{"id": 3, "reference_img_id": 7, "relative_caption": "two", "gt_img_ids": {targets}}}]"#
            )
        };
        write("val.json", &entry("[9, 7]"));
        let set = read(folder.path(), true).unwrap();
        assert_eq!(set.gallery[1].file, "COCO2017_unlabeled/unlabeled2017/9.jpg");
        let triplet = &set.triplets[0];
        assert_eq!((triplet.pair, triplet.reference, &triplet.targets), (3, 0, &vec![1, 0]));
        assert_eq!(triplet.modifier, " [FORWARD] two");
        write("val.json", &entry("[9, 11]"));
        let error = read(folder.path(), true).unwrap_err().to_string();
        assert!(error.contains("gallery lacks: 11 (1 in all)"), "{error}");
    }
}
