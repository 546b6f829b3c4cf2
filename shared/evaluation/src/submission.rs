//! The two files that CIRR's evaluation server takes.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::Serialize;

use crate::{error::EvaluationError, nearest::Nearest, test_set::TestSet};

/// Names for each pair that the server takes: of the whole gallery, and of the subset.
pub const SUBMITTED: (usize, usize) = (50, 3);

#[derive(Serialize)]
#[serde(untagged)]
enum Value<'a> {
    Word(&'static str),
    Names(Vec<&'a str>),
}

/// Writes `recall.json` and `recall_subset.json` into a folder, keys sorted, and says where.
///
/// # Errors
/// A pair with fewer images than the server takes, or a file that cannot be written.
pub fn write_submission(
    folder: &Path,
    set: &TestSet,
    nearest: &[Nearest],
) -> Result<[PathBuf; 2], EvaluationError> {
    type Which = fn(&Nearest) -> &[usize];
    let all: (&str, Which, usize) = ("recall", |found| &found.among_all, SUBMITTED.0);
    let subset: (&str, Which, usize) = ("recall_subset", |found| &found.among_subset, SUBMITTED.1);
    let [all, subset] = [all, subset].map(|(metric, which, wanted)| {
        let file = folder.join(format!("{metric}.json"));
        let mut entries: BTreeMap<String, Value<'_>> = BTreeMap::new();
        entries.insert("version".to_owned(), Value::Word("rc2"));
        entries.insert("metric".to_owned(), Value::Word(metric));
        for (triplet, found) in set.triplets.iter().zip(nearest) {
            let names = which(found).iter().map(|&image| set.gallery[image].name.as_str());
            let names: Vec<&str> = names.collect();
            if names.len() != wanted {
                let (pair, found) = (triplet.pair, names.len());
                return Err(EvaluationError::TooFew { pair, metric, found, wanted });
            }
            entries.insert(triplet.pair.to_string(), Value::Names(names));
        }
        let failed = |reason: String| EvaluationError::Write { file: file.clone(), reason };
        let text = serde_json::to_string(&entries).map_err(|error| failed(error.to_string()))?;
        std::fs::write(&file, text).map_err(|error| failed(error.to_string()))?;
        Ok(file)
    });
    Ok([all?, subset?])
}
