//! Test sets with their embeddings, as the arguments name them.

use std::path::{Path, PathBuf};

use anyhow::bail;
use weimocir_evaluation::{Embeddings, FeaturesFile, TestSet, cirr, fashioniq};

use super::{
    Case,
    args::{Dataset, EvalArgs},
};

pub(super) fn cases(args: &EvalArgs) -> anyhow::Result<Vec<Case>> {
    let sets = sets(args)?;
    let embeddings = from_features(&args.features, &sets)?;
    Ok(sets.into_iter().zip(embeddings).map(|(set, embeddings)| Case { set, embeddings }).collect())
}

fn sets(args: &EvalArgs) -> anyhow::Result<Vec<TestSet>> {
    match args.dataset {
        Dataset::Cirr => Ok(vec![cirr::read(&args.data, args.split, args.published)?]),
        Dataset::Fashioniq => {
            let read = |category| fashioniq::read(&args.data, category, args.published);
            Ok(args.categories().into_iter().map(read).collect::<Result<_, _>>()?)
        }
    }
}

/// One file for all test sets, or one for each.
fn from_features(files: &[PathBuf], sets: &[TestSet]) -> anyhow::Result<Vec<Embeddings>> {
    let files: Vec<PathBuf> = match files {
        [one] if one.to_string_lossy().contains(CATEGORY) => {
            sets.iter().map(|set| of_category(one, set)).collect()
        }
        some => some.to_vec(),
    };
    match files.as_slice() {
        [one] => Ok(FeaturesFile::open(one)?.embeddings(sets)?),
        many if many.len() == sets.len() => {
            let pairs = many.iter().zip(sets.chunks(1));
            let read = |(file, set): (&PathBuf, &[TestSet])| {
                Ok(FeaturesFile::open(file)?.embeddings(set)?)
            };
            let read: anyhow::Result<Vec<Vec<Embeddings>>> = pairs.map(read).collect();
            Ok(read?.into_iter().flatten().collect())
        }
        many => bail!(
            "{} files of features for {} test sets: give one for all, or one for each in this order: {}",
            many.len(),
            sets.len(),
            sets.iter().map(|set| set.name.as_str()).collect::<Vec<_>>().join(", ")
        ),
    }
}

/// What stands for a category's name in a path.
const CATEGORY: &str = "{category}";

fn of_category(pattern: &Path, set: &TestSet) -> PathBuf {
    let category = set.category.as_deref().unwrap_or(&set.name);
    pattern.to_string_lossy().replace(CATEGORY, category).into()
}
