//! Sheets of queries that were answered well and badly, where their pictures are there.

use std::path::Path;

use anyhow::Context;
use image::RgbImage;
use weimocir_evaluation::{GalleryImage, Metric, NEVER, Nearest, Sheet, Sweep, TestSet};

use super::backbone::{picture_file, square_part};
use crate::sheet::{self, Row, Tile};

/// Images that are shown of each answer.
pub(super) const SHOWN: usize = 5;
/// Queries of a sheet.
const QUERIES: usize = 6;
/// The target of a failure is none of the first ones.
const FIRST: u32 = 10;

/// Answers at one point, and where the pictures are.
pub(super) struct Examples<'a> {
    pub(super) set: &'a TestSet,
    /// Of this one cell.
    pub(super) sweep: &'a Sweep,
    pub(super) found: &'a [Nearest],
    pub(super) images: &'a Path,
}

/// Whether there seem to be pictures at all; features need none.
pub(super) fn are_possible(set: &TestSet, images: &Path) -> bool {
    let mut first = set.triplets.iter().take(20).map(|triplet| &set.gallery[triplet.reference]);
    first.any(|image| picture_file(images, image).is_ok())
}

impl Examples<'_> {
    /// Writes the sheets that have a query, and says what they show.
    pub(super) fn write(&self, folder: &Path) -> anyhow::Result<Vec<Sheet>> {
        let of = self.set.category.as_ref().map_or_else(String::new, |name| format!("-{name}"));
        let ranks: Vec<u32> = (0..self.sweep.queries()).map(|query| self.rank(query)).collect();
        let queries = |good: fn(u32) -> bool| -> Vec<usize> {
            (0..ranks.len()).filter(|&query| good(ranks[query])).collect()
        };
        let successes = ("successes", "the target comes first", queries(|rank| rank == 1));
        let failures =
            ("failures", "no target is among the first 10", queries(|rank| rank > FIRST));
        let mut sheets = Vec::new();
        for (name, when, queries) in [successes, failures] {
            let rows: Vec<Row> =
                spread(&queries).filter_map(|query| self.row(query, ranks[query]).ok()).collect();
            if rows.is_empty() {
                continue;
            }
            let file = format!("{name}{of}.png");
            let path = folder.join(&file);
            sheet::draw(&rows)
                .save(&path)
                .with_context(|| format!("cannot write {}", path.display()))?;
            let (shown, all) = (rows.len(), queries.len());
            let what = format!("{}: {shown} of the {all} queries where {when}.", self.set.name);
            sheets.push(Sheet { file, what });
        }
        Ok(sheets)
    }

    /// What counts as an answer: the first metric's.
    fn metric(&self) -> Metric {
        self.set.metrics[0]
    }

    /// Of the best target.
    fn rank(&self, query: usize) -> u32 {
        self.sweep.ranks(self.metric(), query, 0).into_iter().min().unwrap_or(NEVER)
    }

    /// A query with its answer, and the target at the end if it is not among what is shown.
    fn row(&self, query: usize, rank: u32) -> anyhow::Result<Row> {
        let triplet = &self.set.triplets[query];
        let found = match self.metric().is_of_subset() {
            true => &self.found[query].among_subset,
            false => &self.found[query].among_all,
        };
        let shown = found.iter().take(SHOWN).zip(1_u32..);
        let mut tiles: Vec<(usize, String)> =
            shown.map(|(&image, rank)| (image, rank.to_string())).collect();
        let seen = tiles.iter().any(|(image, _)| triplet.targets.contains(image));
        let last = triplet.targets.first().filter(|_| !seen).map(|&target| match rank {
            NEVER => (target, "target, not found".to_owned()),
            rank => (self.target_at(query, rank).unwrap_or(target), format!("target, rank {rank}")),
        });
        tiles.extend(last);
        let tile = |(image, heading): (usize, String)| {
            let picture = self.picture(&self.set.gallery[image])?;
            let caption = self.set.gallery[image].name.clone();
            let wanted = triplet.targets.contains(&image);
            Ok(Tile { picture, heading, similarity: None, caption, wanted })
        };
        Ok(Row {
            reference: Some(self.picture(&self.set.gallery[triplet.reference])?),
            modifier: Some(triplet.modifier.clone()),
            results: tiles.into_iter().map(tile).collect::<anyhow::Result<_>>()?,
        })
    }

    fn target_at(&self, query: usize, rank: u32) -> Option<usize> {
        let ranks = self.sweep.ranks(self.metric(), query, 0);
        let nth = ranks.iter().position(|&at| at == rank)?;
        self.set.triplets[query].targets.get(nth).copied()
    }

    fn picture(&self, image: &GalleryImage) -> anyhow::Result<RgbImage> {
        let bytes = std::fs::read(picture_file(self.images, image)?)?;
        let whole = image::load_from_memory(&bytes)?.into_rgb8();
        Ok(match image.part {
            Some(part) => square_part(&whole, part),
            None => whole,
        })
    }
}

/// Some of them, from all over the data set.
fn spread(queries: &[usize]) -> impl Iterator<Item = usize> {
    let shown = queries.len().min(QUERIES);
    (0..shown).map(move |nth| queries[nth * queries.len() / shown])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_are_from_all_over_the_data_set() {
        let all: Vec<usize> = (0..60).collect();
        assert_eq!(spread(&all).collect::<Vec<_>>(), [0, 10, 20, 30, 40, 50]);
        assert_eq!(spread(&[7, 9]).collect::<Vec<_>>(), [7, 9]);
        assert_eq!(spread(&[]).count(), 0);
    }
}
