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
            if published {
                captions.resize(slots.get(), String::new());
            }
            if (1..slots.get()).contains(&captions.len()) {
                read.fewer.push(format!("{name} has {}", captions.len()));
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
