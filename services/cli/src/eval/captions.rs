//! The captions of a gallery, from a file: the first R of each entry, or as the published code takes
//! them.

use std::{collections::BTreeMap, num::NonZeroUsize, path::Path};

use weimocir_evaluation::{Names, TestSet};
use weimocir_models::FileCaptioner;

/// Captions by image, and what is to be said of them.
#[derive(Debug, Default)]
pub(super) struct Captions {
    slots: usize,
    by_name: BTreeMap<String, Vec<String>>,
    /// Images with fewer captions than R, with the reason.
    pub(super) fewer: Vec<String>,
    /// Images whose entry has more than R.
    pub(super) more: Names,
}

impl Captions {
    /// Published: what is missing is an empty text, and refusals count as captions.
    pub(super) fn read(
        file: &Path,
        slots: NonZeroUsize,
        published: bool,
        sets: &[TestSet],
    ) -> anyhow::Result<Self> {
        let table = FileCaptioner::open(file)?;
        let mut read = Self { slots: slots.get(), ..Self::default() };
        let names = || sets.iter().flat_map(TestSet::names);
        for name in names() {
            let all = table.entry(name).unwrap_or_default();
            let found = match published {
                true => Ok(all.iter().take(slots.get()).cloned().collect()),
                false => table.look_up(Some(name), slots),
            };
            let mut captions: Vec<String> = found.unwrap_or_else(|error| {
                read.fewer.push(error.to_string());
                Vec::new()
            });
            // because: of no captions at all, the table has said why
            let counted = if published { 0..slots.get() } else { 1..slots.get() };
            if counted.contains(&captions.len()) {
                read.fewer.push(format!("{name} has {}", captions.len()));
            }
            if published {
                captions.resize(slots.get(), String::new());
            }
            read.by_name.insert(name.to_owned(), captions);
        }
        let more = |name: &&str| table.entry(name).is_some_and(|all| all.len() > slots.get());
        read.more = names().filter(more).collect();
        Ok(read)
    }

    pub(super) fn slots(&self) -> usize {
        self.slots
    }

    pub(super) fn of(&self, name: &str) -> &[String] {
        self.by_name.get(name).map_or(&[], Vec::as_slice)
    }

    pub(super) fn texts(&self) -> impl Iterator<Item = &str> {
        self.by_name.values().flatten().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use weimocir_evaluation::GalleryImage;

    use super::*;

    fn read(published: bool) -> Captions {
        let file = tempfile::NamedTempFile::new().unwrap();
        let entries = r#"[
            {"candidate": "whole", "captions": ["A dress.", "A red one.", "One.", "Of another."]},
            {"candidate": "short", "captions": ["A hat.", "Blue."]},
            {"candidate": "refused", "captions": ["I am unable to describe it", "It is", "It was"]}
        ]"#;
        std::fs::write(file.path(), entries).unwrap();
        let image =
            |name: &str| GalleryImage { name: name.to_owned(), file: String::new(), part: None };
        let set = TestSet {
            name: String::new(),
            category: None,
            gallery: ["whole", "short", "refused", "missing"].map(image).to_vec(),
            triplets: vec![],
            metrics: vec![],
            reference_stays: true,
        };
        Captions::read(file.path(), NonZeroUsize::new(3).unwrap(), published, &[set]).unwrap()
    }

    #[test]
    fn the_first_three_count_and_what_differs_is_named() {
        let captions = read(false);
        assert_eq!(captions.of("whole"), ["A dress.", "A red one.", "One."]);
        assert_eq!(captions.of("short"), ["A hat.", "Blue."]);
        assert!(captions.of("refused").is_empty() && captions.of("missing").is_empty());
        assert_eq!(captions.more.all(), ["whole"]);
        let fewer = captions.fewer.join("\n");
        for why in ["short has 2", "a refusal for refused", "no entry for missing"] {
            assert!(fewer.contains(why), "{fewer}");
        }
    }

    #[test]
    fn the_published_code_encodes_nothing_for_what_is_missing() {
        let captions = read(true);
        assert_eq!(captions.of("short"), ["A hat.", "Blue.", ""]);
        assert_eq!(captions.of("refused")[0], "I am unable to describe it");
        assert_eq!(captions.of("missing"), ["", "", ""]);
        assert_eq!(captions.fewer, ["short has 2", "missing has 0"]);
    }
}
